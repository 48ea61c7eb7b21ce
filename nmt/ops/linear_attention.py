"""Linear attention (Katharopoulos et al. 2020, "Transformers are RNNs", arXiv 2006.16236v3), with rotary positions.

    y_i = sum_j (R_i phi(q_i)) . (R_j phi(k_j)) v_j  /  sum_j phi(q_i) . phi(k_j)        phi(x) = elu(x) + 1

over the keys j that i may see: all of them, or j <= i (equations 4, 5, 7; 8 to 12). The rotations R stand above the
line only (Su et al. 2021, equation 19), as below it the terms must stay positive. Without them the weights are positive
and sum to one; with them they need not. There is no factor 1 / sqrt(C). Sums and features are float32, products have
the dtype of values; a denominator below 1e-6 (features that all vanish) counts as 1e-6.

H query heads share G heads of keys and values as in ops.dot.attend.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nmt.ops.gradient import once
from nmt.ops.linear import wide
from nmt.ops.rope import rotate

CHUNK = 64
"""Positions that `causal` takes at once: about the width of a head, where both its halves cost the same."""


@dataclass(frozen=True)
class Sums:
    """What is known of the keys so far, a row a sentence or a hypothesis; float32.

    outer  (B, G, C, C): sum of (R_j phi(k_j)) v_j^T  (s of equation 18)
    keys   (B, G, C): sum of phi(k_j)  (z of equation 19)
    """

    outer: Tensor
    keys: Tensor


def features(x: Tensor) -> Tensor:
    """phi(x) = elu(x) + 1 (equation 7) in float32, as exp(x) below 0, where elu(x) + 1 would round to nothing."""
    return _Features.apply(x.to(wide(x.dtype)))  # pyright: ignore[reportReturnType]


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        mapped = x.clamp(max=0.0).exp_().add_(x.relu())
        ctx.save_for_backward(mapped)
        return mapped

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (mapped,) = ctx.saved_tensors
        return grads[0] * mapped.clamp(max=1.0)  # exp(x) where x < 0, and there phi(x) < 1


def _turned(mapped: Tensor, turn: Tensor | None, dtype: torch.dtype) -> Tensor:
    return (mapped if turn is None else rotate(mapped, turn)).to(dtype)


def _grouped(query: Tensor, n_groups: int) -> Tensor:
    """(B, H, Q, C) -> (B, G, H/G * Q, C): heads that share a key head are more queries to it."""
    B, H, Q, C = query.shape
    return query.reshape(B, n_groups, H // n_groups * Q, C)


def sums(keys: Tensor, values: Tensor, keep: Tensor | None, turn: Tensor | None = None) -> Sums:
    """Over all keys and values (B, G, N, C); keep (B, 1, 1, N) True = counts, None for all; turn (N, C/2, 2)."""
    mapped = features(keys)
    if keep is not None:
        mapped = mapped * keep.transpose(-1, -2)
    outer = _turned(mapped, turn, values.dtype).transpose(-1, -2) @ values
    return Sums(outer.to(mapped.dtype), mapped.sum(dim=2))


def look_up(query: Tensor, known: Sums, turn: Tensor | None = None) -> Tensor:
    """What queries (B, H, Q, C) find in the sums (equation 5): (B, H, Q, C) in their dtype. Costs Q * C * C a head."""
    mapped, G = features(query), known.keys.shape[1]
    above = _grouped(_turned(mapped, turn, query.dtype), G) @ known.outer.to(query.dtype)
    return _divided(above.view(query.shape), mapped, known.keys[:, :, None, None])


def _divided(above: Tensor, mapped: Tensor, seen: Tensor) -> Tensor:
    """above (B, H, Q, C) over mapped (B, H, Q, C) . seen, which broadcasts to (B, G, H/G, Q, C): in above's dtype."""
    below = (mapped.unflatten(1, (seen.shape[1], -1)) * seen).sum(-1, keepdim=True).flatten(1, 2)
    # A product with the reciprocal: half the passes of a quotient, backward.
    return (above.to(below.dtype) * below.clamp(min=1e-6).reciprocal()).to(above.dtype)


