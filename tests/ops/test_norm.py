"""LayerNorm and RMSNorm, compiled, against what they are in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops.fused import library, using
from nmt.ops.norm import layer_norm, rms_norm

FUSED = library()[0]
pytestmark = pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")


def made(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(sum(shape))
    x = (torch.randn(shape) * 3 + 5).requires_grad_()
    gain, bias = (torch.randn(shape[-1]).requires_grad_() for _ in range(2))
    return x, gain, bias


def with_gradients(y: Tensor, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    direction = torch.arange(y.numel()).view(y.shape).double().cos().bfloat16().to(y.dtype)
    return [y.detach().double(), *(g.double() for g in torch.autograd.grad(y, inputs, direction))]


@pytest.mark.parametrize("shape", [(1, 1, 16), (3, 5, 256), (2, 7, 50), (600, 33), (1, 7)])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 3e-6), (torch.bfloat16, 2e-2)])
def test_it_is_layer_norm_with_all_its_gradients(shape: tuple[int, ...], dtype: torch.dtype, error: float) -> None:
    inputs = made(*shape)
    with using(FUSED):
        found = layer_norm(*inputs, 1e-5, dtype)
    assert found.dtype == dtype
    x, gain, bias = (tensor.double() for tensor in inputs)
    wanted = F.layer_norm(x, gain.shape, gain, bias, 1e-5)
    for one, other in zip(with_gradients(found, inputs), with_gradients(wanted, inputs), strict=True):
        assert float((one - other).abs().max()) <= error * max(1.0, float(other.abs().max()))


def test_rows_of_equal_numbers_and_of_large_ones_stay_finite() -> None:
    x = torch.full((2, 40), 1e4)
    x[1] += torch.arange(40.0)
    x.requires_grad_()
    gain, bias = torch.ones(40), torch.zeros(40)
    with using(FUSED):
        y = layer_norm(x, gain, bias, 1e-5, torch.float32)
    assert torch.equal(y[0], torch.zeros(40))
    wanted = F.layer_norm(x.double(), (40,), eps=1e-5)[1]
    assert torch.allclose(y[1].double(), wanted, atol=1e-5)
    assert torch.isfinite(torch.autograd.grad(y.square().sum(), x)[0]).all()


def test_rows_that_do_not_lie_side_by_side_are_read_as_they_are() -> None:
    x, gain, bias = made(6, 4, 24)
    across = x.transpose(0, 1)
    with using(FUSED):
        y = layer_norm(across, gain, bias, 1e-5, torch.float32)
    assert torch.allclose(y, F.layer_norm(across, (24,), gain, bias, 1e-5), atol=1e-5)


def test_the_number_of_threads_changes_nothing() -> None:
    inputs, before = made(700, 48), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with using(FUSED):
                found.append(with_gradients(layer_norm(*inputs, 1e-5, torch.float32), inputs))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("shape", [(1, 1, 16), (3, 5, 256), (2, 7, 50), (600, 33), (1, 7)])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 3e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_it_is_rms_norm_with_all_its_gradients(shape: tuple[int, ...], dtype: torch.dtype, error: float) -> None:
    inputs = made(*shape)[:2]
    with using(FUSED):
        found = rms_norm(*inputs, 1e-6, dtype)
    assert found.dtype == dtype
    x, gain = (tensor.double() for tensor in inputs)
    wanted = gain * x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    for one, other in zip(with_gradients(found, inputs), with_gradients(wanted, inputs), strict=True):
        assert float((one - other).abs().max()) <= error * max(1.0, float(other.abs().max()))


def test_rms_norm_of_zeros_is_zero_with_finite_gradients() -> None:
    x, gain = torch.zeros(2, 20, requires_grad=True), torch.ones(20)
    with using(FUSED):
        y = rms_norm(x, gain, 1e-6, torch.float32)
    assert torch.equal(y, torch.zeros(2, 20))
    assert torch.allclose(torch.autograd.grad(y.sum(), x)[0], torch.full((2, 20), 1e3))
