"""Scores of given translations: those that a search gives where it finds the same pieces."""

import math
from unittest.mock import patch

import pytest
import torch

from nmt.batch import EOS, PAD, pad_rows, padded_batch
from nmt.errors import ModelError, UsageError
from nmt.models.contract import Seq2Seq
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.search.ensemble import Ensemble
from nmt.search.hypothesis import Hypothesis
from nmt.search.scoring import score
from tests.properties.kinds import PAIRS, VARIANTS, build

SOURCES = [[4, 5, 4], [5], [5, 4, 5, 5, 4], [], [4, 4]]
CONFIG = SearchConfig(beam=4, min_len_ratio=1.0, max_len_ratio=1.0, max_len_extra=9, length_penalty=0.2)


def found_and_scored(model: Seq2Seq, config: SearchConfig, **options: bool) -> list[tuple[Hypothesis, Hypothesis]]:
    """What a search finds, and the score of just that, all of it in one batch."""
    found = search(model, pad_rows(SOURCES, eos=True), config, n_best=4, **options)
    pairs = [(src, one) for src, best in zip(SOURCES, found, strict=True) for one in best]
    batch = padded_batch([src for src, _ in pairs], [one.ids for _, one in pairs])
    scored = score(model, batch, config, **options)
    return [(one, again) for (_, one), again in zip(pairs, scored, strict=True)]


def assert_equal(one: Hypothesis, again: Hypothesis) -> None:
    """A search that found no end has no score for one; its pieces are comparable all the same."""
    assert again.ended
    assert again.ids == one.ids
    assert again.token_log_probs[: len(one.token_log_probs)] == pytest.approx(one.token_log_probs, abs=1e-4)
    if one.ended:
        assert again.score == pytest.approx(one.score, abs=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_a_search_found_has_the_score_that_the_search_gave_it(name: str) -> None:
    models = [build(VARIANTS[name], torch.float32, n_tgt=6, seed=seed) for seed in range(4)]
    pairs = [pair for model in models for pair in found_and_scored(model, CONFIG)]
    assert sum(one.ended for one, _ in pairs) > 3
    assert len({tuple(one.ids) for one, _ in pairs}) > 4
    for one, again in pairs:
        assert_equal(one, again)


@pytest.mark.parametrize("kind", ["bahdanau", "luong", "transformer", "convs2s"])
@pytest.mark.parametrize(
    "changes",
    [
        {"coverage_penalty": 0.3},
        {"repetition_penalty": 1.5},
        {"no_repeat_ngram": 2},
        {"coverage_penalty": 0.2, "repetition_penalty": 1.2, "length_formula": "average"},
    ],
    ids=str,
)
def test_with_every_term_of_the_score(kind: str, changes: dict[str, object]) -> None:
    model = build(VARIANTS[kind], torch.float32, n_tgt=6)
    pairs = found_and_scored(model, CONFIG.model_copy(update=changes), want_weights=True)
    assert len(pairs) > 5
    for one, again in pairs:
        assert_equal(one, again)
        assert one.alignment is not None
        assert again.alignment is not None
        torch.testing.assert_close(again.alignment[: len(one.alignment)], one.alignment, rtol=0, atol=1e-5)


def test_an_ensemble_is_scored_as_it_searches() -> None:
    model = Ensemble([build(VARIANTS[kind], torch.float32, seed=i) for i, kind in enumerate(("bahdanau", "sutskever"))])
    for one, again in found_and_scored(model, CONFIG):
        assert_equal(one, again)


def test_nothing_that_may_not_be_searched_for_is_forbidden_here() -> None:
    model = build(VARIANTS["transformer"], torch.float32)
    targets = [[4, 5, 4, 5, 4, 5], []]
    batch = padded_batch([[5, 6], [5, 6]], targets)
    plain = score(model, batch, CONFIG)
    config = CONFIG.model_copy(update={"no_repeat_ngram": 2, "min_len_ratio": 3.0, "max_len_extra": 0})
    assert score(model, batch, config) == plain
    stepwise = score(model, batch, config, want_weights=True)
    assert [one.token_log_probs for one in stepwise] == [pytest.approx(one.token_log_probs, abs=1e-5) for one in plain]
    assert [len(one.token_log_probs) for one in plain] == [7, 1]


@pytest.mark.parametrize("kind", ["transformer", "gnmt"])
def test_neighbours_and_chunks_change_nothing(kind: str) -> None:
    model = build(VARIANTS[kind], torch.float32)
    src, tgt = [src for src, _ in PAIRS], [tgt for _, tgt in PAIRS]
    together = score(model, padded_batch(src, tgt), CONFIG)
    with patch("nmt.search.scoring._LOGITS", 30):
        chunked = score(model, padded_batch(src, tgt), CONFIG)
    alone = [score(model, padded_batch([s], [t]), CONFIG)[0] for s, t in PAIRS]
    for one, chunk, single in zip(together, chunked, alone, strict=True):
        assert_equal(one, chunk)
        assert_equal(one, single)
    assert score(model, padded_batch([], []), CONFIG) == []


def test_the_first_pieces_have_probability_one_together() -> None:
    model = build(VARIANTS["rnn"], torch.float32, n_tgt=6)
    pieces = [[], *([word] for word in range(6) if word != EOS)]
    with torch.no_grad():
        model.projection.weight[PAD] = 0.0  # PAD is no piece of a target: what it would count is known this way
        logits = model.project(model(padded_batch([[5]], [[]])))[0, 0]
    scored = score(model, padded_batch([[5]] * 5, [ids for ids in pieces if ids != [PAD]]), SearchConfig())
    begun = sum(math.exp(one.token_log_probs[0]) for one in scored)
    assert begun + float(logits.softmax(0)[PAD]) == pytest.approx(1.0, abs=1e-5)


def test_what_has_no_score_is_refused() -> None:
    model = build(VARIANTS["sutskever"], torch.float32)
    batch = padded_batch([[5]], [[4]])
    with pytest.raises(UsageError, match="no attention to measure coverage"):
        score(model, batch, SearchConfig(coverage_penalty=0.1))
    with torch.no_grad():
        model.projection.bias.fill_(math.nan)  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="logits at target position 1 are not finite"):
        score(model, batch, SearchConfig())
