"""The hand-written loop of Luong's decoder against the equations written out, and against finite differences."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nmt.layers.alignment import LuongAlignment
from nmt.ops.linear import linear
from nmt.ops.lstm import lstm_step
from nmt.ops.luong import attentional
from nmt.ops.luong_decoder import Look, decode

FORMS = {"dot": "product", "concat": "additive", "location": "location"}
REACHES = {"global": None, "local_m": "t", "local_p": "predicted"}
every_form = pytest.mark.parametrize(("score", "reach"), [(score, reach) for score in FORMS for reach in REACHES])
L, T, B, S, H, A, WIDTH = 2, 4, 3, 6, 3, 2, 4
KEEP = torch.arange(S) < torch.tensor([6, 3, 1])[:, None]


class Case:
    """Numbers for a decoder of two layers, and both ways of running it; F = H so that dot fits."""

    def __init__(self, score: Any, reach: Any) -> None:
        torch.manual_seed(4)

        def numbers(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64).requires_grad_()

        self.alignment = LuongAlignment(score, reach, H, H, window=1, d_align=A, max_source=WIDTH).double()
        for parameter in self.alignment.parameters():
            parameter.data.normal_()
        self.x, self.h0, self.c0 = numbers(T, B, 4 * H), numbers(L, B, H), numbers(L, B, H)
        self.W_feed, self.W_c, self.annotations = numbers(4 * H, H), numbers(H, 2 * H), numbers(B, S, H)
        self.U0, self.U1, self.W1, self.b1 = *(numbers(4 * H, H) for _ in range(3)), numbers(4 * H)
        self.inputs = [
            *(self.x, self.h0, self.c0, self.W_feed, self.W_c, self.annotations, self.U0, self.U1, self.W1, self.b1),
            *self.alignment.parameters(),
        ]

    def looped(self, drop: Tensor | None = None) -> Tensor:
        """By `decode`."""
        a = self.alignment
        W_q = None
        if a.W_a is not None:
            W_q = a.W_a[:WIDTH] if a.score == "location" else a.W_a[:, :H]
        look = Look(
            form=FORMS[a.score],  # pyright: ignore
            keep=a.visible(KEEP),
            position=REACHES[a.reach],  # pyright: ignore
            D=1,
            n_query=0 if W_q is None else len(W_q),
            n_predict=H if a.W_p is not None else 0,
        )
        from_top = torch.cat([m for m in (self.W_c[:, H:], W_q, a.W_p) if m is not None])
        values, layers = linear(self.annotations, self.W_c[:, :H]), [(self.U0,), (self.U1, self.W1, self.b1)]
        start = self.h0, self.c0
        return decode(
            self.x, *start, self.W_feed, layers, from_top, a.keys(self.annotations), values, look, a.v_a, a.v_p, drop
        )

    def written_out(self, drop: Tensor | None = None) -> Tensor:
        """By the parts that `step` uses."""
        factor = torch.ones(T, L, B, H, dtype=torch.float64) if drop is None else drop
        (h, below), (c, c1), fed, out = self.h0, self.c0, torch.zeros(B, H, dtype=torch.float64), []
        keys = self.alignment.keys(self.annotations)
        for t in range(T):
            h, c = lstm_step(self.x[t] + linear(fed * factor[t, 0], self.W_feed), h, c, self.U0)
            below, c1 = lstm_step(linear(h * factor[t, 1], self.W1, self.b1), below, c1, self.U1)
            position = torch.full((B, 1), t + 1)
            context, _ = self.alignment.attend(below[:, None], position, keys, self.annotations, KEEP)
            fed = attentional(context[:, 0], below, self.W_c)
            out.append(fed)
        return torch.stack(out)


@every_form
@pytest.mark.parametrize("dropped", [False, True])
def test_the_loop_and_its_gradients_equal_the_equations_written_out(score: str, reach: str, dropped: bool) -> None:
    case = Case(score, reach)
    drop = torch.empty(T, L, B, H, dtype=torch.float64).bernoulli_(0.6) / 0.6 if dropped else None
    found, wanted = case.looped(drop), case.written_out(drop)
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    weight = torch.randn_like(found)
    gradients = (torch.autograd.grad((out * weight).sum(), case.inputs) for out in (found, wanted))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


@every_form
def test_gradients_by_finite_differences(score: str, reach: str) -> None:
    case = Case(score, reach)
    assert torch.autograd.gradcheck(lambda *_: case.looped(), case.inputs, fast_mode=True)


def test_bfloat16_products_leave_the_output_in_float32() -> None:
    case = Case("dot", "global")
    exact = case.looped()
    for name, part in vars(case).items():
        if isinstance(part, Tensor):
            short = part.detach().float() if name in ("h0", "c0") else part.detach().bfloat16()
            setattr(case, name, short.requires_grad_())
    found = case.looped()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, atol=0.1, rtol=0)
    found.sum().backward()
    assert case.W1 is not None
    assert case.W1.grad is not None
    assert case.W1.grad.dtype == torch.bfloat16
