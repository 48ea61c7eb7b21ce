"""Validation: loss per target token, and the BLEU of real translations by beam search."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from nmt.batch import Ids, pad_rows
from nmt.corpus.batches import in_order
from nmt.corpus.shards import Shard
from nmt.corpus.tokenizer import Tokenizer
from nmt.metrics import Score, bleu, offline_tokenizer_for
from nmt.models.contract import Seq2Seq
from nmt.ops.ready import Precision, Ready, worth_readying
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.training.distributed import Group
from nmt.training.loss import batch_loss

SEARCHED_ROWS = 640
"""Hypotheses (sentences times beam) searched at once; enough to keep the products busy, small beside the training
batch."""


@dataclass(frozen=True)
class Target:
    """What target ids are to be read as: their tokenizer, and the language, which decides how BLEU splits words."""

    tokenizer: Tokenizer
    language: str


@dataclass(frozen=True)
class Validation:
    """loss in nats a target token, end of sentence included; bleu with its signature; translations in corpus order."""

    loss: float
    bleu: Score
    translations: list[str]


def validate(
    model: Seq2Seq,
    shard: Shard,
    target: Target,
    config: SearchConfig,
    batch_tokens: int,
    sentences: int | None = None,
    group: Group | None = None,
) -> Validation:
    """Loss on all pairs; BLEU on the first `sentences` of them, or all. Leaves the model in evaluation mode.

    The processes of a group share the batches, the same ones as for one process, and each has the whole result.
    """
    group = group or Group()
    loss = mean_loss(model, shard, batch_tokens, group)
    count = min(len(shard), sentences or len(shard))
    translations = translate(model, [shard.src_ids(i) for i in range(count)], target.tokenizer, config, group)
    score = bleu(translations, [shard.tgt_lines()[:count]], tokenize=offline_tokenizer_for(target.language))
    return Validation(loss, score, translations)


@torch.inference_mode()
def mean_loss(model: Seq2Seq, shard: Shard, batch_tokens: int, group: Group) -> float:
    """Negative log-likelihood in nats a target token over the shard, without smoothing and dropout."""
    model.eval()
    device = next(model.parameters()).device
    sums, tokens = [], 0
    for number, (_, batch) in enumerate(in_order(shard, batch_tokens)):
        tokens += batch.tgt_tokens
        if number % group.size == group.rank:
            sums.append(float(batch_loss(model, batch.to(device), 0.0).nll))
    # fsum rounds once: in whatever order they come.
    return math.fsum(chain.from_iterable(group.gather(sums))) / max(tokens, 1)


@torch.inference_mode()
def translate(model: Seq2Seq, src: Sequence[Ids], target: Tokenizer, config: SearchConfig, group: Group) -> list[str]:
    """The best translation of each source (ids without end of sentence), searched in batches of like length, with what
    a search on a CPU has compiled and made ready, where the model's training has such.
    """
    model.eval()
    device = next(model.parameters()).device
    order = np.argsort([-len(ids) for ids in src], kind="stable")
    size = max(1, SEARCHED_ROWS // config.beam)
    mine: list[tuple[int, list[int]]] = []
    with _made_ready(model, device):
        for start in range(group.rank * size, len(order), group.size * size):
            part = order[start : start + size]
            found = search(model, pad_rows([src[i] for i in part], eos=True).to(device), config)
            mine += [(int(i), hypotheses[0].ids) for i, hypotheses in zip(part, found, strict=True)]
    best: list[list[int]] = [[] for _ in src]
    for i, ids in chain.from_iterable(group.gather(mine)):
        best[i] = ids
    return target.decode(best)


def _made_ready(model: Seq2Seq, device: torch.device) -> AbstractContextManager[None]:
    """The matrices as they are now, for a search on a CPU."""
    precision: Precision = "bfloat16" if model.compute_dtype == torch.bfloat16 else "float32"
    if model.kernels.passes is None or not worth_readying(device, precision):
        return nullcontext()
    return Ready(model, precision).using()
