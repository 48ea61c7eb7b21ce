"""Local-window attention by blocks: what it costs grows with a sentence's length, not with its square.

A block of queries sees its own block of keys and its neighbours, which hold all that is within the window where blocks
are no narrower than it. ops/sparse.py has the definition.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.dropout import dropout
from nmt.ops.linear import wide

LEAST = 64
"""Positions of a block, at least: products of fewer are slow."""


def block(width: int) -> int:
    """Positions of a block for a window of this width."""
    return max(width, LEAST)


def pays(length: int, width: int) -> bool:
    """Whether sentences of this length are better off with it: three blocks are seen of more than four."""
    return length > 4 * block(width)


def context(
    query: Tensor, keys: Tensor, values: Tensor, keep: Tensor | None, width: int, causal: bool, drop: float = 0.0
) -> Tensor:
    """What ops.dot.context finds where query i sees the keys j with |i - j| <= width, and with `causal` none later.

    query (B, H, N, C), keys and values (B, G, N, C) with H a multiple of G; keep (B, N) bool: the keys that may be
    seen, None for all; each position sees itself. -> (B, H, N, C) in the dtype of values. Holds N * 3 * block numbers a
    head, or N * 2 * block.
    """
    (B, H, N, C), G, c = query.shape, keys.shape[1], block(width)
    n, r = -(-N // c), H // G
    rest, sides = n * c - N, 2 if causal else 3

    def around(x: Tensor) -> Tensor:
        """(B, ..., N, C) -> (B, ..., n, sides * c, C): of each block what it sees, zeros beyond the ends."""
        padded = F.pad(x, (0, 0, c, rest + (sides - 2) * c)).unflatten(-2, (n + sides - 1, c))
        return torch.cat([padded[..., i : i + n, :, :] for i in range(sides)], dim=-2)

    q = F.pad(query * C**-0.5, (0, 0, 0, rest)).view(B, G, r, n, c, C).transpose(2, 3).reshape(B, G, n, r * c, C)
    scores = (q @ around(keys).transpose(-1, -2)).to(wide(query.dtype)).view(B, G, n, r, c, sides * c)
    places = torch.arange(sides * c, device=query.device) - c  # of keys, from the beginning of the query's block
    apart = places[:c, None] + c - places  # (c, sides * c): i - j
    near = (apart <= width) & (apart >= (0 if causal else -width))
    real = query.new_ones((1, N), dtype=torch.bool) if keep is None else keep
    real = around(real[:, :, None])[..., 0]  # (B or 1, n, sides * c)
    may = (near & real[:, :, None]) | (apart == 0)  # (B or 1, n, c, sides * c)
    weights = dropout(torch.softmax(scores.masked_fill(~may[:, None, :, None], -torch.inf), dim=-1), drop)
    found = weights.to(values.dtype).view(B, G, n, r * c, sides * c) @ around(values)
    return found.view(B, G, n, r, c, C).transpose(2, 3).reshape(B, H, n * c, C)[:, :, :N]
