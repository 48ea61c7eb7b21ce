"""Hand-written backwards against finite differences in float64, and against autograd through the written-out form."""

import pytest
import torch
from torch import Tensor

from nmt.ops import additive, r_drop
from nmt.ops.additive_decoder import decode
from nmt.ops.cross_entropy import NOTHING, projected_cross_entropy
from nmt.ops.gru import gru_scan, gru_step
from nmt.training.loss import batch_loss
from tests.properties.kinds import PAIRS, VARIANTS, batch_of, build

LENGTHS = [5, 3, 1]


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


@pytest.fixture
def keep() -> Tensor:
    return torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]  # (B, S)


@pytest.mark.parametrize("reverse", [False, True])
def test_gru_scan_gradients(keep: Tensor, reverse: bool) -> None:
    S, B, H = 5, 3, 4
    inputs = [numbers(S, B, 3 * H), numbers(2 * H, H), numbers(H, H)]
    assert torch.autograd.gradcheck(lambda x, U_zr, U: gru_scan(x, U_zr, U, keep.T, reverse), inputs)


def test_gru_scan_equals_stepping_and_starts_from_zero_at_the_last_word(keep: Tensor) -> None:
    S, B, H = 5, 3, 4
    x, U_zr, U = numbers(S, B, 3 * H), numbers(2 * H, H), numbers(H, H)
    backward = gru_scan(x, U_zr, U, keep.T, reverse=True)
    for row, length in enumerate(LENGTHS):
        h = torch.zeros(1, H, dtype=torch.float64)
        for t in range(length - 1, -1, -1):
            h = gru_step(x[t, row : row + 1], h, U_zr, U)
            torch.testing.assert_close(backward[t, row : row + 1], h, atol=1e-12, rtol=0)


def test_gru_step_by_hand() -> None:
    """H = 1: h = 0.5, x = (0, 0, 0), U = 1: z = r = sigmoid(0.5), n = tanh(r / 2), h' = (1 - z) / 2 + z n."""
    one = torch.ones(1, 1, dtype=torch.float64)
    h = gru_step(torch.zeros(1, 3, dtype=torch.float64), one / 2, torch.ones(2, 1, dtype=torch.float64), one)
    assert float(h) == pytest.approx((1 - 0.6224593312018546) / 2 + 0.6224593312018546 * 0.3015553564294008, abs=1e-12)


def decoder_inputs(T: int, keep: Tensor, reset: str) -> list[Tensor]:
    B, S = keep.shape
    H, A = 3, 4
    return [
        *(numbers(T, B, 3 * H), numbers(B, H), numbers(B, S, A), numbers(B, S, 3 * H)),
        *(numbers(A, H), numbers(A), numbers(2 * H, H), numbers(H, H)),
        *([numbers(H)] if reset == "after" else []),
    ]


