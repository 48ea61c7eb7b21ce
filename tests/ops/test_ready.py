"""Matrices made ready give the products that they stand for, and only for the model whose they are."""

import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from nmt.errors import EnvironmentFault
from nmt.ops import ready
from nmt.ops.linear import add_product_, linear, product
from nmt.ops.ready import Precision, Ready, worth_readying

CPU = torch.device("cpu")
INT8 = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this processor has no fast int8")
ALL = ["float32", "bfloat16", pytest.param("int8", marks=INT8)]


def matrix(out: int = 40, width: int = 64) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(width, out)


def typed(x: torch.Tensor, precision: Precision) -> torch.Tensor:
    return x.to(torch.bfloat16 if precision == "bfloat16" else torch.float32)


@pytest.mark.parametrize("precision", ALL)
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_near_that_in_float64(precision: Precision, bias: bool) -> None:
    layer, x = matrix(), typed(torch.randn(3, 5, 64) * 7, precision)
    with torch.inference_mode(), Ready(layer, precision).using():
        found = linear(x, layer.weight, layer.bias if bias else None)
    truth = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    error = ((found.double() - truth).norm() / truth.norm()).item()
    assert found.dtype == x.dtype
    assert error < {"float32": 1e-6, "bfloat16": 6e-3, "int8": 1.2e-2}[precision]


@INT8
def test_int8_is_its_definition_to_the_last_product() -> None:
    layer, x = matrix(), torch.randn(9, 64)
    s_x, s_w = x.abs().amax(1, keepdim=True) / 127, layer.weight.abs().amax(1, keepdim=True) / 127
    q_x, q_w = (x / s_x + 0.5).floor(), (layer.weight / s_w).round()
    truth = (q_x.double() @ q_w.double().T) * s_w[:, 0] * s_x + layer.bias
    with torch.inference_mode(), Ready(layer, "int8").using():
        found = linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=1e-6)


@INT8
def test_int8_of_a_row_does_not_depend_on_its_neighbours() -> None:
    layer, x = matrix(300, 128), torch.randn(33, 128)
    with torch.inference_mode(), Ready(layer, "int8").using():
        together = linear(x, layer.weight, layer.bias)
        loud = linear(torch.cat([x[:4], 1000 * x[4:]]), layer.weight, layer.bias)
        alone = torch.cat([linear(row[None], layer.weight, layer.bias) for row in x])
    assert torch.equal(together, alone)
    assert torch.equal(together[:4], loud[:4])


@INT8
def test_int8_of_a_row_of_zeros_is_the_bias() -> None:
    layer = matrix()
    with torch.inference_mode(), Ready(layer, "int8").using():
        assert torch.equal(linear(torch.zeros(2, 64), layer.weight, layer.bias), layer.bias.expand(2, -1))


@pytest.mark.parametrize("precision", ALL)
def test_parts_of_a_matrix_and_other_ways_to_a_product(precision: Precision) -> None:
    layer, x = matrix(), typed(torch.randn(6, 30), precision)
    part = layer.weight[:, 10:40]
    truth = x.double() @ part.double().T
    with torch.inference_mode(), Ready(layer, precision).using():
        assert ready.ready_product(x, part, None) is not None
        found = product(x, part)
        added = add_product_(torch.ones(6, 40, dtype=x.dtype), x, part)
    scale = truth.norm()
    assert (found.double() - truth).norm() < 2e-2 * scale
    assert (added.double() - 1 - truth).norm() < 2e-2 * scale


def test_what_is_not_the_models_or_of_another_type_or_for_autograd_takes_the_plain_way() -> None:
    layer, other, x = matrix(), matrix(), torch.randn(6, 64)
    with Ready(layer, "float32").using():
        assert ready.ready_product(x, layer.weight, None) is None  # autograd is on
        with torch.inference_mode():
            assert ready.ready_product(x, other.weight, None) is None
            assert ready.ready_product(x, layer.weight * 1.0, None) is None
            assert ready.ready_product(x.bfloat16(), layer.weight, None) is None
            assert ready.ready_product(x, layer.weight, None) is not None
    with torch.inference_mode():
        assert ready.ready_product(x, layer.weight, None) is None


def test_where_int8_is_slow_or_not_to_be_trusted_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    with pytest.raises(EnvironmentFault, match="VNNI"):
        worth_readying(CPU, "int8")
    with pytest.raises(EnvironmentFault, match="for CPUs"):
        worth_readying(torch.device("cuda"), "int8")
    assert not worth_readying(torch.device("cuda"), "bfloat16")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is of x86")
def test_where_onednn_has_no_bfloat16_it_is_searched_and_trained_in_it_all_the_same() -> None:
    """oneDNN as on a processor without AVX-512."""
    script = """
import torch
from nmt.ops.fused import library, using
from nmt.ops.linear import linear
from nmt.ops.ready import worth_readying
from nmt.ops.rectified import rectified
assert not worth_readying(torch.device("cpu"), "bfloat16")
assert worth_readying(torch.device("cpu"), "float32")
x, w, b = (torch.randn(shape).bfloat16().requires_grad_() for shape in ((9, 8), (8, 8), (8,)))
wide = [one.detach().float().requires_grad_() for one in (x, w, b)]
def loss(x, w, b):
    return rectified(linear(x, w, b), w, b, w, b).float().square().sum()
with using(library()[0]):
    loss(x, w, b).backward()
loss(*wide).backward()
for narrow, other in zip((x, w, b), wide):
    assert (narrow.grad.float() - other.grad).abs().max() < 0.05 * other.grad.abs().max()
"""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
