"""Scaled dot-product attention: written out, the definition that faster forms are compared with; and fast, without the
weights.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.dropout import dropout, dropout_mask
from nmt.ops.fused import LONGEST, WIDEST, Drop, Fused, fused_for
from nmt.ops.gradient import once
from nmt.ops.linear import wide
from nmt.ops.native import native_for


def attend(
    query: Tensor, keys: Tensor, values: Tensor, keep: Tensor | None, drop: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V (Vaswani et al. 2017, equation 1), and its weights.

    query (B, H, Q, C), keys and values (B, G, N, C) with H a multiple of G: query heads 0 .. H/G - 1 share key head 0,
    and so on (G = H is the paper's form; G = 1 multi-query, Shazeer 2019; between, Ainslie et al. 2023). keep
    broadcasts to (B, 1, Q, N) or (B, H, Q, N), True = may look, every query seeing at least one key; None for all.
    -> context (B, H, Q, C) in the dtype of values, weights (B, H, Q, N) float32, before dropout.
    """
    if not drop and (native := native_for(query, keys, values)) is not None:
        return native.attend(query, keys, values, keep)
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


def context(query: Tensor, keys: Tensor, values: Tensor, keep: Tensor | None, drop: float = 0.0) -> Tensor:
    """The context that `attend` gives, (B, H, Q, C), made faster because nobody asks for the weights.

    On a CPU the softmax of short sentences is what costs: torch takes it over the last axis one query at a time, and
    over any other axis many queries at once. So scores are made with the keys' axis before the queries', and forward
    and backward are written out for that shape: 17 times faster for 15 keys. Elsewhere torch's own fused form.
    """
    if query.device.type == "cuda":
        return F.scaled_dot_product_attention(
            query, keys, values, keep, drop, enable_gqa=query.shape[1] > keys.shape[1]
        )
    if not drop and (native := native_for(query, keys, values)) is not None:
        return native.attend(query, keys, values, keep)[0]
    if max(query.shape[2], keys.shape[2]) <= LONGEST and query.shape[3] <= WIDEST:
        whole = keep is None or (keep.dim() == 4 and keep.shape[1] == 1)
        alike = query.dtype == keys.dtype == values.dtype and keys.shape == values.shape
        if whole and alike and (fused := fused_for(query, keys, values)) is not None:
            return _FusedAttention.apply(query, keys, values, keep, Drop.new(drop), fused)  # pyright: ignore[reportReturnType]
    if query.shape[2] == 1 or (keep is not None and keep.shape[1] > 1):
        return attend(query, keys, values, keep, drop)[0]
    return _KeysFirst.apply(query, keys, values, keep, drop)  # pyright: ignore[reportReturnType]


class _KeysFirst(torch.autograd.Function):
    """Scores and weights are (B * G, N, H/G * Q): equation 1 transposed."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, values: Tensor, keep: Tensor | None, drop: float) -> Tensor:
        (B, H, Q, C), (G, N) = query.shape, keys.shape[1:3]
        scale = C**-0.5
        q = (query * scale).reshape(B * G, H // G * Q, C)
        k, v = keys.reshape(B * G, N, C), values.reshape(B * G, N, C)
        scores = (k @ q.transpose(1, 2)).to(wide(query.dtype))  # (B * G, N, H/G * Q)
        if keep is not None:
            hidden = ~keep.transpose(-1, -2)[:, :, :, None]  # (B, 1, N, 1, Q)
            scores.view(B, G, N, H // G, Q).masked_fill_(hidden, float("-inf"))
        weights = torch.softmax(scores, dim=1)
        mask = dropout_mask(weights, drop) if drop else None
        seen = (weights if mask is None else weights * mask).to(values.dtype)
        ctx.save_for_backward(q, k, v, weights, seen, mask)
        ctx.scale, ctx.shape = scale, query.shape
        return (seen.transpose(1, 2) @ v).view(B, H, Q, C)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, seen, mask = ctx.saved_tensors
        B, _, _, C = ctx.shape
        G, N = k.shape[0] // B, k.shape[1]
        d_context = grads[0].reshape(q.shape)
        d_weights = (v @ d_context.transpose(1, 2)).to(weights.dtype)
        if mask is not None:
            d_weights *= mask
        d_scores = torch.ops.aten._softmax_backward_data(d_weights, weights, 1, weights.dtype).to(q.dtype)
        d_query = (d_scores.transpose(1, 2) @ k).mul_(ctx.scale).view(ctx.shape)
        d_keys = (d_scores @ q).view(B, G, N, C)
        d_values = (seen @ d_context).view(B, G, N, C)
        return d_query, d_keys, d_values, None, None


class _FusedAttention(torch.autograd.Function):
    """Compiled: all of a head's attention at once, from where its queries, keys and values lie in their rows."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, keys: Tensor, values: Tensor, keep: Tensor | None, drop: Drop, fused: Fused
    ) -> Tensor:
        query, keys, values = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, keys, values))
        context, weights = fused.attention(query, keys, values, keep, drop)
        ctx.save_for_backward(query, keys, values, weights)
        ctx.drop, ctx.fused = drop, fused
        return context

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *ctx.fused.attention_backward(*ctx.saved_tensors, grads[0], ctx.drop), None, None, None
