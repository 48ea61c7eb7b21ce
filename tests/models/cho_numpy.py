"""A twin of the model `cho` in float64 NumPy, forward and backward, written from the paper alone.

K. Cho, B. van Merrienboer, C. Gulcehre, D. Bahdanau, F. Bougares, H. Schwenk, Y. Bengio, "Learning Phrase
Representations using RNN Encoder-Decoder for Statistical Machine Translation", EMNLP 2014, arXiv 1406.1078; section and
equation numbers below are this paper's. The names are the paper's too, a prime written as `_d` (of the decoder), and
every matrix acts on a column vector. One sentence pair at a time: no padding, no mask, no batch axis. The gradients
come from the tape of tape_numpy.py.

    from tests.models.cho_numpy import Sizes, backward, forward, random_parameters, shapes

    params = random_parameters(np.random.default_rng(1), shapes(Sizes(n=5, m=4, maxout=3, K_x=7, K_y=8)))
    result = forward(params, src=[4, 6, 3], tgt=[5, 3], bos=2)
    gradient = backward(result)         # by name: gradient["U"] is d loss / d U

Encoder (A.1.1), h_0 = 0; e(x) a column of E_x:
    z = sigma(W_z e(x_t) + U_z h_{t-1})                     r = sigma(W_r e(x_t) + U_r h_{t-1})
    h~ = tanh(W e(x_t) + U (r * h_{t-1}))                   h_t = z * h_{t-1} + (1 - z) * h~
    c = tanh(V h_S)
Decoder (A.1.2), h'_0 = tanh(V' c); e(y) a column of E_y:
    z' = sigma(W'_z e(y_{t-1}) + U'_z h'_{t-1} + C_z c)     r' = sigma(W'_r e(y_{t-1}) + U'_r h'_{t-1} + C_r c)
    h~' = tanh(W' e(y_{t-1}) + U' (r' * h'_{t-1}) + C c)    h'_t = z' * h'_{t-1} + (1 - z') * h~'
    s'_t = O_h h'_t + O_y e(y_{t-1}) + O_c c                s_t = the larger of each pair of rows of s'_t
    p(y_t) = softmax(G s_t)

What the paper leaves open or prints otherwise, and what is done here:

- z weighs the OLD state, Eq. (7). Bahdanau et al. (2015) write it the other way round: a model by their equation is
  this one with W_z, U_z, C_z and b_z negated, in encoder and decoder.
- The candidate of the decoder. The appendix, as remembered, prints tanh(W' e + r' * [U' h' + C c]): the reset gate
  after the matrix, and on the summary too. The encoder's has it before the matrix, as has the authors' later paper,
  and as above. `reset` is "before" or "appendix".
- y_0. The appendix has e(y_0) = 0: `bos` = None. An id instead is a word like any other, a column of E_y.
- O_y acts on the embedding e(y_{t-1}). The paper prints O_y y_{t-1}, which may have meant the one-hot vector.
- Unlike Bahdanau et al., the output at step t is made of the NEW state, h'_t, which has read y_{t-1}.
- Biases are left out in the paper "to make the equations uncluttered". There is one for each gate and candidate, inside
  the tanh of c and of h'_0, on s' and on the logits.
- G may be given whole or as the paper's two factors, G = G_l G_r.
- A tie within a maxout pair gives each of the two rows half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from tests.models.tape_numpy import (
    Array,
    Node,
    as_nodes,
    check_ids,
    gradients,
    maximum,
    negative_log_likelihood,
    random_parameters,
    sigmoid,
    stack,
    tanh,
)

__all__ = ["Result", "Sizes", "backward", "forward", "random_parameters", "shapes"]

Reset = Literal["before", "appendix"]


@dataclass(frozen=True)
class Sizes:
    """n hidden units, m embedding, `maxout` units after the maxout; `rank` of G, None for a whole G."""

    n: int
    m: int
    maxout: int
    K_x: int
    K_y: int
    rank: int | None = None


@dataclass(frozen=True)
class Result:
    """What the forward pass computed for S source and T target words. Row t - 1 belongs to x_t and y_t."""

    h: Array  # (S, n) encoder states
    z: Array  # (S, n) its update gates
    r: Array  # (S, n) its reset gates
    c: Array  # (n,) the summary
    h_d: Array  # (T + 1, n) decoder states, h'_0 first
    z_d: Array  # (T, n)
    r_d: Array  # (T, n)
    s_prime: Array  # (T, 2 maxout)
    s: Array  # (T, maxout)
    logits: Array  # (T, K_y)
    loss: float  # -sum_t log p(y_t), natural logarithm
    params: Mapping[str, Node]
    loss_node: Node


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter.

    E_x (m, K_x), E_y (m, K_y)
    W, W_z, W_r (n, m); U, U_z, U_r (n, n); b, b_z, b_r (n,)            encoder
    V (n, n), b_V (n,)                                                  c = tanh(V h_S + b_V)
    V_d (n, n), b_V_d (n,)                                              h'_0 = tanh(V' c + b_V')
    W_d, W_d_z, W_d_r (n, m); U_d, U_d_z, U_d_r (n, n); C, C_z, C_r (n, n); b_d, b_d_z, b_d_r (n,)      decoder
    O_h (2 maxout, n), O_y (2 maxout, m), O_c (2 maxout, n), b_s (2 maxout,)    rows 2i and 2i + 1, from 0, are a pair
    G (K_y, maxout), or G_l (K_y, rank) and G_r (rank, maxout); b_y (K_y,)
    """
    n, m, l2 = sizes.n, sizes.m, 2 * sizes.maxout
    table: dict[str, tuple[int, ...]] = {"E_x": (m, sizes.K_x), "E_y": (m, sizes.K_y)}
    for gate in ("", "_z", "_r"):
        table |= {f"W{gate}": (n, m), f"U{gate}": (n, n), f"b{gate}": (n,)}
        table |= {f"W_d{gate}": (n, m), f"U_d{gate}": (n, n), f"C{gate}": (n, n), f"b_d{gate}": (n,)}
    table |= {"V": (n, n), "b_V": (n,), "V_d": (n, n), "b_V_d": (n,)}
    table |= {"O_h": (l2, n), "O_y": (l2, m), "O_c": (l2, n), "b_s": (l2,)}
    if sizes.rank is None:
        table["G"] = (sizes.K_y, sizes.maxout)
    else:
        table |= {"G_l": (sizes.K_y, sizes.rank), "G_r": (sizes.rank, sizes.maxout)}
    return table | {"b_y": (sizes.K_y,)}


