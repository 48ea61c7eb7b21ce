"""Which pairs an update sees: everything once an epoch, always the same, within the limit and with little padding."""

import numpy as np
import pytest
from numpy.typing import NDArray

from nmt.batch import EOS
from nmt.corpus.batches import Batches, in_order
from nmt.corpus.shards import Shard


def shard(src_lengths: NDArray[np.int64], tgt_lengths: NDArray[np.int64], weight: float = 1.0, first: int = 0) -> Shard:
    """A corpus in memory; the ids of pair i all say first + i, so that a batch shows whom it holds."""
    made = Shard.__new__(Shard)
    made.weight = weight
    sides = []
    for lengths in (src_lengths, tgt_lengths):
        ids = np.repeat(np.arange(first, first + len(lengths)), lengths).astype(np.int32)
        sides.append((ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)))
    made.src, made.tgt = sides
    return made


def corpus(n: int, weight: float = 1.0, seed: int = 0, first: int = 100) -> Shard:
    """Lengths as in translated news: lognormal around 25 words, the two sides within some 20 % of each other."""
    rng = np.random.default_rng(seed)
    src = np.clip(rng.lognormal(3.1, 0.55, n), 1, 100).astype(np.int64)
    tgt = np.clip(src * rng.normal(1.1, 0.15, n), 1, 100).astype(np.int64)
    return shard(src, tgt, weight, first)


def taken(batches: Batches, epoch: int) -> list[int]:
    return np.concatenate([np.empty(0, np.int64), *batches.epoch(epoch)]).tolist()


@pytest.mark.parametrize("limit", [{"tokens": 500}, {"sentences": 16}])
@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_an_epoch_is_a_permutation_of_all_pairs(limit: dict[str, int], epoch: int) -> None:
    batches = Batches([corpus(500), corpus(37)], seed=3, **limit)
    order = taken(batches, epoch)
    assert sorted(order) == list(range(537))
    assert order != sorted(order)


def test_the_seed_and_the_epoch_decide_and_nothing_else() -> None:
    def epoch(seed: int, number: int) -> list[list[int]]:
        return [part.tolist() for part in Batches([corpus(300)], seed=seed, tokens=400).epoch(number)]

    assert epoch(3, 2) == epoch(3, 2)
    assert epoch(3, 2) != epoch(3, 1)
    assert epoch(3, 2) != epoch(4, 2)
    # Not only the order of the batches: pairs meet other neighbours.
    assert {tuple(sorted(part)) for part in epoch(3, 2)} != {tuple(sorted(part)) for part in epoch(3, 1)}


def test_short_and_long_batches_come_in_no_order() -> None:
    data = corpus(2000)
    lengths = [float(data.tgt_lengths[part].mean()) for part in Batches([data], seed=1, tokens=600).epoch(0)]
    correlation = np.corrcoef(np.arange(len(lengths)), lengths)[0, 1]
    assert abs(correlation) < 0.3
    assert np.std(lengths) > 5


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
    assert all(len(part) for epoch in range(10) for part in batches.epoch(epoch))


@pytest.mark.parametrize("tokens", [20, 60, 500, 4096])
def test_no_batch_is_over_its_limit_but_a_single_longer_pair(tokens: int) -> None:
    data = corpus(3000)
    batches = Batches([data], seed=1, tokens=tokens)
    sizes = []
    for part in batches.epoch(0):
        loaded = batches.load(part)
        real = int((loaded.tgt_out != 0).sum())
        assert real == loaded.tgt_tokens == int((data.tgt_lengths[part] + 1).sum())
        assert real <= tokens or len(part) == 1
        sizes.append(real)
    longest = int(data.tgt_lengths.max()) + 1
    # Full, too: a batch ends where the next pair would not have fitted. The last one is what is left.
    assert sum(size < min(tokens, sum(sizes)) - longest for size in sizes) <= 1


def test_batches_of_sentences_are_all_of_that_size_but_one() -> None:
    sizes = [len(part) for part in Batches([corpus(100)], seed=1, sentences=16).epoch(0)]
    assert sorted(sizes) == [4, *[16] * 6]


@pytest.mark.parametrize(("pairs", "tokens"), [(20_000, 1500), (60_000, 4096)])
def test_nine_tenths_of_all_positions_are_real(pairs: int, tokens: int) -> None:
    """The fewer batches there are, the less alike the sentences of one: 20,000 of these pairs at 4096 reach 0.87."""
    data = corpus(pairs)
    src, tgt, real, positions = data.src_lengths + 1, data.tgt_lengths + 1, 0, 0
    for part in Batches([data], seed=1, tokens=tokens).epoch(0):
        real += int(src[part].sum() + tgt[part].sum())
        positions += len(part) * int(src[part].max() + tgt[part].max())
    assert real / positions >= 0.9


def test_a_batch_holds_the_pairs_it_names_from_all_corpora() -> None:
    batches = Batches([corpus(10, first=100), corpus(10, first=200)], seed=1, sentences=4)
    loaded = batches.load(np.array([0, 9, 10, 19]))
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
