"""What a training on a CPU does between its products, compiled, against the plain forms in float64."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nmt.commands.check_kernels import _batch, _fill
from nmt.models.build import build_model
from nmt.ops import additive_decoder, dot, dropout, gru
from nmt.ops.choose import PLAIN
from nmt.ops.cross_entropy import projected_cross_entropy
from nmt.ops.fused import LONGEST, NONE, Drop, Fused, fused_for, library, using
from nmt.ops.linear import linear, linear_relu
from nmt.ops.parts import parts
from nmt.recipe_file import load_recipe
from nmt.training.loss import batch_loss

FUSED = library()[0]
pytestmark = pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")
RECIPES = Path(__file__).parents[2] / "recipes"
TYPES = [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
by_type = pytest.mark.parametrize(("dtype", "error"), TYPES, ids=["float32", "bfloat16"])

Form = Callable[..., Tensor]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(11)


@pytest.fixture
def fused() -> Fused:
    assert FUSED is not None
    return FUSED


@pytest.fixture
def nothing_is_zero_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room that is asked for empty is full of NaN."""
    empty, like = torch.empty, torch.empty_like

    def filled(made: Tensor) -> Tensor:
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", lambda *a, **k: filled(empty(*a, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: filled(like(*a, **k)))
    monkeypatch.setattr(Tensor, "new_empty", lambda x, *a, dtype=None, **k: filled(empty(*a, dtype=dtype or x.dtype)))


def direction(y: Tensor) -> Tensor:
    """The same for every type."""
    return torch.linspace(-3, 5, y.numel(), dtype=torch.float64).sin().bfloat16().view(y.shape).to(y.dtype)


def with_gradients(form: Form, inputs: Sequence[Tensor], dtype: torch.dtype | None = None) -> list[Tensor]:
    """What a form gives for inputs of a type, and their gradients, in float64."""
    given = [x.detach().to(dtype or x.dtype).requires_grad_() for x in inputs]
    y = form(*given)
    return [one.double() for one in (y.detach(), *torch.autograd.grad(y, given, direction(y)))]


def compiled(form: Form) -> Form:
    def run(*inputs: Tensor) -> Tensor:
        with using(FUSED):
            return form(*inputs)

    return run


def same(form: Form, inputs: Sequence[Tensor], dtype: torch.dtype, error: float) -> None:
    """Compiled in a type as plain in float64, of numbers that the type has."""
    rounded = [x.to(dtype) for x in inputs]
    found, wanted = with_gradients(compiled(form), rounded), with_gradients(form, rounded, torch.float64)
    for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert float((a - b).abs().max()) <= error * max(float(b.abs().max()), 1e-2), i


# --- attention --------------------------------------------------------------------------------------------------------

SHAPES = [(3, 4, 4, 14, 17, 64), (2, 4, 2, 33, 5, 24), (5, 2, 1, 1, 40, 80), (1, 1, 1, 1, 1, 1), (2, 6, 2, 50, 48, 7)]


def attention(B: int, H: int, G: int, C: int, keep: Tensor | None, q: Tensor, kv: Tensor) -> Tensor:
    k, v = kv.chunk(2, dim=-1)
    q, k, v = (x.unflatten(-1, (n, C)).transpose(1, 2) for x, n in ((q, H), (k, G), (v, G)))
    return dot.context(q, k, v, keep)


