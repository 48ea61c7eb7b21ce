"""What a training on a CPU does between its products, compiled, against the plain forms in float64."""

from functools import partial

import pytest
import torch
from torch import Tensor

from nmt.ops import additive_decoder, dot, dropout, gru
from nmt.ops.cross_entropy import projected_cross_entropy
from nmt.ops.fused import LONGEST, NONE, Drop, Fused, fused_for, using
from nmt.ops.gated import glu, swiglu
from nmt.ops.linear import linear
from nmt.ops.lstm import lstm_scan
from nmt.ops.norm import layer_norm, rms_norm
from nmt.ops.parts import parts
from nmt.ops.projected import Group, heads
from nmt.ops.r_drop import r_drop_cross_entropy
from nmt.ops.rectified import rectified
from nmt.ops.rope import rotation
from tests.ops.compiled import FUSED, Form, by_type, compiled, near, same, with_gradients

pytestmark = pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(11)


@pytest.fixture
def fused() -> Fused:
    assert FUSED is not None
    return FUSED


def by_chance(zeroed: Tensor, p: float) -> None:
    """Of (R, C): a share p of all, rows, columns and neighbours as likely as others and without knowing of each other,
    within some five deviations.
    """
    zeroed, spread = zeroed.double(), (p * (1 - p)) ** 0.5
    assert abs(float(zeroed.mean()) - p) < 5 * spread / zeroed.numel() ** 0.5 + 1e-5
    for axis, n in enumerate(zeroed.shape):
        means = zeroed.mean(axis)
        assert float(means.std()) == pytest.approx(spread / n**0.5, rel=5 / (2 * len(means)) ** 0.5)
    flat = (zeroed.flatten() - p) / spread
    for apart in (1, 16, 32, zeroed.shape[1]):
        assert abs(float((flat[apart:] * flat[:-apart]).mean())) < 5 / len(flat) ** 0.5, apart


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


@by_type
@pytest.mark.parametrize(("H", "G"), [(4, 4), (4, 2), (3, 1)])
def test_attention_of_slices_of_one_tensor(H: int, G: int, dtype: torch.dtype, error: float) -> None:
    """Whose gradient is the memory that those of the slices were written to."""
    C, N = 12, 33
    causal = torch.ones(N, N, dtype=torch.bool).tril()[None, None]

    def form(qkv: Tensor) -> Tensor:
        apart = zip(parts(qkv, [H * C, G * C, G * C]), (H, G, G), strict=True)
        q, k, v = (x.unflatten(-1, (n, C)).transpose(1, 2) for x, n in apart)
        return dot.context(q, k, v, causal)

    same(form, [torch.randn(3, N, (H + 2 * G) * C)], dtype, error)


LAYOUTS: dict[str, Form] = {
    "positions first": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "numbers across": lambda x: x.mT.contiguous().mT,
    "within wider rows": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
    "one sentence for all": lambda x: x[:1].expand(x.shape),
}


