"""Window and strided attention against sets of positions, drawn and listed."""

from typing import Any

import pytest
import torch

from nmt.ops import dot, masks
from nmt.ops.sparse import strided, window

N = 9
PLACES = torch.arange(N)


def drawn(mask: torch.Tensor) -> list[str]:
    return ["".join("x" if seen else "." for seen in row) for row in mask.tolist()]


def test_window_drawn() -> None:
    assert drawn(window(PLACES[:5], PLACES[:5], 1)) == ["xx...", "xxx..", ".xxx.", "..xxx", "...xx"]


def test_strided_drawn_as_in_the_papers_figure_3() -> None:
    """l = 3, the past only: each position, the three before it, and every third before that."""
    seen = strided(PLACES, PLACES, 3) & masks.causal(N, PLACES.device)[0, 0]
    assert drawn(seen) == [
        "x........",
        "xx.......",
        "xxx......",
        "xxxx.....",
        ".xxxx....",
        "..xxxx...",
        "x..xxxx..",
        ".x..xxxx.",
        "..x..xxxx",
    ]


@pytest.mark.parametrize("l", [1, 2, 3, 4, 20])
def test_strided_is_the_union_of_the_papers_two_sets(l: int) -> None:  # noqa: E741
    seen = strided(PLACES, PLACES, l) & masks.causal(N, PLACES.device)[0, 0]
    for i in range(N):
        local = set(range(max(0, i - l), i + 1))
        jumps = {j for j in range(i + 1) if (i - j) % l == 0}
        assert {j for j in range(N) if seen[i, j]} == local | jumps
    mirrored = strided(PLACES, PLACES, l)
    assert torch.equal(mirrored, mirrored.T)


def test_everything_is_within_two_layers_reach_of_strided_attention_and_not_of_a_window() -> None:
    long = torch.arange(60)
    causal = masks.causal(60, long.device)[0, 0]
    for seen, reaches in ((strided(long, long, 7), True), (window(long, long, 7), False)):
        twice = (seen & causal).float() @ (seen & causal).float() > 0
        assert torch.equal(twice, causal) == reaches


def test_any_queries_may_ask() -> None:
    for pattern in (window, strided):
        assert torch.equal(pattern(PLACES[4:6], PLACES[:7], 2), pattern(PLACES, PLACES, 2)[4:6, :7])


@pytest.mark.parametrize("pattern", [window, strided])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_under_the_mask_is_attention_to_the_listed_keys(pattern: Any, causal: bool) -> None:
    """Softmax over those keys alone, with padding and shared key heads, and its gradients."""
    torch.manual_seed(2)
    B, H, G, C, width = 2, 4, 2, 3, 2
    inputs = [torch.randn(B, h, N, C, dtype=torch.float64, requires_grad=True) for h in (H, G, G)]
    query, keys, values = inputs
    lengths = [N, 6]
    real_keys = torch.tensor(lengths)[:, None] > PLACES  # (B, N)
    keep = masks.padding(real_keys) & pattern(PLACES, PLACES, width)
    keep = keep | torch.eye(N, dtype=torch.bool)
    keep = keep & masks.causal(N, PLACES.device) if causal else keep
    found, _ = dot.attend(query, keys, values, keep)

    rows, real = [], []
    for b, length in enumerate(lengths):
        for h in range(H):
            for i in range(length):
                near = {j for j in range(length) if abs(i - j) <= width}
                far = {j for j in range(length) if (i - j) % width == 0} if pattern is strided else set()
                seen = sorted(j for j in near | far if j <= i or not causal)
                scores = keys[b, h // 2, seen] @ query[b, h, i] / C**0.5
                rows.append(scores.softmax(-1) @ values[b, h // 2, seen])
                real.append(found[b, h, i])
    truth, ours = torch.stack(rows), torch.stack(real)
    torch.testing.assert_close(ours, truth, rtol=0, atol=1e-13)
    outward = torch.randn_like(truth)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, outward), torch.autograd.grad(truth, inputs, outward), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)
