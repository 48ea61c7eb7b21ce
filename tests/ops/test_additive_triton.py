"""The fused additive attention against the written-out one in float64: every result, every gradient.

Without a GPU the kernels run in Triton's interpreter (tests/conftest.py) and in small blocks; with one, on it, as they
are. What they were compiled to is in test_sass.py.
"""

import importlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from nmt.ops import additive

pytest.importorskip("triton", reason="Triton is not installed")
additive_triton = importlib.import_module("nmt.ops.additive_triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BLOCK = additive_triton._KEYS if DEVICE.type == "cuda" else 4
LENGTHS = [1, BLOCK - 1, BLOCK, BLOCK + 1]


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is not written is NaN; in the interpreter blocks are small, so that few numbers fill several."""
    torch.manual_seed(11)
    if DEVICE.type == "cpu":
        for name, size in (("_KEYS", BLOCK), ("_QUERIES", 4), ("_DEEP", 4), ("_SLICE", 8)):
            monkeypatch.setattr(additive_triton, name, size)
    torch.use_deterministic_algorithms(True)  # torch then fills what it allocates with NaN
    yield
    torch.use_deterministic_algorithms(False)


def test_what_is_allocated_is_nan() -> None:
    assert torch.empty(9, device=DEVICE).isnan().all()


def inputs(B: int, Q: int, N: int, A: int, dtype: torch.dtype, strength: float = 1.0) -> list[Tensor]:
    """query, keys, values, v; the weights of strong scores are nearly 0 and 1."""
    shapes = (B, Q, A), (B, N, A), (B, N, 3), (A,)
    found = [torch.randn(*shape, device=DEVICE) for shape in shapes]
    found[3] *= strength
    return [tensor.to(dtype).requires_grad_() for tensor in found]


def kept(B: int, N: int) -> Tensor:
    """Ragged: all of the first sentence, one word of the last, and a hole where there is room for one."""
    lengths = [N, *(1 + (5 * b) % N for b in range(1, B - 1)), 1][:B]
    keep = torch.arange(N)[None] < torch.tensor(lengths)[:, None]
    if N > 2:
        keep[0, 1] = False
    return keep.to(DEVICE)


def compare(found: list[Tensor], wanted: list[Tensor], share: float) -> None:
    """To a share of the largest number of each."""
    for ours, true in zip(found, wanted, strict=True):
        assert ours.isfinite().all()
        assert float((ours.detach().double() - true.detach()).abs().max()) <= share * float(true.detach().abs().max())


def check(tensors: list[Tensor], keep: Tensor, share: float) -> None:
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    wanted = additive.attend(wide[0], wide[1], wide[2], wide[3], keep)
    found = additive_triton.attend(tensors[0], tensors[1], tensors[2], tensors[3], keep)
    grads = [torch.randn_like(out) for out in found]
    compare([*found], [*wanted], share)
    true = torch.autograd.grad(wanted, wide, [grad.double() for grad in grads])
    compare([*torch.autograd.grad(found, tensors, grads)], [*true], share)


@pytest.mark.parametrize("N", LENGTHS)
@pytest.mark.parametrize("Q", [1, 3, 5])
def test_every_gradient(Q: int, N: int) -> None:
    check(inputs(2, Q, N, 7, torch.float32), kept(2, N), 1e-5)


@pytest.mark.parametrize(("B", "Q", "N", "A"), [(1, 1, 1, 1), (1, 4, 4, 4), (3, 9, 11, 17), (1, 2, 3, 8)])
def test_odd_sizes_and_several_blocks(B: int, Q: int, N: int, A: int) -> None:
    check(inputs(B, Q, N, A, torch.float32), kept(B, N), 1e-5)


@pytest.mark.parametrize("N", [3, 2 * BLOCK + 1])
def test_strong_scores(N: int) -> None:
    """Scores up to 100 in size: a softmax of all but one weight, whose gradients are differences of near numbers."""
    check(inputs(2, 3, N, 9, torch.float32, strength=30.0), kept(2, N), 1e-3)


def test_bfloat16() -> None:
    """Inputs are rounded before; so are contexts and gradients, to 2^-9 of each."""
    check(inputs(2, 5, 6, 12, torch.bfloat16), kept(2, 6), 1e-2)


def test_one_float32_v_among_bfloat16() -> None:
    """Parameters stay float32: v comes so, and gets its gradient so."""
    query, keys, values, v = inputs(2, 3, 5, 6, torch.bfloat16)
    v = v.detach().float().requires_grad_()
    check([query, keys, values, v], kept(2, 5), 1e-2)
    assert v.dtype == torch.float32


def test_each_query_may_have_its_own_keys() -> None:
    """As in local attention; one that has none gets weights 0."""
    query, keys, _, v = inputs(2, 5, 2 * BLOCK + 1, 6, torch.float32)
    may = torch.rand(2, 5, 2 * BLOCK + 1, device=DEVICE) < 0.4
    may[0, 0], may[1, 4] = False, False
    may[0, 1, 0], may[:, 2:4, 1] = True, True
    found = additive_triton.align(query, keys, v, may)
    wanted = additive.score(query.double(), keys.double(), v.double()).masked_fill(~may, -torch.inf).softmax(-1)
    torch.testing.assert_close(found.double(), wanted.nan_to_num(0.0), atol=1e-6, rtol=0)
    assert not found[0, 0].any()
    assert not found[1, 4].any()


@pytest.mark.parametrize("N", LENGTHS)
def test_steps(N: int) -> None:
    """One query at a time there and back: what `additive.Steps` gives."""
    B, T, A = 3, 3, 9
    query, keys, _, v = inputs(B, T, N, A, torch.float32)
    hide = torch.zeros(B, N, device=DEVICE).masked_fill_(~kept(B, N), -torch.inf)
    dweights = torch.randn(T, B, N, device=DEVICE)
    results = []
    for steps, dtype in ((additive_triton.Steps, torch.float32), (additive.Steps, torch.float64)):
        q, k, w, h = (tensor.detach().to(dtype) for tensor in (query, keys, v, hide))
        there = steps(k, w, T)
        seen = [there.look(t, q[:, t], h, torch.empty_like(h)) for t in range(T)]
        back = steps(k, w, T, there.kept)
        dquery = [back.look_backward(t, seen[t], dweights[t].to(dtype)) for t in reversed(range(T))]
        results.append([*seen, *dquery, *back.gradients()])
    compare(results[0], results[1], 1e-5)


def test_it_never_holds_a_tanh_of_every_pair() -> None:
    """What is kept for the backward grows with Q * N, not with Q * N * A."""
    query, keys, _, v = inputs(1, 4, 6, 64, torch.float32)
    sizes: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        additive_triton.align(query, keys, v, torch.ones(1, 1, 6, dtype=torch.bool, device=DEVICE))
    assert sum(sizes) == query.numel() + keys.numel() + v.numel() + 4 * 6
