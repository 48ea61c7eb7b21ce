"""compute.compile: which layers are compiled, that they compute the same, and what a training tells of it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nmt.batch import Batch, packed, padded_batch, sentences
from nmt.errors import UsageError
from nmt.models.build import build_model
from nmt.models.contract import Seq2Seq
from nmt.recipe import Recipe
from nmt.recipe_file import load_recipe
from nmt.recipe_models import Layout
from nmt.training.compiled import CompiledLayers
from nmt.training.loss import batch_loss
from nmt.training.progress import changed_keys, fixed_keys
from tests.training import tiny
from tests.training.test_forms import MODERN, TRANSFORMER
from tests.training.warm import Warm

RECIPES = Path(__file__).parents[2] / "recipes"
CONVS2S: dict[str, Any] = {
    **dict.fromkeys(("d_hidden", "d_align", "d_maxout")),
    **{"kind": "convs2s", "d_embed": 8, "d_out": 8, "encoder": [{"n_layers": 2, "d_hidden": 8, "kernel": 3}]},
    "initialization": None,
}
MODELS = {
    "transformer": TRANSFORMER,
    "modern": {**MODERN, "qk_norm": True},
    "window": {**MODERN, "attention": "window", "window": 2},
    "linear": {**MODERN, "attention": "linear"},
    "convs2s": CONVS2S,
}
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's tracer


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """What another test compiled is forgotten."""
    torch.manual_seed(3)
    yield
    torch.compiler.reset()


def made(model: dict[str, Any], **sections: Any) -> Recipe:
    return Recipe.model_validate(tiny.recipe(model=model, **sections))


def batch_of(layout: Layout) -> Batch:
    src = [[5, 6, 7, 8], [9], [4, 4, 10]]
    if layout == "padded":
        return padded_batch(src, src[::-1])
    return packed(sentences(src), sentences(src[::-1]), np.array([0, 1, 0]), (12, 12), layout)


def losses_and_gradients(model: Seq2Seq, batch: Batch) -> list[Tensor]:
    loss = batch_loss(model, batch, 0.1)
    return [loss.smoothed.detach(), *torch.autograd.grad(loss.smoothed, list(model.parameters()))]


def assert_the_same_after(change: Callable[[Seq2Seq], None], name: str, layout: Layout) -> None:
    """Losses and gradients of a model of MODELS are what they were before."""
    model, batch = build_model(made(MODELS[name]).model, 12, 12), batch_of(layout)
    model.initialize()
    model.eval()
    wanted = losses_and_gradients(model, batch)
    change(model)
    for one, other in zip(losses_and_gradients(model, batch), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


CASES: list[tuple[str, Layout]] = [
    *((name, "padded") for name in MODELS),
    *(("transformer", "rows"), ("transformer", "flat"), ("modern", "rows"), ("linear", "flat")),
]


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_layers_are_whole_graphs_that_compute_the_same(name: str, layout: Layout) -> None:
    """As torch traces them, without code made of that: no layer falls into pieces."""

    def traced(model: Seq2Seq) -> None:
        for layer in model.compilable():
            layer.compile(backend="eager", fullgraph=True, dynamic=layout == "padded")

    assert_the_same_after(traced, name, layout)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler here")
@pytest.mark.parametrize(("name", "layout"), CASES)
def test_the_code_made_of_them_computes_the_same(name: str, layout: Layout) -> None:
    layers = list[CompiledLayers]()
    assert_the_same_after(lambda model: layers.append(CompiledLayers("layers", model, layout)), name, layout)
    assert layers[0].seconds() > 1.0


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("en-fr-*.yaml")))
def test_a_recipe_knows_whether_its_model_has_such_layers(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert recipe.model.compiles == bool(build_model(recipe.model, 60, 60).compilable())


def test_what_cannot_be_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tiny.write(tmp_path, tiny.recipe(compute={"compile": "layers"})) / "recipe.yaml"
    with pytest.raises(UsageError, match=r"compute\.compile layers is not for bahdanau, whose steps are a loop"):
        load_recipe(path)
    with pytest.raises(UsageError, match="this model has no layers that can be compiled"):
        CompiledLayers("layers", build_model(Recipe.model_validate(tiny.recipe()).model, 9, 9), "padded")


def test_layers_run_as_they_are_written_where_nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code that cannot run stands for the compiler's."""

    def broken(*_: object, **__: object) -> Any:
        def run(*_: object) -> Any:
            raise RuntimeError("compiled code runs")

        return run

    model, batch = build_model(made(TRANSFORMER).model, 12, 12), batch_of("padded")
    model.initialize()
    layers = CompiledLayers("off", model, "padded")
    with layers.as_written():
        batch_loss(model, batch, 0.0)
    assert layers.seconds() == 0.0
    monkeypatch.setattr(torch, "compile", lambda call, **_: torch._dynamo.optimize(broken)(call))
    layers = CompiledLayers("layers", model, "padded")
    with layers.as_written():
        batch_loss(model, batch, 0.0)
    with pytest.raises(RuntimeError, match="compiled code runs"):
        batch_loss(model, batch, 0.0)
    assert layers.seconds() > 0.0


def test_a_run_of_before_there_was_such_a_key_goes_on() -> None:
    fixed = fixed_keys(made(TRANSFORMER))
    older = {key: value for key, value in fixed.items() if key not in ("compute.compile", "compute.cuda_graphs")}
    assert changed_keys(older, fixed) == []
    assert changed_keys(older, fixed | {"compute.compile": "layers"}) == ["compute.compile: off -> layers"]
    assert changed_keys(older, fixed | {"compute.cuda_graphs": True}) == ["compute.cuda_graphs: False -> True"]


def test_a_training_tells_what_it_compiled_and_learns_as_without(warm: Warm, tmp_path: Path) -> None:
    losses = list[list[float]]()
    for how in ("off", "layers"):
        model = {**TRANSFORMER, "dropout": 0.0}
        recipe = tiny.recipe(model=model, compute={"compile": how, "kernels": "plain"}, train={"updates": 4})
        folder = tiny.write(tmp_path / how, recipe)
        process = warm.start(folder, tiny.TRAIN, {}, ["traced_alone"])
        assert process.wait() == 0, process.stderr
        losses.append([event["loss"] for event in tiny.events(folder, "validation")])
        told = tiny.events(folder, "compiled")
        [start] = tiny.events(folder, "start")
        assert (start["compile"], start["same_bytes"]) == (how, how == "off")
        if how == "off":
            assert not told
        else:
            assert told[0]["update"] == 1
            assert told[0]["seconds"] > 0
            assert "layers: compiled at update 1 in " in process.stderr
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
