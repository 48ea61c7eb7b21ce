"""Weight normalisation against torch's own, and what it starts from."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from nmt.layers.convolution import GatedConvolution
from nmt.layers.weight_norm import WeightNormLinear


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


def random_layer(i: int, o: int) -> WeightNormLinear:
    layer = WeightNormLinear(i, o).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def assert_same_gradients(layer: WeightNormLinear, theirs: nn.Module, like: Tensor) -> None:
    """`like` is torch's v; g and the bias have theirs beside it."""
    ours, other = dict(layer.named_parameters()), dict(theirs.named_parameters())
    g, v = other["parametrizations.weight.original0"].grad, other["parametrizations.weight.original1"].grad
    assert g is not None and v is not None  # noqa: PT018
    assert ours["g"].grad is not None and ours["v"].grad is not None  # noqa: PT018
    torch.testing.assert_close(ours["g"].grad, g.flatten())
    torch.testing.assert_close(ours["v"].grad.view_as(like), like)
    torch.testing.assert_close(ours["bias"].grad, other["bias"].grad)


def test_the_linear_layer_is_torchs() -> None:
    layer, x = random_layer(5, 4), torch.randn(3, 5, dtype=torch.float64)
    theirs = parametrizations.weight_norm(nn.Linear(5, 4).double(), dim=0)
    parameters = dict(theirs.named_parameters())
    with torch.no_grad():
        parameters["parametrizations.weight.original0"].copy_(layer.g[:, None])
        parameters["parametrizations.weight.original1"].copy_(layer.v)
        parameters["bias"].copy_(layer.bias)
    torch.testing.assert_close(layer.weight, theirs.weight)
    weights = torch.randn(3, 4, dtype=torch.float64)
    for module in (layer, theirs):
        (module(x) * weights).sum().backward()
    torch.testing.assert_close(layer(x), theirs(x))
    grad = parameters["parametrizations.weight.original1"].grad
    assert grad is not None
    assert_same_gradients(layer, theirs, grad)


def test_the_gated_convolution_is_torchs() -> None:
    """nn.Conv1d has v as (O, I, k), we as (O, k * I): all channels of the window's first input, then the next one's."""
    k, i, o = 3, 4, 2
    layer = GatedConvolution(i, o, k).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    theirs = parametrizations.weight_norm(nn.Conv1d(i, 2 * o, k, padding=1).double(), dim=0)
    parameters = dict(theirs.named_parameters())
    with torch.no_grad():
        parameters["parametrizations.weight.original0"].copy_(layer.linear.g[:, None, None])
        parameters["parametrizations.weight.original1"].copy_(layer.linear.v.view(2 * o, k, i).transpose(1, 2))
        parameters["bias"].copy_(layer.linear.bias)
    x = torch.randn(3, 6, i, dtype=torch.float64)
    ours = layer.centred(x)
    other = F.glu(theirs(x.transpose(1, 2)), dim=1).transpose(1, 2)
    torch.testing.assert_close(ours, other)
    weights = torch.randn_like(ours)
    for y in (ours, other):
        (y * weights).sum().backward()
    grad = parameters["parametrizations.weight.original1"].grad
    assert grad is not None
    assert_same_gradients(layer.linear, theirs, grad.transpose(1, 2).reshape(2 * o, k * i).contiguous())


def test_a_layer_starts_as_if_it_were_not_reparametrised() -> None:
    layer = WeightNormLinear(300, 200)
    layer.initialize(0.05)
    torch.testing.assert_close(layer.weight, layer.v, rtol=1e-6, atol=0)
    assert float(layer.weight.detach().std()) == pytest.approx(0.05, rel=0.01)
    assert not layer.bias.any()


def test_a_settled_layer_keeps_its_weight_until_it_is_released() -> None:
    layer = random_layer(5, 4)
    before = layer.weight.detach().clone()
    layer.settle()
    assert torch.equal(layer.weight, before)
    assert not layer.weight.requires_grad
    with torch.no_grad():
        layer.g.mul_(2.0)
    assert torch.equal(layer.weight, before)
    layer.release()
    torch.testing.assert_close(layer.weight, 2.0 * before)
    assert layer.weight.requires_grad


def test_a_layer_is_settled_until_the_last_who_settled_it_releases_it() -> None:
    layer = random_layer(5, 4)
    layer.settle()
    before = layer.weight
    layer.settle()
    assert layer.weight is before
    layer.release()
    assert layer.weight is before
    layer.release()
    assert layer.weight is not before
    assert layer.weight.requires_grad
