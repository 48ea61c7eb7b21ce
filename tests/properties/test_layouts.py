"""The same pairs in any layout that a model takes: the same logits, the same loss, the same gradients."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nmt.batch import PAD, Batch, packed, sentences
from nmt.models.contract import Seq2Seq
from nmt.recipe_models import Layout
from nmt.training.loss import batch_loss
from tests.properties.kinds import PAIRS, VARIANTS, batch_of, build

ROWS: dict[Layout, list[int]] = {"rows": [1, 0, 1, 0, 1], "flat": [0, 0, 0, 0, 0]}
WIDTHS: dict[Layout, tuple[int, int]] = {"rows": (14, 11), "flat": (22, 19)}
"""With room to spare: padding at the end of rows, more in one than in the other."""

TAKING = [(name, layout) for name, config in VARIANTS.items() for layout in ROWS if layout in config.layouts]
in_every_layout = pytest.mark.parametrize(("name", "layout"), TAKING)


def together(layout: Layout, pairs: list[tuple[list[int], list[int]]] = PAIRS) -> Batch:
    src, tgt = (sentences(side) for side in zip(*pairs, strict=True))
    return packed(src, tgt, np.array(ROWS[layout]), WIDTHS[layout], layout)


def by_sentence(batch: Batch, layout: Layout) -> list[tuple[int, Tensor]]:
    """The row of each pair of PAIRS, and which of its target positions are the pair's."""
    if batch.layout == "padded":
        return [(row, batch.tgt_out[row] != PAD) for row in range(len(PAIRS))]
    assert batch.tgt_segments is not None
    seen = dict.fromkeys(ROWS[layout], 0)
    found = []
    for row in ROWS[layout]:
        seen[row] += 1
        found.append((row, batch.tgt_segments[row] == seen[row]))
    return found


def logits(model: Seq2Seq, batch: Batch, layout: Layout) -> list[Tensor]:
    """(T, V) of each pair."""
    whole = model.project(model(batch))
    return [whole[row][here] for row, here in by_sentence(batch, layout)]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_recipe_may_ask_for_what_the_model_takes(name: str) -> None:
    assert build(VARIANTS[name]).layouts == VARIANTS[name].layouts >= {"padded"}


def test_the_layouts_are_taken_by_somebody() -> None:
    assert {layout for _, layout in TAKING} == set(ROWS)
    assert {name.partition(",")[0] for name, _ in TAKING} >= {"transformer", "modern"}


@in_every_layout
@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.float64, 1e-11)], ids=str)
def test_logits_are_those_of_padded_rows(name: str, layout: Layout, dtype: torch.dtype, within: float) -> None:
    model = build(VARIANTS[name], dtype)
    with torch.no_grad():
        wanted, found = (logits(model, batch, layout) for batch in (batch_of(PAIRS), together(layout)))
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=within)


@in_every_layout
@pytest.mark.parametrize("r_drop", [0.0, 2.0])
def test_loss_and_gradients_are_those_of_padded_rows(name: str, layout: Layout, r_drop: float) -> None:
    found = []
    for batch in (batch_of(PAIRS), together(layout)):
        model = build(VARIANTS[name])
        sums = batch_loss(model, batch, 0.1, r_drop)
        sums.smoothed.backward()
        grads = {n: p.grad for n, p in model.named_parameters()}
        found.append((sums.smoothed.detach(), sums.nll, grads))
    (loss, nll, grads), (their_loss, their_nll, theirs) = found
    torch.testing.assert_close((loss, nll), (their_loss, their_nll), rtol=0, atol=1e-11)
    assert any(grad is not None and grad.abs().max() > 1e-3 for grad in grads.values())
    for parameter, grad in grads.items():
        torch.testing.assert_close(grad, theirs[parameter], rtol=0, atol=1e-11, msg=lambda m, n=parameter: n + m)


@in_every_layout
def test_what_stands_in_the_padding_is_never_read(name: str, layout: Layout) -> None:
    model, batch = build(VARIANTS[name]), together(layout)
    before = logits(model, batch, layout)
    with torch.no_grad():
        for table in (m for m in model.modules() if isinstance(m, nn.Embedding)):
            table.weight[PAD] = 1e3
    for one, other in zip(before, logits(model, batch, layout), strict=True):
        words = [i for i in range(one.shape[-1]) if i != PAD]  # a tied output's own row of PAD did change
        torch.testing.assert_close(one[:, words], other[:, words], rtol=0, atol=1e-11)


@in_every_layout
def test_a_word_changes_no_other_sentence(name: str, layout: Layout) -> None:
    model = build(VARIANTS[name])
    before = logits(model, together(layout), layout)
    for changed in range(len(PAIRS)):
        if not PAIRS[changed][0]:
            continue
        pairs = [([9 if i == changed else word for word in src], tgt) for i, (src, tgt) in enumerate(PAIRS)]
        after = logits(model, together(layout, pairs), layout)
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            assert (i == changed) == bool((one - other).abs().max() > 1e-9), i


@in_every_layout
def test_these_tests_see_a_sentence_that_is_looked_into(name: str, layout: Layout) -> None:
    """Negative control: with one segment where there are two the logits are others by far."""
    model, batch = build(VARIANTS[name]), together(layout)
    before = logits(model, batch, layout)[0]
    assert batch.src_segments is not None
    segments = batch.src_segments[ROWS[layout][0]]
    segments[segments == 2] = 1
    assert (logits(model, batch, layout)[0] - before).abs().max() > 1e-3


@in_every_layout
def test_training_with_dropout_goes_forward_and_back(name: str, layout: Layout) -> None:
    config = VARIANTS[name].model_copy(update={"dropout": 0.3})
    model = build(config, torch.float32).train()
    model.compute_dtype = torch.bfloat16
    batch_loss(model, together(layout), 0.1).smoothed.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
