"""Keys and values of the words so far, one memory for all hypotheses of a sentence.

What a hypothesis wrote stays where it was written. When another one goes on after it, no keys and values are copied:
`writers` says, for every position of a hypothesis, which of the K wrote what it goes back to, and attention looks at
what all K wrote, seeing only that. With K = 5 this reads as much memory as five copies would hold, and a step writes
one position instead of moving all of them.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from nmt.ops.native import native_for

_ROOM = 16, 64
"""Positions that a cache begins with, at least and at most; where they are not enough it doubles."""


@dataclass(frozen=True)
class Going:
    """Which hypotheses go on: those at `parents` (B', K), numbers in 0 .. K - 1, of the sentences (B',), all different.

    None for sentences: all of them; None for parents: each goes on after itself.
    """

    sentences: Tensor | None = None
    parents: Tensor | None = None

    def rows(self, K: int) -> Tensor | None:
        """The same as rows of R = B * K hypotheses side by side, (B' * K,); None for all as they are."""
        if self.parents is None and self.sentences is None:
            return None
        if self.parents is None:
            assert self.sentences is not None
            return (self.sentences[:, None] * K + torch.arange(K, device=self.sentences.device)).view(-1)
        first = torch.arange(self.parents.shape[0], device=self.parents.device)
        return ((first if self.sentences is None else self.sentences)[:, None] * K + self.parents).view(-1)


@dataclass(frozen=True)
class Cache:
    """Keys and values of one layer: `held` positions so far, from the `first` that anything can still see.

    keys, values (A, G, N, K, C): room for A sentences and N positions of K hypotheses; with what lies beyond `held`
    nothing is said. rows (B,) int64: where each sentence lies among the A; None where they are the B in their order.
    Sentences that leave are copied away from only once half of the room is theirs, or, where compiled functions look
    up rows by themselves (ops/native.py), once more room is needed.

    In inference mode a step writes into the tensors it was given, so a cache is good for one next step; elsewhere it
    copies them, and autograd can follow.
    """

    keys: Tensor
    values: Tensor
    held: int = 0
    first: int = 0
    rows: Tensor | None = None

    @classmethod
    def empty(cls, B: int, K: int, G: int, C: int, like: Tensor, room: int = 0) -> Self:
        """For B sentences with K hypotheses each, on the device and in the dtype of `like`, and at first for about
        `room` positions.
        """
        room = max(_ROOM[0], min(room, _ROOM[1]))
        return cls(like.new_empty((B, G, room, K, C)), like.new_empty((B, G, room, K, C)))

    def append(self, keys: Tensor, values: Tensor) -> Self:
        """With one position more, (B, G, K, C) each."""
        if not torch.is_inference_mode_enabled():
            longer = [
                torch.cat([old, new[:, :, None]], 2) for old, new in zip(self.apart(), (keys, values), strict=True)
            ]
            return type(self)(*longer, held=longer[0].shape[2])
        here = self._with_room() if self.held == self.keys.shape[2] else self
        for room, new in ((here.keys, keys), (here.values, values)):
            if (native := native_for(room, new)) is not None:
                native.store(room, here.rows, here.held, new)
            elif here.rows is None:
                room[:, :, here.held] = new
            else:
                room[here.rows, :, here.held] = new
        return dataclasses.replace(here, held=here.held + 1)

    def last(self, n: int) -> Self:
        """The last n positions, or all where there are fewer."""
        return dataclasses.replace(self, first=max(self.first, self.held - n))

    def stored(self) -> tuple[Tensor, Tensor]:
        """What is held, sentences where they lie: (A, G, n, K, C)."""
        return self.keys[:, :, self.first : self.held], self.values[:, :, self.first : self.held]

    def apart(self) -> tuple[Tensor, Tensor]:
        """Keys and values position by position and hypothesis by hypothesis: (B, G, n, K, C)."""
        keys, values = self.stored()
        return (keys, values) if self.rows is None else (keys[self.rows], values[self.rows])

    def visible(self) -> tuple[Tensor, Tensor]:
        """Keys and values as attention takes them, position by position what each of the K wrote: (B, G, n * K, C)."""
        keys, values = (tensor.flatten(2, 3) for tensor in self.apart())
        return keys, values

    def follow(self, going: Going) -> Self:
        """Of the sentences that go on; whose words a hypothesis goes back to is for `Lineage` to say."""
        if going.sentences is None:
            return self
        rows = going.sentences if self.rows is None else self.rows[going.sentences]
        staying = dataclasses.replace(self, rows=rows)
        return staying._with_room() if _crowded_out(rows, self.keys) else staying

    def _with_room(self) -> Self:
        """What of it is needed, with room for as much again."""
        n = self.held - self.first

        def copied(used: Tensor) -> Tensor:
            B, G, _, K, C = used.shape
            new = used.new_empty((B, G, max(_ROOM[0], 2 * n), K, C))
            new[:, :, :n] = used
            return new

        keys, values = self.apart()
        return dataclasses.replace(self, keys=copied(keys), values=copied(values), held=n, first=0, rows=None)


@dataclass(frozen=True)
class Sources:
    """Keys and values of the encoder's output for one layer, (A, G, S, C) each.

    rows (B,) int64: where each sentence lies among the A; None where they are the B in their order. Sentences that
    leave are copied away from once half of the room is theirs, and never where compiled functions look up rows.
    """

    keys: Tensor
    values: Tensor
    rows: Tensor | None = None

    def apart(self) -> tuple[Tensor, Tensor]:
        """Those of the sentences, in their order: (B, G, S, C)."""
        return (self.keys, self.values) if self.rows is None else (self.keys[self.rows], self.values[self.rows])

    def follow(self, going: Going) -> Self:
        """Of the sentences that go on; which of their hypotheses makes no difference."""
        if going.sentences is None:
            return self
        rows = going.sentences if self.rows is None else self.rows[going.sentences]
        staying = dataclasses.replace(self, rows=rows)
        return type(self)(*staying.apart()) if _crowded_out(rows, self.keys) else staying


def _crowded_out(rows: Tensor, keys: Tensor) -> bool:
    """Whether the sentences that stay are better copied away: half of the keys (A, ...) are not theirs any more, and
    nothing looks rows up by itself.
    """
    return 2 * len(rows) <= len(keys) and native_for(keys) is None


@dataclass(frozen=True)
class Ancestry:
    """What each hypothesis sees of the n positions that caches hold: what the hypothesis `writers` (B, K, n), int64,
    wrote there; of those positions (n,) bool alone that are marked, None for all. written (n,) bool: where anything
    stands at all, None for everywhere.
    """

    writers: Tensor
    positions: Tensor | None = None
    written: Tensor | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is hidden but what other hypotheses wrote."""
        return self.positions is None and self.written is None

    @cached_property
    def mask(self) -> Tensor | None:
        """The same of all that `Cache.visible` gives, (B, 1, K, n * K) bool; None: all of it."""
        B, K, n = self.writers.shape
        marked = self.written if self.positions is None else self.positions
        if self.positions is not None and self.written is not None:
            marked = self.positions & self.written
        if K == 1:
            return None if marked is None else marked[None, None, None]
        seen = self.writers[:, :, :, None] == torch.arange(K, device=self.writers.device)
        if marked is not None:
            seen = seen & marked[:, None]
        return seen.view(B, 1, K, n * K)


@dataclass(frozen=True)
class Lineage:
    """Whose words each hypothesis goes back to: writers (B, K, t) int64, the number 0 .. K - 1 of the one that wrote
    each of the t positions so far.
    """

    writers: Tensor

    @classmethod
    def empty(cls, B: int, K: int, device: torch.device) -> Self:
        """Before the first position."""
        return cls(torch.empty((B, K, 0), dtype=torch.int64, device=device))

    @property
    def t(self) -> int:
        """Positions so far."""
        return self.writers.shape[2]

    def newest(self) -> Tensor:
        """The last position, (1,) int64."""
        return torch.full((1,), self.t - 1, device=self.writers.device)

    def positions(self) -> Tensor:
        """Of all so far: (t,) int64."""
        return torch.arange(self.t, device=self.writers.device)

    def append(self) -> Self:
        """With one position more, which each hypothesis writes itself."""
        B, K, _ = self.writers.shape
        own = torch.arange(K, device=self.writers.device)[:, None].expand(B, K, 1)
        return dataclasses.replace(self, writers=torch.cat([self.writers, own], 2))

    def keep(self, positions: Tensor | None = None, last: int | None = None) -> Ancestry:
        """What each hypothesis sees of what caches hold.

        positions (t,) bool: of these alone; last: where the caches hold the last n positions.
        """
        return Ancestry(self.writers if last is None else self.writers[:, :, -last:], positions)

    def follow(self, going: Going) -> Self:
        """Of the hypotheses that go on."""
        writers = self.writers if going.sentences is None else self.writers[going.sentences]
        if going.parents is not None:
            writers = writers.gather(1, going.parents[:, :, None].expand(-1, -1, writers.shape[2]))
        return dataclasses.replace(self, writers=writers)