def step(query: Tensor, key: Tensor, value: Tensor, past: Sums, turn: Tensor | None = None) -> tuple[Tensor, Sums]:
    """One position: query (B, H, 1, C), key and value (B, G, 1, C) -> context (B, H, 1, C), the sums with it.

    s_i = s_{i-1} + phi(k_i) v_i^T,  z_i = z_{i-1} + phi(k_i),  y_i = phi(q_i)^T s_i / phi(q_i)^T z_i (equations 16 to
    20); turn broadcasts to (B, H, 1, C/2, 2). Its cost does not grow with the position.
    """
    own = sums(key, value, None, turn)
    known = Sums(past.outer + own.outer, past.keys + own.keys)
    return look_up(query, known, turn), known


def recurrent(query: Tensor, keys: Tensor, values: Tensor, turn: Tensor | None = None) -> Tensor:
    """Causal attention position by position: what `causal` must equal. Shapes as there."""
    B, G, N, C = keys.shape
    known = Sums(
        keys.new_zeros((B, G, C, C), dtype=wide(keys.dtype)), keys.new_zeros((B, G, C), dtype=wide(keys.dtype))
    )
    found = []
    for i in range(N):
        here = slice(i, i + 1)
        angle = None if turn is None else turn[here]
        context, known = step(query[:, :, here], keys[:, :, here], values[:, :, here], known, angle)
        found.append(context)
    return torch.cat(found, dim=2)


def causal(query: Tensor, keys: Tensor, values: Tensor, turn: Tensor | None = None, chunk: int = CHUNK) -> Tensor:
    """Attention of each position i to those j <= i, chunk by chunk: query (B, H, N, C), keys and values (B, G, N, C).

    turn (N, C/2, 2) or None -> (B, H, N, C) in the dtype of query. Within a chunk the scores are written out; what came
    before it enters through the sums at its beginning. Holds N * chunk + N / chunk * C * C numbers a head, never N * N.
    """
    mapped_q, mapped_k = features(query), features(keys)
    c = min(chunk, keys.shape[2])
    above = _chunked(_turned(mapped_q, turn, query.dtype), _turned(mapped_k, turn, keys.dtype), values, c)
    return _divided(above, mapped_q, mapped_k.cumsum(dim=2)[:, :, None])  # z_i of equation 19


def _chunked(q: Tensor, k: Tensor, v: Tensor, c: int) -> Tensor:
    """sum_{j <= i} (q_i . k_j) v_j in chunks of c: q (B, H, N, C), k and v (B, G, N, C) -> (B, H, N, C)."""
    (B, H, N, C), G = q.shape, k.shape[1]
    r, n = H // G, -(-N // c)
    if n * c > N:
        q, k, v = (torch.nn.functional.pad(x, (0, 0, 0, n * c - N)) for x in (q, k, v))
    q = q.reshape(B, G, r, n, c, C).transpose(2, 3).reshape(B, G, n, r * c, C)
    k, v = k.reshape(B, G, n, c, C), v.reshape(B, G, n, c, C)
    scores = (q @ k.transpose(-1, -2)).view(B, G, n, r, c, c).tril().view(B, G, n, r * c, c)
    found = scores @ v  # (B, G, n, r * c, C)
    if n > 1:
        own = (k[:, :, :-1].transpose(-1, -2) @ v[:, :, :-1]).to(wide(v.dtype))  # (B, G, n - 1, C, C)
        before = own.cumsum(dim=2).to(q.dtype)
        found = torch.cat([found[:, :, :1], found[:, :, 1:] + q[:, :, 1:] @ before], dim=2)
    return found.view(B, G, n, r, c, C).transpose(2, 3).reshape(B, H, n * c, C)[:, :, :N]


def weights(query: Tensor, keys: Tensor, keep: Tensor | None) -> Tensor:
    """phi(q_i) . phi(k_j) / sum over j, written out, without rotation: (B, H, Q, N) float32, zero where not keep.

    For those who ask what was looked at; nothing else holds Q * N numbers.
    """
    (B, H, Q, _), (G, N) = query.shape, keys.shape[1:3]
    scores = (_grouped(features(query), G) @ features(keys).transpose(-1, -2)).view(B, H, Q, N)
    if keep is not None:
        scores = scores * keep
    return scores / scores.sum(-1, keepdim=True).clamp(min=1e-6)
