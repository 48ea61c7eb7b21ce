"""An LSTM that looks at the source by additive attention at each step, over all target positions (teacher forcing).

The same plan as `additive_decoder.py`, with an LSTM: only the query, the scores, the weights and the cell stay in the
loop; the context enters the gates through values that were multiplied by their matrix once a sentence; the gradients of
matrices, of the keys' projection and of the values are left to single products after the loop.
"""

from typing import Any

import torch
from torch import Tensor

from nmt.ops import lstm
from nmt.ops.additive import Steps, looks
from nmt.ops.cells import cells_for
from nmt.ops.fused import fused_for
from nmt.ops.gradient import once
from nmt.ops.linear import add_product_


def decode(
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
    keys: Tensor,
    values: Tensor,
    keep: Tensor,
    W_a: Tensor,
    v: Tensor,
    U: Tensor,
    steps: type[Steps] = Steps,
) -> tuple[Tensor, Tensor]:
    """h_t after each target position, and the attention weights of the state before each and of the last one.

    p_t = softmax_s(v . tanh(W_a h_{t-1} + keys_s)) over the kept positions, and h_t the cell of ops/lstm.py with x_t +
    sum_s p_t(s) values_s as what it gets beside U h_{t-1}.

    x       (T, B, 4H): W y + b of the word before, in the order i, f, g, o
    h0, c0  (B, H) float32
    keys    (B, S, A): U_a h + b_a;  values (B, S, 4H): the context's matrix times the annotations;  keep (B, S) bool
    W_a     (A, H);  v (A,);  U (4H, H): their dtype is that of the products
    steps   how each step looks at the keys, and what of that is kept for the backward
    -> h (T, B, H) float32: h_1 .. h_T; weights (T + 1, B, S) float32: p_1 .. p_{T+1}.
    """
    return _Decode.apply(x, h0, c0, keys, values, keep, W_a, v, U, steps)  # pyright: ignore[reportReturnType]


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h0: Tensor,
        c0: Tensor,
        keys: Tensor,
        values: Tensor,
        keep: Tensor,
        W_a: Tensor,
        v: Tensor,
        U: Tensor,
        steps: type[Steps],
    ) -> tuple[Tensor, Tensor]:
        (T, B, _), H, state = x.shape, h0.shape[-1], h0.dtype
        hide = torch.zeros(keep.shape, dtype=state, device=x.device).masked_fill_(~keep, -torch.inf)
        weights = x.new_empty((T + 1, *keep.shape), dtype=state)
        fused, cells = fused_for(x, keys, h0, U), cells_for(x, h0, U)
        attention = looks(steps, fused, keys, v, T + 1)
        gates = x.to(state, copy=True)
        hs, cs = x.new_empty((T, B, H), dtype=state), x.new_empty((T, B, H), dtype=state)
        h0, c0 = h0.contiguous(), c0.contiguous()
        h, c = h0, c0
        for t in range(T + 1):
            query = h.to(W_a.dtype) @ W_a.T  # (B, A)
            attention.look(t, query, hide, out=weights[t])
            if t < T:
                gates[t] += torch.bmm(weights[t][:, None].to(values.dtype), values)[:, 0]
                lstm.advance(gates[t], h, c, U, (hs[t], cs[t]), cells)
                h, c = hs[t], cs[t]
        ctx.save_for_backward(h0, c0, keys, values, W_a, v, U, weights, gates, hs, cs, attention.kept)
        ctx.x_dtype, ctx.steps, ctx.fused, ctx.cells = x.dtype, steps, fused, cells
        return hs, weights

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dhs, dweights = grads
        h0, c0, keys, values, W_a, v, U, weights, gates, hs, cs, kept = ctx.saved_tensors
        (T, B, _), dtype = hs.shape, U.dtype
        cells = lstm.Backward(gates, cs, c0, dtype, ctx.cells)
        dq = keys.new_empty((T + 1, B, W_a.shape[0]))
        attention = looks(ctx.steps, ctx.fused, keys, v, T + 1, kept)
        dh, dc = torch.zeros_like(h0), torch.zeros_like(c0)
        for t in range(T, -1, -1):
            dp = dweights[t]
            if t < T:
                step = cells.step(t, dh, dc, more=dhs[t])
                dp = dp + torch.bmm(values, step[:, :, None])[:, :, 0]
                add_product_(dh, step, U.T)
            dq[t] = attention.look_backward(t, weights[t], dp)
            add_product_(dh, dq[t], W_a.T)
        dx, before = cells.dx, lstm.before(hs, h0).flatten(0, 1).to(dtype)  # (T*B, H): h_0 .. h_{T-1}
        dU = dx.flatten(0, 1).to(dtype).T @ before
        dW_a = dq[:T].flatten(0, 1).T @ before + dq[T].T @ hs[-1].to(dtype)
        dkeys, dv = attention.gradients()
        dvalues = weights[:T].permute(1, 2, 0).to(dtype) @ dx.transpose(0, 1).to(dtype)  # (B, S, T) (B, T, 4H)
        return dx.to(ctx.x_dtype), dh, dc, dkeys, dvalues, None, dW_a, dv, dU, None
