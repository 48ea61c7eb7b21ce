"""Matrix products in the type of their input: parameters are kept in float32 and cast where they are used."""

import torch
from torch import Tensor
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I) times weight (O, I) transposed, plus bias (O,): (..., O) in the dtype of x, whatever that of the
    parameters.
    """
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def add_product_(total: Tensor, rows: Tensor, matrix: Tensor) -> Tensor:
    """total (B, O) += rows (B, I) times matrix (O, I) transposed, a product in the dtype of the matrix; gives total."""
    if total.dtype == matrix.dtype == rows.dtype:
        return total.addmm_(rows, matrix.T)
    return total.add_(rows.to(matrix.dtype) @ matrix.T)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Type of states, gates, softmax and losses where products have the given one: float32, or float64 when everything
    has.
    """
    return torch.promote_types(dtype, torch.float32)
