"""Compiled forms in float32 and bfloat16 against the plain ones in float64: values and gradients."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor

from nmt.ops.fused import library, using

FUSED = library()[0]
TYPES = [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
by_type = pytest.mark.parametrize(("dtype", "error"), TYPES, ids=["float32", "bfloat16"])

Form = Callable[..., Tensor]
Use = Callable[[], AbstractContextManager[None]]


def direction(y: Tensor) -> Tensor:
    """The same for every type."""
    return torch.linspace(-3, 5, y.numel(), dtype=torch.float64).sin().bfloat16().view(y.shape).to(y.dtype)


def with_gradients(form: Form, inputs: Sequence[Tensor], dtype: torch.dtype | None = None) -> list[Tensor]:
    """What a form gives for inputs of a type, and their gradients, in float64."""
    given = [x.detach().to(dtype or x.dtype).requires_grad_() for x in inputs]
    y = form(*given)
    return [one.double() for one in (y.detach(), *torch.autograd.grad(y, given, direction(y)))]


def in_c() -> AbstractContextManager[None]:
    """ops/fused.py in use."""
    return using(FUSED)


def compiled(form: Form, use: Use = in_c) -> Form:
    def run(*inputs: Tensor) -> Tensor:
        with use():
            return form(*inputs)

    return run


def same(form: Form, inputs: Sequence[Tensor], dtype: torch.dtype, error: float, use: Use = in_c) -> None:
    """Compiled in a type as plain in float64, of numbers that the type has. use: what compiles it."""
    rounded = [x.to(dtype) for x in inputs]
    near(with_gradients(compiled(form, use), rounded), with_gradients(form, rounded, torch.float64), error)


def near(found: Sequence[Tensor], wanted: Sequence[Tensor], error: float) -> None:
    """By the largest number of each."""
    for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
        a, b = a.detach().double(), b.detach()
        assert float((a - b).abs().max()) <= error * max(float(b.abs().max()), 1e-2), i
