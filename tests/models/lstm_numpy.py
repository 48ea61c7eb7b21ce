"""The LSTM of the twins `luong` and `gnmt`, one word at a time on the tape.

    i = sigma(W_i x + U_i h + b_i)          f = sigma(W_f x + U_f h + b_f)
    o = sigma(W_o x + U_o h + b_o)          g = tanh(W_g x + U_g h + b_g)
    c' = f * c + i * g                      h' = o * tanh(c')

This is the unit of Zaremba et al. (2014, arXiv 1409.2329), whom Luong et al. follow: no peepholes, a forget gate,
and no constant added to its bias. Every gate has matrices and a bias of its own, so that no order of gates is needed.
Neither paper prints its equations; Zaremba's are these.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tests.models.tape_numpy import Node, sigmoid, tanh

GATES = ("i", "f", "o", "g")


class LstmState(NamedTuple):
    """What one layer remembers: h (n,) its output, c (n,) its cell."""

    h: Node
    c: Node


def zero_state(n: int) -> LstmState:
    return LstmState(Node(np.zeros(n)), Node(np.zeros(n)))


def lstm_shapes(layer: str, n_in: int, n: int) -> dict[str, tuple[int, ...]]:
    """One layer's parameters by name: for `layer` "enc_1" they are "enc_1_W_i", "enc_1_U_i", "enc_1_b_i" and so on."""
    table: dict[str, tuple[int, ...]] = {}
    for gate in GATES:
        table |= {f"{layer}_W_{gate}": (n, n_in), f"{layer}_U_{gate}": (n, n), f"{layer}_b_{gate}": (n,)}
    return table


def gates_together(name: str) -> str:
    """The name without its gate: groups a layer's W_i, W_f, W_o and W_g, its U_* and its b_*; others are themselves."""
    return name[:-2] if name.startswith(("enc_", "dec_")) and name[-2:] in {f"_{gate}" for gate in GATES} else name


def lstm_step(p: Mapping[str, Node], layer: str, x: Node, state: LstmState) -> LstmState:
    """The state after reading x (n_in,)."""

    def into(gate: str) -> Node:
        return p[f"{layer}_W_{gate}"] @ x + p[f"{layer}_U_{gate}"] @ state.h + p[f"{layer}_b_{gate}"]

    i, f, o, g = sigmoid(into("i")), sigmoid(into("f")), sigmoid(into("o")), tanh(into("g"))
    c = f * state.c + i * g
    return LstmState(o * tanh(c), c)


def lstm_read(p: Mapping[str, Node], layer: str, inputs: Sequence[Node], state: LstmState) -> list[LstmState]:
    """The states after each of the inputs, in the order given."""
    states: list[LstmState] = []
    for x in inputs:
        state = lstm_step(p, layer, x, state)
        states.append(state)
    return states
