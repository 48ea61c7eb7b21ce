"""Local-window and strided attention in parts: what a window costs grows with a sentence's length, and what strides of
W add with its square over W, where all pairs cost the square.

A block of queries sees its own block of keys and its neighbours, which hold all that is within the window where blocks
are no narrower than it. And the positions that W divides the distance of see each other alone: W small attentions. One
softmax is over both. ops/sparse.py has the definition.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.dropout import dropout
from nmt.ops.linear import wide

LEAST = 64
"""Positions of a block, at least: products of fewer are slow."""
_NARROWEST = 4
"""The least stride by which enough pairs are left out."""


def block(width: int) -> int:
    """Positions of a block for a window of this width."""
    return max(width, LEAST)


def pays(length: int, width: int, strides: bool = False) -> bool:
    """Whether sentences of this length are better off with it: three blocks are seen of more than four."""
    return length > 4 * block(width) and (not strides or width >= _NARROWEST)


def context(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    keep: Tensor | None,
    width: int,
    causal: bool,
    drop: float = 0.0,
    strides: bool = False,
) -> Tensor:
    """What ops.dot.context finds where query i sees the keys j with |i - j| <= width, with `strides` those too whose
    distance width divides, and with `causal` none later.

    query (B, H, N, C), keys and values (B, G, N, C) with H a multiple of G; keep (B, N) bool: the keys that may be
    seen, None for all; each position sees itself. -> (B, H, N, C) in the dtype of values. Holds N * 3 * block numbers a
    head, or N * 2 * block; with strides N * N / width more, and twice.
    """
    (B, H, N, C), G, c = query.shape, keys.shape[1], block(width)
    n, r = -(-N // c), H // G
    rest, sides = n * c - N, 2 if causal else 3

    def around(x: Tensor) -> Tensor:
        """(B, ..., N, C) -> (B, ..., n, sides * c, C): of each block what it sees, zeros beyond the ends."""
        padded = F.pad(x, (0, 0, c, rest + (sides - 2) * c)).unflatten(-2, (n + sides - 1, c))
        return torch.cat([padded[..., i : i + n, :, :] for i in range(sides)], dim=-2)

    query = (query * C**-0.5).view(B, G, r, N, C)
    q = F.pad(query, (0, 0, 0, rest)).view(B, G, r, n, c, C).transpose(2, 3).reshape(B, G, n, r * c, C)
    scores = (q @ around(keys).transpose(-1, -2)).to(wide(query.dtype)).view(B, G, n, r, c, sides * c)
    places = torch.arange(sides * c, device=query.device) - c  # of keys, from the beginning of the query's block
    apart = places[:c, None] + c - places  # (c, sides * c): i - j
    near = (apart <= width) & (apart >= (0 if causal else -width))
    real = query.new_ones((1, N), dtype=torch.bool) if keep is None else keep
    seen = around(real[:, :, None])[..., 0]  # (B or 1, n, sides * c)
    may = (near & seen[:, :, None]) | (apart == 0)  # (B or 1, n, c, sides * c)
    scores = scores.masked_fill(~may[:, None, :, None], -torch.inf)
    far = None
    if strides:
        rows = scores.transpose(2, 3).reshape(B, G, r, n * c, sides * c)[..., :N, :]
        far = _far_scores(query, keys, real, width, causal)  # (B, G, r, N, m)
        whole = dropout(torch.softmax(torch.cat([rows, far], dim=-1), dim=-1), drop)
        rows, far = whole.split([sides * c, far.shape[-1]], dim=-1)
        weights = F.pad(rows, (0, 0, 0, rest)).view(B, G, r, n, c, sides * c).transpose(2, 3)
    else:
        weights = dropout(torch.softmax(scores, dim=-1), drop)
    found = weights.to(values.dtype).reshape(B, G, n, r * c, sides * c) @ around(values)
    found = found.view(B, G, n, r, c, C).transpose(2, 3).reshape(B, H, n * c, C)[:, :, :N]
    return found if far is None else found + _far_context(far, values, width).reshape(B, H, N, C)


def _residues(x: Tensor, width: int) -> Tensor:
    """(..., N, C) -> (..., width, m, C): positions 0, width, 2 width, ...; then 1, width + 1, ...; zeros at the end."""
    N = x.shape[-2]
    m = -(-N // width)
    return F.pad(x, (0, 0, 0, m * width - N)).unflatten(-2, (m, width)).transpose(-3, -2)


def _in_order(x: Tensor, N: int) -> Tensor:
    """The way back: (..., width, m, C) -> (..., N, C)."""
    return x.transpose(-3, -2).flatten(-3, -2)[..., :N, :]


def _far_scores(query: Tensor, keys: Tensor, real: Tensor, width: int, causal: bool) -> Tensor:
    """Scores of the keys that are a multiple of width away and not within the window, -inf for others: query (B, G, r,
    N, C), keys (B, G, N, C), real (B or 1, N) -> (B, G, r, N, m), the keys those of the query's residue.
    """
    (B, G, r, N, C), wanted = query.shape, wide(query.dtype)
    q = _residues(query, width).transpose(2, 3)  # (B, G, width, r, m, C)
    m = q.shape[-2]
    scores = q.reshape(B, G, width, r * m, C) @ _residues(keys, width).transpose(-1, -2)
    at = torch.arange(m, device=query.device)
    apart = at[:, None] - at
    far = apart >= 2 if causal else apart.abs() >= 2  # 0 and 1 are in the window
    may = far & _residues(real[:, :, None], width).transpose(-1, -2)  # (B or 1, width, m, m)
    scores = scores.to(wanted).view(B, G, width, r, m, m).masked_fill(~may[:, None, :, None], -torch.inf)
    return _in_order(scores.transpose(2, 3), N)


def _far_context(weights: Tensor, values: Tensor, width: int) -> Tensor:
    """weights (B, G, r, N, m) as `_far_scores` has them, values (B, G, N, C) -> (B, G, r, N, C)."""
    B, G, r, N, m = weights.shape
    rows = _residues(weights.to(values.dtype), width).transpose(2, 3)  # (B, G, width, r, m, m)
    found = rows.reshape(B, G, width, r * m, m) @ _residues(values, width)
    return _in_order(found.view(B, G, width, r, m, -1).transpose(2, 3), N)
