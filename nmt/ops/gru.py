"""The gated recurrent unit of Cho 2014 and Bahdanau 2015 over a whole sequence, with its backward written by hand.

The reset gate acts on the state BEFORE the recurrent matrix and z weighs the NEW state (Bahdanau et al. 2015, A.1.1 and
A.2.1):

    z = sigmoid(x_z + U_z h)    r = sigmoid(x_r + U_r h)    n = tanh(x_n + U (r * h))    h' = (1 - z) * h + z * n

torch.nn.GRU and cuDNN apply r after the matrix and let z weigh the old state, so they are not this function. The
hand-written backward takes the gradients of the matrices out of the loop: one product each over all steps.
"""

from typing import Any

import torch
from torch import Tensor

from nmt.ops.linear import wide


def gru_step(x: Tensor, h: Tensor, U_zr: Tensor, U: Tensor) -> Tensor:
    """One step: x (B, 3H) in the order z, r, n with every input and bias added, h (B, H) -> the new h (B, H).

    U_zr (2H, H) and U (H, H) carry the type of the products; gates and state are float32.
    """
    H = h.shape[-1]
    zr = torch.sigmoid(x[..., : 2 * H].to(h.dtype) + (h.to(U.dtype) @ U_zr.T).to(h.dtype))
    z, r = zr.split(H, dim=-1)
    n = torch.tanh(x[..., 2 * H :].to(h.dtype) + ((r * h).to(U.dtype) @ U.T).to(h.dtype))
    return torch.lerp(h, n, z)


def gru_scan(
    x: Tensor, U_zr: Tensor, U: Tensor, keep: Tensor | None, reverse: bool = False, start: Tensor | None = None
) -> Tensor:
    """All states of a GRU from `start` (B, H) or zero: x (S, B, 3H), keep (S, B) bool or None -> h (S, B, H) float32.

    Time comes first so that each step reads one block. Where keep is False the state passes through unchanged, so a
    reversed scan reaches the last real word of each row with the state it started from. `reverse` runs from S-1 to 0;
    h[t] belongs to x[t] either way.
    """
    return _Scan.apply(x, U_zr, U, keep, reverse, start)  # pyright: ignore[reportReturnType]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, U_zr: Tensor, U: Tensor, keep: Tensor | None, reverse: bool, start: Tensor | None
    ) -> Tensor:
        S, B, H = x.shape[0], x.shape[1], U.shape[0]
        state = wide(x.dtype)
        seen = None if keep is None else keep[:, :, None].to(state)  # (S, B, 1)
        gates = x.new_empty((S, B, 3 * H), dtype=state)  # z (0 where padding), r, n
        before = x.new_empty((S, B, H), dtype=state)
        after = x.new_empty((S, B, H), dtype=state)
        h = x.new_zeros((B, H), dtype=state) if start is None else start
        for t in _order(S, reverse):
            before[t] = h
            zr = torch.sigmoid(x[t, :, : 2 * H].to(state) + (h.to(U.dtype) @ U_zr.T).to(h.dtype))
            z = zr[:, :H] if seen is None else zr[:, :H] * seen[t]
            n = torch.tanh(x[t, :, 2 * H :].to(state) + ((zr[:, H:] * h).to(U.dtype) @ U.T).to(h.dtype))
            h = torch.lerp(h, n, z)
            gates[t, :, :H], gates[t, :, H : 2 * H], gates[t, :, 2 * H :] = z, zr[:, H:], n
            after[t] = h
        ctx.save_for_backward(U_zr, U, gates, before)
        ctx.reverse, ctx.x_dtype = reverse, x.dtype
        return after

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (dafter,) = grads
        U_zr, U, gates, before = ctx.saved_tensors
        S, _, H = before.shape
        dx = torch.empty_like(gates)
        dh = torch.zeros_like(before[0])
        for t in _order(S, not ctx.reverse):
            dh = dh + dafter[t]
            dh = gru_step_backward(dh, gates[t], before[t], U_zr, U, out=dx[t])
        flat, rows = dx.flatten(0, 1).to(U.dtype), before.flatten(0, 1)  # (S*B, 3H), (S*B, H)
        dU_zr = flat[:, : 2 * H].T @ rows.to(U.dtype)
        dU = flat[:, 2 * H :].T @ (gates.flatten(0, 1)[:, H : 2 * H] * rows).to(U.dtype)
        return dx.to(ctx.x_dtype), dU_zr, dU, None, None, dh if ctx.needs_input_grad[5] else None


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


def _order(S: int, reverse: bool) -> range:
    return range(S - 1, -1, -1) if reverse else range(S)
