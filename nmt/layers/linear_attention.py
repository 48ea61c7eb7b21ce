"""Linear attention (Katharopoulos et al. 2020) in the place of multi-head attention: the same projections and heads."""

from dataclasses import dataclass

from torch import Tensor

from nmt.layers.cache import Ancestry
from nmt.layers.multihead import CrossProjections, KeysValues, SelfProjections
from nmt.layers.sight import Bounds, Keep, Within, mask
from nmt.ops import linear_attention
from nmt.ops.linear import wide
from nmt.ops.linear_attention import Sums
from nmt.ops.sentences import put_together, take_apart


@dataclass(frozen=True)
class Summary:
    """The encoder's output as one decoder layer sees it: its sums, and for weights the keys (B, G, S, C)."""

    sums: Sums
    keys: Tensor


class LinearSelfAttention(SelfProjections):
    """Linear attention of a sequence to itself, with rotary positions as ops.linear_attention has them."""

    def __init__(
        self, d_model: int, n_heads: int, n_kv_heads: int | None = None, qk_norm: bool = False, causal: bool = False
    ) -> None:
        """causal: each position sees itself and those before it; else all. No biases; the rest as SelfProjections."""
        super().__init__(d_model, n_heads, n_kv_heads, bias=False, qk_norm=qk_norm)
        self.causal = causal

    def forward(self, x: Tensor, keep: Keep, turn: Tensor | None = None) -> Tensor:
        """x (B, Q, D), turn (Q, C / 2, 2), keep (B, 1, 1, Q) or None for all, which it must be for causal -> (B, Q, D).

        With bounds of sentences turn is (L, C / 2, 2), of the positions in a sentence.
        """
        query, own = self.project(x)
        if not isinstance(keep, Within):
            return self.merge(self._attend(query, own, mask(keep), turn))
        assert keep.apart is not None, "there are no scores to write out"
        where = keep.apart.queries
        own = KeysValues(take_apart(own.keys, where), take_apart(own.values, where))
        context = self._attend(take_apart(query, where), own, mask(keep.apart.keep), turn)
        return self.merge(put_together(context, where))

    def _attend(self, query: Tensor, own: KeysValues, keep: Tensor | None, turn: Tensor | None) -> Tensor:
        if self.causal:
            assert keep is None, "what comes later hides itself, and padding comes last"
            return linear_attention.causal(query, own.keys, own.values, turn)
        return linear_attention.look_up(query, linear_attention.sums(own.keys, own.values, keep, turn), turn)

    def start(self, B: int, K: int, like: Tensor) -> Sums:
        """Nothing seen yet by the R = B * K hypotheses of B sentences, on the device of `like`."""
        R, G, C, dtype = B * K, self.n_kv_heads, self.d_head, wide(like.dtype)
        return Sums(like.new_zeros((R, G, C, C), dtype=dtype), like.new_zeros((R, G, C), dtype=dtype))

    def step(self, x: Tensor, past: Sums, keep: Ancestry, turn: Tensor | None = None) -> tuple[Tensor, Sums]:
        """One position of K hypotheses, x (B, K, D), after those of `past`, all of them -> (B, K, D), and the past with
        it.
        """
        assert keep.positions is None, "a sum has no single positions to hide"
        query, own = self.project(x.flatten(0, 1)[:, None])  # (R, H, 1, C)
        context, known = linear_attention.step(query, own.keys, own.values, past, turn)
        return self.merge(context).view(x.shape), known


class LinearCrossAttention(CrossProjections):
    """Linear attention of the decoder to the encoder's output, without positions."""

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int | None = None, qk_norm: bool = False) -> None:
        """No biases; the rest as CrossProjections."""
        super().__init__(d_model, n_heads, n_kv_heads, bias=False, qk_norm=qk_norm)

    def summarize(self, memory: Tensor, keep: Bounds) -> Summary:
        """The sums over the real positions of the encoder's output (B, S, D), keep (B, 1, 1, S): once a sentence."""
        own = self.project(memory)
        if not isinstance(keep, Within):
            return Summary(linear_attention.sums(own.keys, own.values, keep), own.keys)
        assert keep.apart is not None
        keys, values = take_apart(own.keys, keep.apart.keys), take_apart(own.values, keep.apart.keys)
        return Summary(linear_attention.sums(keys, values, mask(keep.apart.keep)), keys)

    def forward(self, x: Tensor, seen: Summary, keep: Bounds) -> Tensor:
        """x (B, Q, D) -> (B, Q, D): what it costs does not depend on S. The sums know a mask `keep` already."""
        query = self.query(x)
        if not isinstance(keep, Within):
            return self.merge(linear_attention.look_up(query, seen.sums))
        assert keep.apart is not None
        where = keep.apart.queries
        return self.merge(put_together(linear_attention.look_up(take_apart(query, where), seen.sums), where))

    def weights(self, x: Tensor, seen: Summary, keep: Tensor) -> Tensor:
        """What `forward` looked at: x (B, Q, D), keep (B, 1, 1, S) -> (B, H, Q, S) float32."""
        return linear_attention.weights(self.query(x), seen.keys, keep)
