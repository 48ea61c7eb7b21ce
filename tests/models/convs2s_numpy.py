"""A twin of the model `convs2s` in float64 NumPy, forward and backward, written from the paper alone.

J. Gehring, M. Auli, D. Grangier, D. Yarats, Y. N. Dauphin, "Convolutional Sequence to Sequence Learning", ICML 2017,
arXiv 1705.03122; section and equation numbers below are this paper's. The names are the paper's where it gives any, and
every matrix acts on a column vector. One sentence pair at a time: no padding beyond the paper's own, no mask, no batch
axis, no dropout. The gradients come from the tape of tape_numpy.py.

    from tests.models.convs2s_numpy import Conventions, Layer, Sizes, backward, forward, random_parameters, shapes

    sizes = Sizes(f=3, out=2, encoder=[Layer(4, 3)], decoder=[Layer(4, 3), Layer(5, 2)], positions=9, K_x=7, K_y=8)
    params = random_parameters(np.random.default_rng(1), shapes(sizes))
    result = forward(params, [4, 6, 3], [5, 3], bos=2, sizes=sizes)
    gradient = backward(result)         # by name: gradient["enc_1_W_v"] is d loss / d (the v of the first W)

Weight normalisation (section 3.5; Salimans and Kingma 2016): a matrix W is kept as W_v and W_gain, one gain an output
unit, and row i of W is W_gain_i * W_v_i / ||W_v_i||. It serves "all layers except for lookup tables". Any matrix may be
given plainly instead, by its bare name; `plain` turns one form into the other.

What the paper leaves open or the released code does otherwise, and what is done here (`Conventions`):

- The order of attention and residual. Section 3.3 takes d_i from "the current decoder state h_i^l", the block's output
  with its residual in it, and adds c_i to that: `attention_on` = "block". The released code attends from the output of
  the gated linear unit, adds c_i to it and then the residual: "glu".
- sqrt(1/2) "of the sum of the input and output of a residual block" (section 3.4) is there for the block and for
  h + c; `residual_scale`. Eq. (1) and (2) have none on W_d h + b_d + g and on z + e, the released code has:
  `query_scale` and `value_scale`.
- c_i is made of z and e and so of size f, h_i is of size d: a linear map stands between, dec_l_W_c, as in the released
  code; section 3.2 has "linear mappings to project between the embedding size f and the convolution outputs".
- Linear maps f -> d stand before the first convolution on BOTH sides (dec_in as well as enc_in).
- Where a layer's width differs from that of the layer below, its residual passes a linear map (enc_l_R, dec_l_R).
- m * sqrt(1/m) counts every source id given, EOS and all.
- Positions count from the first id given: column 0 of P_x meets x_1, column 0 of P_y meets y_0.
- y_0 is a word like any other: the id `bos`.
- g_i, in Eq. (1), is the embedding of y_{i-1} with its position, as fed to the decoder; e_j likewise.
- "We scale the gradients for the encoder layers by the number of attention mechanisms; we exclude source word
  embeddings" (section 3.4): the gradient of z is multiplied by `gradient_z`, where z leaves the encoder for keys and
  values both. So everything in the encoder hears it scaled, its embeddings too through that path; what they hear as
  the e_j of Eq. (2) is not scaled. For the other reading, where nothing the embeddings hear is scaled, `gradient_in`
  multiplies the gradient once more where e enters the encoder: 1 / gradient_z. Both 1: the true gradient.

The quotations are from memory; of the released code facebookresearch/fairseq, fairseq/models/fconv.py at 03adafe was
read for its order of operations, which `released` names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal, NamedTuple

import numpy as np

from tests.models import tape_numpy as tape
from tests.models.tape_numpy import (
    Array,
    Node,
    as_nodes,
    check_ids,
    concatenate,
    gradients,
    negative_log_likelihood,
    random_parameters,
    scale_gradient,
    sigmoid,
    softmax,
    stack,
    total,
)

__all__ = [
    "Conventions",
    "Layer",
    "Result",
    "Sizes",
    "backward",
    "forward",
    "plain",
    "random_parameters",
    "released",
    "shapes",
]


class Layer(NamedTuple):
    """d output channels, kernel width k."""

    d: int
    k: int


@dataclass(frozen=True)
class Sizes:
    """f embedding, `out` before the softmax; layers bottom first; `positions` the columns of P_x and of P_y."""

    f: int
    out: int
    encoder: Sequence[Layer]
    decoder: Sequence[Layer]
    positions: int
    K_x: int
    K_y: int


@dataclass(frozen=True)
class Conventions:
    """See the module. The defaults are the equations to the letter."""

    attention_on: Literal["block", "glu"] = "block"
    residual_scale: float = sqrt(0.5)
    query_scale: float = 1.0
    value_scale: float = 1.0
    gradient_z: float = 1.0
    gradient_in: float = 1.0


def released(attentions: int) -> Conventions:
    """The authors' released code, with so many decoder layers that attend; its factor on z is 1 / (2 * attentions)."""
    half = sqrt(0.5)
    return Conventions("glu", half, query_scale=half, value_scale=half, gradient_z=1 / (2 * attentions))


