"""A twin of the model `luong` in float64 NumPy, forward and backward, written from the paper alone.

M.-T. Luong, H. Pham, C. D. Manning, "Effective Approaches to Attention-based Neural Machine Translation", EMNLP 2015,
arXiv 1508.04025; section and equation numbers below are this paper's. The names are the paper's too, and every matrix
acts on a column vector. One sentence pair at a time: no padding, no mask, no batch axis. The gradients come from the
tape of tape_numpy.py.

    from tests.models.luong_numpy import Attention, Sizes, backward, forward, random_parameters

    sizes, attention = Sizes(n=5, m=4, layers=2, K_x=7, K_y=8), Attention(score="general", reach="local_p", D=2)
    params = random_parameters(np.random.default_rng(1), shapes(sizes, attention))
    result = forward(params, [4, 6, 3], [5, 3], bos=2, attention=attention, reverse=words_reversed)
    gradient = backward(result)         # by name: gradient["W_a"] is d loss / d W_a

What the paper leaves open, and what is done here:

- The LSTM: that of lstm_numpy.py. Encoder layers start from zero; decoder layer l starts from the last h and c of
  encoder layer l, with no matrix between ("initialised with the last hidden state of the encoder", Fig. 2 and 4).
- h_t and h̄_s are the states of the TOP layers. The decoder's step t reads y_{t-1}; the query is the state h_t AFTER it.
- y_0 is a word like any other: the id `bos`, a column of E_y.
- Source ids are taken as given, EOS and all, and so is S = the number of annotations in Eq. (10). `reverse` is applied
  to the ids first. So annotation s and column s of the weights belong to the s-th word READ.
- Positions. The first target word is t = `first` and, unless `positions` says otherwise, the s-th annotation read has
  position first + s - 1. `first` is 1, as the paper counts its words; against p_t in [0, S] it makes a difference, and
  the paper says nothing more of it. `positions` may number the annotations in another order, such as that of the
  sentence before it was reversed.
- The window [p_t - D, p_t + D] has a real centre for local-p: it holds the integer positions with |s - p_t| <= D.
  sigma = D / 2. Nothing is renormalised after the Gaussian, so weights sum to less than 1.
- A window without a single word: a_t = 0 and c_t = 0.
- Location-based scores, Eq. (9): W_a has `width` rows, row k for position first + k; "for short sentences, we only use
  the top part of a_t and for long sentences, we ignore words near the end". Read to the letter, a_t is the softmax over
  all `width` rows and its top part sums to less than 1: `Attention.location` = "whole". "used" is the softmax over
  those rows only that have a word (within the window, if the reach is local). In both, words past the width weigh 0.
  The paper does not combine location with a window; here the window then selects positions, not offsets.
- Input feeding: the first decoder layer reads [E_y y_{t-1}; h~_{t-1}], the word first; h~_0 = 0.
- W_c, W_a, v_a, W_p and v_p have no bias, by the equations. b_s, on the logits, is used if it is there.
"""

from collections.abc import Callable, Mapping, Sequence
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
    exp,
    gradients,
    negative_log_likelihood,
    sigmoid,
    softmax,
    stack,
    tanh,
)

Score = Literal["dot", "general", "concat", "location"]
Reach = Literal["global", "local_m", "local_p"]


@dataclass(frozen=True)
class Attention:
    """Which of the paper's attentions; see the module for `location` and `first`."""

    score: Score = "general"
    reach: Reach = "global"
    D: float = 10
    input_feeding: bool = True
    location: Literal["whole", "used"] = "whole"
    first: int = 1


@dataclass(frozen=True)
class Sizes:
    """n hidden units, m embedding; `align` the height of concat's W_a, `width` that of location's."""

    n: int
    m: int
    layers: int
    K_x: int
    K_y: int
    align: int = 0
    width: int = 0
    output_bias: bool = False


