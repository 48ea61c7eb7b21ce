"""Which pairs an update sees: everything once an epoch, always the same, within the limit and with little padding."""

from typing import Any

import numpy as np
import pytest

from nmt.batch import EOS, PAD, Batch
from nmt.corpus import batches as module
from nmt.corpus.batches import Batches, Sampling, in_order
from nmt.corpus.shards import Shard
from nmt.corpus.tokenizer import Tokenizer
from tests.corpus.lengths import TEXTS, Doubling, counted, news, shard

LAYOUTS = ("padded", "rows", "flat")
in_every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def corpus(n: int, weight: float = 1.0, seed: int = 0, first: int = 100) -> Shard:
    return shard(*news(n, seed), weight, first)


def pairs_of(batches: Batches, epoch: int) -> list[list[int]]:
    """The pair numbers of each batch of an epoch, in its order."""
    pools = [batches.pool(epoch, number) for number in range(batches.pools)]
    return [pool.pairs[places].tolist() for pool in pools for places in pool.batches]


def taken(batches: Batches, epoch: int) -> list[int]:
    return [pair for batch in pairs_of(batches, epoch) for pair in batch]


def share(batches: Batches, epoch: int = 0) -> float:
    """Of an epoch's positions, those that hold a token."""
    pool = batches.pool(epoch)
    loaded = [pool.load(places) for places in pool.batches]
    return sum(b.src_tokens + b.tgt_tokens for b in loaded) / sum(b.positions for b in loaded)


@pytest.mark.parametrize(
    "limit", [{"tokens": 500}, {"sentences": 16}, {"tokens": 500, "layout": "rows"}, {"tokens": 500, "layout": "flat"}]
)
@pytest.mark.parametrize("epoch", [0, 7])
def test_an_epoch_is_a_permutation_of_all_pairs(limit: dict[str, Any], epoch: int) -> None:
    batches = Batches([corpus(500), corpus(37)], seed=3, **limit)
    order = taken(batches, epoch)
    assert sorted(order) == list(range(537))
    assert order != sorted(order)


@in_every_layout
def test_the_seed_and_the_epoch_decide_and_nothing_else(layout: Any) -> None:
    def epoch(seed: int, number: int) -> list[list[int]]:
        return pairs_of(Batches([corpus(300)], seed=seed, tokens=400, layout=layout), number)

    assert epoch(3, 2) == epoch(3, 2)
    assert epoch(3, 2) != epoch(3, 1)
    assert epoch(3, 2) != epoch(4, 2)
    # Not only the order of the batches: pairs meet other neighbours.
    assert {tuple(sorted(part)) for part in epoch(3, 2)} != {tuple(sorted(part)) for part in epoch(3, 1)}


def test_short_and_long_batches_come_in_no_order() -> None:
    data = corpus(2000)
    lengths = [float(data.tgt_lengths[part].mean()) for part in pairs_of(Batches([data], seed=1, tokens=600), 0)]
    correlation = np.corrcoef(np.arange(len(lengths)), lengths)[0, 1]
    assert abs(correlation) < 0.3
    assert np.std(lengths) > 5


@pytest.mark.parametrize("layout", ["rows", "flat"])
def test_batches_of_packed_rows_have_sentences_of_all_lengths(layout: Any) -> None:
    data = corpus(2000)
    for part in pairs_of(Batches([data], seed=1, tokens=1200, layout=layout), 0)[:-1]:
        assert np.std(data.tgt_lengths[part]) > 0.5 * np.std(data.tgt_lengths)


def test_weight_two_takes_every_pair_twice_and_a_half_takes_every_other_one() -> None:
    batches = Batches([corpus(40, 2.0), corpus(31, 0.5), corpus(20)], seed=5, sentences=8)
    counts = [np.bincount(taken(batches, epoch), minlength=91) for epoch in range(6)]
    for count in counts:
        assert (count[:40] == 2).all()
        assert (count[71:] == 1).all()
        assert count[40:71].max() == 1
        assert count[40:71].sum() in (15, 16)
    for first in (0, 2, 4):
        assert (counts[first][40:71] + counts[first + 1][40:71] == 1).all()  # two epochs cover all, none twice
    assert any((counts[0] != later).any() for later in (counts[2], counts[4]))  # and not the same halves for ever


