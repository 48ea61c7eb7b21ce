"""Rows of whole pairs: no row over its widths, rows nearly full, short and long sentences side by side."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.corpus.packing import balanced, cuts, fill_rows
from tests.corpus.lengths import TEXTS, counted, news

PAIRS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=60)


@settings(deadline=None, max_examples=150)
@given(PAIRS, st.integers(0, 40), st.integers(0, 40), st.integers(0, 5))
def test_every_pair_has_a_row_and_no_row_is_over_its_widths(
    pairs: list[tuple[int, int]], more_src: int, more_tgt: int, seed: int
) -> None:
    src, tgt = np.array(pairs, np.int64).T
    widths = int(src.max()) + more_src, int(tgt.max()) + more_tgt
    rows = fill_rows(src, tgt, widths, np.random.default_rng(seed))
    assert np.unique(rows).tolist() == list(range(int(rows.max()) + 1))
    assert (np.bincount(rows, src) <= widths[0]).all()
    assert (np.bincount(rows, tgt) <= widths[1]).all()


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(("longest", "at_least"), [(64, 0.93), (128, 0.965), (256, 0.98)])
def test_rows_are_nearly_full_on_both_sides(name: str, longest: int, at_least: float) -> None:
    src, tgt = (pieces + 1 for pieces in counted(name))
    widths = -(-longest * int(src.sum()) // int(tgt.sum())), longest
    fits = (src <= widths[0]) & (tgt <= widths[1])
    src, tgt = src[fits], tgt[fits]
    rows = fill_rows(src, tgt, widths, np.random.default_rng(1))
    assert float(src.sum() + tgt.sum()) / ((rows.max() + 1) * sum(widths)) >= at_least


def test_a_row_holds_short_and_long_sentences() -> None:
    src, tgt = news(3000)
    rows = fill_rows(src, tgt, (200, 220), np.random.default_rng(1))
    spread = [np.ptp(tgt[rows == row]) for row in range(int(rows.max()))]
    assert np.median(spread) > np.std(tgt)


def test_any_stretch_of_the_balanced_order_has_the_ratio_of_all() -> None:
    src, tgt = news(5000)
    order = balanced(src, tgt, np.random.default_rng(1))
    assert sorted(order.tolist()) == list(range(5000))
    had = np.cumsum(src[order] / src.sum() - tgt[order] / tgt.sum())
    excess = np.abs(src / src.sum() - tgt / tgt.sum())
    assert np.abs(had).max() <= 1.01 * excess.max()  # never more than one pair's
    shuffled = np.random.default_rng(1).permutation(5000)
    assert np.abs(np.cumsum(src[shuffled] / src.sum() - tgt[shuffled] / tgt.sum())).max() > 10 * np.abs(had).max()
    neighbours = np.corrcoef(tgt[order][:-1], tgt[order][1:])[0, 1]
    assert abs(neighbours) < 0.1  # and yet in no order of length


def test_cuts_take_what_fits_and_a_longer_pair_alone() -> None:
    one, other = np.array([3, 3, 3, 9, 1, 1, 1]), np.array([1, 1, 1, 1, 5, 5, 1])
    assert cuts((one,), (6,)) == [0, 2, 3, 4]
    assert cuts((one, other), (7, 5)) == [0, 2, 3, 4, 5, 6]
    assert cuts((one[:0],), (6,)) == []
