"""The gated recurrent unit over a whole sequence, in its two published forms, with their backwards written by hand.

    z = sigmoid(x_z + U_z h)    r = sigmoid(x_r + U_r h)    h' = (1 - z) * h + z * n
    reset before the matrix     n = tanh(x_n + U (r * h))          Cho et al. 2014, equation 8; Bahdanau et al. 2015, A
    reset after it              n = tanh(x_n + r * (U h + u))      Cho et al. 2014, A.1.1 (u = C c); torch.nn.GRU, cuDNN

Giving u (`u_bias`) chooses the second. The two are different functions. z weighs the NEW state, as Bahdanau has it; Cho
and torch let it weigh the old one, which is the same function with z's parameters negated: 1 - sigmoid(a) =
sigmoid(-a). The hand-written backwards take the gradients of the matrices out of the loop: one product each over all
steps.
"""

from typing import Any

import torch
from torch import Tensor

from nmt.ops.cells import Cells, cells_for
from nmt.ops.gradient import once
from nmt.ops.linear import add_product_, linear, product, wide
from nmt.ops.native import native_for


def gru_step(x: Tensor, h: Tensor, U_zr: Tensor, U: Tensor, u_bias: Tensor | None = None) -> Tensor:
    """One step: x (B, 3H) in the order z, r, n with every input and bias added, h (B, H) -> the new h (B, H).

    U_zr (2H, H) and U (H, H) carry the type of the products; gates and state are float32. u_bias (H,) or (B, H), what
    the reset gate weighs beside U h, puts the reset after the matrix.
    """
    H = h.shape[-1]
    to_gates = linear(h.to(U.dtype), U_zr).to(h.dtype)
    if (native := native_for(x, to_gates, h)) is not None:
        if u_bias is not None:
            return native.gru(x, to_gates, linear(h, U), u_bias, h)
        z, reset = native.gru_gates(x, to_gates, h)
        return native.gru_state(x[..., 2 * H :], linear(reset, U), h, z)
    z, r = torch.sigmoid(x[..., : 2 * H].to(h.dtype) + to_gates).split(H, dim=-1)
    if u_bias is None:
        recurrent = linear((r * h).to(U.dtype), U).to(h.dtype)
    else:
        recurrent = r * (u_bias.to(h.dtype) + linear(h.to(U.dtype), U).to(h.dtype))
    n = torch.tanh(x[..., 2 * H :].to(h.dtype) + recurrent)
    return torch.lerp(h, n, z)


def gru_scan(
    x: Tensor,
    U_zr: Tensor,
    U: Tensor,
    keep: Tensor | None = None,
    reverse: bool = False,
    start: Tensor | None = None,
    u_bias: Tensor | None = None,
) -> Tensor:
    """All states of a GRU: x (S, B, 3H), keep (S, B) bool or None for all -> h (S, B, H) float32.

    Time comes first so that each step reads one block. It goes from `start` (B, H) float32 or zero. Where keep is False
    the state passes through unchanged, so a reversed scan reaches the last real word of each row with the first state.
    `reverse` runs from S-1 to 0; h[t] belongs to x[t] either way. u_bias as in `gru_step`.
    """
    if start is None:
        start = x.new_zeros((x.shape[1], U.shape[0]), dtype=wide(x.dtype))
    if native_for(x, start) is not None:
        return _stepwise(x, start, U_zr, U, u_bias, keep, reverse)
    return _Scan.apply(x, start, U_zr, U, u_bias, keep, reverse)  # pyright: ignore[reportReturnType]


def _stepwise(
    x: Tensor, h: Tensor, U_zr: Tensor, U: Tensor, u_bias: Tensor | None, keep: Tensor | None, reverse: bool
) -> Tensor:
    """`gru_scan` where nothing is kept for a backward: `gru_step` over and over."""
    found = x.new_empty((len(x), *h.shape))
    whole = [True] * len(x) if keep is None else keep.all(1).tolist()
    for t in _order(len(x), reverse):
        after = gru_step(x[t], h, U_zr, U, u_bias)
        h = found[t] = after if keep is None or whole[t] else torch.where(keep[t, :, None], after, h)
    return found


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        start: Tensor,
        U_zr: Tensor,
        U: Tensor,
        u_bias: Tensor | None,
        keep: Tensor | None,
        reverse: bool,
    ) -> Tensor:
        S, B, H = x.shape[0], x.shape[1], U.shape[0]
        from_state = state_matrix(U_zr, U, u_bias)
        parts = parts_of(x, u_bias, start.dtype)
        before = x.new_empty((S, B, H), dtype=start.dtype)
        after = x.new_empty((S, B, H), dtype=start.dtype)
        h = start
        for t in _order(S, reverse):
            before[t] = h
            share = None
            if x.dtype == start.dtype:
                add_product_(parts[t, :, :-H], h, from_state)
            else:
                share = product(h.to(x.dtype), from_state)
            h = finish(parts[t], h, U, None if keep is None else keep[t, :, None], after[t], share)
        ctx.cells = cells_for(x, start)
        ctx.save_for_backward(from_state, U, u_bias, parts, before)
        ctx.reverse, ctx.x_dtype = reverse, x.dtype
        return after

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (dafter,) = grads
        from_state, U, u_bias, parts, before = ctx.saved_tensors
        S, H = before.shape[0], before.shape[-1]
        dparts = slopes(parts, before, ctx.cells)
        dh = torch.zeros_like(before[0])
        for t in _order(S, not ctx.reverse):
            dh = dh + dafter[t]
            dh = finish_backward(dh, dparts[t], parts[t], before[t], from_state, U, ctx.cells)
        dU_zr, dU, du_bias = parameter_gradients(dparts, parts, before, U.dtype, u_bias)
        return dparts[:, :, -3 * H :].to(ctx.x_dtype), dh, dU_zr, dU, du_bias, None, None


