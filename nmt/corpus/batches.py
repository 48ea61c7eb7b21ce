"""Which sentence pairs an update sees: a pure function of (seed, epoch), so that resuming needs three integers.

An epoch's pairs are shuffled and, where their pieces are drawn anew, dealt into pools of a size that fits in memory:
only who has drawn a sentence's pieces knows how long it is. The pairs of a pool are cut into batches together. For
layout `padded` by length (cutting.py); for `rows` they are packed into rows, and rows into batches; for `flat` they are
taken in a random order in which the sides keep their ratio (packing.py). Then the batches are shuffled. Pairs meet
different neighbours in each epoch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nmt.batch import Batch, Indices, packed, padded
from nmt.corpus.cutting import divide
from nmt.corpus.packing import balanced, cuts, fill_rows
from nmt.corpus.shards import Prepared, Shard
from nmt.corpus.sides import Side, side_of, store_of
from nmt.corpus.tokenizer import Tokenizer
from nmt.recipe import TrainConfig
from nmt.recipe_models import Layout

POOL = 1 << 16
"""Pairs whose pieces are drawn at one time, at most: some two seconds' work, and enough of them for little padding."""


@dataclass(frozen=True)
class Sampling:
    """Pieces are drawn anew in each epoch; see Tokenizer.sample."""

    tokenizers: tuple[Tokenizer, Tokenizer]
    amount: float


