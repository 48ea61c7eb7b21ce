import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.batch import BOS, EOS, PAD, pad_rows
from nmt.errors import ModelError, UsageError
from nmt.models.contract import Seq2Seq
from nmt.recipe import SearchConfig
from nmt.search.beam import choose, search
from nmt.search.hypothesis import Hypothesis
from tests.search.standins import Table, TinyGRU, every_string, log_probs_after, score_of, sentence

FORMULAS = [
    SearchConfig(length_formula="none"),
    SearchConfig(length_formula="gnmt", length_penalty=0.6),
    SearchConfig(length_formula="gnmt", length_penalty=2.5),
    SearchConfig(length_formula="average", length_penalty=1.0),
    SearchConfig(length_formula="gnmt", length_penalty=0.4, coverage_penalty=0.3),
    SearchConfig(length_formula="average", length_penalty=1.0, coverage_penalty=1.0),
]
SENTENCES = [[4, 5], [6], [7, 4, 5, 6, 4, 4], [5, 5, 5], [4], [6, 7, 4], [4, 4, 4, 4, 4, 4, 4, 4], [7]]


def batch_of(sentences: list[list[int]]) -> torch.Tensor:
    return pad_rows([[*ids, EOS] for ids in sentences])


def same(a: list[Hypothesis], b: list[Hypothesis]) -> bool:
    return [(h.ids, h.ended) for h in a] == [(h.ids, h.ended) for h in b] and all(
        abs(x.score - y.score) < 1e-5 for x, y in zip(a, b, strict=True)
    )


def greedy(model: Seq2Seq, src: torch.Tensor, max_len: int) -> tuple[list[int], bool]:
    ids: list[int] = []
    for _ in range(max_len):
        log_probs = log_probs_after(model, src, ids)[0]
        log_probs[[PAD, BOS]] = -math.inf
        word = int(log_probs.argmax())
        if word == EOS:
            return ids, True
        ids.append(word)
    return ids, False


def name(config: SearchConfig) -> str:
    return f"{config.length_formula}-{config.length_penalty}-{config.coverage_penalty}"


