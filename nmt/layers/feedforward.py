"""Position-wise feed-forward layers."""

import torch
from torch import Tensor, nn

from nmt.ops.dropout import dropout
from nmt.ops.linear import linear


class FeedForward(nn.Module):
    """FFN(x) = max(0, x W_1 + b_1) W_2 + b_2 (Vaswani et al. 2017, equation 2)."""

    def __init__(self, d_model: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, d_ff)
        self.outer = nn.Linear(d_ff, d_model)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D) in its dtype."""
        hidden = torch.relu(linear(x, self.inner.weight, self.inner.bias))  # (..., M)
        return linear(dropout(hidden, self.dropout, self.training), self.outer.weight, self.outer.bias)