@pytest.mark.parametrize("weight", [0.3, 1.0, 1.7, 0.01])
def test_ten_epochs_take_ten_times_the_weight(weight: float) -> None:
    batches = Batches([corpus(30, weight)], seed=5, sentences=8)
    count = np.bincount([i for epoch in range(10) for i in taken(batches, epoch)], minlength=30)
    assert count.sum() == round(10 * weight * 30)
    assert count.max() - count.min() <= 1
    assert all(part for epoch in range(10) for part in pairs_of(batches, epoch))


@in_every_layout
@pytest.mark.parametrize("tokens", [20, 60, 500, 4096])
def test_no_batch_is_over_its_limit_but_a_single_longer_pair(tokens: int, layout: Any) -> None:
    data = corpus(3000)
    batches = Batches([data], seed=1, tokens=tokens, layout=layout)
    pool = batches.pool(0)
    for places in pool.batches:
        loaded = pool.load(places)
        real = int((loaded.tgt_out != PAD).sum())
        assert real == loaded.tgt_tokens == int((data.tgt_lengths[pool.pairs[places]] + 1).sum())
        assert real <= tokens or len(places) == 1
        assert int((loaded.src != PAD).sum()) == loaded.src_tokens


def test_batches_of_sentences_are_all_of_that_size_but_one() -> None:
    sizes = [len(part) for part in pairs_of(Batches([corpus(100)], seed=1, sentences=16), 0)]
    assert sorted(sizes) == [4, *[16] * 6]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(("layout", "at_least"), [("padded", 0.95), ("rows", 0.965), ("flat", 0.99)])
def test_next_to_no_position_is_padding_at_the_usual_size(name: str, layout: Any, at_least: float) -> None:
    assert share(Batches([shard(*counted(name))], seed=1, tokens=4096, layout=layout)) >= at_least


@pytest.mark.parametrize("layout", ["rows", "flat"])
def test_fixed_rows_have_the_ratio_of_the_corpus(layout: Any) -> None:
    src, tgt = np.full(400, 19), np.full(400, 9)  # with their ends 20 and 10
    data = [shard(src, tgt), shard(tgt, src, weight=0.01)]  # a hundredth of it counts
    batches = Batches(data, seed=1, tokens=1000, layout=layout, row_tokens=60)
    pool = batches.pool(0)
    assert pool.widths == ((60, 31) if layout == "rows" else (1971, 1000))
    shapes = {tuple(loaded.src.shape) + tuple(loaded.tgt_in.shape) for loaded in map(pool.load, pool.batches)}
    assert {(shape[1], shape[3]) for shape in shapes} == {pool.widths}
    if layout == "rows":
        rows = [len(pool.load(places).src) for places in pool.batches]
        assert max(rows) <= 1000 // 31
        assert max(rows) - min(rows) <= 1
    else:
        assert {shape[0] for shape in shapes} == {1}


def test_a_pair_longer_than_a_row_has_a_row_to_itself_and_others_are_no_wider_for_it() -> None:
    src, tgt = news(1000)
    src[[5, 7]], tgt[7] = 99, 70
    tgt[9] = 99
    pool = Batches([shard(src, tgt)], seed=1, tokens=600, layout="rows", row_tokens=64).pool(0)
    long = set(np.flatnonzero((src >= pool.widths[0]) | (tgt >= pool.widths[1])).tolist())
    assert {5, 7, 9} <= long
    for places in pool.batches:
        loaded, pairs = pool.load(places), set(pool.pairs[places].tolist())
        if not pairs & long:
            assert (loaded.src.shape[1], loaded.tgt_in.shape[1]) == pool.widths
        else:
            assert pairs <= long
            assert len(loaded.src) == loaded.sentences == len(pairs)


def sentences_in(batch: Batch) -> list[tuple[int, int]]:
    """(first id, length) of each source sentence of a batch, sorted."""
    found = []
    for row in batch.src.tolist():
        sentence = []
        for word in row:
            if word == EOS:
                found.append((sentence[0], len(sentence)))
                sentence = []
            elif word != PAD:
                sentence.append(word)
    return sorted(found)


@in_every_layout
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 1000])
def test_parts_of_a_batch_hold_together_what_it_holds(layout: Any, parts: int) -> None:
    data = corpus(400)
    pool = Batches([data], seed=1, tokens=900, layout=layout).pool(0)
    for places in pool.batches[:5]:
        cut = pool.cut(places, parts)
        assert 1 <= len(cut) <= parts
        assert sorted(np.concatenate(cut).tolist()) == sorted(places.tolist())
        assert all(len(part) for part in cut)
        loaded = [pool.load(part, parts) for part in cut]
        assert sorted(s for part in loaded for s in sentences_in(part)) == sentences_in(pool.load(places))
        if layout != "padded":
            assert sum(part.src.shape[0] for part in loaded) == (
                len(cut) if layout == "flat" else len(pool.load(places).src)
            )
        if parts <= 3:
            tokens = [part.tgt_tokens for part in loaded]
            assert max(tokens) - min(tokens) < 0.4 * 900


