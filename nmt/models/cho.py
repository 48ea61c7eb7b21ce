"""RNN Encoder-Decoder: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
Translation", EMNLP 2014.

arXiv 1406.1078v3. Section 2.3 gives the hidden unit (equations 5 to 8), appendix A the rest: A.1 the encoder, A.1.1 the
decoder. The names are the paper's without the primes of the decoder; V' is `V_prime` and G `projection`.

    c = tanh(V h_S)       h_S: state of a forward GRU at the last word; h_0 = 0, the reset acts before U (equation 8)
    h'_0 = tanh(V' c)
    z', r' = sigmoid(W' e(y_{t-1}) + U' h'_{t-1} + C c), each with its own matrices
    h~' = tanh(W' e(y_{t-1}) + r' * (U' h'_{t-1} + C c))
    h'_t = z' * h'_{t-1} + (1 - z') * h~'
    s_t = max over pairs of O_h h'_t + O_y y_{t-1} + O_c c;  p(y_t) = softmax(G s_t)

What others do and this file does not: c is no mere first state, it enters every step and the readout; the readout sees
h'_t, not h'_{t-1}; e(y_0) is the zero vector, so the start symbol's embedding is never used.

The paper against itself: equation 8 and the encoder reset the state before the matrix, U (r * h); A.1.1 prints the
decoder's reset after it and around C c. `reset: after` is A.1.1; `reset: before` is equation 8 in the decoder too,
h~' = tanh(W' e + U' (r' * h') + C c), which is what the authors' program (GroundHog) and Bahdanau et al. 2015 compute.

Ours where the paper is silent or only hints: z is relabelled 1 - z, the same function (ops/gru.py). "We omit biases",
so there are some: one for each gate and candidate (outside of the reset), V, V', the readout and the output; they start
at 0. O_y y_{t-1} is O_y e(y_{t-1}). Embeddings are 100 wide in the paper (section 4.1.1), 620 by default here, as in
RNNencdec, the model that Bahdanau et al. 2015 compare with (its c is h_S itself). G is one matrix, not a product of two
of low rank. Dropout and ties, off by default, are not the paper's.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmt.batch import BOS, Batch
from nmt.layers.recurrent import GRU, Reset
from nmt.models.contract import Memory, Seq2Seq, State, Step
from nmt.ops.casts import as_type
from nmt.ops.dropout import dropout
from nmt.ops.gru import gru_scan, gru_step
from nmt.ops.linear import linear, wide


@dataclass(frozen=True)
class ChoMemory(Memory):
    """keep (B, S); c (B, H), the summary; its shares in each step, computed once: `into_state` (B, 3H), outside of the
    reset, `into_reset` (B, H), what the reset weighs (None where it acts before the matrix), `into_readout` (B, 2l).
    """

    c: Tensor
    into_state: Tensor
    into_reset: Tensor | None
    into_readout: Tensor


@dataclass(frozen=True)
class ChoState(State):
    """h' (R, H) float32."""

    h: Tensor


