"""Where a word stands: positions as sines and cosines, or learned."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sinusoids(positions: Tensor, d_model: int) -> Tensor:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos of the same (Vaswani et al. 2017, section 3.5).

    positions (...,) -> (..., d_model) float32, sines and cosines interleaved. Computed where it is used: there is no
    longest sentence.
    """
    pairs = torch.arange(0, d_model, 2, dtype=torch.float64, device=positions.device)
    angles = positions.to(torch.float64)[..., None] * torch.exp(pairs * (-math.log(10000.0) / d_model))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2).to(torch.float32)


class LearnedPositions(nn.Module):
    """An embedding of the position, from 0; positions beyond the last one share its embedding."""

    def __init__(self, max_positions: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_positions, d_model))

    def forward(self, positions: Tensor) -> Tensor:
        """positions (...,) int64 -> (..., d_model)."""
        return F.embedding(positions.clamp(max=self.weight.shape[0] - 1), self.weight)
