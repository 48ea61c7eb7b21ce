"""Which sentence pairs an update sees: a pure function of (seed, epoch), so that resuming needs two integers.

Pairs are shuffled, sorted by length so that a batch holds sentences of about one length and little padding, cut into
batches, and the batches are shuffled. Because the shuffle comes before the stable sort, pairs of equal lengths meet
different neighbours in each epoch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmt.batch import Batch, Ids, padded_batch
from nmt.corpus.shards import Shard
from nmt.corpus.tokenizer import Tokenizer

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Batches:
    """All training pairs, cut into batches of at most `tokens` real target tokens or of `sentences` pairs."""

    corpora: Sequence[Shard]
    seed: int
    tokens: int | None = None
    sentences: int | None = None

    def epoch(self, epoch: int) -> list[Indices]:
        """The batches of an epoch (from 0), in their order: arrays of pair numbers that count through all corpora."""
        chosen = np.concatenate([self._chosen(c, epoch) for c in range(len(self.corpora))])
        src = np.concatenate([corpus.src_lengths for corpus in self.corpora])[chosen] + 1
        tgt = np.concatenate([corpus.tgt_lengths for corpus in self.corpora])[chosen] + 1
        rng = np.random.default_rng([self.seed, epoch, 1])
        shuffled = rng.permutation(len(chosen))
        order = shuffled[np.lexsort((src[shuffled], tgt[shuffled]))]
        cuts = self._cuts(tgt[order])
        # A tiny corpus of small weight has epochs without any pair.
        batches = [chosen[part] for part in np.split(order, cuts)] if len(order) else []
        return [batches[i] for i in rng.permutation(len(batches))]

    def load(self, pairs: Indices) -> Batch:
        """The padded batch of the given pairs."""
        return padded_batch(*self.ids(pairs))

    def ids(self, pairs: Indices) -> tuple[list[Ids], list[Ids]]:
        """Source and target ids of the given pairs, as they were prepared."""
        stores = self._stores(pairs)
        return [store.src_ids(i) for store, i in stores], [store.tgt_ids(i) for store, i in stores]

    def sampled_ids(
        self, pairs: Indices, tokenizers: tuple[Tokenizer, Tokenizer], amount: float, seed: int
    ) -> tuple[Sequence[Ids], Sequence[Ids]]:
        """The same with their pieces drawn anew, as a function of the seed; see Tokenizer.sample.

        More pieces than were prepared, so a batch is larger than its limit by a share that grows with `amount`.
        """
        stores = self._stores(pairs)
        return (
            tokenizers[0].sample([store.src_line(i) for store, i in stores], amount, seed),
            tokenizers[1].sample([store.tgt_line(i) for store, i in stores], amount, seed + 1),
        )

    def _stores(self, pairs: Indices) -> list[tuple[Shard, int]]:
        """Each pair's corpus, and its number there."""
        starts = np.cumsum([0, *(len(corpus) for corpus in self.corpora)])
        which = np.searchsorted(starts, pairs, side="right") - 1
        return [(self.corpora[c], int(i - starts[c])) for c, i in zip(which, pairs, strict=True)]

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

    def _cuts(self, tgt_lengths: Indices) -> list[int]:
        """Where to cut pairs in this order so that no batch is over its limit; a longer pair stands alone."""
        n = len(tgt_lengths)
        if self.sentences is not None:
            return list(range(self.sentences, n, self.sentences))
        assert self.tokens is not None
        ends = np.cumsum(tgt_lengths)
        cuts, start = [], 0
        while True:
            taken = int(ends[start - 1]) if start else 0
            start = max(start + 1, int(np.searchsorted(ends, taken + self.tokens, side="right")))
            if start >= n:
                return cuts
            cuts.append(start)


def in_order(corpus: Shard, tokens: int) -> Iterator[tuple[Indices, Batch]]:
    """All pairs of a corpus once, sorted by length, in batches of at most `tokens` target tokens: for validation."""
    batches = Batches([corpus], seed=0, tokens=tokens)
    order = np.lexsort((corpus.src_lengths, corpus.tgt_lengths))
    for part in np.split(order, batches._cuts(corpus.tgt_lengths[order] + 1)):
        yield part, batches.load(part)
