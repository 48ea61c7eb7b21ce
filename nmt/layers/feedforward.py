"""Position-wise feed-forward layers."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from nmt.ops.dropout import dropout
from nmt.ops.gated import swiglu
from nmt.ops.linear import linear
from nmt.ops.ready import ready_rectified
from nmt.ops.rectified import rectified

Activation = Literal["relu", "swish", "gelu"]

_SMOOTH: dict[Activation, Callable[[Tensor], Tensor]] = {"swish": F.silu, "gelu": F.gelu}


class FeedForward(nn.Module):
    """FFN(x) = f(x W_1 + b_1) W_2 + b_2 (Vaswani et al. 2017, equation 2, where f(x) = max(0, x), `relu`).

    swish: x sigmoid(x); gelu: x P(X <= x) of a standard normal X, exactly (Hendrycks & Gimpel 2016, arXiv 1606.08415).
    """

    def __init__(self, d_model: int, d_ff: int, dropout: float, activation: Activation = "relu") -> None:
        super().__init__()
        self.smooth = _SMOOTH.get(activation)
        self.inner = nn.Linear(d_model, d_ff)
        self.outer = nn.Linear(d_ff, d_model)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D) in its dtype."""
        if self.smooth is None and (made := ready_rectified(x, self.inner, self.outer)) is not None:
            return made
        inner, outer = self.inner, self.outer
        if self.smooth is None:
            drop = self.dropout if self.training else 0.0
            return rectified(x, inner.weight, inner.bias, outer.weight, outer.bias, drop)
        hidden = dropout(self.smooth(linear(x, inner.weight, inner.bias)), self.dropout, self.training)  # (..., M)
        return linear(hidden, outer.weight, outer.bias)


class SwiGLU(nn.Module):
    """FFN_SwiGLU(x) = (Swish(x W) * x V) W_2 without biases, Swish(x) = x sigmoid(x) (Shazeer 2020, arXiv 2002.05202v1,
    equation 6).

    W above V in `inner`, W_2 in `outer`. Three matrices where FeedForward has two: as large at two thirds of its width.
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, 2 * d_ff, bias=False)
        self.outer = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D) in its dtype."""
        return linear(swiglu(linear(x, self.inner.weight)), self.outer.weight)
