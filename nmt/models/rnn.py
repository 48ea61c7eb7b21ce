"""The recurrent encoder-decoder with attention to choose, for comparing one choice with all others held equal.

The papers' own models are kinds of their own. This one takes from each what can be exchanged for the other: the cell,
whether and how the decoder attends, the number of layers. h_s, s_t and h~_t are all d_hidden wide.

    encoder     n_layers; the lowest reads both ways with d_hidden / 2 units each, those above from left to right; h_s
                is the top layer's state at source word s
    decoder     n_layers; each starts from what the encoder's layer of the same height carries at its end (of the lowest
                both directions' last states side by side)
    recurrence  s_t = the top state of the layers after [e(y_{t-1}); f_t], f_t being what is fed of the source
    readout     h~_t = tanh(W_c [c_t; s_t]) (Luong et al. 2015, equation 5, no bias);  p(y_t) = softmax(W_o h~_t + b_o)

`attention` says where c_t and f_t come from, and nothing else changes:

    none        c_t = c, the encoder's top state at its end, at every step; f_t = c (Cho et al. 2014)
    bahdanau    c_t = sum_s alpha_ts h_s, scored by v_a . tanh(W_a s_{t-1} + U_a h_s + b_a): the state BEFORE asks, so
                that the context can enter the recurrence; f_t = c_t (Bahdanau et al. 2015, A.1.2 and A.2.2)
    luong       c_t = sum_s a_t(s) h_s by `score` and `reach` (layers/alignment.py): the CURRENT state s_t asks, so the
                recurrence gets what the step before made of the source, f_t = h~_{t-1}, h~_0 = 0 (input feeding,
                section 3.3). Without `input_feeding` there is no f_t, nor the part of the matrix for it.

So the three have the same parameters but for those of the alignment, and the same operations but for attention's.
Nothing of it is one paper's model: Bahdanau's readout is a maxout of s_{t-1}, Luong's encoder reads one way, Cho's c is
tanh(V h). Dropout falls as in Zaremba et al. 2014: on what enters each layer from below (words and f_t in the lowest),
and on h~_t before the output; never from step to step. The first weights are uniform in [-0.1, 0.1] (Luong et al.
2015).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.batch import Batch
from nmt.layers.alignment import AdditiveAlignment, LuongAlignment, Reach, Score
from nmt.layers.input_feeding import decode_fed
from nmt.layers.recurrent import BidirectionalStack, Carry, Stack
from nmt.models.contract import Memory, Seq2Seq, State, Step, map_tensors
from nmt.ops.dropout import dropout
from nmt.ops.linear import wide
from nmt.ops.luong import attentional

Attention = Literal["none", "bahdanau", "luong"]


@dataclass(frozen=True)
class RNNMemory(Memory):
    """keep (B, S); last: what each encoder layer carries at its end, each (B, H) float32."""

    last: tuple[Carry, ...]


@dataclass(frozen=True)
class AttendedMemory(RNNMemory):
    """And annotations h (B, S, H), and what the alignment makes of them, keys (B, S, A)."""

    annotations: Tensor
    keys: Tensor


@dataclass(frozen=True)
class RNNState(State):
    """carries of each layer, each (R, H) float32; fed: h~_{t-1} (R, H), None unless it is fed; position (R,): t - 1."""

    carries: tuple[Carry, ...]
    fed: Tensor | None
    position: Tensor


Advance = Callable[[Tensor | None, tuple[Carry, ...]], tuple[Carry, ...]]
"""Takes the decoder's layers one position on: from f_t (R, H) or None, and what they carry, to what they carry then."""


