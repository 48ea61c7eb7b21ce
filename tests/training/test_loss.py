"""The loss against formulas in float64, and updates that must come out the same however they are computed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nmt.batch import PAD, Batch, padded_batch
from nmt.corpus.batches import Pool
from nmt.corpus.sides import side_of, store_of
from nmt.models.bahdanau import Bahdanau
from nmt.models.contract import Memory, Seq2Seq, State, Step
from nmt.recipe import Recipe
from nmt.training.backward import Eager
from nmt.training.distributed import Group
from nmt.training.loss import batch_loss
from nmt.training.stopping import StopRequest
from nmt.training.trainer import Trainer
from tests.training.tiny import recipe

PAIRS = [([5, 6], [7]), ([8], [4, 5, 6, 7, 8]), ([5, 9, 4], [9, 9])]


class Bigrams(Seq2Seq):
    """log P(word | previous word) is a row of a table: its loss can be added up by hand."""

    def __init__(self, n_ids: int) -> None:
        super().__init__()
        self.table = nn.Embedding(n_ids, 6)
        self.projection = nn.Linear(6, n_ids)

    def forward(self, batch: Batch) -> Tensor:
        return self.table(batch.tgt_in)

    def initialize(self) -> None:
        raise AssertionError("torch's own values will do")

    def encode(self, src: Tensor, keep: Tensor) -> Memory:
        raise AssertionError("never asked")

    def start(self, memory: Memory, beam: int, max_len: int) -> State:
        raise AssertionError("never asked")

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        raise AssertionError("never asked")


def batch_of(pairs: list[tuple[list[int], list[int]]]) -> Batch:
    return padded_batch([src for src, _ in pairs], [tgt for _, tgt in pairs])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_the_loss_is_the_formulas_sum_over_real_words(smoothing: float) -> None:
    torch.manual_seed(0)
    model, V = Bigrams(10).double(), 10
    batch = batch_of(PAIRS)
    smoothed, nll = 0.0, 0.0
    log_p = (model.table.weight @ model.projection.weight.T + model.projection.bias).log_softmax(-1).detach()
    for prev, word in zip(batch.tgt_in.flatten().tolist(), batch.tgt_out.flatten().tolist(), strict=True):
        if word == PAD:
            continue
        # (1 - e) on the right word and e spread over all V words, the right one too (Szegedy et al. 2016, section 7).
        q = torch.full((V,), smoothing / V, dtype=torch.float64)
        q[word] += 1 - smoothing
        smoothed -= float((q * log_p[prev]).sum())
        nll -= float(log_p[prev, word])
    found = batch_loss(model, batch, smoothing)
    assert float(found.smoothed.detach()) == pytest.approx(smoothed, rel=1e-12)
    assert float(found.nll) == pytest.approx(nll, rel=1e-12)


def test_padding_adds_nothing_to_the_loss() -> None:
    torch.manual_seed(0)
    model = Bigrams(10).double()
    batch = batch_of(PAIRS)
    more = {name: nn.functional.pad(getattr(batch, name), (0, 4), value=PAD) for name in ("src", "tgt_in", "tgt_out")}
    losses = [batch_loss(model, b, 0.1) for b in (batch, replace(batch, **more))]
    assert losses[0].smoothed.item() == losses[1].smoothed.item()


# What an update makes of it: Trainer._gradients on batches of our choice.


def pool() -> Pool:
    """PAIRS, with no corpus behind them."""
    all_pairs = np.arange(len(PAIRS))
    src, tgt = (side_of([store_of(side)], all_pairs) for side in zip(*PAIRS, strict=True))
    return Pool(all_pairs, [all_pairs], src, tgt, "padded", (0, 0), np.empty(0, np.int64))


def gradients(indices: list[int], **train: Any) -> dict[str, Tensor]:
    """The gradients that an update on these pairs steps by."""
    torch.manual_seed(1)
    made = Recipe.model_validate(recipe(train=train, model={"dropout": 0.0}))
    model = Bahdanau(10, 10, 8, 8, 8, 8)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.3, 0.3)
    trainer = Trainer.__new__(Trainer)
    trainer.recipe, trainer.model, trainer.device = made, model, torch.device("cpu")
    trainer.parameters, trainer.group, trainer.stop = list(model.parameters()), Group(), StopRequest()
    trainer.pool, trainer.backward = pool(), Eager(model, made.train, trainer.device)
    trainer._gradients(np.array(indices), 1)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for name in found:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def test_loss_per_token_weighs_every_word_the_same() -> None:
    """The mean over words: each sentence's mean enters by its share of the 2 + 6 + 3 words."""
    alone = [gradients([i], loss_per="token") for i in range(3)]
    mean = {name: (2 * alone[0][name] + 6 * alone[1][name] + 3 * alone[2][name]) / 11 for name in alone[0]}
    assert_close(gradients([0, 1, 2], loss_per="token"), mean, 1e-6)


def test_loss_per_sentence_sums_each_and_averages_over_sentences() -> None:
    alone = [gradients([i], loss_per="token") for i in range(3)]
    mean = {name: (2 * alone[0][name] + 6 * alone[1][name] + 3 * alone[2][name]) / 3 for name in alone[0]}
    assert_close(gradients([0, 1, 2], loss_per="sentence"), mean, 3e-6)


@pytest.mark.parametrize("parts", [2, 3, 4])
@pytest.mark.parametrize("loss_per", ["token", "sentence"])
def test_adding_up_parts_gives_the_same_gradient(parts: int, loss_per: str) -> None:
    whole = gradients([0, 1, 2, 1], loss_per=loss_per)
    assert_close(gradients([0, 1, 2, 1], loss_per=loss_per, grad_parts=parts), whole, 1e-6)
    assert max(float(g.abs().max()) for g in whole.values()) > 1e-3


def test_the_gradient_is_scaled_down_to_the_norm_and_never_up() -> None:
    made = Recipe.model_validate(recipe(train={"clip_norm": 2.0}))
    trainer = Trainer.__new__(Trainer)
    trainer.recipe, trainer.parameters = made, [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    for scale, wanted in ((1.0, 2 / 13), (0.1, 0.1)):  # |(3, 4, 12)| = 13
        for parameter, gradient in zip(trainer.parameters, ([3.0, 4.0], [12.0]), strict=True):
            parameter.grad = torch.tensor(gradient) * scale
        assert trainer._clip() == pytest.approx(13 * scale)
        found = torch.cat([p.grad for p in trainer.parameters if p.grad is not None])
        torch.testing.assert_close(found, torch.tensor([3.0, 4.0, 12.0]) * wanted)


def test_without_dropout_r_drop_is_the_plain_loss() -> None:
    torch.manual_seed(0)
    model, batch = Bigrams(10).double(), batch_of(PAIRS)
    plain, drawn = batch_loss(model, batch, 0.1), batch_loss(model, batch, 0.1, r_drop=5.0)
    torch.testing.assert_close((drawn.smoothed, drawn.nll), (plain.smoothed, plain.nll))
