"""The Transformer as it is built in the 2020s, in an encoder and a decoder, with the choice of what a word looks at.

No one paper's model: LLaMA's parts (Touvron et al. 2023, arXiv 2302.13971v1, section 2.2) in the Transformer's figure.

    x + Dropout(Sublayer(RMSNorm(x))), and RMSNorm once after the last layer of each side: x / RMS(x) * g (Zhang &
        Sennrich 2019, equation 4), epsilon 1e-6 inside the root
    rotary positions (Su et al. 2021) on queries and keys of self-attention, base 10000; none in cross-attention, as
        positions of two languages are not on one line; no other positions
    SwiGLU (Shazeer 2020, equation 6)
    no biases anywhere, the logits included
    fewer heads of keys and values than of queries in all attentions (Shazeer 2019; Ainslie et al. 2023)
    `qk_norm`: RMSNorm of each head's query and key before rotation, gains shared by the heads of a layer
    depths chosen separately: a deep encoder and a shallow decoder (Kasai et al. 2021)

Which keys j a query i sees (positions of real words; padding is never seen):

    attention   encoder                             decoder, itself          decoder, source
    full        all                                 j <= i                   all
    window      |i - j| <= W                        those with j <= i        all
    strided     |i - j| <= W, or W divides i - j    those with j <= i        all
    linear      all                                 j <= i                   all

Window and strided attention (Child et al. 2019; ops/sparse.py) thus act in self-attention only: where the next word's
source stands is for the model to find. Linear attention (Katharopoulos et al. 2020; ops/linear_attention.py) acts
everywhere: instead of softmax(q . k / sqrt(C)) it weighs by phi(q) . phi(k), rotated in self-attention as Su et al.'s
equation 19, not in cross-attention, so that cross-attention weights are positive and sum to one under all four.

What a step costs grows with the target so far under full and strided attention, with W at most under window, and not at
all under linear, whose state is a C x C matrix a head. `forward` holds scores of all pairs under full, of pairs in
neighbouring blocks under window (ops/banded.py, in sentences of more than four blocks), of these and of pairs whose
distance W divides under strided, of pairs in a chunk under linear. Attention to the source aside, the cost grows with
the length under window and linear, and with its square over W under strided.

Ours: embeddings are multiplied by sqrt(d_model) and drawn N(0, 1/d_model), as in the Transformer, so that they suit the
residual sum and, tied, the output; all other matrices start as Glorot & Bengio's uniform, each of those that lie in one
by itself; gains start at 1. Dropout as in the Transformer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.batch import Batch
from nmt.layers.cache import Ancestry, Cache, Lineage, Sources
from nmt.layers.feedforward import SwiGLU
from nmt.layers.linear_attention import LinearCrossAttention, LinearSelfAttention, Summary
from nmt.layers.multihead import (
    CrossAttention,
    CrossProjections,
    KeysValues,
    SelfAttention,
    SelfProjections,
)
from nmt.layers.sight import Bounds, Keep, Near, Within, of_source, sight
from nmt.models.contract import Memory, Seq2Seq, State, Step
from nmt.ops import masks, rope, sparse
from nmt.ops.dropout import add_dropped, dropout
from nmt.ops.linear_attention import Sums
from nmt.ops.norm import rms_norm

Attention = Literal["full", "window", "strided", "linear"]
Source = KeysValues | Summary
Past = Cache | Sums


@dataclass(frozen=True)
class ModernMemory(Memory):
    """keep (B, S); cross: the encoder's output as each decoder layer sees it, keys and values (B, G, S, C) or sums."""

    cross: tuple[Sources | Summary, ...]


@dataclass(frozen=True)
class ModernState(State):
    """past: each layer's keys and values of the t words so far (at most W under window), or their sums, (R, G, C, C)
    and (R, G, C); lineage: whose words they are.
    """

    past: tuple[Past, ...]
    lineage: Lineage


def normed(x: Tensor, norm: nn.RMSNorm, dtype: torch.dtype) -> Tensor:
    """RMSNorm(x), as dtype."""
    assert norm.eps is not None
    return rms_norm(x, norm.weight, norm.eps, dtype)


