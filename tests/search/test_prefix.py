import pytest
import torch

from nmt.batch import pad_rows
from nmt.models.contract import Seq2Seq
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.search.ensemble import Ensemble
from nmt.search.sampling import Sampling, sample
from tests.search.standins import Table, TinyGRU, every_string, score_of, sentence

SENTENCES = [[4, 5], [6], [7, 4, 5, 6, 4, 4], [5, 5, 5], [4]]
PREFIXES = [[6], [], [1, 9, 4, 4], [5, 7], [9] * 30]
MODELS = [Table(12, 1, end=1.0), TinyGRU(12), Ensemble([Table(12, 2), TinyGRU(12)]).eval()]


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("model", MODELS, ids=["table", "gru", "ensemble"])
def test_translations_begin_with_the_prefix_and_count_it(model: Seq2Seq, beam: int) -> None:
    config = SearchConfig(beam=beam)
    found = search(model, pad_rows(SENTENCES, eos=True), config, n_best=beam, prefix=pad_rows(PREFIXES))
    for ids, prefix, best in zip(SENTENCES, PREFIXES, found, strict=True):
        alone = search(model, sentence(*ids), config, n_best=beam, prefix=pad_rows([prefix]) if prefix else None)[0]
        assert [h.ids for h in best] == [h.ids for h in alone]
        for h in best:
            assert h.ids[: len(prefix)] == prefix
            assert h.score == pytest.approx(score_of(model, sentence(*ids), config, h.ids, h.ended), abs=1e-4)
            assert len(h.token_log_probs) <= max(2 * len(ids) + 10, len(prefix) + 1)


def test_a_prefix_of_what_greedy_search_finds_changes_nothing() -> None:
    config, src = SearchConfig(beam=1), pad_rows(SENTENCES, eos=True)
    for model in MODELS:
        free = search(model, src, config)
        beginnings = pad_rows([best[0].ids[: i % 3] for i, best in enumerate(free)])
        assert [best[0].ids for best in search(model, src, config, prefix=beginnings)] == [best[0].ids for best in free]


@pytest.mark.parametrize("limits", [{}, {"no_repeat_ngram": 1}, {"repetition_penalty": 2.0}])
def test_a_beam_as_wide_as_the_space_is_brute_force(limits: dict[str, float]) -> None:
    model, src, prefix = Table(8, 3, end=2.0), sentence(4, 5, 6), [5, 5]
    config = SearchConfig(beam=900, max_len_ratio=0.0, max_len_extra=5).model_copy(update=limits)
    allowed = [y for y in every_string(8, 5) if y[:2] == prefix]
    if "no_repeat_ngram" in limits:  # the prefix itself may repeat
        allowed = [y for y in allowed if len(set(y[2:]) | {5}) == len(y) - 1]
    scored = sorted(((score_of(model, src, config, y), y) for y in allowed), reverse=True)
    best = search(model, src, config, n_best=5, prefix=torch.tensor([prefix]))[0]
    assert [h.ids for h in best] == [y for _, y in scored[:5]]
    assert [h.score for h in best] == pytest.approx([score for score, _ in scored[:5]], abs=1e-5)


def test_samples_begin_with_the_prefix() -> None:
    keys = [(i,) for i in range(len(SENTENCES))]
    src = pad_rows(SENTENCES, eos=True)
    found = sample(MODELS[0], src, SearchConfig(), Sampling(top_k=3), keys, n=3, prefix=pad_rows(PREFIXES))
    for ids, prefix, samples in zip(SENTENCES, PREFIXES, found, strict=True):
        for h in samples:
            assert h.ids[: len(prefix)] == prefix
            assert h.score == pytest.approx(
                score_of(MODELS[0], sentence(*ids), SearchConfig(), h.ids, h.ended), abs=1e-4
            )
