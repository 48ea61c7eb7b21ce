"""Who owns which parameter, and the part of an optimiser's state that goes with it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nmt.errors import UsageError
from nmt.processes import Place
from nmt.recipe_optim import Adam
from nmt.training.checkpoint import flatten_optimizer
from nmt.training.distributed import Group
from nmt.training.sharding import Share, owners_of


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40), st.integers(1, 8))
def test_no_process_holds_more_than_another_and_one_parameter_besides(sizes: list[int], processes: int) -> None:
    owners = owners_of(sizes, processes)
    held = [sum(size for size, owner in zip(sizes, owners, strict=True) if owner == rank) for rank in range(processes)]
    assert len(owners) == len(sizes)
    assert max(held) - min(held) <= max(sizes)


def test_each_takes_its_own_part_of_a_whole_state() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    names, parameters = map(list, zip(*model.named_parameters(), strict=True))
    alone = Share(names, parameters, Group(), sharded=True)
    optimizer = alone.optimizer(Adam(), model, 0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    tensors, described = flatten_optimizer(optimizer, names)
    taken: list[str] = []
    for rank in (0, 1):
        share = Share(names, parameters, Group(Place(rank, 2)), sharded=True)
        part = share.optimizer(Adam(), model, 0.1)
        share.restore(part, tensors, described)
        for name, parameter in zip(share.names, share.parameters, strict=True):
            assert torch.equal(part.state[parameter]["exp_avg"], optimizer.state[parameter]["exp_avg"])
            taken.append(name)
    assert sorted(taken) == sorted(names)


def test_more_processes_than_parameters_are_refused() -> None:
    linear = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="2 parameters cannot be shared by 3 processes"):
        Share(["weight", "bias"], [linear.weight, linear.bias], Group(Place(0, 3)), sharded=True)
