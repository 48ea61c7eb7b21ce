"""Long short-term memory over a whole sequence, with its backward written by hand.

The cell without peepholes (Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000, as Zaremba et al.
2014, arXiv:1409.2329v5, section 3.1, and torch.nn.LSTM write it), gates stacked in torch's order i, f, g, o:

    i = sigmoid(x_i + U_i h)   f = sigmoid(x_f + U_f h)   g = tanh(x_g + U_g h)   o = sigmoid(x_o + U_o h)
    c' = f * c + i * g         h' = o * tanh(c')

There is one bias a gate, and it comes in with x; torch.nn.LSTM has two that are only ever added. The hand-written
backward takes all that does not depend on the step after out of the loop: the slopes of the gates, and the gradients
of the matrices, which are one product over all steps.
"""

from typing import Any

import torch
from torch import Tensor

from nmt.ops.linear import add_product_, linear, wide
from nmt.ops.native import native_for


def lstm_step(x: Tensor, h: Tensor, c: Tensor, U: Tensor) -> tuple[Tensor, Tensor]:
    """One step: x (B, 4H) in the order i, f, g, o with every input and bias added, h and c (B, H) -> the new h and c.

    U (4H, H) carries the type of the products; gates and states are float32.
    """
    H = h.shape[-1]
    from_state = linear(h.to(U.dtype), U).to(h.dtype)
    if (native := native_for(x, from_state, c)) is not None:
        return native.lstm(x, from_state, c)
    x = x.to(h.dtype) + from_state
    i_f, g, o = torch.sigmoid(x[..., : 2 * H]), torch.tanh(x[..., 2 * H : 3 * H]), torch.sigmoid(x[..., 3 * H :])
    c = i_f[..., H:] * c + i_f[..., :H] * g
    return o * torch.tanh(c), c


