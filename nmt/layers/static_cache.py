"""The caches of layers/cache.py in tensors that never move and never grow, for a step that is recorded and replayed.

There is room for T positions from the first step on, and a tensor, `at`, says which one is written, so that the same
operations on the same memory take every step. Attention goes over all T; a mask hides what was not written yet. A
hypothesis still copies no keys and values of another: `writers` says whose they are, as there.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from nmt.layers.cache import Ancestry, Cache, Going, Lineage


@dataclass(frozen=True, kw_only=True)
class StaticCache(Cache):
    """keys, values (B, G, T, K, C), sentences in their order; at (1,) int64: the position that is written next, which
    others count. What was never written is zero: a weight of 0 times what is no number would be none either.
    """

    at: Tensor

    def append(self, keys: Tensor, values: Tensor) -> Self:
        """With position `at`, (B, G, K, C) each: written into these very tensors, whoever else holds them."""
        for room, new in ((self.keys, keys), (self.values, values)):
            room.index_copy_(2, self.at, new[:, :, None])
        return self

    def last(self, n: int) -> Self:
        """All: `StaticLineage.keep` hides what is too old."""
        return self

    def stored(self) -> tuple[Tensor, Tensor]:
        """The whole room: (B, G, T, K, C)."""
        return self.keys, self.values

    def follow(self, going: Going) -> Self:
        """Of the sentences that go on, copied; whose words a hypothesis goes back to is for the lineage to say."""
        rows = going.sentences
        if rows is None:
            return self
        return replace(self, keys=self.keys.index_select(0, rows), values=self.values.index_select(0, rows))


@dataclass(frozen=True, kw_only=True)
class StaticLineage(Lineage):
    """writers (B, K, T): with what lies beyond `at`, (1,) int64, the position that is written next, nothing is said."""

    at: Tensor

    def append(self) -> Self:
        """With position `at`, which each hypothesis writes itself; what counts `at` is somebody else."""
        B, K, _ = self.writers.shape
        own = torch.arange(K, device=self.writers.device)[:, None].expand(B, K, 1)
        return replace(self, writers=self.writers.index_copy(2, self.at, own))

    def newest(self) -> Tensor:
        """The position that `append` wrote, (1,) int64."""
        return self.at

    def positions(self) -> Tensor:
        """Of all that the caches have room for: (T,) int64."""
        return torch.arange(self.writers.shape[2], device=self.writers.device)

    def keep(self, positions: Tensor | None = None, last: int | None = None) -> Ancestry:
        """As there, for caches that hold all T positions: positions (T,) bool; nothing beyond `at` is seen."""
        there = self.positions()
        written = there <= self.at
        if last is not None:
            written = written & (there > self.at - last)
        return Ancestry(self.writers, positions, written)


def static(cached: Cache | Lineage, T: int, at: Tensor) -> Cache | Lineage:
    """The same with room for T positions, before the first of them is written; at: who counts them."""
    if isinstance(cached, Lineage):
        B, K, _ = cached.writers.shape
        return StaticLineage(cached.writers.new_zeros((B, K, T)), at=at)
    B, G, _, K, C = cached.keys.shape
    keys, values = (cached.keys.new_zeros((B, G, T, K, C)) for _ in range(2))
    return StaticCache(keys, values, at=at)
