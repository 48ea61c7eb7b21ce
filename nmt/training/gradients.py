"""The gradients of an update's parts, added up in one fixed binary tree: however many processes compute the parts, the
sum has the same bytes.

Floating-point addition depends on the order: which two numbers meet is fixed by the parts' numbers alone. In rounds,
neighbours are added: part 0 and 1, 2 and 3, and so on, then these sums; an odd last one goes to the next round as it
is. Each process has a contiguous run of parts, adds what meets within it, and only what is left crosses processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from nmt.training.distributed import Group

_ALIGNED = 16
"""Numbers that each tensor's place in a flat one is a multiple of: 64 bytes, as where torch allocates it alone."""

T = TypeVar("T")


@dataclass(frozen=True)
class Node(Generic[T]):
    """A sum on its way up: number `index` of its level; a part is a node of level 0."""

    level: int
    index: int
    value: T


class TreeSum(Generic[T]):
    """Adds up the values of a run of parts as they come; `nodes` is what still waits for a neighbour.

    `add` gives the sum of its two arguments, and may put it where the first one was. With all parts of an update there
    is one node at the end, the total; meanwhile at most one of each level, so about log2(parts) of them.
    """

    def __init__(self, parts: int, add: Callable[[T, T], T]) -> None:
        self.parts = parts
        self.nodes: list[Node[T]] = []
        self._add = add

    def take(self, value: T, index: int, level: int = 0) -> None:
        """The next value: of a part, or of a node that another process came to."""
        while (width := -(-self.parts >> level)) > 1:
            if index % 2:
                left = self.nodes[-1] if self.nodes else None
                if left is None or (left.level, left.index) != (level, index - 1):
                    break  # another process has its left neighbour
                value = self._add(self.nodes.pop().value, value)
            elif index + 1 < width:
                break  # its right neighbour is still to come
            index, level = index // 2, level + 1
        self.nodes.append(Node(level, index, value))


def nodes_of(run: range, parts: int) -> list[Node[None]]:
    """The nodes that are left of a run of parts."""
    tree = TreeSum[None](parts, lambda left, right: None)
    for part in run:
        tree.take(None, part)
    return tree.nodes


class PartGradients:
    """The sum of the parts' gradients over all processes of a group, in the parameters' `grad` in the end.

    A parameter that a part did not use counts as zero there. A process holds the gradients of the part it is at and
    about log2(parts) sums; where they cross processes, two gradients more.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], parts: int, group: Group) -> None:
        self.parameters, self.group = parameters, group
        self.tree = TreeSum[list[Tensor]](parts, _add_in_place)

    def take(self, part: int) -> None:
        """Takes away the gradients that a backward pass over a part has left in the parameters."""
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        self.tree.take(grads, part)

    def finish(self) -> None:
        """Gives the parameters the total."""
        total = self._total_of_all() if self.group.size > 1 else self.tree.nodes[0].value
        for parameter, grad in zip(self.parameters, total, strict=True):
            parameter.grad = grad

    def _total_of_all(self) -> list[Tensor]:
        """Each process adds up its share of the numbers over the nodes of all; then the shares go to everybody.

        So a process sends and receives about two gradients, however many processes there are.
        """
        group, parts = self.group, self.tree.parts
        sizes = [-(-p.numel() // _ALIGNED) * _ALIGNED for p in self.parameters]
        starts = [0, *accumulate(sizes)][:-1]
        share = -(-sum(sizes) // group.size)
        like = self.parameters[0]
        sent = like.new_empty(group.size, len(self.tree.nodes), share)
        for i, node in enumerate(self.tree.nodes):
            flat = like.new_zeros(group.size * share)
            for start, grad in zip(starts, node.value, strict=True):
                flat[start : start + grad.numel()] = grad.flatten()
            sent[:, i] = flat.view(group.size, share)
        self.tree.nodes.clear()
        nodes = [nodes_of(group.share(parts, rank), parts) for rank in range(group.size)]
        rows = group.exchange(sent, [len(found) for found in nodes])  # (nodes of all, share)
        tree = TreeSum[Tensor](parts, Tensor.add_)
        for node, row in zip((node for found in nodes for node in found), rows, strict=True):
            tree.take(row, node.index, node.level)
        flat = group.everybodys(tree.nodes[0].value)
        return [flat[start : start + p.numel()].view_as(p) for start, p in zip(starts, self.parameters, strict=True)]


def _add_in_place(left: list[Tensor], right: list[Tensor]) -> list[Tensor]:
    for mine, neighbours in zip(left, right, strict=True):
        mine.add_(neighbours)
    return left
