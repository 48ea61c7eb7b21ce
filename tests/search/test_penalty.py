import math

import pytest
import torch

from nmt.recipe import SearchConfig
from nmt.search.penalty import coverage, length_divisor


def test_gnmt_length_divisor_is_equation_14() -> None:
    config = SearchConfig(length_formula="gnmt", length_penalty=0.6)
    assert length_divisor(config, 1) == 1.0
    assert length_divisor(config, 7) == pytest.approx(2.0**0.6)
    assert length_divisor(config, 13) == pytest.approx(3.0**0.6)


def test_average_divides_by_the_length_and_none_by_one() -> None:
    assert length_divisor(SearchConfig(length_formula="average", length_penalty=1.0), 7) == 7.0
    assert length_divisor(SearchConfig(length_formula="average", length_penalty=0.5), 9) == 3.0
    assert length_divisor(SearchConfig(length_formula="none", length_penalty=3.0), 9) == 1.0


def test_coverage_by_hand_on_two_target_and_three_source_words() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]])  # (T, S)
    # Sums over target: 1.4, 0.4, 0.2; the first counts as 1.
    expected = 0.2 * (math.log(1.0) + math.log(0.4) + math.log(0.2))
    got = coverage(p.sum(0)[None, None], torch.tensor([[True, True, True]]), 0.2)
    torch.testing.assert_close(got, torch.tensor([[expected]]))


def test_coverage_leaves_padding_out() -> None:
    summed = torch.tensor([[[0.5, 0.3, 0.0]]])
    got = coverage(summed, torch.tensor([[True, True, False]]), 1.0)
    torch.testing.assert_close(got, torch.tensor([[math.log(0.5) + math.log(0.3)]]))


def test_a_word_never_looked_at_costs_much_but_not_everything() -> None:
    got = coverage(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[True, True]]), 1.0)
    assert -88.0 < float(got) < -87.0
