"""ConvS2S: Gehring, Auli, Grangier, Yarats, Dauphin, "Convolutional Sequence to Sequence Learning", ICML 2017.

arXiv 1705.03122; section and equation numbers are this paper's, and so are h, z, e, g, d, c: e = word + position on the
source side, g on the target side (3.1), h^l the output of block l, z the encoder's, mapped to the embeddings' width f.
Every linear map and convolution is weight-normalised, lookup tables are not (4.2). An output matrix that is tied to the
embedding is a lookup table.

The paper's words where its authors' programs (fairseq-lua, fairseq) do something else:
- The query is d = W_d h + b_d + g (equation 1) and the values are z + e (equation 2); the programs multiply both sums
  by sqrt(0.5).
- h^l includes the residual connection (3.2) before it asks, and what it is told is added to it (3.3); the programs ask
  with the output of the gate, and add the input of the block after that.
- "We scale the gradients for the encoder layers by the number of attention mechanisms we use; we exclude source word
  embeddings" (3.4): the gradient of z, from keys and values of all n decoder layers together, is multiplied by 1 / n
  (the programs: 1 / 2n, as each layer uses z twice) before it enters the encoder. e in the values keeps its own.

Where the paper is silent:
- h + c is multiplied by sqrt(0.5) like any other sum of a block's input and output (3.4), and c is mapped back from f
  to the block's width by a layer of its own, as in the programs.
- Where the width changes, a linear layer maps the block's input for the residual sum.
- p in the initialisation is that of the layers whose inputs are dropped: the gated convolutions, the maps after the
  embeddings, and the output layer; for all others it is 1.
- e and g are those after dropout. Positions from max_positions on share the last embedding; the first is 0. With an
  even kernel the encoder sees one word more to the right.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.batch import Batch
from nmt.layers.convolution import GatedConvolution
from nmt.layers.embedding import LearnedPositions
from nmt.layers.weight_norm import WeightNormLinear
from nmt.models.contract import Memory, Seq2Seq, State, Step
from nmt.ops.additive import weigh
from nmt.ops.dropout import dropout
from nmt.ops.gradient import scale_gradient
from nmt.ops.linear import wide

HALF = 0.5**0.5  # keeps the variance of a sum of two that have the same


@dataclass(frozen=True)
class ConvS2SMemory(Memory):
    """keep (B, S); keys z (B, S, f); values z + e (B, S, f); scale m sqrt(1 / m) (B, 1, 1) float32, m the length."""

    keys: Tensor
    values: Tensor
    scale: Tensor


@dataclass(frozen=True)
class ConvS2SState(State):
    """windows: the last k - 1 inputs (R, k - 1, I) of each decoder convolution; position (R,) int64."""

    windows: tuple[Tensor, ...]
    position: Tensor


class Block(nn.Module):
    """A gated convolution and the residual connection around it (3.2): h^l from h^{l-1}."""

    def __init__(self, d_input: int, d_output: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolution = GatedConvolution(d_input, d_output, kernel)
        self.residual = None if d_input == d_output else WeightNormLinear(d_input, d_output)
        self.dropout = dropout

    def drop(self, h: Tensor) -> Tensor:
        """The convolution's input: h with dropout."""
        return dropout(h, self.dropout, self.training)

    def add(self, gated: Tensor, h: Tensor, dtype: torch.dtype) -> Tensor:
        """(v(..) + h^{l-1}) sqrt(0.5): gated (..., O) and h (..., I) float32 -> (..., O) float32."""
        return (gated + (h if self.residual is None else self.residual(h.to(dtype)))) * HALF


class EncoderBlock(Block):
    """A block that sees both sides of a word."""

    def forward(self, h: Tensor, keep: Tensor, dtype: torch.dtype) -> Tensor:
        """h (B, S, I) float32, keep (B, S, 1) -> (B, S, O) float32. Padding is as zero as what lies beyond the ends."""
        gated = self.convolution.centred(self.drop(h).masked_fill(~keep, 0.0).to(dtype))
        return self.add(gated, h, dtype)


