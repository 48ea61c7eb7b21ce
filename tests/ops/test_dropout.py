"""Dropout with 16 random bits an element is dropout: its share, its mean, its gradient, its seed."""

import math

import pytest
import torch

from nmt.ops.dropout import dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_share_and_scale(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    n = 401_003  # no multiple of 4
    dropped = dropout(torch.ones(n, dtype=dtype), p)
    kept = dropped != 0
    deviation = math.sqrt(p * (1 - p) / n)
    assert abs(float(kept.double().mean()) - (1 - p)) < 4 * deviation + 1 / 65536
    assert dropped[kept].double().unique().tolist() == pytest.approx(
        [1 / (1 - p)], rel=5e-3 if dtype is torch.bfloat16 else 1e-4
    )


def test_every_one_of_the_four_numbers_in_a_word_is_as_likely() -> None:
    torch.manual_seed(1)
    kept = (dropout(torch.ones(400_000), 0.3) != 0).view(-1, 4).double()
    assert kept.mean(0).tolist() == pytest.approx([0.7] * 4, abs=0.006)
    centred = kept - kept.mean(0)
    correlation = (centred.T @ centred) / len(kept) / 0.21
    torch.testing.assert_close(correlation, torch.eye(4).double(), rtol=0, atol=0.02)


def test_the_gradient_goes_where_the_value_went_and_a_seed_repeats_it() -> None:
    x = torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(3)
    first = dropout(x, 0.4)
    first.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, first)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.4), first)
    assert not torch.equal(dropout(x, 0.4), first)


def test_a_probability_next_to_one_leaves_finite_numbers() -> None:
    torch.manual_seed(1)
    assert dropout(torch.ones(1000), 0.9999999).isfinite().all()


def test_not_in_evaluation_and_not_at_zero() -> None:
    x = torch.randn(3)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0) is x
    assert dropout(torch.empty(0, 3), 0.5).shape == (0, 3)
