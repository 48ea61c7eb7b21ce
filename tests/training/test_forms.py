"""Which layout and which kernels a training has on which device."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.errors import UsageError
from nmt.models.build import build_model
from nmt.ops.choose import training_dtype
from nmt.recipe import Recipe
from nmt.recipe_file import load_recipe
from nmt.training.forms import Forms, choose_forms
from nmt.training.progress import changed_keys, fixed_keys
from tests.training import tiny
from tests.training.warm import Warm

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NONE_OF_RECURRENT: dict[str, Any] = dict.fromkeys(("d_embed", "d_hidden", "d_align", "d_maxout"))
TRANSFORMER: dict[str, Any] = {
    **NONE_OF_RECURRENT,
    "kind": "transformer",
    "n_layers": 1,
    "d_model": 8,
    "n_heads": 2,
    "d_ff": 8,
}
MODERN: dict[str, Any] = {**TRANSFORMER, "kind": "modern", "n_decoder_layers": 1}


@pytest.fixture
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has a GPU on which Triton runs."""
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setenv("CC", "/usr/bin/cc")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


def made(
    model: dict[str, Any] = TRANSFORMER, dtype: str = "bfloat16", kernels: str = "auto", **train: object
) -> Recipe:
    by_tokens = {"batch_sentences": None, "batch_tokens": 150, **train}
    recipe = tiny.recipe(model=model, train=by_tokens, compute={"dtype": dtype, "kernels": kernels})
    return Recipe.model_validate(recipe)


def chosen(recipe: Recipe, device: torch.device = CUDA) -> Forms:
    return choose_forms(recipe, build_model(recipe.model, 9, 9), device)


@pytest.mark.usefixtures("_gpu")
@pytest.mark.parametrize("model", [TRANSFORMER, MODERN], ids=["transformer", "modern"])
def test_auto_is_rows_where_attention_over_them_is_fused(model: dict[str, Any]) -> None:
    forms = chosen(made(model))
    assert forms.layout == "rows"
    assert forms.choice.kernels.packed_attend.__module__ == "nmt.ops.packed_triton"
    assert forms.lines() == [
        "layout: rows (attention over packed rows is fused)",
        "kernels: attention over packed rows fused, loss of the vocabulary fused",
    ]


def test_auto_is_padded_on_a_cpu() -> None:
    assert chosen(made(kernels="plain"), CPU).lines() == [
        "layout: padded (as the recipe asks)",
        "kernels: passes between products plain (as the recipe asks)",
    ]
    assert chosen(made(), CPU).lines()[0] == (
        "layout: padded (the fused kernels need a CUDA device, and this one is a CPU)"
    )


@pytest.mark.usefixtures("_gpu")
@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        (made(NONE_OF_RECURRENT | {"kind": "rnn", "n_layers": 1, "d_embed": 8, "d_hidden": 8}), "rnn takes no other"),
        (made(batch_tokens=None, batch_sentences=4), "others need train.batch_tokens"),
        (made(MODERN | {"attention": "window"}), "model.attention has no fused form for rows"),
        (made(dtype="float32"), "attention over packed rows has no fused form for float32"),
        (made(kernels="plain"), "as the recipe asks"),
        (
            made(row_tokens=200),
            "attention over packed rows has no fused form for rows or heads wider than 128, and these have 200",
        ),
        (
            made(TRANSFORMER | {"d_model": 320}),
            "attention over packed rows has no fused form for rows or heads wider than 128, and these have 160",
        ),
    ],
)
def test_auto_is_padded_where_nothing_is_fused(recipe: Recipe, why: str) -> None:
    forms = chosen(recipe)
    assert forms.layout == "padded"
    assert "packed" not in forms.choice.forms
    assert forms.lines()[0] == f"layout: padded ({why})"


@pytest.mark.usefixtures("_gpu")
@pytest.mark.parametrize(("layout", "forms"), [("padded", {}), ("rows", {"packed": "fused"}), ("flat", {})])
def test_a_layout_is_had_by_asking_and_its_kernels_with_it(layout: str, forms: dict[str, str]) -> None:
    found = chosen(made(layout=layout))
    assert (found.layout, found.choice.forms) == (layout, forms | {"loss": "fused"})
    assert found.lines()[0] == f"layout: {layout} (as the recipe has it)"


def test_rows_on_a_cpu_have_the_plain_form() -> None:
    forms = chosen(made(layout="rows"), CPU)
    assert (forms.layout, forms.choice.forms["packed"]) == ("rows", "plain")


