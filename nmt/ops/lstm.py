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

from nmt.ops.cells import Cells, cells_for
from nmt.ops.gradient import once
from nmt.ops.linear import add_product_, linear, product, wide
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
        cells = cells_for(x, U)
        if keep is not None and cells is None:  # i = 0 and f = 1: c passes through, and no slope of i, f or g is left
            gates[..., :H].masked_fill_(~keep[:, :, None], -torch.inf)
            gates[..., H : 2 * H].masked_fill_(~keep[:, :, None], torch.inf)
        if h0 is None or c0 is None:
            h0 = c0 = x.new_zeros((B, H), dtype=state)
        h0, c0 = h0.contiguous(), c0.contiguous()
        h, c = h0, c0
        hs, cs = x.new_empty((S, B, H), dtype=state), x.new_empty((S, B, H), dtype=state)
        for t in _order(S, reverse):
            advance(gates[t], h, c, U, (hs[t], cs[t]), cells, None if keep is None else keep[t])
            h, c = hs[t], cs[t]
        ctx.save_for_backward(U, keep, h0, c0, gates, hs, cs)
        ctx.reverse, ctx.x_dtype, ctx.cells = reverse, x.dtype, cells
        return hs, c.clone()

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        U, keep, h0, c0, gates, hs, cs = ctx.saved_tensors
        dhs, dc = grads[0], grads[1].clone(memory_format=torch.contiguous_format)
        way_back = Backward(gates, cs, c0, U.dtype, ctx.cells, keep, ctx.reverse)
        dh = torch.zeros_like(h0)
        for t in _order(len(hs), not ctx.reverse):
            add_product_(dh, way_back.step(t, dh, dc, more=dhs[t]), U.T)
        dx = way_back.dx
        dU = dx.flatten(0, 1).to(U.dtype).T @ before(hs, h0, ctx.reverse).flatten(0, 1).to(U.dtype)
        start = [d if needed else None for d, needed in zip((dh, dc), ctx.needs_input_grad[3:5], strict=True)]
        return dx.to(ctx.x_dtype), dU, None, *start, None


# The parts of a step and of its backward, for recurrences that have more than a cell in their loop.


def advance(
    gates: Tensor,
    h: Tensor,
    c: Tensor,
    U: Tensor,
    out: tuple[Tensor, Tensor],
    cells: Cells | None = None,
    keep: Tensor | None = None,
) -> None:
    """A step from h and c (B, H): the sums before the nonlinearities, gates (B, 4H), get U h and become i, f, g, o in
    place; h' and c' (B, H) are written to out. Where keep (B,) is False, h and c pass through: plain, c by gates that
    were made infinite before.
    """
    if cells is not None:
        alike = gates.dtype == U.dtype
        share = None if alike else product(h.to(U.dtype), U)
        cells.lstm_step(add_product_(gates, h, U) if alike else gates, share, h, c, keep, out)
        return
    H = c.shape[-1]
    add_product_(gates, h, U)
    gates[:, : 2 * H].sigmoid_()
    gates[:, 2 * H : 3 * H].tanh_()
    gates[:, 3 * H :].sigmoid_()
    i, f, g, o = gates.split(H, dim=-1)
    h_after, c_after = out
    torch.mul(f, c, out=c_after).addcmul_(i, g)
    torch.tanh(c_after, out=h_after).mul_(o)
    if keep is not None:
        torch.where(keep[:, None], h_after, h, out=h_after)


class Backward:
    """The way back through the steps of a layer, in any loop: dx (T, B, 4H) are the gradients of the sums, which
    `step` finishes one step at a time. Plain, all that does not depend on the step after is taken first, at once.
    """

    def __init__(
        self,
        gates: Tensor,
        cs: Tensor,
        c0: Tensor,
        dtype: torch.dtype,
        cells: Cells | None = None,
        keep: Tensor | None = None,
        reverse: bool = False,
    ) -> None:
        """gates (T, B, 4H) as `advance` left them, c after each step (T, B, H) and before the first (B, H), keep (T,
        B); dtype: of products, and compiled also of dx.
        """
        self._gates, self._cs, self._c0, self._dtype, self._cells = gates, cs, c0, dtype, cells
        self._keep, self._earlier = keep, 1 if reverse else -1
        if cells is not None:
            self.dx = gates.new_empty(gates.shape, dtype=dtype)
            return
        i, f, g, o = gates.split(c0.shape[-1], dim=-1)
        tanh, c = torch.tanh(cs), before(cs, c0, reverse)
        self.dx = torch.cat([g * i * (1 - i), c * f * (1 - f), i * (1 - g * g), tanh * o * (1 - o)], dim=-1)
        self._by_h = o * (1 - tanh * tanh)  # dh'/dc'
        if keep is not None:
            self._gone = (~keep[:, :, None]).to(cs.dtype)
            self.dx[..., 3 * c0.shape[-1] :].masked_fill_(~keep[:, :, None], 0.0)
            self._by_h.masked_fill_(~keep[:, :, None], 0.0)

    def step(self, t: int, dh: Tensor, dc: Tensor, more: Tensor | None = None) -> Tensor:
        """The gradient of the sums (B, 4H) in the type of products, from those of the state after, dh plus more, and
        dc, (B, H) float32. In place: dc becomes that of c before, and dh that part of h's before which does not come
        through the sums: nothing, or all where keep is False.
        """
        B, H = dh.shape
        dx, gates = self.dx[t], self._gates[t]
        if self._cells is not None:
            at = t + self._earlier
            c = self._cs[at] if 0 <= at < len(self._cs) else self._c0
            keep = None if self._keep is None else self._keep[t]
            return self._cells.lstm_step_backward(gates, (c, self._cs[t]), keep, more, dh, dc, dx)
        if more is not None:
            dh += more
        dc.addcmul_(dh, self._by_h[t])
        dx[:, 3 * H :].mul_(dh)
        dx[:, : 3 * H].view(B, 3, H).mul_(dc[:, None])
        dc.mul_(gates[:, H : 2 * H])
        if self._keep is None:
            dh.zero_()
        else:
            dh.mul_(self._gone[t])
        return dx.to(self._dtype)


def before(states: Tensor, first: Tensor, reverse: bool = False) -> Tensor:
    """The state before each step, from those after (T, B, H) and the one before the first step (B, H)."""
    parts = [states[1:], first[None]] if reverse else [first[None], states[:-1]]
    return torch.cat(parts)


def _order(S: int, reverse: bool) -> range:
    return range(S - 1, -1, -1) if reverse else range(S)