class Cho(Seq2Seq):
    """The encoder-decoder without attention: everything the decoder knows of the source is one vector c."""

    def __init__(
        self,
        n_src: int,
        n_tgt: int,
        d_embed: int,
        d_hidden: int,
        d_maxout: int,
        reset: Reset = "after",
        dropout: float = 0.0,
        tied_output: bool = False,
        tied_embeddings: bool = False,
    ) -> None:
        super().__init__()
        m, n, l = d_embed, d_hidden, d_maxout  # noqa: E741
        self.src_embed = nn.Embedding(n_src, m)
        self.tgt_embed = self.src_embed if tied_embeddings else nn.Embedding(n_tgt, m)
        self.encoder = GRU(m, n)
        self.V = nn.Linear(n, n)
        self.V_prime = nn.Linear(n, n)
        # Rows in the order update gate z, reset gate r, candidate.
        self.W = nn.Linear(m, 3 * n)
        self.U_zr = nn.Parameter(torch.empty(2 * n, n))
        self.U = nn.Parameter(torch.empty(n, n))
        self.C = nn.Linear(n, 3 * n, bias=False)
        self.O_h = nn.Linear(n, 2 * l)
        self.O_y = nn.Linear(m, 2 * l, bias=False)
        self.O_c = nn.Linear(n, 2 * l, bias=False)
        self.projection = nn.Linear(l, n_tgt)  # G
        if tied_output:
            self.projection.weight = self.tgt_embed.weight
        self.reset = reset
        self.dropout = dropout

    def encode(self, src: Tensor, keep: Tensor) -> ChoMemory:
        """The summary c of source ids (B, S), and all that is computed of it once a sentence (A.1)."""
        x = dropout(
            F.embedding(src.T, self.src_embed.weight).to(self.compute_dtype), self.dropout, self.training
        )  # (S, B, E)
        # Padding passes the state through, so the last row holds each sentence's state at its last word.
        c = dropout(self._tanh(self.V, self.encoder(x, keep.T)[-1]), self.dropout, self.training).to(x.dtype)  # (B, H)
        shares = linear(c, self.C.weight)  # (B, 3H)
        into_reset = None
        if self.reset == "after":
            H = c.shape[-1]
            into_reset = shares[:, 2 * H :]
            shares = F.pad(shares[:, : 2 * H], (0, H))
        into_readout = linear(c, self.O_c.weight)
        return ChoMemory(keep=keep, c=c, into_state=shares, into_reset=into_reset, into_readout=into_readout)

    def start(self, memory: Memory, beam: int, max_len: int) -> ChoState:
        """h'_0 = tanh(V' c) (A.1.1), once for each hypothesis."""
        return ChoState(h=self._tanh(self.V_prime, cast(ChoMemory, memory).c).repeat_interleave(beam, dim=0))

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        """One target position as A.1.1 has it: h'_t from y_{t-1}, h'_{t-1} and c, then the readout of h'_t."""
        memory, h = cast(ChoMemory, memory), cast(ChoState, state).h  # h'_{t-1} (R, H)
        K = h.shape[0] // memory.keep.shape[0]
        y = self._previous(prev)  # e(y_{t-1}) (R, E)
        x = linear(y, self.W.weight, self.W.bias) + memory.into_state.repeat_interleave(K, dim=0)  # (R, 3H)
        into_reset = None if memory.into_reset is None else memory.into_reset.repeat_interleave(K, dim=0)
        h = gru_step(x, h, as_type(self.U_zr, x.dtype), as_type(self.U, x.dtype), into_reset)
        features = self._readout(h, y, memory.into_readout.repeat_interleave(K, dim=0))
        return Step(features, ChoState(h), None)

    def forward(self, batch: Batch) -> Tensor:
        """Features (B, T, l): the same as stepping, in one scan over all target positions."""
        memory = self.encode(batch.src, batch.src_keep)
        y = self._previous(batch.tgt_in.T)  # (T, B, E)
        h = gru_scan(
            x=linear(y, self.W.weight, self.W.bias) + memory.into_state,
            U_zr=self.U_zr.to(y.dtype),
            U=self.U.to(y.dtype),
            start=self.start(memory, 1, 0).h,
            u_bias=memory.into_reset,
        )  # (T, B, H)
        return self._readout(h, y, memory.into_readout).transpose(0, 1)

    def _tanh(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """tanh(layer x) in float32, the product in the type of products."""
        y = linear(x.to(self.compute_dtype), layer.weight, layer.bias)
        return torch.tanh(y.to(wide(y.dtype)))

    def _previous(self, ids: Tensor) -> Tensor:
        """e(y_{t-1}): embeddings of ids, zero for the start symbol: (..., E)."""
        y = F.embedding(ids, self.tgt_embed.weight).to(self.compute_dtype)
        return dropout(y.masked_fill((ids == BOS)[..., None], 0.0), self.dropout, self.training)

    def _readout(self, h: Tensor, y: Tensor, from_c: Tensor) -> Tensor:
        """s_t = max over pairs of O_h h'_t + O_y e(y_{t-1}) + O_c c (A.1.1): (..., l)."""
        pairs = linear(h.to(y.dtype), self.O_h.weight, self.O_h.bias) + linear(y, self.O_y.weight) + from_c
        return dropout(pairs.unflatten(-1, (-1, 2)).amax(dim=-1), self.dropout, self.training)

    def initialize(self) -> None:
        """Section 4.1.1: recurrent matrices orthogonal (singular vectors of Gaussian ones), others N(0, 0.01^2)."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                elif name.split(".")[-1] in ("U", "U_zr"):
                    for square in parameter.split(parameter.shape[1]):
                        nn.init.orthogonal_(square)
                else:
                    parameter.normal_(0.0, 0.01)
