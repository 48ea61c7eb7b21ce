"""A cache gives attention what copies of keys and values, moved with each hypothesis, would have given."""

import pytest
import torch

from nmt.layers.cache import Cache, Going, Lineage
from nmt.ops.dot import attend
from nmt.ops.native import library, using

B, K, G, C = 4, 3, 2, 5


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("window", [None, 4])
def test_attention_over_the_cache_is_attention_over_copies(inference: bool, window: int | None) -> None:
    """Forty steps in which hypotheses follow one another at random and sentences leave."""
    draw, (native, _) = torch.Generator().manual_seed(3), library()
    with torch.inference_mode(inference):
        cache, lineage = Cache.empty(B, K, G, C, torch.empty(0)), Lineage.empty(B, K, torch.device("cpu"))
        n, copies = B, list[tuple[torch.Tensor, torch.Tensor]]()  # (R, G, C) a position
        for t in range(40):
            key, value, query = (torch.randn(n, heads, K, C, generator=draw) for heads in (G, G, 2 * G))
            lineage, cache = lineage.append(), cache.append(key, value)
            copies.append(tuple(x.transpose(1, 2).flatten(0, 1) for x in (key, value)))  # pyright: ignore
            seen = copies if window is None else copies[-window - 1 :]
            keys, values = (torch.stack([position[i] for position in seen], 2) for i in range(2))  # (R, G, t, C)
            truth, _ = attend(query.transpose(1, 2).flatten(0, 1)[:, :, None], keys, values, None)
            keep = lineage.keep() if window is None else lineage.keep(last=window + 1)
            found, _ = attend(query, *cache.visible(), keep.mask)
            torch.testing.assert_close(found.transpose(1, 2).flatten(0, 1), truth[:, :, 0])
            if native is not None:
                found, _ = native.attend(query, *cache.stored(), None, keep.writers, cache.rows)
                torch.testing.assert_close(found.transpose(1, 2).flatten(0, 1), truth[:, :, 0])
            if window is not None:
                cache = cache.last(window)

            sentences = torch.tensor([i for i in range(n) if i != t % n]) if t in (9, 20, 33) else None
            n = n if sentences is None else len(sentences)
            going = Going(sentences, torch.randint(0, K, (n, K), generator=draw))
            rows = going.rows(K)
            assert rows is not None
            copies = [(key[rows], value[rows]) for key, value in copies]
            cache, lineage = cache.follow(going), lineage.follow(going)
        assert lineage.t == 40
        assert cache.visible()[0].shape[2] == K * min(40, window or 40)


def test_sentences_that_leave_are_copied_away_from_when_they_are_half() -> None:
    with torch.inference_mode():
        cache = Cache.empty(8, K, G, C, torch.empty(0)).append(*torch.randn(2, 8, G, K, C))
        seven = cache.follow(Going(torch.arange(1, 8)))
        assert seven.keys is cache.keys
        assert torch.equal(seven.apart()[0], cache.apart()[0][1:])
        more = seven.append(*torch.randn(2, 7, G, K, C))
        four = more.follow(Going(torch.tensor([0, 2, 4, 6])))
        assert (len(four.keys), four.rows) == (4, None)
        assert torch.equal(four.apart()[1], more.apart()[1][::2])
        if (native := library()[0]) is not None:  # it looks rows up by itself
            with using(native):
                same = more.follow(Going(torch.tensor([0, 2, 4, 6])))
            assert same.keys is more.keys
            assert torch.equal(same.apart()[1], four.apart()[1])


@pytest.mark.parametrize("compiled", [True, False])
def test_a_position_is_written_to_its_sentence(compiled: bool) -> None:
    native, why = library()
    if compiled and native is None:
        pytest.skip(why)
    with torch.inference_mode(), using(native if compiled else None):
        rows, wide = torch.tensor([3, 0]), torch.randn(2, 2, K, G, C + 2)
        new = wide[..., :C].transpose(2, 3)  # as projections leave them
        cache = Cache(torch.zeros(4, G, 16, K, C), torch.zeros(4, G, 16, K, C), held=5, rows=rows).append(*new)
        assert cache.held == 6
        for room, wanted in zip((cache.keys, cache.values), new, strict=True):
            assert torch.equal(room[rows, :, 5], wanted)
            assert int((room != 0).any(-1).any(-1).any(1).sum()) == 2


def test_one_hypothesis_needs_no_mask() -> None:
    assert Lineage.empty(B, 1, torch.device("cpu")).append().keep().mask is None


def test_positions_that_a_pattern_hides_are_hidden_for_all() -> None:
    lineage = Lineage.empty(1, 2, torch.device("cpu")).append().append().append()
    keep = lineage.keep(torch.tensor([True, False, True])).mask
    assert keep is not None
    assert keep[0, 0].tolist() == [[True, False, False, False, True, False], [False, True, False, False, False, True]]


def test_going_says_which_rows() -> None:
    parents, sentences = torch.tensor([[0, 0], [1, 0]]), torch.tensor([2, 5])
    assert Going().rows(2) is None
    assert torch.equal(Going(parents=parents).rows(2), torch.tensor([0, 0, 3, 2]))  # pyright: ignore
    assert torch.equal(Going(sentences).rows(2), torch.tensor([4, 5, 10, 11]))  # pyright: ignore
    assert torch.equal(Going(sentences, parents).rows(2), torch.tensor([4, 4, 11, 10]))  # pyright: ignore
