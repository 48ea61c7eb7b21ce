"""Layouts hold the same sentences: what each position says, and where."""

import numpy as np
import pytest
import torch

from nmt.batch import BOS, EOS, PAD, Batch, packed, pad_rows, padded, padded_batch, runs, sentences

SRC = [[5, 6, 7], [], [8, 9]]
TGT = [[4], [5, 6], []]


def told(batch: Batch) -> list[tuple[list[int], list[int], list[int]]]:
    """(source, target in, target out) of each sentence, in the order of rows and segments."""
    found = []
    assert batch.src_segments is not None
    assert batch.tgt_segments is not None
    for row in range(len(batch.src)):
        for number in range(1, int(batch.src_segments[row].max()) + 1):
            src, tgt = batch.src_segments[row] == number, batch.tgt_segments[row] == number
            found.append(
                tuple(x.tolist() for x in (batch.src[row][src], batch.tgt_in[row][tgt], batch.tgt_out[row][tgt]))
            )
    return found


def as_told(pairs: list[int]) -> list[tuple[list[int], list[int], list[int]]]:
    return [([*SRC[i], EOS], [BOS, *TGT[i]], [*TGT[i], EOS]) for i in pairs]


def test_padded_has_a_pair_a_row() -> None:
    batch = padded(sentences(SRC), sentences(TGT))
    assert batch.src.tolist() == [[5, 6, 7, EOS], [EOS, PAD, PAD, PAD], [8, 9, EOS, PAD]]
    assert batch.tgt_in.tolist() == [[BOS, 4, PAD], [BOS, 5, 6], [BOS, PAD, PAD]]
    assert batch.tgt_out.tolist() == [[4, EOS, PAD], [5, 6, EOS], [EOS, PAD, PAD]]
    assert (batch.src_tokens, batch.tgt_tokens, batch.sentences, batch.longest) == (8, 6, 3, (4, 3))
    assert batch.real_share == pytest.approx(14 / 21)
    assert torch.equal(batch.src, pad_rows(SRC, eos=True))
    assert torch.equal(batch.src_keep, batch.src != PAD)
    assert all(batch.src.dtype == torch.int64 for _ in (batch.src, batch.tgt_in, batch.tgt_out))
    for name in ("src_segments", "tgt_segments", "src_positions", "tgt_positions"):
        assert getattr(batch, name) is None


def test_packed_has_whole_pairs_in_rows_of_the_given_widths() -> None:
    """Pairs 0 and 2 in row 1, pair 1 in row 0."""
    batch = packed(sentences(SRC), sentences(TGT), np.array([1, 0, 1]), (8, 5), "rows")
    assert batch.src.tolist() == [[EOS, *[PAD] * 7], [5, 6, 7, EOS, 8, 9, EOS, PAD]]
    assert batch.tgt_in.tolist() == [[BOS, 5, 6, PAD, PAD], [BOS, 4, BOS, PAD, PAD]]
    assert batch.tgt_out.tolist() == [[5, 6, EOS, PAD, PAD], [4, EOS, EOS, PAD, PAD]]
    assert batch.src_segments is not None
    assert batch.tgt_segments is not None
    assert batch.src_segments.tolist() == [[1, 0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 2, 2, 2, 0]]
    assert batch.tgt_segments.tolist() == [[1, 1, 1, 0, 0], [1, 1, 2, 0, 0]]
    assert batch.src_positions is not None
    assert batch.tgt_positions is not None
    assert batch.src_positions.tolist() == [[0] * 8, [0, 1, 2, 3, 0, 1, 2, 0]]
    assert batch.tgt_positions.tolist() == [[0, 1, 2, 0, 0], [0, 1, 0, 0, 0]]
    assert batch.src_segments.dtype == batch.tgt_positions.dtype == torch.int32
    assert (batch.src_tokens, batch.tgt_tokens, batch.sentences, batch.longest) == (8, 6, 3, (4, 3))
    assert batch.real_share == pytest.approx(14 / 26)
    assert told(batch) == as_told([1, 0, 2])


def test_flat_has_all_pairs_in_one_row() -> None:
    batch = packed(sentences(SRC), sentences(TGT), np.zeros(3, np.int64), (9, 6), "flat")
    assert batch.src.shape == (1, 9)
    assert batch.tgt_out.shape == (1, 6)
    assert told(batch) == as_told([0, 1, 2])


@pytest.mark.parametrize("layout", ["padded", "rows"])
def test_twice_has_every_pair_two_times_and_counts_it_once(layout: str) -> None:
    once = padded_batch(SRC, TGT)
    if layout == "rows":
        once = packed(sentences(SRC), sentences(TGT), np.array([0, 0, 1]), (8, 5), "rows")
    both = once.twice()
    for name in ("src", "tgt_in", "tgt_out", "src_segments", "tgt_positions"):
        if (tensor := getattr(once, name)) is not None:
            assert torch.equal(getattr(both, name), torch.cat([tensor, tensor]))
    assert (both.tgt_tokens, both.sentences, both.copies) == (once.tgt_tokens, 3, 2)
    assert both.real_share == once.real_share


def test_a_batch_moves_with_all_its_tensors() -> None:
    batch = packed(sentences(SRC), sentences(TGT), np.zeros(3, np.int64), (9, 6), "flat").to(torch.device("meta"))
    tensors = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 7
    assert all(tensor.is_meta for tensor in tensors)


def test_a_batch_of_no_pairs_and_of_empty_ones() -> None:
    assert padded_batch([], []).src.shape == (0, 1)
    assert padded_batch([[]], [[]]).tgt_out.tolist() == [[EOS]]


def test_runs_count_up_from_each_start() -> None:
    assert runs(np.array([7, 0, 3]), np.array([2, 0, 3])).tolist() == [7, 8, 3, 4, 5]