def lstm_scan(
    x: Tensor,
    U: Tensor,
    keep: Tensor | None = None,
    start: tuple[Tensor, Tensor] | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """All steps of x (S, B, 4H) from start = (h, c), each (B, H), or zeros: h (S, B, H), and c (B, H) after the last.

    Both are float32. Time comes first so that each step reads one block. Where keep (S, B) bool is False the state
    passes through unchanged, so that h[-1] and c are those after the last real word of each row, and a reversed scan
    reaches that word with the state it started from. `reverse` runs from S-1 to 0 (its last step is h[0]); h[t] belongs
    to x[t] either way.
    """
    if native_for(x) is not None:
        return _stepwise(x, start, U, keep, reverse)
    h, c = start if start is not None else (None, None)
    return _Scan.apply(x, U, keep, h, c, reverse)  # pyright: ignore[reportReturnType]


def _stepwise(
    x: Tensor, start: tuple[Tensor, Tensor] | None, U: Tensor, keep: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """`lstm_scan` where nothing is kept for a backward: `lstm_step` over and over."""
    (S, B), H = x.shape[:2], U.shape[1]
    h, c = (x.new_zeros((B, H)),) * 2 if start is None else start
    found = x.new_empty((S, B, H))
    whole = [True] * S if keep is None else keep.all(1).tolist()
    for t in _order(S, reverse):
        after = lstm_step(x[t], h, c, U)
        if keep is not None and not whole[t]:
            after = (torch.where(keep[t, :, None], one, old) for one, old in zip(after, (h, c), strict=True))
        h, c = after
        found[t] = h
    return found, c


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, U: Tensor, keep: Tensor | None, h0: Tensor | None, c0: Tensor | None, reverse: bool
    ) -> tuple[Tensor, Tensor]:
        S, B, H = x.shape[0], x.shape[1], U.shape[1]
        state = wide(x.dtype)
        gates = x.to(state, copy=True)
        if keep is not None:  # i = 0 and f = 1 exactly: c passes through, and no slope of i, f or g is left
            gates[..., :H].masked_fill_(~keep[:, :, None], -torch.inf)
            gates[..., H : 2 * H].masked_fill_(~keep[:, :, None], torch.inf)
        if h0 is None or c0 is None:
            h0 = c0 = x.new_zeros((B, H), dtype=state)
        h, c = h0, c0
        hs, cs = x.new_empty((S, B, H), dtype=state), x.new_empty((S, B, H), dtype=state)
        for t in _order(S, reverse):
            cell(add_product_(gates[t], h, U), c, out=(hs[t], cs[t]))
            if keep is not None:
                torch.where(keep[t, :, None], hs[t], h, out=hs[t])
            h, c = hs[t], cs[t]
        ctx.save_for_backward(U, keep, h0, c0, gates, hs, cs)
        ctx.reverse, ctx.x_dtype = reverse, x.dtype
        return hs, c.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        U, keep, h0, c0, gates, hs, cs = ctx.saved_tensors
        dhs, dc = grads[0], grads[1].clone()
        S, B, H = hs.shape
        dx, by_h = slopes(gates, before(cs, c0, ctx.reverse), cs)
        gone = None
        if keep is not None:
            gone = (~keep[:, :, None]).to(hs.dtype)
            dx[..., 3 * H :].masked_fill_(~keep[:, :, None], 0.0)
            by_h.masked_fill_(~keep[:, :, None], 0.0)
        dh = torch.zeros((B, H), dtype=hs.dtype, device=hs.device)
        for t in _order(S, not ctx.reverse):
            dh += dhs[t]
            cell_backward(dh, dc, dx[t], by_h[t], gates[t])
            dh = dh * gone[t] if gone is not None else torch.zeros_like(dh)
            add_product_(dh, dx[t], U.T)
        dU = dx.flatten(0, 1).to(U.dtype).T @ before(hs, h0, ctx.reverse).flatten(0, 1).to(U.dtype)
        start = [d if needed else None for d, needed in zip((dh, dc), ctx.needs_input_grad[3:5], strict=True)]
        return dx.to(ctx.x_dtype), dU, None, *start, None


# The parts of a step and of its backward, for recurrences that have more than a cell in their loop.


def cell(gates: Tensor, c: Tensor, out: tuple[Tensor, Tensor]) -> None:
    """Turns the sums before the nonlinearities (B, 4H) into i, f, g, o in place, and writes h' and c' (B, H) to out."""
    H = c.shape[-1]
    gates[:, : 2 * H].sigmoid_()
    gates[:, 2 * H : 3 * H].tanh_()
    gates[:, 3 * H :].sigmoid_()
    i, f, g, o = gates.split(H, dim=-1)
    h, after = out
    torch.mul(f, c, out=after).addcmul_(i, g)
    torch.tanh(after, out=h).mul_(o)


def slopes(gates: Tensor, c_before: Tensor, c_after: Tensor) -> tuple[Tensor, Tensor]:
    """What the backward of each step multiplies by, for all steps at once.

    gates (T, B, 4H) as `cell` left them, c before and after (T, B, H)
    -> (T, B, 4H): of the sums of i, f, g with respect to c', of that of o with respect to h'; (T, B, H): dh'/dc'.
    """
    i, f, g, o = gates.split(c_after.shape[-1], dim=-1)
    tanh = torch.tanh(c_after)
    found = torch.cat([g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g), tanh * o * (1 - o)], dim=-1)
    return found, o * (1 - tanh * tanh)


def cell_backward(dh: Tensor, dc: Tensor, dx: Tensor, by_h: Tensor, gates: Tensor) -> None:
    """Backward of `cell`: dh and dc (B, H) of the state after; dx (B, 4H) and by_h (B, H) from `slopes`.

    In place: dx becomes the gradient of the sums, dc that of the c before.
    """
    B, H = dh.shape
    dc.addcmul_(dh, by_h)
    dx[:, 3 * H :].mul_(dh)
    dx[:, : 3 * H].view(B, 3, H).mul_(dc[:, None])
    dc.mul_(gates[:, H : 2 * H])


def before(states: Tensor, first: Tensor, reverse: bool = False) -> Tensor:
    """The state before each step, from those after (T, B, H) and the one before the first step (B, H)."""
    parts = [states[1:], first[None]] if reverse else [first[None], states[:-1]]
    return torch.cat(parts)


def _order(S: int, reverse: bool) -> range:
    return range(S - 1, -1, -1) if reverse else range(S)
