"""One side's sentences of some pairs, gathered from mapped shards for a batch at a time: no loop over sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt.batch import EOS, Indices, Sentences, runs
from nmt.corpus.shards import Offsets

Store = tuple[NDArray[Any], Offsets]
"""Ids of sentences one after the other, without EOS, and where each begins; one offset more than sentences."""


@dataclass(frozen=True)
class Side:
    """Source or target of n pairs: which store each sentence is in, its place there, its length with its EOS."""

    stores: Sequence[Store]
    store: Indices
    begins: Indices
    lengths: Indices

    def take(self, places: Indices) -> Sentences:
        """The sentences of the pairs at these places, as ids that end with EOS."""
        begins, lengths = self.begins[places], self.lengths[places]
        ends = np.cumsum(lengths)
        if len(self.stores) == 1:
            ids = _ids(self.stores[0][0], runs(begins, lengths))
        else:
            store = self.store[places]
            ids = np.empty(int(ends[-1]) if len(ends) else 0, np.int64)
            for number in np.unique(store):
                here = store == number
                ids[runs((ends - lengths)[here], lengths[here])] = _ids(
                    self.stores[number][0], runs(begins[here], lengths[here])
                )
        ids[ends - 1] = EOS
        return Sentences(ids, lengths)


def _ids(tokens: NDArray[Any], places: Indices) -> Indices:
    """What stands at these places, and anything for the one after the last."""
    if not len(tokens):
        return np.zeros(len(places), np.int64)
    return tokens.take(places, mode="clip").astype(np.int64)


def side_of(stores: Sequence[Store], numbers: Indices) -> Side:
    """The sentences of these numbers, which count through all stores."""
    firsts = np.cumsum([0, *(len(offsets) - 1 for _, offsets in stores)])
    store = np.searchsorted(firsts, numbers, side="right") - 1
    begins, lengths = np.empty_like(numbers), np.empty_like(numbers)
    for i, (_, offsets) in enumerate(stores):
        here = np.flatnonzero(store == i)
        own = numbers[here] - firsts[i]
        begins[here] = offsets[own]
        lengths[here] = offsets[own + 1] - offsets[own] + 1
    return Side(stores, store, begins, lengths)


def store_of(rows: Sequence[Sequence[int]]) -> Store:
    """A store of sentences of ids without EOS."""
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)), out=offsets[1:])
    return np.fromiter(chain.from_iterable(rows), np.int32, int(offsets[-1])), offsets
