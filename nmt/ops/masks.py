"""Who may look at whom: masks with True = may look, in shapes that broadcast to scores (B, H, Q, N)."""

import torch
from torch import Tensor


def padding(keep: Tensor) -> Tensor:
    """Every query sees the real keys: keep (B, N) bool -> (B, 1, 1, N)."""
    return keep[:, None, None, :]


def causal(length: int, device: torch.device) -> Tensor:
    """Position i sees positions 0 .. i: (1, 1, length, length) bool."""
    return torch.ones((length, length), dtype=torch.bool, device=device).tril()[None, None]
