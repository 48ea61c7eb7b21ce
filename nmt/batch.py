"""Batch: the one thing that passes from the corpus to the models, and the ids that every vocabulary begins with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")

Ids = Sequence[int] | NDArray[Any]
Layout = Literal["padded", "rows", "flat"]


@dataclass(frozen=True)
class Batch:
    """Sentence pairs as ids. Layout `padded`: one pair a row, PAD on the right; the other layouts are not built yet.

    src      (B, S) int64: source ids, each row ending with EOS
    tgt_in   (B, T) int64: BOS and the target without its EOS
    tgt_out  (B, T) int64: the target, each row ending with EOS; PAD where there is nothing to predict
    The counts are real tokens, known on the host, so that nobody has to ask the device: `src_tokens` and `tgt_tokens`
    include each sentence's EOS.
    """

    src: Tensor
    tgt_in: Tensor
    tgt_out: Tensor
    src_tokens: int
    tgt_tokens: int
    sentences: int
    layout: Layout = "padded"

    @property
    def src_keep(self) -> Tensor:
        """(B, S) bool, True where there is a source token to look at."""
        return self.src != PAD

    @property
    def real_share(self) -> float:
        """Share of the source and target positions that hold a token, not padding."""
        return (self.src_tokens + self.tgt_tokens) / (self.src.numel() + self.tgt_out.numel())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        move = {name: getattr(self, name).to(device, non_blocking=True) for name in ("src", "tgt_in", "tgt_out")}
        return replace(self, **move)

    def twice(self) -> "Batch":
        """Every pair two times, the whole batch and then the whole batch again; counts as for one."""
        both = {name: getattr(self, name).repeat(2, 1) for name in ("src", "tgt_in", "tgt_out")}
        return replace(self, **both)


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
    return Batch(
        src=pad_rows(src, eos=True),
        tgt_in=pad_rows(tgt, bos=True),
        tgt_out=pad_rows(tgt, eos=True),
        src_tokens=sum(len(ids) + 1 for ids in src),
        tgt_tokens=sum(len(ids) + 1 for ids in tgt),
        sentences=len(src),
    )
