"""A search among the pieces of a list is a search with the model that has no others."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from nmt.batch import EOS, pad_rows
from nmt.errors import ModelError
from nmt.models.contract import Seq2Seq
from nmt.ops.ready import Ready
from nmt.ops.top import Survey, survey
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.search.ensemble import Ensemble
from nmt.search.hypothesis import Hypothesis
from nmt.search.sampling import Sampling, sample
from nmt.search.shortlist import Shortlist
from tests.search.standins import Table, TinyGRU, every_string, score_of, sentence

N = 12
SENTENCES = [[4, 5], [6], [7, 4, 5, 6, 4, 4], [5, 5, 5], [4]]
LISTS = [[0, 1, 2, 3, 5, 7, 11], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [3, 9], [0, 1, 2, 3, 4, 8, 10]]
MODELS: list[Seq2Seq] = [Table(N, 1, end=1.0), TinyGRU(N), Ensemble([Table(N, 2), TinyGRU(N)]).eval()]
of_models = pytest.mark.parametrize("model", MODELS, ids=["table", "gru", "ensemble"])
forms = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])


def shortlist(lists: list[list[int]]) -> Shortlist:
    return Shortlist.of([np.array(pieces, np.int64) for pieces in lists], N)


def form(model: Seq2Seq, compiled: bool) -> AbstractContextManager[None]:
    return Ready(model, "float32").using() if compiled else nullcontext()


@contextmanager
def limited(model: Seq2Seq, pieces: list[int]) -> Iterator[None]:
    """The model, with no piece but these."""
    whole = model.project

    def project(features: Tensor) -> Tensor:
        logits = whole(features)
        return torch.full_like(logits, -torch.inf).index_copy(1, torch.tensor(pieces), logits[:, pieces])

    def looked_through(features: Tensor, n: int) -> Survey:
        return survey(project(features), min(n, N))

    vars(model).update(project=project, survey=looked_through)
    try:
        yield
    finally:
        del vars(model)["project"], vars(model)["survey"]


def assert_same(found: list[Hypothesis], truth: list[Hypothesis]) -> None:
    assert [h.ids for h in found] == [h.ids for h in truth]
    for h, other in zip(found, truth, strict=True):
        assert h.token_log_probs == pytest.approx(other.token_log_probs, abs=1e-4)
        assert h.score == pytest.approx(other.score, abs=1e-4)


@forms
@of_models
@pytest.mark.parametrize("limits", [{}, {"no_repeat_ngram": 2}, {"repetition_penalty": 1.5}, {"width": "constant"}])
@pytest.mark.parametrize("beam", [1, 3])
def test_each_sentence_has_its_own_list(model: Seq2Seq, beam: int, limits: dict[str, float], compiled: bool) -> None:
    config = SearchConfig(beam=beam).model_copy(update=limits)
    with form(model, compiled):
        together = search(
            model, pad_rows(SENTENCES, eos=True), config, n_best=beam, shortlist=shortlist(LISTS), want_weights=True
        )
        for ids, pieces, found in zip(SENTENCES, LISTS, together, strict=True):
            with limited(model, pieces):
                assert_same(found, search(model, sentence(*ids), config, n_best=beam)[0])
            assert {piece for h in found for piece in h.ids} <= set(pieces)


@forms
@of_models
def test_a_list_of_all_pieces_changes_nothing(model: Seq2Seq, compiled: bool) -> None:
    src, config = pad_rows(SENTENCES, eos=True), SearchConfig(beam=4, coverage_penalty=0.0)
    with form(model, compiled):
        found = search(model, src, config, n_best=4, shortlist=shortlist([[*range(N)]] * len(src)))
        for one, other in zip(found, search(model, src, config, n_best=4), strict=True):
            assert_same(one, other)


@forms
def test_a_beam_as_wide_as_the_space_is_brute_force_among_the_list(compiled: bool) -> None:
    model, src, pieces = Table(N, 3, end=2.0), sentence(4, 5, 6), [0, 1, 2, 3, 6, 9]
    config = SearchConfig(beam=300, max_len_ratio=0.0, max_len_extra=4)
    with limited(model, pieces):
        strings = (y for y in every_string(N, 4) if set(y) <= set(pieces))
        scored = sorted(((score_of(model, src, config, y), y) for y in strings), reverse=True)
    with form(model, compiled):
        best = search(model, src, config, n_best=5, shortlist=shortlist([pieces]))[0]
    assert [h.ids for h in best] == [y for _, y in scored[:5]]
    assert [h.score for h in best] == pytest.approx([score for score, _ in scored[:5]], abs=1e-5)


@forms
@of_models
def test_prefixes_go_before_their_lists(model: Seq2Seq, compiled: bool) -> None:
    prefixes = [[7], [], [1, 9, 4, 4], [9, 9], [10] * 3]
    with form(model, compiled):
        found = search(
            *(model, pad_rows(SENTENCES, eos=True), SearchConfig(beam=2)),
            prefix=pad_rows(prefixes),
            shortlist=shortlist(LISTS),
        )
        for ids, pieces, prefix, best in zip(SENTENCES, LISTS, prefixes, found, strict=True):
            assert best[0].ids[: len(prefix)] == prefix
            with limited(model, pieces):
                given = pad_rows([prefix]) if prefix else None
                assert_same(best, search(model, sentence(*ids), SearchConfig(beam=2), prefix=given)[0])


@of_models
def test_samples_are_of_the_list_and_neighbours_change_none(model: Seq2Seq) -> None:
    keys, config = [(i,) for i in range(len(SENTENCES))], SearchConfig()
    src = pad_rows(SENTENCES, eos=True)
    together = sample(model, src, config, Sampling(), keys, n=5, shortlist=shortlist(LISTS))
    for i, (ids, pieces) in enumerate(zip(SENTENCES, LISTS, strict=True)):
        with limited(model, pieces):
            assert_same(together[i], sample(model, sentence(*ids), config, Sampling(), keys[i : i + 1], n=5)[0])


@forms
@pytest.mark.parametrize("beam", [1, 3])
def test_logits_that_are_no_numbers_are_told_where_they_are_on_the_list(beam: int, compiled: bool) -> None:
    model, src = TinyGRU(N, seed=5), sentence(4, 5)
    config, pieces = SearchConfig(beam=beam), [0, 1, 2, 3, 5, 7]
    truth = search(model, src, config, shortlist=shortlist([pieces]))[0]
    with torch.no_grad():
        model.projection.bias[8] = torch.nan
    with form(model, compiled):
        assert_same(search(model, src, config, shortlist=shortlist([pieces]))[0], truth)
        for listed in ([*pieces, 8], [0, 1, 2, 3, 8]):
            with pytest.raises(ModelError, match="not finite"):
                search(model, src, config, shortlist=shortlist([listed]))


@forms
def test_where_nothing_but_the_end_is_listed_nothing_is_said(compiled: bool) -> None:
    model = Table(N, 1)
    with form(model, compiled):
        found = search(model, sentence(4, 5), SearchConfig(beam=3), n_best=3, shortlist=shortlist([[EOS]]))
    assert [(h.ids, h.token_log_probs) for h in found[0]] == [([], [0.0])]
    assert math.isclose(found[0][0].score, 0.0)
