"""Who keeps which part of the optimiser's state: everybody all of it, or each process that of its own parameters.

The gradients' sum is everybody's, so a process can step any parameter. With `compute.shard_optimizer` each steps its
own and gives the others the result (ZeRO stage 1, Rajbhandari et al. 2020, arXiv 1910.02054): the state takes a
process's share of memory, the bytes are those of the unsharded step, and so is a checkpoint.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nmt.errors import UsageError
from nmt.recipe_optim import Optimizer
from nmt.training import checkpoint
from nmt.training.distributed import Group
from nmt.training.optim import build_optimizer


def owners_of(sizes: Sequence[int], processes: int) -> list[int]:
    """The process of each parameter: the largest first, each to whom has least; the lower one of equals."""
    held, owners = [0] * processes, [0] * len(sizes)
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        owners[i] = min(range(processes), key=lambda rank: (held[rank], rank))
        held[owners[i]] += sizes[i]
    return owners


class Share:
    """The parameters that this process steps, by name: all, or its own where the state is sharded.

    UsageError where there are fewer parameters than processes to share them.
    """

    def __init__(self, names: Sequence[str], parameters: Sequence[nn.Parameter], group: Group, sharded: bool) -> None:
        self._group, self._parameters, self._all_names = group, parameters, list(names)
        self._sharded = sharded and group.size > 1
        if self._sharded and len(parameters) < group.size:
            raise UsageError(
                f"compute.shard_optimizer: {len(parameters)} parameters cannot be shared by {group.size} processes",
                "set it to false",
            )
        self._owners = owners_of([p.numel() for p in parameters], group.size if self._sharded else 1)
        mine = [i for i, owner in enumerate(self._owners) if not self._sharded or owner == group.rank]
        self.names, self.parameters = [names[i] for i in mine], [parameters[i] for i in mine]

    def optimizer(self, config: Optimizer, model: nn.Module, lr: float) -> torch.optim.Optimizer:
        """A fresh one over these parameters."""
        return build_optimizer(config, model, lr, self.parameters)

    def spread(self) -> None:
        """After a step: every process gets the parameters that the others have stepped."""
        if not self._sharded:
            return
        for rank in range(self._group.size):
            owned = [p for p, owner in zip(self._parameters, self._owners, strict=True) if owner == rank]
            flat = self._group.from_rank(torch.cat([p.detach().flatten() for p in owned]), rank)
            if rank != self._group.rank:
                with torch.no_grad():
                    for p, part in zip(owned, flat.split([p.numel() for p in owned]), strict=True):
                        p.copy_(part.view_as(p))

    def flatten(self, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All of the state in the first process, as checkpoint.flatten_optimizer gives it; in the others their own."""
        tensors, described = checkpoint.flatten_optimizer(optimizer, self.names)
        if not self._sharded:
            return tensors, described
        told = self._group.gather(described)
        for rank in range(1, self._group.size):
            tensors |= self._group.tensors_to_first(tensors, rank)
        (groups,) = zip(*(each["groups"] for each in told), strict=True)
        merged = {**groups[0], "names": self._all_names}
        state = {name: entry for each in told for name, entry in each["state"].items()}
        return tensors, {**described, "groups": [merged], "state": state}

    def restore(
        self, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], described: Mapping[str, Any]
    ) -> None:
        """Gives a fresh optimiser over these parameters its part of all of the state."""
        if self._sharded:
            mine = set(self.names)
            groups = [{**g, "names": [name for name in g["names"] if name in mine]} for g in described["groups"]]
            state = {name: entry for name, entry in described["state"].items() if name in mine}
            described = {**described, "groups": groups, "state": state}
            tensors = {
                key: t for key, t in tensors.items() if not key.startswith("state/") or key.split("/")[1] in mine
            }
        checkpoint.restore_optimizer(optimizer, self.names, tensors, described)
