"""Of gradients: what changes one and nothing else, and what must not be differentiated again."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Backward = TypeVar("Backward", bound=Callable[..., Any])


def once(backward: Backward) -> Backward:
    """A backward written by hand, which keeps numbers instead of how they came about. With create_graph=True it is a
    RuntimeError: a derivative of what it gives would be that of a constant.
    """

    @wraps(backward)
    def checked(ctx: Any, *grads: Tensor) -> Any:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise RuntimeError("there are no second derivatives: create_graph=True meets a backward written by hand")
        return backward(ctx, *grads)

    return cast(Backward, checked)


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """x itself; its gradient is multiplied by factor on the way back."""
    return _ScaleGradient.apply(x, factor)  # pyright: ignore[reportReturnType]


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.factor, None
