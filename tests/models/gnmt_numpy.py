"""A twin of the model `gnmt` in float64 NumPy, forward and backward, written from the paper alone.

Y. Wu et al., "Google's Neural Machine Translation System: Bridging the Gap between Human and Machine Translation",
2016, arXiv 1609.08144; section and equation numbers below are this paper's. Every matrix acts on a column vector. One
sentence pair at a time: no padding, no mask, no batch axis. The gradients come from the tape of tape_numpy.py.

    from tests.models.gnmt_numpy import Conventions, Sizes, backward, forward, random_parameters, shapes

    how, sizes = Conventions(attention_from="previous"), Sizes(n=5, m=4, layers=3, align=3, K_x=7, K_y=8)
    params = random_parameters(np.random.default_rng(1), shapes(sizes, how))
    result = forward(params, [4, 6, 3], [5, 3], bos=2, conventions=how)
    gradient = backward(result)         # by name: gradient["v_a"] is d loss / d v_a

Encoder (section 3.2): layer 1 reads the words forward and backward, layer 2 reads [forward; backward], each above reads
the one below. Residuals (Eq. 6, section 3.1) from the third layer: x^l = m^l + x^{l-1}, with m^l the LSTM's own
output, which alone recurs. Decoder: layer l reads [x^{l-1}; a_i], x^0 the embedded y_{i-1}; residuals from the third
layer likewise, of x^{l-1} without a_i. a_i = sum_j p_j x_j over the TOP encoder layer (Eq. 4), from one hidden layer:
p = softmax_j(v_a . tanh(W_q q + W_k x_j + b_a)), q an output of the BOTTOM decoder layer, which has no residual.

What the paper leaves open, and what is done here (`Conventions`):

- q at step i. The paper: "the decoder-RNN output from the past decoding time step" (Eq. 4), `attention_from` =
  "previous"; then all layers of step i hear the same a_i. "current": the bottom layer goes first, its new output asks,
  the layers above hear the answer a_i, and the bottom layer has heard a_{i-1} (tensorflow/nmt, gnmt_v2), or, with
  `bottom_fed` off, hears none (NVIDIA's GNMT).
- The first context. What step 1 hears from a step that was not: `first` = "attended", the attention of the bottom
  layer's initial h; or "zero", no attention and a zero vector (tensorflow/nmt). It matters to "previous", and to
  "current" where the bottom layer is fed.
- The decoder's initial states: `start` = "zero", since the paper shows attention as the only link between encoder and
  decoder (so NVIDIA's GNMT), or "handed", layer for layer, the bottom one from the backward direction's last state,
  which has read x_1 (tensorflow/nmt).
- The LSTM is that of lstm_numpy.py. The quantisation's clipping of section 6 is left out.
- The output is W_s x^L + b_s of the top decoder layer alone, without a_i.
- y_0 is a word like any other: the id `bos`.

The quotation is from memory. Read for what they do where the paper is silent: tensorflow/nmt, nmt/gnmt_model.py at
0dfb378; NVIDIA/DeepLearningExamples, PyTorch/Translation/GNMT/seq2seq/models/decoder.py at 072523d.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tests.models.lstm_numpy import LstmState, lstm_read, lstm_shapes, lstm_step, zero_state
from tests.models.tape_numpy import (
    Array,
    Node,
    as_nodes,
    check_ids,
    concatenate,
    gradients,
    negative_log_likelihood,
    random_parameters,
    softmax,
    stack,
    tanh,
)

__all__ = ["Conventions", "Result", "Sizes", "backward", "forward", "random_parameters", "shapes"]

RESIDUAL_FROM = 3


@dataclass(frozen=True)
class Sizes:
    """n hidden units, m embedding, `align` the attention's hidden layer; 2 or more layers on either side."""

    n: int
    m: int
    layers: int
    align: int
    K_x: int
    K_y: int


@dataclass(frozen=True)
class Conventions:
    """See the module. The defaults are the paper's where it speaks."""

    attention_from: Literal["previous", "current"] = "previous"
    bottom_fed: bool = True
    first: Literal["attended", "zero"] = "attended"
    start: Literal["zero", "handed"] = "zero"


@dataclass(frozen=True)
class Result:
    """What the forward pass computed for S source and T target words. Row i - 1 belongs to y_i."""

    encoded: Array  # (S, n) top encoder layer
    last_h: Array  # (layers, n) h of every encoder layer after its last word; of the bottom one, of the backward half
    last_c: Array  # (layers, n) c likewise
    p: Array  # (T, S) attention weights behind a; zeros where the first context is zero
    a: Array  # (T, n) contexts that the layers above the bottom heard
    fed: Array  # (T, n) contexts that the bottom layer heard, zeros if it is not fed
    x: Array  # (layers, T, n) decoder layers' outputs, residual and all, bottom first
    logits: Array  # (T, K_y)
    loss: float  # -sum_i log p(y_i), natural logarithm
    params: Mapping[str, Node]
    loss_node: Node


