"""Normalisation of float32 rows, into the type of products: LayerNorm (Ba et al. 2016, arXiv 1607.06450, equation 4)
and RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467, equation 4).
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.fused import Fused, fused_for
from nmt.ops.gradient import once


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """gain * (x - mean) / sqrt(var + eps) + bias over the last axis, computed in the type of x (..., D), as dtype.

    gain, bias (D,); var without Bessel's correction.
    """
    if (fused := _fused_for(x, gain, dtype)) is not None:
        return _FusedNorm.apply(x, gain, bias, eps, dtype, fused)  # pyright: ignore[reportReturnType]
    return F.layer_norm(x, gain.shape, gain, bias, eps).to(dtype)


def rms_norm(x: Tensor, gain: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """gain * x / sqrt(mean of x^2 + eps) over the last axis, computed in the type of x (..., D), as dtype.

    gain (D,).
    """
    if (fused := _fused_for(x, gain, dtype)) is not None:
        return _FusedNorm.apply(x, gain, None, eps, dtype, fused)  # pyright: ignore[reportReturnType]
    return F.rms_norm(x, gain.shape, gain, eps).to(dtype)


def _fused_for(x: Tensor, gain: Tensor, dtype: torch.dtype) -> Fused | None:
    known = dtype in (torch.float32, torch.bfloat16) and x.dtype == gain.dtype == torch.float32
    return fused_for(x, gain) if known and torch.is_grad_enabled() else None


class _FusedNorm(torch.autograd.Function):
    """With a bias LayerNorm, without one RMSNorm."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, bias: Tensor | None, eps: float, dtype: torch.dtype, fused: Fused
    ) -> Tensor:
        x = x.contiguous()
        y, mean, inverse = fused.norm(x, gain, bias, eps, dtype)
        ctx.save_for_backward(x, gain, mean, inverse)
        ctx.fused = fused
        return y

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *ctx.fused.norm_backward(grads[0], *ctx.saved_tensors), None, None, None
