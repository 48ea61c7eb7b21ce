"""The hand-written loop of an LSTM with additive attention."""

import torch
from torch import Tensor

from nmt.ops import additive
from nmt.ops.additive_lstm_decoder import decode
from nmt.ops.lstm import lstm_step

T, B, S, H, A = 4, 3, 5, 3, 2
KEEP = torch.arange(S) < torch.tensor([5, 3, 1])[:, None]


def inputs() -> list[Tensor]:
    torch.manual_seed(3)
    shapes = [(T, B, 4 * H), (B, H), (B, H), (B, S, A), (B, S, 4 * H), (A, H), (A,), (4 * H, H)]
    return [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]


def test_it_equals_the_written_out_steps() -> None:
    x, h, c, keys, values, W_a, v, U = inputs()
    states, weights = decode(x, h, c, keys, values, KEEP, W_a, v, U)
    for t in range(T + 1):
        context, p = additive.attend((h @ W_a.T)[:, None], keys, values, v, KEEP)
        torch.testing.assert_close(weights[t], p[:, 0], atol=1e-12, rtol=0)
        if t < T:
            h, c = lstm_step(x[t] + context[:, 0], h, c, U)
            torch.testing.assert_close(states[t], h, atol=1e-12, rtol=0)


def test_gradients() -> None:
    def run(*parts: Tensor) -> tuple[Tensor, Tensor]:
        return decode(*parts[:5], KEEP, *parts[5:])

    assert torch.autograd.gradcheck(run, inputs())