@dataclass(frozen=True)
class Result:
    """What the forward pass computed for S source words as read and T target words. Row t - 1 belongs to y_t."""

    read: tuple[int, ...]  # the source ids in the order in which the encoder read them
    positions: Array  # (S,) the position of each
    h_bar: Array  # (S, n) annotations
    h: Array  # (T, n) queries
    p: Array  # (T,) centres p_t; NaN where the reach is global
    a: Array  # (T, S) alignment weights a_t
    c: Array  # (T, n) contexts
    h_tilde: Array  # (T, n) Eq. (5)
    logits: Array  # (T, K_y)
    loss: float  # -sum_t log p(y_t), natural logarithm
    params: Mapping[str, Node]
    loss_node: Node


def shapes(sizes: Sizes, attention: Attention) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter.

    E_x (m, K_x), E_y (m, K_y)     embeddings, a column a word
    enc_l_*, dec_l_*               LSTM layers l = 1 .. layers, lstm_numpy.lstm_shapes; columns [:m] of dec_1_W_* meet
                                   the embedding, [m:] the fed h~ if there is input feeding
    W_a                            general (n, n): h_t . W_a h̄_s; concat (align, 2n): columns [:n] meet h_t, [n:] h̄_s;
                                   location (width, n)
    v_a (align,)                   concat only
    W_p (n, n), v_p (n,)           local_p only
    W_c (n, 2n)                    columns [:n] meet c_t, [n:] meet h_t
    W_s (K_y, n), b_s (K_y,)       b_s if `output_bias`
    """
    n, m = sizes.n, sizes.m
    table: dict[str, tuple[int, ...]] = {"E_x": (m, sizes.K_x), "E_y": (m, sizes.K_y)}
    for layer in range(1, sizes.layers + 1):
        fed = n if attention.input_feeding else 0
        table |= lstm_shapes(f"enc_{layer}", m if layer == 1 else n, n)
        table |= lstm_shapes(f"dec_{layer}", m + fed if layer == 1 else n, n)
    if attention.score == "general":
        table["W_a"] = (n, n)
    elif attention.score == "concat":
        table |= {"W_a": (sizes.align, 2 * n), "v_a": (sizes.align,)}
    elif attention.score == "location":
        table["W_a"] = (sizes.width, n)
    if attention.reach == "local_p":
        table |= {"W_p": (n, n), "v_p": (n,)}
    table |= {"W_c": (n, 2 * n), "W_s": (sizes.K_y, n)}
    return table | ({"b_s": (sizes.K_y,)} if sizes.output_bias else {})


def as_given(src: Sequence[int]) -> list[int]:
    """No reversal."""
    return list(src)


def words_reversed(src: Sequence[int]) -> list[int]:
    """The words in reverse, the last id (EOS) left where it is."""
    return [*reversed(src[:-1]), src[-1]]


def forward(
    params: Mapping[str, Array],
    src: Sequence[int],
    tgt: Sequence[int],
    *,
    bos: int,
    attention: Attention,
    reverse: Callable[[Sequence[int]], list[int]] = as_given,
    positions: Sequence[float] | None = None,
) -> Result:
    """Predict `tgt` (with its EOS if that is to be predicted) from `src`; `positions` as read, see the module."""
    p = as_nodes(params)
    check_ids("src", src, p["E_x"].shape[1])
    check_ids("tgt", tgt, p["E_y"].shape[1])
    check_ids("bos", [bos], p["E_y"].shape[1])
    read = reverse(src)
    counted = range(attention.first, attention.first + len(read))
    where = np.array(counted if positions is None else positions, dtype=np.float64)

    h_bar, states = _encode(p, read)
    h_tilde = Node(np.zeros(p["W_c"].shape[0]))
    rows: list[_Step] = []
    for t, y_previous in enumerate([bos, *tgt[:-1]], start=attention.first):
        x = p["E_y"][:, y_previous]
        if attention.input_feeding:
            x = concatenate([x, h_tilde])
        for layer, state in enumerate(states):
            states[layer] = lstm_step(p, f"dec_{layer + 1}", x, state)
            x = states[layer].h
        h_t = x
        centre, a_t = _align(p, attention, h_t, h_bar, where, t)
        c_t = a_t @ h_bar
        h_tilde = tanh(p["W_c"] @ concatenate([c_t, h_t]))  # Eq. (5)
        logits = p["W_s"] @ h_tilde  # Eq. (6)
        if "b_s" in p:
            logits = logits + p["b_s"]
        rows.append(_Step(h_t, centre, a_t, c_t, h_tilde, logits))

    loss = negative_log_likelihood([row.logits for row in rows], tgt)
    return Result(
        read=tuple(read),
        positions=where,
        h_bar=h_bar.value,
        h=np.stack([row.h.value for row in rows]),
        p=np.array([float(row.centre.value) for row in rows]),
        a=np.stack([row.a.value for row in rows]),
        c=np.stack([row.c.value for row in rows]),
        h_tilde=np.stack([row.h_tilde.value for row in rows]),
        logits=np.stack([row.logits.value for row in rows]),
        loss=float(loss.value),
        params=p,
        loss_node=loss,
    )


def backward(result: Result) -> dict[str, Array]:
    """The gradient of `result.loss` with respect to every parameter, by name."""
    return gradients(result.loss_node, result.params)


@dataclass(frozen=True)
class _Step:
    """One decoder step, by the paper's names."""

    h: Node
    centre: Node
    a: Node
    c: Node
    h_tilde: Node
    logits: Node


