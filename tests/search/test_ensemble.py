import math

import pytest
import torch

from nmt.batch import PAD, pad_rows
from nmt.models.contract import Seq2Seq
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.search.ensemble import Ensemble, log_mean_exp
from tests.properties.kinds import CONFIGS, N_TGT, PAIRS, build, tiny
from tests.search.standins import Table, TinyGRU, every_string, log_probs_after, score_of, sentence

KINDS = [tiny(config) for config in CONFIGS]


def test_the_mean_is_that_of_probabilities() -> None:
    p, q = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.1, 0.9, 0.0]])
    expected = torch.tensor([[0.3, 0.575, 0.125]]).log()
    torch.testing.assert_close(log_mean_exp(torch.stack([p.log(), q.log()])), expected)
    assert torch.equal(log_mean_exp(torch.stack([p.log()] * 3)), p.log())
    assert math.isinf(float(log_mean_exp(torch.stack([q.log()] * 2))[0, 2]))
    tiny = torch.tensor([[-200.0], [-201.0]])  # exp of it is 0 in float32
    assert float(log_mean_exp(tiny)) == pytest.approx(-200.0 + math.log((1 + math.exp(-1)) / 2))


def test_a_step_is_the_mean_of_the_members_steps() -> None:
    members: list[Seq2Seq] = [Table(12, 1, end=1.0), TinyGRU(12), Table(12, 2)]
    src, ids = sentence(4, 5, 6), [7, 8]
    found, attention = log_probs_after(Ensemble(members), src, ids)
    alone = [log_probs_after(member, src, ids) for member in members]
    torch.testing.assert_close(found.exp(), torch.stack([p for p, _ in alone]).exp().mean(0), atol=1e-6, rtol=0)
    assert attention is not None
    # The GRU looks at nothing, so it has no say in where the ensemble looks.
    torch.testing.assert_close(attention, torch.stack([w for _, w in alone if w is not None]).mean(0))


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_as_wide_as_the_space_is_brute_force(seed: int) -> None:
    model = Ensemble([Table(8, seed, end=2.0), TinyGRU(8, seed=seed), Table(8, seed + 100, end=1.0)])
    config = SearchConfig(beam=900, max_len_ratio=0.0, max_len_extra=4, length_penalty=0.6)
    src = sentence(4, 5, 6)
    scored = sorted(((score_of(model, src, config, y), y) for y in every_string(8, 4)), reverse=True)
    best = search(model, src, config, n_best=5)[0]
    assert [h.ids for h in best] == [y for _, y in scored[:5]]
    assert [h.score for h in best] == pytest.approx([score for score, _ in scored[:5]], abs=1e-5)


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
def test_one_model_several_times_is_the_model_alone(config: object) -> None:
    model = build(config, torch.float32)
    src = pad_rows([src for src, _ in PAIRS], eos=True)
    how = SearchConfig(beam=4, max_len_ratio=1.0, max_len_extra=3)
    alone = search(model, src, how, n_best=2, want_weights=True)
    for n in (2, 3):
        together = search(Ensemble([model] * n), src, how, n_best=2, want_weights=True)
        for one, two in zip(alone, together, strict=True):
            assert [(h.ids, h.ended) for h in one] == [(h.ids, h.ended) for h in two]
            assert [h.score for h in one] == pytest.approx([h.score for h in two], abs=1e-5)
            for a, b in zip(one, two, strict=True):
                assert (a.alignment is None) == (b.alignment is None)
                if a.alignment is not None and b.alignment is not None:
                    torch.testing.assert_close(a.alignment, b.alignment)


def test_all_kinds_together_find_what_each_sentence_alone_finds() -> None:
    model = Ensemble([build(config, torch.float32) for config in KINDS])
    rows = [src for src, _ in PAIRS]
    how = SearchConfig(beam=3, max_len_ratio=1.0, max_len_extra=3)
    together = search(model, pad_rows(rows, eos=True), how)
    assert model.encode(pad_rows(rows, eos=True), pad_rows(rows, eos=True) != PAD).keep.shape[0] == len(rows)
    for row, (found,) in zip(rows, together, strict=True):
        (alone,) = search(model, pad_rows([row], eos=True), how)[0]
        assert found.ids == alone.ids
        assert found.score == pytest.approx(alone.score, abs=1e-5)
        assert max(found.ids, default=0) < N_TGT
