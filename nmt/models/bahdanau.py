"""RNNsearch: Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR 2015.

arXiv 1409.0473v7. Section 3 gives the idea, appendix A the equations, B.1 the initialisation; the names below are the
paper's: m = d_embed, n = d_hidden, n' = d_align, l = d_maxout. The appendix leaves biases out "for readability" and B.1
sets them to zero, so they exist: one for each gate and candidate, for s_0, the alignment, the readout and the output.

Where others differ and this file does not: the query is s_{i-1}, not s_i; the reset gate acts before the recurrent
matrix; the context enters both gates; the readout sees s_{i-1}, y_{i-1} and c_i (A.2.2; equation 4 writes s_i, the
appendix and the authors' program s_{i-1}); s_0 comes from the backward state of the first word.

An index to know of: as A.2.2 prints it, s_{i-1} has read the words up to y_{i-2}, and y_{i-1} reaches the readout by
V_o alone. The authors' program counts its states one word later (its state before word i has read y_{i-1}). This file
follows the print.

Ours, not the paper's, and off by default: dropout, tied embeddings, `reset: after` (encoder and decoder as torch.nn.GRU
and cuDNN have the unit: the reset gate acts after the recurrent matrix, and on a bias of its own; ops/gru.py).
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.batch import Batch
from nmt.layers.recurrent import BidirectionalGRU, Reset
from nmt.models.contract import Memory, Seq2Seq, State, Step
from nmt.ops import additive_decoder
from nmt.ops.casts import as_type
from nmt.ops.dropout import dropout
from nmt.ops.gru import gru_step
from nmt.ops.linear import linear


@dataclass(frozen=True)
class BahdanauMemory(Memory):
    """keep (B, S); annotations h (B, S, 2H); keys U_a h + b_a (B, S, A); first_backward (B, H): <-h_1."""

    annotations: Tensor
    keys: Tensor
    first_backward: Tensor


@dataclass(frozen=True)
class BahdanauState(State):
    """s (R, H) float32."""

    s: Tensor


class Bahdanau(Seq2Seq):
    """The encoder-decoder with additive attention, its decoder as appendix A.2.2 has it."""

    operations = ("additive",)
    U_bias: nn.Parameter | None

    def __init__(
        self,
        n_src: int,
        n_tgt: int,
        d_embed: int,
        d_hidden: int,
        d_align: int,
        d_maxout: int,
        dropout: float = 0.0,
        tied_output: bool = False,
        tied_embeddings: bool = False,
        reset: Reset = "before",
    ) -> None:
        super().__init__()
        m, n, l = d_embed, d_hidden, d_maxout  # noqa: E741
        self.src_embed = nn.Embedding(n_src, m)  # E of A.2.1, shared by both directions
        self.tgt_embed = self.src_embed if tied_embeddings else nn.Embedding(n_tgt, m)  # E of A.2.2
        self.encoder = BidirectionalGRU(m, n, reset)
        self.W_s = nn.Linear(n, n)
        self.W_a = nn.Linear(n, d_align, bias=False)
        self.U_a = nn.Linear(2 * n, d_align)
        self.v_a = nn.Parameter(torch.empty(d_align))
        # Rows in the order update gate z, reset gate r, candidate.
        self.W = nn.Linear(m, 3 * n)
        self.U_zr = nn.Parameter(torch.empty(2 * n, n))
        self.U = nn.Parameter(torch.empty(n, n))
        self.U_bias = nn.Parameter(torch.empty(n)) if reset == "after" else None
        self.C = nn.Linear(2 * n, 3 * n, bias=False)
        self.U_o = nn.Linear(n, 2 * l)
        self.V_o = nn.Linear(m, 2 * l, bias=False)
        self.C_o = nn.Linear(2 * n, 2 * l, bias=False)
        self.projection = nn.Linear(l, n_tgt)  # W_o
        if tied_output:
            self.projection.weight = self.tgt_embed.weight
        self.dropout = dropout

    def encode(self, src: Tensor, keep: Tensor) -> BahdanauMemory:
        """Annotations of source ids (B, S), and what the alignment model computes once a sentence (A.2.1, A.1.2)."""
        x = dropout(self._embed(self.src_embed, src.T), self.dropout, self.training)  # (S, B, E)
        h = self.encoder(x, keep.T)  # (S, B, 2H)
        first_backward = h[0, :, h.shape[-1] // 2 :]
        annotations = dropout(h.transpose(0, 1), self.dropout, self.training).to(self.compute_dtype)  # (B, S, 2H)
        keys = linear(annotations, self.U_a.weight, self.U_a.bias)  # (B, S, A)
        return BahdanauMemory(keep=keep, annotations=annotations, keys=keys, first_backward=first_backward)

    def start(self, memory: Memory, beam: int, max_len: int) -> BahdanauState:
        """s_0 = tanh(W_s <-h_1), <-h_1 the backward state at the first word (A.2.2), once for each hypothesis."""
        memory = cast(BahdanauMemory, memory)
        s0 = torch.tanh(linear(memory.first_backward, self.W_s.weight, self.W_s.bias))
        return BahdanauState(s=s0.repeat_interleave(beam, dim=0))

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        """One target position as appendix A.2.2 writes it: c_i from s_{i-1}, the readout from s_{i-1}, then s_i."""
        memory, s = cast(BahdanauMemory, memory), cast(BahdanauState, state).s  # s_{i-1} (R, H)
        dtype = self.compute_dtype
        B, R = memory.keep.shape[0], s.shape[0]
        y = dropout(self._embed(self.tgt_embed, prev), self.dropout, self.training)  # E y_{i-1} (R, E)
        # e_ij = v_a . tanh(W_a s_{i-1} + U_a h_j); alpha_i = softmax(e_i); c_i = sum_j alpha_ij h_j. The hypotheses of
        # a sentence are queries against one set of keys.
        query = linear(s.to(dtype), self.W_a.weight).view(B, R // B, -1)
        c, weights = self.kernels.additive_attend(query, memory.keys, memory.annotations, self.v_a, memory.keep)
        c = c.view(R, -1)  # (R, 2H)
        features = self._readout(s.to(dtype), y, c)
        x = linear(y, self.W.weight, self.W.bias) + linear(c, self.C.weight)  # (R, 3H)
        s = gru_step(x, s, as_type(self.U_zr, dtype), as_type(self.U, dtype), self.U_bias)
        return Step(features, BahdanauState(s), weights.reshape(R, 1, 1, -1) if want_weights else None)

    def forward(self, batch: Batch) -> Tensor:
        """Features (B, T, l): the same as stepping, with all that does not depend on s_{i-1} outside of the loop."""
        dtype = self.compute_dtype
        memory = self.encode(batch.src, batch.src_keep)
        y = dropout(self._embed(self.tgt_embed, batch.tgt_in.T), self.dropout, self.training)  # (T, B, E)
        states, weights = additive_decoder.decode(
            x=linear(y, self.W.weight, self.W.bias),
            s0=self.start(memory, 1, 0).s,
            keys=memory.keys,
            values=linear(memory.annotations, self.C.weight),
            keep=memory.keep,
            W_a=self.W_a.weight.to(dtype),
            v=self.v_a.to(dtype),
            U_zr=self.U_zr.to(dtype),
            U=self.U.to(dtype),
            u_bias=self.U_bias,
            steps=self.kernels.additive_steps,
        )  # (T, B, H), (T, B, S)
        c = weights.transpose(0, 1).to(dtype) @ memory.annotations  # (B, T, 2H)
        return self._readout(states.transpose(0, 1).to(dtype), y.transpose(0, 1), c)

    def _embed(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        return F.embedding(ids, table.weight).to(self.compute_dtype)

    def _readout(self, s: Tensor, y: Tensor, c: Tensor) -> Tensor:
        """t_i = max over pairs of t~_i = U_o s_{i-1} + V_o E y_{i-1} + C_o c_i (A.2.2): (..., l)."""
        pairs = linear(s, self.U_o.weight, self.U_o.bias) + linear(y, self.V_o.weight) + linear(c, self.C_o.weight)
        return dropout(pairs.unflatten(-1, (-1, 2)).amax(dim=-1), self.dropout, self.training)

    def initialize(self) -> None:
        """Appendix B.1: recurrent matrices orthogonal, W_a, U_a N(0, 0.001^2), v_a, biases 0, the rest N(0, 0.01^2)."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name == "v_a" or name.endswith("bias"):
                    parameter.zero_()
                elif name.split(".")[-1] in ("U", "U_zr"):
                    for square in parameter.split(parameter.shape[1]):
                        nn.init.orthogonal_(square)
                else:
                    parameter.normal_(0.0, 0.001 if name in ("W_a.weight", "U_a.weight") else 0.01)