@by_type
@pytest.mark.parametrize("kind", ["all", "padding", "causal"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_attention(shape: tuple[int, ...], kind: str, dtype: torch.dtype, error: float) -> None:
    B, H, G, Q, N, C = shape
    keep = None
    if kind == "padding":
        keep = (torch.arange(N) < torch.tensor([N, 1, max(N - 2, 1), N, 2])[:B, None])[:, None, None]
    elif kind == "causal":
        keep = torch.ones(Q, N, dtype=torch.bool).tril(N - 1 if N < 3 else 1)[None, None]
    same(partial(attention, B, H, G, C, keep), [torch.randn(B, Q, H * C), torch.randn(B, N, 2 * G * C)], dtype, error)


def test_attention_leaves_longer_sentences_and_masks_by_head_to_the_plain_form(
    fused: Fused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fused, "attention", lambda *_: pytest.fail("it is not for that"))
    long = torch.randn(1, 1, LONGEST + 1, 4, requires_grad=True)
    few = torch.randn(1, 2, 3, 4, requires_grad=True)
    with using(fused):
        dot.context(long, long, long, None)
        dot.context(few, few, few, torch.ones(1, 2, 3, 3, dtype=torch.bool))


def test_dropout_of_weights_is_the_same_on_the_way_back(fused: Fused) -> None:
    """With the identity for values the context is the weights as dropout leaves them."""
    B, H, Q, N = 2, 3, 21, 40
    query, keys = torch.randn(B, H, Q, N), torch.randn(B, H, N, N)
    values = torch.eye(N).expand(B, H, N, N).contiguous()
    drop = Drop.new(0.3)
    seen, weights = fused.attention(query, keys, values, None, drop)
    mask = (seen != 0).double() * drop.scale
    assert 0.6 < float((seen != 0).double().mean()) < 0.8
    torch.testing.assert_close(seen.double(), weights.double() * mask, rtol=1e-6, atol=1e-9)
    values = torch.randn(B, H, N, N)
    q, k, v = (x.double().requires_grad_() for x in (query, keys, values))
    wanted = (((q * N**-0.5) @ k.transpose(-1, -2)).softmax(-1) * mask) @ v
    context, weights = fused.attention(query, keys, values, None, drop)
    torch.testing.assert_close(context.double(), wanted, rtol=0, atol=1e-5)
    given = torch.randn(B, H, Q, N)
    found = fused.attention_backward(query, keys, values, weights, given, drop)
    for a, b in zip(found, torch.autograd.grad(wanted, (q, k, v), given.double()), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=0, atol=1e-5)


def test_gradients_of_parts_of_one_tensor_are_parts_of_one(fused: Fused) -> None:
    qkv = torch.randn(2, 9, 3 * 32, requires_grad=True)
    q, k, v = parts(qkv, [32, 32, 32])
    seen = list[Tensor]()
    for part in (q, k, v):
        part.register_hook(lambda g: seen.append(g))
    with using(fused):
        q, k, v = (x.unflatten(-1, (4, 8)).transpose(1, 2) for x in (q, k, v))
        context = dot.context(q, k, v, None)
    (whole,) = torch.autograd.grad(context.sum(), qkv)
    assert len(seen) == 3
    assert len({g.untyped_storage().data_ptr() for g in seen}) == 1
    assert whole.untyped_storage().data_ptr() == seen[0].untyped_storage().data_ptr(), "without a copy"
    together = torch.cat(sorted(seen, key=lambda g: g.storage_offset()), dim=-1)
    assert torch.equal(whole, together)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("apart", [False, True])
def test_gradients_are_put_together_wherever_they_lie(order: tuple[int, int], apart: bool) -> None:
    """Slices of one tensor in the wrong order are as strange as tensors of their own."""
    x, both = torch.randn(3, 10, requires_grad=True), torch.randn(3, 10)
    given = [both[:, 5 * i : 5 * i + 5] for i in order]
    (found,) = torch.autograd.grad(parts(x, [5, 5]), x, [g.clone() for g in given] if apart else given)
    assert torch.equal(found, torch.cat(given, dim=-1))


# --- products ---------------------------------------------------------------------------------------------------------


@by_type
@pytest.mark.parametrize("form", [linear, linear_relu])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("shape", "width"), [((37, 5, 50), 70), ((1, 16), 16), ((600, 3), 1), ((2, 33), 257)])
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_linear_layers(
    form: Form, bias: bool, shape: tuple[int, ...], width: int, dtype: torch.dtype, error: float
) -> None:
    """Whole numbers, so that what ReLU makes of a sum does not hang on its rounding."""
    x, weight = torch.randint(-3, 4, shape).float(), torch.randint(-2, 3, (width, shape[-1])).float()
    inputs = [x, weight, *([torch.full((width,), 0.5)] if bias else [])]
    same(form, inputs, dtype, 3 * error)


def test_a_rectified_layer_drops_and_does_not_forget_what(fused: Fused) -> None:
    x, weight, bias = torch.randn(40, 16), torch.randn(50, 16), torch.randn(50)
    drop = partial(linear_relu, drop=0.25)
    torch.manual_seed(3)
    y, dx, *_ = with_gradients(compiled(drop), [x, weight, bias])
    rectified = torch.relu(x @ weight.T + bias).double()
    kept = y != 0
    assert 0.7 < float(kept[rectified != 0].double().mean()) < 0.8
    torch.testing.assert_close(y[kept], rectified[kept] / 0.75, rtol=1e-4, atol=1e-5)
    wanted = (direction(y) * kept / 0.75) @ weight.double()
    torch.testing.assert_close(dx, wanted, rtol=1e-4, atol=1e-4)


# --- dropout ----------------------------------------------------------------------------------------------------------


@by_type
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_scales_the_rest(p: float, dtype: torch.dtype, error: float) -> None:
    x = torch.ones(997, 331, dtype=dtype, requires_grad=True)
    with using(FUSED):
        dropped = dropout.dropout(x, p)
    y = dropped.detach()
    zeroed = (y == 0).double()
    assert float(zeroed.mean()) == pytest.approx(p, abs=0.004)
    assert y.max() == y[y > 0].min()
    assert float(y.max()) == pytest.approx(1 / (1 - p), rel=max(error, 1e-4))
    # Rows, columns and neighbours are as likely as all others; neighbours do not know of each other.
    for axis, n in ((0, 997), (1, 331)):
        assert float(zeroed.mean(axis).std()) == pytest.approx((p * (1 - p) / n) ** 0.5, rel=0.2)
    flat = zeroed.flatten() - zeroed.mean()
    for apart in (1, 16, 32, 331):
        assert abs(float((flat[apart:] * flat[:-apart]).mean())) < 0.004 * p * (1 - p) * 4
    (g,) = torch.autograd.grad(dropped, x, torch.ones_like(y))
    assert torch.equal(g, y), "the same mask on the way back"


def test_a_seed_gives_a_mask_again_and_the_next_draw_another(fused: Fused) -> None:
    x = torch.ones(100, 10)
    with using(fused):
        first, second = dropout.dropout(x, 0.5), dropout.dropout(x, 0.5)
        torch.manual_seed(11)
        assert torch.equal(dropout.dropout(x, 0.5), first)
    both = ((first == 0) & (second == 0)).double().mean()
    assert 0.2 < float(both) < 0.3


def test_dropping_nearly_all_leaves_numbers(fused: Fused) -> None:
    with using(fused):
        y = dropout.dropout(torch.ones(1000, 100), 1 - 1e-9)
    assert torch.isfinite(y).all()


@by_type
def test_a_residual_connection(dtype: torch.dtype, error: float) -> None:
    x, y = torch.randn(7, 33), torch.randn(7, 33).to(dtype)
    with using(FUSED):
        assert torch.equal(dropout.add_dropped(x, y, 0.0), x + y)
        torch.manual_seed(2)
        added = dropout.add_dropped(x, y, 0.4)
        torch.manual_seed(2)
        torch.testing.assert_close(added, x + dropout.dropout(y.float(), 0.4), rtol=0, atol=1e-6)
    assert torch.equal(dropout.add_dropped(x, y, 0.4, training=False), x + y)
    given = [x.requires_grad_(), y.requires_grad_()]
    with using(FUSED):
        out = dropout.add_dropped(x, y, 0.4)
    dx, dy = torch.autograd.grad(out, given, torch.ones_like(out))
    assert torch.equal(dx, torch.ones_like(x))
    kept = (out - x).abs() > 1e-6
    assert torch.equal(dy != 0, kept)
    assert float(dy.float().max()) == pytest.approx(1 / 0.6, rel=max(error, 1e-4))


def test_bfloat16_is_rounded_as_torch_does(fused: Fused) -> None:
    bits = torch.randint(-(2**31), 2**31, (200_000,)).to(torch.int32)
    ties = torch.tensor([0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x7F7FFFFF, 0x00000001, 0x00408000])
    odd = torch.tensor([0.0, -0.0, float("inf"), float("-inf"), float("nan"), -float("nan")])
    x = torch.cat([bits.view(torch.float32), ties.to(torch.int32).view(torch.float32), odd])
    found, wanted = fused.drop(x, NONE, torch.bfloat16), x.to(torch.bfloat16)
    assert torch.equal(found.isnan(), wanted.isnan())
    numbers = ~wanted.isnan()
    assert torch.equal(found[numbers].view(torch.int16), wanted[numbers].view(torch.int16))


# --- loss -------------------------------------------------------------------------------------------------------------


@by_type
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000])
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_cross_entropy(size: int, bias: bool, smoothing: float, dtype: torch.dtype, error: float) -> None:
    targets = torch.randint(0, size, (70,))

    def form(features: Tensor, weight: Tensor, *own: Tensor) -> Tensor:
        return projected_cross_entropy(features, weight, own[0] if own else None, targets, smoothing)[0]

    inputs = [torch.randn(70, 20), torch.randn(size, 20), *([torch.randn(size)] if bias else [])]
    same(form, inputs, dtype, 3 * error)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_logit_that_is_no_number_makes_the_loss_none(fused: Fused, wrong: float) -> None:
    for at in (0, 5, 36):
        logits = torch.randn(3, 37)
        logits[1, at] = wrong
        nll, mean = fused.cross_entropy_(logits, None, torch.tensor([1, 2, 3]), 0.1)
        assert torch.isfinite(nll).tolist() == torch.isfinite(mean).tolist() == [True, False, True]


