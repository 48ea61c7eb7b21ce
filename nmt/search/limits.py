"""What keeps a hypothesis from the next piece it would like best."""

import torch
from torch import Tensor

from nmt.batch import PAD
from nmt.recipe import SearchConfig


class Limits:
    """The pieces of every hypothesis so far, and what search.no_repeat_ngram and search.repetition_penalty make of
    them; and the beginning that a translation must have, which goes before both. Keeps nothing and changes nothing
    where there is none of them.
    """

    def __init__(self, config: SearchConfig, prefix: Tensor | None = None) -> None:
        """Prefix (B, P) int64: the first pieces of each sentence's translation, PAD on the right."""
        self.prefix, self.t = prefix, 0
        self.n_gram, self.penalty = config.no_repeat_ngram, config.repetition_penalty
        self.remembers = self.n_gram > 0 or self.penalty > 1.0
        self.held: Tensor | None = None  # (R, t)

    @property
    def idle(self) -> bool:
        """Whether `apply` would change nothing."""
        return not self.remembers and (self.prefix is None or self.t >= self.prefix.shape[1])

    def apply(self, logits: Tensor, log_z: Tensor) -> Tensor:
        """Logits (R, V) from which, less log_z (R, 1), every piece counts as it should; -inf: it may not come."""
        if self.held is not None and self.penalty > 1.0:
            logits = penalize_repetition(logits, log_z, self.held, self.penalty)
        allowed = logits
        if self.held is not None and 0 < self.n_gram <= self.held.shape[1]:
            allowed = block_repetition(logits, self.held, self.n_gram)
        if self.prefix is not None and self.t < self.prefix.shape[1]:
            return force(logits, allowed, self.prefix[:, self.t])
        return allowed

    def follow(self, token: Tensor, rows: Tensor | None = None, sentences: Tensor | None = None) -> None:
        """Takes the pieces (R',) after the hypotheses `rows` (R',) of the sentences (B',), None for all as they are."""
        self.t += 1
        if self.prefix is not None and sentences is not None:
            self.prefix = self.prefix[sentences]
        if not self.remembers:
            return
        held = token[:, None][:, :0] if self.held is None else self.held if rows is None else self.held[rows]
        self.held = torch.cat([held, token[:, None]], 1)


def penalize_repetition(logits: Tensor, log_z: Tensor, held: Tensor, penalty: float) -> Tensor:
    """Logits (R, V) in which the pieces of `held` (R, t) have `penalty` times their log-probability logits - log_z.

    Keskar et al. 2019 (CTRL, arXiv:1909.05858, section 4.1). We leave the paper in two points: it divides the logit
    itself, which makes a piece likelier where that is negative, and normalises anew, which makes all others likelier.
    """
    own = logits.gather(1, held)
    return logits.scatter(1, held, log_z + (own - log_z).clamp(max=0.0) * penalty)


def block_repetition(logits: Tensor, held: Tensor, n: int) -> Tensor:
    """Logits (R, V) with -inf for each piece that would end a sequence of n pieces which `held` (R, t), t >= n, has."""
    windows = held.unfold(1, n, 1)  # (R, t - n + 1, n)
    last = held[:, held.shape[1] - n + 1 :]  # (R, n - 1)
    again = (windows[:, :, :-1] == last[:, None]).all(2)
    # PAD, which never comes anyway, stands for windows that block nothing.
    return logits.scatter(1, windows[:, :, -1].masked_fill(~again, PAD), -torch.inf)


def force(logits: Tensor, allowed: Tensor, piece: Tensor) -> Tensor:
    """`allowed` (R, V), but where a sentence has a piece (B,) that must come next, the logit of that one and -inf else;
    PAD: it has none.
    """
    forced = piece.repeat_interleave(len(logits) // len(piece))[:, None]  # (R, 1)
    alone = torch.full_like(logits, -torch.inf).scatter(1, forced, logits.gather(1, forced))
    return torch.where(forced == PAD, allowed, alone)