def shapes(sizes: Sizes, conventions: Conventions) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter; LSTM layers by lstm_numpy.lstm_shapes.

    E_x (m, K_x), E_y (m, K_y)
    enc_1_fwd_*, enc_1_bwd_*       read m
    enc_2_*                        reads 2n: columns [:n] of W meet the forward half; enc_3_* and above read n
    dec_1_*                        reads m + n, columns [:m] meet the word, [m:] the context; m alone if not fed
    dec_2_* and above              read 2n, columns [:n] meet the layer below, [n:] the context
    W_q (align, n), W_k (align, n), b_a (align,), v_a (align,)
    W_s (K_y, n), b_s (K_y,)
    """
    n, m = sizes.n, sizes.m
    if sizes.layers < 2:
        raise ValueError(f"{sizes.layers} layers: the layer above the bidirectional one makes its halves one")
    table: dict[str, tuple[int, ...]] = {"E_x": (m, sizes.K_x), "E_y": (m, sizes.K_y)}
    table |= lstm_shapes("enc_1_fwd", m, n) | lstm_shapes("enc_1_bwd", m, n) | lstm_shapes("enc_2", 2 * n, n)
    table |= lstm_shapes("dec_1", m + n if conventions.bottom_fed else m, n) | lstm_shapes("dec_2", 2 * n, n)
    for layer in range(3, sizes.layers + 1):
        table |= lstm_shapes(f"enc_{layer}", n, n) | lstm_shapes(f"dec_{layer}", 2 * n, n)
    table |= {"W_q": (sizes.align, n), "W_k": (sizes.align, n), "b_a": (sizes.align,), "v_a": (sizes.align,)}
    return table | {"W_s": (sizes.K_y, n), "b_s": (sizes.K_y,)}


def forward(
    params: Mapping[str, Array],
    src: Sequence[int],
    tgt: Sequence[int],
    *,
    bos: int,
    conventions: Conventions | None = None,
) -> Result:
    """Predict `tgt` (with its EOS if that is to be predicted) from `src` (with its EOS if any)."""
    how = conventions or Conventions()
    p = as_nodes(params)
    check_ids("src", src, p["E_x"].shape[1])
    check_ids("tgt", tgt, p["E_y"].shape[1])
    check_ids("bos", [bos], p["E_y"].shape[1])

    encoded, last = _encode(p, src)
    n = encoded.shape[1]
    states = list(last) if how.start == "handed" else [zero_state(n) for _ in last]
    look = _attend(p, states[0].h, encoded) if how.first == "attended" else _blind(len(src), n)
    rows: list[_Step] = []
    for i, y_previous in enumerate([bos, *tgt[:-1]]):
        if how.attention_from == "previous" and i > 0:
            look = _attend(p, states[0].h, encoded)
        fed = look.a if how.bottom_fed else Node(np.zeros(n))
        x = p["E_y"][:, y_previous]
        states[0] = lstm_step(p, "dec_1", concatenate([x, fed]) if how.bottom_fed else x, states[0])
        if how.attention_from == "current":
            look = _attend(p, states[0].h, encoded)

        outputs = [states[0].h]
        for layer in range(2, len(states) + 1):
            states[layer - 1] = lstm_step(p, f"dec_{layer}", concatenate([outputs[-1], look.a]), states[layer - 1])
            m = states[layer - 1].h
            outputs.append(m + outputs[-1] if layer >= RESIDUAL_FROM else m)
        rows.append(_Step(look, fed, outputs, p["W_s"] @ outputs[-1] + p["b_s"]))

    loss = negative_log_likelihood([row.logits for row in rows], tgt)
    return Result(
        encoded=encoded.value,
        last_h=np.array([state.h.value for state in last]),
        last_c=np.array([state.c.value for state in last]),
        p=np.array([row.look.p.value for row in rows]),
        a=np.array([row.look.a.value for row in rows]),
        fed=np.array([row.fed.value for row in rows]),
        x=np.array([[row.x[layer].value for row in rows] for layer in range(len(states))]),
        logits=np.array([row.logits.value for row in rows]),
        loss=float(loss.value),
        params=p,
        loss_node=loss,
    )


def backward(result: Result) -> dict[str, Array]:
    """The gradient of `result.loss` with respect to every parameter, by name."""
    return gradients(result.loss_node, result.params)


@dataclass(frozen=True)
class _Look:
    """Attention weights p (S,) and context a (n,)."""

    p: Node
    a: Node


@dataclass(frozen=True)
class _Step:
    """One decoder step: its look at the source, what the bottom layer was fed, every layer's output, the logits."""

    look: _Look
    fed: Node
    x: list[Node]
    logits: Node


def _encode(p: Mapping[str, Node], src: Sequence[int]) -> tuple[Node, list[LstmState]]:
    """The top layer's output as rows (S, n), and the last state of each layer, bottom first."""
    words = [p["E_x"][:, k] for k in src]
    start = zero_state(p["enc_1_fwd_b_i"].shape[0])
    fwd = lstm_read(p, "enc_1_fwd", words, start)
    bwd = lstm_read(p, "enc_1_bwd", words[::-1], start)
    last = [bwd[-1]]
    x = [concatenate([f.h, b.h]) for f, b in zip(fwd, bwd[::-1], strict=True)]
    layer = 2
    while f"enc_{layer}_b_i" in p:
        states = lstm_read(p, f"enc_{layer}", x, start)
        last.append(states[-1])
        below = x
        x = [state.h for state in states]
        if layer >= RESIDUAL_FROM:
            x = [m + under for m, under in zip(x, below, strict=True)]
        layer += 1
    return stack(x), last


def _attend(p: Mapping[str, Node], query: Node, encoded: Node) -> _Look:
    """Eq. (4)."""
    asked = p["W_q"] @ query + p["b_a"]
    scores = [p["v_a"] @ tanh(asked + p["W_k"] @ encoded[j]) for j in range(encoded.shape[0])]
    weights = softmax(stack(scores))
    return _Look(weights, weights @ encoded)


def _blind(S: int, n: int) -> _Look:
    return _Look(Node(np.zeros(S)), Node(np.zeros(n)))
