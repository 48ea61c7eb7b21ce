"""Matrix products in the type of their input: parameters are kept in float32 and cast where they are used.

On an AMD processor float32 products of a training go through oneDNN, which torch carries and which is a fifth faster
there than the library torch takes them to by itself (100 against 83 GFLOP/s a core at a Transformer's shapes, Zen 4).
bfloat16 products are oneDNN's already.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.casts import as_type
from nmt.ops.ready import onednn_is_faster, ready_product


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I) times weight (O, I) transposed, plus bias (O,): (..., O) in the dtype of x, whatever that of the
    parameters.
    """
    if (made := ready_product(x, weight, bias)) is not None:
        return made
    if torch.is_grad_enabled() and _through_onednn(x) and weight.dtype == x.dtype:
        return _OneDNNLinear.apply(x, weight, bias)  # pyright: ignore[reportReturnType]
    return F.linear(x, as_type(weight, x.dtype), None if bias is None else as_type(bias, x.dtype))


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What of `linear` is above 0, and 0 for the rest."""
    if (made := ready_product(x, weight, bias, relu=True)) is not None:
        return made
    return torch.relu(linear(x, weight, bias))


def product(rows: Tensor, matrix: Tensor) -> Tensor:
    """rows (..., I) times matrix (O, I) transposed: (..., O), both of one dtype. For hand-written passes: autograd does
    not see through it everywhere.
    """
    if (made := ready_product(rows, matrix, None)) is not None:
        return made
    return _onednn(rows, matrix, None) if _through_onednn(rows) else rows @ matrix.T


def add_product_(total: Tensor, rows: Tensor, matrix: Tensor) -> Tensor:
    """total (B, O) += rows (B, I) times matrix (O, I) transposed, a product in the dtype of the matrix; gives total."""
    if (made := ready_product(rows, matrix, None)) is not None:
        return total.add_(made)
    if total.dtype == matrix.dtype == rows.dtype and not _through_onednn(rows):
        return total.addmm_(rows, matrix.T)
    return total.add_(product(rows.to(matrix.dtype), matrix))


def _through_onednn(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and onednn_is_faster()


def _onednn(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., I), matrix (O, I), bias (O,) -> (..., O): what torch.compile calls for a linear layer on a CPU."""
    return torch.ops.mkldnn._linear_pointwise(x, matrix, bias, "none", [], "")


class _OneDNNLinear(torch.autograd.Function):
    """The gradient of the weight stays with torch's own product, which is as fast there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = grads[0].reshape(-1, weight.shape[0])
        return (
            _onednn(grads[0], weight.T, None) if wants_x else None,
            rows.T @ x.reshape(-1, weight.shape[1]) if wants_weight else None,
            rows.sum(dim=0) if wants_bias else None,
        )


def wide(dtype: torch.dtype) -> torch.dtype:
    """Type of states, gates, softmax and losses where products have the given one: float32, or float64 when everything
    has.
    """
    return torch.promote_types(dtype, torch.float32)
