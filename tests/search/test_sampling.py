import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.batch import BOS, EOS, PAD, pad_rows
from nmt.errors import ModelError, UsageError
from nmt.models.contract import Seq2Seq
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.search.ensemble import Ensemble
from nmt.search.hypothesis import Hypothesis
from nmt.search.sampling import Sampling, draw, sample, uniforms
from tests.search.standins import Table, TinyGRU, log_probs_after, score_of, sentence

SENTENCES = [[4, 5], [6], [7, 4, 5, 6, 4, 4], [5, 5, 5], [4], [6, 7, 4], [4, 4, 4, 4, 4, 4, 4, 4], [7]]
KEYS = [(i, 0) for i in range(len(SENTENCES))]
MODELS = [Table(20, 1, spread=3.0), TinyGRU(20), Ensemble([Table(20, 5), TinyGRU(20)])]
CONFIG = SearchConfig(beam=1)


def rows(sentences: list[list[int]]) -> torch.Tensor:
    return pad_rows(sentences, eos=True)


def same(a: list[Hypothesis], b: list[Hypothesis]) -> bool:
    return [(h.ids, h.ended) for h in a] == [(h.ids, h.ended) for h in b] and all(
        abs(x.score - y.score) < 1e-5 for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("model", MODELS, ids=["table", "gru", "ensemble"])
@pytest.mark.parametrize("how", [Sampling(), Sampling(top_k=3, seed=5), Sampling(temperature=0.7, top_p=0.8)])
def test_neighbours_order_and_the_number_of_samples_change_no_sample(model: Seq2Seq, how: Sampling) -> None:
    together = sample(model, rows(SENTENCES), CONFIG, how, KEYS, n=3)
    order = [5, 2, 7, 0, 1, 6, 4, 3]
    shuffled = sample(model, rows([SENTENCES[i] for i in order]), CONFIG, how, [KEYS[i] for i in order], n=3)
    assert all(same(shuffled[j], together[i]) for j, i in enumerate(order))
    for ids, key, found in zip(SENTENCES, KEYS, together, strict=True):
        assert same(found[:1], sample(model, sentence(*ids), CONFIG, how, [key])[0])
        assert same(found, sample(model, sentence(*ids), CONFIG, how, [key], n=3)[0])
    assert len({tuple(h.ids) for found in together for h in found}) > 12, "the samples must differ"


def test_seed_and_key_decide() -> None:
    def ids(seed: int, key: tuple[int, ...]) -> list[list[int]]:
        return [h.ids for h in sample(MODELS[0], sentence(4, 5, 6), CONFIG, Sampling(seed=seed), [key], n=4)[0]]

    assert ids(1, (3, 0)) == ids(1, (3, 0))
    assert len({str(ids(seed, key)) for seed in (0, 1) for key in ((3, 0), (4, 0), (3, 1))}) == 6


@pytest.mark.parametrize("how", [Sampling(top_k=1), Sampling(top_p=1e-9), Sampling(temperature=1e-4)])
def test_drawing_from_one_piece_is_greedy_search(how: Sampling) -> None:
    for model in MODELS:
        greedy = search(model, rows(SENTENCES), CONFIG)
        drawn = sample(model, rows(SENTENCES), CONFIG, how, KEYS)
        assert all(same(a, b) for a, b in zip(greedy, drawn, strict=True))


@pytest.mark.parametrize("how", [Sampling(), Sampling(temperature=0.5, top_k=4), Sampling(top_p=0.7, top_k=6)])
def test_pieces_come_as_often_as_their_probabilities_say(how: Sampling) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(10, generator=generator) * 1.5
    n = 20_000
    uniform = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    found = draw(logits.expand(1, n, 10), torch.tensor([True]), uniform[None], how)[0].bincount(minlength=10) / n

    # The definition, written out: forbid, sharpen, the k likeliest, the fewest of them that have p together.
    p = {i: math.exp(float(x) / how.temperature) for i, x in enumerate(logits) if i not in (PAD, BOS)}
    kept = sorted(p, key=lambda i: -p[i])[: how.top_k or None]
    share = {i: p[i] / sum(p[j] for j in kept) for i in kept}
    while sum(share[i] for i in kept[:-1]) >= how.top_p:
        kept.pop()
    expected = [p[i] / sum(p[j] for j in kept) if i in kept else 0.0 for i in range(10)]
    assert found.tolist() == pytest.approx(expected, abs=2 / n)
    assert len(kept) < 8 or how == Sampling()


def test_of_equal_pieces_the_lower_ids_are_kept() -> None:
    uniform = torch.linspace(0.0, 0.999, 50, dtype=torch.float64)[None]
    logits = torch.zeros(1, 50, 9)
    assert set(draw(logits, torch.tensor([True]), uniform, Sampling(top_k=3))[0].tolist()) == {1, EOS, 4}
    assert set(draw(logits, torch.tensor([False]), uniform, Sampling(top_k=3))[0].tolist()) == {1, 4, 5}


@pytest.mark.parametrize("edge", [0.0, 1.0 - 2**-53])
def test_the_ends_of_the_unit_interval_pick_pieces_that_may_come(edge: float) -> None:
    logits = torch.tensor([5.0, -80.0, 5.0, 5.0, 0.1, 0.2, 0.3, -torch.inf])
    found = draw(logits.expand(1, 1, 8), torch.tensor([False]), torch.full((1, 1), edge).double(), Sampling(top_k=3))
    assert int(found) == (4 if edge == 0.0 else 6)


def test_where_every_piece_is_forbidden_none_is_drawn() -> None:
    logits = torch.full((1, 1, 6), -torch.inf)
    assert int(draw(logits, torch.tensor([True]), torch.tensor([[0.5]]).double(), Sampling())) == PAD


def test_streams_are_uniform_and_their_beginnings_do_not_depend_on_their_lengths() -> None:
    long = uniforms(7, [(i, 0) for i in range(300)], 2, 20)
    assert np.array_equal(uniforms(7, [(5, 0)], 1, 8)[0, 0], long[5, 0, :8])
    assert abs(long.mean() - 0.5) < 0.01
    assert abs((long**2).mean() - 1 / 3) < 0.01
    assert len(np.unique(long)) == long.size


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    config=st.sampled_from([SearchConfig(), SearchConfig(coverage_penalty=0.4), SearchConfig(length_formula="none")]),
    least=st.sampled_from([0.0, 0.9]),
)
def test_scores_are_those_of_the_ids(seed: int, config: SearchConfig, least: float) -> None:
    model = Table(12, seed, end=1.0, spread=3.0)
    config = config.model_copy(update={"min_len_ratio": least, "max_len_extra": 1})
    found = sample(model, rows(SENTENCES[:4]), config, Sampling(2.0, seed=seed), KEYS[:4], n=3, want_weights=True)
    for ids, samples in zip(SENTENCES[:4], found, strict=True):
        for h in samples:
            assert h.score == pytest.approx(score_of(model, sentence(*ids), config, h.ids, h.ended), abs=1e-4)
            assert math.ceil(least * len(ids)) <= len(h.ids) <= 2 * len(ids) + 1
            assert len(h.token_log_probs) == len(h.ids) + h.ended
            assert not {PAD, BOS, EOS} & set(h.ids)
            words = h.ids if h.ended else h.ids[:-1]
            assert h.alignment is not None
            torch.testing.assert_close(h.alignment, log_probs_after(model, sentence(*ids), words)[1])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"temperature": 0.0}, "--temperature is 0: it must be above 0"),
        ({"temperature": math.nan}, "--temperature is nan"),
        ({"top_k": -1}, "--top-k is -1: it must be at least 1"),
        ({"top_p": 0.0}, "--top-p is 0: it must be above 0 and at most 1"),
        ({"top_p": 1.5}, "--top-p is 1.5"),
        ({"seed": -3}, "--seed is -3: it must be at least 0"),
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Sampling(**values)  # pyright: ignore[reportArgumentType]


def test_logits_that_are_not_finite_are_the_models_fault() -> None:
    model = TinyGRU(12)
    with torch.no_grad():
        model.projection.bias[5] = math.nan
    with pytest.raises(ModelError, match="not finite"):
        sample(model, sentence(4), CONFIG, Sampling(), [(1, 0)])


def test_no_sentence_gives_no_translation() -> None:
    assert sample(TinyGRU(12), torch.zeros(0, 3, dtype=torch.int64), CONFIG, Sampling(), []) == []
