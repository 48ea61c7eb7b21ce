"""Attention over rows that hold several whole sentence pairs, written out: the definition for the fused form.

A row of source positions and a row of target positions hold the same sentence pairs, one after the other. Segments say
which position belongs to which: int32, 1 for the row's first pair, 2 for its second, and so on; 0 is padding, which
sees nothing and is seen by nobody. So sentences of one row know nothing of each other.
"""

import torch
from torch import Tensor

from nmt.ops import dot

LONGEST = 128
"""Positions of a row, and numbers of a head, that the fused form takes at most."""


def visible(query_segments: Tensor, key_segments: Tensor, causal: bool) -> Tensor:
    """Which keys a query may see: those of its own segment, and with `causal` none further right in the row than it.

    query_segments (B, Q) and key_segments (B, N) int32 -> (B, 1, Q, N) bool. With `causal` position i of the queries is
    position i of the keys.
    """
    same = (query_segments[:, :, None] == key_segments[:, None]) & (query_segments != 0)[:, :, None]
    if causal:
        same = same & torch.ones_like(same[0]).tril()
    return same[:, None]


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    query_segments: Tensor,
    key_segments: Tensor,
    causal: bool = False,
    drop: float = 0.0,
) -> Tensor:
    """Scaled dot-product attention (ops/dot.py) inside segments; a query that sees no key gets zeros.

    query (B, H, Q, C), keys and values (B, G, N, C) with H a multiple of G, query_segments (B, Q) and key_segments
    (B, N) int32; `drop` is the probability of dropout on the weights -> context (B, H, Q, C) in the dtype of values.
    Holds B*H*Q*N weights for the backward; `packed_triton.attend` is the same function without them.
    """
    may = visible(query_segments, key_segments, causal)
    nothing = ~may.any(dim=-1, keepdim=True)  # a softmax over no key would be 0 / 0
    return dot.context(query, keys, values, may | nothing, drop).masked_fill(nothing, 0.0)
