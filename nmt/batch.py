"""Batch: the one thing that passes from the corpus to the models, and the ids that every vocabulary begins with.

Three layouts hold the same sentence pairs, with the same loss for each:

    padded   a pair a row, as wide as the longest: for every model
    rows     several whole pairs a row, both sides of a pair in rows of the same number, all rows of one width
    flat     one row that holds all pairs

In `rows` and `flat` segments say which position belongs to which pair of its row, and positions count anew from 0 in
each sentence; what a word sees ends at its own sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nmt.recipe_models import Layout

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")

Ids = Sequence[int] | NDArray[Any]
Indices = NDArray[np.int64]

_TENSORS = ("src", "tgt_in", "tgt_out", "src_segments", "tgt_segments", "src_positions", "tgt_positions")


@dataclass(frozen=True)
class Batch:
    """Sentence pairs as ids; B is the number of rows, S and T their widths.

    src      (B, S) int64: source ids, each sentence ending with EOS
    tgt_in   (B, T) int64: BOS and the target without its EOS
    tgt_out  (B, T) int64: the target, each sentence ending with EOS; PAD where there is nothing to predict
    The counts are real tokens, known on the host, so that nobody has to ask the device: `src_tokens` and `tgt_tokens`
    include each sentence's EOS.

    Not for layout `padded`, where they are None:
    src_segments, tgt_segments    (B, S), (B, T) int32: 1 for the first pair of a row, 2 for the second, ...; 0 for none
    src_positions, tgt_positions  (B, S), (B, T) int32: the position in the sentence, from 0; 0 where there is none
    `longest`: positions of the longest source and of the longest target. `copies`: times that each pair is in the rows.
    `room`: for a batch that `roomy` made.
    """

    src: Tensor
    tgt_in: Tensor
    tgt_out: Tensor
    src_tokens: int
    tgt_tokens: int
    sentences: int
    layout: Layout = "padded"
    src_segments: Tensor | None = None
    tgt_segments: Tensor | None = None
    src_positions: Tensor | None = None
    tgt_positions: Tensor | None = None
    longest: tuple[int, int] = (0, 0)
    copies: int = 1
    room: "Room | None" = None

    @property
    def src_keep(self) -> Tensor:
        """(B, S) bool, True where there is a source token to look at."""
        return self.src != PAD

    @property
    def positions(self) -> int:
        """Source and target positions, padding included."""
        return self.src.numel() + self.tgt_out.numel()

    @property
    def real_share(self) -> float:
        """Share of the source and target positions that hold a token, not padding."""
        return (self.src_tokens + self.tgt_tokens) * self.copies / self.positions

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device; to a GPU it is copied while the host goes on."""

        def moved(tensor: Tensor) -> Tensor:
            # Only from pinned memory is a copy not waited for.
            pinned = device.type == "cuda" and tensor.device.type == "cpu"
            return (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=True)

        return self._with(moved)

    def copy(self) -> "Batch":
        """The same batch in memory of its own."""
        return self._with(torch.clone)

    def take(self, other: "Batch") -> None:
        """Puts the ids of a batch of this shape in the place of these; the counts stay as they are."""
        for name in _TENSORS:
            if (tensor := getattr(self, name)) is not None:
                tensor.copy_(getattr(other, name))

    def twice(self) -> "Batch":
        """Every pair two times, the whole batch and then the whole batch again; counts as for one."""
        return replace(self._with(lambda tensor: tensor.repeat(2, 1)), copies=2 * self.copies)

    def _with(self, change: Any) -> "Batch":
        tensors = {name: tensor for name in _TENSORS if (tensor := getattr(self, name)) is not None}
        return replace(self, **{name: change(tensor) for name, tensor in tensors.items()})


@dataclass(frozen=True)
class Room:
    """How many target tokens and sentences a batch of this shape has at most. What is computed of it depends on these,
    and not on how many there are, so the same work can be done again on other pairs.
    """

    tgt_tokens: int
    sentences: int


def roomy(batch: Batch) -> Batch:
    """The same pairs in one of few shapes, by what counts for nothing: rows, widths, `longest` and room for tokens and
    sentences are rounded up, to four sizes an octave. The counts stay those of the pairs.

    A row of layout `padded` that is added has EOS for its source, so that there is something to look at.
    """
    B, S, T = *batch.src.shape, batch.tgt_in.shape[1]
    rows = B if batch.layout == "flat" else _rounded_up(B)
    width = {"src": _rounded_up(S), "tgt": _rounded_up(T)}
    tensors = {
        name: F.pad(tensor, (0, width[name[:3]] - tensor.shape[1], 0, rows - B))
        for name in _TENSORS
        if (tensor := getattr(batch, name)) is not None
    }
    if batch.layout == "padded":
        tensors["src"][B:, 0] = EOS
    room = Room(min(_rounded_up(batch.tgt_tokens), rows * width["tgt"]), _rounded_up(batch.sentences))
    longest = _rounded_up(batch.longest[0]), _rounded_up(batch.longest[1])
    return replace(batch, **tensors, longest=longest, room=room)


