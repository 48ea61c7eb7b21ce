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

from nmt.ops.linear import add_product_, wide


def gru_step(x: Tensor, h: Tensor, U_zr: Tensor, U: Tensor, u_bias: Tensor | None = None) -> Tensor:
    """One step: x (B, 3H) in the order z, r, n with every input and bias added, h (B, H) -> the new h (B, H).

    U_zr (2H, H) and U (H, H) carry the type of the products; gates and state are float32. u_bias (H,) or (B, H), what
    the reset gate weighs beside U h, puts the reset after the matrix.
    """
    H = h.shape[-1]
    zr = torch.sigmoid(x[..., : 2 * H].to(h.dtype) + (h.to(U.dtype) @ U_zr.T).to(h.dtype))
    z, r = zr.split(H, dim=-1)
    if u_bias is None:
        recurrent = ((r * h).to(U.dtype) @ U.T).to(h.dtype)
    else:
        recurrent = r * (u_bias.to(h.dtype) + (h.to(U.dtype) @ U.T).to(h.dtype))
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
    if u_bias is None:
        return _Scan.apply(x, start, U_zr, U, keep, reverse)  # pyright: ignore[reportReturnType]
    return _ScanAfter.apply(x, start, U_zr, U, u_bias, keep, reverse)  # pyright: ignore[reportReturnType]


# --- reset before the matrix ------------------------------------------------------------------------------------------


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, start: Tensor, U_zr: Tensor, U: Tensor, keep: Tensor | None, reverse: bool
    ) -> Tensor:
        S, B, H = x.shape[0], x.shape[1], U.shape[0]
        state = start.dtype
        gates = x.new_empty((S, B, 3 * H), dtype=state)  # z (0 where padding), r, n
        before = x.new_empty((S, B, H), dtype=state)
        after = x.new_empty((S, B, H), dtype=state)
        h = start
        for t in _order(S, reverse):
            before[t] = h
            z, r, n = gates[t].split(H, dim=-1)
            zr = gates[t, :, : 2 * H]
            torch.add(x[t, :, : 2 * H].to(state), (h.to(U.dtype) @ U_zr.T).to(state), out=zr).sigmoid_()
            if keep is not None:
                z.mul_(keep[t, :, None])
            torch.add(x[t, :, 2 * H :].to(state), ((r * h).to(U.dtype) @ U.T).to(state), out=n).tanh_()
            h = torch.lerp(h, n, z, out=after[t])
        ctx.save_for_backward(U_zr, U, gates, before)
        ctx.reverse, ctx.x_dtype = reverse, x.dtype
        return after

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (dafter,) = grads
        U_zr, U, gates, before = ctx.saved_tensors
        S = before.shape[0]
        dx = torch.empty_like(gates)
        dh = torch.zeros_like(before[0])
        for t in _order(S, not ctx.reverse):
            dh = dh + dafter[t]
            dh = gru_step_backward(dh, gates[t], before[t], U_zr, U, out=dx[t])
        dU_zr, dU = gru_matrix_gradients(dx, gates, before, U.dtype)
        return dx.to(ctx.x_dtype), dh, dU_zr, dU, None, None


def gru_step_backward(dh: Tensor, gates: Tensor, h: Tensor, U_zr: Tensor, U: Tensor, out: Tensor) -> Tensor:
    """Backward of one step: writes the gradient of x (B, 3H) to `out`, returns that of the state before (B, H).

    dh (B, H) is the gradient of the state after, gates (B, 3H) hold z, r and n as the forward left them, h the state
    before.
    """
    H = h.shape[-1]
    z, r, n = gates[:, :H], gates[:, H : 2 * H], gates[:, 2 * H :]
    out[:, 2 * H :] = dh * z * (1 - n * n)
    drh = (out[:, 2 * H :].to(U.dtype) @ U).to(dh.dtype)
    out[:, :H] = dh * (n - h) * z * (1 - z)
    out[:, H : 2 * H] = drh * h * r * (1 - r)
    return dh * (1 - z) + drh * r + (out[:, : 2 * H].to(U.dtype) @ U_zr).to(dh.dtype)


