"""Who sees whom, read off attention to one-hot values: what a query finds says which keys it saw."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nmt.batch import PAD, Batch, packed, padded, sentences
from nmt.layers.sight import Band, Keep, Near, Pattern, Sight, Within, attend, everything, sight
from nmt.ops import banded, sparse

LENGTHS = ([4, 3, 6, 1], [2, 5, 3, 4])
ROWS = {"rows": np.array([0, 1, 0, 1]), "flat": np.zeros(4, np.int64)}
WIDTHS = {"rows": (11, 12), "flat": (16, 15)}


def batch(layout: str) -> Batch:
    src, tgt = (sentences([[5] * (length - 1) for length in lengths]) for lengths in LENGTHS)
    if layout == "padded":
        return padded(src, tgt)
    return packed(src, tgt, ROWS[layout], WIDTHS[layout], layout)  # pyright: ignore[reportArgumentType]


def seen(keep: Keep, rows: int, queries: int, keys: int) -> Tensor:
    """(rows, queries, keys) bool: what even attention finds in one-hot values."""
    values = torch.eye(keys).expand(rows, 1, keys, keys)
    found = attend(torch.zeros(rows, 1, queries, keys), torch.zeros(rows, 1, keys, keys), values, keep)
    return found[:, 0] > 0


def looks_at(looks: Sight) -> list[Within]:
    return [keep for keep in (looks.source, looks.target, looks.across) if isinstance(keep, Within)]


def near(queries: Tensor, keys: Tensor) -> Tensor:
    return sparse.window(queries, keys, 1)


@pytest.mark.parametrize("layout", ["rows", "flat"])
@pytest.mark.parametrize("pattern", [everything, near])
@pytest.mark.parametrize("written_out", [True, False])
def test_a_position_sees_its_own_sentence_and_the_decoder_nothing_later(
    layout: str, pattern: Pattern, written_out: bool
) -> None:
    given = batch(layout)
    looks = sight(given, pattern, written_out)
    segments = {"src": given.src_segments, "tgt": given.tgt_segments}
    positions = {"src": given.src_positions, "tgt": given.tgt_positions}
    for keep, of, to in ((looks.source, "src", "src"), (looks.target, "tgt", "tgt"), (looks.across, "tgt", "src")):
        query, key = segments[of], segments[to]
        assert query is not None
        assert key is not None
        found = seen(keep, len(query), query.shape[1], key.shape[1])
        wanted = (query[:, :, None] == key[:, None]) & (query != 0)[:, :, None]
        at, there = positions[of], positions[to]
        assert at is not None
        assert there is not None
        if of == to == "tgt" and written_out:
            wanted &= at[:, :, None] >= there[:, None]
        if of == to and pattern is near and (written_out or of == "src"):
            wanted &= (at[:, :, None] - there[:, None]).abs() <= 1
        assert torch.equal(found, wanted), (of, to)


def test_rows_that_are_seen_whole_are_not_taken_apart() -> None:
    """Their scores are written out, or computed by one kernel for the row."""
    for layout, pattern, written_out, whole in (
        ("rows", everything, True, True),
        ("rows", near, True, False),
        ("rows", everything, False, False),
        ("flat", everything, True, False),
    ):
        given = batch(layout)
        looks = sight(given, pattern, written_out)
        assert len(looks_at(looks)) == 3
        assert all((keep.apart is None) == whole for keep in looks_at(looks))


def test_positions_count_in_the_sentence() -> None:
    looks = sight(batch("padded"))
    assert looks.src_positions.tolist() == list(range(6))
    assert looks.tgt_positions.tolist() == list(range(5))
    assert sight(batch("rows")).src_positions.tolist()[0] == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 0]


def test_no_score_is_computed_between_sentences_of_a_flat_row() -> None:
    """What attention makes has the size of sentences, not of the row."""
    given = batch("flat")
    looks = sight(given)
    sizes = list[int]()

    class Sizes(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                sizes.append(out.numel())
            return out

    q, k, v = (torch.randn(1, 1, 16, 2) for _ in range(3))
    with Sizes():
        attend(q, k, v, looks.source)
    assert max(sizes) <= 4 * 6 * 6 < 16 * 16


@pytest.mark.parametrize("layout", ["padded", "rows", "flat"])
def test_a_window_in_long_sentences_is_a_band_that_sees_the_same(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One position is a block here, not sixty-four."""
    given, found = batch(layout), list[Tensor]()
    monkeypatch.setattr(banded, "LEAST", 1)
    for looks in (sight(given, near), sight(given, near, near=Near(1))):
        for keep, tokens in ((looks.source, given.src), (looks.target, given.tgt_in)):
            real = tokens != PAD
            found.append(seen(keep, *tokens.shape, tokens.shape[1]) & real[:, :, None] & real[:, None])
            alone = keep.apart.keep if isinstance(keep, Within) and keep.apart else keep
            assert isinstance(alone, Band) == (len(found) > 2)
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
