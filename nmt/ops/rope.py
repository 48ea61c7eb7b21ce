"""Rotary positions (Su et al. 2021, "RoFormer", arXiv 2104.09864): what a query finds depends on how far away it is."""

import math

import torch
from torch import Tensor

from nmt.ops.linear import wide


def rotation(positions: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """exp(i m theta_j) for position m and pair j, theta_j = 10000^(-2j/width) (section 3.2.2, equation 15).

    positions (...,) -> (..., width / 2), complex of `dtype`. Computed where it is used: there is no longest sentence.
    """
    pairs = torch.arange(0, width, 2, dtype=torch.float64, device=positions.device)
    angles = positions.to(torch.float64)[..., None] * torch.exp(pairs * (-math.log(10000.0) / width))
    return torch.polar(torch.ones_like(angles), angles).to(wide(dtype).to_complex())


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Each pair (x_2j, x_2j+1) turned by its angle, so that (R_m q) . (R_n k) depends on n - m alone (equation 16).

    x (..., Q, C), turn (..., Q, C / 2) from `rotation` -> the shape and dtype of x; a product of complex numbers in
    float32, several times faster on a CPU than equation 34 in parts. Pairs are neighbours, as in the paper; a program
    that pairs x_j with x_(j + C/2) computes the same from weights whose rows stand in another order.
    """
    pairs = torch.view_as_complex(x.to(wide(x.dtype)).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)
