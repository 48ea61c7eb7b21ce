"""Beam search over the contract of `models/contract.py`; greedy search is a beam of one.

The device chooses, the host keeps the books: every step ends in one small transfer with what was chosen, from which the
host writes back-pointers, fills the pools of finished hypotheses and says which sentences are done. Those leave the
batch at once.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt.batch import BOS, EOS, PAD
from nmt.errors import ModelError, UsageError
from nmt.models.contract import Seq2Seq, select_rows
from nmt.recipe import SearchConfig
from nmt.search.penalty import coverage, length_divisor

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Hypothesis:
    """One translation that search found.

    ids              the pieces, without BOS and EOS
    score            log P / length + coverage, as `SearchConfig` words it
    token_log_probs  log-probabilities of the pieces and, where the hypothesis ended, of its EOS: |y| numbers that sum
                     to log P
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


@dataclass(frozen=True)
class _Chosen:
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


@dataclass(frozen=True)
class _Report:
    """A step's choices on the host: B sentences still searched, K hypotheses, S source positions."""

    parent: Ints  # (B, K)
    token: Ints  # (B, K)
    log_prob: Floats  # (B, K)
    total: Floats  # (B, K)
    ends: Ints  # (B, K)
    end_parent: Ints  # (B, K)
    end_log_prob: Floats  # (B, K)
    cover: Floats  # (B, K): the coverage term by the row that was extended
    weights: Floats | None  # (B, K, S): attention by the row that was extended
    tied: bool
    broken: bool


def search(
    model: Seq2Seq, src: Tensor, config: SearchConfig, *, n_best: int = 1, want_weights: bool = False
) -> list[list[Hypothesis]]:
    """The best translations of each of the B sentences, best first: 1 to n_best hypotheses, all different.

    src  (B, S) int64 on the model's device, each row ending with EOS, PAD on the right.

    At each step the best candidates by log P are taken, as many as there is room for in the beam; those that end leave
    it for the sentence's pool (Sutskever et al. 2014, section 3.2), where the score of `SearchConfig` ranks them, and
    the beam is narrower by as many. So the likeliest hypothesis is always followed to its end, however many unlikely
    ones ended before it. A sentence is done when

    - the beam is empty, `beam` hypotheses having ended (a beam of one is greedy search), or
    - no live hypothesis can still beat the n_best-th of the pool. log P only falls from here, every length divisor is
      largest at the greatest length, and coverage is at most 0: log P / length(greatest) is the most a live hypothesis
      can reach, or
    - the greatest length is reached, |y| = max(1, max_len_ratio * source pieces + max_len_extra). Only if nothing ended
      by then, the live ones are given, `ended` False, scored by the same formula.

    Source pieces are counted in the sentence itself, without EOS; min_len_ratio gives way to the greatest length. PAD
    and BOS are never emitted, though log P is of the full softmax, in float32. Equal candidates: the lower hypothesis,
    then the lower id, goes first; equal scores: the hypothesis that ended first. Neighbours in the batch change nothing
    of this. The model is put in evaluation mode for the time. One transfer from the device a step.

    Raises UsageError where n_best exceeds the beam or coverage is asked of a model without attention, ModelError where
    the logits are not finite.
    """
    if not 1 <= n_best <= config.beam:
        raise UsageError(f"n_best is {n_best}: it must lie between 1 and the beam, {config.beam}", "raise search.beam")
    if src.shape[0] == 0:
        return []
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), model.settled():
            return _search(model, src, config, n_best, want_weights)
    finally:
        model.train(was_training)