def _encode(p: Mapping[str, Node], read: Sequence[int]) -> tuple[Node, list[LstmState]]:
    """The top layer's h after each word as rows (S, n), and every layer's last state, bottom first."""
    inputs = [p["E_x"][:, k] for k in read]
    last: list[LstmState] = []
    layer = 1
    while f"enc_{layer}_b_i" in p:
        states = lstm_read(p, f"enc_{layer}", inputs, zero_state(p[f"enc_{layer}_b_i"].shape[0]))
        inputs = [state.h for state in states]
        last.append(states[-1])
        layer += 1
    return stack(inputs), last


def _align(
    p: Mapping[str, Node], attention: Attention, h_t: Node, h_bar: Node, positions: Array, t: int
) -> tuple[Node, Node]:
    """The centre p_t and the weights a_t (S,), of which those outside the window are 0."""
    S = len(positions)
    if attention.reach == "global":
        centre, inside = Node(np.nan), list(range(S))
    else:
        centre = Node(float(t))
        if attention.reach == "local_p":
            centre = float(S) * sigmoid(p["v_p"] @ tanh(p["W_p"] @ h_t))  # Eq. (10)
        inside = [s for s in range(S) if abs(positions[s] - float(centre.value)) <= attention.D]

    if attention.score == "location":
        weights = _location(p, attention, h_t, {s: round(positions[s]) - attention.first for s in inside})
    else:
        # Eq. (7), the softmax over the window alone.
        scores = [_score(p, attention.score, h_t, h_bar[s]) for s in inside]
        weights = dict(zip(inside, _entries(softmax(stack(scores))), strict=True)) if inside else {}
    if attention.reach == "local_p":
        sigma = attention.D / 2
        for s in weights:  # Eq. (11)
            off = float(positions[s]) - centre
            weights[s] = weights[s] * exp(-(off * off) / (2 * sigma**2))
    return centre, stack([weights.get(s, Node(0.0)) for s in range(S)])


def _score(p: Mapping[str, Node], score: Score, h_t: Node, h_s: Node) -> Node:
    """Eq. (8)."""
    if score == "dot":
        return h_t @ h_s
    if score == "general":
        return h_t @ (p["W_a"] @ h_s)
    return p["v_a"] @ tanh(p["W_a"] @ concatenate([h_t, h_s]))


def _location(p: Mapping[str, Node], attention: Attention, h_t: Node, row_of: dict[int, int]) -> dict[int, Node]:
    """Eq. (9): the weight of each annotation that has a row of W_a; `row_of` may point past the end."""
    scores = p["W_a"] @ h_t
    row_of = {s: row for s, row in row_of.items() if 0 <= row < scores.shape[0]}
    if attention.location == "whole":
        a_t = softmax(scores)
        return {s: a_t[row] for s, row in row_of.items()}
    if not row_of:
        return {}
    return dict(zip(row_of, _entries(softmax(stack([scores[row] for row in row_of.values()]))), strict=True))


def _entries(vector: Node) -> list[Node]:
    return [vector[k] for k in range(vector.shape[0])]
