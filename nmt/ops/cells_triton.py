"""The steps of recurrent layers on a GPU: all that a step does between its products in one Triton kernel.

Torch launches five to ten operations for it, each of a few microseconds, and there are as many steps as words. A
program has a row and a slice of the state; what is named as in ops/gru.py and ops/lstm.py means the same here, and
ops/fused_recurrent.py says what each function takes and gives. Imported only where it is chosen (ops/choose.py).
"""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportCallIssue=false, reportIndexIssue=false
# (inside a kernel it is Triton that says what the types are)

import torch
import triton
import triton.language as tl
from torch import Tensor

_SLICE = 512  # numbers of the state in a program: 4 for each thread of four warps
_FUSED = {"num_warps": 4, "enable_fp_fusion": True}


@triton.jit
def _logistic(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x):
    """Absolute error 1e-7; where exp overflows it is 1, as it should be."""
    return 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)


@triton.jit
def _place(H, BLOCK: tl.constexpr):
    """The program's row, its columns (BLOCK,), and which of them there are."""
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    return tl.program_id(0).to(tl.int64), j, j < H


@triton.jit
def _get(at, there):
    """Numbers (BLOCK,) in float32, 0 where there are none."""
    return tl.load(at, mask=there, other=0.0).to(tl.float32)


@triton.jit
def _kept(keep, b, KEEPS: tl.constexpr):
    """Whether row b has a word here."""
    return tl.load(keep + b) != 0 if KEEPS else True