class RNN(Seq2Seq):
    """Encoder, decoder, and between them no attention, Bahdanau's or Luong's."""

    alignment: AdditiveAlignment | LuongAlignment
    """Missing without attention."""

    def __init__(
        self,
        n_src: int,
        n_tgt: int,
        cell: Literal["gru", "lstm"],
        attention: Attention,
        n_layers: int,
        d_embed: int,
        d_hidden: int,
        d_align: int,
        score: Score = "general",
        reach: Reach = "global",
        window: int = 10,
        max_source: int = 50,
        input_feeding: bool = True,
        dropout: float = 0.0,
        tied_output: bool = False,
        tied_embeddings: bool = False,
    ) -> None:
        super().__init__()
        E, H = d_embed, d_hidden
        self.cell = cell
        self.attention, self.input_feeding = attention, attention == "luong" and input_feeding
        self.src_embed = nn.Embedding(n_src, E)
        self.tgt_embed = self.src_embed if tied_embeddings else nn.Embedding(n_tgt, E)
        self.encoder = BidirectionalStack(cell, E, H, n_layers, dropout)
        nothing_fed = attention == "luong" and not input_feeding
        self.decoder = Stack(cell, E if nothing_fed else E + H, H, n_layers, dropout)
        if attention == "bahdanau":
            self.alignment = AdditiveAlignment(H, H, d_align)
        elif attention == "luong":
            self.alignment = LuongAlignment(score, reach, H, H, window, d_align, max_source)
        self.W_c = nn.Linear(2 * H, H, bias=False)
        self.projection = nn.Linear(H, n_tgt)  # W_o
        if tied_output:
            self.projection.weight = self.tgt_embed.weight
        self.dropout = dropout

    def encode(self, src: Tensor, keep: Tensor) -> RNNMemory:
        """Annotations of source ids (B, S), the alignment's keys, and what each layer carries at its end."""
        h, last = self.encoder.scan(
            dropout(self._embed(self.src_embed, src.T), self.dropout, self.training), keep.T
        )  # (S, B, H)
        if self.attention == "none":
            return RNNMemory(keep=keep, last=last)
        annotations = h.transpose(0, 1).to(self.compute_dtype)
        return AttendedMemory(keep=keep, last=last, annotations=annotations, keys=self.alignment.keys(annotations))

    def start(self, memory: Memory, beam: int, max_len: int) -> RNNState:
        """The decoder's layers go on from the encoder's, once for each hypothesis."""
        memory = cast(RNNMemory, memory)
        R, device = memory.keep.shape[0] * beam, memory.keep.device
        H, state = self.W_c.out_features, wide(self.compute_dtype)
        return RNNState(
            carries=map_tensors(memory.last, lambda carried: carried.repeat_interleave(beam, dim=0)),
            fed=torch.zeros((R, H), dtype=state, device=device) if self.input_feeding else None,
            position=torch.zeros(R, dtype=torch.int64, device=device),
        )

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        """One target position: the layers read [e(y_{t-1}); f_t], all else is in `_position`."""
        y = dropout(self._embed(self.tgt_embed, prev), self.dropout, self.training)  # (R, E)

        def advance(fed: Tensor | None, carries: tuple[Carry, ...]) -> tuple[Carry, ...]:
            return self.decoder.step(y if fed is None else torch.cat([y, fed], dim=-1), carries)

        attended, after, a = self._position(advance, cast(RNNMemory, memory), cast(RNNState, state))
        return Step(self._out(attended), after, a if want_weights else None)

    def _position(self, advance: Advance, memory: RNNMemory, state: RNNState) -> tuple[Tensor, RNNState, Tensor | None]:
        """h~_t (R, H) float32, the state after it, attention's weights (R, 1, 1, S): in turn f_t, s_t, c_t, h~_t."""
        c, a = None, None
        if self.attention == "none":
            c = self._summary(memory, len(state.position))
        elif self.attention == "bahdanau":
            c, a = self._attend(state.carries[-1][0], state.position, memory)
        fed = state.fed if c is None else c
        carries = advance(
            None if fed is None else dropout(fed, self.dropout, self.training).to(self.compute_dtype), state.carries
        )
        s = carries[-1][0]
        if c is None:
            c, a = self._attend(s, state.position, memory)
        attended = attentional(c, s, self.W_c.weight)
        return attended, RNNState(carries, attended if self.input_feeding else None, state.position + 1), a

    def _summary(self, memory: RNNMemory, rows: int) -> Tensor:
        """c (rows, H), once for each hypothesis of a sentence."""
        c = memory.last[-1][0].to(self.compute_dtype)
        return c.repeat_interleave(rows // len(c), dim=0)

    def _attend(self, query: Tensor, position: Tensor, memory: RNNMemory) -> tuple[Tensor, Tensor]:
        """c_t (R, H) and its weights (R, 1, 1, S), one query a hypothesis (R, H) against one memory a sentence."""
        memory, (R, H), B = cast(AttendedMemory, memory), query.shape, memory.keep.shape[0]
        query, position = query.to(self.compute_dtype).view(B, R // B, H), position.view(B, -1) + 1
        c, a = self.alignment.attend(query, position, memory.keys, memory.annotations, memory.keep)
        return c.reshape(R, H), a.reshape(R, 1, 1, -1)

    def forward(self, batch: Batch) -> Tensor:
        """Features (B, T, H): the same as stepping. Where nothing that attention finds enters the recurrence, each
        layer goes over all target positions at once, and then attention; else what must is in a loop over positions.
        """
        memory = self.encode(batch.src, batch.src_keep)
        y = dropout(self._embed(self.tgt_embed, batch.tgt_in.T), self.dropout, self.training)  # (T, B, E)
        if self.attention == "none":
            attended = self._without_attention(y, memory)
        elif self.attention == "luong" and not self.input_feeding:
            attended = self._attention_last(y, cast(AttendedMemory, memory))
        elif self.attention == "luong" and self.cell == "lstm":
            attended = self._luongs_loop(y, cast(AttendedMemory, memory))
        else:
            attended = self._loop(y, memory)
        return self._out(attended.transpose(0, 1))

    # From words y (T, B, E) to h~ (T, B, H), by where attention stands.

    def _without_attention(self, y: Tensor, memory: RNNMemory) -> Tensor:
        c = self._summary(memory, y.shape[1]).expand(len(y), -1, -1)
        s, _ = self.decoder.scan(torch.cat([y, dropout(c, self.dropout, self.training)], dim=-1), start=memory.last)
        return attentional(c, s, self.W_c.weight)

    def _attention_last(self, y: Tensor, memory: AttendedMemory) -> Tensor:
        states, _ = self.decoder.scan(y, start=memory.last)
        s = states.transpose(0, 1).to(y.dtype)  # (B, T, H)
        position = torch.arange(1, s.shape[1] + 1, device=s.device).expand(s.shape[:2])
        c, _ = self.alignment.attend(s, position, memory.keys, memory.annotations, memory.keep)
        return attentional(c, s, self.W_c.weight).transpose(0, 1)

    def _luongs_loop(self, y: Tensor, memory: AttendedMemory) -> Tensor:
        alignment, start = cast(LuongAlignment, self.alignment), memory.last
        return decode_fed(self.decoder, alignment, self.W_c, y, start, memory.keys, memory.annotations, memory.keep)

    def _loop(self, y: Tensor, memory: RNNMemory) -> Tensor:
        step, state, attended = self.decoder.fed_steps(y), self.start(memory, 1, 0), list[Tensor]()
        for t in range(len(y)):
            one, state, _ = self._position(partial(step, t), memory, state)
            attended.append(one)
        return torch.stack(attended)

    def _embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        return F.embedding(ids, table.weight).to(self.compute_dtype)

    def _out(self, attended: Tensor) -> Tensor:
        return dropout(attended, self.dropout, self.training).to(self.compute_dtype)

    def initialize(self) -> None:
        """Every parameter uniform in [-0.1, 0.1], whatever the choices."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.1, 0.1)