def _search(
    model: Seq2Seq, src: Tensor, config: SearchConfig, n_best: int, want_weights: bool
) -> list[list[Hypothesis]]:
    """`search` without its door."""
    K, device, covering = config.beam, src.device, config.coverage_penalty > 0.0
    keep = src != PAD
    counts = torch.stack([(keep & (src != EOS)).sum(1), keep.sum(1)]).cpu().numpy()
    books = _Books(config, n_best, counts[0], counts[1])
    capacity = int(books.max_len.max())

    memory = model.encode(src, keep)
    state = model.start(memory, K, capacity)
    prev = torch.full((src.shape[0] * K,), BOS, dtype=torch.int64, device=device)
    total = torch.full((src.shape[0], K), -torch.inf, device=device)
    total[:, 0] = 0.0  # the K rows of a sentence are the same one at first
    room = torch.full((src.shape[0],), K, dtype=torch.int64, device=device)  # hypotheses that have not ended, at most
    attended: Tensor | None = None  # (B, K, S), summed over steps
    for t in range(1, capacity + 1):
        step = model.step(prev, memory, state, want_weights or covering)
        logits = model.project(step.features).float()  # (R, V)
        B = total.shape[0]
        weights = None if step.weights is None else step.weights.float().mean((1, 2)).view(B, K, -1)  # (B, K, S)
        cover = None
        if covering:
            if weights is None:
                raise UsageError(
                    "search.coverage_penalty is above 0, but this model has no attention to measure coverage by",
                    "set search.coverage_penalty to 0",
                )
            attended = weights if attended is None else attended + weights
            cover = coverage(attended, memory.keep, config.coverage_penalty)
        may_end = torch.from_numpy(books.min_len[books.active] < t).to(device, non_blocking=True)

        chosen = _choose(logits, total, room, may_end, exact=False)
        report = _to_host(chosen, cover, weights if want_weights else None)
        if report.broken:
            raise ModelError(
                f"the model's logits at target position {t} are not finite",
                "the weights are damaged or training diverged: use an earlier checkpoint",
            )
        if report.tied:
            chosen = _choose(logits, total, room, may_end, exact=True)
            report = _to_host(chosen, cover, weights if want_weights else None)

        staying = books.enter(t, report)
        if len(staying) == 0:
            break
        parent, token, total, room = chosen.parent, chosen.token, chosen.total, chosen.room
        first = torch.arange(B, device=device)[:, None] * K
        if len(staying) < B:
            sentences = torch.from_numpy(staying).to(device)
            memory = select_rows(memory, sentences)
            parent, token, total, room, first = (x[sentences] for x in (parent, token, total, room, first))
        rows = (first + parent).view(-1)
        state = step.state if K == 1 and len(staying) == B else select_rows(step.state, rows)
        if attended is not None:
            attended = attended.view(B * K, -1)[rows].view(len(staying), K, -1)
        prev = token.reshape(-1)
    return books.close()


def _choose(logits: Tensor, total: Tensor, room: Tensor, may_end: Tensor, *, exact: bool) -> _Chosen:
    """The candidates that live on and that end: logits (B * K, V), cumulated total (B, K), room and may_end (B,).

    Each row's best K + 3 words (three of them may be PAD, BOS and EOS) are taken by their raw logits: within a row
    these rank as the log-probabilities do, so no (R, V) copy of log-probabilities is made. `topk` keeps any of several
    equal logits at its edge; where that could matter `tied` says so, and `exact` keeps the lowest ids, at the price of
    more passes.
    """
    B, K = total.shape
    n = min(K + 3, logits.shape[1])
    values, ids = logits.topk(min(n + 1, logits.shape[1]), dim=1)  # (R, n + 1), the last one only to see a tie
    log_z = logits.logsumexp(1, keepdim=True)  # (R, 1)
    edge, beyond = values[:, n - 1], values[:, n] if values.shape[1] > n else None
    if exact:
        above, at_edge = logits > edge[:, None], logits == edge[:, None]
        left = n - above.sum(1, keepdim=True)
        kept = above | (at_edge & (at_edge.cumsum(1, dtype=torch.int32) <= left))
        ids = kept.nonzero()[:, 1].view(-1, n)
    else:
        ids = ids[:, :n].sort(dim=1).values
    # A log-probability that rounding lifted above 0 would break the bound that ends a sentence.
    log_probs = (logits.gather(1, ids) - log_z).clamp(max=0.0).view(B, K, n)
    ids = ids.view(B, K, n)
    banned = (ids == PAD) | (ids == BOS) | ((ids == EOS) & ~may_end[:, None, None])
    scores = (total[:, :, None] + log_probs).masked_fill(banned, -torch.inf).view(B, K * n)

    # Candidates lie in order of hypothesis and id, and the sort is stable: that is how equal ones are ordered.
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    scores, order = scores[:, :K], order[:, :K]
    ranks = torch.arange(K, device=logits.device)
    taken = (ranks < room[:, None]) & (scores > -torch.inf)  # (B, K)
    ids, log_probs = ids.view(B, -1).gather(1, order), log_probs.view(B, -1).gather(1, order)
    parents = order // n
    ends = taken & (ids == EOS)
    lives = taken & ~ends
    first = (~lives).to(torch.uint8).sort(dim=1, stable=True).indices  # those that live on, best first, then the rest
    tied = torch.zeros(B, dtype=torch.bool, device=logits.device)
    if not exact and beyond is not None:
        at_edge_total = total + (edge - log_z[:, 0]).clamp(max=0.0).view(B, K)
        last = scores.gather(1, (room[:, None] - 1).clamp(min=0))  # the worst that was taken, (B, 1)
        tied = ((edge == beyond).view(B, K) & (at_edge_total >= last) & at_edge_total.isfinite()).any(1)
    return _Chosen(
        parent=parents.gather(1, first),
        token=ids.gather(1, first),
        log_prob=log_probs.gather(1, first),
        total=scores.masked_fill(~lives, -torch.inf).gather(1, first),
        room=room - ends.sum(1),
        ends=ends,
        end_parent=parents,
        end_log_prob=log_probs,
        tied=tied,
        broken=~log_z.isfinite().view(B, K).all(1),
    )