@by_type
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_heads_may_lie_anywhere_and_so_may_their_gradient(layout: str, dtype: torch.dtype, error: float) -> None:
    lay = LAYOUTS[layout]
    keep = (torch.arange(17) < torch.tensor([[17], [1], [9]]))[:, None, None]

    def form(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return dot.context(lay(q), lay(k), lay(v), keep).mT

    same(form, [torch.randn(3, 4, 6, 20), torch.randn(3, 2, 17, 20), torch.randn(3, 2, 17, 20)], dtype, error)


@by_type
@pytest.mark.parametrize(("H", "G", "N", "masked"), [(3, 3, 40, False), (4, 2, 33, True), (2, 1, 16, True)])
def test_dropout_of_weights_is_the_same_on_the_way_back(
    H: int, G: int, N: int, masked: bool, dtype: torch.dtype, error: float, fused: Fused
) -> None:
    """With the identity for values the context is the weights as dropout leaves them."""
    B, Q, drop = 2, 21, Drop.new(0.3)
    query, keys, values = (torch.randn(shape).to(dtype) for shape in ((B, H, Q, N), (B, G, N, N), (B, G, N, N)))
    keep = None
    if masked:
        keep = torch.rand(B, 1, Q, N) < 0.7
        keep[..., 0] = True
    identity = torch.eye(N, dtype=dtype).expand(B, G, N, N)
    seen, weights = fused.attention(query, keys, identity, keep, drop)
    mask = (seen != 0).double() * drop.scale
    assert 0.6 < float((seen != 0)[weights > 0].double().mean()) < 0.8
    near([seen], [weights.double() * mask], error)
    q, k, v = (x.double().requires_grad_() for x in (query, keys, values))
    scores = (q * N**-0.5) @ k.repeat_interleave(H // G, 1).mT
    if keep is not None:
        scores = scores.masked_fill(~keep, float("-inf"))
    wanted = (scores.softmax(-1) * mask) @ v.repeat_interleave(H // G, 1)
    context, weights = fused.attention(query, keys, values, keep, drop)
    given = torch.randn(B, H, Q, N).to(dtype)
    found = fused.attention_backward(query, keys, values, weights, given, drop)
    near([context, *found], [wanted, *torch.autograd.grad(wanted, (q, k, v), given.double())], error)


@pytest.mark.parametrize("N", [16, 33, 64])
def test_weights_are_dropped_by_chance(N: int, fused: Fused) -> None:
    """The same for heads and sentences, and from one to the next."""
    same_for_all = torch.zeros(8, 6, 40, N)
    seen, _ = fused.attention(
        same_for_all, torch.zeros(8, 6, N, N), torch.eye(N).expand(8, 6, N, N), None, Drop.new(0.2)
    )
    by_chance((seen == 0).reshape(-1, N), 0.2)
    by_chance((seen == 0).reshape(8 * 6, -1), 0.2)


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
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("shape", "width"), [((37, 5, 50), 70), ((1, 16), 16), ((600, 3), 1), ((2, 33), 257)])
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_linear_layers(bias: bool, shape: tuple[int, ...], width: int, dtype: torch.dtype, error: float) -> None:
    inputs = [torch.randn(shape), torch.randn(width, shape[-1]), *([torch.randn(width)] if bias else [])]
    same(linear, inputs, dtype, 3 * error)


@by_type
def test_rows_of_a_linear_layer_may_lie_anywhere(dtype: torch.dtype, error: float) -> None:
    """And the gradients of what it gives."""
    same(
        lambda x, weight, bias: linear(x.transpose(0, 1), weight, bias).permute(2, 0, 1),
        *([torch.randn(6, 5, 20), torch.randn(35, 20), torch.randn(35)], dtype, 3 * error),
    )


def of_two(x: Tensor, D: int, M: int, wide: int) -> list[Tensor]:
    """x and the parameters of a feed-forward layer, whole numbers and a half: what ReLU makes of a sum does not hang on
    its rounding.
    """
    inner, bias = torch.randint(-2, 3, (M, D)).float(), torch.full((M,), 0.5)
    return [x, inner, bias, torch.randn(wide, M), torch.randn(wide)]


@by_type
@pytest.mark.parametrize(
    ("shape", "M", "wide"), [((37, 5, 50), 70, 50), ((1, 16), 16, 3), ((600, 3), 1, 1), ((2, 33), 257, 33)]
)
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_feed_forward_layers(shape: tuple[int, ...], M: int, wide: int, dtype: torch.dtype, error: float) -> None:
    same(rectified, of_two(torch.randint(-3, 4, shape).float(), shape[-1], M, wide), dtype, 3 * error)


@by_type
def test_rows_of_a_feed_forward_layer_may_lie_anywhere(dtype: torch.dtype, error: float) -> None:
    """And the gradients of what it gives."""
    same(
        lambda x, *parameters: rectified(x.transpose(0, 1), *parameters).permute(2, 0, 1),
        *(of_two(torch.randint(-3, 4, (6, 5, 20)).float(), 20, 35, 12), dtype, 3 * error),
    )


@by_type
def test_a_feed_forward_layer_drops_and_does_not_forget_what(dtype: torch.dtype, error: float) -> None:
    """Seen through a second matrix that is the identity."""
    inputs = [torch.randn(40, 16), torch.randn(50, 16), torch.randn(50), torch.eye(50), torch.zeros(50)]
    inputs = [x.to(dtype) for x in inputs]
    found = with_gradients(compiled(partial(rectified, drop=0.25)), inputs)
    kept = found[0] != 0
    inner = torch.relu(linear(*(x.double() for x in inputs[:3])))
    assert 0.7 < float(kept[inner > 0].double().mean()) < 0.8

    def wanted(x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor) -> Tensor:
        return linear(torch.relu(linear(x, inner, inner_bias)) * kept / 0.75, outer, outer_bias)

    near(found, with_gradients(wanted, inputs, torch.float64), error)


@pytest.mark.parametrize("width", [32, 33, 50])
def test_a_feed_forward_layer_drops_by_chance(width: int) -> None:
    inner = torch.zeros(width, 1, requires_grad=True)
    parameters = inner, torch.ones(width), torch.eye(width), torch.zeros(width)
    by_chance(compiled(rectified)(torch.zeros(3000, 1), *parameters, 0.3) == 0, 0.3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_no_number_is_not_rectified_away(which: int, dtype: torch.dtype) -> None:
    """An update must be seen to have failed: oneDNN's own ReLU makes 0 of it."""
    inputs = [x.to(dtype) for x in of_two(torch.randn(40, 16), 16, 50, 16)]
    inputs[which].view(-1)[3] = torch.nan
    with using(FUSED):
        y = rectified(*(x.requires_grad_() for x in inputs))
    assert y.isnan().any()


def test_a_gradient_twice_from_one_pass_is_the_same(fused: Fused) -> None:
    """What is overwritten on the way back is not kept."""
    inputs = [x.requires_grad_() for x in of_two(torch.randn(40, 16), 16, 50, 16)]
    with using(fused):
        y = rectified(*inputs)
    first, second = (torch.autograd.grad(y, inputs, torch.ones_like(y), retain_graph=True) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


# --- dropout ----------------------------------------------------------------------------------------------------------


@by_type
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_scales_the_rest(p: float, dtype: torch.dtype, error: float) -> None:
    x = torch.ones(997, 331, dtype=dtype, requires_grad=True)
    with using(FUSED):
        dropped = dropout.dropout(x, p)
    y = dropped.detach()
    by_chance(y == 0, p)
    assert y.max() == y[y > 0].min()
    assert float(y.max()) == pytest.approx(1 / (1 - p), rel=max(error, 1e-4))
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


def test_what_lies_across_is_dropped_by_its_place(fused: Fused) -> None:
    x = torch.randn(70, 33, requires_grad=True)
    with using(fused):
        torch.manual_seed(5)
        y = dropout.dropout(x.T, 0.4)
        torch.manual_seed(5)
        assert torch.equal(dropout.dropout(x.T.contiguous(), 0.4), y)
    given = torch.randn(70, 33)
    (g,) = torch.autograd.grad(y.T, x, given)
    assert torch.equal(g != 0, y.T != 0)
    torch.testing.assert_close(g, (y.T != 0) * given / 0.6, rtol=1e-4, atol=0)


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
def test_cross_entropy(
    size: int, bias: bool, smoothing: float, dtype: torch.dtype, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = torch.randint(0, size, (70,))

    def form(features: Tensor, weight: Tensor, *own: Tensor) -> Tensor:
        return projected_cross_entropy(features, weight, own[0] if own else None, targets, smoothing)[0]

    inputs = [torch.randn(70, 20), torch.randn(size, 20), *([torch.randn(size)] if bias else [])]
    monkeypatch.setattr("nmt.ops.cross_entropy.BLOCK", 30 * size)  # not all positions at once
    same(form, inputs, dtype, 3 * error)


@by_type
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000])
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_r_drop(
    size: int, bias: bool, smoothing: float, dtype: torch.dtype, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = torch.randint(0, size, (70,))

    def form(first: Tensor, second: Tensor, weight: Tensor, *own: Tensor) -> Tensor:
        return torch.stack(
            r_drop_cross_entropy(first, second, weight, own[0] if own else None, targets, smoothing, 3.0)
        )

    inputs = [torch.randn(70, 20), torch.randn(70, 20), torch.randn(size, 20), *([torch.randn(size)] if bias else [])]
    monkeypatch.setattr("nmt.ops.cross_entropy.BLOCK", 2 * 30 * size)  # not all positions at once
    same(form, inputs, dtype, 3 * error)


@by_type
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_logit_that_is_no_number_makes_both_losses_of_r_drop_none(
    wrong: float, dtype: torch.dtype, error: float, fused: Fused
) -> None:
    for at in (0, 5, 36):
        first, second = torch.randn(2, 3, 37).to(dtype)
        second[1, at] = wrong
        for one in fused.r_drop_(first, second, None, torch.tensor([1, 2, 3]), 0.1, 1.0)[:2]:
            assert torch.isfinite(one).tolist() == [True, False, True]


@by_type
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_logit_that_is_no_number_makes_the_loss_none(
    wrong: float, dtype: torch.dtype, error: float, fused: Fused
) -> None:
    for at in (0, 5, 36):
        logits = torch.randn(3, 37).to(dtype)
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


@by_type
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_logits_of_ten_thousand_have_finite_losses_and_right_gradients(
    smoothing: float, dtype: torch.dtype, error: float, fused: Fused
) -> None:
    R, V = 40, 333
    logits, targets = (torch.randn(R, V) * 1e4).to(dtype), torch.randint(0, V, (R,))
    wide = logits.double().requires_grad_()
    log_p = wide.log_softmax(-1)
    wanted = -log_p.gather(1, targets[:, None])[:, 0], -log_p.mean(-1)
    loss = (1 - smoothing) * wanted[0] + smoothing * wanted[1]
    nll, mean = fused.cross_entropy_(logits, None, targets, smoothing)
    near([nll, mean], wanted, 1e-6)
    near([logits], torch.autograd.grad(loss.sum(), wide), max(error, 1e-5))


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
                    fused.finish_backward_(returned := y.clone(), dropped, drop),
                    returned,
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


def of_looks(T: int, B: int, N: int, A: int) -> Form:
    keep = torch.arange(N) < torch.arange(B)[:, None] % N + 1

    def form(
        x: Tensor, s0: Tensor, keys: Tensor, values: Tensor, W_a: Tensor, v: Tensor, U_zr: Tensor, U: Tensor
    ) -> Tensor:
        states, looks = additive_decoder.decode(x, s0.float(), keys, values, keep, W_a, v, U_zr, U)
        return torch.cat([states.flatten(), looks.flatten()])

    return form


# More of each than one thread takes at a time.
SHARED: dict[str, tuple[Form, list[tuple[int, ...]]]] = {
    "attention": (lambda q, k, v: dot.context(q, k, v, None, 0.2), [(9, 4, 5, 20), (9, 2, 17, 20), (9, 2, 17, 20)]),
    "linear": (linear, [(600, 20), (33, 20), (33,)]),
    "rectified": (partial(rectified, drop=0.2), [(600, 20), (33, 20), (33,), (20, 33), (20,)]),
    "dropout": (lambda x: dropout.dropout(x, 0.2), [(3, 33_333)]),
    "add_dropped": (lambda x, y: dropout.add_dropped(x.float(), y, 0.2), [(3, 33_333), (3, 33_333)]),
    "loss": (
        lambda x, w, b: projected_cross_entropy(x, w, b, torch.arange(70) % 9, 0.1)[0],
        [(70, 20), (99, 20), (99,)],
    ),
    "r-drop": (
        lambda x, y, w, b: r_drop_cross_entropy(x, y, w, b, torch.arange(70) % 9, 0.1, 2.0)[0],
        [(70, 20), (70, 20), (99, 20), (99,)],
    ),
    "layer norm": (
        lambda x, g, b: layer_norm(x.float(), g.float(), b.float(), 1e-5, x.dtype),
        [(600, 33), (33,), (33,)],
    ),
    "rms norm": (lambda x, g: rms_norm(x.float(), g.float(), 1e-5, x.dtype), [(600, 33), (33,)]),
    "swiglu": (swiglu, [(90, 66)]),
    "glu": (glu, [(90, 66)]),
    "heads": (
        lambda x, g: heads(x, [Group(2, g.float(), turned=True)], rotation(torch.arange(90), 20, torch.float32))[0],
        [(7, 90, 40), (20,)],
    ),
    "lstm": (lambda x, U: lstm_scan(x, U)[0], [(3, 40, 84), (84, 21)]),
    "gru before": (lambda x, U_zr, U: gru.gru_scan(x, U_zr, U), [(3, 40, 63), (42, 21), (21, 21)]),
    "gru after": (lambda x, U_zr, U, u: gru.gru_scan(x, U_zr, U, u_bias=u), [(3, 40, 63), (42, 21), (21, 21), (21,)]),
    "looks": (
        of_looks(3, 40, 9, 20),
        [(3, 40, 63), (40, 21), (40, 9, 20), (40, 9, 63), (20, 21), (20,), (42, 21), (21, 21)],
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", SHARED)
def test_threads_change_no_byte_of_what_comes_out_nor_of_its_gradients(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the passes alone: torch's own products keep theirs."""
    form, shapes = SHARED[name]
    inputs, found = [torch.randn(shape) for shape in shapes], list[list[Tensor]]()
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        torch.manual_seed(4)
        found.append(with_gradients(compiled(form), inputs, dtype))
    for other in found[1:]:
        for i, (a, b) in enumerate(zip(found[0], other, strict=True)):
            assert torch.equal(a, b), i


def test_types_and_shapes_that_it_is_not_for_are_left_to_the_plain_form_or_refused(fused: Fused) -> None:
    q, k, x, g = torch.randn(2, 2, 5, 8), torch.randn(2, 2, 6, 8), torch.randn(4, 33), torch.ones(33)
    with using(fused):
        with pytest.raises(RuntimeError):
            dot.context(q.bfloat16(), k, k, None)
        with pytest.raises(RuntimeError):
            dot.context(q, k, torch.randn(2, 2, 6, 12), None)
        wanted = torch.nn.functional.layer_norm(x, (33,))
        for dtype in (torch.float64, torch.float16):
            assert torch.equal(layer_norm(x, g, torch.zeros(33), 1e-5, dtype), wanted.to(dtype))
    with pytest.raises(TypeError, match=r"not torch\.float16$"):
        fused.drop(x, NONE, torch.float16)
    few = torch.tensor([1, 2, 3, 0])
    nll = fused.cross_entropy_(x.clone(), None, few.int(), 0.0)[0]
    assert torch.equal(nll, fused.cross_entropy_(x.clone(), None, few, 0.0)[0])