class Sublayer(nn.Module):
    """The residual connection around a sublayer: x + Dropout(Sublayer(RMSNorm(x)))."""

    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(d_model, eps=1e-6)
        self.dropout = dropout

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Tensor:
        """x (B, Q, D) float32 -> the same; the sublayer gets and gives `dtype`."""
        y = sublayer(normed(x, self.norm, dtype))
        return add_dropped(x, y, self.dropout, self.training)


class EncoderLayer(nn.Module):
    """Self-attention, then SwiGLU."""

    def __init__(self, d_model: int, d_ff: int, attention: SelfAttention | LinearSelfAttention, dropout: float) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = SwiGLU(d_model, d_ff)
        self.around_attention = Sublayer(d_model, dropout)
        self.around_feed_forward = Sublayer(d_model, dropout)

    def forward(self, x: Tensor, keep: Keep, turn: Tensor, dtype: torch.dtype) -> Tensor:
        """x (B, Q, D) float32, turn (Q, C / 2, 2) -> (B, Q, D) float32."""
        x = self.around_attention(x, lambda y: self.attention(y, keep, turn), dtype)
        return self.around_feed_forward(x, self.feed_forward, dtype)


class DecoderLayer(nn.Module):
    """Self-attention to what came before, attention over the encoder's output, then SwiGLU."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        attention: SelfAttention | LinearSelfAttention,
        cross: CrossAttention | LinearCrossAttention,
        dropout: float,
    ) -> None:
        super().__init__()
        self.attention, self.cross = attention, cross
        self.feed_forward = SwiGLU(d_model, d_ff)
        self.around_attention = Sublayer(d_model, dropout)
        self.around_cross = Sublayer(d_model, dropout)
        self.around_feed_forward = Sublayer(d_model, dropout)

    def remember(self, memory: Tensor, keep: Bounds) -> Source:
        """The encoder's output (B, S, D), keep (B, 1, 1, S) or sentence bounds, as this layer sees it."""
        if isinstance(self.cross, LinearCrossAttention):
            return self.cross.summarize(memory, keep)
        return self.cross.project(memory)

    def look(
        self, y: Tensor, source: Sources | Summary, keep: Tensor, want_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Cross-attention: y (B, Q, D) -> (B, Q, D), weights (B, H, Q, S) where they are wanted or there anyway."""
        if isinstance(self.cross, LinearCrossAttention):
            source = cast(Summary, source)
            return self.cross(y, source, keep), self.cross.weights(y, source, keep) if want_weights else None
        return self.cross.look(y, cast(Sources, source), keep)

    def forward(
        self, x: Tensor, keep: Keep, turn: Tensor, source: Source, src_keep: Keep, dtype: torch.dtype
    ) -> Tensor:
        """All target positions: x (B, T, D) float32, keep (1, 1, T, T) and src_keep (B, 1, 1, S) or sentence bounds ->
        (B, T, D) float32.
        """
        x = self.around_attention(x, lambda y: self.attention(y, keep, turn), dtype)
        x = self.around_cross(x, lambda y: self.cross(y, cast(Any, source), src_keep), dtype)
        return self.around_feed_forward(x, self.feed_forward, dtype)

    def step(
        self,
        x: Tensor,
        past: Past,
        keep: Ancestry,
        turn: Tensor,
        source: Sources | Summary,
        src_keep: Tensor,
        dtype: torch.dtype,
        want_weights: bool,
    ) -> tuple[Tensor, Past, Tensor | None]:
        """One position: x (B, K, D), keep: what each sees, turn (1, C / 2, 2) -> (B, K, D), the past with it, weights
        (B, H, K, S). The K hypotheses of a sentence are K queries against its one memory.
        """
        weights = None

        def look_back(y: Tensor) -> Tensor:
            nonlocal past
            found, past = self.attention.step(y, cast(Any, past), keep, turn)
            return found

        def look_at_source(y: Tensor) -> Tensor:
            nonlocal weights
            found, weights = self.look(y, source, src_keep, want_weights)
            return found

        x = self.around_attention(x, look_back, dtype)
        x = self.around_cross(x, look_at_source, dtype)
        return self.around_feed_forward(x, self.feed_forward, dtype), past, weights


class Modern(Seq2Seq):
    """Encoder and decoder."""

    layouts = frozenset({"padded", "rows", "flat"})

    def __init__(
        self,
        n_src: int,
        n_tgt: int,
        n_layers: int,
        n_decoder_layers: int,
        d_model: int,
        n_heads: int,
        d_ff: int,
        n_kv_heads: int | None = None,
        qk_norm: bool = False,
        attention: Attention = "full",
        window: int = 16,
        dropout: float = 0.0,
        tied_output: bool = True,
        tied_embeddings: bool = True,
    ) -> None:
        """window: W, for window and strided attention."""
        super().__init__()

        def own(causal: bool) -> SelfAttention | LinearSelfAttention:
            if attention == "linear":
                return LinearSelfAttention(d_model, n_heads, n_kv_heads, qk_norm, causal)
            return SelfAttention(d_model, n_heads, 0.0, n_kv_heads, bias=False, qk_norm=qk_norm)

        def cross() -> CrossAttention | LinearCrossAttention:
            if attention == "linear":
                return LinearCrossAttention(d_model, n_heads, n_kv_heads, qk_norm)
            return CrossAttention(d_model, n_heads, 0.0, n_kv_heads, bias=False, qk_norm=qk_norm)

        self.src_embed = nn.Embedding(n_src, d_model)
        self.tgt_embed = self.src_embed if tied_embeddings else nn.Embedding(n_tgt, d_model)
        self.encoder = nn.ModuleList(EncoderLayer(d_model, d_ff, own(False), dropout) for _ in range(n_layers))
        self.decoder = nn.ModuleList(
            DecoderLayer(d_model, d_ff, own(True), cross(), dropout) for _ in range(n_decoder_layers)
        )
        self.encoder_norm, self.decoder_norm = nn.RMSNorm(d_model, eps=1e-6), nn.RMSNorm(d_model, eps=1e-6)
        self.projection = nn.Linear(d_model, n_tgt, bias=False)
        if tied_output:
            self.projection.weight = self.tgt_embed.weight
        self.attention: Attention = attention
        self.operations = ("packed",) if attention == "full" else ()
        self.window, self.dropout = window, dropout
        self.d_model, self.d_head = d_model, d_model // n_heads

    def compilable(self) -> list[nn.Module]:
        """The layers of both sides."""
        return [*self.encoder, *self.decoder]

    def encode(self, src: Tensor, keep: Tensor) -> ModernMemory:
        """The encoder's output for source ids (B, S), as every decoder layer sees it."""
        positions = torch.arange(src.shape[1], device=src.device)
        seen = of_source(keep, positions, self._pattern, self._near)
        turn = rope.rotation(positions, self.d_head, self.src_embed.weight.dtype)
        read = self._read(src, turn, seen, masks.padding(keep))
        return ModernMemory(
            keep, tuple(Sources(one.keys, one.values) if isinstance(one, KeysValues) else one for one in read)
        )

    def _read(self, src: Tensor, turn: Tensor, seen: Keep, across: Bounds) -> tuple[Source, ...]:
        """What every decoder layer sees of source ids (B, S)."""
        x = self._embed(self.src_embed, src)
        for layer in self.encoder:
            x = layer(x, seen, turn, self.compute_dtype)
        memory = normed(x, self.encoder_norm, self.compute_dtype)
        return tuple(cast(DecoderLayer, layer).remember(memory, across) for layer in self.decoder)

    def start(self, memory: Memory, beam: int, max_len: int) -> ModernState:
        """Nothing seen yet."""
        B, like = memory.keep.shape[0], cast(ModernMemory, memory).cross[0].keys
        past = tuple(cast(DecoderLayer, layer).attention.start(B, beam, like) for layer in self.decoder)
        return ModernState(past, Lineage.empty(B, beam, like.device))

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        """One target position, what later ones need of it kept in the state."""
        memory, state = cast(ModernMemory, memory), cast(ModernState, state)
        x = self._embed(self.tgt_embed, prev.view(memory.keep.shape[0], -1))  # (B, K, D)
        lineage = state.lineage.append()
        turn = rope.rotation(lineage.newest(), self.d_head, x.dtype)
        keep, src_keep = self._step_keep(lineage), masks.padding(memory.keep)
        after, weights = list[Past](), list[Tensor]()
        for layer, past, source in zip(self.decoder, state.past, memory.cross, strict=True):
            x, now, by_head = cast(DecoderLayer, layer).step(
                x, past, keep, turn, source, src_keep, self.compute_dtype, want_weights
            )
            after.append(self._needed(now))
            weights += [] if by_head is None else [by_head]
        features = normed(x, self.decoder_norm, self.compute_dtype).flatten(0, 1)
        looked = torch.stack(weights, dim=1).permute(0, 3, 1, 2, 4).flatten(0, 1) if want_weights else None
        return Step(features, ModernState(tuple(after), lineage), looked)

    def forward(self, batch: Batch) -> Tensor:
        """Features (B, T, D) of all target positions at once, each seeing those before it."""
        seen = sight(batch, self._pattern, self.attention != "linear", self._near)
        memory = self._read(batch.src, self._turn(seen.source, seen.src_positions), seen.source, seen.across)
        x, turn = self._embed(self.tgt_embed, batch.tgt_in), self._turn(seen.target, seen.tgt_positions)
        for layer, source in zip(self.decoder, memory, strict=True):
            x = layer(x, seen.target, turn, source, seen.across, self.compute_dtype)
        return normed(x, self.decoder_norm, self.compute_dtype)

    def _turn(self, seen: Keep, positions: Tensor) -> Tensor:
        """Rotations by positions (Q,) or (B, Q): (Q, C / 2, 2) or (B, 1, Q, C / 2, 2); by those in a sentence for
        sums.
        """
        if self.attention == "linear" and isinstance(seen, Within) and seen.apart is not None:
            positions = torch.arange(seen.apart.queries.keep.shape[1], device=positions.device)
        turn = rope.rotation(positions, self.d_head, self.src_embed.weight.dtype)
        return turn if positions.dim() == 1 else turn[:, None]

    @property
    def _near(self) -> Near | None:
        return Near(self.window, self.attention == "strided") if self.attention in ("window", "strided") else None

    def _pattern(self, queries: Tensor, keys: Tensor) -> Tensor | None:
        """Which positions (N,) those of queries (Q,) see, past and future, (Q, N) bool; None for all."""
        match self.attention:
            case "window":
                return sparse.window(queries, keys, self.window)
            case "strided":
                return sparse.strided(queries, keys, self.window)
            case "full" | "linear":
                return None

    def _step_keep(self, lineage: Lineage) -> Ancestry:
        """What of the past and itself the newest position of each hypothesis sees, as `Lineage.keep` has it."""
        match self.attention:
            case "window":
                return lineage.keep(last=self.window + 1)
            case "strided":
                seen = self._pattern(lineage.newest(), lineage.positions())
                assert seen is not None
                return lineage.keep(seen[0])
            case "full" | "linear":
                return lineage.keep()

    def _needed(self, past: Past) -> Past:
        """What of the past later positions can see."""
        return past.last(self.window) if self.attention == "window" and isinstance(past, Cache) else past

    def _embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        """Dropout(sqrt(d_model) E w): ids (B, Q) -> (B, Q, D) float32."""
        return dropout(F.embedding(ids, table.weight) * self.d_model**0.5, self.dropout, self.training)

    def initialize(self) -> None:
        """Glorot & Bengio's uniform for each matrix, embeddings and output N(0, 1 / d_model), gains 1."""
        with torch.no_grad():
            for module in self.modules():
                match module:
                    case SelfProjections():
                        matrices = [*module.qkv.weight.split(module.widths), module.out.weight]
                    case CrossProjections():
                        matrices = [module.q.weight, *module.kv.weight.chunk(2), module.out.weight]
                    case SwiGLU():
                        matrices = [*module.inner.weight.chunk(2), module.outer.weight]
                    case nn.RMSNorm():
                        module.weight.fill_(1.0)
                        continue
                    case _:
                        continue
                for matrix in matrices:
                    nn.init.xavier_uniform_(matrix)
            tables = {id(w): w for w in (self.src_embed.weight, self.tgt_embed.weight, self.projection.weight)}
            for table in tables.values():
                table.normal_(0.0, self.d_model**-0.5)
