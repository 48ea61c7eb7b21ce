"""The Transformer: Vaswani et al., "Attention Is All You Need", NeurIPS 2017 (arXiv 1706.03762v7).

N = n_layers, d_model, h = n_heads, d_ff and P_drop are the paper's. Base is the default sizes; big has d_model 1024,
d_ff 4096, h 16 and P_drop 0.3 (0.1 for English-French): recipes/papers/ has both by name.

Where others differ and this file does not: sines and cosines are interleaved (3.5); embeddings are multiplied by
sqrt(d_model) (3.4) and share one matrix with the output (3.4), which has no bias; dropout acts on the sum of embedding
and position and on each sublayer's output before it is added (5.4), not on attention weights nor inside the
feed-forward layer; LayerNorm comes after the sum (3.1, "post").

Where the paper is silent: projections and feed-forward layers have biases, as in the authors' program; matrices start
as Glorot & Bengio's uniform, W^Q, W^K and W^V together as the one matrix that they are here (as torch.nn and fairseq
have it; each by itself, post-norm learned more slowly: a loss of 4.3 against 3.6 after 400 updates of the small
corpus); embeddings are normal with standard deviation d_model^-0.5, biases 0; epsilon of LayerNorm is 1e-5 (the
authors' program has 1e-6); the first position is 0.

Ours, not the paper's, and not the default: `norm: pre` (LayerNorm before each sublayer, and once after the last:
Xiong et al. 2020), learned positions (the paper's table 3, row E), decoders of another depth, dropout elsewhere, swish
or GELU instead of ReLU, a bias on the logits (both as in Marian's OPUS-MT models, see commands/import_model.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.batch import Batch
from nmt.layers.cache import Ancestry, Cache, Lineage, Sources
from nmt.layers.embedding import LearnedPositions, sinusoids
from nmt.layers.feedforward import Activation, FeedForward
from nmt.layers.multihead import CrossAttention, KeysValues, SelfAttention
from nmt.layers.sight import Keep, sight
from nmt.models.contract import Memory, Seq2Seq, State, Step
from nmt.ops import masks
from nmt.ops.dropout import add_dropped, dropout
from nmt.ops.norm import layer_norm

Norm = Literal["post", "pre"]


@dataclass(frozen=True)
class TransformerMemory(Memory):
    """keep (B, S); cross: keys and values (B, H, S, C) of the encoder's output for each decoder layer."""

    cross: tuple[Sources, ...]


@dataclass(frozen=True)
class TransformerState(State):
    """seen: keys and values of the t words so far, for each layer; lineage: whose words they are."""

    seen: tuple[Cache, ...]
    lineage: Lineage


def normed(x: Tensor, norm: nn.LayerNorm | nn.Identity, dtype: torch.dtype) -> Tensor:
    """LayerNorm of x (..., D) float32, or x itself, as dtype."""
    if isinstance(norm, nn.Identity):
        return x.to(dtype)
    return layer_norm(x, norm.weight, norm.bias, norm.eps, dtype)


class Sublayer(nn.Module):
    """The residual connection around a sublayer: LayerNorm(x + Dropout(Sublayer(x))) (3.1, 5.4), or norm first."""

    def __init__(self, d_model: int, dropout: float, norm: Norm) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.dropout, self.pre = dropout, norm == "pre"

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor], dtype: torch.dtype) -> Tensor:
        """x (B, Q, D) float32 -> the same; the sublayer gets and gives `dtype`."""
        y = sublayer(normed(x, self.norm, dtype) if self.pre else x.to(dtype))
        y = add_dropped(x, y, self.dropout, self.training)
        return y if self.pre else normed(y, self.norm, y.dtype)


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward layer (3.1)."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        norm: Norm,
        dropout: float,
        attention_dropout: float,
        inner: float,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(d_model, n_heads, attention_dropout)
        self.feed_forward = FeedForward(d_model, d_ff, inner, activation)
        self.around_attention = Sublayer(d_model, dropout, norm)
        self.around_feed_forward = Sublayer(d_model, dropout, norm)

    def forward(self, x: Tensor, keep: Keep, dtype: torch.dtype) -> Tensor:
        """x (B, S, D) float32, keep (B, 1, 1, S) or sentence bounds -> (B, S, D) float32."""
        x = self.around_attention(x, lambda y: self.attention(y, keep), dtype)
        return self.around_feed_forward(x, self.feed_forward, dtype)


