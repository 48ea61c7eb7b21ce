"""Multi-head attention (Vaswani et al. 2017, section 3.2.2): projections, heads, and the way back.

Beyond the paper, each an option that is off by default: fewer heads of keys and values than of queries (`n_kv_heads`),
no biases, RMSNorm of each head's query and key (`qk_norm`), and rotary positions (`turn`).
"""

from dataclasses import dataclass

from torch import Tensor, nn

from nmt.layers.cache import Ancestry, Cache, Sources
from nmt.layers.sight import Keep, attend
from nmt.ops import dot
from nmt.ops.choose import PLAIN, Kernels
from nmt.ops.linear import linear
from nmt.ops.native import native_for
from nmt.ops.projected import EPS, Group, heads


def join_heads(x: Tensor) -> Tensor:
    """(B, H, Q, C) -> (B, Q, H * C)."""
    return x.transpose(1, 2).flatten(-2)


@dataclass(frozen=True)
class KeysValues:
    """Keys and values of one layer, (B, G, N, C) each."""

    keys: Tensor
    values: Tensor


class HeadNorm(nn.RMSNorm):
    """RMSNorm over the width of a head, one gain for all heads. ops/projected.py applies it, in float32.

    As Qwen3 and OLMo 2 have it (2025), after Henry et al. 2020, who divide by the length and learn a factor: scores
    stay bounded however large the projections grow.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS)


def gain(norm: nn.Module) -> Tensor | None:
    """That of a HeadNorm; None where there is no norm."""
    return norm.weight if isinstance(norm, HeadNorm) else None


class SelfProjections(nn.Module):
    """Queries, keys and values from one input: W^Q, W^K, W^V one above the other in `qkv`, W^O in `out`."""

    def __init__(
        self, d_model: int, n_heads: int, n_kv_heads: int | None = None, bias: bool = True, qk_norm: bool = False
    ) -> None:
        """n_kv_heads G: query heads 0 .. H/G - 1 share the first head of keys and values, and so on; None for H."""
        super().__init__()
        self.n_heads, self.n_kv_heads, self.d_head = n_heads, n_kv_heads or n_heads, d_model // n_heads
        self.widths = [d_model, self.n_kv_heads * self.d_head, self.n_kv_heads * self.d_head]
        self.qkv = nn.Linear(d_model, sum(self.widths), bias)
        self.out = nn.Linear(d_model, d_model, bias)
        self.q_norm = HeadNorm(self.d_head) if qk_norm else nn.Identity()
        self.k_norm = HeadNorm(self.d_head) if qk_norm else nn.Identity()

    def project(self, x: Tensor, turn: Tensor | None = None) -> tuple[Tensor, KeysValues]:
        """x (B, Q, D), turn (..., Q, C / 2, 2) -> queries (B, H, Q, C), and its keys and values (B, G, Q, C)."""
        q, k, v = heads(
            linear(x, self.qkv.weight, self.qkv.bias),
            [
                Group(self.n_heads, gain(self.q_norm), turned=True),
                Group(self.n_kv_heads, gain(self.k_norm), turned=True),
                Group(self.n_kv_heads),
            ],
            turn,
        )
        return q, KeysValues(k, v)

    def merge(self, context: Tensor) -> Tensor:
        """(B, H, Q, C) through W^O: (B, Q, D)."""
        return linear(join_heads(context), self.out.weight, self.out.bias)


class CrossProjections(nn.Module):
    """Queries from the decoder, keys and values from the encoder's output: W^Q; W^K above W^V in `kv`; W^O in `out`."""

    def __init__(
        self, d_model: int, n_heads: int, n_kv_heads: int | None = None, bias: bool = True, qk_norm: bool = False
    ) -> None:
        """n_kv_heads as in SelfProjections."""
        super().__init__()
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads or n_heads
        C = d_model // n_heads
        self.q = nn.Linear(d_model, d_model, bias)
        self.kv = nn.Linear(d_model, 2 * self.n_kv_heads * C, bias)
        self.out = nn.Linear(d_model, d_model, bias)
        self.q_norm = HeadNorm(C) if qk_norm else nn.Identity()
        self.k_norm = HeadNorm(C) if qk_norm else nn.Identity()

    def query(self, x: Tensor) -> Tensor:
        """x (B, Q, D) -> queries (B, H, Q, C)."""
        return heads(linear(x, self.q.weight, self.q.bias), [Group(self.n_heads, gain(self.q_norm))])[0]

    def project(self, memory: Tensor) -> KeysValues:
        """Keys and values (B, G, S, C) of the encoder's output (B, S, D): once a sentence."""
        groups = [Group(self.n_kv_heads, gain(self.k_norm)), Group(self.n_kv_heads)]
        return KeysValues(*heads(linear(memory, self.kv.weight, self.kv.bias), groups))

    def merge(self, context: Tensor) -> Tensor:
        """(B, H, Q, C) through W^O: (B, Q, D)."""
        return linear(join_heads(context), self.out.weight, self.out.bias)


