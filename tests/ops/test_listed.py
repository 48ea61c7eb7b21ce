"""Logits of a list for each sentence: the compiled form equals the plain one, and neighbours change no bit of it."""

import pytest
import torch
from torch import Tensor

from nmt.ops.linear import linear
from nmt.ops.listed import chosen, listed
from nmt.ops.native import library
from nmt.ops.ready import Ready

INT8 = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this processor has no fast int8")
V = 50


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if (why := library()[1]) != "":
        pytest.skip(why)


def case(I: int, bias: bool = True) -> tuple[torch.nn.Linear, Tensor, Tensor, Tensor]:  # noqa: E741
    """A layer, rows that are not contiguous, lists of five sentences (of a piece, of all), their owners."""
    torch.manual_seed(I)
    layer = torch.nn.Linear(I, V, bias=bias).requires_grad_(False)
    ids = torch.full((5, V), -1)
    for row, n in zip(ids, (7, 1, V, 4, 33), strict=True):
        row[:n] = torch.randperm(V)[:n].sort().values
    owners = torch.tensor([0] * 5 + [1] + [2] * 2 + [4] * 9)
    return layer, torch.randn(len(owners), I + 3)[:, 1 : I + 1], ids, owners


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("I", [1, 15, 16, 17, 63, 64, 65, 256])
def test_the_compiled_form_is_the_plain_one(I: int, bias: bool) -> None:  # noqa: E741
    layer, x, ids, owners = case(I, bias)
    plain = listed(x, layer.weight, layer.bias, ids, owners)
    assert torch.equal(plain, chosen(linear(x, layer.weight, layer.bias), ids, owners))
    with Ready(layer, "float32").using(), torch.inference_mode():
        found = listed(x, layer.weight, layer.bias, ids, owners)
    assert torch.equal(found.isneginf(), ids[owners] < 0)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)


@INT8
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("I", [1, 15, 16, 63, 64, 65, 256])
def test_whole_numbers_are_those_of_the_whole_product(I: int, bias: bool) -> None:  # noqa: E741
    layer, x, ids, owners = case(I, bias)
    with Ready(layer, "int8").using(), torch.inference_mode():
        found = listed(x, layer.weight, layer.bias, ids, owners)
        assert torch.equal(found, chosen(linear(x, layer.weight, layer.bias), ids, owners))


@pytest.mark.parametrize("precision", ["float32", pytest.param("int8", marks=INT8)])
def test_neighbours_change_no_bit(precision: str) -> None:
    layer, x, ids, owners = case(100)
    with Ready(layer, precision).using(), torch.inference_mode():  # pyright: ignore[reportArgumentType]
        together = listed(x, layer.weight, layer.bias, ids, owners)
        for r, owner in enumerate(owners.tolist()):
            own = ids[owner : owner + 1]
            own = own[:, : int((own >= 0).sum())]
            alone = listed(x[r : r + 1], layer.weight, layer.bias, own.contiguous(), torch.tensor([0]))
            assert torch.equal(together[r, : own.shape[1]], alone[0])


def test_other_matrices_and_types_have_the_plain_form() -> None:
    layer, x, ids, owners = case(20)
    with Ready(torch.nn.Linear(2, 2), "float32").using(), torch.inference_mode():
        for weight in (layer.weight, layer.weight.t().contiguous().t()):
            found = listed(x, weight, layer.bias, ids, owners)
            torch.testing.assert_close(found, chosen(linear(x, weight, layer.bias), ids, owners), atol=1e-5, rtol=1e-5)
        half = listed(x.bfloat16(), layer.weight, layer.bias, ids, owners)
        assert torch.equal(half, chosen(linear(x.bfloat16(), layer.weight, layer.bias), ids, owners))
