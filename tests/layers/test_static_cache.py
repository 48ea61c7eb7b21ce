"""Caches of fixed shape give attention what caches that grow give it."""

import pytest
import torch

from nmt.layers.cache import Cache, Going, Lineage, Sources
from nmt.layers.static_cache import StaticCache, StaticLineage, static
from nmt.models.contract import fixed, tensors_of
from nmt.ops.dot import attend

B, G, C, T = 4, 2, 5, 24


def both(K: int, at: torch.Tensor) -> tuple[tuple[Cache, Lineage], tuple[Cache, Lineage]]:
    grows = Cache.empty(B, K, G, C, torch.empty(0)), Lineage.empty(B, K, torch.device("cpu"))
    cache, lineage = static(grows[0], T, at), static(grows[1], T, at)
    assert isinstance(cache, StaticCache)
    assert isinstance(lineage, StaticLineage)
    return grows, (cache, lineage)


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("sees", ["all", "window", "even"])
def test_attention_is_that_over_a_cache_that_grows(K: int, sees: str) -> None:
    draw, at = torch.Generator().manual_seed(3), torch.zeros(1, dtype=torch.int64)
    with torch.inference_mode():
        pairs, n = both(K, at), B
        for t in range(20):
            key, value, query = (torch.randn(n, heads, K, C, generator=draw) for heads in (G, G, 2 * G))
            going = Going(None, torch.randint(0, K, (n, K), generator=draw))
            if t == 9:
                going, n = Going(torch.tensor([3, 1]), going.parents[[3, 1]]), 2  # pyright: ignore
            found, after = [], []
            for cache, lineage in pairs:
                lineage, cache = lineage.append(), cache.append(key, value)
                assert lineage.newest().tolist() == [t]
                even = (lineage.positions() % 2 == 0) | (lineage.positions() == lineage.newest())
                keep = lineage.keep(even if sees == "even" else None, 5 if sees == "window" else None)
                found.append(attend(query, *cache.visible(), keep.mask)[0])
                cache = cache.last(4) if sees == "window" else cache
                after.append((cache.follow(going), lineage.follow(going)))
            torch.testing.assert_close(*found)
            pairs = after
            at += 1


def test_what_is_written_stays_where_it_is() -> None:
    at = torch.zeros(1, dtype=torch.int64)
    with torch.inference_mode():
        cache, _ = both(3, at)[1]
        after = cache.append(*torch.randn(2, B, G, 3, C)).follow(Going(None, torch.zeros(B, 3, dtype=torch.int64)))
        assert after is cache
        assert after.last(2) is cache
        assert bool((cache.keys[:, :, 0] != 0).all())
        assert not cache.keys[:, :, 1:].any()


def test_what_is_fixed_has_tensors_of_its_own() -> None:
    keys = torch.randn(B, 3, G, C).transpose(1, 2)
    memory, at = (Sources(keys, keys), torch.ones(B)), torch.zeros(1, dtype=torch.int64)
    kept = fixed(memory, T, at)
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(kept), tensors_of(memory), strict=True))
    assert len({tensor.data_ptr() for tensor in (*tensors_of(kept), *tensors_of(memory))}) == 5
    assert all(tensor.is_contiguous() for tensor in tensors_of(kept))
