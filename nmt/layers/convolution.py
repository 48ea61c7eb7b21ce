"""Gated convolutions (Gehring et al. 2017, section 3.2)."""

from torch import Tensor, nn

from nmt.layers.weight_norm import WeightNormLinear
from nmt.ops.convolution import windows
from nmt.ops.gated import glu


class GatedConvolution(nn.Module):
    """v(W [x_{i-k/2}; ..; x_{i+k/2}] + b), v([A B]) = A * sigmoid(B): W (2O, k * I), weight-normalised.

    Columns of W are in the order of the window: all channels of its first input, then those of the second.
    """

    def __init__(self, d_input: int, d_output: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.linear = WeightNormLinear(kernel * d_input, 2 * d_output)

    def centred(self, x: Tensor) -> Tensor:
        """x (B, S, I) -> (B, S, O) float32: each position sees its neighbours on both sides, the left ones fewer where
        k is even.
        """
        return self.of_windows(windows(x, self.kernel, (self.kernel - 1) // 2))

    def causal(self, x: Tensor) -> Tensor:
        """x (B, T, I) -> (B, T, O) float32: each position sees itself and the k - 1 before it."""
        return self.of_windows(windows(x, self.kernel, self.kernel - 1))

    def of_windows(self, x: Tensor) -> Tensor:
        """Windows (..., k * I) -> (..., O) float32."""
        return glu(self.linear(x))
