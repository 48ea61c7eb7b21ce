"""Translations drawn at random from what the model gives, piece by piece."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt.batch import BOS, EOS, PAD
from nmt.errors import UsageError
from nmt.models.contract import Going, Seq2Seq
from nmt.recipe import SearchConfig
from nmt.search.hypothesis import Hypothesis
from nmt.search.penalty import length_divisor
from nmt.search.shortlist import Shortlist
from nmt.search.stepper import Floats, Stepper, at_rest, count_prefix, count_source, length_limits, not_finite, to_host


@dataclass(frozen=True)
class Sampling:
    """From what a piece is drawn: the pieces that may come next, with probabilities p^(1 / temperature), normalised;
    of them the `top_k` likeliest (0: all); of these the fewest likeliest that have `top_p` of the probability together.

    Fan et al. 2018 (arXiv:1805.04833, section 4.1) draw from the top k, Holtzman et al. 2020 (arXiv:1904.09751, section
    3.1) from the top p. `seed` and the key of a sentence decide every draw. UsageError for values that mean nothing.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.temperature > 0.0 and math.isfinite(self.temperature)):
            raise UsageError(
                f"--temperature is {self.temperature:g}: it must be above 0",
                "for the likeliest pieces use --beam 1 without --sample",
            )
        if self.top_k < 0:
            raise UsageError(f"--top-k is {self.top_k}: it must be at least 1", "leave it out to draw from all pieces")
        if not 0.0 < self.top_p <= 1.0:
            raise UsageError(
                f"--top-p is {self.top_p:g}: it must be above 0 and at most 1", "leave it out to draw from all pieces"
            )
        if self.seed < 0:
            raise UsageError(f"--seed is {self.seed}: it must be at least 0")


def sample(
    model: Seq2Seq,
    src: Tensor,
    config: SearchConfig,
    sampling: Sampling,
    keys: Sequence[tuple[int, ...]],
    *,
    n: int = 1,
    prefix: Tensor | None = None,
    shortlist: Shortlist | None = None,
    want_weights: bool = False,
) -> list[list[Hypothesis]]:
    """`n` translations of each of the B sentences, in the order of their numbers; they may be the same.

    src     (B, S) int64 on the model's device, each row ending with EOS, PAD on the right
    keys    a tuple of whole numbers a sentence; with `sampling.seed` and the sample's number it decides all draws, so
            neither the batch, nor the order of sentences, nor n changes a sample
    prefix, shortlist  as in `search`

    A piece is drawn by where a uniform number falls among the cumulated probabilities in order of ids, in float64, so
    that rounding in the logits moves a draw only where the number falls within that rounding of an edge. PAD and BOS
    are never drawn, EOS not before min_len_ratio allows it. Lengths and `score` are those of `search`: log P is the
    model's own, of the full softmax at temperature 1. One transfer from the device a step.

    Raises what `search` raises.
    """
    if src.shape[0] == 0:
        return []
    with at_rest(model):
        return _sample(model, src, config, sampling, keys, n, prefix, shortlist, want_weights)


def _sample(
    model: Seq2Seq,
    src: Tensor,
    config: SearchConfig,
    sampling: Sampling,
    keys: Sequence[tuple[int, ...]],
    n: int,
    prefix: Tensor | None,
    shortlist: Shortlist | None,
    want_weights: bool,
) -> list[list[Hypothesis]]:
    """`sample` without its door."""
    device = src.device
    n_pieces, n_tokens = count_source(src)
    min_len, max_len = length_limits(config, n_pieces, count_prefix(prefix, len(src)))
    steps = int(max_len.max())
    stepper = Stepper(model, src, config, n, steps, prefix=prefix, shortlist=shortlist, want_weights=want_weights)
    drawn = [[_Drawn(int(width)) for _ in range(n)] for width in n_tokens]
    uniform = torch.from_numpy(uniforms(sampling.seed, keys, n, steps)).to(device)  # (B, n, steps)
    active = np.arange(len(drawn))
    for t in range(1, steps + 1):
        outlook = stepper.step()
        may_end = torch.from_numpy(min_len[active] < t).to(device, non_blocking=True)
        logits = outlook.logits.view(len(active), n, -1)
        token = draw(logits, may_end, uniform[:, :, t - 1], sampling)  # (B, n)
        log_prob = (logits.gather(2, token[:, :, None])[:, :, 0] - outlook.log_z.view(token.shape)).clamp(max=0.0)
        broken = ~outlook.log_z.isfinite()
        cover = torch.zeros_like(log_prob) if outlook.cover is None else outlook.cover
        columns = [token, log_prob, cover, broken.view(token.shape)]
        tokens, log_probs, covers, flags, *weights = to_host(
            columns if outlook.weights is None else [*columns, outlook.weights]
        )
        if flags.any():
            raise not_finite(t)
        going = np.zeros(len(active), dtype=bool)
        for i, sentence in enumerate(active.tolist()):
            for k, one in enumerate(drawn[sentence]):
                looked = weights[0][i].reshape(n, -1)[k] if weights else None
                one.take(int(tokens[i, k]), log_probs[i, k], covers[i, k], looked, t == max_len[sentence])
            going[i] = any(not one.closed for one in drawn[sentence])
        staying = np.nonzero(going)[0]
        if len(staying) == 0:
            break
        active = active[staying]
        if len(staying) == len(going):
            stepper.follow(token, Going())
            continue
        sentences = torch.from_numpy(staying).to(device)
        uniform = uniform[sentences]
        stepper.follow(token[sentences], Going(sentences))
    return [[one.hypothesis(config) for one in of_sentence] for of_sentence in drawn]