def test_a_target_that_is_no_id_is_refused(fused: Fused) -> None:
    for wrong in (-1, 37):
        with pytest.raises(IndexError, match=f"target {wrong} is none of 37 ids"):
            fused.cross_entropy_(torch.randn(2, 37), None, torch.tensor([0, wrong]), 0.1)


def test_large_logits_and_certain_targets_keep_their_precision(fused: Fused) -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4], [20.0, 0.0, 0.0], [0.0, 1e4, 0.0]])
    targets = torch.tensor([0, 0, 0])
    wanted = -logits.double().log_softmax(-1)
    nll, mean = fused.cross_entropy_(logits.clone(), None, targets, 0.0)
    torch.testing.assert_close(nll.double(), wanted[:, 0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(mean.double(), wanted.mean(-1), rtol=1e-6, atol=1e-6)


# --- recurrences ------------------------------------------------------------------------------------------------------


@by_type
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("H", [16, 21])
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_a_scan_of_a_gru(after: bool, reverse: bool, H: int, dtype: torch.dtype, error: float) -> None:
    S, B = 6, 5
    keep = (torch.arange(S)[:, None] < torch.tensor([6, 1, 3, 6, 2])).T.contiguous().T  # not side by side
    x, start = torch.randn(S, B, 3 * H), torch.randn(B, H)
    matrices = [torch.randn(2 * H, H) * H**-0.5, torch.randn(H, H) * H**-0.5]

    def form(x: Tensor, start: Tensor, U_zr: Tensor, U: Tensor, *u: Tensor) -> Tensor:
        start = start.to(torch.promote_types(start.dtype, torch.float32))
        return gru.gru_scan(x, U_zr, U, keep, reverse, start, u[0] if u else None)

    same(form, [x, start, *matrices, *([torch.randn(H)] if after else [])], dtype, 2 * error)


@by_type
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_the_decoder_with_additive_attention(after: bool, dtype: torch.dtype, error: float) -> None:
    T, B, S, H, A = 4, 3, 7, 18, 21
    keep = torch.arange(S) < torch.tensor([7, 1, 4])[:, None]
    shapes = (T, B, 3 * H), (B, H), (B, S, A), (B, S, 3 * H), (A, H), (A,), (2 * H, H), (H, H)
    inputs = [torch.randn(shape) * (shape[-1] ** -0.5 if len(shape) == 2 else 1) for shape in shapes]

    def form(
        x: Tensor, s0: Tensor, keys: Tensor, values: Tensor, W_a: Tensor, v: Tensor, U_zr: Tensor, U: Tensor, *u: Tensor
    ) -> Tensor:
        s0 = s0.to(torch.promote_types(s0.dtype, torch.float32))
        states, weights = additive_decoder.decode(x, s0, keys, values, keep, W_a, v, U_zr, U, u[0] if u else None)
        return torch.cat([states.flatten(), weights.flatten()])

    same(form, [*inputs, *([torch.randn(H)] if after else [])], dtype, 3 * error)


# --- all of it --------------------------------------------------------------------------------------------------------


def test_they_are_in_use_only_where_they_are_put_to_use(fused: Fused) -> None:
    x = torch.randn(3)
    assert fused_for(x) is None
    with using(fused):
        assert fused_for(x, x.bfloat16()) is fused
        assert fused_for(x.double()) is fused_for(x, x.half()) is None
        with using(None):
            assert fused_for(x) is None
    assert fused_for(x) is None


def test_the_number_of_threads_changes_no_byte(fused: Fused) -> None:
    before, found = torch.get_num_threads(), list[list[Tensor]]()
    logits, targets = torch.randn(90, 500), torch.randint(0, 500, (90,))
    x, y, bias = torch.randn(900, 48), torch.randn(900, 48), torch.randn(48)
    heads = torch.randn(30, 2, 11, 24)
    drop = Drop.new(0.2)
    keys, query = torch.randn(40, 9, 24), torch.randn(5, 40, 24)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            own = logits.clone()
            context, weights = fused.attention(heads, heads, heads, None, drop)
            dropped = fused.finish_(x.clone(), bias, True, drop)
            sums, dscores = torch.zeros(40, 9), torch.randn(5, 40, 9, generator=torch.Generator().manual_seed(1))
            look = fused.additive_look(keys, query[0], bias[:24], sums, torch.empty(40, 9))
            found.append(
                [
                    *fused.cross_entropy_(own, None, targets, 0.1),
                    own,
                    fused.drop(x, drop),
                    fused.add_dropped(x, y, drop),
                    dropped,
                    *fused.finish_backward(y, dropped, drop),
                    fused.column_sums(y),
                    context,
                    weights,
                    *fused.attention_backward(heads, heads, heads, weights, heads, drop),
                    look,
                    *fused.additive_keys_backward(keys, query, bias[:24], dscores),
                ]
            )
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for i, (a, b) in enumerate(zip(found[0], other, strict=True)):
            assert torch.equal(a, b), i


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("en-fr-*.yaml")))
def test_models_have_the_loss_and_gradients_of_plain_float64(name: str) -> None:
    """At their recipe's sizes but for the vocabulary; without dropout, whose masks differ."""
    model = build_model(load_recipe(RECIPES / f"{name}.yaml").model, 60, 60)
    _fill(model)
    model.eval()
    batch = _batch(5, 9, torch.device("cpu"))

    def run(passes: Fused | None) -> list[Tensor]:
        model.use(replace(PLAIN, passes=passes))
        loss = batch_loss(model, batch, 0.1)
        found = torch.autograd.grad(loss.smoothed, list(model.parameters()))
        return [x.detach().double() for x in (loss.smoothed, loss.nll, *found)]

    found = run(FUSED)
    model.double()
    model.compute_dtype = torch.float64
    for a, b in zip(found, run(None), strict=True):
        assert float((a - b).abs().max()) <= 1e-3 * max(float(b.abs().max()), 1e-6)