class DecoderLayer(nn.Module):
    """Masked self-attention, attention over the encoder's output, then the feed-forward layer (3.1)."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        norm: Norm,
        dropout: float,
        attention_dropout: float,
        inner: float,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(d_model, n_heads, attention_dropout)
        self.cross = CrossAttention(d_model, n_heads, attention_dropout)
        self.feed_forward = FeedForward(d_model, d_ff, inner, activation)
        self.around_attention = Sublayer(d_model, dropout, norm)
        self.around_cross = Sublayer(d_model, dropout, norm)
        self.around_feed_forward = Sublayer(d_model, dropout, norm)

    def forward(self, x: Tensor, keep: Keep, memory: KeysValues, src_keep: Keep, dtype: torch.dtype) -> Tensor:
        """All target positions: x (B, T, D) float32, keep (1, 1, T, T) and src_keep (B, 1, 1, S) or sentence bounds ->
        (B, T, D) float32.
        """
        x = self.around_attention(x, lambda y: self.attention(y, keep), dtype)
        x = self.around_cross(x, lambda y: self.cross(y, memory, src_keep), dtype)
        return self.around_feed_forward(x, self.feed_forward, dtype)

    def step(
        self, x: Tensor, seen: Cache, keep: Ancestry, memory: Sources, src_keep: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Cache, Tensor]:
        """One position: x (B, K, D), keep: what each sees -> (B, K, D), keys and values with this position, weights
        (B, H, K, S). The K hypotheses of a sentence are K queries against its one memory.
        """
        weights = x.new_empty(0)

        def look_back(y: Tensor) -> Tensor:
            nonlocal seen
            found, seen = self.attention.step(y, seen, keep)
            return found

        def look_at_source(y: Tensor) -> Tensor:
            nonlocal weights
            found, weights = self.cross.look(y, memory, src_keep)
            return found

        x = self.around_attention(x, look_back, dtype)
        x = self.around_cross(x, look_at_source, dtype)
        return self.around_feed_forward(x, self.feed_forward, dtype), seen, weights


class Transformer(Seq2Seq):
    """The encoder-decoder of figure 1."""

    layouts = frozenset({"padded", "rows", "flat"})
    operations = ("packed",)

    def __init__(
        self,
        n_src: int,
        n_tgt: int,
        n_layers: int,
        n_decoder_layers: int,
        d_model: int,
        n_heads: int,
        d_ff: int,
        norm: Norm = "post",
        max_positions: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        tied_output: bool = True,
        tied_embeddings: bool = True,
        output_bias: bool = False,
        activation: Activation = "relu",
    ) -> None:
        """max_positions: learned positions, so many; None for sinusoidal ones."""
        super().__init__()
        self.src_embed = nn.Embedding(n_src, d_model)
        self.tgt_embed = self.src_embed if tied_embeddings else nn.Embedding(n_tgt, d_model)
        self.src_positions = LearnedPositions(max_positions, d_model) if max_positions else None
        self.tgt_positions = LearnedPositions(max_positions, d_model) if max_positions else None
        sizes = d_model, n_heads, d_ff, norm, dropout, attention_dropout, activation_dropout, activation
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(n_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(n_decoder_layers))
        self.encoder_norm = nn.LayerNorm(d_model) if norm == "pre" else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if norm == "pre" else nn.Identity()
        self.projection = nn.Linear(d_model, n_tgt, bias=output_bias)
        if tied_output:
            self.projection.weight = self.tgt_embed.weight
        self.dropout = dropout
        self.d_model = d_model

    def compilable(self) -> list[nn.Module]:
        """The layers of both sides."""
        return [*self.encoder, *self.decoder]

    def encode(self, src: Tensor, keep: Tensor) -> TransformerMemory:
        """The encoder's output for source ids (B, S), as keys and values of every decoder layer."""
        positions = torch.arange(src.shape[1], device=src.device)
        read = self._read(src, positions, masks.padding(keep))
        return TransformerMemory(keep, tuple(Sources(one.keys, one.values) for one in read))

    def _read(self, src: Tensor, positions: Tensor, keep: Keep) -> tuple[KeysValues, ...]:
        """Keys and values of every decoder layer, of source ids (B, S) at positions (S,) or (B, S)."""
        x = self._embed(self.src_embed, self.src_positions, src, positions)
        for layer in self.encoder:
            x = layer(x, keep, self.compute_dtype)
        memory = normed(x, self.encoder_norm, self.compute_dtype)
        return tuple(cast(DecoderLayer, layer).cross.project(memory) for layer in self.decoder)

    def start(self, memory: Memory, beam: int, max_len: int) -> TransformerState:
        """Nothing seen yet."""
        first = cast(TransformerMemory, memory).cross[0].keys
        B = first.shape[0]
        nothing = tuple(cast(DecoderLayer, layer).attention.start(B, beam, first) for layer in self.decoder)
        return TransformerState(nothing, Lineage.empty(B, beam, first.device))

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        """One target position, the keys and values of earlier ones kept in the state."""
        memory, state = cast(TransformerMemory, memory), cast(TransformerState, state)
        lineage = state.lineage.append()
        ids = prev.view(memory.keep.shape[0], -1)  # (B, K)
        x = self._embed(self.tgt_embed, self.tgt_positions, ids, lineage.newest())  # (B, K, D)
        keep, src_keep, seen, weights = lineage.keep(), masks.padding(memory.keep), [], []
        for layer, before, cross in zip(self.decoder, state.seen, memory.cross, strict=True):
            x, now, by_head = cast(DecoderLayer, layer).step(x, before, keep, cross, src_keep, self.compute_dtype)
            seen.append(now)
            weights.append(by_head)
        features = normed(x, self.decoder_norm, self.compute_dtype).flatten(0, 1)
        looked = torch.stack(weights, dim=1).permute(0, 3, 1, 2, 4).flatten(0, 1) if want_weights else None
        return Step(features, TransformerState(tuple(seen), lineage), looked)

    def forward(self, batch: Batch) -> Tensor:
        """Features (B, T, D) of all target positions at once, each seeing those before it."""
        seen = sight(batch)
        memory = self._read(batch.src, seen.src_positions, seen.source)
        x = self._embed(self.tgt_embed, self.tgt_positions, batch.tgt_in, seen.tgt_positions)
        for layer, cross in zip(self.decoder, memory, strict=True):
            x = layer(x, seen.target, cross, seen.across, self.compute_dtype)
        return normed(x, self.decoder_norm, self.compute_dtype)

    def _embed(self, table: nn.Embedding, learned: LearnedPositions | None, ids: Tensor, positions: Tensor) -> Tensor:
        """Dropout(sqrt(d_model) E w + PE): ids (B, Q), positions (Q,) or (B, Q) -> (B, Q, D) float32."""
        x = F.embedding(ids, table.weight) * self.d_model**0.5
        x = x + (sinusoids(positions, self.d_model).to(x.dtype) if learned is None else learned(positions))
        return dropout(x, self.dropout, self.training)

    def initialize(self) -> None:
        """Glorot & Bengio's uniform for each matrix, embeddings N(0, 1 / d_model), biases 0, LayerNorm the identity."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear) and module is not self.projection:
                    nn.init.xavier_uniform_(module.weight)
                elif isinstance(module, nn.Embedding | LearnedPositions):
                    module.weight.normal_(0.0, self.d_model**-0.5)
                elif isinstance(module, nn.LayerNorm):
                    module.weight.fill_(1.0)
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
            if self.projection.weight is not self.tgt_embed.weight:
                self.projection.weight.normal_(0.0, self.d_model**-0.5)
