"""The columns of one product as several tensors, whose gradients become one again without a copy where they can."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def parts(x: Tensor, widths: Sequence[int]) -> tuple[Tensor, ...]:
    """x (..., W) as slices of these widths, which make up W. Where an attention writes their gradients side by side, as
    `ops.fused` does, that of x is what holds them.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return x.split(list(widths), dim=-1)
    return _Parts.apply(x, tuple(widths))  # pyright: ignore[reportReturnType]


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, widths: tuple[int, ...]) -> tuple[Tensor, ...]:
        return tuple(x.split(list(widths), dim=-1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _whole(grads), None


def _whole(grads: Sequence[Tensor]) -> Tensor:
    """Tensors (..., W_i) as one (..., W): the memory that they are slices of, if they are."""
    first, width = grads[0], sum(grad.shape[-1] for grad in grads)
    sizes = *first.shape[:-1], width
    strides = torch.empty(sizes, device="meta").stride()
    at = first.storage_offset()
    for grad in grads:
        if grad.untyped_storage().data_ptr() != first.untyped_storage().data_ptr() or grad.stride() != strides:
            return torch.cat(list(grads), dim=-1)
        if grad.storage_offset() != at:
            return torch.cat(list(grads), dim=-1)
        at += grad.shape[-1]
    return first.as_strided(sizes, strides)
