"""Windows by blocks and strides by residues against their definition, and what they cost."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nmt.ops import banded, dot, sparse


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    monkeypatch.setattr(banded, "LEAST", 3)


both = pytest.mark.parametrize("strides", [False, True])


@both
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("width", [1, 2, 3, 5])
@pytest.mark.parametrize("N", [1, 3, 8, 15, 16])
@pytest.mark.parametrize("G", [1, 2, 4])
def test_it_is_the_pattern_written_out_with_all_gradients(
    G: int, N: int, width: int, padded: bool, causal: bool, strides: bool
) -> None:
    """In sentences of less than a block as well, where it would not be taken."""
    B, H, C = 3, 4, 6
    query, keys, values = numbers(B, H, N, C), numbers(B, G, N, C), numbers(B, G, N, C)
    keep = torch.arange(N) < torch.tensor([N, 1, max(N // 2, 1)])[:, None] if padded else None
    at = torch.arange(N)
    pattern = sparse.strided if strides else sparse.window
    may = pattern(at, at, width) & (at[:, None] >= at if causal else torch.tensor(True))
    if keep is not None:
        may = (may & keep[:, None, None]) | torch.eye(N, dtype=torch.bool)
    found = banded.context(query, keys, values, keep, width, causal, strides=strides)
    wanted = dot.attend(query, keys, values, may.expand(B, 1, N, N))[0]
    torch.testing.assert_close(found, wanted)
    way = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, (query, keys, values), way),
        torch.autograd.grad(wanted, (query, keys, values), way),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@both
def test_a_key_that_is_no_number_reaches_those_alone_that_may_see_it(strides: bool) -> None:
    query, keys, values = (torch.randn(1, 1, 30, 4) for _ in range(3))
    keys[:, :, 12] = torch.nan
    found = banded.context(query, keys, values, None, 4, causal=False, strides=strides)
    near, far = set(range(8, 17)), {0, 4, 8, 12, 16, 20, 24, 28}
    assert set(found.isnan().any(-1)[0, 0].nonzero().flatten().tolist()) == (near | far if strides else near)


@both
def test_weights_are_dropped(strides: bool) -> None:
    query, keys = torch.randn(1, 1, 40, 4), torch.randn(1, 1, 40, 4)
    values = torch.ones(1, 1, 40, 4)
    kept = banded.context(query, keys, values, None, 2, False, 0.5, strides)
    assert float(kept.std()) > 0.1
    assert torch.allclose(banded.context(query, keys, values, None, 2, False, 0.0, strides), values)


@pytest.mark.parametrize("causal", [False, True])
def test_the_cost_of_its_products_grows_with_the_length(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banded, "LEAST", 64)

    def flops(N: int, strides: bool = False) -> int:
        query, keys, values = (torch.ones(1, 2, N, 8, requires_grad=True) for _ in range(3))
        with FlopCounterMode(display=False) as counter:
            banded.context(query, keys, values, None, 16, causal, strides=strides).sum().backward()
        return counter.get_total_flops()

    assert flops(4096) == 4 * flops(1024) == 8 * flops(512)
    every = 2 * 4096 * 4096 * 8 * 2 * 6  # six products of all pairs, two heads
    assert flops(4096, strides=True) == flops(4096) + every / 16
    assert not banded.pays(256, 16)
    assert banded.pays(257, 16)
    assert not banded.pays(400, 100)
    assert banded.pays(257, 16, strides=True)
    assert not banded.pays(257, 3, strides=True)
