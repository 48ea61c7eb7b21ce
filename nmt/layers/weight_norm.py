"""Linear layers whose weights are a direction and a length."""

import torch
from torch import Tensor, nn

from nmt.ops.linear import linear
from nmt.ops.weight_norm import normalize


class WeightNormLinear(nn.Module):
    """y = W x + b with W = g v / |v| row by row (Salimans & Kingma 2016): v (O, I), g (O,), bias (O,).

    `weight` is W, so that it can stand where an nn.Linear does. It is computed at every use, as training needs it;
    between `settle` and `release` it is computed once. These may be nested: the last one to release it counts.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.v = nn.Parameter(torch.empty(out_features, in_features))
        self.g = nn.Parameter(torch.empty(out_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        self._settled: Tensor | None = None
        self._settlers = 0

    @property
    def weight(self) -> Tensor:
        """W (O, I), with a gradient in v and g."""
        settled = self._settled
        return normalize(self.v, self.g) if settled is None else settled

    def settle(self) -> None:
        """From here to `release` v and g do not change and want no gradient."""
        self._settlers += 1
        if self._settled is None:
            with torch.no_grad():
                self._settled = normalize(self.v, self.g)

    def release(self) -> None:
        """v and g may change again."""
        self._settlers -= 1
        if self._settlers == 0:
            self._settled = None

    def forward(self, x: Tensor) -> Tensor:
        """x (..., I) -> (..., O) in its dtype."""
        return linear(x, self.weight, self.bias)

    @torch.no_grad()
    def initialize(self, std: float) -> None:
        """W is N(0, std^2) and b is 0: what a layer without the normalisation would start from."""
        self.v.normal_(0.0, std)
        self.bias.zero_()
        self.follow_v()

    @torch.no_grad()
    def follow_v(self) -> None:
        """g = |v|, which makes W = v."""
        self.g.copy_(torch.linalg.vector_norm(self.v, dim=1))
