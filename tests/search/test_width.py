"""width: constant, beside a search that is written out word for word as transformers describes its own."""

import math

import pytest
import torch

from nmt.batch import BOS, EOS, PAD, pad_rows
from nmt.models.contract import Seq2Seq
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from tests.search.standins import Table, TinyGRU, every_string, log_probs_after, score_of, sentence

SENTENCES = [[4, 5], [6], [7, 4, 5, 6, 4, 4], [5, 5, 5], [4], [6, 7, 4]]
MODELS = [Table(30, 2, end=1.5), Table(12, 5, end=2.5), TinyGRU(30)]


def written_out(
    model: Seq2Seq, src: torch.Tensor, K: int, penalty: float, max_len: int
) -> list[tuple[list[int], float]]:
    """Of 2 K candidates those among the K best that end go to a pool of K, and K that do not live on; it ends when the
    pool is full and its worst is no worse than the best live one, both divided by length ** penalty.
    """
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    pool: list[tuple[float, list[int]]] = []
    for t in range(1, max_len + 1):
        candidates = []
        for total, ids in live:
            log_probs = log_probs_after(model, src, ids)[0]
            log_probs[[PAD, BOS]] = -math.inf
            candidates += [(total + float(log_probs[word]), ids, word) for word in range(len(log_probs))]
        candidates = sorted(candidates, key=lambda c: -c[0])[: 2 * K]
        pool += [(total / t**penalty, ids) for total, ids, word in candidates[:K] if word == EOS]
        pool = sorted(pool, key=lambda p: -p[0])[:K]
        live = [(total, [*ids, word]) for total, ids, word in candidates if word != EOS][:K]
        if len(pool) == K and pool[-1][0] >= live[0][0] / t**penalty:
            break
    return [(ids, score) for score, ids in pool]


@pytest.mark.parametrize("K", [2, 3, 5])
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("model", MODELS, ids=["table", "short", "gru"])
def test_it_is_the_search_written_out(model: Seq2Seq, penalty: float, K: int) -> None:
    fixed = {"length_formula": "average", "length_penalty": penalty, "max_len_ratio": 0.0, "max_len_extra": 12}
    config = SearchConfig(beam=K, width="constant", **fixed)
    found = search(model, pad_rows([[*ids, EOS] for ids in SENTENCES]), config, n_best=K)
    full = 0
    for ids, best in zip(SENTENCES, found, strict=True):
        truth = written_out(model, sentence(*ids), K, penalty, 12)
        if not truth:
            assert not best[0].ended
            continue
        full += len(truth) == K
        assert [h.ids for h in best] == [ids for ids, _ in truth]
        assert [h.score for h in best] == pytest.approx([score for _, score in truth], abs=1e-5)
    assert full >= 1


@pytest.mark.parametrize("model", MODELS, ids=["table", "short", "gru"])
def test_a_sentence_alone_is_as_in_a_batch_and_one_is_greedy(model: Seq2Seq) -> None:
    config = SearchConfig(beam=4, width="constant", length_formula="average", length_penalty=1.0)
    together = search(model, pad_rows([[*ids, EOS] for ids in SENTENCES]), config, n_best=2)
    alone = [search(model, sentence(*ids), config, n_best=2)[0] for ids in SENTENCES]
    assert [[h.ids for h in row] for row in together] == [[h.ids for h in row] for row in alone]
    one, greedy = (config.model_copy(update={"beam": 1, "width": width}) for width in ("constant", "narrowing"))
    for ids in SENTENCES:
        assert search(model, sentence(*ids), one) == search(model, sentence(*ids), greedy)


def test_a_beam_as_wide_as_the_space_is_brute_force() -> None:
    model = Table(8, 1, end=2.0)
    config = SearchConfig(
        beam=900, width="constant", length_formula="average", length_penalty=1.0, max_len_ratio=0.0, max_len_extra=4
    )
    scored = sorted(((score_of(model, sentence(4, 5), config, y), y) for y in every_string(8, 4)), reverse=True)
    best = search(model, sentence(4, 5), config, n_best=5)[0]
    assert [h.ids for h in best] == [y for _, y in scored[:5]]


def test_it_finds_what_a_beam_that_narrows_has_lost() -> None:
    """Otherwise nothing here could tell the two apart."""
    differ = 0
    for seed in range(20):
        model = Table(30, seed, end=2.5)
        found = [
            search(model, sentence(4, 5, 6), SearchConfig(beam=3, width=width), n_best=3)[0]
            for width in ("constant", "narrowing")
        ]
        differ += [h.ids for h in found[0]] != [h.ids for h in found[1]]
    assert differ >= 5
