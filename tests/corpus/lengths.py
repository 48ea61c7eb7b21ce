"""Corpora in memory of which only lengths matter, lengths as in real text, and a tokenizer that draws them anew."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nmt.batch import Indices
from nmt.corpus.shards import Shard
from nmt.corpus.tokenizer import Words


def shard(src_lengths: Indices, tgt_lengths: Indices, weight: float = 1.0, first: int = 100) -> Shard:
    """A corpus in memory; the ids of pair i all say first + i, so that a batch shows whom it holds."""
    made = Shard.__new__(Shard)
    made.weight = weight
    sides = []
    for lengths in (src_lengths, tgt_lengths):
        ids = np.repeat(np.arange(first, first + len(lengths)), lengths).astype(np.int32)
        sides.append((ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)))
    made.src, made.tgt = sides
    texts = [f"{first + i}".encode() for i in range(len(src_lengths))]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    made.src_text = made.tgt_text = (np.frombuffer(b"".join(texts), np.uint8), offsets)
    return made


def news(n: int, seed: int = 0) -> tuple[Indices, Indices]:
    """Pieces a sentence as in translated news: lognormal around 25, the two sides within some 20 % of each other."""
    rng = np.random.default_rng(seed)
    src = np.clip(rng.lognormal(3.1, 0.55, n), 1, 100).astype(np.int64)
    tgt = np.clip(src * rng.normal(1.1, 0.15, n), 1, 100).astype(np.int64)
    return src, tgt


class Doubling(Words):
    """Knows the texts of `shard`; says each one to eight times, as the seed has it."""

    def __init__(self, n: int) -> None:
        super().__init__([str(100 + i) for i in range(n)], None)
        self.drawn: list[tuple[int, int]] = []

    def sample(self, lines: Sequence[str], amount: float, seed: int) -> list[list[int]]:
        self.drawn.append((len(lines), seed))
        rng = np.random.default_rng(seed)
        return [ids * int(rng.integers(1, 9)) for ids in self.encode(lines)]


TEXTS = ("multi30k", "tatoeba")


def counted(name: str) -> tuple[Indices, Indices]:
    """Pieces of each sentence of a text of TEXTS, as <name>.lengths has them: `count src tgt` a line."""
    rows = np.loadtxt(Path(__file__).with_name(f"{name}.lengths"), dtype=np.int64)
    return np.repeat(rows[:, 1], rows[:, 0]), np.repeat(rows[:, 2], rows[:, 0])
