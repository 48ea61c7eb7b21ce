"""Which target piece each source piece is likely translated by: IBM Model 1, by expectation maximisation.

Brown et al. 1993 (The Mathematics of Statistical Machine Translation, Computational Linguistics 19(2), section 4.1): of
a source e_1 ... e_S and a target f_1 ... f_T every target piece comes from any of the source pieces alike, or from none
(e_0, the empty word), with probability t(f | e):

    P(f_1 ... f_T | e)  ~  prod_j sum_i t(f_j | e_i)

    c(f | e) = sum over all pairs of  sum_{i, j: e_i = e, f_j = f}  t(f | e) / sum_k t(f | e_k),    t(f | e) ~ c(f | e)

EOS stands for the empty word: it ends every source that a model sees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.batch import EOS, runs
from nmt.corpus.sides import Store

ITERATIONS = 5
_LINKS = 1 << 21
"""Links (a target piece with a source piece of its pair) that are held at once; the links of one pair always are."""
_ENTRIES = 1 << 23
"""Pairs (e, f) that the table holds at most between chunks."""
_LEAST = 1e-7
"""A smaller t(f | e) leaves the table after an iteration."""

Counts = NDArray[np.float64]
Numbers = NDArray[np.int64]
Corpus = tuple[Store, Store]
"""Source and target of one corpus: sentence i of one translates sentence i of the other."""


@dataclass(frozen=True)
class Table:
    """t(f | e) of the pairs that occur: their numbers e * n_tgt + f, ascending, and their probabilities."""

    n_tgt: int
    keys: Numbers
    probabilities: Counts

    def ranked(self) -> tuple[Numbers, Numbers, Counts]:
        """e, f and t(f | e) of every entry: by e, likeliest first, equal ones by f."""
        e, f = np.divmod(self.keys, self.n_tgt)
        order = np.lexsort((f, -self.probabilities, e))
        return e[order], f[order], self.probabilities[order]


def align(
    corpora: Sequence[Corpus],
    n_src: int,
    n_tgt: int,
    *,
    iterations: int = ITERATIONS,
    links: int = _LINKS,
    entries: int = _ENTRIES,
    least: float = _LEAST,
) -> Table:
    """The table after some iterations of EM from a uniform one, over all pairs of all corpora.

    The text is gone through once an iteration, in chunks of `links`. What the first pass finds is cut to half of
    `entries`, those with the largest share of their source piece, whenever it has grown beyond `entries`; and what is
    below `least` goes after each iteration. Links outside the table have no weight. So memory is bounded, whatever the
    corpus: 1.2 GB with the defaults where the table fills up; Multi30k takes 0.4 GB. Sums are float64. Time is that
    of sorting all links, 4 million a second on one core, for each iteration: 8 s for Multi30k, a quarter of an hour
    for a million pairs of 25 pieces.
    """
    assert iterations > 0
    keys, counts = np.zeros(0, np.int64), np.zeros(0, np.float64)
    waiting: list[tuple[Numbers, Counts]] = []
    for chunk in _chunks(corpora, links, n_tgt):  # the first iteration: all t are equal
        waiting.append(chunk.summed(1.0 / chunk.widths[chunk.target]))
        if sum(len(more) for more, _ in waiting) >= max(links, len(keys)):
            keys, counts = _cut(*_merged([(keys, counts), *waiting]), n_tgt, entries)
            waiting = []
    keys, counts = _cut(*_merged([(keys, counts), *waiting]), n_tgt, entries)
    table = _normalised(keys, counts, n_src, n_tgt, least)
    for _ in range(iterations - 1):
        counts = np.zeros(len(table.keys))
        for chunk in _chunks(corpora, links, n_tgt):
            places = np.minimum(np.searchsorted(table.keys, chunk.keys), max(0, len(table.keys) - 1))
            found = table.keys[places] == chunk.keys
            t = np.where(found, table.probabilities[places], 0.0)[chunk.inverse]
            sums = _sums(chunk.target, t, len(chunk.widths))
            shares = t / np.maximum(sums, np.finfo(np.float64).tiny)[chunk.target]
            _, more = chunk.summed(shares)
            counts[places[found]] += more[found]
        table = _normalised(table.keys, counts, n_src, n_tgt, least)
    return table


@dataclass(frozen=True)
class _Chunk:
    """All links of some pairs: L links between T target pieces and their sources.

    keys     (N,) ascending: the different e * n_tgt + f among them; `inverse` (L,) says which is each link's
    target   (L,): the target piece of each link, by its number in the chunk
    widths   (T,): source pieces that each target piece is linked with, the empty word counted
    """

    keys: Numbers
    inverse: Numbers
    target: Numbers
    widths: Numbers

    def summed(self, weights: Counts) -> tuple[Numbers, Counts]:
        """`keys` with the weights (L,) of the links added up."""
        return self.keys, _sums(self.inverse, weights, len(self.keys))


def _chunks(corpora: Sequence[Corpus], links: int, n_tgt: int) -> Iterator[_Chunk]:
    """Consecutive pairs, as many as have `links` together; pairs without a target piece link nothing."""
    for (src, src_offsets), (tgt, tgt_offsets) in corpora:
        widths, heights = np.diff(src_offsets) + 1, np.diff(tgt_offsets)
        before = np.concatenate([[0], np.cumsum(widths * heights)])
        first = 0
        while first < len(widths):
            last = max(first + 1, int(np.searchsorted(before, before[first] + links, side="right")) - 1)
            source = np.insert(  # with the empty word after each sentence
                src[src_offsets[first] : src_offsets[last]].astype(np.int64),
                src_offsets[first + 1 : last + 1] - src_offsets[first],
                EOS,
            )
            starts = np.cumsum(widths[first:last]) - widths[first:last]
            wide = np.repeat(widths[first:last], heights[first:last])  # (T,)
            target = np.repeat(np.arange(len(wide)), wide)  # (L,)
            e = source[runs(np.repeat(starts, heights[first:last]), wide)]
            f = tgt[tgt_offsets[first] : tgt_offsets[last]].astype(np.int64)
            if len(wide):
                keys, inverse = np.unique(e * n_tgt + f[target], return_inverse=True)
                yield _Chunk(keys, inverse, target, wide)
            first = last


def _merged(parts: Sequence[tuple[Numbers, Counts]]) -> tuple[Numbers, Counts]:
    """All keys once, ascending, with their counts added up."""
    keys, inverse = np.unique(np.concatenate([keys for keys, _ in parts]), return_inverse=True)
    return keys, _sums(inverse, np.concatenate([counts for _, counts in parts]), len(keys))


def _cut(keys: Numbers, counts: Counts, n_tgt: int, entries: int) -> tuple[Numbers, Counts]:
    """Half of `entries`, those with the largest share of their source piece, where there are more than `entries`."""
    if len(keys) <= entries:
        return keys, counts
    shares = counts / _sums(keys // n_tgt, counts)[keys // n_tgt]
    kept = np.sort(np.argpartition(-shares, entries // 2)[: entries // 2])
    return keys[kept], counts[kept]


def _normalised(keys: Numbers, counts: Counts, n_src: int, n_tgt: int, least: float) -> Table:
    """Counts as probabilities of their source piece, those of at least `least`."""
    sums = np.maximum(_sums(keys // n_tgt, counts, n_src), np.finfo(np.float64).tiny)
    probabilities = counts / sums[keys // n_tgt]
    kept = probabilities >= least
    return Table(n_tgt, keys[kept], probabilities[kept])


def _sums(places: Numbers, numbers: Counts, n: int = 0) -> Counts:
    """(n,) or as long as it must be: the numbers added up at their places."""
    return np.asarray(np.bincount(places, numbers, n), np.float64)