def forward(
    params: Mapping[str, Array], src: Sequence[int], tgt: Sequence[int], *, bos: int | None, reset: Reset = "before"
) -> Result:
    """Predict `tgt` (with its EOS if that is to be predicted) from `src` (with its EOS if any)."""
    p = as_nodes(params)
    check_ids("src", src, p["E_x"].shape[1])
    check_ids("tgt", tgt, p["E_y"].shape[1])
    if bos is not None:
        check_ids("bos", [bos], p["E_y"].shape[1])

    # A.1.1
    h = Node(np.zeros(p["b"].shape))
    encoder: list[_Unit] = []
    for word in src:
        encoder.append(_encoder_step(p, p["E_x"][:, word], h))
        h = encoder[-1].h
    c = tanh(p["V"] @ h + p["b_V"])

    # A.1.2
    h_0 = tanh(p["V_d"] @ c + p["b_V_d"])
    h = h_0
    decoder: list[_Unit] = []
    primes: list[Node] = []
    outs: list[Node] = []
    logits: list[Node] = []
    for word in [bos, *tgt[:-1]]:
        e = Node(np.zeros(p["E_y"].shape[0])) if word is None else p["E_y"][:, word]
        decoder.append(_decoder_step(p, e, h, c, reset))
        h = decoder[-1].h
        primes.append(p["O_h"] @ h + p["O_y"] @ e + p["O_c"] @ c + p["b_s"])
        outs.append(maximum(primes[-1][0::2], primes[-1][1::2]))
        scores = p["G"] @ outs[-1] if "G" in p else p["G_l"] @ (p["G_r"] @ outs[-1])
        logits.append(scores + p["b_y"])

    loss = negative_log_likelihood(logits, tgt)
    return Result(
        h=stack([unit.h for unit in encoder]).value,
        z=stack([unit.z for unit in encoder]).value,
        r=stack([unit.r for unit in encoder]).value,
        c=c.value,
        h_d=stack([h_0, *(unit.h for unit in decoder)]).value,
        z_d=stack([unit.z for unit in decoder]).value,
        r_d=stack([unit.r for unit in decoder]).value,
        s_prime=stack(primes).value,
        s=stack(outs).value,
        logits=stack(logits).value,
        loss=float(loss.value),
        params=p,
        loss_node=loss,
    )


def backward(result: Result) -> dict[str, Array]:
    """The gradient of `result.loss` with respect to every parameter, by name."""
    return gradients(result.loss_node, result.params)


class _Unit(NamedTuple):
    """One step of a gated unit, each (n,): update gate, reset gate, state."""

    z: Node
    r: Node
    h: Node


def _encoder_step(p: Mapping[str, Node], e: Node, h: Node) -> _Unit:
    z = sigmoid(p["W_z"] @ e + p["U_z"] @ h + p["b_z"])
    r = sigmoid(p["W_r"] @ e + p["U_r"] @ h + p["b_r"])
    candidate = tanh(p["W"] @ e + p["U"] @ (r * h) + p["b"])
    return _Unit(z, r, z * h + (1.0 - z) * candidate)


def _decoder_step(p: Mapping[str, Node], e: Node, h: Node, c: Node, reset: Reset) -> _Unit:
    z = sigmoid(p["W_d_z"] @ e + p["U_d_z"] @ h + p["C_z"] @ c + p["b_d_z"])
    r = sigmoid(p["W_d_r"] @ e + p["U_d_r"] @ h + p["C_r"] @ c + p["b_d_r"])
    past = p["U_d"] @ (r * h) + p["C"] @ c
    if reset == "appendix":
        past = r * (p["U_d"] @ h + p["C"] @ c)
    candidate = tanh(p["W_d"] @ e + past + p["b_d"])
    return _Unit(z, r, z * h + (1.0 - z) * candidate)
