"""The one-tile kernel against the written-out attention over packed rows, in float64: context, gradients, dropout.

Without a GPU it runs in Triton's interpreter (tests/conftest.py), in float32; on a GPU in bfloat16, as it is meant for.
"""

import importlib

import pytest
import torch
from torch import Tensor

from nmt.ops import packed

pytest.importorskip("triton", reason="Triton is not installed")
packed_triton = importlib.import_module("nmt.ops.packed_triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE, SHARE = (torch.bfloat16, 2e-2) if DEVICE.type == "cuda" else (torch.float32, 1e-5)
LENGTHS = [1, 15, 16, 17]
pytestmark = pytest.mark.usefixtures("poisoned")


def numbers(*shape: int, strength: float = 1.0, dtype: torch.dtype = DTYPE) -> Tensor:
    return (torch.randn(*shape, device=DEVICE) * strength).to(dtype).requires_grad_()


def segments(B: int, length: int, count: int) -> Tensor:
    """Sentences of about one length, some rows shorter than others, the last of them empty where there are several."""
    ids = torch.arange(length)[None] * count // length + 1
    ends = torch.tensor([length - 2 * b for b in range(B)])
    rows = torch.where(torch.arange(length)[None] < ends[:, None], ids, 0)
    if B > 1:
        rows[-1] = 0
    return rows.to(DEVICE, torch.int32)


def compare(found: Tensor, wanted: Tensor, share: float) -> None:
    """To a share of the largest number."""
    assert found.isfinite().all()
    most = float(wanted.detach().abs().max())
    assert float((found.detach().double() - wanted.detach()).abs().max()) <= share * most


def check(tensors: list[Tensor], where: tuple[Tensor, Tensor], causal: bool, share: float = SHARE) -> None:
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    wanted = packed.attend(wide[0], wide[1], wide[2], *where, causal)
    found = packed_triton.attend(tensors[0], tensors[1], tensors[2], *where, causal)
    compare(found, wanted, share)
    grad = torch.randn_like(found)
    true = torch.autograd.grad(wanted, wide, grad.double())
    for ours, theirs in zip(torch.autograd.grad(found, tensors, grad), true, strict=True):
        compare(ours, theirs, share)


@pytest.mark.parametrize("N", LENGTHS)
@pytest.mark.parametrize("Q", LENGTHS)
def test_every_gradient(Q: int, N: int) -> None:
    tensors = [numbers(2, 2, Q, 5), numbers(2, 2, N, 5), numbers(2, 2, N, 5)]
    check(tensors, (segments(2, Q, 3), segments(2, N, 3)), causal=False)


@pytest.mark.parametrize("length", [1, 17, 128])
def test_causal(length: int) -> None:
    tensors = [numbers(1, 1, length, 8) for _ in range(3)]
    check(tensors, (segments(1, length, 4), segments(1, length, 4)), causal=True)


@pytest.mark.parametrize(("H", "G"), [(4, 2), (3, 1)])
def test_heads_that_share_keys(H: int, G: int) -> None:
    tensors = [numbers(3, H, 9, 4), numbers(3, G, 11, 4), numbers(3, G, 11, 4)]
    check(tensors, (segments(3, 9, 2), segments(3, 11, 2)), causal=False)


def test_strong_scores() -> None:
    tensors = [numbers(1, 2, 12, 16, strength=8.0), numbers(1, 2, 12, 16, strength=8.0), numbers(1, 2, 12, 16)]
    check(tensors, (segments(1, 12, 2), segments(1, 12, 2)), causal=False, share=100 * SHARE)


def test_half_precision() -> None:
    """float16, because the interpreter's products take bfloat16 for integers; the GPU gets it everywhere else."""
    tensors = [numbers(2, 2, 20, 16, dtype=torch.float16) for _ in range(3)]
    check(tensors, (segments(2, 20, 3), segments(2, 20, 3)), causal=True, share=5e-3)


def test_it_reads_and_writes_as_projections_lie() -> None:
    """Queries, keys and values of one product, never copied apart; contexts side by side for the next."""
    B, H, Q, C = 2, 3, 10, 4
    together = numbers(B, Q, 3 * H * C)
    query, keys, values = (part.unflatten(-1, (H, C)).transpose(1, 2) for part in together.chunk(3, -1))
    where = segments(B, Q, 2)
    found = packed_triton.attend(query, keys, values, where, where)
    compare(found, packed.attend(query.double(), keys.double(), values.double(), where, where), SHARE)
    assert found.transpose(1, 2).is_contiguous()
    (grad,) = torch.autograd.grad(found.sum(), [together])
    assert grad.isfinite().all()


def test_a_query_without_a_key_finds_nothing() -> None:
    query, keys = numbers(1, 1, 3, 2), numbers(1, 1, 2, 2)
    mine, theirs = (torch.tensor([ids], dtype=torch.int32, device=DEVICE) for ids in ([1, 2, 0], [1, 1]))
    found = packed_triton.attend(query, keys, keys, mine, theirs)
    assert found[0, 0, 0].any()
    assert not found[0, 0, 1:].any()
    assert torch.autograd.grad(found.sum(), [query])[0].isfinite().all()


def left_by(seed: Tensor, drop: float, shape: tuple[int, int, int, int], where: tuple[Tensor, Tensor]) -> Tensor:
    """What dropout multiplies weights by, (B, H, Q, N): seen through equal scores and values that are unit vectors."""
    B, H, Q, N = shape
    zeros = torch.zeros(B, H, Q, N, device=DEVICE, dtype=DTYPE)
    unit = torch.eye(N, device=DEVICE, dtype=DTYPE).expand(B, H, N, N)
    found = packed_triton.attend_seeded(zeros, unit * 0, unit, *where, False, drop, seed)
    even = packed_triton.attend_seeded(zeros, unit * 0, unit, *where, False, 0.0, seed)
    return torch.where(even > 0, found / even, 0.0).double()


def test_dropout_forgets_the_same_weights_both_ways() -> None:
    B, H, Q, N, drop = 2, 2, 20, 17, 0.3
    where, seed = (segments(B, Q, 2), segments(B, N, 2)), torch.tensor([(7 << 40) + 12345], device=DEVICE)
    factor = left_by(seed, drop, (B, H, Q, N), where)
    share = float((factor > 0)[0].double().sum() / packed.visible(*where, False)[0].sum() / H)
    assert 0.6 < share < 0.8
    assert not torch.equal(factor[0, 0], factor[0, 1])
    other = left_by(seed + (1 << 40), drop, (B, H, Q, N), where)
    assert not torch.equal(factor, other)
    tensors = [numbers(B, H, Q, 8), numbers(B, H, N, 8), numbers(B, H, N, 8)]
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    may = packed.visible(*where, False)
    scores = (wide[0] @ wide[1].transpose(-1, -2) * 8**-0.5).masked_fill(~may, -torch.inf)
    weights = scores.softmax(-1).masked_fill(~may.any(-1, keepdim=True), 0.0)
    wanted = (weights * factor) @ wide[2]
    found = packed_triton.attend_seeded(tensors[0], tensors[1], tensors[2], *where, False, drop, seed)
    compare(found, wanted, SHARE)
    grad = torch.randn_like(found)
    true = torch.autograd.grad(wanted, wide, grad.double())
    for ours, theirs in zip(torch.autograd.grad(found, tensors, grad), true, strict=True):
        compare(ours, theirs, SHARE)


def test_a_seed_gives_the_same_dropout_again() -> None:
    query = numbers(1, 1, 16, 4)
    where = segments(1, 16, 1)
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(packed_triton.attend(query, query, query, where, where, drop=0.5))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_row_longer_than_a_tile_takes_the_plain_form() -> None:
    query, keys, values = (numbers(1, 1, 129, 4) for _ in range(3))
    where = segments(1, 129, 2)
    found = packed_triton.attend(query, keys, values, where, where, causal=True)
    assert torch.equal(found, packed.attend(query, keys, values, where, where, causal=True))


def test_more_than_a_tile_is_no_call_of_the_kernel() -> None:
    long, where = numbers(1, 1, 129, 4), segments(1, 129, 1)
    with pytest.raises(AssertionError, match="one tile holds no more"):
        packed_triton.attend_seeded(long, long, long, where, where, False, 0.0, torch.zeros(1, dtype=torch.int64))