@dataclass(frozen=True)
class Result:
    """What the forward pass computed for S source and T target words. Row i - 1 belongs to y_i, layers bottom first."""

    e: Array  # (S, f) embedded source words with their positions
    z: Array  # (S, f) encoder output
    g: Array  # (T, f) embedded target words with their positions, y_0 first
    h: tuple[Array, ...]  # (T, d) per decoder layer, its output as the next layer reads it
    d: Array  # (L, T, f) Eq. (1)
    a: Array  # (L, T, S) attention weights
    c: Array  # (L, T, f) Eq. (2), times m sqrt(1/m)
    logits: Array  # (T, K_y)
    loss: float  # -sum_i log p(y_i), natural logarithm
    params: Mapping[str, Node]
    loss_node: Node


def shapes(sizes: Sizes, weight_norm: bool = True) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter; of every matrix W but the lookup tables also as W_v (its shape), W_gain (rows,).

    E_x (f, K_x), P_x (f, positions), E_y, P_y  lookup tables, a column a word or a position
    enc_in_W (d_1, f), dec_in_W                 before the first layer; b (d_1,)
    enc_l_W (2d, k * d_below), dec_l_W          the convolution: columns [j * d_below : (j + 1) * d_below] meet the j-th
                                                word of the window, leftmost first; rows [:d] are A, [d:] are B of
                                                v([A; B]) = A * sigma(B); b (2d,)
    enc_l_R (d, d_below), dec_l_R               the residual, only where d != d_below; _R_b (d,)
    enc_out_W (f, d)                            z; b (f,)
    dec_l_W_d (f, d), dec_l_b_d (f,)            Eq. (1)
    dec_l_W_c (d, f), dec_l_b_c (d,)            c_i on its way into h_i
    dec_out_W (out, d), dec_out_b (out,)
    W_o (K_y, out), b_o (K_y,)
    """
    f = sizes.f
    table: dict[str, tuple[int, ...]] = {
        "E_x": (f, sizes.K_x),
        "P_x": (f, sizes.positions),
        "E_y": (f, sizes.K_y),
        "P_y": (f, sizes.positions),
    }

    def linear(weight: str, bias: str, rows: int, columns: int) -> None:
        table.update({f"{weight}_v": (rows, columns), f"{weight}_gain": (rows,)} if weight_norm else {})
        table.update({} if weight_norm else {weight: (rows, columns)})
        table[bias] = (rows,)

    for side, layers in (("enc", sizes.encoder), ("dec", sizes.decoder)):
        below = layers[0].d
        linear(f"{side}_in_W", f"{side}_in_b", below, f)
        for number, (d, k) in enumerate(layers, start=1):
            linear(f"{side}_{number}_W", f"{side}_{number}_b", 2 * d, k * below)
            if d != below:
                linear(f"{side}_{number}_R", f"{side}_{number}_R_b", d, below)
            if side == "dec":
                linear(f"dec_{number}_W_d", f"dec_{number}_b_d", f, d)
                linear(f"dec_{number}_W_c", f"dec_{number}_b_c", d, f)
            below = d
        linear(f"{side}_out_W", f"{side}_out_b", f if side == "enc" else sizes.out, below)
    linear("W_o", "b_o", sizes.K_y, sizes.out)
    return table


def plain(params: Mapping[str, Array]) -> dict[str, Array]:
    """The same model with every W_v and W_gain made into its W."""
    nodes = as_nodes(params)
    table: dict[str, Array] = {}
    for name, array in params.items():
        if name.endswith("_v") and f"{name[:-2]}_gain" in params:
            table[name[:-2]] = _weight(nodes, name[:-2]).value
        elif not name.endswith("_gain"):
            table[name] = array
    return table


def forward(
    params: Mapping[str, Array],
    src: Sequence[int],
    tgt: Sequence[int],
    *,
    bos: int,
    sizes: Sizes,
    conventions: Conventions | None = None,
) -> Result:
    """Predict `tgt` (with its EOS if that is to be predicted) from `src` (with its EOS if any)."""
    how = conventions or Conventions()
    p = as_nodes(params)
    check_ids("src", src, p["E_x"].shape[1])
    check_ids("tgt", tgt, p["E_y"].shape[1])
    check_ids("bos", [bos], p["E_y"].shape[1])

    e = [p["E_x"][:, word] + p["P_x"][:, j] for j, word in enumerate(src)]
    z = [scale_gradient(z_j, how.gradient_z) for z_j in _encode(p, sizes, how, e)]
    values = [(z_j + e_j) * how.value_scale for z_j, e_j in zip(z, e, strict=True)]
    g = [p["E_y"][:, word] + p["P_y"][:, i] for i, word in enumerate([bos, *tgt[:-1]])]

    h = [_linear(p, "dec_in_W", "dec_in_b", g_i) for g_i in g]
    outputs: list[Array] = []
    attended: list[list[_Attended]] = []
    for number, layer in enumerate(sizes.decoder, start=1):
        below = h
        # Zero vectors on the left alone: word i sees words i - k + 1 .. i.
        h = _convolve(p, f"dec_{number}", below, left=layer.k - 1, right=0)
        if how.attention_on == "block":
            h = _residual(p, f"dec_{number}", how, below, h)
        looks = [_attend(p, f"dec_{number}", how, h_i, g_i, z, values) for h_i, g_i in zip(h, g, strict=True)]
        h = [look.h for look in looks]
        if how.attention_on == "glu":
            h = _residual(p, f"dec_{number}", how, below, h)
        outputs.append(stack(h).value)
        attended.append(looks)
    logits = [_linear(p, "W_o", "b_o", _linear(p, "dec_out_W", "dec_out_b", h_i)) for h_i in h]

    loss = negative_log_likelihood(logits, tgt)
    return Result(
        e=stack(e).value,
        z=stack(z).value,
        g=stack(g).value,
        h=tuple(outputs),
        d=np.array([[look.d.value for look in looks] for looks in attended]),
        a=np.array([[look.a.value for look in looks] for looks in attended]),
        c=np.array([[look.c.value for look in looks] for looks in attended]),
        logits=stack(logits).value,
        loss=float(loss.value),
        params=p,
        loss_node=loss,
    )


def backward(result: Result) -> dict[str, Array]:
    """The gradient of `result.loss` with respect to every parameter, by name; scaled as the conventions say."""
    return gradients(result.loss_node, result.params)


class _Attended(NamedTuple):
    """One word's look at the source: Eq. (1), the weights, Eq. (2), and the state with that in it."""

    d: Node
    a: Node
    c: Node
    h: Node


