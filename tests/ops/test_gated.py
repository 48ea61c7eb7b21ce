"""Gated units: by hand, and compiled against the plain forms in float64."""

import math

import pytest
import torch

from nmt.ops.gated import glu, swiglu
from tests.ops.compiled import FUSED, Form, by_type, same


def test_by_hand() -> None:
    """sigmoid(ln 3) = 3/4."""
    x = torch.tensor([math.log(3.0), 0.0, 4.0, 7.0], dtype=torch.float64)
    torch.testing.assert_close(swiglu(x), torch.tensor([3 * math.log(3.0), 0.0], dtype=torch.float64))
    x = torch.tensor([4.0, 7.0, math.log(3.0), 0.0], dtype=torch.float64)
    torch.testing.assert_close(glu(x), torch.tensor([3.0, 3.5], dtype=torch.float64))
    assert glu(x.bfloat16()).dtype == torch.float32
    assert swiglu(x.bfloat16()).dtype == torch.bfloat16


@by_type
@pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")
@pytest.mark.parametrize("form", [swiglu, glu])
@pytest.mark.parametrize("shape", [(3, 5, 64), (40, 42), (1, 2), (2, 3, 34)], ids=str)
@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_compiled(form: Form, shape: tuple[int, ...], dtype: torch.dtype, error: float) -> None:
    torch.manual_seed(11)
    same(form, [3 * torch.randn(shape)], dtype, error)


@pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")
@pytest.mark.parametrize("form", [swiglu, glu])
def test_compiled_they_read_what_does_not_lie_side_by_side(form: Form) -> None:
    torch.manual_seed(11)
    same(lambda x: form(x.transpose(0, 1)), [torch.randn(4, 6, 20)], torch.float32, 1e-5)


@pytest.mark.skipif(FUSED is None, reason="there is no C compiler here")
@pytest.mark.parametrize("form", [swiglu, glu])
def test_compiled_gates_that_are_wide_open_or_shut_are_finite(form: Form) -> None:
    x = torch.tensor([[1e4, -1e4, 200.0, -200.0, 1e4, -1e4, 200.0, -200.0]])
    same(form, [x], torch.float32, 1e-5)
