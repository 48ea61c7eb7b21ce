"""Multi-head attention (Vaswani et al. 2017, section 3.2.2): projections, heads, and the way back."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nmt.ops import dot
from nmt.ops.linear import linear


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, Q, H * C) -> (B, H, Q, C)."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, H, Q, C) -> (B, Q, H * C)."""
    return x.transpose(1, 2).flatten(-2)


@dataclass(frozen=True)
class KeysValues:
    """Keys and values of one layer, (B, H, N, C) each: a row a sentence or a hypothesis."""

    keys: Tensor
    values: Tensor

    def append(self, more: "KeysValues") -> "KeysValues":
        """These positions and then those."""
        return KeysValues(torch.cat([self.keys, more.keys], dim=2), torch.cat([self.values, more.values], dim=2))


class SelfAttention(nn.Module):
    """Queries, keys and values from one input: W^Q, W^K, W^V one above the other in `qkv`, W^O in `out`."""

    def __init__(self, d_model: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def project(self, x: Tensor) -> tuple[Tensor, KeysValues]:
        """x (B, Q, D) -> queries (B, H, Q, C), and its keys and values."""
        q, k, v = (split_heads(part, self.n_heads) for part in linear(x, self.qkv.weight, self.qkv.bias).chunk(3, -1))
        return q, KeysValues(k, v)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """x (B, Q, D), keep as in ops.dot.attend -> (B, Q, D) in the dtype of x."""
        query, seen = self.project(x)
        return self.attend(query, seen, keep)

    def attend(self, query: Tensor, seen: KeysValues, keep: Tensor | None) -> Tensor:
        """What queries (B, H, Q, C) find in keys and values, through W^O: (B, Q, D)."""
        context, _ = dot.attend(query, seen.keys, seen.values, keep, self.dropout if self.training else 0.0)
        return linear(join_heads(context), self.out.weight, self.out.bias)


class CrossAttention(nn.Module):
    """Queries from the decoder, keys and values from the encoder's output: W^Q; W^K above W^V in `kv`; W^O in `out`."""

    def __init__(self, d_model: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.q = nn.Linear(d_model, d_model)
        self.kv = nn.Linear(d_model, 2 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def project(self, memory: Tensor) -> KeysValues:
        """Keys and values of the encoder's output (B, S, D): once a sentence."""
        k, v = (split_heads(part, self.n_heads) for part in linear(memory, self.kv.weight, self.kv.bias).chunk(2, -1))
        return KeysValues(k, v)

    def forward(self, x: Tensor, seen: KeysValues, keep: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, Q, D), keep as in ops.dot.attend -> (B, Q, D) in the dtype of x, weights (B, H, Q, S) float32."""
        query = split_heads(linear(x, self.q.weight, self.q.bias), self.n_heads)
        dropout = self.dropout if self.training else 0.0
        context, weights = dot.attend(query, seen.keys, seen.values, keep, dropout)
        return linear(join_heads(context), self.out.weight, self.out.bias), weights
