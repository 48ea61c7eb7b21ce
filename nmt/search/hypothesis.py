"""What every way of searching gives."""

from dataclasses import dataclass, field

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
