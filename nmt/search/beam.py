"""Beam search over the contract of `models/contract.py`; greedy search is a beam of one.

The device chooses, the host keeps the books: every step ends in one small transfer with what was chosen, from which the
host writes back-pointers, fills the pools of finished hypotheses and says which sentences are done. Those leave the
batch, a few at a time.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt.batch import BOS, EOS, PAD
from nmt.errors import UsageError
from nmt.models.contract import Going, Seq2Seq
from nmt.ops.native import native_for
from nmt.recipe import SearchConfig
from nmt.search.books import Books, Report
from nmt.search.hypothesis import Hypothesis
from nmt.search.shortlist import Shortlist
from nmt.search.stepper import Outlook, Stepper, at_rest, count_prefix, count_source, not_finite, round_up, to_host


@dataclass(frozen=True)
class Chosen:
    """What a step chose; fields are (B, K) where nothing else is said.

    The hypotheses that live on, best first (cumulated log-probability -inf: there is none), and the best K candidates
    with a mark on those that end here.
    """

    parent: Tensor
    token: Tensor
    log_prob: Tensor
    total: Tensor
    room: Tensor  # (B,): how many may be taken at the next step
    ends: Tensor
    end_parent: Tensor
    end_log_prob: Tensor
    tied: Tensor  # (B,) bool: an equal logit was left out by chance; choose again, exactly
    broken: Tensor  # (B,) bool: the logits are not finite


def search(
    model: Seq2Seq,
    src: Tensor,
    config: SearchConfig,
    *,
    n_best: int = 1,
    prefix: Tensor | None = None,
    shortlist: Shortlist | None = None,
    want_weights: bool = False,
) -> list[list[Hypothesis]]:
    """The best translations of each of the B sentences, best first: 1 to n_best hypotheses, all different.

    src     (B, S) int64 on the model's device, each row ending with EOS, PAD on the right.
    prefix  (B, P) int64 there too: pieces that each translation begins with, PAD on the right; they count in log P and
            in lengths, and at least one step follows them
    shortlist  the pieces that each of them may have, with those of its prefix; all where there is none. Probabilities
            are then of the softmax over the list

    At each step the best candidates by log P are taken, as many as there is room for in the beam; those that end leave
    it for the sentence's pool (Sutskever et al. 2014, section 3.2), where the score of `SearchConfig` ranks them, and
    the beam is narrower by as many. So the likeliest hypothesis is always followed to its end, however many unlikely
    ones ended before it. With `width: constant` a beam above one is not narrower: the next candidates that do not end
    take their places, and only what ends among the `beam` best of a step goes to the pool. A sentence is done when

    - the beam is empty, `beam` hypotheses having ended (a beam of one is greedy search), or
    - with `width: constant`, `beam` hypotheses have ended, and the `beam`-th best of the pool beats the best live one
      as if that ended without another piece (a guess: it may gain by length), or
    - with `narrowing`, no live hypothesis can still beat the n_best-th of the pool. log P only falls from here, every
      length divisor is largest at the greatest length, and coverage is at most 0: log P / length(greatest) is the most
      a live hypothesis can reach, or
    - the greatest length is reached, |y| = max(1, max_len_ratio * source pieces + max_len_extra). Only if nothing ended
      by then, the live ones are given, `ended` False, scored by the same formula.

    Source pieces are counted in the sentence itself, without EOS; min_len_ratio gives way to the greatest length. PAD
    and BOS are never emitted, though log P is of the full softmax, in float32. Equal candidates: the lower hypothesis,
    then the lower id, goes first; equal scores: the hypothesis that ended first. Neighbours in the batch change nothing
    of this. Pieces that no_repeat_ngram forbids leave log P as it is; with repetition_penalty, log P is the sum of what
    pieces count. The model is put in evaluation mode for the time. One transfer from the device a step.

    Raises UsageError where n_best exceeds the beam or coverage is asked of a model without attention, ModelError where
    the logits are not finite.
    """
    if not 1 <= n_best <= config.beam:
        raise UsageError(f"n_best is {n_best}: it must lie between 1 and the beam, {config.beam}", "raise search.beam")
    if src.shape[0] == 0:
        return []
    with at_rest(model):
        return _search(model, src, config, n_best, prefix, shortlist, want_weights)


def _search(
    model: Seq2Seq,
    src: Tensor,
    config: SearchConfig,
    n_best: int,
    prefix: Tensor | None,
    shortlist: Shortlist | None,
    want_weights: bool,
) -> list[list[Hypothesis]]:
    """`search` without its door."""
    K, device = config.beam, src.device
    books = Books(config, n_best, *count_source(src), count_prefix(prefix, len(src)))
    capacity = int(books.max_len.max())
    stepper = Stepper(model, src, config, K, capacity, prefix=prefix, shortlist=shortlist, want_weights=want_weights)

    total = torch.full((src.shape[0], K), -torch.inf, device=device)
    total[:, 0] = 0.0  # the K rows of a sentence are the same one at first
    stepper.living = np.tile(np.arange(K) == 0, (len(src), 1))
    room = torch.full((src.shape[0],), K, dtype=torch.int64, device=device)  # hypotheses that have not ended, at most
    wide = books.wide
    sentence = books.active  # of each position in the batch
    living = np.arange(len(sentence))  # positions of those that are still searched
    for t in range(1, capacity + 1):
        outlook = stepper.step(n=K + 4)
        may_end = torch.from_numpy(books.min_len[sentence] < t).to(device, non_blocking=True)
        chosen = choose(outlook, total, room, may_end, wide=wide, exact=False)
        report = _report(chosen, outlook, living)
        if report.broken:
            raise not_finite(t)
        if report.tied:
            chosen = choose(outlook, total, room, may_end, wide=wide, exact=True)
            report = _report(chosen, outlook, living)

        staying = books.enter(t, report)
        living = living[staying]
        if len(living) == 0:
            break
        alive = np.zeros(total.shape, dtype=bool)
        alive[living] = report.total[staying] > -np.inf
        parent, token, total, room = chosen.parent, chosen.token, chosen.total, chosen.room
        sentences = None
        if (size := round_up(len(living))) < len(sentence):
            kept = _with_some_more(living, len(sentence), size)
            sentence = sentence[kept]
            sentences = torch.from_numpy(kept).to(device)
            parent, token, total, room = (x[sentences] for x in (parent, token, total, room))
            alive, living = alive[kept], np.searchsorted(kept, living)
        stepper.follow(token, Going(sentences, parent if K > 1 else None), alive)
    return books.close()


def _with_some_more(living: NDArray[np.int64], B: int, size: int) -> NDArray[np.int64]:
    """These positions of the B, and as many others as make it so many, in order."""
    others = np.ones(B, dtype=bool)
    others[living] = False
    return np.union1d(living, np.flatnonzero(others)[: size - len(living)])


def choose(
    outlook: Outlook, total: Tensor, room: Tensor, may_end: Tensor, *, wide: bool = False, exact: bool
) -> Chosen:
    """The candidates that live on and that end: an outlook on the K + 4 best pieces, cumulated total (B, K), room and
    may_end (B,). wide: as many live on as may, whatever ends.

    Each row's best K + 3 words (three of them may be PAD, BOS and EOS) are taken by their raw logits: within a row
    these rank as the log-probabilities do. The outlook has any of several equal logits at its edge; where that could
    matter `tied` says so, and `exact` keeps the lowest ids, at the price of more passes.
    """
    B, K = total.shape
    logits, log_z, values, ids = outlook.logits, outlook.log_z, outlook.values, outlook.ids
    n = min(K + 3, values.shape[1])  # one more is there to see a tie
    if outlook.ordered and (native := native_for(values, log_z, total)) is not None:
        *found, broken = native.choose(
            (values, ids, log_z), total.contiguous(), room, may_end, (PAD, BOS, EOS), n=n, wide=wide
        )
        return Chosen(*found, tied=torch.zeros_like(broken), broken=broken)
    edge, beyond = values[:, n - 1], values[:, n] if values.shape[1] > n else None
    if exact:
        above, at_edge = logits > edge[:, None], logits == edge[:, None]
        left = n - above.sum(1, keepdim=True)
        kept = above | (at_edge & (at_edge.cumsum(1, dtype=torch.int32) <= left))
        ids = kept.nonzero()[:, 1].view(-1, n)
        kept_values = logits.gather(1, ids)
    else:
        ids, order = ids[:, :n].sort(dim=1)
        kept_values = values.gather(1, order)
    # A log-probability that rounding lifted above 0 would break the bound that ends a sentence.
    log_probs = (kept_values - log_z).clamp(max=0.0).view(B, K, n)
    ids = ids.view(B, K, n)
    banned = (ids == PAD) | (ids == BOS) | ((ids == EOS) & ~may_end[:, None, None])
    scores = (total[:, :, None] + log_probs).masked_fill(banned, -torch.inf).view(B, K * n)

    # Candidates lie in order of hypothesis and id, and the sort is stable: that is how equal ones are ordered.
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    # At most K of the candidates end, one of each row, so that among twice as many K are left that do not.
    scores, order = scores[:, : 2 * K if wide else K], order[:, : 2 * K if wide else K]
    ranks = torch.arange(scores.shape[1], device=logits.device)
    taken = ((ranks < room[:, None]) | wide) & (scores > -torch.inf)  # (B, K) or (B, 2 * K)
    ids, log_probs = ids.view(B, -1).gather(1, order), log_probs.view(B, -1).gather(1, order)
    parents = order // n
    ends = taken & (ids == EOS)
    lives = taken & ~ends
    first = (~lives).to(torch.uint8).sort(dim=1, stable=True).indices[:, :K]  # those that live on, best first
    after = scores.masked_fill(~lives, -torch.inf).gather(1, first)
    tied = torch.zeros(B, dtype=torch.bool, device=logits.device)
    if not exact and not outlook.ordered and beyond is not None:
        at_edge_total = total + (edge - log_z[:, 0]).clamp(max=0.0).view(B, K)
        # The worst that was taken, (B, 1): where it is the K-th that lives on, what ends stands before it.
        last = after[:, -1:] if wide else scores.gather(1, (room[:, None] - 1).clamp(min=0))
        tied = ((edge == beyond).view(B, K) & (at_edge_total >= last) & at_edge_total.isfinite()).any(1)
    return Chosen(
        parent=parents.gather(1, first),
        token=ids.gather(1, first),
        log_prob=log_probs.gather(1, first),
        total=after,
        room=room if wide else room - ends.sum(1),
        ends=ends[:, :K],
        end_parent=parents[:, :K],
        end_log_prob=log_probs[:, :K],
        tied=tied,
        broken=~log_z.isfinite().view(B, K).all(1),
    )


def _report(chosen: Chosen, outlook: Outlook, living: NDArray[np.int64]) -> Report:
    """The step's choices for the living sentences on the host, in one transfer."""
    B, K = chosen.total.shape
    cover = torch.zeros_like(chosen.total) if outlook.cover is None else outlook.cover
    columns = [chosen.parent, chosen.token, chosen.log_prob, chosen.total]
    columns += [chosen.ends, chosen.end_parent, chosen.end_log_prob, cover]
    columns.append(torch.stack([chosen.tied, chosen.broken], 1))
    if outlook.weights is not None:
        columns.append(outlook.weights)
    found = [table[living] if len(living) < B else table for table in to_host(columns)]
    parent, token, log_prob, total, ends, end_parent, end_log_prob, cover, flags, *weights = found
    return Report(
        parent=parent,
        token=token,
        log_prob=log_prob,
        total=total,
        ends=ends,
        end_parent=end_parent,
        end_log_prob=end_log_prob,
        cover=cover,
        weights=weights[0].reshape(len(living), K, -1) if weights else None,
        tied=bool(flags[:, 0].any()),
        broken=bool(flags[:, 1].any()),
    )