class SelfAttention(SelfProjections):
    """Scaled dot-product attention of a sequence to itself."""

    kernels: Kernels = PLAIN

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        dropout: float,
        n_kv_heads: int | None = None,
        bias: bool = True,
        qk_norm: bool = False,
    ) -> None:
        """dropout: on the weights; the rest as in SelfProjections."""
        super().__init__(d_model, n_heads, n_kv_heads, bias, qk_norm)
        self.dropout = dropout

    def forward(self, x: Tensor, keep: Keep, turn: Tensor | None = None) -> Tensor:
        """x (B, Q, D), turn as in `project` -> (B, Q, D) in the dtype of x."""
        query, seen = self.project(x, turn)
        return self.attend(query, seen, keep)

    def attend(self, query: Tensor, seen: KeysValues, keep: Keep) -> Tensor:
        """What queries (B, H, Q, C) find in keys and values, through W^O: (B, Q, D)."""
        dropout = self.dropout if self.training else 0.0
        return self.merge(attend(query, seen.keys, seen.values, keep, dropout, self.kernels.packed_attend))

    def start(self, B: int, K: int, like: Tensor) -> Cache:
        """Nothing seen yet by K hypotheses of each of B sentences whose source `like` (B, G, S, C) is: on its device,
        in its dtype, with room for a translation that is a little longer.
        """
        return Cache.empty(B, K, self.n_kv_heads, self.d_head, like, room=like.shape[2] * 5 // 4 + 4)

    def step(self, x: Tensor, past: Cache, keep: Ancestry, turn: Tensor | None = None) -> tuple[Tensor, Cache]:
        """One position of K hypotheses, x (B, K, D), after those of `past` -> (B, K, D), and the past with it.

        keep: what each sees of the positions then held.
        """
        query, own = self.project(x, turn)
        seen = past.append(own.keys, own.values)
        keys, values = seen.stored()
        if keep.whole and (native := native_for(query, keys, values)) is not None:
            return self.merge(native.attend(query, keys, values, None, keep.writers, seen.rows)[0]), seen
        return self.attend(query, KeysValues(*seen.visible()), keep.mask), seen


class CrossAttention(CrossProjections):
    """Scaled dot-product attention of the decoder to the encoder's output."""

    kernels: Kernels = PLAIN

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        dropout: float,
        n_kv_heads: int | None = None,
        bias: bool = True,
        qk_norm: bool = False,
    ) -> None:
        """dropout: on the weights; the rest as in SelfProjections."""
        super().__init__(d_model, n_heads, n_kv_heads, bias, qk_norm)
        self.dropout = dropout

    def forward(self, x: Tensor, seen: KeysValues, keep: Keep) -> Tensor:
        """x (B, Q, D) -> (B, Q, D) in the dtype of x."""
        dropout = self.dropout if self.training else 0.0
        query, in_rows = self.query(x), self.kernels.packed_attend
        return self.merge(attend(query, seen.keys, seen.values, keep, dropout, in_rows))

    def look(self, x: Tensor, seen: Sources, keep: Tensor) -> tuple[Tensor, Tensor]:
        """The same without dropout, keep as in ops.dot.attend, and the weights (B, H, Q, S) float32."""
        query = self.query(x)
        if (native := native_for(query, seen.keys, seen.values)) is not None:
            context, weights = native.attend(query, seen.keys, seen.values, keep, rows=seen.rows)
        else:
            context, weights = dot.attend(query, *seen.apart(), keep)
        return self.merge(context), weights
