"""Linear attention: every form against the sums written out pair by pair, and what it never holds."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.ops import linear_attention as la
from nmt.ops.rope import rotate, rotation

B, H, G, N, C = 2, 4, 2, 7, 6
LENGTHS = [N, 4]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(4)


def inputs(n: int = N) -> list[Tensor]:
    return [torch.randn(B, h, n, C, dtype=torch.float64, requires_grad=True) for h in (H, G, G)]


def padding() -> Tensor:
    return (torch.arange(N) < torch.tensor(LENGTHS)[:, None])[:, None, None]  # (B, 1, 1, N)


def phi(x: Tensor) -> Tensor:
    return torch.nn.functional.elu(x) + 1


def written_out(
    query: Tensor, keys: Tensor, values: Tensor, turn: Tensor | None, causal: bool, lengths: list[int]
) -> Tensor:
    """Equation 4, with Su et al.'s equation 19 for rotations, pair by pair: (B, H, N, C)."""
    turned = [phi(x) if turn is None else rotate(phi(x), turn) for x in (query, keys)]
    rows = []
    for b in range(B):
        for h in range(H):
            for i in range(query.shape[2]):
                seen = [j for j in range(lengths[b]) if j <= i or not causal]
                above = sum((turned[0][b, h, i] @ turned[1][b, h // 2, j]) * values[b, h // 2, j] for j in seen)
                below = sum(phi(query[b, h, i]) @ phi(keys[b, h // 2, j]) for j in seen)
                rows.append(above / below)
    return torch.stack(rows).view(query.shape)


def assert_same(found: Tensor, truth: Tensor, of: list[Tensor]) -> None:
    """Values and gradients of everything that went in."""
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-12)
    outward = torch.randn_like(truth)
    for a, b in zip(torch.autograd.grad(found, of, outward), torch.autograd.grad(truth, of, outward), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def turns(rotated: bool, n: int = N) -> Tensor | None:
    return rotation(torch.arange(n), C, torch.float64) if rotated else None


with_and_without_rotation = pytest.mark.parametrize("rotated", [False, True])


@with_and_without_rotation
def test_sums_over_all_keys_are_the_definition_and_skip_padding(rotated: bool) -> None:
    query, keys, values = given = inputs()
    turn = turns(rotated)
    found = la.look_up(query, la.sums(keys, values, padding(), turn), turn)
    assert_same(found, written_out(query, keys, values, turn, False, LENGTHS), given)


@with_and_without_rotation
@pytest.mark.parametrize("chunk", [1, 2, 3, N - 1, N, 64])
def test_chunks_are_the_definition(rotated: bool, chunk: int) -> None:
    q, k, v = given = inputs()
    turn = turns(rotated)
    assert_same(la.causal(q, k, v, turn, chunk), written_out(q, k, v, turn, True, [N, N]), given)


@with_and_without_rotation
def test_the_recurrence_is_the_definition(rotated: bool) -> None:
    q, k, v = given = inputs()
    turn = turns(rotated)
    assert_same(la.recurrent(q, k, v, turn), written_out(q, k, v, turn, True, [N, N]), given)


@with_and_without_rotation
def test_many_chunks_are_the_recurrence(rotated: bool) -> None:
    q, k, v = given = inputs(150)
    turn = turns(rotated, 150)
    assert_same(la.causal(q, k, v, turn), la.recurrent(q, k, v, turn), given)


def test_weights_are_what_the_sums_weigh_by() -> None:
    query, keys, values = inputs()
    weights = la.weights(query, keys, padding())
    assert not weights.masked_select(~padding().expand_as(weights)).any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, H, N, dtype=torch.float64))
    shared = values.repeat_interleave(H // G, dim=1)
    torch.testing.assert_close(
        weights @ shared, la.look_up(query, la.sums(keys, values, padding())), rtol=0, atol=1e-13
    )


def test_by_hand() -> None:
    """phi(0) = 1, phi(1) = 2, phi(-ln 2) = 1/2: q = 1 sees values 3 and 9 through 2 * 1 and 2 * 1/2, so (6 + 9) / 3."""
    query, keys = torch.tensor([[[[1.0]]]]), torch.tensor([[[[0.0], [-0.6931471805599453]]]])
    found = la.look_up(query, la.sums(keys, torch.tensor([[[[3.0], [9.0]]]]), None))
    assert float(found) == pytest.approx(5.0, abs=1e-6)


def test_features_are_elu_plus_one_to_the_last_bit_that_counts() -> None:
    x = torch.linspace(-6, 6, 1001, dtype=torch.float64, requires_grad=True)
    assert_same(la.features(x), phi(x), [x])
    far = torch.tensor([-40.0])
    assert float(phi(far)) == 0.0  # elu(x) + 1 has lost it
    assert float(la.features(far)) == pytest.approx(4.2483542552916e-18, rel=1e-6)


def test_features_that_vanish_give_zero_and_a_finite_gradient() -> None:
    query, keys, values = (torch.full((1, 1, 3, 2), -200.0, requires_grad=True) for _ in range(3))
    found = la.causal(query, keys, values)
    assert not found.any()
    for gradient in torch.autograd.grad(found.sum(), [query, keys, values]):
        assert bool(gradient.isfinite().all())


def test_bfloat16_stays_within_two_percent() -> None:
    q, k, v = (torch.randn(2, 4, 200, 16) for _ in range(3))
    turn = rotation(torch.arange(200), 16, torch.float32)
    exact = la.causal(q, k, v, turn)
    rounded = la.causal(q.to(torch.bfloat16), k.to(torch.bfloat16), v.to(torch.bfloat16), turn)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() < 0.02 * exact.norm()


class Largest(TorchDispatchMode):
    """The most numbers in any one tensor that an operation gave, in forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def largest(n: int) -> int:
    query, keys, values = (torch.randn(1, 1, n, 8, requires_grad=True) for _ in range(3))
    with Largest() as seen:
        la.causal(query, keys, values, rotation(torch.arange(n), 8, torch.float32), chunk=16).sum().backward()
    return seen.numbers


def test_nothing_grows_faster_than_the_sentence() -> None:
    assert largest(512) <= 512 * 16
    assert largest(2048) == 4 * largest(512)