@triton.jit
def _open_kernel(
    parts,  # (B, 3H) float32, rows parts_b apart: the sums z, r, n; in their place z and r
    share,  # (B, 2H), rows share_b apart
    h,  # (B, H) float32, rows h_b apart
    keep,  # (B,) uint8
    reset,  # (B, H), written: r h
    parts_b, share_b, h_b, H,
    SHARED: tl.constexpr,
    KEEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """`gru_open`."""
    b, j, there = _place(H, BLOCK)
    at = parts + b * parts_b + j
    z, r = _get(at, there), _get(at + H, there)
    if SHARED:
        z += _get(share + b * share_b + j, there)
        r += _get(share + b * share_b + H + j, there)
    z, r = _logistic(z), _logistic(r)
    if KEEPS:
        z = tl.where(_kept(keep, b, KEEPS), z, 0.0)
    tl.store(at, z, mask=there)
    tl.store(at + H, r, mask=there)
    before = _get(h + b * h_b + j, there)
    tl.store(reset + b * H + j, (r * before).to(reset.dtype.element_ty), mask=there)


@triton.jit
def _close_kernel(
    parts,  # (B, 3H) float32: z, r, and the sum n; in its place n
    recurrent,  # (B, H): its share of r h
    h,  # (B, H) float32
    out,  # (B, H) float32, written
    parts_b, h_b, H,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """`gru_close`."""
    b, j, there = _place(H, BLOCK)
    at = parts + b * parts_b + j
    z, n = _get(at, there), _get(at + 2 * H, there)
    n = _tanh(n + _get(recurrent + b * H + j, there))
    tl.store(at + 2 * H, n, mask=there)
    before = _get(h + b * h_b + j, there)
    tl.store(out + b * H + j, before + z * (n - before), mask=there)


@triton.jit
def _close_backward_kernel(
    parts,  # (B, 3H) float32: z, r, n
    dparts,  # (B, 3H) float32, as far apart, written but for r
    dh,  # (B, H) float32: the gradient of the state after
    h,  # (B, H) float32: the state before
    dn,  # (B, H), written in its own type
    parts_b, h_b, H,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """`gru_close_backward`."""
    b, j, there = _place(H, BLOCK)
    at, into = parts + b * parts_b + j, dparts + b * parts_b + j
    z, n = _get(at, there), _get(at + 2 * H, there)
    part = _get(dh + b * H + j, there) * z
    before = _get(h + b * h_b + j, there)
    by_sum = part * (1.0 - n * n)
    tl.store(into, part * (n - before) * (1.0 - z), mask=there)
    tl.store(into + 2 * H, by_sum, mask=there)
    tl.store(dn + b * H + j, by_sum.to(dn.dtype.element_ty), mask=there)


@triton.jit
def _open_backward_kernel(
    parts,  # (B, 3H) float32: z, r, n
    dparts,  # (B, 3H) float32, as far apart: r written
    dreset,  # (B, H): the gradient of r h
    dh,  # (B, H) float32: that of the state after
    h,  # (B, H) float32
    out,  # (B, H) float32, written: dh (1 - z) + dreset r
    parts_b, h_b, H,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """`gru_open_backward`."""
    b, j, there = _place(H, BLOCK)
    at = parts + b * parts_b + j
    z, r = _get(at, there), _get(at + H, there)
    by_reset = _get(dreset + b * H + j, there)
    before = _get(h + b * h_b + j, there)
    tl.store(dparts + b * parts_b + H + j, by_reset * before * r * (1.0 - r), mask=there)
    after = _get(dh + b * H + j, there)
    tl.store(out + b * H + j, after * (1.0 - z) + by_reset * r, mask=there)


@triton.jit
def _step_kernel(
    parts,  # (B, 4H) float32, rows parts_b apart: the sums u, z, r, n; in their place what they stand for
    share,  # (B, 3H), rows share_b apart: of u, z, r
    h,  # (B, H) float32, rows h_b apart
    keep,  # (B,) uint8
    out,  # (B, H) float32, written
    parts_b, share_b, h_b, H,
    SHARED: tl.constexpr,
    KEEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """`gru_step`."""
    b, j, there = _place(H, BLOCK)
    at = parts + b * parts_b + j
    u, z = _get(at, there), _get(at + H, there)
    r, n = _get(at + 2 * H, there), _get(at + 3 * H, there)
    if SHARED:
        more = share + b * share_b + j
        u += _get(more, there)
        z += _get(more + H, there)
        r += _get(more + 2 * H, there)
        tl.store(at, u, mask=there)
    z, r = _logistic(z), _logistic(r)
    if KEEPS:
        z = tl.where(_kept(keep, b, KEEPS), z, 0.0)
    n = _tanh(n + r * u)
    tl.store(at + H, z, mask=there)
    tl.store(at + 2 * H, r, mask=there)
    tl.store(at + 3 * H, n, mask=there)
    before = _get(h + b * h_b + j, there)
    tl.store(out + b * H + j, before + z * (n - before), mask=there)


@triton.jit
def _step_backward_kernel(
    parts,  # (B, 4H) float32: u, z, r, n
    dparts,  # (B, 4H) float32, as far apart, written
    dh,  # (B, H) float32: the gradient of the state after
    h,  # (B, H) float32
    out,  # (B, H) float32, written: dh (1 - z)
    parts_b, h_b, H,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """`gru_step_backward`."""
    b, j, there = _place(H, BLOCK)
    at, into = parts + b * parts_b + j, dparts + b * parts_b + j
    u, z = _get(at, there), _get(at + H, there)
    r, n = _get(at + 2 * H, there), _get(at + 3 * H, there)
    after = _get(dh + b * H + j, there)
    before = _get(h + b * h_b + j, there)
    part = after * z
    dn = part * (1.0 - n * n)
    tl.store(into, dn * r, mask=there)
    tl.store(into + H, part * (n - before) * (1.0 - z), mask=there)
    tl.store(into + 2 * H, dn * u * r * (1.0 - r), mask=there)
    tl.store(into + 3 * H, dn, mask=there)
    tl.store(out + b * H + j, after - part, mask=there)


@triton.jit
def _lstm_kernel(
    gates,  # (B, 4H) float32, rows gates_b apart: the sums i, f, g, o; in their place the gates
    share,  # (B, 4H), rows share_b apart
    h,  # (B, H) float32, as all states here
    c,
    keep,  # (B,) uint8
    h_after,  # written
    c_after,  # written
    gates_b, share_b, H,
    SHARED: tl.constexpr,
    KEEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """`lstm_step`."""
    b, j, there = _place(H, BLOCK)
    at, own = gates + b * gates_b + j, b * H + j
    i, f = _get(at, there), _get(at + H, there)
    g, o = _get(at + 2 * H, there), _get(at + 3 * H, there)
    if SHARED:
        more = share + b * share_b + j
        i += _get(more, there)
        f += _get(more + H, there)
        g += _get(more + 2 * H, there)
        o += _get(more + 3 * H, there)
    i, f, g, o = _logistic(i), _logistic(f), _tanh(g), _logistic(o)
    before = _get(c + own, there)
    kept = _kept(keep, b, KEEPS)
    if KEEPS:  # what makes c pass through
        i, f = tl.where(kept, i, 0.0), tl.where(kept, f, 1.0)
        g, o = tl.where(kept, g, 0.0), tl.where(kept, o, 0.0)
    after = f * before + i * g
    state = o * _tanh(after)
    if KEEPS:
        state = tl.where(kept, state, _get(h + own, there))
    tl.store(at, i, mask=there)
    tl.store(at + H, f, mask=there)
    tl.store(at + 2 * H, g, mask=there)
    tl.store(at + 3 * H, o, mask=there)
    tl.store(c_after + own, after, mask=there)
    tl.store(h_after + own, state, mask=there)


@triton.jit
def _lstm_backward_kernel(
    gates,  # (B, 4H) float32, rows gates_b apart: i, f, g, o
    c,  # (B, H) float32: before the step
    after,  # (B, H) float32: after it
    keep,  # (B,) uint8
    more,  # (B, H) float32: added to dh
    dh,  # (B, H) float32; in its place what reaches h without the matrix
    dc,  # (B, H) float32; in its place the gradient of c before
    dgates,  # (B, 4H), written
    gates_b, H,
    KEEPS: tl.constexpr,
    MORE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """`lstm_step_backward`."""
    b, j, there = _place(H, BLOCK)
    at, own, into = gates + b * gates_b + j, b * H + j, dgates + b * 4 * H + j
    i, f = _get(at, there), _get(at + H, there)
    g, o = _get(at + 2 * H, there), _get(at + 3 * H, there)
    by_h = _get(dh + own, there)
    if MORE:
        by_h += _get(more + own, there)
    tanh = _tanh(_get(after + own, there))
    by_c = _get(dc + own, there) + by_h * o * (1.0 - tanh * tanh)
    kind = dgates.dtype.element_ty
    tl.store(into, (by_c * g * i * (1.0 - i)).to(kind), mask=there)
    before = _get(c + own, there)
    tl.store(into + H, (by_c * before * f * (1.0 - f)).to(kind), mask=there)
    tl.store(into + 2 * H, (by_c * i * (1.0 - g * g)).to(kind), mask=there)
    tl.store(into + 3 * H, (by_h * tanh * o * (1.0 - o)).to(kind), mask=there)
    tl.store(dc + own, by_c * f, mask=there)
    left = tl.where(_kept(keep, b, KEEPS), 0.0, by_h) if KEEPS else tl.zeros_like(by_h)
    tl.store(dh + own, left, mask=there)


class TritonCells:
    """`Cells` of ops/cells.py, for products in float32 and bfloat16. States are (B, H) float32."""

    def gru_open(
        self, parts: Tensor, share: Tensor | None, h: Tensor, keep: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """z and r, in place; gives r h (B, H)."""
        reset = h.new_empty(h.shape, dtype=dtype)
        more, row = (parts, 0) if share is None else (_rows(share), share.stride(0))
        _open_kernel[_grid(h)](
            _rows(parts), more, _rows(h), _bytes(keep, parts), reset, parts.stride(0), row, h.stride(0), h.shape[1],
            share is not None, keep is not None, _block(h), **_FUSED,
        )  # fmt: skip
        return reset

    def gru_close(self, parts: Tensor, recurrent: Tensor, h: Tensor, out: Tensor) -> Tensor:
        """n, in place, and the state after, written to out."""
        _close_kernel[_grid(h)](
            _rows(parts), _whole(recurrent), _rows(h), _whole(out), parts.stride(0), h.stride(0), h.shape[1],
            _block(h), **_FUSED,
        )  # fmt: skip
        return out

    def gru_close_backward(self, parts: Tensor, dparts: Tensor, dh: Tensor, h: Tensor, dtype: torch.dtype) -> Tensor:
        """The gradients of the sums of z and n, into dparts; n's as dtype."""
        dn = h.new_empty(h.shape, dtype=dtype)
        assert parts.stride() == dparts.stride()
        _close_backward_kernel[_grid(h)](
            _rows(parts), _rows(dparts), dh.contiguous(), _rows(h), dn, parts.stride(0), h.stride(0), h.shape[1],
            _block(h), **_FUSED,
        )  # fmt: skip
        return dn

    def gru_open_backward(self, parts: Tensor, dparts: Tensor, dreset: Tensor, dh: Tensor, h: Tensor) -> Tensor:
        """That of the sum of r, into dparts; gives dh (1 - z) + dreset r."""
        out = torch.empty_like(h, memory_format=torch.contiguous_format)
        assert parts.stride() == dparts.stride()
        _open_backward_kernel[_grid(h)](
            _rows(parts), _rows(dparts), dreset.contiguous(), dh.contiguous(), _rows(h), out, parts.stride(0),
            h.stride(0), h.shape[1], _block(h), **_FUSED,
        )  # fmt: skip
        return out

    def gru_step(self, parts: Tensor, share: Tensor | None, h: Tensor, keep: Tensor | None, out: Tensor) -> Tensor:
        """u, z, r and n, in place, and the state after, written to out."""
        more, row = (parts, 0) if share is None else (_rows(share), share.stride(0))
        _step_kernel[_grid(h)](
            _rows(parts), more, _rows(h), _bytes(keep, parts), _whole(out), parts.stride(0), row, h.stride(0),
            h.shape[1], share is not None, keep is not None, _block(h), **_FUSED,
        )  # fmt: skip
        return out

    def gru_step_backward(self, parts: Tensor, dparts: Tensor, dh: Tensor, h: Tensor) -> Tensor:
        """The gradients of the four sums, into dparts; gives dh (1 - z)."""
        out = torch.empty_like(h, memory_format=torch.contiguous_format)
        assert parts.stride() == dparts.stride()
        _step_backward_kernel[_grid(h)](
            _rows(parts), _rows(dparts), dh.contiguous(), _rows(h), out, parts.stride(0), h.stride(0), h.shape[1],
            _block(h), **_FUSED,
        )  # fmt: skip
        return out

    def lstm_step(
        self,
        gates: Tensor,
        share: Tensor | None,
        h: Tensor,
        c: Tensor,
        keep: Tensor | None,
        out: tuple[Tensor, Tensor],
    ) -> None:
        """The gates, in place; h and c after the step, written to out."""
        more, row = (gates, 0) if share is None else (_rows(share), share.stride(0))
        _lstm_kernel[_grid(h)](
            _rows(gates), more, _whole(h), _whole(c), _bytes(keep, gates), _whole(out[0]), _whole(out[1]),
            gates.stride(0), row, h.shape[1], share is not None, keep is not None, _block(h), **_FUSED,
        )  # fmt: skip

    def lstm_step_backward(
        self,
        gates: Tensor,
        c: tuple[Tensor, Tensor],
        keep: Tensor | None,
        more: Tensor | None,
        dh: Tensor,
        dc: Tensor,
        out: Tensor,
    ) -> Tensor:
        """The gradient of the sums, written to out (B, 4H); dc and dh become those of before, in place."""
        added = gates if more is None else more.contiguous()
        _lstm_backward_kernel[_grid(dh)](
            _rows(gates), _whole(c[0]), _whole(c[1]), _bytes(keep, gates), added, _whole(dh), _whole(dc), _whole(out),
            gates.stride(0), dh.shape[1], keep is not None, more is not None, _block(dh), **_FUSED,
        )  # fmt: skip
        return out


def _grid(h: Tensor) -> tuple[int, int]:
    """A program for each row and slice of the state."""
    return h.shape[0], triton.cdiv(h.shape[1], _block(h))


def _block(h: Tensor) -> int:
    return min(_SLICE, triton.next_power_of_2(h.shape[1]))


def _bytes(keep: Tensor | None, other: Tensor) -> Tensor:
    """keep as the kernels take it; anything where there is none."""
    return other if keep is None else keep.contiguous().view(torch.uint8)


def _rows(x: Tensor) -> Tensor:
    """x, whose rows are numbers side by side."""
    assert x.stride(-1) == 1
    return x


def _whole(x: Tensor) -> Tensor:
    """x, all of whose numbers lie side by side."""
    assert x.is_contiguous()
    return x