@pytest.mark.parametrize("config", FORMULAS, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_as_wide_as_the_space_is_brute_force(config: SearchConfig, seed: int) -> None:
    model, n_words, max_len = Table(8, seed, end=2.0), 8, 4
    config = config.model_copy(update={"beam": 900, "max_len_ratio": 0.0, "max_len_extra": max_len})
    for src in (sentence(4, 5, 6), sentence(7)):
        scored = sorted(((score_of(model, src, config, y), y) for y in every_string(n_words, max_len)), reverse=True)
        best = search(model, src, config, n_best=5)[0]
        assert [h.ids for h in best] == [y for _, y in scored[:5]]
        assert [h.score for h in best] == pytest.approx([score for score, _ in scored[:5]], abs=1e-5)
        assert all(h.ended for h in best)


@pytest.mark.parametrize("model", [Table(20, 1, end=2.0), TinyGRU(20)], ids=["table", "gru"])
@pytest.mark.parametrize("config", FORMULAS[:4], ids=name)
def test_a_beam_of_one_is_greedy_search(model: Seq2Seq, config: SearchConfig) -> None:
    config = config.model_copy(update={"beam": 1})
    found = search(model, batch_of(SENTENCES), config)
    for ids, (best,) in zip(SENTENCES, found, strict=True):
        assert (best.ids, best.ended) == greedy(model, sentence(*ids), 2 * len(ids) + 10)


@pytest.mark.parametrize("beam", [1, 2, 5])
@pytest.mark.parametrize(
    ("model", "configs"), [(Table(30, 2, end=1.5), FORMULAS), (TinyGRU(30), FORMULAS[:4])], ids=["table", "gru"]
)
def test_a_sentence_alone_is_as_in_a_batch(model: Seq2Seq, configs: list[SearchConfig], beam: int) -> None:
    for config in configs:
        config = config.model_copy(update={"beam": beam})
        together = search(model, batch_of(SENTENCES), config, n_best=beam)
        for ids, found in zip(SENTENCES, together, strict=True):
            assert same(found, search(model, sentence(*ids), config, n_best=beam)[0])


@pytest.mark.parametrize("model", [Table(30, 3, end=1.0), TinyGRU(30)], ids=["table", "gru"])
def test_more_padding_changes_nothing(model: Seq2Seq) -> None:
    src = batch_of(SENTENCES)
    wide = torch.cat([src, torch.full((len(src), 9), PAD)], 1)
    config = SearchConfig()
    pairs = zip(search(model, src, config, n_best=5), search(model, wide, config, n_best=5), strict=True)
    assert all(same(a, b) for a, b in pairs)


def test_dropped_sentences_keep_their_order() -> None:
    model, config = Table(30, 4, end=1.0), SearchConfig(beam=3)
    src = batch_of(SENTENCES)
    order = torch.randperm(len(SENTENCES), generator=torch.Generator().manual_seed(1))
    straight, shuffled = search(model, src, config), search(model, src[order], config)
    lengths = {len(found[0].token_log_probs) for found in straight}
    assert len(lengths) > 2, "the sentences must not end together, or nothing is tested"
    assert all(same(shuffled[i], straight[int(j)]) for i, j in enumerate(order))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    beam=st.integers(1, 6),
    spread=st.sampled_from([0.5, 2.0, 6.0, 15.0]),
    end=st.sampled_from([-2.0, 0.0, 1.0, 4.0]),
    config=st.sampled_from(FORMULAS),
    data=st.data(),
)
def test_stopping_early_never_changes_the_result(
    seed: int, beam: int, spread: float, end: float, config: SearchConfig, data: st.DataObject
) -> None:
    n_best = data.draw(st.integers(1, beam))
    model = Table(9, seed, spread, end)
    config = config.model_copy(update={"beam": beam, "max_len_extra": 6})
    src = batch_of(SENTENCES[:5])
    early = search(model, src, config, n_best=n_best)
    with patch("nmt.search.books.Books.reachable", lambda self, total, max_len: np.full(len(total), np.inf)):
        late = search(model, src, config, n_best=n_best)
    for found, full in zip(early, late, strict=True):
        assert [(h.ids, h.score) for h in found] == [(h.ids, h.score) for h in full]


def test_unlikely_ends_do_not_crowd_out_the_likeliest_hypothesis() -> None:
    class Straight(Table):
        """Five words for sure, then the end; the end is always the second choice, but a bad one."""

        def step(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            step = super().step(*args, **kwargs)
            self.t = 0 if args[0][0] == BOS else self.t + 1
            features = torch.zeros_like(step.features)
            features[:, EOS] = 40.0 if self.t == 5 else 20.0
            features[:, 4] = 30.0
            return type(step)(features, step.state, step.weights)

    for beam in (1, 2, 3, 4):
        (found,) = search(Straight(9), sentence(4, 5, 6), SearchConfig(beam=beam))[0]
        assert found.ids == [4] * 5


def test_stopping_early_saves_steps() -> None:
    model, config = Table(9, 1, spread=3.0, end=6.0), SearchConfig(beam=5, max_len_extra=40)
    with patch.object(Table, "step", autospec=True, side_effect=Table.step) as step:
        search(model, sentence(4, 5, 6), config)
        assert step.call_count < 20


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    beam=st.integers(1, 6),
    config=st.sampled_from(FORMULAS),
    levels=st.sampled_from([3, 65536]),
)
def test_scores_are_those_of_the_ids_and_hypotheses_are_sorted_and_distinct(
    seed: int, beam: int, config: SearchConfig, levels: int
) -> None:
    model = Table(12, seed, end=1.0, levels=levels)
    config = config.model_copy(update={"beam": beam})
    for ids, found in zip(SENTENCES[:4], search(model, batch_of(SENTENCES[:4]), config, n_best=beam), strict=True):
        assert 1 <= len(found) <= beam
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        assert len({tuple(h.ids) for h in found}) == len(found)
        for h in found:
            assert h.score == pytest.approx(score_of(model, sentence(*ids), config, h.ids, h.ended), abs=1e-4)
            words = [*h.ids, EOS] if h.ended else h.ids
            assert len(h.token_log_probs) == len(words)
            for i, word in enumerate(words):
                right = float(log_probs_after(model, sentence(*ids), words[:i])[0][word])
                assert h.token_log_probs[i] == pytest.approx(right, abs=1e-4)
            assert not {PAD, BOS, EOS} & set(h.ids)


