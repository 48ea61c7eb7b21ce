"""Models on fused kernels: the same features and gradients as on the plain forms, in whole and step by step."""

import copy
import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nmt.batch import Batch, packed, padded_batch, sentences
from nmt.models.build import build_model
from nmt.models.contract import Seq2Seq
from nmt.ops.choose import PLAIN, AttendPacked, Kernels
from nmt.recipe_models import (
    BahdanauConfig,
    ChoConfig,
    GNMTConfig,
    LuongConfig,
    ModelConfig,
    ModernConfig,
    RNNConfig,
    SutskeverConfig,
    TransformerConfig,
)
from nmt.training.loss import batch_loss

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZES: dict[str, Any] = {"d_embed": 6, "d_hidden": 8, "d_align": 5}
CONCAT: dict[str, Any] = {**SIZES, "n_layers": 1, "score": "concat", "reach": "global"}
MODELS: dict[str, ModelConfig] = {
    "bahdanau": BahdanauConfig(kind="bahdanau", d_maxout=4, **SIZES),
    "gnmt": GNMTConfig(kind="gnmt", n_layers=2, d_model=8, d_align=5),
    "luong, fed": LuongConfig(kind="luong", **CONCAT),
    "luong, fed, about a predicted position": LuongConfig(kind="luong", **{**CONCAT, "reach": "local_p", "window": 1}),
    "luong, not fed": LuongConfig(kind="luong", input_feeding=False, **CONCAT),
    "luong, not fed, about its position": LuongConfig(
        kind="luong", input_feeding=False, **{**CONCAT, "reach": "local_m", "window": 1}
    ),
    "rnn": RNNConfig(kind="rnn", attention="bahdanau", cell="gru", n_layers=1, **SIZES),
}
HEADS: dict[str, Any] = {"n_layers": 1, "n_decoder_layers": 2, "d_model": 8, "n_heads": 2, "d_ff": 8}
OF_ROWS: dict[str, ModelConfig] = {
    "transformer": TransformerConfig(kind="transformer", **HEADS),
    "modern": ModernConfig(kind="modern", n_kv_heads=1, **HEADS),
}


@pytest.fixture(scope="module")
def fused() -> Kernels:
    """What a GPU would get."""
    pytest.importorskip("triton", reason="Triton is not installed")
    module = importlib.import_module("nmt.ops.additive_triton")
    return Kernels(additive_align=module.align, additive_attend=module.attend, additive_steps=module.Steps)


def built(config: ModelConfig) -> Seq2Seq:
    torch.manual_seed(4)
    model = build_model(config, 12, 12).to(DEVICE).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5)
    return model


def batch() -> Batch:
    return padded_batch([[5, 6, 7, 8], [9]], [[4, 5], [6, 7, 8]]).to(DEVICE)


def rows(width: int) -> Batch:
    src, tgt = sentences([[5, 6, 7, 8], [9], [4, 4, 10]]), sentences([[4, 5], [6, 7, 8], [11]])
    return packed(src, tgt, np.array([0, 1, 0]), (width, 7), "rows").to(DEVICE)


def results(model: Seq2Seq, given: Batch | None = None) -> list[torch.Tensor]:
    features = model(given or batch())
    gradients = torch.autograd.grad(features.sin().sum(), list(model.parameters()), allow_unused=True)
    return [features.detach(), *(g for g in gradients if g is not None)]


@pytest.mark.parametrize("name", MODELS)
def test_fused_kernels_change_nothing(fused: Kernels, name: str) -> None:
    model = built(MODELS[name])
    wanted = results(model)
    model.use(fused)
    for found, true in zip(results(model), wanted, strict=True):
        assert float((found - true).abs().max()) <= 1e-4 * float(true.abs().max())
    with torch.no_grad():
        torch.testing.assert_close(Seq2Seq.forward(model, batch()), wanted[0], atol=1e-5, rtol=0)


def counted(attend: AttendPacked, times: list[bool]) -> Kernels:
    """Kernels with a form of attention over packed rows that notes each time it runs, and whether it is causal."""

    def noting(q: Tensor, k: Tensor, v: Tensor, mine: Tensor, theirs: Tensor, causal: bool, drop: float) -> Tensor:
        times.append(causal)
        return attend(q, k, v, mine, theirs, causal, drop)

    return Kernels(packed_attend=noting)


