"""An update asks the device for no number: the host can run ahead of a GPU. Seen on a CPU, by the operations called."""

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nmt.batch import roomy
from nmt.recipe_models import Layout
from nmt.recipe_optim import Adam
from nmt.training.loss import batch_loss
from nmt.training.optim import build_optimizer, step_if_finite
from tests.properties.kinds import PAIRS, VARIANTS, batch_of, build
from tests.properties.test_layouts import TAKING, in_every_layout, together

ASKS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "_unique2", "item"}


class Asked(TorchDispatchMode):
    """Notes the operations that would make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls it all the same."""
        name = func._schema.name.removeprefix("aten::")
        by_mask = name in {"index", "index_put", "index_put_"} and any(
            isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        if name in ASKS or by_mask:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


class Elsewhere(TorchDispatchMode):
    """Refuses whatever is not on the meta device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for part in tree_leaves((args, kwargs, made)):
            assert not isinstance(part, torch.Tensor) or part.is_meta, f"{func} on {part.device}"
        return made


def asked_by(work: Any) -> list[str]:
    """The names of what asked, in order. tolist, numpy and cpu are no operations on a CPU, so these are noted apart."""
    with ExitStack() as stack:
        asked = stack.enter_context(Asked())
        for name in ("tolist", "numpy", "cpu"):
            stack.enter_context(patch.object(torch.Tensor, name, lambda *_, name=name: asked.names.append(name)))
        work()
    return asked.names


@pytest.mark.parametrize("variant", VARIANTS)
def test_forward_and_backward_ask_for_no_number(variant: str) -> None:
    model, batch = build(VARIANTS[variant], torch.float32).train(), batch_of(PAIRS)
    assert asked_by(lambda: batch_loss(model, batch, 0.1).smoothed.backward()) == []


@in_every_layout
def test_nor_in_another_layout(name: str, layout: Layout) -> None:
    model, batch = build(VARIANTS[name], torch.float32).train(), together(layout)
    assert asked_by(lambda: batch_loss(model, batch, 0.1).smoothed.backward()) == []


def test_r_drop_asks_for_no_number() -> None:
    model, batch = build(VARIANTS["transformer"], torch.float32).train(), batch_of(PAIRS)
    assert asked_by(lambda: batch_loss(model, batch, 0.1, r_drop=1.0).smoothed.backward()) == []


@pytest.mark.parametrize("config", [Adam(), Adam(weight_decay=0.1)])
def test_the_step_asks_for_no_number(config: Any) -> None:
    model, batch = build(VARIANTS["transformer"], torch.float32).train(), batch_of(PAIRS)
    optimizer = build_optimizer(config, model, 0.1)
    sums = batch_loss(model, batch, 0.1)
    sums.smoothed.backward()

    def step() -> None:
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), 1.0, norm)
        assert step_if_finite(optimizer, sums.nll, norm)

    assert asked_by(step) == []


def test_what_asks_is_seen() -> None:
    numbers = torch.arange(4.0)
    assert asked_by(lambda: float(numbers.sum())) == ["_local_scalar_dense"]
    assert asked_by(lambda: bool((numbers > 1).any())) == ["_local_scalar_dense"]
    assert asked_by(lambda: numbers[numbers > 1]) == ["index"]
    assert asked_by(lambda: (numbers > 1).nonzero()) == ["nonzero"]
    assert asked_by(lambda: (numbers.tolist(), numbers.cpu())) == ["tolist", "cpu"]


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize(("name", "layout"), [*((name, "padded") for name in VARIANTS), *TAKING])
def test_nothing_of_an_update_is_made_on_the_host(name: str, layout: Layout, graphs: bool) -> None:
    """Every tensor is made where the model is, so nothing has to travel, and all of it can be recorded."""
    model = build(VARIANTS[name], torch.float32).train().to("meta")
    batch = batch_of(PAIRS) if layout == "padded" else together(layout)
    batch = (roomy(batch) if graphs else batch).to(torch.device("meta"))
    with Elsewhere():
        batch_loss(model, batch, 0.1).smoothed.backward()
