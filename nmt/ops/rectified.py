"""The Transformer's feed-forward layer, max(0, x W_1 + b_1) W_2 + b_2 (Vaswani et al. 2017, equation 2), as one step of
autograd: what comes back through W_2 is then nobody else's, and becomes the gradient of x W_1 in its place.
"""

from typing import Any

import torch
from torch import Tensor

from nmt.ops.casts import as_type
from nmt.ops.fused import Drop, Fused, fused_for
from nmt.ops.gradient import once
from nmt.ops.linear import finished, linear, linear_relu, product


def rectified(
    x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor, drop: float = 0.0
) -> Tensor:
    """x (..., D), inner (M, D) and outer (O, M) with their biases (M,) and (O,) -> (..., O) in the dtype of x, whatever
    that of the parameters. Elements between zeroed with probability `drop`, as ops.dropout.dropout does.
    """
    if (fused := fused_for(x)) is not None and torch.is_grad_enabled():
        dropping = Drop.new(drop)
        return _FusedRectified.apply(x, inner, inner_bias, outer, outer_bias, dropping, fused)  # pyright: ignore[reportReturnType]
    return linear(linear_relu(x, inner, inner_bias, drop), outer, outer_bias)


class _FusedRectified(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        inner: Tensor,
        inner_bias: Tensor,
        outer: Tensor,
        outer_bias: Tensor,
        drop: Drop,
        fused: Fused,
    ) -> Tensor:
        w1, w2 = as_type(inner, x.dtype), as_type(outer, x.dtype)
        h = finished(x, w1, inner_bias, fused, relu=True, drop=drop)  # (..., M)
        ctx.save_for_backward(x, w1, w2, h)
        ctx.fused, ctx.drop, ctx.dtypes = fused, drop, (inner.dtype, outer.dtype)
        return finished(h, w2, outer_bias, fused)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, w1, w2, h = ctx.saved_tensors
        inner_dtype, outer_dtype = ctx.dtypes
        wants_x, wants_inner, _, wants_outer, *_ = ctx.needs_input_grad
        dy, rows, h = grads[0].reshape(-1, w2.shape[0]), x.reshape(-1, w1.shape[1]), h.view(-1, w1.shape[0])
        dh = product(dy, w2.T)
        d_inner_bias = ctx.fused.finish_backward_(dh, h, ctx.drop)
        return (
            product(dh, w1.T).view(x.shape) if wants_x else None,
            (dh.T @ rows).to(inner_dtype) if wants_inner else None,
            d_inner_bias,
            (dy.T @ h).to(outer_dtype) if wants_outer else None,
            ctx.fused.column_sums(dy),
            None,
            None,
        )
