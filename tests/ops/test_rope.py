"""Rotary positions: by hand, relative, and as matrices."""

import math

import pytest
import torch
from torch import Tensor

from nmt.ops.rope import rotate, rotation


def test_by_hand() -> None:
    """C = 4: the first pair turns by m radians, the second by m / 100 (10000^(-2/4))."""
    turn = rotation(torch.tensor([0, 3]), 4, torch.float64)
    x = torch.tensor([[1.0, 0.0, 0.0, 2.0], [1.0, 0.0, 0.0, 2.0]], dtype=torch.float64)
    wanted = [[1.0, 0.0, 0.0, 2.0], [math.cos(3), math.sin(3), -2 * math.sin(0.03), 2 * math.cos(0.03)]]
    torch.testing.assert_close(rotate(x, turn), torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-15)


def matrix(m: int, C: int) -> Tensor:
    """R of equation 15: blocks of two by two on the diagonal."""
    blocks = []
    for j in range(C // 2):
        angle = m * 10000 ** (-2 * j / C)
        blocks.append(torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]))
    return torch.block_diag(*blocks)


def test_it_is_the_matrix_of_equation_15() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        x = torch.randn(2, 3, 5, 8)  # (B, H, Q, C)
        found = rotate(x, rotation(torch.arange(5), 8, torch.float64))
        for m in range(5):
            torch.testing.assert_close(found[:, :, m], x[:, :, m] @ matrix(m, 8).T, rtol=0, atol=1e-14)
    finally:
        torch.set_default_dtype(torch.float32)


def test_products_depend_on_the_distance_alone() -> None:
    q, k = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)

    def product(m: int, n: int) -> float:
        turn = rotation(torch.tensor([m, n]), 8, torch.float64)
        return float(rotate(q[None], turn[:1])[0] @ rotate(k[None], turn[1:])[0])

    assert product(7, 2) == pytest.approx(product(1005, 1000), abs=1e-11)
    assert abs(product(7, 2) - product(7, 3)) > 1e-3
    assert product(4, 4) == pytest.approx(float(q @ k), abs=1e-12)


def test_gradients_and_views() -> None:
    """Of heads as they lie in a joined projection, one position a row as a step has it."""
    joined = torch.randn(2, 3, 12, dtype=torch.float64, requires_grad=True)
    turn = rotation(torch.tensor([4, 9]), 4, torch.float64)[:, None, None]  # (R, 1, 1, C / 2, 2)

    def heads(x: Tensor) -> Tensor:
        return rotate(x[..., 4:].unflatten(-1, (2, 4)).transpose(1, 2), turn)

    assert torch.autograd.gradcheck(heads, [joined])


def test_bfloat16_is_rotated_in_float32() -> None:
    x = torch.randn(6, 8).to(torch.bfloat16)
    turn = rotation(torch.arange(6) + 300, 8, torch.bfloat16)
    assert turn.dtype == torch.float32
    found = rotate(x, turn)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, rotate(x.float(), turn).to(torch.bfloat16))
