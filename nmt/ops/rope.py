"""Rotary positions (Su et al. 2021, "RoFormer", arXiv 2104.09864): what a query finds depends on how far away it is."""

import math

import torch
from torch import Tensor

from nmt.ops.linear import wide


def rotation(positions: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """cos and sin of m theta_j for position m and pair j, theta_j = 10000^(-2j/width) (section 3.2.2, equation 15).

    positions (...,) -> (..., width / 2, 2), float32 or `dtype` if that is wider. Computed where it is used: there is no
    longest sentence.
    """
    pairs = torch.arange(0, width, 2, dtype=torch.float64, device=positions.device)
    angles = positions.to(torch.float64)[..., None] * torch.exp(pairs * (-math.log(10000.0) / width))
    return torch.stack([torch.cos(angles), torch.sin(angles)], dim=-1).to(wide(dtype))


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Each pair (x_2j, x_2j+1) turned by its angle, so that (R_m q) . (R_n k) depends on n - m alone (equation 16).

    x (..., Q, C), turn (..., Q, C / 2, 2) from `rotation` -> the shape and dtype of x; a product of complex numbers in
    float32, several times faster on a CPU than equation 34 in parts, which is what torch.compile gets. Pairs are
    neighbours, as in the paper; a program that pairs x_j with x_(j + C/2) computes the same from weights whose rows
    stand in another order.
    """
    pairs = x.to(wide(x.dtype)).unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        (a, b), (cos, sin) = pairs.unbind(-1), turn.unbind(-1)
        turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turn))
    return turned.flatten(-2).to(x.dtype)
