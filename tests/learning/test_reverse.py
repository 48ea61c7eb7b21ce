"""Every kind of model learns to write a string backwards: training and search as a whole, on a task with an answer."""

import random
import time
from typing import Any

import pytest
import torch
from torch import nn

from nmt.batch import BOS, PAD, SPECIALS, pad_rows, padded_batch
from nmt.models.build import build_model
from nmt.models.contract import Seq2Seq
from nmt.models.initialize import initialize
from nmt.recipe import SearchConfig
from nmt.recipe_init import XavierInit
from nmt.recipe_optim import Adam, InverseSqrt
from nmt.search.beam import search
from nmt.training.loss import batch_loss
from nmt.training.optim import PlateauState, build_optimizer, learning_rate
from tests.properties.kinds import CONFIGS, tiny

KINDS = {config.model_fields["kind"].annotation.__args__[0]: config for config in CONFIGS}  # pyright: ignore


def strings(rng: random.Random, n: int, alphabet: int, shortest: int, longest: int) -> list[list[int]]:
    first = len(SPECIALS)
    return [[rng.randrange(first, first + alphabet) for _ in range(rng.randint(shortest, longest))] for _ in range(n)]


def learn(config: Any, lengths: tuple[int, int], alphabet: int, updates: int, lr: float, batch: int) -> Seq2Seq:
    """A model trained on strings that are drawn anew for every update."""
    torch.manual_seed(1)
    rng = random.Random(1)
    model = build_model(config, len(SPECIALS) + alphabet, len(SPECIALS) + alphabet)
    initialize(model, XavierInit(kind="xavier"))
    parameters = list(model.parameters())
    optimizer = build_optimizer(Adam(), model, lr)
    schedule = InverseSqrt(kind="inverse_sqrt", warmup_updates=max(1, updates // 8))
    for update in range(1, updates + 1):
        src = strings(rng, batch, alphabet, *lengths)
        pairs = padded_batch(src, [ids[::-1] for ids in src])
        (batch_loss(model, pairs, 0.0).smoothed / pairs.tgt_tokens).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, lr, update, 0.0, PlateauState())
        optimizer.step()
        optimizer.zero_grad()
    return model


def attends(model: Seq2Seq) -> bool:
    """Whether the model looks back at the source at each step: it has attention weights to show."""
    src = pad_rows([[5]], eos=True)
    memory = model.encode(src, src != PAD)
    return model.step(torch.tensor([BOS]), memory, model.start(memory, 1, 1), want_weights=True).weights is not None


def share_right(model: Seq2Seq, src: list[list[int]]) -> float:
    """Share of the strings that a beam of 2 writes backwards without a fault."""
    found = search(model, pad_rows(src, eos=True), SearchConfig(beam=2, max_len_ratio=1.0, max_len_extra=2))
    return sum(best[0].ids == ids[::-1] for best, ids in zip(found, src, strict=True)) / len(src)


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_learns_to_reverse_short_strings_in_seconds(kind: str) -> None:
    """Of 8 letters and 2 to 4 of them: guessing letters is right once in 64 times at best, copying once in 8."""
    model = learn(tiny(KINDS[kind], width=32), (2, 4), alphabet=8, updates=200, lr=1e-2, batch=64)
    src = strings(random.Random(2), 200, 8, 2, 4)
    palindromes = sum(ids == ids[::-1] for ids in src) / len(src)
    assert palindromes < 0.15
    assert share_right(model, src) > 0.7


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_every_model_reverses_nearly_all_unseen_strings(kind: str, record_property: Any) -> None:
    """An alphabet of 30 and lengths of 5 to 12: the odds against having seen one of these 500 are astronomic.

    Without attention 3 to 6, and twice the width at a lower rate, for one vector has to hold it all; some 77 of those
    500, nearly all of three letters, can be expected to have been seen.
    """
    started = time.monotonic()
    attentive = attends(build_model(tiny(KINDS[kind]), 34, 34))
    width, lengths, lr = (64, (5, 12), 5e-3) if attentive else (128, (3, 6), 2e-3)
    model = learn(tiny(KINDS[kind], width=width), lengths, alphabet=30, updates=1500, lr=lr, batch=64)
    right = share_right(model, strings(random.Random(2), 500, 30, *lengths))
    record_property("share_right", right)
    record_property("seconds", time.monotonic() - started)
    assert right >= 0.95
