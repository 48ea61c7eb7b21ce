"""The model of nmt/models/modern.py for one sentence, word by word and head by head, from the equations of the papers.

Twin in the sense of the tests of `bahdanau`, but in torch's float64 scalars and vectors instead of NumPy, so that the
gradients of every parameter come with it. It imports nothing of nmt, has no batches, no padding and no masks: which
keys a query sees is a list.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Vectors = list[Tensor]


@dataclass(frozen=True)
class Choices:
    """As in ModernConfig."""

    n_layers: int
    n_decoder_layers: int
    n_heads: int
    n_kv_heads: int
    qk_norm: bool
    attention: str
    window: int


def rms_norm(x: Tensor, g: Tensor) -> Tensor:
    """Zhang & Sennrich 2019, equation 4: x_i / RMS(x) * g_i, RMS(x) = sqrt(mean of x_i^2)."""
    return x / torch.sqrt((x * x).sum() / len(x) + 1e-6) * g


def turned(x: Tensor, m: int) -> Tensor:
    """Su et al. 2021, equation 34, for the vector of a head at position m."""
    C, found = len(x), []
    for j in range(C // 2):
        angle = m * 10000.0 ** (-2 * j / C)
        cos, sin, a, b = math.cos(angle), math.sin(angle), x[2 * j], x[2 * j + 1]
        found += [a * cos - b * sin, b * cos + a * sin]
    return torch.stack(found)


def phi(x: Tensor) -> Tensor:
    """Katharopoulos et al. 2020, equation 7."""
    return torch.where(x > 0, x + 1, torch.exp(x))


def swiglu(p: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Shazeer 2020, equation 6."""
    W, V = p[f"{name}.inner.weight"].chunk(2)
    gate = W @ x
    return p[f"{name}.outer.weight"] @ (gate / (1 + torch.exp(-gate)) * (V @ x))


def visible(c: Choices, i: int, n: int, causal: bool) -> list[int]:
    """Which positions of its own sentence of n words position i sees."""
    seen = []
    for j in range(i + 1 if causal else n):
        near, jump = abs(i - j) <= c.window, (i - j) % c.window == 0
        if {"full": True, "linear": True, "window": near, "strided": near or jump}[c.attention]:
            seen.append(j)
    return seen


def heads(matrix: Tensor, x: Tensor, n: int, gain: Tensor | None) -> Vectors:
    """The n heads of a projection of one word, normalised where there is a gain."""
    found = list((matrix @ x).chunk(n))
    return found if gain is None else [rms_norm(head, gain) for head in found]


def weigh(c: Choices, q: Tensor, keys: Vectors, m: int, places: list[int] | None) -> list[Tensor]:
    """The weight of each key for a query at position m; places of keys, None where positions do not count."""
    C = len(q)
    if c.attention == "linear":
        above = phi(q) if places is None else turned(phi(q), m)
        below = sum(phi(q) @ phi(k) for k in keys)
        mapped = [phi(k) if places is None else turned(phi(k), places[i]) for i, k in enumerate(keys)]
        return [above @ k / below for k in mapped]
    if places is not None:
        q, keys = turned(q, m), [turned(k, n) for k, n in zip(keys, places, strict=True)]
    grown = [torch.exp(q @ k / math.sqrt(C)) for k in keys]
    return [g / sum(grown) for g in grown]


def attend(
    p: Mapping[str, Tensor],
    name: str,
    c: Choices,
    xs: Vectors,
    memory: Vectors | None,
    causal: bool,
) -> tuple[Vectors, list[list[Vectors]]]:
    """Multi-head attention of words xs to themselves, or to memory: outputs, and weights by query and head."""
    H, G = c.n_heads, c.n_kv_heads
    if memory is None:
        D = len(xs[0])
        W_q, W_k, W_v = p[f"{name}.qkv.weight"].split([D, D * G // H, D * G // H])
    else:
        W_q, (W_k, W_v) = p[f"{name}.q.weight"], p[f"{name}.kv.weight"].chunk(2)
    gains = [p[f"{name}.{which}_norm.weight"] if c.qk_norm else None for which in "qk"]
    sources = xs if memory is None else memory
    keys = [heads(W_k, x, G, gains[1]) for x in sources]
    values = [heads(W_v, x, G, None) for x in sources]
    found, looked = [], []
    for i, x in enumerate(xs):
        seen = visible(c, i, len(xs), causal) if memory is None else list(range(len(memory)))
        contexts, by_head = [], []
        for h, q in enumerate(heads(W_q, x, H, gains[0])):
            g = h // (H // G)
            weights = weigh(c, q, [keys[j][g] for j in seen], i, seen if memory is None else None)
            contexts.append(torch.stack([w * values[j][g] for w, j in zip(weights, seen, strict=True)]).sum(0))
            by_head.append(weights)
        found.append(p[f"{name}.out.weight"] @ torch.cat(contexts))
        looked.append(by_head)
    return found, looked


def forward(p: Mapping[str, Tensor], c: Choices, src: list[int], tgt: list[int]) -> tuple[Tensor, Tensor]:
    """Logits (T, V) after each word of tgt, which begins with BOS; cross-attention weights (T, L, H, S)."""

    def add(xs: Vectors, ys: Vectors) -> Vectors:
        return [x + y for x, y in zip(xs, ys, strict=True)]

    def norm(name: str, xs: Vectors) -> Vectors:
        return [rms_norm(x, p[f"{name}.weight"]) for x in xs]

    def feed_forward(name: str, xs: Vectors) -> Vectors:
        return [swiglu(p, f"{name}.feed_forward", x) for x in norm(f"{name}.around_feed_forward.norm", xs)]

    root = math.sqrt(p["src_embed.weight"].shape[1])
    xs = [p["src_embed.weight"][w] * root for w in src]
    for i in range(c.n_layers):
        name = f"encoder.{i}"
        normed = norm(f"{name}.around_attention.norm", xs)
        xs = add(xs, attend(p, f"{name}.attention", c, normed, None, causal=False)[0])
        xs = add(xs, feed_forward(name, xs))
    memory = norm("encoder_norm", xs)

    ys, looked = [p["tgt_embed.weight"][w] * root for w in tgt], []
    for i in range(c.n_decoder_layers):
        name = f"decoder.{i}"
        normed = norm(f"{name}.around_attention.norm", ys)
        ys = add(ys, attend(p, f"{name}.attention", c, normed, None, causal=True)[0])
        found, weights = attend(p, f"{name}.cross", c, norm(f"{name}.around_cross.norm", ys), memory, causal=False)
        ys = add(ys, found)
        ys = add(ys, feed_forward(name, ys))
        looked.append(torch.stack([torch.stack([torch.stack(h) for h in by_head]) for by_head in weights]))
    logits = [p["projection.weight"] @ y for y in norm("decoder_norm", ys)]
    return torch.stack(logits), torch.stack(looked, dim=1)
