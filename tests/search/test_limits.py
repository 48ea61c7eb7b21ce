import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.batch import BOS, EOS, PAD, pad_rows
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.search.limits import Limits, block_repetition, penalize_repetition
from nmt.search.sampling import Sampling, sample
from tests.search.standins import Table, TinyGRU, every_string, repeats, score_of, sentence

SENTENCES = [[4, 5], [6], [7, 4, 5, 6, 4, 4], [5, 5, 5], [4]]
LIMITS = [
    SearchConfig(no_repeat_ngram=1),
    SearchConfig(no_repeat_ngram=2),
    SearchConfig(repetition_penalty=1.7),
    SearchConfig(no_repeat_ngram=2, repetition_penalty=3.0, coverage_penalty=0.3),
]


def name(config: SearchConfig) -> str:
    return f"{config.no_repeat_ngram}-{config.repetition_penalty}"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(4, 7), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(1, 6))
def test_blocked_pieces_are_those_of_the_definition(held: list[list[int]], n: int) -> None:
    logits = torch.arange(len(held) * 9).float().view(len(held), 9)
    found = block_repetition(logits, torch.tensor(held), n)
    for row, before, ids in zip(found, logits, held, strict=True):
        for word in range(4, 9):
            seen = [ids[i : i + n] for i in range(len(ids) - n + 1)]
            forbidden = [*ids[len(ids) - n + 1 :], word] in seen
            assert float(row[word]) == (-torch.inf if forbidden else float(before[word]))
        assert torch.equal(row[[1, BOS, EOS]], before[[1, BOS, EOS]])


def test_a_piece_said_before_counts_so_many_times_its_log_probability() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5, 3.0, 1.0, -4.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]])
    log_z = logits.logsumexp(1, keepdim=True)
    found = penalize_repetition(logits, log_z, torch.tensor([[4, 5, 4], [5, 5, 5]]), 1.5) - log_z
    expected = logits.log_softmax(1)
    expected[0, 4] *= 1.5
    expected[0, 5] *= 1.5
    expected[1, 5] *= 1.5
    torch.testing.assert_close(found, expected)


def test_nothing_is_kept_where_both_are_off() -> None:
    limits, logits = Limits(SearchConfig()), torch.ones(2, 6)
    limits.follow(torch.tensor([4, 5]), None)
    assert limits.held is None
    assert limits.apply(logits, logits) is logits


@pytest.mark.parametrize("config", LIMITS, ids=name)
@pytest.mark.parametrize("seed", range(2))
def test_a_beam_as_wide_as_the_space_is_brute_force(config: SearchConfig, seed: int) -> None:
    model, src = Table(8, seed, end=2.0), sentence(4, 5, 6)
    config = config.model_copy(update={"beam": 900, "max_len_ratio": 0.0, "max_len_extra": 4})
    allowed = [y for y in every_string(8, 4) if not repeats(y, config.no_repeat_ngram)]
    scored = sorted(((score_of(model, src, config, y), y) for y in allowed), reverse=True)
    best = search(model, src, config, n_best=5)[0]
    assert [h.ids for h in best] == [y for _, y in scored[:5]]
    assert [h.score for h in best] == pytest.approx([score for score, _ in scored[:5]], abs=1e-5)


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("config", LIMITS, ids=name)
def test_nothing_repeats_and_scores_are_those_of_the_ids(config: SearchConfig, beam: int) -> None:
    model = Table(12, 3, end=-1.0, spread=2.0)
    config = config.model_copy(update={"beam": beam})
    src = pad_rows(SENTENCES, eos=True)
    for ids, found in zip(SENTENCES, search(model, src, config, n_best=beam), strict=True):
        alone = search(model, sentence(*ids), config, n_best=beam)[0]
        assert [h.ids for h in found] == [h.ids for h in alone]
        for h in found:
            assert not repeats(h.ids, config.no_repeat_ngram)
            assert h.score == pytest.approx(score_of(model, sentence(*ids), config, h.ids, h.ended), abs=1e-4)
            assert sum(h.token_log_probs) < 0.0


def test_what_repeats_without_a_limit_does_not_with_one() -> None:
    model, src = TinyGRU(12, seed=1), pad_rows(SENTENCES, eos=True)
    long = SearchConfig(beam=2, min_len_ratio=5.0, max_len_ratio=6.0)
    free = [best[0].ids for best in search(model, src, long)]
    assert sum(repeats(ids, 2) for ids in free) > 2, "nothing repeats: nothing is tested"
    punished = search(model, src, long.model_copy(update={"repetition_penalty": 4.0}))
    assert len({i for best in punished for i in best[0].ids}) > len({i for ids in free for i in ids})


@pytest.mark.parametrize("config", LIMITS, ids=name)
def test_samples_keep_to_the_limits(config: SearchConfig) -> None:
    model, src = Table(12, 3, end=-1.0, spread=2.0), pad_rows(SENTENCES, eos=True)
    found = sample(model, src, config, Sampling(), [(i,) for i in range(len(SENTENCES))], n=3)
    for ids, samples in zip(SENTENCES, found, strict=True):
        for h in samples:
            assert not repeats(h.ids, config.no_repeat_ngram)
            assert h.score == pytest.approx(score_of(model, sentence(*ids), config, h.ids, h.ended), abs=1e-4)


def test_where_nothing_may_follow_the_translation_ends_there() -> None:
    config = SearchConfig(no_repeat_ngram=1, min_len_ratio=50.0, max_len_ratio=60.0)
    (h,) = sample(Table(7, 1), sentence(4), config, Sampling(), [(1,)])[0]
    assert sorted(h.ids) == [1, 4, 5, 6]
    assert not h.ended
    assert PAD not in h.ids
