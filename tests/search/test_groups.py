"""Sentences are encoded in groups of about one length, and it makes no difference."""

import pytest
import torch

from nmt.batch import PAD, pad_rows
from nmt.models.contract import joined, select_rows, tensors_of
from nmt.search.groups import encode, groups
from nmt.search.stepper import at_rest
from tests.properties.kinds import VARIANTS, build

SOURCES = pad_rows([[5, 6, 7, 8, 9, 5, 6], [9, 8, 7], [4], [6, 7, 9, 4], [8, 8, 8]], eos=True)


@pytest.mark.parametrize(
    ("lengths", "positions", "found"),
    [
        ([], 10, []),
        ([5, 5, 5], 10, [2, 1]),
        ([5, 4, 3, 2, 1], 10, [2, 3]),
        ([30, 5, 5, 5], 10, [1, 2, 1]),
        ([1, 1, 9, 1], 10, [2, 1, 1]),
        ([3, 3, 3], 1000, [3]),
    ],
)
def test_a_group_is_what_fits(lengths: list[int], positions: int, found: list[int]) -> None:
    assert groups(lengths, positions) == found


@pytest.mark.parametrize("name", VARIANTS)
def test_a_memory_is_the_same_whatever_the_groups(name: str) -> None:
    model = build(VARIANTS[name], torch.float64)
    with at_rest(model):
        whole = model.encode(SOURCES, SOURCES != PAD)
        for positions in (1, 9, 100):
            found = encode(model, SOURCES, positions)
            assert torch.equal(found.keep, whole.keep)
            for i, length in enumerate((SOURCES != PAD).sum(1).tolist()):
                row = torch.tensor([i])
                alone = model.encode(SOURCES[row, :length], SOURCES[row, :length] != PAD)
                for one, other in zip(tensors_of(select_rows(found, row)), tensors_of(alone), strict=True):
                    cut = one[tuple(slice(n) for n in other.shape)]
                    torch.testing.assert_close(cut, other, rtol=0, atol=1e-12)


def test_memories_below_each_other_have_nothing_beside_the_narrow_ones() -> None:
    model = build(VARIANTS["transformer"], torch.float32)
    with at_rest(model):
        parts = [model.encode(ids, ids != PAD) for ids in (SOURCES[:1], SOURCES[1:3, :4])]
        whole = joined(parts)
    for one, wide, narrow in zip(tensors_of(whole), *map(tensors_of, parts), strict=True):
        assert one.shape == (3, *wide.shape[1:])
        assert torch.equal(one[:1], wide)
        cut = tuple(slice(n) for n in narrow.shape[1:])
        assert torch.equal(one[(slice(1, 3), *cut)], narrow)
        assert int(one[1:].count_nonzero()) == int(narrow.count_nonzero())
    assert joined(parts[:1]) is parts[0]