def _encode(p: Mapping[str, Node], sizes: Sizes, how: Conventions, e: Sequence[Node]) -> list[Node]:
    h = [_linear(p, "enc_in_W", "enc_in_b", scale_gradient(e_j, how.gradient_in)) for e_j in e]
    for number, layer in enumerate(sizes.encoder, start=1):
        # Zero vectors on both sides, so that the length stays; of an odd number, the greater half on the right.
        convolved = _convolve(p, f"enc_{number}", h, left=(layer.k - 1) // 2, right=layer.k // 2)
        h = _residual(p, f"enc_{number}", how, h, convolved)
    return [_linear(p, "enc_out_W", "enc_out_b", h_j) for h_j in h]


def _convolve(p: Mapping[str, Node], layer: str, x: Sequence[Node], left: int, right: int) -> list[Node]:
    """v(W [x_{i - left}; ..; x_{i + right}] + b) for every i, v the gated linear unit, Eq. of section 3.2."""
    W, b = _weight(p, f"{layer}_W"), p[f"{layer}_b"]
    nothing = Node(np.zeros(x[0].shape))
    padded = [nothing] * left + list(x) + [nothing] * right
    rows: list[Node] = []
    for i in range(len(x)):
        y = W @ concatenate(padded[i : i + left + right + 1]) + b
        d = y.shape[0] // 2
        rows.append(y[:d] * sigmoid(y[d:]))
    return rows


def _residual(
    p: Mapping[str, Node], layer: str, how: Conventions, below: Sequence[Node], h: Sequence[Node]
) -> list[Node]:
    if f"{layer}_R_b" in p:
        below = [_linear(p, f"{layer}_R", f"{layer}_R_b", x) for x in below]
    return [(h_i + x) * how.residual_scale for h_i, x in zip(h, below, strict=True)]


def _attend(
    p: Mapping[str, Node],
    layer: str,
    how: Conventions,
    h_i: Node,
    g_i: Node,
    z: Sequence[Node],
    values: Sequence[Node],
) -> _Attended:
    d_i = (_linear(p, f"{layer}_W_d", f"{layer}_b_d", h_i) + g_i) * how.query_scale  # Eq. (1)
    a_i = softmax(stack([d_i @ z_j for z_j in z]))
    m = len(z)
    c_i = (a_i @ stack(values)) * (m * sqrt(1 / m))  # Eq. (2) and section 3.4
    return _Attended(d_i, a_i, c_i, (h_i + _linear(p, f"{layer}_W_c", f"{layer}_b_c", c_i)) * how.residual_scale)


def _linear(p: Mapping[str, Node], weight: str, bias: str, x: Node) -> Node:
    return _weight(p, weight) @ x + p[bias]


def _weight(p: Mapping[str, Node], name: str) -> Node:
    """W itself if it is given plainly, else gain * v / ||v||, row by row."""
    if name in p:
        return p[name]
    v = p[f"{name}_v"]
    length = tape.sqrt(total(v * v, axis=1))
    return v * (p[f"{name}_gain"] / length)[:, None]
