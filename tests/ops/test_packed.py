"""Attention over packed rows: each sentence as if it were alone, padding as if it were not there."""

import pytest
import torch
from torch import Tensor

from nmt.ops import dot, masks, packed

# Two rows: lengths of the sentences in each; what is left of 12 source and 14 target positions is padding.
SOURCE, TARGET, N, Q = [[4, 1, 5], [12]], [[3, 6, 1], [11]], 12, 14


def segments(rows: list[list[int]], width: int) -> Tensor:
    ids = [[number + 1 for number, length in enumerate(row) for _ in range(length)] for row in rows]
    return torch.tensor([row + [0] * (width - len(row)) for row in ids], dtype=torch.int32)


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(5)


@pytest.mark.parametrize(("H", "G"), [(2, 2), (4, 2), (3, 1)])
@pytest.mark.parametrize("attention", ["encoder", "decoder", "cross"])
def test_a_sentence_in_a_row_is_a_sentence_alone(attention: str, H: int, G: int) -> None:
    ours = {"encoder": SOURCE, "decoder": TARGET, "cross": TARGET}[attention]
    theirs = SOURCE if attention == "cross" else ours
    widths = [N if rows is SOURCE else Q for rows in (ours, theirs)]
    causal = attention == "decoder"
    query, keys, values = numbers(2, H, widths[0], 3), numbers(2, G, widths[1], 3), numbers(2, G, widths[1], 3)
    found = packed.attend(query, keys, values, segments(ours, widths[0]), segments(theirs, widths[1]), causal)
    for row in range(2):
        q = k = 0
        for own, other in zip(ours[row], theirs[row], strict=True):
            one, see = slice(row, row + 1), slice(k, k + other)
            keep = masks.causal(own, query.device) if causal else None
            alone, _ = dot.attend(query[one, :, q : q + own], keys[one, :, see], values[one, :, see], keep)
            torch.testing.assert_close(found[one, :, q : q + own], alone, atol=1e-12, rtol=0)
            q, k = q + own, k + other
        assert not found[row, :, q:].any()  # padding sees nothing


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_and_none_of_padding(causal: bool) -> None:
    where = segments([[2, 1], [0]], 4)
    inputs = [numbers(2, 2, 4, 3), numbers(2, 1, 4, 3), numbers(2, 1, 4, 3)]
    assert torch.autograd.gradcheck(lambda *qkv: packed.attend(*qkv, where, where, causal), inputs)
    packed.attend(*inputs, where, where, causal).square().sum().backward()
    for tensor in inputs:
        assert tensor.grad is not None
        assert not tensor.grad[0, :, 3].any()
        assert not tensor.grad[1].any()


def test_a_segment_without_keys_gives_zeros() -> None:
    """A target whose source is not in the row: the query is real, and finds nothing."""
    query, keys = numbers(1, 1, 3, 2), numbers(1, 1, 2, 2)
    found = packed.attend(
        query, keys, keys, torch.tensor([[1, 2, 2]], dtype=torch.int32), torch.tensor([[1, 1]], dtype=torch.int32)
    )
    assert found[0, 0, 0].any()
    assert not found[0, 0, 1:].any()


def test_dropout_takes_its_share_of_the_weights() -> None:
    """Equal scores and values 1: the context is the sum of what dropout left of 1/64 each."""
    one = torch.ones((1, 1, 64, 1))
    where = torch.ones((1, 64), dtype=torch.int32)
    found = packed.attend(torch.zeros_like(one), one, one, where, where, drop=0.25).flatten()
    kept = found * 64 * 0.75
    torch.testing.assert_close(kept, kept.round(), atol=1e-3, rtol=0)
    assert 0.9 < float(found.mean()) < 1.1
    assert len(set(kept.round().tolist())) > 5