def _rounded_up(n: int) -> int:
    """To 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ...: at most a quarter more."""
    step = 1 << max(0, (n - 1).bit_length() - 3)
    return -(-n // step) * step


@dataclass(frozen=True)
class Sentences:
    """Sentences of one side: ids (N,) int64, one sentence after the other, each with its EOS; lengths (B,) int64."""

    ids: Indices
    lengths: Indices


def sentences(rows: Sequence[Ids]) -> Sentences:
    """Sentences of ids without BOS and EOS."""
    lengths = np.fromiter((len(row) + 1 for row in rows), np.int64, len(rows))
    return Sentences(np.fromiter(chain.from_iterable((*row, EOS) for row in rows), np.int64), lengths)


def runs(starts: Indices, lengths: Indices) -> Indices:
    """starts[0], starts[0] + 1, ... (lengths[0] numbers), then starts[1], ...: for all together, without a loop."""
    ends = np.cumsum(lengths)
    numbers = np.repeat(starts - (ends - lengths), lengths)
    numbers += np.arange(len(numbers))
    return numbers


def padded(src: Sentences, tgt: Sentences) -> Batch:
    """A pair a row."""
    rows = np.arange(len(src.lengths))
    widths = (int(src.lengths.max(initial=1)), int(tgt.lengths.max(initial=1)))
    sides = (_Side(side, rows * width, (len(rows), width)) for side, width in zip((src, tgt), widths, strict=True))
    return _batch(*sides, layout="padded")


def packed(src: Sentences, tgt: Sentences, rows: Indices, widths: tuple[int, int], layout: Layout) -> Batch:
    """Pair i in row rows[i] (every row from 0 to the last has one), in their order; rows of these widths, which must be
    wide enough.
    """
    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows)
    firsts = np.cumsum(counts) - counts  # of each row, in that order
    number = np.empty(len(rows), np.int64)
    number[order] = np.arange(len(rows)) - np.repeat(firsts, counts)
    sides = []
    for side, width in zip((src, tgt), widths, strict=True):
        before = np.cumsum(side.lengths[order]) - side.lengths[order]
        starts = np.empty(len(rows), np.int64)
        starts[order] = before - np.repeat(before[firsts], counts)
        sides.append(_Side(side, rows * width + starts, (len(counts), width)))
    return _batch(*sides, layout=layout, number=number + 1)


@dataclass(frozen=True)
class _Side:
    """Sentences, the place of each one's first id when rows stand one after the other, and how many rows and how
    wide.
    """

    sentences: Sentences
    starts: Indices
    shape: tuple[int, int]


def _batch(src: _Side, tgt: _Side, layout: Layout, number: Indices | None = None) -> Batch:
    """number (B,): of each pair in its row, from 1; None for padded."""
    places, tensors = [], {}
    for name, side in (("src", src), ("tgt", tgt)):
        lengths = side.sentences.lengths
        positions = runs(np.zeros_like(lengths), lengths)
        places.append(positions + np.repeat(side.starts, lengths))
        if number is not None:
            tensors[f"{name}_segments"] = _filled(side, places[-1], np.repeat(number.astype(np.int32), lengths))
            tensors[f"{name}_positions"] = _filled(side, places[-1], positions.astype(np.int32))
    ids, lengths = tgt.sentences.ids, tgt.sentences.lengths
    before = np.concatenate([ids[:1], ids[:-1]])  # the word before each
    before[np.cumsum(lengths) - lengths] = BOS
    return Batch(
        src=_filled(src, places[0], src.sentences.ids),
        tgt_in=_filled(tgt, places[1], before),
        tgt_out=_filled(tgt, places[1], ids),
        src_tokens=len(src.sentences.ids),
        tgt_tokens=len(ids),
        sentences=len(lengths),
        layout=layout,
        longest=(int(src.sentences.lengths.max(initial=0)), int(lengths.max(initial=0))),
        **tensors,
    )


def _filled(side: _Side, places: Indices, values: NDArray[np.integer]) -> Tensor:
    """(rows, width) with the values at their places and 0, which is PAD, elsewhere."""
    flat = np.zeros(side.shape[0] * side.shape[1], values.dtype)
    flat[places] = values
    return torch.from_numpy(flat.reshape(side.shape))


def pad_rows(rows: Sequence[Ids], *, bos: bool = False, eos: bool = False) -> Tensor:
    """(len(rows), longest) int64, PAD on the right, BOS before and EOS after where asked for; at least one column."""
    first = int(bos)
    width = max((len(row) for row in rows), default=0) + first + int(eos)
    padded = np.full((len(rows), max(width, 1)), PAD, np.int64)
    if bos:
        padded[:, 0] = BOS
    for i, row in enumerate(rows):
        padded[i, first : first + len(row)] = row
        if eos:
            padded[i, first + len(row)] = EOS
    return torch.from_numpy(padded)


def padded_batch(src: Sequence[Ids], tgt: Sequence[Ids]) -> Batch:
    """A padded batch of sentence pairs given as ids without BOS and EOS."""
    return padded(sentences(src), sentences(tgt))