def _to_host(chosen: _Chosen, cover: Tensor | None, weights: Tensor | None) -> _Report:
    """The step's choices in one transfer: all columns as int32, floats by their bits."""
    B, K = chosen.total.shape

    def bits(tensor: Tensor) -> Tensor:
        return tensor.contiguous().view(torch.int32) if tensor.is_floating_point() else tensor.to(torch.int32)

    columns = [chosen.parent, chosen.token, chosen.log_prob, chosen.total]
    columns += [chosen.ends, chosen.end_parent, chosen.end_log_prob]
    columns.append(torch.zeros_like(chosen.total) if cover is None else cover)
    columns.append(torch.stack([chosen.tied, chosen.broken], 1))
    if weights is not None:
        columns.append(weights.reshape(B, -1))
    table: Ints = torch.cat([bits(c) for c in columns], 1).cpu().numpy()
    ints = [table[:, i * K : (i + 1) * K] for i in range(8)]
    parent, token, log_prob, total, ends, end_parent, end_log_prob, covered = ints
    flags = table[:, 8 * K : 8 * K + 2]
    return _Report(
        parent=parent,
        token=token,
        log_prob=log_prob.view(np.float32),
        total=total.view(np.float32),
        ends=ends,
        end_parent=end_parent,
        end_log_prob=end_log_prob.view(np.float32),
        cover=covered.view(np.float32),
        weights=None if weights is None else table[:, 8 * K + 2 :].view(np.float32).reshape(B, K, -1),
        tied=bool(flags[:, 0].any()),
        broken=bool(flags[:, 1].any()),
    )


@dataclass(frozen=True)
class _Leaf:
    """Where a hypothesis stopped: step t extended its row `row` by EOS, or by `token` where it was cut."""

    score: float
    t: int
    row: int
    log_prob: float
    ended: bool
    token: int = EOS


