"""Dropout (Srivastava et al. 2014), with cheaper random numbers on a CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.fused import LEVELS, Drop, Fused, fused_for, zeroed_levels
from nmt.ops.gradient import once


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """x with each element zeroed with probability p and the others divided by 1 - p; x itself when not training.

    On a CPU torch draws a number in double precision for each element, which takes a sixth of a small Transformer's
    update. Here each element takes 16 of an integer's 64 random bits: p is rounded to 1/65,536, and the others are
    divided by exactly what the rounded p leaves. Draws from torch's generator, so a seed gives the same mask again.
    """
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    if (fused := fused_for(x)) is not None:
        return _Dropped.apply(x, Drop.new(p), fused)  # pyright: ignore[reportReturnType]
    return x * dropout_mask(x, p)


def add_dropped(x: Tensor, y: Tensor, p: float, training: bool = True) -> Tensor:
    """x plus `dropout` of y, in the type of x: what a residual connection does with its sublayer's output."""
    if training and x.dtype == torch.float32 and (fused := fused_for(x, y)) is not None:
        return _AddDropped.apply(x, y, Drop.new(p), fused)  # pyright: ignore[reportReturnType]
    return x + dropout(y, p, training).to(x.dtype)


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, drop: Drop, fused: Fused) -> Tensor:
        ctx.drop, ctx.fused = drop, fused
        return fused.drop(x, drop)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.fused.drop(grads[0], ctx.drop), None, None


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, drop: Drop, fused: Fused) -> Tensor:
        ctx.drop, ctx.fused, ctx.dtype = drop, fused, y.dtype
        return fused.add_dropped(x, y, drop)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0], ctx.fused.drop(grads[0], ctx.drop, ctx.dtype), None, None


def dropout_mask(x: Tensor, p: float) -> Tensor:
    """What dropout multiplies x with, on a CPU: 0, or the divisor's inverse, in the shape and dtype of x."""
    zeroed = zeroed_levels(p)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)  # uniform in -32768 .. 32767
    return (bits >= zeroed - LEVELS // 2).to(x.dtype).mul_(LEVELS / (LEVELS - zeroed))
