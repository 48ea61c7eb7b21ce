"""Wu et al. 2016, "Google's Neural Machine Translation System: Bridging the Gap between Human and Machine Translation".

arXiv 1609.08144v2, section 3 and figure 1: stacks of LSTMs joined by attention.

    encoder   the lowest layer runs in both directions (3.2), the rest left to right
    decoder   its lowest layer gets [y_{i-1}; c_i], every other [output of the layer below; c_i] (figure 1)
    residual  from the third layer up, on both sides, a layer's output is its h plus its input from the layer below
              (3.1, equations 6 and 7: added before the next layer), the top layer's too
    attention s_t = AttentionFunction(y_{i-1}, x_t), p_t = exp(s_t) / sum exp(s), c_i = sum_t p_t x_t  (equation 4), "a
              feed forward network with one hidden layer"; y_{i-1} is the lowest decoder layer's output of the step
              before, x_t the encoder's top layer

AttentionFunction is written as Bahdanau et al. 2015 have it, the additive one: v . tanh(W_a y_{i-1} + U_a x_t + b_a).
One context goes to all decoder layers. `attention_from: current` is the form of the authors' later tutorial program
(tensorflow/nmt, `gnmt_v2`): above the lowest layer the context is that of its output of this step; the lowest gets that
of the step before either way, so that it alone is a loop over target positions and every other layer is a scan.

Where the paper is silent: the decoder starts from zeros, figure 1 showing no way from encoder to decoder but attention;
with them the first context is that of a query of zero. The hidden layer of the attention is as wide as the model. Each
direction of the lowest encoder layer has d_model cells, so the layer above reads 2 d_model. Gates, the attention's
hidden layer and the output have a bias. Dropout, as Zaremba et al. 2014 place it (section 5 names "dropout" alone), is
on what goes into each layer from the one below, not on the residual beside it, on the embeddings, on x_t as attention
sees it, and before the output. The source is not turned round. Ties, off by default, are not the paper's. Section 7's
length normalisation and coverage penalty belong to search: search/penalty.py.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.batch import Batch
from nmt.layers.recurrent import LSTM, BidirectionalLSTM, Carry
from nmt.models.contract import Memory, Seq2Seq, State, Step
from nmt.ops import additive_lstm_decoder
from nmt.ops.dropout import dropout
from nmt.ops.linear import linear, wide


@dataclass(frozen=True)
class GNMTMemory(Memory):
    """keep (B, S); annotations x_t (B, S, D) of the encoder's top layer; keys U_a x_t + b_a (B, S, A)."""

    annotations: Tensor
    keys: Tensor


@dataclass(frozen=True)
class GNMTState(State):
    """carries: (h, c), each (R, D) float32, of each layer; context (R, D) and weights (R, S): what the lowest layer's
    output of the step before looks at.
    """

    carries: tuple[Carry, ...]
    context: Tensor
    weights: Tensor