@pytest.mark.parametrize("width", [10, 130], ids=["one tile", "a row that is longer"])
@pytest.mark.parametrize("name", OF_ROWS)
def test_fused_attention_over_rows_changes_nothing(name: str, width: int) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    model, times = built(OF_ROWS[name]), list[bool]()
    if DEVICE.type == "cuda":
        model.compute_dtype = torch.bfloat16
    wanted = results(model, rows(width))
    model.use(counted(importlib.import_module("nmt.ops.packed_triton").attend, times))
    for found, true in zip(results(model, rows(width)), wanted, strict=True):
        assert float((found - true).abs().max()) <= (1e-4 if DEVICE.type == "cpu" else 0.1) * float(true.abs().max())
    assert times == [False, True, False, True, False]  # the encoder; then each decoder layer on itself and the source


def test_only_rows_have_attention_over_rows() -> None:
    for name, config in OF_ROWS.items():
        model, times = built(config), list[bool]()
        model.use(counted(PLAIN.packed_attend, times))
        for other in (batch(), replace(rows(20), layout="flat")):
            model(other)
            assert not times, name


RECURRENT = {
    **MODELS,
    "cho": ChoConfig(kind="cho", d_embed=6, d_hidden=8, d_maxout=4),
    "sutskever": SutskeverConfig(kind="sutskever", n_layers=2, d_embed=6, d_hidden=8),
    "bahdanau, reset after": BahdanauConfig(kind="bahdanau", d_maxout=4, reset="after", **SIZES),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_fused_cells_change_nothing_and_take_every_step(name: str) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    triton_cells = importlib.import_module("nmt.ops.cells_triton").TritonCells()
    model, found, steps = built(RECURRENT[name]), list[list[Tensor]](), list[str]()

    class Counted:
        def __getattr__(self, name: str) -> Any:
            steps.append(name)
            return getattr(triton_cells, name)

    for kernels in (PLAIN, Kernels(cells=Counted())):
        model.use(kernels)
        sums = batch_loss(model, batch(), 0.1)
        found.append([sums.nll, *torch.autograd.grad(sums.smoothed, list(model.parameters()))])
    for ours, true in zip(found[1], found[0], strict=True):
        assert float((ours - true).abs().max()) <= 1e-4 * max(float(true.abs().max()), 1e-2)
    forth = [step for step in steps if not step.endswith("backward")]
    back = [step for step in steps if step.endswith("backward")]
    assert len(forth) == len(back) >= 5 + 4  # more than the words of either side


OPERATIONS = {name: {"additive", "cells"} for name in MODELS} | {name: {"packed"} for name in OF_ROWS}


@pytest.mark.parametrize("name", OPERATIONS)
def test_models_say_what_they_can_choose(name: str) -> None:
    assert build_model((MODELS | OF_ROWS)[name], 9, 9).all_operations() == OPERATIONS[name]


@pytest.mark.parametrize("attention", ["window", "strided", "linear"])
def test_attention_to_a_part_of_the_sentence_has_nothing_to_choose(attention: Any) -> None:
    assert not build_model(ModernConfig(kind="modern", attention=attention, **HEADS), 9, 9).all_operations()


def test_a_model_without_additive_attention_has_nothing_of_it_to_choose() -> None:
    product = LuongConfig(kind="luong", **{**CONCAT, "score": "general"})
    assert "additive" not in build_model(product, 9, 9).all_operations()


def test_use_reaches_every_layer_and_leaves_the_class_alone() -> None:
    other = Kernels(additive_align=lambda query, keys, v, may: query)
    model = build_model(MODELS["luong, fed"], 9, 9)
    model.use(other)
    chosen = [module.kernels for module in model.modules() if hasattr(module, "kernels")]
    assert chosen == [other, other]
    assert build_model(MODELS["luong, fed"], 9, 9).kernels is PLAIN
    assert copy.deepcopy(model).kernels.additive_align is other.additive_align
