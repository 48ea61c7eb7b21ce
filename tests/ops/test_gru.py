"""Both forms of the gated unit: by hand, by stepping, by finite differences, and against torch.nn.GRU."""

import math

import pytest
import torch
from torch import Tensor, nn

from nmt.layers.recurrent import GRU
from nmt.ops.gru import gru_scan, gru_step

S, B, H = 5, 3, 4
KEEP = (torch.arange(S)[None] < torch.tensor([5, 3, 1])[:, None]).T  # (S, B)
BIASES = {"reset before": None, "one bias": (H,), "a bias a row": (B, H)}


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


def inputs(bias: tuple[int, ...] | None) -> list[Tensor]:
    """x, U_zr, U, h0, and u_bias where there is one."""
    made = [numbers(S, B, 3 * H), numbers(2 * H, H), numbers(H, H), numbers(B, H)]
    return made if bias is None else [*made, numbers(*bias)]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)
def test_every_gradient_of_a_scan(bias: tuple[int, ...] | None, reverse: bool, masked: bool) -> None:
    def scan(x: Tensor, U_zr: Tensor, U: Tensor, h0: Tensor, u_bias: Tensor | None = None) -> Tensor:
        return gru_scan(x, U_zr, U, KEEP if masked else None, reverse, h0, u_bias)

    assert torch.autograd.gradcheck(scan, inputs(bias))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)
def test_a_scan_equals_stepping_from_its_first_state(bias: tuple[int, ...] | None, reverse: bool) -> None:
    x, U_zr, U, h0, *rest = inputs(bias)
    u_bias = rest[0] if rest else None
    found = gru_scan(x, U_zr, U, KEEP, reverse, h0, u_bias)
    h = h0
    for t in range(S - 1, -1, -1) if reverse else range(S):
        h = torch.where(KEEP[t, :, None], gru_step(x[t], h, U_zr, U, u_bias), h)
        torch.testing.assert_close(found[t], h, atol=1e-12, rtol=0)


def test_the_reset_after_by_hand() -> None:
    """H = 1: h = 0.5, x = (0, 0, 0.1), U = 1, u = 0.25: z = r = sigmoid(0.5), n = tanh(0.1 + r (0.5 + 0.25))."""
    one = torch.ones(1, 1, dtype=torch.float64)
    x = torch.tensor([[0.0, 0.0, 0.1]], dtype=torch.float64)
    z = 1 / (1 + math.exp(-0.5))
    h = gru_step(x, one / 2, torch.ones(2, 1, dtype=torch.float64), one, torch.tensor([0.25], dtype=torch.float64))
    assert float(h) == pytest.approx((1 - z) / 2 + z * math.tanh(0.1 + 0.75 * z), abs=1e-12)
    assert z == pytest.approx(0.6224593312018546)


def as_ours(theirs: nn.GRU, ours: GRU) -> None:
    """torch's parameters in our layer: its order r, z, n becomes z, r, n; z is negated, for ours weighs the new state;
    the two biases of a gate become one.
    """
    p = {name: value.detach() for name, value in theirs.named_parameters()}
    suffix = "_l0_reverse" if ours.reverse else "_l0"
    W_r, W_z, W_n = p[f"weight_ih{suffix}"].chunk(3)
    U_r, U_z, U_n = p[f"weight_hh{suffix}"].chunk(3)
    b_r, b_z, b_n = p[f"bias_ih{suffix}"].chunk(3)
    c_r, c_z, c_n = p[f"bias_hh{suffix}"].chunk(3)
    state = {
        "W.weight": torch.cat([-W_z, W_r, W_n]),
        "W.bias": torch.cat([-b_z - c_z, b_r + c_r, b_n]),
        "U_zr": torch.cat([-U_z, U_r]),
        "U": U_n,
        "U_bias": c_n,
    }
    ours.load_state_dict(state)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_reset_after_is_torchs(reverse: bool) -> None:
    """States of padded rows, both directions, and the gradients of inputs and recurrent matrices."""
    theirs = nn.GRU(6, H, bidirectional=True).double()
    ours = GRU(6, H, reverse=reverse, reset="after").double()
    as_ours(theirs, ours)
    x = numbers(S, B, 6)
    packed = nn.utils.rnn.pack_padded_sequence(x, KEEP.sum(0))
    states = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0])[0].chunk(2, dim=-1)[int(reverse)]
    found = ours(x, KEEP)
    real = KEEP[:, :, None]
    torch.testing.assert_close(found * real, states, atol=1e-12, rtol=0)
    weigh = torch.randn(S, B, H, dtype=torch.float64)
    (wanted_x,) = torch.autograd.grad((states * weigh).sum(), x, retain_graph=True)
    (found_x,) = torch.autograd.grad((found * real * weigh).sum(), x, retain_graph=True)
    torch.testing.assert_close(found_x, wanted_x, atol=1e-12, rtol=0)
    (states * weigh).sum().backward()
    (found * real * weigh).sum().backward()
    suffix = "_l0_reverse" if reverse else "_l0"
    grads = {name: p.grad for name, p in theirs.named_parameters() if name.endswith(suffix)}
    U_r, U_z, U_n = grads[f"weight_hh{suffix}"].chunk(3)  # pyright: ignore
    assert ours.U_bias is not None
    torch.testing.assert_close(ours.U_zr.grad, torch.cat([-U_z, U_r]), atol=1e-12, rtol=0)
    torch.testing.assert_close(ours.U.grad, U_n, atol=1e-12, rtol=0)
    torch.testing.assert_close(ours.U_bias.grad, grads[f"bias_hh{suffix}"].chunk(3)[2], atol=1e-12, rtol=0)  # pyright: ignore


def test_the_two_forms_differ() -> None:
    """Negative control: with the same matrices and no bias inside they are not the same function."""
    x, U_zr, U, h0 = inputs(None)
    states = [gru_scan(x, U_zr, U, KEEP, False, h0, u) for u in (None, torch.zeros(H, dtype=torch.float64))]
    assert (states[0] - states[1]).abs().max() > 1e-2


@pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)
def test_products_in_bfloat16_stay_near(bias: tuple[int, ...] | None) -> None:
    made = [value.detach().float().requires_grad_() for value in inputs(bias)]
    exact = gru_scan(*made[:3], KEEP, False, *made[3:])
    x, U_zr, U, *rest = made
    low = gru_scan(x.bfloat16(), U_zr.bfloat16(), U.bfloat16(), KEEP, False, *rest)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, exact, atol=0.05, rtol=0)
    exact.square().sum().backward()
    wanted = [value.grad for value in made]
    for value in made:
        value.grad = None
    low.square().sum().backward()
    for value, gradient in zip(made, wanted, strict=True):
        assert value.grad is not None
        assert gradient is not None
        assert (value.grad - gradient).norm() < 0.1 * gradient.norm()
