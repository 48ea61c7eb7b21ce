"""The largest of each row are those that a sort finds."""

import pytest
import torch

from nmt.ops.top import largest, log_normalizer


@pytest.mark.parametrize("V", [5, 127, 128, 255, 256, 300, 1000, 8000, 8001])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_the_largest_of_each_row(V: int, n: int) -> None:
    n = min(n, V)
    logits = torch.randn(7, V, generator=torch.Generator().manual_seed(V + n))
    values, places = largest(logits, n)
    torch.testing.assert_close(values, logits.sort(1, descending=True).values[:, :n], rtol=0, atol=0)
    torch.testing.assert_close(logits.gather(1, places), values, rtol=0, atol=0)


@pytest.mark.parametrize("V", [300, 1024])
def test_where_many_are_equal_or_forbidden_n_different_places_are_given(V: int) -> None:
    logits = torch.randint(0, 3, (50, V), generator=torch.Generator().manual_seed(1)).float()
    logits[10:, 5:] = -torch.inf
    logits[20:, 3] = torch.inf
    values, places = largest(logits, 6)
    torch.testing.assert_close(values, logits.sort(1, descending=True).values[:, :6], rtol=0, atol=0)
    torch.testing.assert_close(logits.gather(1, places), values, rtol=0, atol=0)
    assert all(len(set(row)) == 6 for row in places.tolist())


def test_what_is_not_a_number_comes_first_as_for_topk() -> None:
    logits = torch.randn(3, 700)
    logits[1, 650] = torch.nan
    values, _ = largest(logits, 3)
    assert values[1, 0].isnan()
    assert values[[0, 2]].isfinite().all()


def test_the_normalizer_is_that_of_the_definition() -> None:
    logits = torch.randn(40, 900, generator=torch.Generator().manual_seed(2)) * 8
    logits[3] += 3000.0
    logits[4, :700] = -torch.inf
    torch.testing.assert_close(
        log_normalizer(logits).double(), logits.double().logsumexp(1, keepdim=True), rtol=1e-6, atol=1e-5
    )


@pytest.mark.parametrize("fault", [torch.nan, torch.inf])
def test_a_row_that_is_broken_has_no_finite_normalizer(fault: float) -> None:
    logits = torch.zeros(3, 900)
    logits[1, 5] = fault
    logits[2] = -torch.inf
    assert log_normalizer(logits)[:, 0].isfinite().tolist() == [True, False, False]
