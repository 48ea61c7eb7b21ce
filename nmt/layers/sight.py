"""Who sees whom: masks for rows of one sentence, the sentence's own bounds for rows of several."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.batch import Batch
from nmt.ops import banded, dot, masks, packed
from nmt.ops.choose import AttendPacked
from nmt.ops.sentences import Places, places, put_together, take_apart

Pattern = Callable[[Tensor, Tensor], Tensor | None]
"""Which keys a query sees by their positions in the sentence, (Q,) and (N,) -> (Q, N) bool; None for all."""


@dataclass(frozen=True)
class Near:
    """The pattern of ops.sparse.window, or with `strides` of ops.sparse.strided, by its number."""

    width: int
    strides: bool = False

    def pays(self, length: int) -> bool:
        """Whether sentences of this length are better off with a band."""
        return banded.pays(length, self.width, self.strides)


@dataclass(frozen=True)
class Band:
    """Each query sees the keys that `near` says, and with `causal` none that is later. keep (B, N) bool: the keys that
    may be seen; None for all.
    """

    keep: Tensor | None
    near: Near
    causal: bool


@dataclass(frozen=True)
class Apart:
    """Where queries and keys are when sentences stand one a row, and what is seen there, None for all."""

    queries: Places
    keys: Places
    keep: Tensor | Band | None


@dataclass(frozen=True)
class Within:
    """Each query sees keys of its own sentence only, and with `causal` none that is later.

    query_segments, key_segments (B, Q), (B, N) int32, as in Batch. apart: where sentences are to be taken apart for it;
    None where scores of whole rows are taken, which are short, and all of the sentence is seen.
    """

    query_segments: Tensor
    key_segments: Tensor
    causal: bool
    apart: Apart | None


Bounds = Tensor | Within
Keep = Bounds | Band | None
"""What an attention may see: a mask as in ops.dot.attend, the bounds of sentences, a band, or everything."""


def mask(keep: Tensor | Band | None) -> Tensor | None:
    """What may be seen, of an attention that has no bands."""
    assert not isinstance(keep, Band), "a band is for scores that are written out"
    return keep


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    keep: Keep,
    drop: float = 0.0,
    in_rows: AttendPacked = packed.attend,
) -> Tensor:
    """Scaled dot-product attention to what may be seen; shapes as in ops.dot.attend -> context (B, H, Q, C).

    in_rows: the form of packed.attend that runs where sentences stay in their rows.
    """
    if not isinstance(keep, Within):
        return _context(query, keys, values, keep, drop)
    if keep.apart is None:
        return in_rows(query, keys, values, keep.query_segments, keep.key_segments, keep.causal, drop)
    apart = keep.apart
    keys, values = take_apart(keys, apart.keys), take_apart(values, apart.keys)
    context = _context(take_apart(query, apart.queries), keys, values, apart.keep, drop)
    return put_together(context, apart.queries)


def _context(query: Tensor, keys: Tensor, values: Tensor, keep: Tensor | Band | None, drop: float) -> Tensor:
    if isinstance(keep, Band):
        near = keep.near
        return banded.context(query, keys, values, keep.keep, near.width, keep.causal, drop, near.strides)
    return dot.context(query, keys, values, keep, drop)


@dataclass(frozen=True)
class Sight:
    """What is seen in the encoder, by the decoder of itself, and by the decoder of the source; and the positions in the
    sentence, (N,) for all rows or (B, N).
    """

    source: Bounds | Band
    target: Keep
    across: Bounds
    src_positions: Tensor
    tgt_positions: Tensor


def everything(queries: Tensor, keys: Tensor) -> None:
    """The pattern that hides nothing."""
    del queries, keys


def sight(batch: Batch, pattern: Pattern = everything, written_out: bool = True, near: Near | None = None) -> Sight:
    """Of a batch in any layout. An attention that sums instead of writing out its scores (ops/linear_attention.py) has
    sentences taken apart, and the order in its target from how it sums. near: the pattern by its number where it is one
    that is a band in long sentences.
    """
    if batch.src_segments is not None:
        return _of_segments(batch, batch.src_segments, pattern, written_out, near)
    device, keep = batch.src.device, batch.src_keep
    src, tgt = torch.arange(batch.src.shape[1], device=device), torch.arange(batch.tgt_in.shape[1], device=device)
    own = of_target(tgt, pattern, near) if written_out else None
    return Sight(of_source(keep, src, pattern, near), own, masks.padding(keep), src, tgt)


def _of_segments(batch: Batch, src: Tensor, pattern: Pattern, written_out: bool, near: Near | None) -> Sight:
    tgt, src_positions, tgt_positions = batch.tgt_segments, batch.src_positions, batch.tgt_positions
    assert tgt is not None
    assert src_positions is not None
    assert tgt_positions is not None
    at, then = (torch.arange(length, device=src.device) for length in batch.longest)
    source = target = across = None
    if batch.layout == "flat" or not written_out or pattern(at[:1], at[:1]) is not None:
        n = (batch.room or batch).sentences * batch.copies
        here, there = places(src, src_positions, n, len(at)), places(tgt, tgt_positions, n, len(then))
        source = Apart(here, here, of_source(here.keep, at, pattern, near))
        target = Apart(there, there, of_target(then, pattern, near) if written_out else None)
        across = Apart(there, here, masks.padding(here.keep))
    own = Within(src, src, False, source), Within(tgt, tgt, True, target), Within(tgt, src, False, across)
    return Sight(*own, src_positions, tgt_positions)


def of_source(keep: Tensor, positions: Tensor, pattern: Pattern, near: Near | None = None) -> Tensor | Band:
    """A source sentence's view of itself: keep (B, S), positions (S,) -> (B, 1, 1 or S, S); near as for `sight`."""
    if near is not None and near.pays(len(positions)):
        return Band(keep, near, causal=False)
    real, seen = masks.padding(keep), pattern(positions, positions)
    if seen is None:
        return real
    # A padded position that sees nothing would be 0 / 0: it sees itself, and nobody sees it.
    return (real & seen) | torch.eye(len(positions), dtype=torch.bool, device=keep.device)


def of_target(positions: Tensor, pattern: Pattern, near: Near | None = None) -> Tensor | Band:
    """A target sentence's view of itself, positions (T,): none of what is later -> (1, 1, T, T); near as for
    `sight`.
    """
    if near is not None and near.pays(len(positions)):
        return Band(None, near, causal=True)
    earlier, seen = masks.causal(len(positions), positions.device), pattern(positions, positions)
    return earlier if seen is None else earlier & seen
