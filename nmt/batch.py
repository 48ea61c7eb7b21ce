"""Batch: the one thing that passes from the corpus to the models, and the ids that every vocabulary begins with."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")

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


def pad_rows(rows: list[list[int]]) -> Tensor:
    """(len(rows), longest) int64 with PAD on the right; at least one column."""
    width = max((len(row) for row in rows), default=0) or 1
    padded = torch.full((len(rows), width), PAD, dtype=torch.int64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return padded


def padded_batch(src: list[list[int]], tgt: list[list[int]]) -> Batch:
    """A padded batch of sentence pairs given as ids without BOS and EOS."""
    return Batch(
        src=pad_rows([[*ids, EOS] for ids in src]),
        tgt_in=pad_rows([[BOS, *ids] for ids in tgt]),
        tgt_out=pad_rows([[*ids, EOS] for ids in tgt]),
        src_tokens=sum(len(ids) + 1 for ids in src),
        tgt_tokens=sum(len(ids) + 1 for ids in tgt),
        sentences=len(src),
    )
