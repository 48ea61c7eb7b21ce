"""Heads of a product's columns, normalised and turned: by hand, and compiled against the plain form in float64."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from nmt.ops.fused import WIDEST, Fused, using
from nmt.ops.projected import EPS, Group, heads
from nmt.ops.rope import rotate, rotation
from tests.ops.compiled import FUSED, Form, by_type, same


def test_groups_are_columns_in_their_order() -> None:
    x = torch.arange(2 * 3 * 20).view(2, 3, 20)
    q, k = heads(x, [Group(3), Group(2)])
    assert q.shape == (2, 3, 3, 4)
    assert q[1, 2, 0].tolist() == x[1, 0, 8:12].tolist()
    assert k.shape == (2, 2, 3, 4)
    assert k[0, 1, 2].tolist() == x[0, 2, 16:].tolist()


def test_a_head_is_normalised_and_then_turned_by_its_position() -> None:
    torch.manual_seed(11)
    x, gain = torch.randn(2, 3, 12, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    turn = rotation(torch.arange(3), 4, torch.float64)
    q, k, v = heads(x, [Group(1, gain, turned=True), Group(1, turned=True), Group(1, gain)], turn)
    own = x[..., :4] / (x[..., :4].square().mean(-1, keepdim=True) + EPS).sqrt() * gain
    torch.testing.assert_close(q[:, 0], rotate(own, turn))
    torch.testing.assert_close(k[:, 0], rotate(x[..., 4:8], turn))
    own = x[..., 8:] / (x[..., 8:].square().mean(-1, keepdim=True) + EPS).sqrt() * gain
    torch.testing.assert_close(v[:, 0], own)


CASES = {
    "all": [(True, True), (True, True), (False, False)],
    "turned": [(False, True), (False, True), (False, False)],
    "normalised": [(True, False), (True, False), (False, False)],
    "of two, the first": [(True, True), (False, False)],
    "one": [(True, False)],
}


def form_of(numbers: Sequence[int], kinds: Sequence[tuple[bool, bool]], turn: Tensor | None) -> Form:
    """All groups' heads in a row, for the columns and the gains."""

    def form(x: Tensor, *gains: Tensor) -> Tensor:
        left = iter(gains)
        groups = [
            Group(n, next(left).float() if normed and x.dtype != torch.float64 else next(left) if normed else None, on)
            for n, (normed, on) in zip(numbers, kinds, strict=False)
        ]
        angles = turn if turn is None or x.dtype != torch.float64 else turn.double()
        return torch.cat([one.flatten() for one in heads(x, groups, angles)])

    return form


@by_type
@pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("C", [16, 64, 22, 2])
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_compiled(C: int, by_row: bool, case: str, dtype: torch.dtype, error: float) -> None:
    """Positions in the sentence that are the same for all rows, or not."""
    torch.manual_seed(11)
    kinds = CASES[case]
    numbers, B, N = [4, 2, 2][: len(kinds)], 5, 70
    turn = rotation(torch.randint(0, 90, (B, 1, N)) if by_row else torch.arange(N), C, torch.float32)
    inputs = [torch.randn(B, N, sum(numbers) * C), *(torch.randn(C) for normed, _ in kinds if normed)]
    same(form_of(numbers, kinds, turn), inputs, dtype, error)


@pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")
def test_a_head_of_zeros_or_of_large_numbers_has_finite_gradients() -> None:
    x = torch.cat([torch.zeros(1, 1, 16), torch.full((1, 1, 16), 1e15)], dim=1)
    same(form_of([1], [(True, False)], None), [x, torch.ones(16)], torch.float32, 1e-5)


@pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")
def test_wider_heads_odd_ones_and_those_that_need_nothing_are_left_to_the_plain_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Fused, "heads", lambda *_: pytest.fail("it is not for that"))
    gain = torch.ones(WIDEST + 2)
    with using(FUSED):
        heads(torch.randn(1, 2, WIDEST + 2, requires_grad=True), [Group(1, gain)])
        heads(torch.randn(1, 2, 24, requires_grad=True), [Group(2), Group(1)])
        with torch.no_grad():
            heads(torch.randn(1, 2, 24), [Group(3, torch.ones(8))])