@pytest.mark.parametrize("reset", ["before", "after"])
@pytest.mark.parametrize("T", [1, 4])
def test_decode_gradients(keep: Tensor, T: int, reset: str) -> None:
    def run(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        return decode(*inputs[:4], keep, *inputs[4:])

    assert torch.autograd.gradcheck(run, decoder_inputs(T, keep, reset))


@pytest.mark.parametrize("reset", ["before", "after"])
def test_decode_equals_the_written_out_steps(keep: Tensor, reset: str) -> None:
    T = 4
    x, s, keys, values, W_a, v, *recurrent = decoder_inputs(T, keep, reset)
    states, weights = decode(x, s, keys, values, keep, W_a, v, *recurrent)
    for t in range(T):
        torch.testing.assert_close(states[t], s, atol=1e-12, rtol=0)
        context, p = additive.attend((s @ W_a.T)[:, None], keys, values, v, keep)
        torch.testing.assert_close(weights[t], p[:, 0], atol=1e-12, rtol=0)
        s = gru_step(x[t] + context[:, 0], s, *recurrent)


def test_additive_attention_by_hand() -> None:
    """One query 0, keys 0 and atanh(1/2), v = ln 3 * 2: scores 0 and ln 3, weights 1/4 and 3/4."""
    keys = torch.tensor([[[0.0], [0.5493061443340549], [9.0]]], dtype=torch.float64)
    values = torch.tensor([[[4.0], [8.0], [100.0]]], dtype=torch.float64)
    v = torch.tensor([2 * 1.0986122886681098], dtype=torch.float64)
    keep = torch.tensor([[True, True, False]])
    context, weights = additive.attend(torch.zeros(1, 1, 1, dtype=torch.float64), keys, values, v, keep)
    torch.testing.assert_close(weights[0, 0], torch.tensor([0.25, 0.75, 0.0], dtype=torch.float64))
    assert float(context) == pytest.approx(7.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("with_bias", [True, False])
def test_projected_cross_entropy_equals_torch(
    monkeypatch: pytest.MonkeyPatch, smoothing: float, with_bias: bool
) -> None:
    monkeypatch.setattr("nmt.ops.cross_entropy.BLOCK", 80)  # seven rows at once, the last block short
    monkeypatch.setattr("nmt.ops.cross_entropy.CACHED", 33)  # three rows, the last ones one
    features, weight, bias = numbers(23, 5), numbers(11, 5), numbers(11) if with_bias else None
    targets = torch.randint(0, 11, (23,))
    inputs = [features, weight, *([bias] if bias is not None else [])]
    loss, nll = projected_cross_entropy(features, weight, bias, targets, smoothing)
    logits = features @ weight.T + (0 if bias is None else bias)
    truth = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(loss, truth)
    torch.testing.assert_close(nll, torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
    for ours, theirs in zip(torch.autograd.grad(loss * 3, inputs), torch.autograd.grad(truth * 3, inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("with_bias", [False, True])
def test_a_position_without_a_target_is_as_if_it_were_not_there(with_bias: bool) -> None:
    features, weight, bias = numbers(9, 5), numbers(11, 5), numbers(11) if with_bias else None
    other = numbers(9, 5)
    targets = torch.randint(0, 11, (9,))
    there = torch.tensor([True, False, True, True, False, True, True, True, False])
    gapped = targets.where(there, NOTHING)
    inputs = [features, weight, *([] if bias is None else [bias])]

    def plain(x: Tensor, y: Tensor, wanted: Tensor, gaps: bool) -> tuple[Tensor, Tensor]:
        return projected_cross_entropy(x, weight, bias, wanted, 0.1, gaps)

    def dropped(x: Tensor, y: Tensor, wanted: Tensor, gaps: bool) -> tuple[Tensor, Tensor]:
        return r_drop.r_drop_cross_entropy(x, y, weight, bias, wanted, 0.1, 2.0, gaps)

    for form in (plain, dropped):
        found, wanted = form(features, other, gapped, True), form(features[there], other[there], targets[there], False)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(torch.autograd.grad(found[0], inputs), torch.autograd.grad(wanted[0], inputs))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("smoothing", "alpha"), [(0.0, 0.0), (0.1, 5.0), (0.3, 1.0)])
def test_r_drop_is_its_equation_with_its_gradients(
    with_bias: bool, smoothing: float, alpha: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against autograd through Liang et al. 2021, equation 4 (halved), in blocks of other sizes than the batch."""
    monkeypatch.setattr("nmt.ops.cross_entropy.BLOCK", 2 * 11 * 4)
    monkeypatch.setattr("nmt.ops.cross_entropy.CACHED", 2 * 11 * 3)
    N, D, V = 9, 5, 11
    first, second, weight, bias = numbers(N, D), numbers(N, D), numbers(V, D), numbers(V)
    targets = torch.randint(V, (N,))

    def written_out() -> tuple[Tensor, Tensor]:
        logs = [(x @ weight.T + (bias if with_bias else 0.0)).log_softmax(-1) for x in (first, second)]
        nll = sum(-x.gather(1, targets[:, None]).sum() for x in logs)
        smooth = sum(-x.mean(-1).sum() for x in logs)
        kl = sum((p.exp() * (p - q)).sum() for p, q in (logs, reversed(logs)))
        return ((1 - smoothing) * nll + smoothing * smooth) / 2 + alpha / 4 * kl, nll / 2  # pyright: ignore

    inputs = [first, second, weight, *([bias] if with_bias else [])]
    loss, nll = r_drop.r_drop_cross_entropy(
        first, second, weight, bias if with_bias else None, targets, smoothing, alpha
    )
    wanted_loss, wanted_nll = written_out()
    torch.testing.assert_close((loss, nll), (wanted_loss, wanted_nll))
    found, wanted = torch.autograd.grad(3 * loss, inputs), torch.autograd.grad(3 * wanted_loss, inputs)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["bahdanau", "convs2s", "gnmt", "luong", "transformer"])
def test_a_second_derivative_is_an_error_and_not_a_constant(kind: str) -> None:
    model = build(VARIANTS[kind])
    loss = batch_loss(model, batch_of(PAIRS), 0.1).smoothed
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
