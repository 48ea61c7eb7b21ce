"""The kernel of the vocabulary's loss against torch's loss in float64: both sums and every gradient.

Without a GPU it runs in Triton's interpreter (tests/conftest.py), in float32; on a GPU in bfloat16, as it is meant for.
"""

import importlib

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.cross_entropy import NOTHING, projected_cross_entropy

pytest.importorskip("triton", reason="Triton is not installed")
kernel = importlib.import_module("nmt.ops.cross_entropy_triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE, SHARE = (torch.bfloat16, 2e-2) if DEVICE.type == "cuda" else (torch.float32, 1e-5)
pytestmark = pytest.mark.usefixtures("poisoned")


def numbers(*shape: int, strength: float = 1.0) -> Tensor:
    return (torch.randn(*shape, device=DEVICE) * strength).to(DTYPE).requires_grad_()


def compare(found: Tensor, wanted: Tensor) -> None:
    """To a share of the largest number."""
    most = float(wanted.detach().abs().max())
    assert float((found.detach().double() - wanted.detach()).abs().max()) <= SHARE * max(most, 1e-3)


def check(inputs: list[Tensor], targets: Tensor, smoothing: float) -> None:
    """features, weight and perhaps bias."""
    loss, nll = projected_cross_entropy(
        inputs[0], inputs[1], inputs[2] if inputs[2:] else None, targets, smoothing, True, kernel.TritonRows()
    )
    features, weight, *bias = wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    logits = F.linear(features, weight, *bias)
    options = {"ignore_index": NOTHING, "reduction": "sum"}
    wanted = F.cross_entropy(logits, targets, label_smoothing=smoothing, **options)
    compare(loss, wanted)
    compare(nll, F.cross_entropy(logits, targets, **options))
    for ours, theirs in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(wanted, wide), strict=True):
        compare(ours, theirs)


@pytest.mark.parametrize("V", [1, 2, 31, 64, 2048, 2049, 5000])  # 2,048 columns are read at a time
@pytest.mark.parametrize("biased", [False, True])
def test_sums_and_every_gradient(V: int, biased: bool) -> None:
    targets = torch.randint(V, (5,), device=DEVICE)
    check([numbers(5, 6), numbers(V, 6), *([numbers(V)] if biased else [])], targets, 0.1)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_targets_at_both_ends_and_positions_without_one(smoothing: float) -> None:
    targets = torch.tensor([NOTHING, 0, 2999, NOTHING, 2048, 2047, NOTHING], device=DEVICE)
    check([numbers(7, 6), numbers(3000, 6), numbers(3000)], targets, smoothing)


def test_logits_far_from_zero_and_far_apart() -> None:
    targets = torch.tensor([0, 1, 4], device=DEVICE)
    check([numbers(3, 4, strength=30.0), numbers(5, 4, strength=30.0)], targets, 0.1)
    rows = torch.tensor([[2e4, -2e4, 1e4], [-3e4, -3e4, -3e4]], device=DEVICE)
    nll, mean = kernel.TritonRows().cross_entropy_(rows, None, torch.tensor([1, 2], device=DEVICE), 0.0)
    torch.testing.assert_close(nll, torch.tensor([4e4, 1.0986123], device=DEVICE))
    torch.testing.assert_close(mean, torch.tensor([5e4 / 3, 1.0986123], device=DEVICE))
    torch.testing.assert_close(rows, torch.tensor([[1.0, -1.0, 0.0], [1 / 3, 1 / 3, -2 / 3]], device=DEVICE))


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # NumPy's, in the interpreter
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_logit_is_seen_in_the_loss(bad: float) -> None:
    rows = torch.zeros(2, 3000, device=DEVICE)
    rows[1, 2500] = bad
    nll, mean = kernel.TritonRows().cross_entropy_(rows, None, torch.tensor([1, 2], device=DEVICE), 0.1)
    assert nll.isfinite().tolist() == mean.isfinite().tolist() == [True, False]


def test_no_positions() -> None:
    nll, mean = kernel.TritonRows().cross_entropy_(
        torch.empty(0, 7, device=DEVICE), None, torch.empty(0, dtype=torch.int64, device=DEVICE), 0.1
    )
    assert nll.shape == mean.shape == (0,)
