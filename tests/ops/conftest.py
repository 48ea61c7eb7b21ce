"""What tests of compiled functions share."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor


@pytest.fixture
def nothing_is_zero_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room that is asked for empty is full of NaN."""
    empty, like = torch.empty, torch.empty_like

    def filled(made: Tensor) -> Tensor:
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", lambda *a, **k: filled(empty(*a, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: filled(like(*a, **k)))
    monkeypatch.setattr(Tensor, "new_empty", lambda x, *a, dtype=None, **k: filled(empty(*a, dtype=dtype or x.dtype)))


@pytest.fixture
def poisoned() -> Iterator[None]:
    """What a kernel does not write is NaN."""
    torch.manual_seed(13)
    torch.use_deterministic_algorithms(True)  # torch then fills what it allocates with NaN
    yield
    torch.use_deterministic_algorithms(False)
