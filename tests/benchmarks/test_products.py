"""The products that an update is counted to have, and the limit made of them."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from benchmarks import passes, products, train
from benchmarks.products import Limit, Product, Products
from nmt.batch import padded_batch
from nmt.corpus.batches import Batches
from nmt.ops.choose import PLAIN
from nmt.recipe import Recipe
from nmt.training.cost import batch_cost
from nmt.training.loss import batch_loss
from tests.corpus.lengths import news, shard
from tests.training import tiny

MODELS = {
    "transformer": {"kind": "transformer", "n_layers": 1, "d_model": 8, "n_heads": 2, "d_ff": 16},
    "bahdanau": tiny.RECIPE["model"],
}


def recipe_of(kind: str) -> Recipe:
    return Recipe.model_validate({**tiny.recipe(), "model": MODELS[kind]})


def test_each_kind_of_product_is_counted_with_how_its_factors_lie() -> None:
    x, w = torch.ones(6, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    with Products() as found:
        (F.linear(x, w) * torch.rand(6, 4)).sum().backward()
    f32 = torch.float32
    assert found.found == {
        Product(1, 6, 3, 4, False, True, f32): 1,  # x W^T
        Product(1, 6, 4, 3, False, False, f32): 1,  # the gradient of x
        Product(1, 4, 6, 3, True, False, f32): 1,  # that of W
    }
    assert found.flops == 3 * 2 * 6 * 3 * 4


def test_batched_products_and_those_with_a_sum_are_counted() -> None:
    with Products() as found:
        torch.bmm(torch.ones(5, 2, 3), torch.ones(5, 3, 4))
        torch.addmm(torch.ones(7), torch.ones(2, 3), torch.ones(3, 7))
        torch.ones(2, 7).addmm_(torch.ones(2, 3), torch.ones(3, 7))
    assert found.flops == 2 * (5 * 2 * 3 * 4) + 2 * 2 * (2 * 3 * 7)


def test_attention_in_one_call_is_counted_as_its_products() -> None:
    q, k = torch.ones(2, 3, 5, 8, requires_grad=True), torch.ones(2, 3, 7, 8, requires_grad=True)
    with Products() as found:
        F.scaled_dot_product_attention(q, k, k).sum().backward()
    assert found.flops == 6 * (2 * 2 * 3 * 5 * 7 * 8)


@pytest.mark.parametrize("kind", MODELS)
def test_the_limit_is_a_rate_of_products_over_the_models_operations(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With products at 1 Gflop/s each, the limit is that over three forward passes a token: batch_cost's count."""
    monkeypatch.setattr(products, "seconds_of", lambda product, device, seconds: product.flops / 1e9)
    model = train.started_model(recipe_of(kind), None, "float32")
    ids = [[4] * 6] * 5
    found = products.limit(model, [padded_batch(ids, ids)], 0.1)
    assert found.rate == pytest.approx(1e9)
    assert found.model_flops == batch_cost(model, 5, 7).flops / 35
    assert found.tokens_per_second == pytest.approx(1e9 / found.model_flops)


def test_a_limit_of_tokens_is_operations_over_operations() -> None:
    assert Limit(model_flops=50e6, rate=150e9).tokens_per_second == 3000


def test_a_product_takes_some_time_however_it_lies() -> None:
    for count, left, right in ((1, False, True), (3, True, False)):
        product = Product(count, 5, 6, 7, left, right, torch.bfloat16)
        assert 0 < products.seconds_of(product, torch.device("cpu"), 0.001) < 1


def test_variants_are_all_combinations_that_a_model_has() -> None:
    assert train.variants({"padded"}, compiles=False) == [
        {"compute.dtype": dtype, "train.layout": "padded", "compute.kernels": form, "compute.compile": "off"}
        for dtype in ("float32", "bfloat16")
        for form in ("plain", "auto")
    ]
    found = train.variants({"padded", "rows", "flat"}, compiles=True, dtypes=["float32"])
    assert [keys["train.layout"] for keys in found] == ["padded"] * 3 + ["rows"] * 3 + ["flat"] * 3
    assert [keys["compute.compile"] for keys in found] == ["off", "off", "layers"] * 3


def test_a_point_counts_real_target_tokens() -> None:
    recipe = recipe_of("transformer")
    found = train.point("tiny", recipe, train.started_model(recipe, None, "float32"), "float32", 3, 5)
    assert (found.sentences, found.length, found.peak_bytes) == (3, 5, None)
    assert found.tokens_per_second > 0


@pytest.mark.parametrize(("layout", "share"), [("padded", 0.8), ("rows", 0.8), ("flat", 0.9)])
def test_batches_are_loaded_and_their_tokens_counted(layout: Any, share: float) -> None:
    src, tgt = news(400)
    found = train.loaded(Batches([shard(src, tgt)], 1, 1000, layout=layout), epochs=1)
    assert found.tokens == int(src.sum() + tgt.sum()) + 2 * 400  # an end of sentence each
    assert share < found.real_share <= 1
    assert 0.75 * found.real_share < found.roomy_share <= found.real_share
    assert 1 <= found.shapes <= found.batches
    assert 0 < found.cut_and_loaded_per_second < found.loaded_per_second


def test_as_many_updates_are_timed_as_fit() -> None:
    assert len(train.measured_updates(lambda: 0.5, seconds=2.0)) == 4
    assert len(train.measured_updates(lambda: 5.0, seconds=2.0)) == 3


@pytest.mark.parametrize("kind", MODELS)
def test_both_forms_of_passes_are_timed_on_the_same_batches(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of our own, on which an update takes 3 seconds with the plain forms and 2 with the compiled ones."""
    recipe = recipe_of(kind)
    model, now, forms = train.started_model(recipe, None, "float32"), [0.0], list[str]()
    chosen = {"plain": PLAIN, "auto": dataclasses.replace(PLAIN)}
    monkeypatch.setattr(passes, "choose_kernels", lambda form, *_: SimpleNamespace(kernels=chosen[form]))
    monkeypatch.setattr(passes.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(
        type(model), "use", lambda _, kernels: forms.append("auto" if kernels is not PLAIN else "plain")
    )

    def loss(*given: Any) -> Any:
        now[0] += 3 if forms[-1] == "plain" else 2
        return batch_loss(*given)

    monkeypatch.setattr(passes, "batch_loss", loss)
    batches = [padded_batch([[4] * n] * 5, [[5] * n] * 5) for n in (3, 4)]
    found = passes.gain(recipe, model, batches, seconds=20.0)
    assert (found.kind, found.dtype, found.updates) == (kind, "float32", 4)
    assert found.times == found.quarter == found.three_quarters == 1.5
    assert (found.plain, found.compiled) == (round(90 / 12, 1), round(90 / 8, 1))  # (4 + 5) x 5 target tokens, twice
    assert forms[4:] == ["auto", "plain", "plain", "auto"] * 2
