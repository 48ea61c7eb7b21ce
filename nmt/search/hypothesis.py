"""What every way of searching gives."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Hypothesis:
    """One translation that search found.

    ids              the pieces, without BOS and EOS
    score            log P / length + coverage, as `SearchConfig` words it
    token_log_probs  log-probabilities of the pieces and, where the hypothesis ended, of its EOS: |y| numbers that sum
                     to log P; with search.repetition_penalty, what they count
    ended            False: cut at the greatest length, without an EOS
    alignment        (|y|, S) float32 on the CPU: attention weights, mean over layers and heads, one row a number of
                     token_log_probs, one column a source token of this sentence (EOS included, PAD not); None where
                     not asked for or where the model has no attention
    """

    ids: list[int]
    score: float
    token_log_probs: list[float]
    ended: bool
    alignment: Tensor | None = field(default=None, compare=False)


Carried = list[list[tuple[Hypothesis, NDArray[np.float32] | None]]]
"""What was found for a batch, on its way to another process: alignments as numpy has them, since torch would send each
in a file of its own.
"""


def carried(found: list[list[Hypothesis]]) -> Carried:
    """The hypotheses of a batch, to be sent."""
    return [
        [(replace(h, alignment=None), None if h.alignment is None else h.alignment.numpy()) for h in of_row]
        for of_row in found
    ]


def arrived(found: Carried) -> list[list[Hypothesis]]:
    """What was sent."""
    return [[replace(h, alignment=None if a is None else torch.from_numpy(a)) for h, a in of_row] for of_row in found]
