"""The batches of a training: what its recipe says of them, over its prepared text."""

from nmt.corpus.batches import Batches, Sampling
from nmt.corpus.shards import Prepared
from nmt.recipe import TrainConfig


def batches_of(train: TrainConfig, prepared: Prepared, tokens: int | None = None) -> Batches:
    """The training's batches; `tokens` stands for its train.batch_tokens."""
    assert train.layout != "auto", "training/forms.py chooses"
    amount = train.subword_sampling
    return Batches(
        prepared.train,
        train.seed,
        train.tokens if tokens is None else tokens,
        train.batch_sentences,
        train.layout,
        train.row_tokens,
        Sampling(prepared.tokenizers, amount) if amount else None,
    )
