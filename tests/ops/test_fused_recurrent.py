"""Compiled steps of recurrent layers and decoders against the plain forms in float64: in C, and Triton's kernels.

These run in Triton's interpreter where there is no GPU (tests/conftest.py).
"""

import importlib
import importlib.util
from contextlib import AbstractContextManager
from typing import Literal

import pytest
import torch
from torch import Tensor

from nmt.ops import additive_decoder, additive_lstm_decoder, cells, gru, luong_decoder
from nmt.ops.linear import wide
from nmt.ops.lstm import lstm_scan
from nmt.ops.luong_decoder import Look
from tests.ops.compiled import FUSED, Use, by_type, in_c, same

has_triton = importlib.util.find_spec("triton") is not None

pytestmark = pytest.mark.usefixtures("nothing_is_zero_by_chance")


def in_triton() -> AbstractContextManager[None]:
    """Triton's cells in use."""
    return cells.using(importlib.import_module("nmt.ops.cells_triton").TritonCells())


by_maker = pytest.mark.parametrize(
    "use",
    [
        pytest.param(in_c, marks=pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")),
        pytest.param(in_triton, marks=pytest.mark.skipif(not has_triton, reason="Triton is not installed")),
    ],
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(11)


def filled(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Numbers of size 1, and matrices that keep it."""
    return [torch.randn(shape) * (shape[-1] ** -0.5 if len(shape) == 2 else 1) for shape in shapes]


def flat(*tensors: Tensor) -> Tensor:
    return torch.cat([x.flatten() for x in tensors])


@by_maker
@by_type
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("H", [16, 21])
def test_a_scan_of_a_gru(after: bool, reverse: bool, H: int, dtype: torch.dtype, error: float, use: Use) -> None:
    S, B = 6, 5
    keep = (torch.arange(S)[:, None] < torch.tensor([6, 1, 3, 6, 2])).T.contiguous().T  # not side by side
    x, start = torch.randn(S, B, 3 * H), torch.randn(B, H)
    matrices = [torch.randn(2 * H, H) * H**-0.5, torch.randn(H, H) * H**-0.5]

    def form(x: Tensor, start: Tensor, U_zr: Tensor, U: Tensor, *u: Tensor) -> Tensor:
        start = start.to(torch.promote_types(start.dtype, torch.float32))
        return gru.gru_scan(x, U_zr, U, keep, reverse, start, u[0] if u else None)

    same(form, [x, start, *matrices, *([torch.randn(H)] if after else [])], dtype, 2 * error, use)


@by_maker
@by_type
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("T", [1, 4])
def test_the_decoder_with_additive_attention(T: int, after: bool, dtype: torch.dtype, error: float, use: Use) -> None:
    B, S, H, A = 3, 7, 18, 21
    keep = torch.arange(S) < torch.tensor([7, 1, 4])[:, None]
    shapes = (T, B, 3 * H), (B, H), (B, S, A + 3), (B, S, 3 * H), (A, H), (A,), (2 * H, H), (H, H)
    inputs = [torch.randn(shape) * (shape[-1] ** -0.5 if len(shape) == 2 else 1) for shape in shapes]

    def form(
        x: Tensor, s0: Tensor, keys: Tensor, values: Tensor, W_a: Tensor, v: Tensor, U_zr: Tensor, U: Tensor, *u: Tensor
    ) -> Tensor:
        s0 = s0.to(torch.promote_types(s0.dtype, torch.float32))
        keys = keys[..., :A]  # beside other numbers
        states, weights = additive_decoder.decode(x, s0, keys, values, keep, W_a, v, U_zr, U, u[0] if u else None)
        return torch.cat([states.flatten(), weights.flatten()])

    same(form, [*inputs, *([torch.randn(H)] if after else [])], dtype, 3 * error, use)


@by_maker
@by_type
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("H", [16, 21])
def test_a_scan_of_an_lstm(masked: bool, reverse: bool, H: int, dtype: torch.dtype, error: float, use: Use) -> None:
    """Sums that do not lie side by side, a start, and what is asked of both results."""
    S, B = 6, 5
    keep = (torch.arange(S)[:, None] < torch.tensor([6, 1, 3, 6, 2])).T.contiguous().T if masked else None

    def form(x: Tensor, h: Tensor, c: Tensor, U: Tensor) -> Tensor:
        start = h.to(wide(h.dtype)), c.to(wide(c.dtype))
        return flat(*lstm_scan(x.transpose(0, 1), U, keep, start, reverse))

    same(form, filled((B, S, 4 * H), (B, H), (B, H), (4 * H, H)), dtype, 2 * error, use)


@by_maker
@pytest.mark.filterwarnings("ignore:invalid value encountered", "ignore:overflow encountered")  # NumPy's
@pytest.mark.parametrize("reverse", [False, True])
def test_where_nothing_is_kept_an_lstm_passes_its_state_through_byte_for_byte(reverse: bool, use: Use) -> None:
    """However wild the sums of padding are, and no gradient reaches them."""
    x, U, h, c = torch.randn(4, 3, 40), torch.randn(40, 10), torch.randn(3, 10), torch.randn(3, 10)
    keep = torch.tensor([[True, False, True], [True, False, False], [True, False, False], [True, False, False]])
    x[~keep] = torch.tensor([torch.nan, torch.inf, 1e30, -1e30]).repeat(10)
    x.requires_grad_()
    with use():
        hs, last = lstm_scan(x, U, keep, (h, c), reverse)
    assert torch.equal(hs[:, 1], h[1].expand(4, -1))
    assert torch.equal(last[1], c[1])
    (dx,) = torch.autograd.grad(hs.sum() + last.sum(), x)
    assert not dx[~keep].any()
    assert dx[keep].any()


@by_maker
@by_type
@pytest.mark.parametrize("T", [1, 4])
def test_the_lstm_decoder_with_additive_attention(T: int, dtype: torch.dtype, error: float, use: Use) -> None:
    B, S, H, A = 3, 7, 18, 21
    keep = torch.arange(S) < torch.tensor([7, 1, 4])[:, None]
    inputs = filled((T, B, 4 * H), (B, H), (B, H), (B, S, A), (B, S, 4 * H), (A, H), (A,), (4 * H, H))

    def form(x: Tensor, h: Tensor, c: Tensor, keys: Tensor, values: Tensor, *matrices: Tensor) -> Tensor:
        state = wide(h.dtype)
        return flat(*additive_lstm_decoder.decode(x, h.to(state), c.to(state), keys, values, keep, *matrices))

    same(form, inputs, dtype, 3 * error, use)


@by_maker
@by_type
@pytest.mark.parametrize("position", [None, "t", "predicted"])
@pytest.mark.parametrize("score", ["product", "additive", "location"])
@pytest.mark.parametrize("dropped", [False, True])
def test_luongs_decoder_with_input_feeding(
    score: Literal["product", "additive", "location"],
    position: Literal["t", "predicted"] | None,
    dropped: bool,
    dtype: torch.dtype,
    error: float,
    use: Use,
) -> None:
    B, S, T, H, F, L = 3, 7, 4, 18, 11, 2
    A = {"product": H, "additive": 13, "location": S}[score]
    keep = torch.arange(S) < torch.tensor([7, 2, 4])[:, None]
    n_predict = 5 if position == "predicted" else 0
    look = Look(score, keep, position, 2, 0 if score == "product" else A, n_predict)
    drop = (torch.rand(T, L, B, max(F, H)) > 0.3) / 0.7 if dropped else None
    rows = F + look.n_query + n_predict
    inputs = filled(
        *((T, B, 4 * H), (L, B, H), (L, B, H), (4 * H, F), (4 * H, H), (4 * H, H), (4 * H, H), (4 * H,), (rows, H)),
        *((B, S, A), (B, S, F), (A,), (max(n_predict, 1),)),
    )

    def form(x: Tensor, h: Tensor, c: Tensor, feed: Tensor, *parts: Tensor) -> Tensor:
        U, *above, from_top, keys, values, v, v_p = parts
        state = wide(h.dtype)
        layers: list[tuple[Tensor, ...]] = [(U,), tuple(above)]
        return luong_decoder.decode(
            *(x, h.to(state), c.to(state), feed, layers, from_top, keys, values, look),
            v=v if score == "additive" else None,
            v_p=v_p if n_predict else None,
            drop=None if drop is None else drop.to(state),
        ) + 0 * sum(one.sum() for one in (v, v_p, keys)).to(state)

    same(form, inputs, dtype, 4 * error, use)
