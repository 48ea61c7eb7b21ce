"""Layer normalisation (Ba et al. 2016, arXiv 1607.06450, equation 4) of float32 rows, into the type of products."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.fused import Fused, fused_for


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """gain * (x - mean) / sqrt(var + eps) + bias over the last axis, computed in the type of x (..., D), as dtype.

    gain, bias (D,); var without Bessel's correction.
    """
    known = dtype in (torch.float32, torch.bfloat16) and x.dtype == gain.dtype == torch.float32
    if known and torch.is_grad_enabled() and (fused := fused_for(x, gain)) is not None:
        return _FusedNorm.apply(x, gain, bias, eps, dtype, fused)  # pyright: ignore[reportReturnType]
    return F.layer_norm(x, gain.shape, gain, bias, eps).to(dtype)


class _FusedNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, eps: float, dtype: torch.dtype, fused: Fused
    ) -> Tensor:
        x = x.contiguous()
        y, mean, inverse = fused.layer_norm(x, gain, bias, eps, dtype)
        ctx.save_for_backward(x, gain, mean, inverse)
        ctx.fused = fused
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *ctx.fused.layer_norm_backward(grads[0], *ctx.saved_tensors), None, None, None