class GNMT(Seq2Seq):
    """The encoder-decoder of figure 1."""

    operations = ("additive",)

    def __init__(
        self,
        n_src: int,
        n_tgt: int,
        n_layers: int,
        d_model: int,
        d_align: int,
        attention_from: Literal["previous", "current"] = "previous",
        dropout: float = 0.0,
        tied_output: bool = False,
        tied_embeddings: bool = False,
    ) -> None:
        super().__init__()
        D = d_model
        self.src_embed = nn.Embedding(n_src, D)
        self.tgt_embed = self.src_embed if tied_embeddings else nn.Embedding(n_tgt, D)
        self.bottom = BidirectionalLSTM(D, D)
        self.encoder = nn.ModuleList(LSTM(2 * D if i == 1 else D, D) for i in range(1, n_layers))
        d_memory = 2 * D if n_layers == 1 else D
        self.decoder = nn.ModuleList(LSTM(D + d_memory, D) for _ in range(n_layers))
        self.W_a = nn.Linear(D, d_align, bias=False)
        self.U_a = nn.Linear(d_memory, d_align)
        self.v_a = nn.Parameter(torch.empty(d_align))
        self.projection = nn.Linear(D, n_tgt)
        if tied_output:
            self.projection.weight = self.tgt_embed.weight
        self.dropout = dropout
        self.attention_from = attention_from

    def encode(self, src: Tensor, keep: Tensor) -> GNMTMemory:
        """x_t of source ids (B, S), and what the attention needs of them once a sentence (section 3.2, figure 3)."""
        x = self.bottom(self._embed(self.src_embed, src.T), keep.T)  # (S, B, 2D)
        for i, layer in enumerate(self.encoder, start=1):
            h = cast(LSTM, layer)(self._into(x), keep.T)  # (S, B, D)
            x = h + x if i >= 2 else h
        annotations = self._into(x).transpose(0, 1)
        return GNMTMemory(keep, annotations, linear(annotations, self.U_a.weight, self.U_a.bias))

    def start(self, memory: Memory, beam: int, max_len: int) -> GNMTState:
        """Nothing carried, and what a query of zero looks at."""
        memory = cast(GNMTMemory, memory)
        rows, D = memory.keep.shape[0] * beam, self.W_a.in_features
        nothing = torch.zeros((rows, D), dtype=wide(self.compute_dtype), device=memory.keep.device)
        return GNMTState(((nothing, nothing),) * len(self.decoder), *self._attend(nothing, memory))

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        """One target position: the lowest layer, what its output looks at, then the layers above (section 3)."""
        memory, state = cast(GNMTMemory, memory), cast(GNMTState, state)
        lowest, *uppers = (cast(LSTM, layer) for layer in self.decoder)
        y = self._embed(self.tgt_embed, prev)
        carries = [lowest.step(torch.cat([y, state.context], dim=-1), state.carries[0])]
        x = carries[0][0]
        context, weights = self._attend(x, memory)
        c, p = (state.context, state.weights) if self.attention_from == "previous" else (context, weights)
        for i, layer in enumerate(uppers, start=1):
            carries.append(layer.step(torch.cat([self._into(x), c], dim=-1), state.carries[i]))
            x = carries[i][0] + x if i >= 2 else carries[i][0]
        after = GNMTState(tuple(carries), context, weights)
        return Step(self._into(x), after, p[:, None, None] if want_weights else None)

    def forward(self, batch: Batch) -> Tensor:
        """Features (B, T, D): the same as stepping; a loop for the lowest layer and attention, scans above."""
        memory = self.encode(batch.src, batch.src_keep)
        lowest, *uppers = (cast(LSTM, layer) for layer in self.decoder)
        y = self._embed(self.tgt_embed, batch.tgt_in.T)  # (T, B, D)
        dtype, (T, B, D) = y.dtype, y.shape
        nothing = torch.zeros((B, D), dtype=wide(dtype), device=y.device)
        x, weights = additive_lstm_decoder.decode(
            x=linear(y, lowest.W.weight[:, :D], lowest.W.bias),
            h0=nothing,
            c0=nothing,
            keys=memory.keys,
            values=linear(memory.annotations, lowest.W.weight[:, D:]),
            keep=memory.keep,
            W_a=self.W_a.weight.to(dtype),
            v=self.v_a.to(dtype),
            U=lowest.U.to(dtype),
            steps=self.kernels.additive_steps,
        )  # (T, B, D), (T + 1, B, S)
        if uppers:
            p = weights[:T] if self.attention_from == "previous" else weights[1:]
            c = (p.transpose(0, 1).to(dtype) @ memory.annotations).transpose(0, 1)  # (T, B, D)
            for i, layer in enumerate(uppers, start=1):
                h, _ = layer.scan(torch.cat([self._into(x), c], dim=-1))
                x = h + x if i >= 2 else h
        return self._into(x).transpose(0, 1)

    def _attend(self, h: Tensor, memory: GNMTMemory) -> tuple[Tensor, Tensor]:
        """Context (R, D) and weights (R, S) of queries h (R, D): equation 4."""
        R, B = h.shape[0], memory.keep.shape[0]
        query = linear(h.to(self.compute_dtype), self.W_a.weight).view(B, R // B, -1)
        context, weights = self.kernels.additive_attend(query, memory.keys, memory.annotations, self.v_a, memory.keep)
        return context.reshape(R, -1), weights.reshape(R, -1)

    def _embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        return self._into(F.embedding(ids, table.weight))

    def _into(self, x: Tensor) -> Tensor:
        """x as the next layer reads it."""
        return dropout(x, self.dropout, self.training).to(self.compute_dtype)

    def initialize(self) -> None:
        """Section 5: every parameter uniform in [-0.04, 0.04]."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.04, 0.04)
