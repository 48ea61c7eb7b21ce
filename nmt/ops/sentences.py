"""Rows that hold several sentences, taken apart into one sentence a row and put together again.

Attention among the positions of a sentence is then what it is in a padded batch, and nothing is ever computed between
two sentences: whatever a row's length, the cost is that of its sentences.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Where the positions of rows (B, N) are when n sentences stand one a row, L wide.

    apart     (n * L,) int64: for each place in a sentence, the position of the rows, counted through; any where none
    together  (B * N,) int64: for each position of the rows, its place in a sentence; any where it is padding
    keep      (n, L) bool: where there is a position, or the first place of a sentence that has none, so that it has
              something to look at; real (B, N) bool: where there is a sentence
    """

    apart: Tensor
    together: Tensor
    keep: Tensor
    real: Tensor


def places(segments: Tensor, positions: Tensor, n: int, longest: int) -> Places:
    """segments (B, N): 1 for a row's first sentence, and so on, 0 for padding; positions (B, N) in the sentence. At
    most n sentences are in all rows, of at most `longest` positions: the host knows both, so no device is asked.
    """
    real = segments != 0
    of_row = segments.amax(dim=1, keepdim=True).cumsum(dim=0) - segments.amax(dim=1, keepdim=True)  # sentences before
    place = (of_row + segments - 1) * longest + positions  # (B, N)
    nowhere = n * longest
    place = torch.where(real, place, nowhere).flatten().to(torch.int64)
    counted = torch.arange(place.shape[0], device=place.device)
    apart = counted.new_zeros(nowhere + 1).scatter_(0, place, counted)[:-1]
    keep = torch.zeros(nowhere + 1, dtype=torch.bool, device=place.device).scatter_(0, place, True)[:-1]
    keep = keep.view(n, longest)
    keep[:, 0] = True
    return Places(apart, place.clamp(max=nowhere - 1), keep, real)


def take_apart(x: Tensor, where: Places) -> Tensor:
    """(B, H, N, C) -> (n, H, L, C), zeros where a sentence has no position."""
    B, H, N, C = x.shape
    rows = x.transpose(1, 2).reshape(B * N, H * C)
    moved = _Moved.apply(rows, where.apart, where.keep.flatten(), where.together, where.real.flatten())
    return moved.view(*where.keep.shape, H, C).transpose(1, 2)  # pyright: ignore[reportOptionalMemberAccess]


def put_together(x: Tensor, where: Places) -> Tensor:
    """(n, H, L, C) -> (B, H, N, C), zeros where there is padding."""
    n, H, L, C = x.shape
    rows = x.transpose(1, 2).reshape(n * L, H * C)
    moved = _Moved.apply(rows, where.together, where.real.flatten(), where.apart, where.keep.flatten())
    return moved.view(*where.real.shape, H, C).transpose(1, 2)  # pyright: ignore[reportOptionalMemberAccess]


class _Moved(torch.autograd.Function):
    """Rows in another order, which is one to one: so the gradient is gathered, too, instead of being added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, there: Tensor, back: Tensor, back_there: Tensor) -> Tensor:
        ctx.save_for_backward(back, back_there)
        return x.index_select(0, index).masked_fill_(~there[:, None], 0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        back, back_there = ctx.saved_tensors
        return grads[0].index_select(0, back).masked_fill_(~back_there[:, None], 0.0), None, None, None, None
