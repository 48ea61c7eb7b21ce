"""Gated units: one half of a product's columns decides how much of the other comes through."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.fused import Fused, fused_for
from nmt.ops.gradient import once
from nmt.ops.linear import wide


def swiglu(x: Tensor) -> Tensor:
    """Swish(a) * b of x = [a b] (..., 2M) -> (..., M) in its type, Swish(a) = a sigmoid(a) (Shazeer 2020,
    arXiv 2002.05202v1, equations 5 and 6).
    """
    if torch.is_grad_enabled() and (fused := fused_for(x)) is not None:
        return _FusedGate.apply(x, True, fused)  # pyright: ignore[reportReturnType]
    gate, value = x.chunk(2, dim=-1)
    return F.silu(gate) * value


def glu(x: Tensor) -> Tensor:
    """v([A B]) = A * sigmoid(B) (Dauphin et al. 2016, arXiv 1612.08083, equation 1): (..., 2M) -> (..., M) float32."""
    if torch.is_grad_enabled() and (fused := fused_for(x)) is not None:
        return _FusedGate.apply(x, False, fused)  # pyright: ignore[reportReturnType]
    return F.glu(x.to(wide(x.dtype)), dim=-1)


class _FusedGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, swish: bool, fused: Fused) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        ctx.fused, ctx.swish = fused, swish
        return fused.gate(x, swish)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.fused.gate_backward(grads[0], *ctx.saved_tensors, ctx.swish), None, None
