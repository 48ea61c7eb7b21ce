"""The docstring of nmt/models/rnn.py in float64 NumPy, one sentence pair and one number after the other: no batch, no
padding, no masks. Parameters go by the model's names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

import numpy as np

Array = np.ndarray
Carry = tuple[Array, ...]


@dataclass(frozen=True)
class Choices:
    """The recipe's keys."""

    cell: str
    attention: str
    score: str
    reach: str
    window: int
    input_feeding: bool
    n_layers: int


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def unit(p: Mapping[str, Array], name: str, cell: str, x: Array, carry: Carry) -> Carry:
    """One step of a layer."""
    h = carry[0]
    n = len(h)
    sums = p[f"{name}.W.weight"] @ x + p[f"{name}.W.bias"]
    if cell == "gru":
        gates = sigmoid(sums[: 2 * n] + p[f"{name}.U_zr"] @ h)
        z, r = gates[:n], gates[n:]
        return ((1 - z) * h + z * np.tanh(sums[2 * n :] + p[f"{name}.U"] @ (r * h)),)
    i, f, g, o = np.split(sums + p[f"{name}.U"] @ h, 4)
    c = sigmoid(f) * carry[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def read(p: Mapping[str, Array], name: str, cell: str, xs: Sequence[Array]) -> list[Carry]:
    """What a layer carries after each of xs, from zero."""
    n = p[f"{name}.U"].shape[1]
    carry: Carry = (np.zeros(n),) * (1 if cell == "gru" else 2)
    found = []
    for x in xs:
        carry = unit(p, name, cell, x, carry)
        found.append(carry)
    return found


def encode(p: Mapping[str, Array], choices: Choices, src: Sequence[int]) -> tuple[Array, list[Carry]]:
    """Annotations (S, H) and what each layer carries at its end."""
    words = [p["src_embed.weight"][word] for word in src]
    right = read(p, "encoder.forward_layer", choices.cell, words)
    left = read(p, "encoder.backward_layer", choices.cell, words[::-1])[::-1]
    h = [np.concatenate([a[0], b[0]]) for a, b in zip(right, left, strict=True)]
    ends = [tuple(np.concatenate([a, b]) for a, b in zip(right[-1], left[0], strict=True))]
    for layer in range(choices.n_layers - 1):
        carried = read(p, f"encoder.above.layers.{layer}", choices.cell, h)
        h = [carry[0] for carry in carried]
        ends.append(carried[-1])
    return np.stack(h), ends


def additive(p: Mapping[str, Array], s: Array, h: Array) -> Array:
    """alpha of Bahdanau et al. 2015, A.1.2."""
    W, U, b, v = (p[f"alignment.{name}"] for name in ("W_a.weight", "U_a.weight", "U_a.bias", "v_a"))
    scores = np.array([v @ np.tanh(W @ s + U @ h_j + b) for h_j in h])
    weights = np.exp(scores)
    return weights / weights.sum()


def luong(p: Mapping[str, Array], choices: Choices, s: Array, h: Array, t: int) -> Array:
    """a_t of Luong et al. 2015, equations 7 to 11, t and source positions counting from 1."""
    S, D = len(h), choices.window
    W_a = p.get("alignment.W_a", np.zeros((0, 0)))
    seen = min(S, len(W_a)) if choices.score == "location" else S
    scores = {
        "dot": lambda: h @ s,
        "general": lambda: h @ W_a.T @ s,
        "concat": lambda: np.tanh(np.hstack([np.tile(s, (S, 1)), h]) @ W_a.T) @ p["alignment.v_a"],
        "location": lambda: W_a @ s,
    }[choices.score]()
    place = float(min(t, seen + D))
    if choices.reach == "local_p":
        place = seen * float(sigmoid(p["alignment.v_p"] @ np.tanh(p["alignment.W_p"] @ s)))
    whole = choices.score == "location" and choices.reach == "global"
    inside = [j for j in range(seen) if choices.reach == "global" or abs(j + 1 - place) <= D]
    # Equation 9's softmax goes over the whole fixed width, of which short sentences use the top part.
    total = sum(exp(a) for a in scores) if whole else sum(exp(scores[j]) for j in inside)
    weights = np.zeros(S)
    for j in inside:
        weights[j] = exp(scores[j]) / total
        if choices.reach == "local_p":
            weights[j] *= exp(-((j + 1 - place) ** 2) / (2 * (D / 2) ** 2))
    return weights


def logits(p: Mapping[str, Array], choices: Choices, src: Sequence[int], tgt_in: Sequence[int]) -> Array:
    """(T, K_y) for source ids with EOS and target ids with BOS."""
    h, carries = encode(p, choices, src)
    summary, fed, found = carries[-1][0], np.zeros(h.shape[1]), []
    for t, word in enumerate(tgt_in, 1):
        x = p["tgt_embed.weight"][word]
        context = summary
        if choices.attention == "bahdanau":
            context = additive(p, carries[-1][0], h) @ h
        if choices.attention != "luong":
            x = np.concatenate([x, context])
        elif choices.input_feeding:
            x = np.concatenate([x, fed])
        for layer in range(choices.n_layers):
            carries[layer] = unit(p, f"decoder.layers.{layer}", choices.cell, x, carries[layer])
            x = carries[layer][0]
        if choices.attention == "luong":
            context = luong(p, choices, x, h, t) @ h
        fed = np.tanh(p["W_c.weight"] @ np.concatenate([context, x]))
        found.append(p["projection.weight"] @ fed + p["projection.bias"])
    return np.stack(found)