class DecoderBlock(Block):
    """A block that sees what came before, and then asks the encoder (3.3)."""

    def __init__(self, d_input: int, d_output: int, kernel: int, d_embed: int, dropout: float) -> None:
        super().__init__(d_input, d_output, kernel, dropout)
        self.W_d = WeightNormLinear(d_output, d_embed)
        self.W_c = WeightNormLinear(d_embed, d_output)

    def forward(self, h: Tensor, g: Tensor, memory: ConvS2SMemory, dtype: torch.dtype) -> Tensor:
        """All target positions: h (B, T, I) and g (B, T, f) float32 -> (B, T, O) float32."""
        gated = self.convolution.causal(self.drop(h).to(dtype))
        return self.attend(self.add(gated, h, dtype), g, memory, dtype)[0]

    def step(
        self, h: Tensor, g: Tensor, window: Tensor, memory: ConvS2SMemory, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One position: h (R, I), g (R, f), window (R, k - 1, I) -> h (R, O), the next window, weights (R, S)."""
        seen = torch.cat([window, self.drop(h).to(dtype)[:, None]], dim=1)  # (R, k, I)
        h = self.add(self.convolution.of_windows(seen.flatten(1)), h, dtype)
        B, R = memory.keep.shape[0], h.shape[0]
        # The hypotheses of a sentence are queries against one set of keys.
        h, weights = self.attend(h.view(B, R // B, -1), g.view(B, R // B, -1), memory, dtype)
        return h.flatten(0, 1), seen[:, 1:], weights.flatten(0, 1)

    def attend(self, h: Tensor, g: Tensor, memory: ConvS2SMemory, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(h + W_c c + b_c) sqrt(0.5) and the weights a: h (B, Q, O), g (B, Q, f) -> (B, Q, O), (B, Q, S), float32.

        d_i = W_d h_i + b_d + g_i (1); a_ij = softmax_j(d_i . z_j); c_i = sum_j a_ij (z_j + e_j) (2) times m sqrt(1/m)
        (3.4).
        """
        d = self.W_d(h.to(dtype)) + g  # (B, Q, f)
        scores = d.to(dtype) @ memory.keys.transpose(1, 2)  # (B, Q, S)
        weights = weigh(scores.to(d.dtype), memory.keep)
        c = (weights.to(dtype) @ memory.values) * memory.scale
        return (h + self.W_c(c.to(dtype))) * HALF, weights

    def nothing_before(self, rows: int, like: Tensor) -> Tensor:
        """The window (R, k - 1, I) at the first position, in the dtype and on the device of `like`: zeros."""
        kernel = self.convolution.kernel
        return like.new_zeros((rows, kernel - 1, self.convolution.linear.in_features // kernel))


class ConvS2S(Seq2Seq):
    """Convolutions on both sides, and an attention in each layer of the decoder."""

    def __init__(
        self,
        n_src: int,
        n_tgt: int,
        d_embed: int,
        d_out: int,
        encoder: Sequence[tuple[int, int]],
        decoder: Sequence[tuple[int, int]],
        max_positions: int,
        dropout: float,
        tied_output: bool = False,
        tied_embeddings: bool = False,
    ) -> None:
        """encoder and decoder are the (width, kernel) of their layers, from the bottom."""
        super().__init__()
        f = d_embed
        self.src_embed = nn.Embedding(n_src, f)
        self.tgt_embed = self.src_embed if tied_embeddings else nn.Embedding(n_tgt, f)
        self.src_positions = LearnedPositions(max_positions, f)
        self.tgt_positions = LearnedPositions(max_positions, f)
        widths = [encoder[0][0], *(width for width, _ in encoder)]
        self.encoder_in = WeightNormLinear(f, widths[0])
        self.encoder = nn.ModuleList(EncoderBlock(i, o, k, dropout) for i, (o, k) in zip(widths, encoder, strict=False))
        self.encoder_out = WeightNormLinear(widths[-1], f)
        widths = [decoder[0][0], *(width for width, _ in decoder)]
        self.decoder_in = WeightNormLinear(f, widths[0])
        self.decoder = nn.ModuleList(
            DecoderBlock(i, o, k, f, dropout) for i, (o, k) in zip(widths, decoder, strict=False)
        )
        self.decoder_out = WeightNormLinear(widths[-1], d_out)
        if tied_output:
            projection = nn.Linear(d_out, n_tgt)
            projection.weight = self.tgt_embed.weight
        else:
            projection = WeightNormLinear(d_out, n_tgt)
        self.projection = projection
        self.dropout = dropout

    def compilable(self) -> list[nn.Module]:
        """The layers of both sides."""
        return [*self.encoder, *self.decoder]

    def encode(self, src: Tensor, keep: Tensor) -> ConvS2SMemory:
        """Keys z, values z + e and the scale of the context for source ids (B, S)."""
        dtype = self.compute_dtype
        e = self._embed(self.src_embed, self.src_positions, src, torch.arange(src.shape[1], device=src.device))
        h = self.encoder_in(e.to(dtype)).to(e.dtype)  # (B, S, I)
        for block in self.encoder:
            h = block(h, keep[:, :, None], dtype)
        z = self.encoder_out(h.to(dtype))  # (B, S, f)
        z = scale_gradient(z, 1.0 / len(self.decoder))
        m = keep.sum(dim=1).to(e.dtype)
        return ConvS2SMemory(keep, keys=z, values=(z + e).to(dtype), scale=m.sqrt()[:, None, None])

    def start(self, memory: Memory, beam: int, max_len: int) -> ConvS2SState:
        """Position 0, and zeros before it."""
        keys = cast(ConvS2SMemory, memory).keys
        rows = keys.shape[0] * beam
        windows = tuple(cast(DecoderBlock, block).nothing_before(rows, keys) for block in self.decoder)
        return ConvS2SState(windows, torch.zeros(rows, dtype=torch.int64, device=keys.device))

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        """One target position: each convolution sees the k - 1 inputs before it, which the state keeps."""
        memory, state = cast(ConvS2SMemory, memory), cast(ConvS2SState, state)
        dtype = self.compute_dtype
        g = self._embed(self.tgt_embed, self.tgt_positions, prev, state.position)  # (R, f)
        h = self.decoder_in(g.to(dtype)).to(g.dtype)
        windows, weights = [], []
        for block, window in zip(self.decoder, state.windows, strict=True):
            h, after, a = cast(DecoderBlock, block).step(h, g, window, memory, dtype)
            windows.append(after)
            weights.append(a)
        state = ConvS2SState(tuple(windows), state.position + 1)
        return Step(self._features(h), state, torch.stack(weights, dim=1)[:, :, None] if want_weights else None)

    def forward(self, batch: Batch) -> Tensor:
        """Features (B, T, d_out) of all target positions at once."""
        dtype = self.compute_dtype
        memory = self.encode(batch.src, batch.src_keep)
        ids = batch.tgt_in
        g = self._embed(self.tgt_embed, self.tgt_positions, ids, torch.arange(ids.shape[1], device=ids.device))
        h = self.decoder_in(g.to(dtype)).to(g.dtype)
        for block in self.decoder:
            h = block(h, g, memory, dtype)
        return self._features(h)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Weight normalisation is done once instead of at every step."""
        layers = [module for module in self.modules() if isinstance(module, WeightNormLinear)]
        for layer in layers:
            layer.settle()
        try:
            yield
        finally:
            for layer in layers:
                layer.release()

    def _embed(self, table: nn.Embedding, learned: LearnedPositions, ids: Tensor, positions: Tensor) -> Tensor:
        """Word plus position, then dropout (3.1): ids (..., Q), positions (Q,) -> (..., Q, f) float32."""
        words = F.embedding(ids, table.weight)
        return dropout((words + learned(positions)).to(wide(self.compute_dtype)), self.dropout, self.training)

    def _features(self, h: Tensor) -> Tensor:
        """What the output layer takes: h (..., I) float32 -> (..., d_out), with dropout."""
        return dropout(self.decoder_out(h.to(self.compute_dtype)), self.dropout, self.training)

    def initialize(self) -> None:
        """Embeddings N(0, 0.1^2), weights N(0, 4p / n) before a gate, others N(0, p / n): p kept of n inputs (3.5)."""
        p = 1.0 - self.dropout
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding | LearnedPositions):
                nn.init.normal_(module.weight, 0.0, 0.1)
            elif isinstance(module, WeightNormLinear):
                gated = name.endswith("convolution.linear")
                variance = 4.0 * p if gated else p if name in ("encoder_in", "decoder_in", "projection") else 1.0
                module.initialize((variance / module.in_features) ** 0.5)
        nn.init.zeros_(self.projection.bias)
