"""The recurrence of ops/lstm.py: by hand, against torch.nn.LSTM, against finite differences."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from nmt.ops.lstm import lstm_scan, lstm_step

LENGTHS = [5, 3, 1]
S, B, H = 5, 3, 4


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


@pytest.fixture
def keep() -> Tensor:
    return torch.arange(S)[:, None] < torch.tensor(LENGTHS)  # (S, B)


def test_lstm_step_by_hand() -> None:
    """H = 1, h = 1/2, c = 1, U = (2, 0, 1, -2), x = (-1, ln 3, 0, 1): i = 1/2, f = 3/4, g = tanh(1/2), o = 1/2."""

    def one(*values: float) -> Tensor:
        return torch.tensor([values], dtype=torch.float64)

    h, c = lstm_step(one(-1.0, math.log(3.0), 0.0, 1.0), one(0.5), one(1.0), one(2.0, 0.0, 1.0, -2.0).T)
    assert float(c) == pytest.approx(0.75 + 0.5 * math.tanh(0.5), abs=1e-15)
    assert float(h) == pytest.approx(0.5 * math.tanh(0.75 + 0.5 * math.tanh(0.5)), abs=1e-15)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_lstm_scan_gradients(keep: Tensor, reverse: bool, started: bool, masked: bool) -> None:
    inputs = [numbers(S, B, 4 * H), numbers(4 * H, H), *((numbers(B, H), numbers(B, H)) if started else ())]

    def run(x: Tensor, U: Tensor, *start: Tensor) -> tuple[Tensor, Tensor]:
        return lstm_scan(x, U, keep if masked else None, (start[0], start[1]) if started else None, reverse)

    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("reverse", [False, True])
def test_lstm_scan_equals_stepping_over_the_real_words(keep: Tensor, reverse: bool) -> None:
    x, U, h0, c0 = numbers(S, B, 4 * H), numbers(4 * H, H), numbers(B, H), numbers(B, H)
    scanned, last = lstm_scan(x, U, keep, (h0, c0), reverse)
    for row, length in enumerate(LENGTHS):
        h, c = h0[row : row + 1], c0[row : row + 1]
        for t in reversed(range(length)) if reverse else range(length):
            h, c = lstm_step(x[t, row : row + 1], h, c, U)
            torch.testing.assert_close(scanned[t, row : row + 1], h, atol=1e-12, rtol=0)
        torch.testing.assert_close(scanned[0 if reverse else -1, row : row + 1], h, atol=1e-12, rtol=0)
        torch.testing.assert_close(last[row : row + 1], c, atol=1e-12, rtol=0)


def test_padding_is_never_read_and_gets_no_gradient(keep: Tensor) -> None:
    x, U, found = numbers(S, B, 4 * H), numbers(4 * H, H), []
    for filler in (0.0, 1e3):
        filled = torch.where(keep[:, :, None], x, filler)
        hs, c = lstm_scan(filled, U, keep)
        found.append((hs, c, *torch.autograd.grad(hs.square().sum() + c.sum(), [filled, U])))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    assert not found[0][2][~keep].any()


@pytest.mark.parametrize("masked", [False, True])
def test_lstm_scan_and_all_its_gradients_equal_torch_nn_lstm(keep: Tensor, masked: bool) -> None:
    """Both directions at once; torch masks by packing, and its two biases are one sum."""
    theirs = nn.LSTM(6, H, bidirectional=True).double()
    W, U, b, c = ({d: p for d, p in theirs.named_parameters() if w in d} for w in ("ih", "hh", "bias_ih", "bias_hh"))
    W = {name: p for name, p in W.items() if "weight" in name}
    U = {name: p for name, p in U.items() if "weight" in name}
    x, start = numbers(S, B, 6), [numbers(2, B, H), numbers(2, B, H)]
    wanted = run_torch(theirs, x, start, keep if masked else None)
    found_h, found_c = [], []
    for side, reverse in enumerate((False, True)):
        end = "_l0_reverse" if reverse else "_l0"
        projected = x @ W["weight_ih" + end].T + b["bias_ih" + end] + c["bias_hh" + end]
        h, last = lstm_scan(
            projected, U["weight_hh" + end], keep if masked else None, (start[0][side], start[1][side]), reverse
        )
        found_h.append(h * keep[:, :, None] if masked else h)
        found_c.append(last)
    found = torch.cat(found_h, dim=-1), torch.stack(found_c)
    weight = [torch.randn_like(part) for part in found]
    inputs = [x, *start, *theirs.parameters()]
    gradients = [
        torch.autograd.grad(sum((p * w).sum() for p, w in zip(parts, weight, strict=True)), inputs)  # pyright: ignore
        for parts in (found, wanted)
    ]
    for one, other in zip((*found, *gradients[0]), (*wanted, *gradients[1]), strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


def run_torch(lstm: nn.LSTM, x: Tensor, start: list[Tensor], keep: Tensor | None) -> tuple[Tensor, Tensor]:
    if keep is None:
        h, (_, c) = lstm(x, tuple(start))
        return h, c
    packed = nn.utils.rnn.pack_padded_sequence(x, keep.sum(0))
    h, (_, c) = lstm(packed, tuple(start))
    return nn.utils.rnn.pad_packed_sequence(h, total_length=len(x))[0], c


def test_bfloat16_products_leave_states_in_float32(keep: Tensor) -> None:
    x, U = numbers(S, B, 4 * H), numbers(4 * H, H)
    exact, _ = lstm_scan(x, U, keep)
    short = [x.detach().bfloat16().requires_grad_(), U.detach().bfloat16().requires_grad_()]
    hs, c = lstm_scan(short[0], short[1], keep)
    assert hs.dtype == c.dtype == torch.float32
    torch.testing.assert_close(hs.double(), exact, atol=0.05, rtol=0)
    hs.sum().backward()
    assert all(part.grad is not None and part.grad.dtype == torch.bfloat16 for part in short)
    for t, (h, after) in enumerate(pairwise(hs)):
        assert torch.equal(h[~keep[t + 1]], after[~keep[t + 1]])