def gru_matrix_gradients(dx: Tensor, gates: Tensor, before: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Gradients of U_zr (2H, H) and U (H, H), in the given type, from those of x (S, B, 3H) over all steps."""
    H = before.shape[-1]
    flat, rows = dx.flatten(0, 1).to(dtype), before.flatten(0, 1)  # (S*B, 3H), (S*B, H)
    dU_zr = flat[:, : 2 * H].T @ rows.to(dtype)
    return dU_zr, flat[:, 2 * H :].T @ (gates.flatten(0, 1)[:, H : 2 * H] * rows).to(dtype)


# --- reset after the matrix -------------------------------------------------------------------------------------------
# Here all that comes from the state is one product, with the rows of U and then those of U_zr. The parts of a step lie
# side by side as u = U h + u_bias, z, r, n: the first three are sums with that product, the last three sums with x.


class _ScanAfter(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        start: Tensor,
        U_zr: Tensor,
        U: Tensor,
        u_bias: Tensor,
        keep: Tensor | None,
        reverse: bool,
    ) -> Tensor:
        S, B, H = x.shape[0], x.shape[1], U.shape[0]
        U_all = torch.cat([U, U_zr])
        parts = gru_parts(x, u_bias, start.dtype)
        before = x.new_empty((S, B, H), dtype=start.dtype)
        after = x.new_empty((S, B, H), dtype=start.dtype)
        h = start
        for t in _order(S, reverse):
            before[t] = h
            add_product_(parts[t, :, : 3 * H], h, U_all)
            h = gru_after_step(parts[t], h, None if keep is None else keep[t, :, None], out=after[t])
        ctx.save_for_backward(U_all, parts, before)
        ctx.reverse, ctx.x_dtype, ctx.u_shape, ctx.u_dtype = reverse, x.dtype, u_bias.shape, u_bias.dtype
        return after

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (dafter,) = grads
        U_all, parts, before = ctx.saved_tensors
        S, B, H = before.shape
        dparts = gru_after_slopes(parts, before)
        stay = 1 - parts[:, :, H : 2 * H]
        dh = torch.zeros_like(before[0])
        for t in _order(S, not ctx.reverse):
            dh = dh + dafter[t]
            dparts[t].view(B, 4, H).mul_(dh[:, None])
            dh = dh * stay[t]
            add_product_(dh, dparts[t, :, : 3 * H], U_all.T)
        dU, dU_zr = gru_after_gradients(dparts, before, U_all.dtype)
        du_bias = dparts[:, :, :H].sum(dim=0).sum_to_size(ctx.u_shape).to(ctx.u_dtype)
        return dparts[:, :, H:].to(ctx.x_dtype), dh, dU_zr, dU, du_bias, None, None


def gru_parts(x: Tensor, u_bias: Tensor, dtype: torch.dtype) -> Tensor:
    """The sums of a scan before the state's share comes in: x (S, B, 3H), u_bias (H,) or (B, H) -> (S, B, 4H)."""
    return torch.cat([u_bias.expand(*x.shape[:2], -1).to(dtype), x.to(dtype)], dim=-1)


def gru_after_step(parts: Tensor, h: Tensor, keep: Tensor | None, out: Tensor) -> Tensor:
    """The state after a step, to `out` (B, H): parts (B, 4H) hold the complete sums u, z, r and n's share of x.

    What they hold afterwards is what the backward needs: u, z, r, n behind their functions, z zero where keep (B, 1) is
    False.
    """
    u, z, r, n = parts.chunk(4, dim=-1)
    H = h.shape[-1]
    parts[:, H : 3 * H].sigmoid_()
    if keep is not None:
        z.mul_(keep)
    n.addcmul_(r, u).tanh_()
    return torch.lerp(h, n, z, out=out)


def gru_after_slopes(parts: Tensor, before: Tensor) -> Tensor:
    """Derivative of each new state by each of its parts' sums, all steps at once: (S, B, 4H), `before` (S, B, H)."""
    u, z, r, n = parts.chunk(4, dim=-1)
    slopes = torch.empty_like(parts)
    du, dz, dr, dn = slopes.chunk(4, dim=-1)
    torch.mul(z, 1 - n * n, out=dn)
    torch.mul(dn, r, out=du)
    torch.mul(dn * u, r * (1 - r), out=dr)
    torch.mul(n - before, z * (1 - z), out=dz)
    return slopes


def gru_after_gradients(dparts: Tensor, before: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Gradients of U (H, H) and U_zr (2H, H), in the given type, from those of the parts (S, B, 4H) over all steps."""
    H = before.shape[-1]
    flat = dparts[:, :, : 3 * H].to(dtype).flatten(0, 1)  # (S*B, 3H)
    dU_all = flat.T @ before.flatten(0, 1).to(dtype)
    return dU_all[:H], dU_all[H:]


def _order(S: int, reverse: bool) -> range:
    return range(S - 1, -1, -1) if reverse else range(S)
