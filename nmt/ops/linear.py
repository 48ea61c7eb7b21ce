"""Matrix products in the type of their input: parameters are kept in float32 and cast where they are used."""

import torch
from torch import Tensor
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I) times weight (O, I) transposed, plus bias (O,): (..., O) in the dtype of x, whatever that of the
    parameters.
    """
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def wide(dtype: torch.dtype) -> torch.dtype:
    """Type of states, gates, softmax and losses where products have the given one: float32, or float64 when everything
    has.
    """
    return torch.promote_types(dtype, torch.float32)