def test_a_part_of_a_flat_batch_is_narrower() -> None:
    pool = Batches([corpus(400)], seed=1, tokens=900, layout="flat").pool(0)
    halves = [pool.load(part, 2) for part in pool.cut(pool.batches[0], 2)]
    assert all(450 <= half.tgt_in.shape[1] < 550 for half in halves)


@in_every_layout
def test_any_pairs_make_a_batch(layout: Any) -> None:
    data = corpus(50)
    pool = Batches([data], seed=1, tokens=300, layout=layout).pool(0)
    places = np.array([3, 44, 17])
    assert sentences_in(pool.load(places)) == sorted(
        (100 + i, int(data.src_lengths[i])) for i in pool.pairs[places].tolist()
    )


def test_a_batch_holds_the_pairs_it_names_from_all_corpora() -> None:
    pool = Batches([corpus(10, first=100), corpus(10, first=200)], seed=1, sentences=4).pool(0)
    places = np.array([np.flatnonzero(pool.pairs == pair)[0] for pair in (0, 9, 10, 19)])
    loaded = pool.load(places)
    assert loaded.src[:, 0].tolist() == loaded.tgt_out[:, 0].tolist() == [100, 109, 200, 209]
    assert loaded.sentences == 4


def test_in_order_goes_through_a_corpus_once_from_short_to_long() -> None:
    data = corpus(200)
    parts = list(in_order(data, 300))
    assert sorted(i for part, _ in parts for i in part.tolist()) == list(range(200))
    widths = [batch.tgt_out.shape[1] for _, batch in parts]
    assert widths == sorted(widths)
    assert all(batch.tgt_tokens <= 300 for _, batch in parts)
    assert all(bool((batch.src == EOS).any(1).all()) for _, batch in parts)


# Pieces drawn anew.


def sampled(size: int = 300, **more: Any) -> tuple[Batches, Doubling]:
    """One word a sentence as prepared: the pair's own number."""
    tokenizer = Doubling(size)
    both: tuple[Tokenizer, Tokenizer] = (tokenizer, tokenizer)
    ones = np.ones(size, np.int64)
    return Batches([shard(ones, ones)], seed=3, tokens=60, sampling=Sampling(both, 0.1), **more), tokenizer


@in_every_layout
def test_batches_are_made_by_the_lengths_that_were_drawn(layout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batches, tokenizer = sampled(layout=layout)
    pool = batches.pool(0)
    sizes = [pool.load(places).tgt_tokens for places in pool.batches]
    assert max(sizes) <= 60
    assert np.mean(sizes) > 45
    assert sorted(taken(batches, 0)) == list(range(300))
    if layout == "padded":
        assert share(batches) > 0.9
    drawn = np.random.default_rng(tokenizer.drawn[0][1]).integers(1, 9, 300)
    for places in pool.batches:
        words = {100 + int(pair): int(drawn[place]) for place, pair in zip(places, pool.pairs[places], strict=True)}
        found = sentences_in(pool.load(places))
        assert found == sorted((word - 100 + 4, times) for word, times in words.items())


def test_pieces_are_a_function_of_seed_epoch_and_pool() -> None:
    (batches, one), (again, other) = sampled(), sampled()
    for epoch in (0, 1):
        first, second = batches.pool(epoch), again.pool(epoch)
        assert [b.tolist() for b in first.batches] == [b.tolist() for b in second.batches]
        assert first.src.lengths.tolist() == second.src.lengths.tolist() != first.tgt.lengths.tolist()
    assert one.drawn == other.drawn
    assert len({seed for _, seed in one.drawn}) == 4  # two sides, two epochs


def test_a_large_epoch_is_drawn_in_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL", 100)
    batches, tokenizer = sampled(250)
    assert batches.pools == 3
    assert sorted(taken(batches, 0)) == list(range(250))
    assert sorted(size for size, _ in tokenizer.drawn) == [83, 83, 83, 83, 84, 84]
    assert len({seed for _, seed in tokenizer.drawn}) == 6
    pools = [[sorted(batches.pool(epoch, i).pairs.tolist()) for i in range(3)] for epoch in (0, 1)]
    assert pools[0] != pools[1]
    assert Batches([corpus(250)], seed=3, tokens=60).pools == 1
