"""ops.linear: products through oneDNN against float64, and who takes them."""

import pytest
import torch

from nmt.ops import linear as ops

there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@pytest.mark.skipif(not there, reason="this torch has no oneDNN")
@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5), (1, 5), (4, 1, 5)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_onednn_gives_the_product_and_its_gradients(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], with_bias: bool
) -> None:
    """Forward and every gradient within float32's rounding of the same in float64."""
    monkeypatch.setattr(ops, "onednn_is_faster", lambda: True)
    torch.manual_seed(3)
    x, weight, bias = torch.randn(shape), torch.randn(6, 5), torch.randn(6) if with_bias else None
    given = torch.randn(*shape[:-1], 6)

    def gradients(dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        leaves = [None if t is None else t.to(dtype).requires_grad_() for t in (x, weight, bias)]
        y = ops.linear(*leaves)  # pyright: ignore[reportArgumentType]
        assert ("OneDNN" in type(y.grad_fn).__name__) == (dtype == torch.float32)
        return y, *torch.autograd.grad(y, [t for t in leaves if t is not None], given.to(dtype))

    for got, wanted in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not there, reason="this torch has no oneDNN")
def test_product_and_add_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a matrix that is a transposed view and rows that are a slice, as the recurrences have them."""
    monkeypatch.setattr(ops, "onednn_is_faster", lambda: True)
    torch.manual_seed(4)
    rows, matrix, total = torch.randn(4, 12)[:, 3:8], torch.randn(5, 6).T, torch.randn(4, 9)
    wanted = rows.double() @ matrix.T.double()
    torch.testing.assert_close(ops.product(rows, matrix).double(), wanted, rtol=1e-5, atol=1e-5)
    summed = total[:, 2:8].double() + wanted
    ops.add_product_(total[:, 2:8], rows, matrix)
    torch.testing.assert_close(total[:, 2:8].double(), summed, rtol=1e-5, atol=1e-5)


def test_translation_keeps_to_one_library() -> None:
    """Without gradients the product is torch's own: what is searched does not depend on the processor's maker."""
    torch.manual_seed(5)
    x, weight = torch.randn(3, 5), torch.randn(4, 5)
    with torch.no_grad():
        assert torch.equal(ops.linear(x, weight), torch.nn.functional.linear(x, weight))
