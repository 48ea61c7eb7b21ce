"""Sentences gathered from stores are those that were put in, whatever their order and their store."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.batch import EOS
from nmt.corpus.sides import side_of, store_of

ROWS = st.lists(st.lists(st.integers(4, 60_000), max_size=6), min_size=1, max_size=6)


@settings(deadline=None, max_examples=200)
@given(st.lists(ROWS, min_size=1, max_size=3), st.data())
def test_taken_sentences_are_those_of_their_stores(stores: list[list[list[int]]], data: st.DataObject) -> None:
    everything = [row for store in stores for row in store]
    numbers = data.draw(st.lists(st.integers(0, len(everything) - 1), min_size=1, max_size=9))
    made = []
    for rows in stores:
        tokens, offsets = store_of(rows)
        made.append((tokens.astype(np.uint16), offsets))  # as shards have them
    side = side_of(made, np.array(numbers))
    assert side.lengths.tolist() == [len(everything[i]) + 1 for i in numbers]
    places = data.draw(st.lists(st.integers(0, len(numbers) - 1), min_size=1, max_size=9))
    taken = side.take(np.array(places))
    found = [part.tolist() for part in np.split(taken.ids, np.cumsum(taken.lengths)[:-1])]
    assert found == [[*everything[numbers[place]], EOS] for place in places]
    assert taken.ids.dtype == np.int64


def test_nothing_taken_is_nothing() -> None:
    taken = side_of([store_of([[4, 5]])], np.array([0])).take(np.empty(0, np.int64))
    assert (len(taken.ids), len(taken.lengths)) == (0, 0)
