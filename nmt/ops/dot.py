"""Scaled dot-product attention written out: the definition that faster forms are compared with."""

import torch
from torch import Tensor

from nmt.ops.dropout import dropout
from nmt.ops.linear import wide


def attend(
    query: Tensor, keys: Tensor, values: Tensor, keep: Tensor | None, drop: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V (Vaswani et al. 2017, equation 1), and its weights.

    query (B, H, Q, C), keys and values (B, G, N, C) with H a multiple of G: query heads 0 .. H/G - 1 share key head 0,
    and so on (G = H is the paper's form; G = 1 multi-query, Shazeer 2019; between, Ainslie et al. 2023). keep
    broadcasts to (B, 1, Q, N) or (B, H, Q, N), True = may look, every query seeing at least one key; None for all.
    -> context (B, H, Q, C) in the dtype of values, weights (B, H, Q, N) float32, before dropout.
    """
    B, H, Q, C = query.shape
    G, N = keys.shape[1], keys.shape[2]
    # The heads that share a key head are more queries to it.
    scores = (query * C**-0.5).reshape(B, G, H // G * Q, C) @ keys.transpose(-1, -2)  # (B, G, H/G * Q, N)
    scores = scores.view(B, H, Q, N).to(wide(query.dtype))
    if keep is not None:
        scores = scores.masked_fill(~keep, float("-inf"))
    weights = torch.softmax(scores, dim=-1)
    seen = dropout(weights, drop)
    context = seen.to(values.dtype).view(B, G, H // G * Q, N) @ values
    return context.view(B, H, Q, C), weights