def _order(S: int, reverse: bool) -> range:
    return range(S - 1, -1, -1) if reverse else range(S)


# The parts of a step and of its backward, for recurrences that have more than a cell in their loop. A step's sums lie
# side by side in one row: z, r, n, and before them, where the reset acts after the matrix, u = U h + u_bias. So in both
# forms x adds to the last 3H of them and one product with the state (`state_matrix`) to all but the last H.


def state_matrix(U_zr: Tensor, U: Tensor, u_bias: Tensor | None) -> Tensor:
    """The rows that multiply the state itself: (2H, H) of z and r, or (3H, H) of u, z and r."""
    return U_zr if u_bias is None else torch.cat([U, U_zr])


def parts_of(x: Tensor, u_bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The sums of all steps before the state's share comes in: x (S, B, 3H) -> a copy (S, B, 3H), or (S, B, 4H)."""
    if u_bias is None:
        return x.to(dtype, copy=True)
    return torch.cat([u_bias.to(dtype).expand(*x.shape[:2], -1), x.to(dtype)], dim=-1)


def finish(
    parts: Tensor, h: Tensor, U: Tensor, keep: Tensor | None, out: Tensor, share: Tensor | None = None
) -> Tensor:
    """The state after a step, written to `out` (B, H): parts (B, 3H or 4H) complete but for n's share of the state h,
    and where it is given for the `share` (B, 2H or 3H) of all but n.

    They then hold what the backward needs: u, z, r and n, z being 0 where keep (B, 1) is False.
    """
    H = h.shape[-1]
    if (cells := cells_for(parts, U)) is not None:
        if parts.shape[-1] == 4 * H:
            return cells.gru_step(parts, share, h, keep, out)
        reset = cells.gru_open(parts, share, h, keep, U.dtype)
        return cells.gru_close(parts, product(reset, U), h, out)
    if share is not None:
        parts[:, :-H].add_(share)
    z, r, n = parts[:, -3 * H :].split(H, dim=-1)
    parts[:, -3 * H : -H].sigmoid_()
    if keep is not None:
        z.mul_(keep)
    if parts.shape[-1] == 4 * H:
        n.addcmul_(r, parts[:, :H]).tanh_()
    else:
        add_product_(n, r * h, U).tanh_()
    return torch.lerp(h, n, z, out=out)


def slopes(parts: Tensor, before: Tensor, cells: Cells | None = None) -> Tensor:
    """Room for the gradients of the parts (S, B, 3H or 4H); with the reset after the matrix, and no compiled cells,
    already the derivatives of each new state by them, for all steps at once. before (S, B, H): the state before each.
    """
    found = torch.empty_like(parts)
    if cells is None and parts.shape[-1] == 4 * before.shape[-1]:
        u, z, r, n = parts.chunk(4, dim=-1)
        du, dz, dr, dn = found.chunk(4, dim=-1)
        torch.mul(z, 1 - n * n, out=dn)
        torch.mul(dn, r, out=du)
        torch.mul(dn * u, r * (1 - r), out=dr)
        torch.mul(n - before, z * (1 - z), out=dz)
    return found


def finish_backward(
    dh: Tensor, dparts: Tensor, parts: Tensor, h: Tensor, from_state: Tensor, U: Tensor, cells: Cells | None = None
) -> Tensor:
    """Backward of one step: dparts, from `slopes`, become the gradients of the parts; gives that of the state before.

    dh (B, H) is the gradient of the state after, parts are as `finish` left them, h (B, H) is the state before.
    """
    B, H = h.shape
    z, r, n = parts[:, -3 * H :].split(H, dim=-1)
    if cells is not None and parts.shape[-1] == 4 * H:
        before = cells.gru_step_backward(parts, dparts, dh, h)
        return add_product_(before, dparts[:, :-H], from_state.T)
    if parts.shape[-1] == 4 * H:
        dparts.view(B, 4, H).mul_(dh[:, None])
        return add_product_(torch.addcmul(dh, dh, z, value=-1.0), dparts[:, :-H], from_state.T)
    if cells is not None:
        dn = cells.gru_close_backward(parts, dparts, dh, h, U.dtype)
        before = cells.gru_open_backward(parts, dparts, product(dn, U.T), dh, h)
        return add_product_(before, dparts[:, :-H], from_state.T)
    dz, dr, dn = dparts.split(H, dim=-1)
    torch.mul(dh * z, 1 - n * n, out=dn)
    drh = product(dn.to(U.dtype), U.T).to(dh.dtype)
    torch.mul(dh * (n - h) * z, 1 - z, out=dz)
    torch.mul(drh * h * r, 1 - r, out=dr)
    return dh * (1 - z) + drh * r + product(dparts[:, :-H].to(U.dtype), from_state.T).to(dh.dtype)


def parameter_gradients(
    dparts: Tensor, parts: Tensor, before: Tensor, dtype: torch.dtype, u_bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of U_zr (2H, H) and U (H, H) in the given type, and of u_bias in its own, from those of all steps."""
    H = before.shape[-1]
    flat, rows = dparts.flatten(0, 1).to(dtype), before.flatten(0, 1)  # (S*B, 3H or 4H), (S*B, H)
    from_state = flat[:, :-H].T @ rows.to(dtype)
    if u_bias is not None:
        du_bias = dparts[:, :, :H].sum(dim=0).sum_to_size(u_bias.shape).to(u_bias.dtype)
        return from_state[H:], from_state[:H], du_bias
    reset = parts.flatten(0, 1)[:, H : 2 * H] * rows
    return from_state, flat[:, -H:].T @ reset.to(dtype), None
