"""The heads in the columns of one product, ready to meet others: RMSNorm of each, and rotation by its position."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.fused import WIDEST, Fused, fused_for
from nmt.ops.gradient import once
from nmt.ops.heads import in_rows
from nmt.ops.linear import wide
from nmt.ops.parts import parts
from nmt.ops.rope import rotate

EPS = 1e-6
"""Of a head's RMSNorm."""


@dataclass(frozen=True)
class Group:
    """Heads side by side: n of them; gain (C,) where each is normalised; whether they are turned."""

    n: int
    gain: Tensor | None = None
    turned: bool = False


def heads(x: Tensor, groups: Sequence[Group], turn: Tensor | None = None) -> list[Tensor]:
    """Columns of x (B, N, W), those of the first group first, as heads (B, n, N, C) of each group in the type of x.

    Where there is a gain, h becomes gain * h / sqrt(mean of h^2 + EPS), in float32; then, in groups that are turned, it
    is rotated by turn (N, C / 2, 2) or (B, 1, N, C / 2, 2) of ops/rope.py, where that is given.
    """
    if (fused := _fused_for(x, groups, turn)) is not None:
        gains = [group.gain for group in groups]
        return list(_FusedHeads.apply(x, [(one.n, one.turned) for one in groups], turn, fused, *gains))  # pyright: ignore[reportArgumentType]
    C = _width(x, [group.n for group in groups])
    found: list[Tensor] = []
    for columns, group in zip(parts(x, [group.n * C for group in groups]), groups, strict=True):
        one = columns.unflatten(-1, (group.n, -1)).transpose(1, 2)
        if group.gain is not None:
            one = F.rms_norm(one.to(wide(x.dtype)), (C,), group.gain, EPS).to(x.dtype)
        found.append(rotate(one, turn) if group.turned and turn is not None else one)
    return found


def _width(x: Tensor, numbers: Sequence[int]) -> int:
    return x.shape[-1] // sum(numbers)


def _fused_for(x: Tensor, groups: Sequence[Group], turn: Tensor | None) -> Fused | None:
    """The compiled functions, where there is something to do that they can."""
    busy = any(group.gain is not None or (group.turned and turn is not None) for group in groups)
    if not busy or not torch.is_grad_enabled() or _width(x, [group.n for group in groups]) > WIDEST:
        return None
    if turn is not None and turn.dtype != torch.float32:
        return None
    return fused_for(x, *(group.gain for group in groups if group.gain is not None))


class _FusedHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, groups: list[tuple[int, bool]], turn: Tensor | None, fused: Fused, *gains: Tensor | None
    ) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        for one, (_, turned), gain in zip(_views(x, groups), groups, gains, strict=True):
            angles = turn if turned else None
            found.append(one if gain is None and angles is None else fused.heads(one, gain, EPS, angles))
        ctx.save_for_backward(x, turn, *gains)
        ctx.groups, ctx.fused = groups, fused
        return tuple(found)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, turn, *gains = ctx.saved_tensors
        dx, dgains = x.new_empty(x.shape), list[Tensor | None]()
        own, room = _views(x, ctx.groups), _views(dx, ctx.groups)
        for grad, h, (_, turned), gain, to in zip(grads, own, ctx.groups, gains, room, strict=True):
            angles = turn if turned else None
            if gain is None and angles is None:
                to.copy_(grad)
                dgains.append(None)
            else:
                dgains.append(ctx.fused.heads_backward(in_rows(grad), h, gain, EPS, angles, to))
        return dx, None, None, None, *dgains


def _views(x: Tensor, groups: list[tuple[int, bool]]) -> list[Tensor]:
    """Heads (B, n, N, C) of each group as they lie in x (B, N, W)."""
    C = _width(x, [n for n, _ in groups])
    slices = x.split([n * C for n, _ in groups], dim=-1)
    return [one.unflatten(-1, (-1, C)).transpose(1, 2) for one in slices]
