"""The recurrence of Bahdanau's decoder over all target positions, given the target words before each (teacher forcing).

Only what depends on the state before stays in the loop: the query, the scores, the weights, the gates. Input
projections come in, the readout is done outside, and the context enters the gates through values that were multiplied
by C beforehand, once a sentence: C (sum_j a_j h_j) = sum_j a_j (C h_j). The hand-written backward leaves the gradients
of all matrices, of the keys' projection and of the values to single products after the loop.
"""

from typing import Any

import torch
from torch import Tensor

from nmt.ops import gru
from nmt.ops.additive import Steps, looks
from nmt.ops.cells import cells_for
from nmt.ops.fused import fused_for
from nmt.ops.gradient import once
from nmt.ops.linear import product


def decode(
    x: Tensor,
    s0: Tensor,
    keys: Tensor,
    values: Tensor,
    keep: Tensor,
    W_a: Tensor,
    v: Tensor,
    U_zr: Tensor,
    U: Tensor,
    u_bias: Tensor | None = None,
    steps: type[Steps] = Steps,
) -> tuple[Tensor, Tensor]:
    """States before each target position and the attention weights there (Bahdanau et al. 2015, A.1.2 and A.2.2).

    x       (T, B, 3H): W y + b of the word before, in the order z, r, candidate
    s0      (B, H) float32 (float64 in tests of gradients)
    keys    (B, S, A): U_a h + b_a;  values (B, S, 3H): C h;  keep (B, S) bool
    W_a     (A, H);  v (A,);  U_zr (2H, H);  U (H, H): their dtype is that of the products
    u_bias  (H,) where the reset gate acts after the recurrent matrix (ops/gru.py)
    steps   how each step looks at the keys, and what of that is kept for the backward
    -> states (T, B, H) float32: s_0 .. s_{T-1}; weights (T, B, S) float32.
    The state after the last position is not computed: nothing asks for it.
    """
    return _Decode.apply(x, s0, keys, values, keep, W_a, v, U_zr, U, u_bias, steps)  # pyright: ignore[reportReturnType]


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        s0: Tensor,
        keys: Tensor,
        values: Tensor,
        keep: Tensor,
        W_a: Tensor,
        v: Tensor,
        U_zr: Tensor,
        U: Tensor,
        u_bias: Tensor | None,
        steps: type[Steps],
    ) -> tuple[Tensor, Tensor]:
        T, B, H = x.shape[0], x.shape[1], U.shape[0]
        A = keys.shape[2]
        recurrent = gru.state_matrix(U_zr, U, u_bias)
        from_state = torch.cat([W_a, recurrent])  # one product gives the query and the gates' share
        hide = torch.zeros(keep.shape, dtype=s0.dtype, device=x.device).masked_fill_(~keep, float("-inf"))
        states = x.new_empty((T, B, H), dtype=s0.dtype)
        parts = gru.parts_of(x, u_bias, s0.dtype)
        weights = x.new_empty((T, *keep.shape), dtype=s0.dtype)
        fused = fused_for(x, keys, s0)
        attention = looks(steps, fused, keys, v, T)
        states[0] = s0
        for t in range(T):
            q = product(states[t].to(U.dtype), from_state)  # the query (B, A), then the share of z, r
            look = attention.look(t, q[:, :A], hide, out=weights[t])  # (B, S)
            if t == T - 1:
                break
            parts[t, :, -3 * H :].add_(torch.bmm(look[:, None].to(values.dtype), values)[:, 0])
            gru.finish(parts[t], states[t], U, None, states[t + 1], q[:, A:])
        ctx.save_for_backward(keys, values, W_a, v, recurrent, U, u_bias, states, weights, parts, attention.kept)
        ctx.x_dtype, ctx.steps, ctx.fused, ctx.cells = x.dtype, steps, fused, cells_for(x, s0)
        return states, weights

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dstates, dweights = grads
        keys, values, W_a, v, recurrent, U, u_bias, states, weights, parts, kept = ctx.saved_tensors
        T, B, H = states.shape
        dparts = gru.slopes(parts, states, ctx.cells)
        dparts[T - 1] = 0.0
        dx = dparts[:, :, -3 * H :]
        dq = keys.new_empty((T, B, W_a.shape[0]))
        attention = looks(ctx.steps, ctx.fused, keys, v, T, kept)
        ds = torch.zeros_like(states[0])
        for t in range(T - 1, -1, -1):
            dp = dweights[t]
            if t < T - 1:
                ds = gru.finish_backward(ds, dparts[t], parts[t], states[t], recurrent, U, ctx.cells)
                dp = dp + torch.bmm(values, dx[t].to(values.dtype)[:, :, None])[:, :, 0].to(states.dtype)
            dq[t] = attention.look_backward(t, weights[t], dp)
            ds = ds + product(dq[t].to(W_a.dtype), W_a.T).to(states.dtype) + dstates[t]
        dtype = U.dtype
        dU_zr, dU, du_bias = gru.parameter_gradients(dparts[: T - 1], parts[: T - 1], states[: T - 1], dtype, u_bias)
        dW_a = dq.flatten(0, 1).T @ states.flatten(0, 1).to(dtype)
        dkeys, dv = attention.gradients()
        dvalues = weights.permute(1, 2, 0).to(dtype) @ dx.transpose(0, 1).to(dtype)  # (B, S, T) (B, T, 3H)
        return dx.to(ctx.x_dtype), ds, dkeys, dvalues, None, dW_a, dv, dU_zr, dU, du_bias, None
