"""The host's side of beam search: back-pointers, pools of finished hypotheses, and the rule that ends a sentence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nmt.batch import EOS
from nmt.recipe import SearchConfig
from nmt.search.hypothesis import Hypothesis
from nmt.search.penalty import length_divisor
from nmt.search.stepper import Floats, Ints, length_limits


@dataclass(frozen=True)
class Report:
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


@dataclass(frozen=True)
class _Leaf:
    """Where a hypothesis stopped: step t extended its row `row` by EOS, or by `token` where it was cut."""

    score: float
    t: int
    row: int
    log_prob: float
    ended: bool
    token: int = EOS


class Books:
    """Back-pointers, pools and the rule that ends a sentence, on the host; all scores are numpy float32.

    The bound that ends a sentence and the scores it is compared with go through the same float32 operations in the same
    order, so that rounding cannot make a live hypothesis beat a bound that said it could not.
    """

    def __init__(
        self,
        config: SearchConfig,
        n_best: int,
        n_pieces: NDArray[np.int64],
        n_tokens: NDArray[np.int64],
        n_prefix: NDArray[np.int64],
    ) -> None:
        self.min_len, self.max_len = length_limits(config, n_pieces, n_prefix)  # (sentences,)
        self.active = np.arange(len(n_pieces))  # sentence by position in the batch as it is now
        self.K, self.n_best, self.n_tokens = config.beam, n_best, n_tokens
        self.wide = config.width == "constant" and config.beam > 1  # whether hypotheses that end leave room for others
        lengths = range(int(self.max_len.max()) + 1)
        self.divisors = np.array([length_divisor(config, max(n, 1)) for n in lengths], dtype=np.float32)
        self.pools: list[list[_Leaf]] = [[] for _ in n_pieces]
        # One array a step over all sentences, written where the sentence was still searched.
        self.parents: list[Ints] = []
        self.tokens: list[Ints] = []
        self.log_probs: list[Floats] = []
        self.weights: list[Floats] = []
        self.totals = np.zeros((len(n_pieces), self.K), dtype=np.float32)
        self._history: list[list[list[Any]]] = []  # tokens, log-probabilities, parents: by sentence, steps * K

    def enter(self, t: int, report: Report) -> NDArray[np.int64]:
        """Takes in step t (from 1 on) and gives the positions of the sentences that go on, in order."""
        divisor = self.divisors[t]
        positions, ranks = np.nonzero(report.ends)
        for i, rank in zip(positions.tolist(), ranks.tolist(), strict=True):
            row, log_prob = report.end_parent[i, rank], report.end_log_prob[i, rank]
            sentence = self.active[i]
            score = (self.totals[sentence, row] + log_prob) / divisor + report.cover[i, row]
            self.pools[sentence].append(_Leaf(float(score), t, int(row), float(log_prob), True))

        best = report.total[:, 0]
        reachable = best / divisor if self.wide else self.reachable(best, self.max_len[self.active])
        enough = self.K if self.wide else self.n_best
        over = (t >= self.max_len[self.active]) | np.isneginf(best)
        filled = np.array([len(self.pools[sentence]) for sentence in self.active])
        for i in np.nonzero(over & (filled == 0))[0].tolist():
            self._cut(i, int(self.active[i]), t, report)
        going = ~over
        for i in np.nonzero(going & (filled >= enough))[0].tolist():
            scores = sorted((leaf.score for leaf in self.pools[self.active[i]]), reverse=True)
            going[i] = scores[enough - 1] < reachable[i]

        self._remember(report)
        staying = np.nonzero(going)[0]
        self.active = self.active[staying]
        return staying

    def reachable(self, total: Floats, max_len: NDArray[np.int64]) -> Floats:
        """The most that a live hypothesis of log-probability `total` can still score: the bound of `search`."""
        return total / self.divisors[max_len]

    def _cut(self, i: int, sentence: int, t: int, report: Report) -> None:
        """Puts the live hypotheses of a sentence that never ended into its pool."""
        for k in range(self.K):
            if np.isneginf(report.total[i, k]):
                break
            row = int(report.parent[i, k])
            score = report.total[i, k] / self.divisors[t] + report.cover[i, row]
            leaf = _Leaf(float(score), t, row, float(report.log_prob[i, k]), False, int(report.token[i, k]))
            self.pools[sentence].append(leaf)

    def _remember(self, report: Report) -> None:
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

    def adopt(
        self, sentences: NDArray[np.int64], history: Ints, scores: Floats, leaves: Ints, weights: Floats | None
    ) -> None:
        """Takes over what search/board.py has kept of these sentences (N,): history (t, 3, N, K), its pool's scores
        (N, K) and leaves (N, K, 4), and attention (t, N, K, S).
        """
        nothing = (len(self.pools), self.K)
        for steps, dtype in ((self.parents, np.int32), (self.tokens, np.int32), (self.log_probs, np.float32)):
            steps += [np.zeros(nothing, dtype=dtype) for _ in range(len(history) - len(steps))]
        for t, (parents, tokens, log_probs) in enumerate(history):
            self.parents[t][sentences] = parents
            self.tokens[t][sentences] = tokens
            self.log_probs[t][sentences] = log_probs.view(np.float32)
        if weights is not None:
            more = range(len(weights) - len(self.weights))
            self.weights += [np.zeros((*nothing, weights.shape[-1]), dtype=np.float32) for _ in more]
            for t, looked in enumerate(weights):
                self.weights[t][sentences] = looked
        last = leaves[:, :, 3].copy().view(np.float32)
        for i, k in zip(*np.nonzero(scores > -np.inf), strict=True):
            t, row, token, _ = leaves[i, k].tolist()
            leaf = _Leaf(float(scores[i, k]), t, row, float(last[i, k]), token == EOS, token)
            self.pools[sentences[i]].append(leaf)

    def close(self) -> list[list[Hypothesis]]:
        """The hypotheses of every sentence, best first; of equal scores the first that ended leads (a stable sort)."""
        # Plain numbers, as those of numpy cost ten times as much one by one; and one list of them for each sentence, as
        # the garbage collector goes through all there is once enough lists are made.
        told = (self.tokens, self.log_probs, self.parents)
        self._history = [np.stack(steps, 1).reshape(len(steps[0]), -1).tolist() if steps else [] for steps in told]
        found = []
        for sentence, pool in enumerate(self.pools):
            best = sorted(pool, key=lambda leaf: -leaf.score)[: self.n_best]
            # Empty pool: every word had probability 0 or was forbidden at some step, min_len_ratio forbidding the end.
            found.append([self._trace(sentence, leaf) for leaf in best] or [Hypothesis([], -np.inf, [], False)])
        return found

    def _trace(self, sentence: int, leaf: _Leaf) -> Hypothesis:
        """A leaf's history, read backwards through the parents."""
        ids, log_probs, row, rows = [leaf.token], [leaf.log_prob], leaf.row, [leaf.row]
        tokens, steps, parents = (table[sentence] for table in self._history)
        for first in range((leaf.t - 2) * self.K, -1, -self.K):
            ids.append(tokens[first + row])
            log_probs.append(steps[first + row])
            row = parents[first + row]
            rows.append(row)
        alignment = None
        if self.weights:
            width = int(self.n_tokens[sentence])
            columns = [self.weights[t][sentence, row, :width] for t, row in enumerate(reversed(rows))]
            alignment = torch.from_numpy(np.stack(columns))
        ids.reverse()
        return Hypothesis(ids[:-1] if leaf.ended else ids, leaf.score, log_probs[::-1], leaf.ended, alignment)
