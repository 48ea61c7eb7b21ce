"""A recording as a CUDA graph's, on a CPU: the operations of some work as they were, on the memory that they had.

Numbers and shapes that the host knew are in it for good, and what it did in between is not done again. So work that
would be recorded wrongly on a GPU is replayed wrongly here.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nmt.ops.graph import Work

_UNFILLED = {"aten::empty", "aten::empty_like", "aten::new_empty", "aten::empty_strided"}


class Tape(TorchDispatchMode):
    """Notes every operation while it is done."""

    def __init__(self) -> None:
        super().__init__()
        self.played: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Does it."""
        found = func(*args, **(kwargs or {}))
        assert func._schema.name != "aten::_local_scalar_dense", "a number was asked for, which a recording cannot give"
        if func._schema.name not in _UNFILLED:
            # Memory and shape as they are now: an operation such as squeeze_ changes the shape of what was given.
            results = [leaf.detach() for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]
            self.played.append((func, args, kwargs or {}, results))
        return found

    def replay(self) -> None:
        """Does all again; what each gives comes to where it was."""
        with torch.no_grad():
            for func, args, kwargs, before in self.played:
                again = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, Tensor)]
                for old, new in zip(before, again, strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def record(work: Work) -> Work:
    """As nmt.ops.graph.Recorder."""
    work()
    work()
    tape = Tape()
    with tape:
        work()
    return tape.replay
