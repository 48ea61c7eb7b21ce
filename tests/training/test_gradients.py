"""The tree that parts are added up in: one shape, whoever has which part."""

import math

import pytest
import torch
from torch import Tensor, nn

from nmt.processes import Place
from nmt.training.distributed import Group
from nmt.training.gradients import PartGradients, TreeSum, nodes_of


def plus(left: str, right: str) -> str:
    return f"({left}+{right})"


def by_rounds(parts: int) -> str:
    """The law, written out: neighbours are added, an odd last one goes on as it is."""
    row = [str(part) for part in range(parts)]
    while len(row) > 1:
        row = [plus(*row[i : i + 2]) if i + 1 < len(row) else row[i] for i in range(0, len(row), 2)]
    return row[0]


def test_the_tree_by_hand() -> None:
    assert [by_rounds(n) for n in (1, 3, 4, 6)] == ["0", "((0+1)+2)", "((0+1)+(2+3))", "(((0+1)+(2+3))+(4+5))"]


@pytest.mark.parametrize("parts", range(1, 34))
def test_a_process_alone_adds_along_the_tree_and_holds_log2_sums(parts: int) -> None:
    tree, most = TreeSum[str](parts, plus), 0
    for part in range(parts):
        tree.take(str(part), part)
        most = max(most, len(tree.nodes))
    assert [node.value for node in tree.nodes] == [by_rounds(parts)]
    assert most <= math.ceil(math.log2(parts)) + 1


@pytest.mark.parametrize("size", range(1, 9))
def test_any_number_of_processes_adds_along_the_same_tree(size: int) -> None:
    for parts in range(1, 34):
        whole = TreeSum[str](parts, plus)
        for rank in range(size):
            run = Group(Place(rank, size)).share(parts)
            own = TreeSum[str](parts, plus)
            for part in run:
                own.take(str(part), part)
            assert [(n.level, n.index) for n in own.nodes] == [(n.level, n.index) for n in nodes_of(run, parts)]
            for node in own.nodes:
                whole.take(node.value, node.index, node.level)
        assert [node.value for node in whole.nodes] == [by_rounds(parts)], parts


def test_shares_are_contiguous_and_as_equal_as_can_be() -> None:
    for n in range(20):
        for size in range(1, 9):
            shares = [Group(Place(rank, size)).share(n) for rank in range(size)]
            assert [i for share in shares for i in share] == list(range(n))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def gradients_of(parts: list[list[Tensor | None]]) -> list[Tensor]:
    """What parameters have in the end whose gradients of each part are these."""
    n = next(len(grad) for grad in parts[0] if grad is not None)
    parameters = [nn.Parameter(torch.zeros(n)) for _ in parts[0]]
    total = PartGradients(parameters, len(parts), Group())
    for part, grads in enumerate(parts):
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        total.take(part)
        assert all(parameter.grad is None for parameter in parameters)
    total.finish()
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def test_gradients_are_added_in_float32_along_the_tree() -> None:
    torch.manual_seed(3)
    a, b, c, d, e = (torch.randn(100) for _ in range(5))
    [found] = gradients_of([[g.clone()] for g in (a, b, c, d, e)])
    assert torch.equal(found, ((a + b) + (c + d)) + e)
    assert not torch.equal(found, (((a + b) + c) + d) + e), "these numbers do not tell one order from another"


def test_a_parameter_that_a_part_does_not_use_has_no_gradient_there() -> None:
    one = torch.ones(3)
    first, second = gradients_of([[one.clone(), None], [None, None], [one.clone(), one.clone()]])
    assert first.tolist() == [2, 2, 2]
    assert second.tolist() == [1, 1, 1]