def test_pad_and_bos_are_never_emitted_however_likely() -> None:
    class Tempting(TinyGRU):
        def project(self, features: torch.Tensor) -> torch.Tensor:
            logits = super().project(features)
            logits[:, [PAD, BOS]] += 50.0
            return logits

    for (found,) in search(Tempting(12), batch_of(SENTENCES), SearchConfig(beam=4)):
        assert not {PAD, BOS, EOS} & set(found.ids)


def test_the_greatest_length_is_each_sentences_own() -> None:
    model, config = Table(9, 1, end=-100.0), SearchConfig(beam=3, max_len_ratio=1.5, max_len_extra=2)
    for ids, found in zip(SENTENCES, search(model, batch_of(SENTENCES), config, n_best=3), strict=True):
        assert len(found) == 3
        for h in found:
            assert not h.ended
            assert len(h.ids) == len(h.token_log_probs) == math.floor(1.5 * len(ids)) + 2


def test_the_least_length_is_each_sentences_own() -> None:
    model, config = Table(9, 1, end=100.0), SearchConfig(beam=3, min_len_ratio=0.7)
    for ids, (found,) in zip(SENTENCES, search(model, batch_of(SENTENCES), config), strict=True):
        assert found.ended
        assert len(found.ids) == math.ceil(0.7 * len(ids))


def test_the_least_length_gives_way_to_the_greatest() -> None:
    config = SearchConfig(beam=2, min_len_ratio=5.0, max_len_ratio=0.0, max_len_extra=3)
    (found,) = search(Table(9, 1, end=100.0), sentence(4, 5, 6), config)[0]
    assert found.ended
    assert len(found.ids) == 2


def test_a_greatest_length_of_nothing_is_one() -> None:
    (found,) = search(Table(9, 1), sentence(4), SearchConfig(max_len_ratio=0.0, max_len_extra=0))[0]
    assert len(found.token_log_probs) == 1


def test_cut_hypotheses_come_only_if_nothing_ended() -> None:
    config = SearchConfig(beam=4, max_len_extra=4)
    for seed in range(30):
        for found in search(Table(9, seed, end=-1.0), batch_of(SENTENCES), config, n_best=4):
            assert len({h.ended for h in found}) == 1