class _Books:
    """Back-pointers, pools and the rule that ends a sentence, on the host; all scores are numpy float32.

    The bound that ends a sentence and the scores it is compared with go through the same float32 operations in the same
    order, so that rounding cannot make a live hypothesis beat a bound that said it could not.
    """

    def __init__(
        self, config: SearchConfig, n_best: int, n_pieces: NDArray[np.int64], n_tokens: NDArray[np.int64]
    ) -> None:
        longest = np.floor(config.max_len_ratio * n_pieces + config.max_len_extra)
        self.max_len = np.maximum(longest, 1).astype(np.int64)  # (sentences,)
        shortest = np.ceil(config.min_len_ratio * n_pieces).astype(np.int64)
        self.min_len = np.minimum(shortest, self.max_len - 1)  # pieces before an EOS
        self.active = np.arange(len(n_pieces))  # sentence by position in the batch as it is now
        self.K, self.n_best, self.n_tokens = config.beam, n_best, n_tokens
        lengths = range(int(self.max_len.max()) + 1)
        self.divisors = np.array([length_divisor(config, max(n, 1)) for n in lengths], dtype=np.float32)
        self.pools: list[list[_Leaf]] = [[] for _ in n_pieces]
        # One array a step over all sentences, written where the sentence was still searched.
        self.parents: list[Ints] = []
        self.tokens: list[Ints] = []
        self.log_probs: list[Floats] = []
        self.weights: list[Floats] = []
        self.totals = np.zeros((len(n_pieces), self.K), dtype=np.float32)

    def enter(self, t: int, report: _Report) -> NDArray[np.int64]:
        """Takes in step t (from 1 on) and gives the positions of the sentences that go on, in order."""
        divisor = self.divisors[t]
        positions, ranks = np.nonzero(report.ends)
        for i, rank in zip(positions.tolist(), ranks.tolist(), strict=True):
            row, log_prob = report.end_parent[i, rank], report.end_log_prob[i, rank]
            sentence = self.active[i]
            score = (self.totals[sentence, row] + log_prob) / divisor + report.cover[i, row]
            self.pools[sentence].append(_Leaf(float(score), t, int(row), float(log_prob), True))

        reachable = self.reachable(report.total[:, 0], self.max_len[self.active])
        going = np.ones(len(self.active), dtype=bool)
        for i, sentence in enumerate(self.active.tolist()):
            pool = self.pools[sentence]
            if t >= self.max_len[sentence] or np.isneginf(report.total[i, 0]):
                going[i] = False
                if not pool:
                    self._cut(i, sentence, t, report)
            elif len(pool) >= self.n_best:
                worst_kept = sorted((leaf.score for leaf in pool), reverse=True)[self.n_best - 1]
                going[i] = bool(worst_kept < reachable[i])

        self._remember(report)
        staying = np.nonzero(going)[0]
        self.active = self.active[staying]
        return staying

    def reachable(self, total: Floats, max_len: NDArray[np.int64]) -> Floats:
        """The most that a live hypothesis of log-probability `total` can still score: the bound of `search`."""
        return total / self.divisors[max_len]

    def _cut(self, i: int, sentence: int, t: int, report: _Report) -> None:
        """Puts the live hypotheses of a sentence that never ended into its pool."""
        for k in range(self.K):
            if np.isneginf(report.total[i, k]):
                break
            row = int(report.parent[i, k])
            score = report.total[i, k] / self.divisors[t] + report.cover[i, row]
            leaf = _Leaf(float(score), t, row, float(report.log_prob[i, k]), False, int(report.token[i, k]))
            self.pools[sentence].append(leaf)

    def _remember(self, report: _Report) -> None:
        """Writes the step's back-pointers for the sentences it was about."""

        def spread(values: NDArray) -> NDArray:
            whole = np.zeros((len(self.pools), *values.shape[1:]), dtype=values.dtype)
            whole[self.active] = values
            return whole

        self.parents.append(spread(report.parent))
        self.tokens.append(spread(report.token))
        self.log_probs.append(spread(report.log_prob))
        if report.weights is not None:
            self.weights.append(spread(report.weights))
        self.totals[self.active] = report.total

    def close(self) -> list[list[Hypothesis]]:
        """The hypotheses of every sentence, best first; of equal scores the first that ended leads (a stable sort)."""
        found = []
        for sentence, pool in enumerate(self.pools):
            best = sorted(pool, key=lambda leaf: -leaf.score)[: self.n_best]
            # Empty pool: every word had probability 0 at some step, which only a vocabulary cut to nothing can do.
            found.append([self._trace(sentence, leaf) for leaf in best] or [Hypothesis([], -np.inf, [], False)])
        return found

    def _trace(self, sentence: int, leaf: _Leaf) -> Hypothesis:
        """A leaf's history, read backwards through the parents."""
        ids, log_probs, rows = [leaf.token], [leaf.log_prob], [leaf.row]
        for t in range(leaf.t - 2, -1, -1):
            row = rows[-1]
            ids.append(int(self.tokens[t][sentence, row]))
            log_probs.append(float(self.log_probs[t][sentence, row]))
            rows.append(int(self.parents[t][sentence, row]))
        alignment = None
        if self.weights:
            width = int(self.n_tokens[sentence])
            columns = [self.weights[t][sentence, row, :width] for t, row in enumerate(reversed(rows))]
            alignment = torch.from_numpy(np.stack(columns))
        ids.reverse()
        return Hypothesis(ids[:-1] if leaf.ended else ids, leaf.score, log_probs[::-1], leaf.ended, alignment)
