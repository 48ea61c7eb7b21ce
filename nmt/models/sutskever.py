"""Sutskever, Vinyals, Le, "Sequence to Sequence Learning with Neural Networks", NIPS 2014 (arXiv 1409.3215v3).

Two stacks of LSTMs without attention: the encoder reads the source, the decoder starts from what each of the encoder's
layers carries after the last word, h and c, layer by layer, and predicts one word after the other (section 2). The
defaults are section 3.4's: 4 layers of 1000 cells, 1000-dimensional embeddings, for the paper's 160,000 source and
80,000 target words 384 M parameters, all of them uniform in [-0.08, 0.08] at first.

`reverse_source` turns the words of a source sentence round, "a, b, c" to "c, b, a", and the target's never (section
3.3). The end of sentence stays last: the encoder reads "c, b, a, </s>", as the paper's figure 1 has </s> between source
and target, and its last state is always one after the same symbol. Nothing else of the model knows of the order.

Where the paper is silent: it takes "the LSTM formulation from Graves", which has peepholes, and shows no equation; ours
has none (ops/lstm.py). The decoder's first input is the start symbol, since </s> was the encoder's to read. Each gate
and the output have a bias. Dropout, which the paper does without, falls as Zaremba et al. 2014 place it, on what goes
from layer to layer, the embeddings and the features included. It and the ties, off by default, are not the paper's.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.batch import Batch
from nmt.layers.recurrent import Carry, Stack
from nmt.models.contract import Memory, Seq2Seq, State, Step, map_tensors
from nmt.ops.dropout import dropout
from nmt.ops.reversal import reversed_order


@dataclass(frozen=True)
class SutskeverMemory(Memory):
    """keep (B, S); last: (h, c), each (B, H) float32, of each encoder layer after the last word."""

    last: tuple[Carry, ...]


@dataclass(frozen=True)
class SutskeverState(State):
    """carries: (h, c), each (R, H) float32, of each layer."""

    carries: tuple[Carry, ...]


class Sutskever(Seq2Seq):
    """The encoder-decoder whose only link is the state between the two (figure 1)."""

    def __init__(
        self,
        n_src: int,
        n_tgt: int,
        n_layers: int,
        d_embed: int,
        d_hidden: int,
        reverse_source: bool = True,
        dropout: float = 0.0,
        tied_output: bool = False,
        tied_embeddings: bool = False,
    ) -> None:
        super().__init__()
        self.src_embed = nn.Embedding(n_src, d_embed)
        self.tgt_embed = self.src_embed if tied_embeddings else nn.Embedding(n_tgt, d_embed)
        self.encoder = Stack("lstm", d_embed, d_hidden, n_layers, dropout)
        self.decoder = Stack("lstm", d_embed, d_hidden, n_layers, dropout)
        self.projection = nn.Linear(d_hidden, n_tgt)
        if tied_output:
            self.projection.weight = self.tgt_embed.weight
        self.dropout = dropout
        self.reverse_source = reverse_source

    def encode(self, src: Tensor, keep: Tensor) -> SutskeverMemory:
        """What each layer carries after the last word of source ids (B, S)."""
        if self.reverse_source:
            src = src.gather(1, reversed_order(keep))
        _, last = self.encoder.scan(self._embed(self.src_embed, src.T), keep.T)
        return SutskeverMemory(keep, last)

    def start(self, memory: Memory, beam: int, max_len: int) -> SutskeverState:
        """The decoder goes on from the encoder's states."""
        last = cast(SutskeverMemory, memory).last
        return SutskeverState(map_tensors(last, lambda carried: carried.repeat_interleave(beam, dim=0)))

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        """One target position: the word before goes in below, the top layer's h comes out."""
        carries = self.decoder.step(self._embed(self.tgt_embed, prev), cast(SutskeverState, state).carries)
        return Step(self._out(carries[-1][0]), SutskeverState(carries), None)

    def forward(self, batch: Batch) -> Tensor:
        """Features (B, T, H): the same as stepping, each layer over all target positions before the next one."""
        memory = self.encode(batch.src, batch.src_keep)
        y = self._embed(self.tgt_embed, batch.tgt_in.T)  # (T, B, E)
        h, _ = self.decoder.scan(y, start=memory.last)
        return self._out(h.transpose(0, 1))

    def _embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        return dropout(F.embedding(ids, table.weight).to(self.compute_dtype), self.dropout, self.training)

    def _out(self, h: Tensor) -> Tensor:
        return dropout(h, self.dropout, self.training).to(self.compute_dtype)

    def initialize(self) -> None:
        """Section 3.4: every parameter uniform in [-0.08, 0.08]."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.08, 0.08)
