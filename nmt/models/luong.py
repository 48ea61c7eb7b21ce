"""Luong, Pham, Manning, "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015.

arXiv 1508.04025v5, sections 3 and 4: stacked LSTMs, the decoder's top state h_t as the query, and then

    a_t by one of four scores (equations 8 and 9) and three reaches (sections 3.1 and 3.2; equation 10)
    c_t = sum_s a_t(s) h_s       h~_t = tanh(W_c [c_t; h_t])  (5)       p(y_t) = softmax(W_s h~_t)  (6)

with the context first in W_c and no bias in any matrix but those of the LSTMs. `input_feeding` puts h~_{t-1} beside the
word before as the lowest layer's input (section 3.3), zero at the first step. Without it, nothing of attention goes
into the recurrence. Attention looks at the encoder's top layer; layers/alignment.py has scores and reaches, and what
they do where the paper is silent.

`reverse_source` (section 4.1) lets the encoder read the words from the last to the first, </s> staying at the end; its
states are then put back in the order of the sentence, each beside its word. So a_t, the location score's vector, p_t
and its window always count positions in the sentence as it was written, from 1 to S, which counts </s>: local-m's
p_t = t and its "roughly monotonic" alignment mean what they say, reversed or not, and weights belong to the words they
stand at. The paper reverses and does not say which order its positions are in.

Where the paper is silent: the decoder starts from what the encoder's layers carry after the last word, layer by layer,
as in Sutskever et al. 2014, and from the start symbol; gates have a bias. Dropout falls as Zaremba et al. 2014 place it
(section 4.1 cites them): on embeddings and h~_{t-1} as they enter the lowest layer, between layers, and on h~_t before
the output; not on h_t or h_s as attention sees them. Ties, off by default, are not the paper's.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.batch import Batch
from nmt.layers.alignment import LuongAlignment, Reach, Score
from nmt.layers.input_feeding import decode_fed
from nmt.layers.recurrent import Carry, Stack
from nmt.models.contract import Memory, Seq2Seq, State, Step, map_tensors
from nmt.ops.dropout import dropout
from nmt.ops.linear import wide
from nmt.ops.luong import attentional
from nmt.ops.reversal import reversed_order


@dataclass(frozen=True)
class LuongMemory(Memory):
    """keep (B, S); annotations h_s (B, S, H) and keys (B, S, .), in the order of the sentence as it was written; last:
    (h, c), each (B, H) float32, of each encoder layer after the last word.
    """

    annotations: Tensor
    keys: Tensor
    last: tuple[Carry, ...]


@dataclass(frozen=True)
class LuongState(State):
    """carries: (h, c), each (R, H) float32, of each layer; fed: h~_{t-1} (R, H) float32; position (R,) int64: t - 1."""

    carries: tuple[Carry, ...]
    fed: Tensor
    position: Tensor


class Luong(Seq2Seq):
    """The encoder-decoder whose attention comes after the recurrence (figures 2, 3 and 4)."""

    def __init__(
        self,
        n_src: int,
        n_tgt: int,
        n_layers: int,
        d_embed: int,
        d_hidden: int,
        score: Score,
        reach: Reach,
        window: int = 10,
        d_align: int = 1000,
        max_source: int = 50,
        input_feeding: bool = True,
        reverse_source: bool = True,
        dropout: float = 0.0,
        tied_output: bool = False,
        tied_embeddings: bool = False,
    ) -> None:
        super().__init__()
        self.src_embed = nn.Embedding(n_src, d_embed)
        self.tgt_embed = self.src_embed if tied_embeddings else nn.Embedding(n_tgt, d_embed)
        self.encoder = Stack("lstm", d_embed, d_hidden, n_layers, dropout)
        self.decoder = Stack("lstm", d_embed + (d_hidden if input_feeding else 0), d_hidden, n_layers, dropout)
        self.alignment = LuongAlignment(score, reach, d_hidden, d_hidden, window, d_align, max_source)
        self.W_c = nn.Linear(2 * d_hidden, d_hidden, bias=False)
        self.projection = nn.Linear(d_hidden, n_tgt, bias=False)  # W_s
        if tied_output:
            self.projection.weight = self.tgt_embed.weight
        self.dropout = dropout
        self.input_feeding, self.reverse_source = input_feeding, reverse_source

    def encode(self, src: Tensor, keep: Tensor) -> LuongMemory:
        """The top layer's states at source ids (B, S), whatever the order they were read in, and every layer's last."""
        order = reversed_order(keep) if self.reverse_source else None
        read = src if order is None else src.gather(1, order)
        h, last = self.encoder.scan(self._embed(self.src_embed, read.T), keep.T)  # (S, B, H)
        annotations = h.transpose(0, 1).to(self.compute_dtype)
        if order is not None:
            annotations = annotations.gather(1, order[:, :, None].expand_as(annotations))
        return LuongMemory(keep, annotations, self.alignment.keys(annotations), last)

    def start(self, memory: Memory, beam: int, max_len: int) -> LuongState:
        """The decoder goes on from the encoder's states; h~_0 = 0."""
        memory = cast(LuongMemory, memory)
        R, H, device = memory.keep.shape[0] * beam, self.W_c.out_features, memory.keep.device
        return LuongState(
            carries=map_tensors(memory.last, lambda carried: carried.repeat_interleave(beam, dim=0)),
            fed=torch.zeros((R, H), dtype=wide(self.compute_dtype), device=device),
            position=torch.zeros(R, dtype=torch.int64, device=device),
        )

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        """One target position: h_t of [E y_{t-1}; h~_{t-1}], then a_t, c_t and h~_t (sections 3 and 3.3)."""
        memory, state = cast(LuongMemory, memory), cast(LuongState, state)
        R, B = prev.shape[0], memory.keep.shape[0]
        x = self._embed(self.tgt_embed, prev)
        if self.input_feeding:
            x = torch.cat([x, dropout(state.fed, self.dropout, self.training).to(x.dtype)], dim=-1)
        carries = self.decoder.step(x, state.carries)
        h, position = carries[-1][0].to(x.dtype), state.position + 1
        # The hypotheses of a sentence are queries against one set of annotations.
        c, a = self.alignment.attend(
            h.view(B, R // B, -1), position.view(B, -1), memory.keys, memory.annotations, memory.keep
        )
        attended = attentional(c.view(R, -1), h, self.W_c.weight)  # h~_t (R, H)
        return Step(
            features=self._out(attended),
            state=LuongState(carries, attended, position),
            weights=a.reshape(R, 1, 1, -1) if want_weights else None,
        )

    def forward(self, batch: Batch) -> Tensor:
        """Features (B, T, H): the same as stepping. Without input feeding each layer, and then attention, goes over all
        target positions at once; with it the loop is in ops/luong_decoder.py.
        """
        memory = self.encode(batch.src, batch.src_keep)
        y = self._embed(self.tgt_embed, batch.tgt_in.T)  # (T, B, E)
        if self.input_feeding:
            attended = decode_fed(
                self.decoder, self.alignment, self.W_c, y, memory.last, memory.keys, memory.annotations, memory.keep
            )
            return self._out(attended.transpose(0, 1))
        states, _ = self.decoder.scan(y, start=memory.last)
        h = states.transpose(0, 1).to(y.dtype)  # (B, T, H)
        position = torch.arange(1, h.shape[1] + 1, device=h.device).expand(h.shape[:2])
        c, _ = self.alignment.attend(h, position, memory.keys, memory.annotations, memory.keep)
        return self._out(attentional(c, h, self.W_c.weight))

    def _embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        return dropout(F.embedding(ids, table.weight).to(self.compute_dtype), self.dropout, self.training)

    def _out(self, attended: Tensor) -> Tensor:
        return dropout(attended, self.dropout, self.training).to(self.compute_dtype)

    def initialize(self) -> None:
        """Section 4.1: every parameter uniform in [-0.1, 0.1]."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.1, 0.1)