@pytest.mark.usefixtures("_gpu")
def test_fused_rows_that_are_too_wide_are_an_error() -> None:
    with pytest.raises(UsageError) as caught:
        chosen(made(kernels="fused", layout="rows", row_tokens=200))
    assert str(caught.value) == (
        "error: attention over packed rows has no fused form for rows or heads wider than 128, and these have 200\n"
        "  use train.row_tokens and model.d_model / model.n_heads up to 128, or compute.kernels: auto"
    )


@pytest.mark.usefixtures("_gpu")
@pytest.mark.parametrize(
    ("recipe", "layout"), [(made(kernels="fused"), "rows"), (made(kernels="fused", dtype="float32"), "padded")]
)
def test_fused_asks_nothing_of_what_a_layout_does_not_have(recipe: Recipe, layout: str) -> None:
    assert chosen(recipe).layout == layout


def test_a_settled_recipe_differs_in_its_layout_alone() -> None:
    recipe = made()
    settled = chosen(recipe, CPU).settle(recipe)
    assert settled.train.layout == "padded"
    assert settled.model_copy(update={"train": recipe.train}) == recipe
    moved = changed_keys(fixed_keys(settled), fixed_keys(made(layout="rows")))
    assert moved == ["train.layout: padded -> rows"]  # what a resumed training refuses


# --- compute.dtype: auto ----------------------------------------------------------------------------------------------


def test_a_training_says_which_type_auto_is_and_goes_on_with_the_one_it_began_with(warm: Warm, tmp_path: Path) -> None:
    """To the bytes of a training that names the type: here the one that auto would not take on this machine."""
    here = training_dtype("auto", CPU)
    other = "float32" if here == "bfloat16" else "bfloat16"
    fresh, whole, begun = tmp_path / "fresh", tmp_path / "whole", tmp_path / "begun"
    tiny.write(fresh, tiny.recipe(compute={"dtype": "auto"}, train={"updates": 2}))
    tiny.write(whole, tiny.recipe(compute={"dtype": other}))
    tiny.write(begun, tiny.recipe(compute={"dtype": other}, train={"updates": 8}))
    for folder in (fresh, whole, begun):
        process = warm.start(folder, tiny.TRAIN)
        assert process.wait() == 0, process.stderr
    assert load_recipe(fresh / "runs" / "tiny" / "recipe.yaml").compute.dtype == here
    assert tiny.events(fresh, "start")[0]["dtype"] == here
    tiny.write(begun, tiny.recipe(compute={"dtype": "auto"}))
    process = warm.start(begun, tiny.TRAIN)
    assert process.wait() == 0, process.stderr
    assert tiny.events(begun, "start")[-1]["dtype"] == other
    assert tiny.result(begun) == tiny.result(whole)


def test_compiled_layers_leave_what_is_between_products_to_torch() -> None:
    recipe = made(dtype="float32", kernels="auto")
    compute = recipe.compute.model_copy(update={"compile": "layers"})
    forms = chosen(recipe.model_copy(update={"compute": compute}), CPU)
    assert forms.choice.kernels.passes is None
    assert "passes" not in forms.choice.forms
    assert forms.lines()[-1] == "layers: compiled as batches first come through"
    assert "passes" in chosen(recipe, CPU).choice.forms


def test_fused_passes_and_compiled_layers_exclude_each_other() -> None:
    recipe = made(dtype="float32", kernels="fused")
    compute = recipe.compute.model_copy(update={"compile": "layers"})
    with pytest.raises(UsageError) as caught:
        chosen(recipe.model_copy(update={"compute": compute}), CPU)
    assert str(caught.value) == (
        "error: compute.kernels: fused: with compute.compile the passes between products are torch's\n"
        "  use compute.kernels: auto, or compute.compile: off"
    )


@pytest.mark.usefixtures("_gpu")
def test_r_drop_has_a_loss_of_its_own() -> None:
    recipe = made()
    train = recipe.train.model_copy(update={"r_drop": 1.0})
    assert "loss" not in chosen(recipe.model_copy(update={"train": train})).choice.forms


def test_a_training_that_records_its_updates_says_so() -> None:
    recipe = made()
    compute = recipe.compute.model_copy(update={"cuda_graphs": True})
    assert chosen(recipe.model_copy(update={"compute": compute}), CPU).lines()[-1] == (
        "updates: recorded as CUDA graphs, one for each shape of batch that comes a second time"
    )