class Flat(Table):
    """Every word is as likely as every other, always."""

    def step(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        step = super().step(*args, **kwargs)
        return type(step)(torch.zeros_like(step.features), step.state, step.weights)


@pytest.mark.parametrize("n_words", [6, 40, 5000])
def test_of_equals_the_lower_hypothesis_and_the_lower_id_come_first(n_words: int) -> None:
    config = SearchConfig(beam=3, length_formula="none", min_len_ratio=3.0, max_len_extra=2, max_len_ratio=0.0)
    found = search(Flat(n_words), batch_of([[4, 5], [4, 5, 5, 5, 5, 6]]), config, n_best=3)
    # Words in order of id are UNK = 1, 4, 5, ...; at length 1 no end is allowed, at length 2 EOS = 3 ranks behind UNK.
    assert [h.ids for h in found[0]] == [[1]]
    assert [h.ids for h in found[1]] == [[1]]


@pytest.mark.parametrize("seed", range(5))
def test_ties_are_broken_as_in_an_exhaustive_sort(seed: int) -> None:
    K, n_words, max_len = 4, 300, 4
    model = Table(n_words, seed, levels=4, end=-100.0)  # four different logits for 300 words: equals at every edge
    src = sentence(4)
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(max_len):
        ranked = []
        for k, (total, ids) in enumerate(live):
            for word, log_prob in enumerate(log_probs_after(model, src, ids)[0].tolist()):
                if word not in (PAD, BOS, EOS):
                    ranked.append((-round(total + log_prob, 3), k, word, total + log_prob, [*ids, word]))
        live = [(total, ids) for *_, total, ids in sorted(ranked)[:K]]
    config = SearchConfig(beam=K, length_formula="none", max_len_ratio=0.0, max_len_extra=max_len)
    with patch("nmt.search.beam.choose", wraps=choose) as chose:
        found = search(model, src, config, n_best=K)[0]
    assert [h.ids for h in found] == [ids for _, ids in live]
    assert any(call.kwargs["exact"] for call in chose.call_args_list), "no tie at an edge: nothing was tested"


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), beam=st.integers(1, 5), end=st.floats(-2, 2), data=st.data())
def test_a_tie_that_is_not_told_makes_no_difference(seed: int, beam: int, end: float, data: st.DataObject) -> None:
    config = SearchConfig(beam=beam, width=data.draw(st.sampled_from(["narrowing", "constant"])))
    model, src = Table(data.draw(st.sampled_from([7, 9, 14, 200])), seed, end=end, levels=4), batch_of(SENTENCES[:5])
    found = search(model, src, config, n_best=beam)
    with patch("nmt.search.beam.choose", lambda *args, **kwargs: choose(*args, **(kwargs | {"exact": True}))):
        assert search(model, src, config, n_best=beam) == found


def test_alignment_is_the_attention_along_the_hypothesis() -> None:
    model = Table(12, 7, end=1.0)
    found = search(model, batch_of(SENTENCES), SearchConfig(beam=4), n_best=2, want_weights=True)
    for ids, best in zip(SENTENCES, found, strict=True):
        for h in best:
            expected = log_probs_after(model, sentence(*ids), h.ids if h.ended else h.ids[:-1])[1]
            assert h.alignment is not None
            assert h.alignment.shape == (len(h.token_log_probs), len(ids) + 1)
            torch.testing.assert_close(h.alignment, expected)


def test_a_model_without_attention_gives_no_alignment() -> None:
    assert search(TinyGRU(12), sentence(4), SearchConfig(), want_weights=True)[0][0].alignment is None


def test_coverage_of_a_model_without_attention_is_refused() -> None:
    with pytest.raises(UsageError, match="no attention"):
        search(TinyGRU(12), sentence(4), SearchConfig(coverage_penalty=0.2))


@pytest.mark.parametrize("n_best", [0, 6])
def test_more_translations_than_the_beam_are_refused(n_best: int) -> None:
    with pytest.raises(UsageError, match="n_best is"):
        search(TinyGRU(12), sentence(4), SearchConfig(beam=5), n_best=n_best)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_the_models_fault(bad: float) -> None:
    model = TinyGRU(12)
    with torch.no_grad():
        model.projection.bias[5] = bad
    with pytest.raises(ModelError, match="not finite"):
        search(model, sentence(4), SearchConfig())


def test_no_sentence_gives_no_translation() -> None:
    assert search(TinyGRU(12), torch.zeros(0, 3, dtype=torch.int64), SearchConfig()) == []


def test_dropout_is_off_and_the_mode_comes_back() -> None:
    model = TinyGRU(12).train()
    assert same(search(model, sentence(4), SearchConfig())[0], search(model, sentence(4), SearchConfig())[0])
    assert model.training
