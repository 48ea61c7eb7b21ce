"""Stacks of recurrent layers: scanning equals stepping, states go from stack to stack, dropout falls between layers."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from nmt.layers.recurrent import Carry, Stack

S, B, I, H, L = 4, 3, 5, 6, 3  # noqa: E741
CELLS = pytest.mark.parametrize("cell", ["gru", "lstm"])


def built(cell: Literal["gru", "lstm"], dropout: float = 0.0) -> Stack:
    torch.manual_seed(1)
    stack = Stack(cell, I, H, L, dropout).double()
    for parameter in stack.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    return stack


def flat(carries: tuple[Carry, ...]) -> list[Tensor]:
    return [part for carry in carries for part in carry]


@CELLS
def test_scanning_equals_stepping_from_any_state(cell: Literal["gru", "lstm"]) -> None:
    stack, x = built(cell), torch.randn(S, B, I, dtype=torch.float64)
    keep = torch.arange(S)[:, None] < torch.tensor([4, 1, 2])
    start = tuple(tuple(torch.randn(B, H).double() for _ in carry) for carry in stack.start(x))
    for first in (None, start):
        top, last = stack.scan(x, keep, first)
        for row, length in enumerate(keep.sum(0).tolist()):
            carries = tuple(tuple(p[row : row + 1] for p in c) for c in (first or stack.start(x)))
            for t in range(length):
                carries = stack.step(x[t, row : row + 1], carries)
                torch.testing.assert_close(top[t, row : row + 1], carries[-1][0], atol=1e-12, rtol=0)
            for found, wanted in zip(flat(last), flat(carries), strict=True):
                torch.testing.assert_close(found[row : row + 1], wanted, atol=1e-12, rtol=0)


def test_a_stack_of_lstms_is_torchs() -> None:
    stack, x = built("lstm"), torch.randn(S, B, I, dtype=torch.float64)
    theirs = nn.LSTM(I, H, num_layers=L).double()
    with torch.no_grad():
        for i, layer in enumerate(stack.layers):
            for name, value in (("weight_ih", layer.W.weight), ("weight_hh", layer.U), ("bias_ih", layer.W.bias)):
                getattr(theirs, f"{name}_l{i}").copy_(value)
            getattr(theirs, f"bias_hh_l{i}").zero_()
    wanted, (h, c) = theirs(x)
    top, last = stack.scan(x)
    torch.testing.assert_close(top, wanted, atol=1e-10, rtol=0)
    for i, carry in enumerate(last):
        torch.testing.assert_close(torch.stack(carry), torch.stack([h[i], c[i]]), atol=1e-10, rtol=0)


@CELLS
def test_dropout_falls_between_layers_only(cell: Literal["gru", "lstm"]) -> None:
    """At a rate of nearly one nothing passes from layer to layer, but each keeps its own state: the lowest is whole."""
    stack, x = built(cell, dropout=0.9999), torch.randn(S, B, I, dtype=torch.float64)
    dropped, last = stack.scan(x)
    _, whole = stack.eval().scan(x)
    torch.testing.assert_close(last[0], whole[0])
    nothing = torch.zeros(S, B, H, dtype=torch.float64)
    alone, _ = stack.layers[-1].scan(nothing)
    torch.testing.assert_close(dropped, alone)
    assert (last[1][0] - whole[1][0]).abs().max() > 1e-2
