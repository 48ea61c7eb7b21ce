"""Each sentence is dealt once, no batch is too large, and several workers are done at about the same time."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.search.dealing import deal


@given(
    st.lists(st.integers(1, 200), max_size=80),
    st.integers(1, 20),
    st.integers(1, 2000),
    st.integers(1, 4),
)
def test_every_sentence_is_in_one_batch_that_is_not_too_large(
    lengths: list[int], rows: int, tokens: int, workers: int
) -> None:
    batches = deal(lengths, rows=rows, tokens=tokens, workers=workers)
    dealt = [i for batch in batches for i in batch]
    assert sorted(dealt) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= rows
        assert [lengths[i] for i in batch] == sorted((lengths[i] for i in batch), reverse=True)
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= tokens


def test_one_worker_has_as_few_batches_as_may_be() -> None:
    assert [len(batch) for batch in deal([5] * 10, rows=4, tokens=100)] == [4, 4, 2]
    assert [len(batch) for batch in deal([50] * 3 + [5] * 10, rows=20, tokens=100)] == [2, 2, 9]


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("rows", [40, 256, 512])
def test_several_workers_are_done_at_about_the_same_time(workers: int, rows: int) -> None:
    draw = random.Random(4)
    lengths = [draw.randint(1, 60) for _ in range(1000)]
    batches = deal(lengths, rows=rows, tokens=40_000, workers=workers)
    assert len(batches) == workers * -(-1000 // (workers * rows))
    done = [0] * workers  # each is done by whoever is free first
    for batch in batches:
        done[done.index(min(done))] += sum(lengths[i] for i in batch)
    assert max(done) <= 1.02 * sum(done) / workers


def test_a_very_long_sentence_does_not_make_others_as_wide() -> None:
    batches = deal([1000, *[10] * 100], rows=64, tokens=2000, workers=2)
    assert [len(batch) for batch in batches] == [2, 2, 49, 48]


def test_few_sentences_are_for_one() -> None:
    assert [len(batch) for batch in deal([10] * 20, rows=64, tokens=2000, workers=2)] == [20]
    assert [len(batch) for batch in deal([10] * 60, rows=64, tokens=2000, workers=2)] == [30, 30]
