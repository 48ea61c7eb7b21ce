"""Parameters that are cast once are what casting them each time gives."""

import torch
from torch import nn

from nmt.layers.weight_norm import WeightNormLinear
from nmt.ops.casts import Casts, as_type
from nmt.ops.linear import linear


def test_a_parameter_is_cast_once_and_a_part_of_it_by_itself() -> None:
    layer = nn.Linear(6, 4)
    with torch.inference_mode(), Casts(layer).using():
        whole = as_type(layer.weight, torch.bfloat16)
        assert as_type(layer.weight, torch.bfloat16) is whole
        part = as_type(layer.weight[:, :3], torch.bfloat16)
        assert torch.equal(part, whole[:, :3])
        assert as_type(layer.weight[:, :3], torch.bfloat16) is part
        assert torch.equal(as_type(layer.weight.T, torch.bfloat16), whole.T)
        assert as_type(layer.weight, torch.float64).dtype == torch.float64
        assert as_type(layer.weight, torch.float32) is layer.weight
        x = torch.randn(2, 6).bfloat16()
        wanted = nn.functional.linear(x, layer.weight.bfloat16(), layer.bias.bfloat16())
        assert torch.equal(linear(x, layer.weight, layer.bias), wanted)


def test_what_a_settled_model_holds_is_cast_once_too() -> None:
    layer = WeightNormLinear(6, 4)
    layer.initialize(1.0)
    layer.settle()
    with torch.inference_mode(), Casts(layer).using():
        assert as_type(layer.weight, torch.bfloat16) is as_type(layer.weight, torch.bfloat16)


def test_what_is_no_parameter_may_change() -> None:
    layer, other = nn.Linear(6, 4), torch.zeros(4, 6)
    with torch.inference_mode(), Casts(layer).using():
        assert not as_type(other, torch.bfloat16).any()
        other += 1.0
        assert bool(as_type(other, torch.bfloat16).all())


def test_nothing_is_kept_where_gradients_flow_or_nobody_asked() -> None:
    layer = nn.Linear(6, 4)
    with torch.no_grad():
        assert as_type(layer.weight, torch.bfloat16) is not as_type(layer.weight, torch.bfloat16)
    with Casts(layer).using():
        as_type(layer.weight, torch.bfloat16).sum().backward()
    assert layer.weight.grad is not None
