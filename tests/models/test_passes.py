"""Models whose training on a CPU is compiled between products: losses and gradients of the plain forms in float64."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from nmt.batch import Batch, packed, sentences
from nmt.commands.check_kernels import _batch, _fill
from nmt.models.build import build_model
from nmt.models.contract import Seq2Seq
from nmt.ops.choose import PLAIN
from nmt.ops.fused import Fused, library
from nmt.recipe_file import load_recipe
from nmt.recipe_models import BahdanauConfig, Layout, ModelConfig, ModernConfig, RNNConfig, TransformerConfig
from nmt.training.loss import batch_loss

FUSED = library()[0]
pytestmark = pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")
RECIPES = Path(__file__).parents[2] / "recipes"

HEADS: dict[str, Any] = {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_ff": 24, "dropout": 0.0}
CELLS: dict[str, Any] = {"d_embed": 12, "d_hidden": 18, "dropout": 0.0}
SMALL: dict[str, ModelConfig] = {
    "transformer": TransformerConfig(kind="transformer", **HEADS),
    "transformer, pre": TransformerConfig(kind="transformer", norm="pre", **HEADS),
    "modern": ModernConfig(kind="modern", n_decoder_layers=1, n_kv_heads=1, **HEADS),
    "modern, qk_norm": ModernConfig(kind="modern", n_kv_heads=1, qk_norm=True, **HEADS),
    "modern, linear": ModernConfig(kind="modern", attention="linear", qk_norm=True, **HEADS),
    "bahdanau": BahdanauConfig(kind="bahdanau", d_align=10, d_maxout=9, **CELLS),
    "bahdanau, reset after": BahdanauConfig(kind="bahdanau", d_align=10, d_maxout=9, reset="after", **CELLS),
    "rnn, gru": RNNConfig(kind="rnn", cell="gru", attention="bahdanau", **CELLS),
    "rnn, lstm": RNNConfig(kind="rnn", cell="lstm", attention="luong", **CELLS),
    "rnn, none": RNNConfig(kind="rnn", cell="gru", attention="none", **CELLS),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(11)


def losses_and_gradients(model: Seq2Seq, batch: Batch, passes: Fused | None) -> list[Tensor]:
    model.use(replace(PLAIN, passes=passes))
    loss = batch_loss(model, batch, 0.1)
    found = torch.autograd.grad(loss.smoothed, list(model.parameters()))
    return [x.detach().double() for x in (loss.smoothed, loss.nll, *found)]


def both_forms(config: ModelConfig, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
    """Losses and gradients with passes in float32, and plain in float64; without dropout, whose masks differ."""
    model = build_model(config, 60, 60)
    _fill(model)
    model.eval()
    found = losses_and_gradients(model, batch, FUSED)
    model.double()
    model.compute_dtype = torch.float64
    return found, losses_and_gradients(model, batch, None)


def near(found: list[Tensor], wanted: list[Tensor]) -> None:
    """By the largest number of each."""
    for a, b in zip(found, wanted, strict=True):
        assert float((a - b).abs().max()) <= 1e-3 * max(float(b.abs().max()), 1e-6)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("en-fr-*.yaml")))
def test_models_have_the_loss_and_gradients_of_plain_float64(name: str) -> None:
    """At their recipe's sizes but for the vocabulary."""
    near(*both_forms(load_recipe(RECIPES / f"{name}.yaml").model, _batch(5, 9, torch.device("cpu"))))


@pytest.mark.parametrize("name", SMALL)
def test_small_models_of_odd_sizes_have_them_too(name: str) -> None:
    near(*both_forms(SMALL[name], _batch(5, 9, torch.device("cpu"))))


@pytest.mark.parametrize("layout", ["rows", "flat"])
@pytest.mark.parametrize("name", ["transformer", "modern"])
def test_models_have_them_of_packed_rows(name: str, layout: Layout) -> None:
    ids = [[5, 6, 7, 8, 9], [10], [4, 4, 11], [30, 31]]
    batch = packed(sentences(ids), sentences(ids[::-1]), np.array([0, 1, 0, 1]), (12, 14), layout)
    near(*both_forms(SMALL[name], batch))


@pytest.mark.parametrize("name", SMALL)
def test_passes_in_bfloat16_are_no_farther_from_the_truth_than_plain_forms(name: str) -> None:
    """Of many beginnings the better ones: where the two halves of a maxout are nearly equal, rounding decides in either
    form which of them gets the gradient, and that is a matter of luck.
    """
    found = list[tuple[float, ...]]()
    for seed in range(16):
        torch.manual_seed(seed)
        model, batch = build_model(SMALL[name], 60, 60).eval(), _batch(8, 9, torch.device("cpu"))
        _fill(model)
        model.compute_dtype = torch.bfloat16
        forms = [torch.cat([x.flatten() for x in losses_and_gradients(model, batch, one)]) for one in (FUSED, None)]
        model.double()
        model.compute_dtype = torch.float64
        truth = torch.cat([x.flatten() for x in losses_and_gradients(model, batch, None)])
        found.append(tuple(float((one - truth).norm() / truth.norm()) for one in forms))
    passes, plain = (sorted(errors)[4] for errors in zip(*found, strict=True))
    assert 0 < passes < 1.2 * plain < 0.1


@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)], ids=["float32", "bfloat16"]
)
@pytest.mark.parametrize("name", ["transformer", "bahdanau"])
def test_a_training_goes_where_that_with_plain_forms_goes(name: str, dtype: torch.dtype, error: float) -> None:
    batches = [_batch(6, length, torch.device("cpu")) for length in (7, 12)]

    def trained(passes: Fused | None) -> list[float]:
        torch.manual_seed(3)
        model = build_model(SMALL[name], 60, 60)
        _fill(model)
        model.use(replace(PLAIN, passes=passes))
        model.compute_dtype = dtype
        optimizer, losses = torch.optim.Adam(model.parameters(), 0.02), list[float]()
        for update in range(8):
            loss = batch_loss(model, batches[update % 2], 0.1).smoothed / 50
            losses.append(float(loss.detach()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return losses

    found = trained(FUSED)
    assert found == pytest.approx(trained(None), rel=error)
    assert found[-1] < 0.8 * found[1]


@pytest.mark.parametrize("name", ["transformer", "modern", "bahdanau"])
def test_models_drop_as_much_as_with_plain_forms(name: str) -> None:
    """The loss over many masks is as high, and varies as much: nothing is dropped twice or left out."""
    model, batch = (
        build_model(SMALL[name].model_copy(update={"dropout": 0.2}), 60, 60),
        _batch(6, 9, torch.device("cpu")),
    )
    _fill(model)

    def drawn(passes: Fused | None) -> Tensor:
        model.use(replace(PLAIN, passes=passes))
        return torch.stack([batch_loss(model, batch, 0.1).nll.detach() for _ in range(150)])

    found, wanted = drawn(FUSED), drawn(None)
    assert abs(float(found.mean() - wanted.mean())) < 4 * float((found.var() + wanted.var()) / 150) ** 0.5
    assert float(found.std() / wanted.std()) == pytest.approx(1, abs=0.35)


def test_a_loss_without_gradients_has_the_plain_forms() -> None:
    """As validation has it. What stands for the passes here cannot do anything."""
    model, batch = build_model(SMALL["transformer"], 60, 60).eval(), _batch(3, 5, torch.device("cpu"))
    model.use(replace(PLAIN, passes=cast(Fused, object())))
    with torch.no_grad():
        batch_loss(model, batch, 0.1)
    with pytest.raises(AttributeError):
        batch_loss(model, batch, 0.1)
