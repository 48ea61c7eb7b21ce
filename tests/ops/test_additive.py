"""Additive attention's hand-written backward against autograd in float64."""

import pytest
import torch
from torch import Tensor

from nmt.ops import additive


def numbers(*shape: int, scale: float = 1.0) -> Tensor:
    return (torch.randn(*shape, dtype=torch.float64) * scale).requires_grad_()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(8)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_hand_written_gradients_are_autograds(scale: float) -> None:
    query, keys, v = numbers(2, 3, 4), numbers(2, 5, 4), numbers(4, scale=scale)
    keep = torch.tensor([[True] * 5, [True, True, False, True, False]])
    weights = additive.weigh(additive.score(query, keys, v), keep)
    dweights = torch.randn_like(weights)
    wanted = torch.autograd.grad(weights, [query, keys, v], dweights)
    dscores = additive.softmax_gradient(weights, dweights)
    for found, true in zip(additive.score_gradients(dscores, query, keys, v), wanted, strict=True):
        torch.testing.assert_close(found, true, atol=1e-11, rtol=1e-11)


def test_steps_are_attention_one_query_at_a_time() -> None:
    T, keys, v, query = 3, numbers(2, 5, 4), numbers(4), numbers(2, 3, 4)
    keep = torch.tensor([[True] * 5, [True, True, False, True, False]])
    weights = additive.weigh(additive.score(query, keys, v), keep)
    dweights = torch.randn_like(weights)
    wanted = torch.autograd.grad(weights, [query, keys, v], dweights)
    hide = torch.zeros(2, 5, dtype=torch.float64).masked_fill_(~keep, -torch.inf)
    with torch.no_grad():
        there = additive.Steps(keys, v, T)
        seen = [there.look(t, query[:, t], hide, torch.empty_like(hide)) for t in range(T)]
        back = additive.Steps(keys, v, T, there.kept)
        dquery = [back.look_backward(t, seen[t], dweights[:, t]) for t in reversed(range(T))][::-1]
        found = torch.stack(dquery, 1), *back.gradients()
    torch.testing.assert_close(torch.stack(seen, 1), weights, atol=1e-12, rtol=0)
    for ours, true in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, true, atol=1e-11, rtol=1e-11)
