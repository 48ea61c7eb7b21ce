"""ops.dot: the fast context against the definition, forward and backward."""

import pytest
import torch
from torch import Tensor

from nmt.ops import dot, masks


def heads(B: int, H: int, N: int, C: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Heads (B, H, N, C) as the layers give them: a view of (B, N, H * C)."""
    return torch.randn(B, N, H * C, dtype=dtype).requires_grad_().unflatten(-1, (H, C)).transpose(1, 2)


KEEPS = ("none", "padding", "causal", "both")


def keep_of(kind: str, B: int, Q: int, N: int) -> Tensor | None:
    real = torch.arange(N) < torch.tensor([[N], [1], [max(N - 2, 1)]])[:B]
    match kind:
        case "padding":
            return masks.padding(real)
        case "causal":
            return masks.causal(max(Q, N), torch.device("cpu"))[:, :, :Q, :N]
        case "both":
            return masks.padding(real) & masks.causal(max(Q, N), torch.device("cpu"))[:, :, :Q, :N]
    return None


@pytest.mark.parametrize("kind", KEEPS)
@pytest.mark.parametrize(("H", "G"), [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize(("Q", "N"), [(5, 7), (7, 5), (1, 3), (3, 1)])
def test_the_context_is_that_of_the_definition(kind: str, H: int, G: int, Q: int, N: int) -> None:
    """Forward to 1e-12 and every gradient, with padding, causal, shared heads of keys, one query and one key."""
    torch.manual_seed(5)
    query, keys, values = heads(3, H, Q, 8), heads(3, G, N, 8), heads(3, G, N, 8)
    keep = keep_of(kind, 3, Q, N)
    given = torch.randn(3, H, Q, 8, dtype=torch.float64)
    wanted = dot.attend(query, keys, values, keep)[0]
    got = dot.context(query, keys, values, keep)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(got, (query, keys, values), given),
        torch.autograd.grad(wanted, (query, keys, values), given),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_a_mask_of_its_own_for_each_head() -> None:
    """The fast form has no such mask and says nothing: the definition answers."""
    torch.manual_seed(6)
    query, keys, values = heads(2, 3, 4, 8), heads(2, 3, 5, 8), heads(2, 3, 5, 8)
    keep = torch.rand(2, 3, 4, 5) > 0.5
    keep[..., 0] = True
    assert torch.equal(dot.context(query, keys, values, keep), dot.attend(query, keys, values, keep)[0])


def test_dropout_zeroes_weights_and_keeps_their_sum_on_average() -> None:
    """With values of 1 the context is the sum of what was kept: 1 on average; its gradient follows the same mask."""
    torch.manual_seed(7)
    query, keys = heads(4, 4, 50, 8), heads(4, 4, 40, 8)
    values = torch.ones(4, 4, 40, 1, dtype=torch.float64).expand(-1, -1, -1, 8).clone().requires_grad_()
    got = dot.context(query, keys, values, None, 0.3)
    assert abs(float(got.detach().mean()) - 1.0) < 0.02
    assert float(got.detach().std()) > 0.05
    (d_values,) = torch.autograd.grad(got, values, torch.ones_like(got))
    torch.testing.assert_close(d_values.sum(), got.sum(), rtol=1e-9, atol=0)


def test_dropout_has_the_right_gradient() -> None:
    """gradcheck, the mask drawn from the same seed at each call."""
    query, keys, values = heads(2, 2, 3, 4), heads(2, 1, 5, 4), heads(2, 1, 5, 4)

    def seeded(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        torch.manual_seed(8)
        return dot.context(q, k, v, masks.causal(5, torch.device("cpu"))[:, :, :3], 0.4)

    leaves = [x.detach().requires_grad_() for x in (query, keys, values)]
    assert torch.autograd.gradcheck(seeded, leaves)


def test_bfloat16_is_near_float64() -> None:
    """Products in bfloat16, softmax in float32: an error of rounding, not of another formula."""
    torch.manual_seed(9)
    query, keys, values = (heads(2, 4, n, 16) for n in (9, 11, 11))
    wanted = dot.attend(query, keys, values, None)[0]
    got = dot.context(query.bfloat16(), keys.bfloat16(), values.bfloat16(), None)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=0.03)
