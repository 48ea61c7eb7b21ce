"""Rows taken apart into sentences and put together again: every number in its place, and zeros where there is none."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from nmt.batch import packed, sentences
from nmt.ops.sentences import Places, places, put_together, take_apart

LENGTHS = [3, 1, 4, 2, 1]
ROWS = [0, 2, 0, 1, 2]


def made() -> tuple[Tensor, Tensor, Places]:
    """Segments and positions of five sentences in three rows of nine, and their places."""
    side = sentences([[5] * (length - 1) for length in LENGTHS])
    batch = packed(side, side, np.array(ROWS), (9, 9), "rows")
    assert batch.src_segments is not None
    assert batch.src_positions is not None
    where = places(batch.src_segments, batch.src_positions, batch.sentences, batch.longest[0])
    return batch.src_segments, batch.src_positions, where


def test_taken_apart_each_sentence_has_a_row_in_the_order_of_rows_and_segments() -> None:
    segments, positions, where = made()
    x = torch.randn(3, 2, 9, 5, dtype=torch.float64)
    found = take_apart(x, where)
    assert found.shape == (5, 2, 4, 5)
    assert where.keep.sum(dim=1).tolist() == [3, 4, 2, 1, 1]
    for i, (row, number) in enumerate([(0, 1), (0, 2), (1, 1), (2, 1), (2, 2)]):
        here = segments[row] == number
        length = int(here.sum())
        assert positions[row][here].tolist() == list(range(length))
        assert torch.equal(found[i, :, :length], x[row][:, here])
        assert not found[i, :, length:].any()


def test_put_together_is_the_way_back() -> None:
    segments, _, where = made()
    x = torch.randn(3, 2, 9, 5, dtype=torch.float64)
    back = put_together(take_apart(x, where), where)
    real = (segments != 0)[:, None, :, None]
    assert torch.equal(back, x * real)
    assert torch.equal(where.real, segments != 0)


@pytest.mark.parametrize("way", [take_apart, put_together])
def test_gradients_go_back_to_where_numbers_came_from(way: Callable[[Tensor, Places], Tensor]) -> None:
    _, _, where = made()
    shape = (3, 2, 9, 3) if way is take_apart else (5, 2, 4, 3)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: way(x, where), (x,))


def test_garbage_in_the_padding_goes_nowhere() -> None:
    segments, _, where = made()
    x = torch.randn(3, 2, 9, 5)
    x[(segments == 0)[:, None, :].expand(3, 2, 9)] = torch.nan
    x.requires_grad_()
    found = take_apart(x, where)
    found.nan_to_num(7.0, 7.0, 7.0).sum().backward()
    assert bool(found.isfinite().all())
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_one_full_row_needs_no_padding() -> None:
    ones = torch.ones(1, 4, dtype=torch.int32)
    where = places(ones, torch.arange(4, dtype=torch.int32)[None], 1, 4)
    x = torch.randn(1, 1, 4, 2)
    assert torch.equal(take_apart(x, where), x)
