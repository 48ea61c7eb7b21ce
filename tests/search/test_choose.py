"""The choice of a step of beam search, compiled and written out, is the same."""

import pytest
import torch

from nmt.ops.native import library, using
from nmt.search.beam import Chosen, choose
from nmt.search.stepper import Outlook

B, V = 40, 17


def outlook(logits: torch.Tensor, n: int) -> Outlook:
    """As `Stepper._survey` gives it: the first of equal logits first."""
    values, ids = logits.sort(dim=1, descending=True, stable=True)
    kept = min(n, V)
    log_z = logits.logsumexp(1, keepdim=True)
    return Outlook(logits, log_z, values[:, :kept].contiguous(), ids[:, :kept].contiguous(), None, None, ordered=True)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("K", [1, 2, 5, 20])
@pytest.mark.parametrize("rounded", [False, True])
def test_what_is_compiled_chooses_what_the_definition_does(K: int, wide: bool, rounded: bool) -> None:
    native, why = library()
    if native is None:
        pytest.skip(why)
    draw = torch.Generator().manual_seed(K)
    logits = torch.randn(B * K, V, generator=draw) * 2
    total = -torch.rand(B, K, generator=draw) * 3
    if rounded:  # many are equal
        logits, total = logits.round(), total.round()
    total = total.sort(dim=1, descending=True).values
    living = torch.randint(1, K + 1, (B, 1), generator=draw)
    total = total.masked_fill(torch.arange(K) >= living, -torch.inf)
    logits[3, 5] = torch.nan
    room = torch.randint(1, K + 1, (B,), generator=draw)
    may_end = torch.rand(B, generator=draw) < 0.7
    looked = outlook(logits, K + 4)
    truth = choose(looked, total, room, may_end, wide=wide, exact=False)
    with torch.inference_mode(), using(native):
        found = choose(looked, total, room, may_end, wide=wide, exact=False)
    assert torch.equal(found.broken, truth.broken)
    assert bool(truth.broken[3 // K])
    sound = ~truth.broken
    assert_same(found, truth, sound)


def assert_same(found: Chosen, truth: Chosen, sound: torch.Tensor) -> None:
    """In all that anybody looks at."""
    for name in ("total", "room", "ends"):
        assert torch.equal(getattr(found, name)[sound], getattr(truth, name)[sound]), name
    lives = truth.total.isfinite() & sound[:, None]
    for name in ("parent", "token", "log_prob"):
        assert torch.equal(getattr(found, name)[lives], getattr(truth, name)[lives]), name
    ends = truth.ends & sound[:, None]
    for name in ("end_parent", "end_log_prob"):
        assert torch.equal(getattr(found, name)[ends], getattr(truth, name)[ends]), name
    assert not found.tied.any()
