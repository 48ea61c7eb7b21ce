"""Luong's scores and reaches by hand on small numbers, and what may be seen at a sentence's ends."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nmt.layers.alignment import LuongAlignment

SCORES, REACHES = ("dot", "general", "concat", "location"), ("global", "local_m", "local_p")
every_form = pytest.mark.parametrize(("score", "reach"), [(score, reach) for score in SCORES for reach in REACHES])


def built(score: Any, reach: Any, H: int = 2, window: int = 2, **sizes: int) -> LuongAlignment:
    torch.manual_seed(2)
    alignment = LuongAlignment(score, reach, H, H, window=window, **sizes).double()
    for parameter in alignment.parameters():
        nn.init.uniform_(parameter, -1.0, 1.0)
    return alignment


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def filled(parameter: nn.Parameter | None, *values: Any) -> None:
    assert parameter is not None
    parameter.data = tensor(*values)


def weights(alignment: LuongAlignment, h: Tensor, annotations: Tensor, t: int = 1, length: int | None = None) -> Tensor:
    """a_t (S,) of one query against one sentence."""
    S = annotations.shape[0]
    keep = torch.arange(S)[None] < (S if length is None else length)
    keys = alignment.keys(annotations[None])
    return alignment.weights(h[None, None], torch.tensor([[t]]), keys, keep)[0, 0].detach()


h = tensor(1.0, 2.0)
annotations = tensor([3.0, 0.0], [0.0, 1.0], [1.0, 1.0])


def test_dot_by_hand() -> None:
    found = weights(built("dot", "global"), h, annotations)  # scores 3, 2, 3
    torch.testing.assert_close(found, tensor(3.0, 2.0, 3.0).softmax(0), atol=1e-15, rtol=0)


def test_general_by_hand() -> None:
    """h' W_a = (1, 2) ((0, 1), (2, 0)) = (4, 1): scores 12, 1, 5."""
    alignment = built("general", "global")
    filled(alignment.W_a, [0.0, 1.0], [2.0, 0.0])
    torch.testing.assert_close(
        weights(alignment, h, annotations), tensor(12.0, 1.0, 5.0).softmax(0), atol=1e-15, rtol=0
    )


def test_concat_by_hand() -> None:
    """One row of W_a, (1, 0, -1, 1), over [h_t; h_s]: 1 - 3 = -2, 1 + 1 = 2, 1 - 1 + 1 = 1; v_a = 2."""
    alignment = built("concat", "global", d_align=1)
    filled(alignment.W_a, [1.0, 0.0, -1.0, 1.0])
    filled(alignment.v_a, 2.0)
    wanted = tensor(2 * math.tanh(-2), 2 * math.tanh(2), 2 * math.tanh(1)).softmax(0)
    torch.testing.assert_close(weights(alignment, h, annotations), wanted, atol=1e-15, rtol=0)


def test_location_by_hand_for_short_and_long_sentences() -> None:
    """Two rows, a softmax of both: one word uses the first alone, of three words the third is ignored."""
    alignment = built("location", "global", max_source=2)
    filled(alignment.W_a, [1.0, 1.0], [0.0, -1.0])  # scores 3, -2
    two = tensor(3.0, -2.0).softmax(0)
    one = torch.stack([two[0], *tensor(0.0, 0.0)])
    torch.testing.assert_close(weights(alignment, h, annotations, length=1), one, atol=1e-15, rtol=0)
    torch.testing.assert_close(weights(alignment, h, annotations[:1]), one[:1], atol=1e-15, rtol=0)
    torch.testing.assert_close(weights(alignment, h, annotations), torch.cat([two, tensor(0.0)]), atol=1e-15, rtol=0)
    torch.testing.assert_close(weights(alignment, h, 7 * annotations), torch.cat([two, tensor(0.0)]))  # sees no h_s