@dataclass(frozen=True)
class Pool:
    """Pairs that are cut into batches together; any of them can be loaded as a batch.

    A pair goes by its place in the pool: one that an epoch takes twice has two places.

    pairs    (n,): the pair at each place, by a number that counts through all corpora
    batches  the places of each batch
    src, tgt  the sentences
    widths   for `rows` and `flat`: source and target positions of a row that holds no longer pair
    rows     (n,): for `rows`, the row that each pair is in
    """

    pairs: Indices
    batches: list[Indices]
    src: Side
    tgt: Side
    layout: Layout
    widths: tuple[int, int]
    rows: Indices

    def load(self, places: Indices, parts: int = 1) -> Batch:
        """The batch of the pairs at these places: a batch of the pool, or with `parts` one of so many parts of it.

        Pairs that shared a row still do. A row of `rows` is wider where a pair is longer than `widths`, and that of
        `flat` where `widths`, or a part's share of it, does not hold all pairs.
        """
        src, tgt = self.src.take(places), self.tgt.take(places)
        if self.layout == "padded":
            return padded(src, tgt)
        if self.layout == "rows":
            rows = np.unique(self.rows[places], return_inverse=True)[1]
            needed, widths = (int(src.lengths.max()), int(tgt.lengths.max())), self.widths
        else:
            rows = np.zeros(len(places), np.int64)
            needed, widths = (len(src.ids), len(tgt.ids)), (-(-self.widths[0] // parts), -(-self.widths[1] // parts))
        wide = max(needed[0], widths[0]), max(needed[1], widths[1])
        return packed(src, tgt, rows, wide, self.layout)

    def cut(self, places: Indices, parts: int) -> list[Indices]:
        """A batch in so many parts of about one size; fewer where it has too few pairs, or rows, which stay whole."""
        if parts == 1:
            return [places]
        src, tgt = self.src.lengths[places], self.tgt.lengths[places]
        if self.layout == "padded":
            return [places[part] for part in _even(np.lexsort((src, tgt)), parts)]
        if self.layout == "rows":
            rows = self.rows[places]
            return [places[np.isin(rows, part)] for part in _even(np.unique(rows), parts)]
        ends = np.cumsum(src + tgt)
        found = np.split(places, np.searchsorted(ends, ends[-1] * np.arange(1, parts) / parts))
        return [part for part in found if len(part)]


def _even(things: Indices, parts: int) -> list[Indices]:
    return np.array_split(things, min(parts, len(things)))


@dataclass(frozen=True)
class Batches:
    """All training pairs, cut into batches of at most `tokens` real target tokens or of `sentences` pairs.

    Layouts `rows` and `flat` need `tokens`. A row of `rows` has `row_tokens` positions, at most `tokens`, on the side
    that is longer in all; the other side has fewer, by the ratio of the two. That of `flat` has `tokens` target
    positions and source positions by the ratio.
    """

    corpora: Sequence[Shard]
    seed: int
    tokens: int | None = None
    sentences: int | None = None
    layout: Layout = "padded"
    row_tokens: int = 128
    sampling: Sampling | None = None

    @cached_property
    def pools(self) -> int:
        """Pools of each epoch: one, or as many as it takes where pieces are drawn anew."""
        if self.sampling is None:
            return 1
        return max(1, -(-round(sum(corpus.weight * len(corpus) for corpus in self.corpora)) // POOL))

    @cached_property
    def widths(self) -> tuple[int, int]:
        """Source and target positions of a row of layout `rows` or `flat`, by the lengths as prepared."""
        if self.layout == "padded":
            return 0, 0
        assert self.tokens is not None, "fixed rows go with batches of tokens"
        src = sum(corpus.weight * (len(corpus) + int(corpus.src[1][-1])) for corpus in self.corpora)
        tgt = sum(corpus.weight * (len(corpus) + int(corpus.tgt[1][-1])) for corpus in self.corpora)
        if self.layout == "flat":
            return math.ceil(self.tokens * src / tgt), self.tokens
        longest = min(self.row_tokens, self.tokens)
        by_ratio = [min(longest, math.ceil(longest * side / max(src, tgt))) for side in (src, tgt)]
        return by_ratio[0], by_ratio[1]

    def pool(self, epoch: int, number: int = 0) -> Pool:
        """A pool of an epoch, both counted from 0, with its batches in their order."""
        pairs = np.concatenate([self._chosen(c, epoch) for c in range(len(self.corpora))])
        if self.pools > 1:
            shuffled = np.random.default_rng([self.seed, epoch, 3]).permutation(pairs)
            pairs = np.array_split(shuffled, self.pools)[number]
        src, tgt = self._sides(pairs, epoch, number)
        rng = np.random.default_rng([self.seed, epoch, 1, number])
        rows, cut = self._cut(src.lengths, tgt.lengths, rng)
        return Pool(pairs, [cut[i] for i in rng.permutation(len(cut))], src, tgt, self.layout, self.widths, rows)

    def _chosen(self, c: int, epoch: int) -> Indices:
        """Pairs of corpus c in this epoch: the next weight * len(corpus) of an endless row of its permutations."""
        size, weight = len(self.corpora[c]), self.corpora[c].weight
        first, last = round(epoch * weight * size), round((epoch + 1) * weight * size)
        offset = sum(len(corpus) for corpus in self.corpora[:c])
        parts = []
        for turn in range(first // size, -(-last // size)):
            permutation = np.random.default_rng([self.seed, turn, 2, c]).permutation(size)
            parts.append(permutation[max(first - turn * size, 0) : min(last - turn * size, size)])
        return np.concatenate([np.empty(0, np.int64), *parts]) + offset

    def _sides(self, pairs: Indices, epoch: int, number: int) -> tuple[Side, Side]:
        """Source and target of these pairs: as prepared, or their pieces drawn anew."""
        if self.sampling is None:
            return side_of([c.src for c in self.corpora], pairs), side_of([c.tgt for c in self.corpora], pairs)
        firsts = np.cumsum([0, *(len(corpus) for corpus in self.corpora)])
        which = np.searchsorted(firsts, pairs, side="right") - 1
        found = [(self.corpora[c], int(i - firsts[c])) for c, i in zip(which, pairs, strict=True)]
        lines = [corpus.src_line(i) for corpus, i in found], [corpus.tgt_line(i) for corpus, i in found]
        seed = int(np.random.SeedSequence([self.seed, epoch, 4, number]).generate_state(1)[0]) >> 1
        src, tgt = (
            side_of([store_of(tokenizer.sample(text, self.sampling.amount, seed + i))], np.arange(len(pairs)))
            for i, (tokenizer, text) in enumerate(zip(self.sampling.tokenizers, lines, strict=True))
        )
        return src, tgt

    def _cut(self, src: Indices, tgt: Indices, rng: np.random.Generator) -> tuple[Indices, list[Indices]]:
        """The row of each pair, and the places of each batch."""
        none = np.empty(0, np.int64)
        if not len(src):
            return none, []
        if self.sentences is not None:
            return none, divide(src, tgt, self.sentences, rng, by_sentences=True)
        assert self.tokens is not None
        if self.layout == "padded":
            return none, divide(src, tgt, self.tokens, rng)
        if self.layout == "flat":
            order = balanced(src, tgt, rng)
            return none, np.split(order, cuts((src[order], tgt[order]), self.widths)[1:])
        # A pair that is longer than a row has one to itself, in batches of such pairs.
        fits = (src <= self.widths[0]) & (tgt <= self.widths[1])
        usual, long = np.flatnonzero(fits), np.flatnonzero(~fits)
        rows = np.empty(len(src), np.int64)
        rows[usual] = fill_rows(src[usual], tgt[usual], self.widths, rng)
        n_rows = int(rows[usual].max(initial=-1)) + 1
        rows[long] = n_rows + np.arange(len(long))
        return rows, [
            *self._of_rows(usual, rows, n_rows, rng),
            *(long[part] for part in divide(src[long], tgt[long], self.tokens, rng)),
        ]

    def _of_rows(self, places: Indices, rows: Indices, n_rows: int, rng: np.random.Generator) -> list[Indices]:
        """Batches of as many rows as hold no more target tokens than the limit, or one less, whichever row it is."""
        if not n_rows:
            return []
        assert self.tokens is not None
        batch_of_row = np.empty(n_rows, np.int64)
        n_batches = -(-n_rows // max(1, self.tokens // self.widths[1]))
        batch_of_row[rng.permutation(n_rows)] = np.arange(n_rows) % n_batches
        batch = batch_of_row[rows[places]]
        by_batch = np.lexsort((rows[places], batch))
        return np.split(places[by_batch], np.searchsorted(batch[by_batch], np.arange(1, n_batches)))


def batches_of(train: TrainConfig, prepared: Prepared, tokens: int | None = None) -> Batches:
    """The training's batches; `tokens` stands for its train.batch_tokens."""
    assert train.layout != "auto", "training/forms.py chooses"
    amount = train.subword_sampling
    return Batches(
        prepared.train,
        train.seed,
        train.tokens if tokens is None else tokens,
        train.batch_sentences,
        train.layout,
        train.row_tokens,
        Sampling(prepared.tokenizers, amount) if amount else None,
    )


def in_order(corpus: Shard, tokens: int) -> Iterator[tuple[Indices, Batch]]:
    """All pairs of a corpus once, sorted by length, in batches of at most `tokens` target tokens: for validation."""
    src, tgt = (side_of([side], np.arange(len(corpus))) for side in (corpus.src, corpus.tgt))
    order = np.lexsort((src.lengths, tgt.lengths))
    for places in np.split(order, cuts((tgt.lengths[order],), (tokens,))[1:]):
        yield places, padded(src.take(places), tgt.take(places))
