"""Which keys a query sees in local-window and strided attention, written out: the definition for faster forms.

By position, i of a query and j of a key, in both directions; a decoder sees those of them with j <= i (masks.causal).
"""

from torch import Tensor


def window(queries: Tensor, keys: Tensor, width: int) -> Tensor:
    """i sees j where |i - j| <= width: as Luong et al. 2015 cut theirs (section 3.2, D), here in self-attention.

    queries (Q,), keys (N,) positions, int64 -> (Q, N) bool. Each sees itself. What is more than L * width words away is
    out of reach of L layers.
    """
    return (queries[:, None] - keys).abs() <= width


def strided(queries: Tensor, keys: Tensor, stride: int) -> Tensor:
    """i sees j where |i - j| <= stride or stride divides i - j (Child et al. 2019, section 4.3, l = stride).

    The paper's two sets, {max(0, i - l), ..., i} and {j : (i - j) mod l = 0}, in each head: its "merged" heads, which
    see what both kinds see. Mirrored where the future may be seen. Everything is within two layers' reach.
    queries (Q,), keys (N,) positions, int64 -> (Q, N) bool.
    """
    apart = queries[:, None] - keys
    return (apart.abs() <= stride) | (apart.remainder(stride) == 0)