@pytest.mark.parametrize(
    ("t", "length", "seen"),
    [(1, 9, [1, 2, 3]), (4, 9, [2, 3, 4, 5, 6]), (9, 9, [7, 8, 9]), (4, 5, [2, 3, 4, 5]), (7, 5, [5]), (99, 5, [5])],
)
@pytest.mark.parametrize("score", SCORES)
def test_local_m_sees_the_window_about_t_and_renormalises_inside_it(
    score: str, t: int, length: int, seen: list[int]
) -> None:
    """D = 2. Far beyond the sentence the window stays where it still holds the last word."""
    states = torch.randn(9, 2, dtype=torch.float64)
    local, everywhere = built(score, "local_m"), built(score, "global")
    found, whole = weights(local, h, states, t, length), weights(everywhere, h, states, t, length)
    inside = torch.zeros(9, dtype=torch.bool)
    inside[[s - 1 for s in seen]] = True
    torch.testing.assert_close(found, torch.where(inside, whole, 0.0) / whole[inside].sum(), atol=1e-15, rtol=0)


def test_local_p_by_hand() -> None:
    """tanh(W_p h) = tanh(atanh(1/2)) = 1/2, v_p = 2 ln 7: p_t = 4 * 7/8 = 3.5 of S = 4; D = 2, so sigma = 1.

    The window holds 2, 3, 4 (5 is outside) with scores 0, ln 2, 0: align 1/4, 1/2, 1/4, times exp(-(s - p_t)^2 / 2).
    """
    alignment = built("dot", "local_p", window=2)
    filled(alignment.W_p, [math.atanh(0.5), 0.0], [0.0, 0.0])
    filled(alignment.v_p, 2 * math.log(7.0), 5.0)
    states = tensor([9.0, 9.0], [0.0, 0.0], [0.0, math.log(2.0) / 2], [0.0, 0.0], [9.0, 9.0])
    found = weights(alignment, h, states, length=4)
    far, near = math.exp(-9 / 8), math.exp(-1 / 8)
    torch.testing.assert_close(found, tensor(0.0, far / 4, near / 2, near / 4, 0.0), atol=1e-12, rtol=0)


def test_p_t_has_its_gradient_through_the_gaussian_alone() -> None:
    """d sum_s a(s) r_s / d p = sum_s a(s) r_s (s - p) / sigma^2, whatever the window's edges do."""
    alignment = built("general", "local_p", window=3)
    states, rewards = torch.randn(1, 8, 2, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    keep, position = torch.ones(1, 8, dtype=torch.bool), torch.tensor([[1]])
    a = alignment.weights(h[None, None], position, alignment.keys(states), keep)[0, 0]
    assert alignment.v_p is not None
    assert alignment.W_p is not None
    (found,) = torch.autograd.grad((a * rewards).sum(), [alignment.v_p])
    inner = torch.tanh(alignment.W_p @ h)
    sigmoid = torch.sigmoid(inner @ alignment.v_p)
    p, s = 8 * sigmoid, torch.arange(1, 9, dtype=torch.float64)
    by_p = (a * rewards * (s - p) / 1.5**2).sum()
    torch.testing.assert_close(found, by_p * 8 * sigmoid * (1 - sigmoid) * inner, atol=1e-12, rtol=0)


@every_form
def test_gradients(score: str, reach: str) -> None:
    alignment = built(score, reach, H=3, d_align=2, max_source=4)
    keep = torch.arange(5)[None] < torch.tensor([5, 2])[:, None]
    inputs = [torch.randn(2, 3, 3, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)]
    position = torch.arange(1, 4).expand(2, 3)

    def run(query: Tensor, states: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return alignment.attend(query, position, alignment.keys(states), states, keep)

    assert torch.autograd.gradcheck(run, [*(i.requires_grad_() for i in inputs), *alignment.parameters()])


@every_form
@pytest.mark.parametrize("length", [1, 3, 40])
def test_every_query_sees_a_word_however_far_it_is(score: str, reach: str, length: int) -> None:
    """Location looks at 4 words, the others at all; no softmax is ever over nothing."""
    alignment = built(score, reach, H=3, window=1, d_align=2, max_source=4)
    keep = torch.arange(40)[None] < length
    states, query = torch.randn(1, 40, 3, dtype=torch.float64), 5 * torch.randn(1, 60, 3, dtype=torch.float64)
    a = alignment.weights(query, torch.arange(1, 61)[None], alignment.keys(states), keep)
    assert a.isfinite().all()
    assert not a[:, :, ~keep[0]].any()
    assert (a.sum(-1) > 0).all()
    assert (a.sum(-1) < 1 + 1e-12).all()
    below_one = reach == "local_p" or (score == "location" and reach == "global" and length < 4)
    assert bool((a.sum(-1) > 1 - 1e-12).all()) == (not below_one)
