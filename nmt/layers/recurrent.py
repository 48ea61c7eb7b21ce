"""Recurrent layers with the gated unit of the papers; ops/gru.py has the equations."""

from typing import Literal

import torch
from torch import Tensor, nn

from nmt.ops.gru import gru_scan
from nmt.ops.linear import linear

Reset = Literal["before", "after"]
"""Whether the reset gate acts before the recurrent matrix (U (r * h)) or after it (r * (U h + b_U))."""


class GRU(nn.Module):
    """One direction of a recurrent encoder: h_i = (1 - z_i) * h_{i-1} + z_i * n_i (Bahdanau et al. 2015, A.2.1).

    W    (3H, I) and b (3H,): input to update gate z, reset gate r and candidate n, in this order
    U_zr (2H, H), U (H, H): state to the gates, and reset state to the candidate
    U_bias (H,): beside U h where the reset gate acts after U, as in torch.nn.GRU; None where it acts before
    """

    U_bias: nn.Parameter | None

    def __init__(self, d_input: int, d_hidden: int, reverse: bool = False, reset: Reset = "before") -> None:
        super().__init__()
        self.W = nn.Linear(d_input, 3 * d_hidden)
        self.U_zr = nn.Parameter(torch.empty(2 * d_hidden, d_hidden))
        self.U = nn.Parameter(torch.empty(d_hidden, d_hidden))
        self.U_bias = nn.Parameter(torch.empty(d_hidden)) if reset == "after" else None
        self.reverse = reverse

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Inputs (S, B, I), keep (S, B) -> states (S, B, H) float32; the dtype of x is that of the products."""
        projected = linear(x, self.W.weight, self.W.bias)  # (S, B, 3H)
        return gru_scan(projected, self.U_zr.to(x.dtype), self.U.to(x.dtype), keep, self.reverse, u_bias=self.U_bias)


class BidirectionalGRU(nn.Module):
    """Annotations h_j = [forward h_j ; backward h_j] of Bahdanau et al. 2015, section 3.2."""

    def __init__(self, d_input: int, d_hidden: int, reset: Reset = "before") -> None:
        super().__init__()
        self.forward_gru = GRU(d_input, d_hidden, reset=reset)
        self.backward_gru = GRU(d_input, d_hidden, reverse=True, reset=reset)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Inputs (S, B, I), keep (S, B) -> annotations (S, B, 2H) float32."""
        return torch.cat([self.forward_gru(x, keep), self.backward_gru(x, keep)], dim=-1)
