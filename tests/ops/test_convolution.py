"""Convolutions as products over windows, against torch's and by hand; a gradient on another scale."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.convolution import windows
from nmt.ops.gradient import scale_gradient


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


def test_windows_by_hand() -> None:
    """Three positions of two channels; k = 3."""
    x = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]])
    assert windows(x, 3, left=1)[0].tolist() == [[0, 0, 1, 10, 2, 20], [1, 10, 2, 20, 3, 30], [2, 20, 3, 30, 0, 0]]
    assert windows(x, 3, left=2)[0].tolist() == [[0, 0, 0, 0, 1, 10], [0, 0, 1, 10, 2, 20], [1, 10, 2, 20, 3, 30]]
    assert windows(x, 1, left=0).tolist() == x.tolist()


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("T", [1, 2, 7])
def test_a_product_over_windows_is_torchs_convolution(kernel: int, causal: bool, T: int) -> None:
    """conv1d has no causal form: the input is padded by k - 1 zeros on both sides and the end of the output dropped, as
    section 3.2 of Gehring et al. 2017 does it.
    """
    B, C, O = 3, 4, 5  # noqa: E741
    x, W, b = numbers(B, T, C), numbers(O, kernel * C), numbers(O)
    left = kernel - 1 if causal else (kernel - 1) // 2
    ours = F.linear(windows(x, kernel, left), W, b)
    theirs = F.conv1d(x.transpose(1, 2), W.view(O, kernel, C).transpose(1, 2), b, padding=kernel - 1).transpose(1, 2)
    start = kernel - 1 - left
    theirs = theirs[:, start : start + T]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    weight = torch.randn_like(ours)
    for one, other in zip(*(torch.autograd.grad((y * weight).sum(), (x, W, b)) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_only_the_gradient_is_scaled() -> None:
    x = numbers(2, 3)
    y = scale_gradient(x, 0.25)
    assert torch.equal(y, x)
    (y * torch.arange(6.0).view(2, 3)).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0, 0.25, 0.5, 0.75, 1.0, 1.25]