def uniforms(seed: int, keys: Sequence[tuple[int, ...]], n: int, steps: int) -> NDArray[np.float64]:
    """Numbers of [0, 1), (B, n, steps): sample k of a sentence has a stream of its own, of (seed, key, k) alone."""
    streams = [[np.random.SeedSequence(seed, spawn_key=(*key, k)) for k in range(n)] for key in keys]
    return np.array([[np.random.Generator(np.random.Philox(s)).random(steps) for s in row] for row in streams])


def draw(logits: Tensor, may_end: Tensor, uniform: Tensor, sampling: Sampling) -> Tensor:
    """The pieces (B, K) that the numbers `uniform` (B, K) pick: logits (B, K, V), may_end (B,); PAD where none may
    follow.
    """
    scaled = logits.double() / sampling.temperature
    scaled[..., [PAD, BOS]] = -torch.inf
    scaled[..., EOS].masked_fill_(~may_end[:, None], -torch.inf)
    if sampling.top_k or sampling.top_p < 1.0:
        scaled = _likeliest(scaled, sampling)
    summed = scaled.softmax(-1).cumsum(-1)
    total = summed[..., -1]
    # Just below the sum, so that a number next to 1 picks the last piece that has a probability, and none beyond it.
    at = torch.minimum(uniform * total, total * (1.0 - 1e-12))
    token = (summed <= at[..., None]).sum(-1)
    return torch.where(total.isfinite(), token, PAD)


def _likeliest(scaled: Tensor, sampling: Sampling) -> Tensor:
    """-inf wherever a piece is not of the top k and top p; of equal pieces those with the lower ids come first."""
    values, ids = scaled.sort(dim=-1, descending=True, stable=True)
    if sampling.top_k:
        values[..., sampling.top_k :] = -torch.inf
    p = values.softmax(-1)
    values = values.masked_fill(p.cumsum(-1) - p >= sampling.top_p, -torch.inf)
    return torch.full_like(scaled, -torch.inf).scatter(-1, ids, values)


class _Drawn:
    """One sample as it grows, on the host."""

    def __init__(self, n_tokens: int) -> None:
        self.n_tokens = n_tokens
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.looked: list[Floats] = []
        self.total = self.cover = np.float32(0.0)
        self.ended = self.closed = False

    def take(self, token: int, log_prob: np.float32, cover: np.float32, looked: Floats | None, last: bool) -> None:
        """Takes the piece of a step, if it is not closed already; `last`: nothing may follow it."""
        if self.closed:
            return
        self.ended = token == EOS
        self.closed = last or self.ended or token == PAD
        if token == PAD:  # every piece was forbidden
            return
        self.total, self.cover = self.total + log_prob, cover
        self.log_probs.append(float(log_prob))
        if looked is not None:
            self.looked.append(looked[: self.n_tokens].copy())
        if not self.ended:
            self.ids.append(token)

    def hypothesis(self, config: SearchConfig) -> Hypothesis:
        divisor = np.float32(length_divisor(config, max(1, len(self.log_probs))))
        alignment = torch.from_numpy(np.stack(self.looked)) if self.looked else None
        return Hypothesis(self.ids, float(self.total / divisor + self.cover), self.log_probs, self.ended, alignment)
