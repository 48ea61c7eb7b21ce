"""Shortlists with every kind of model: all pieces listed change nothing, and neither do neighbours."""

import numpy as np
import pytest
import torch

from nmt.batch import EOS, pad_rows
from nmt.models.contract import Seq2Seq
from nmt.ops.ready import Precision, Ready
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.search.hypothesis import Hypothesis
from nmt.search.shortlist import Shortlist
from tests.properties.kinds import N_TGT, PAIRS, VARIANTS, build

of_every_model = pytest.mark.parametrize("name", VARIANTS)
INT8 = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this processor has no fast int8")
in_every_precision = pytest.mark.parametrize("precision", ["float32", pytest.param("int8", marks=INT8)])
SOURCES = [[*src, EOS] for src, _ in PAIRS]
LISTS = [[0, 1, 2, 3, *range(4 + i % 3, N_TGT, 2 + i % 2)] for i in range(len(SOURCES))]


def found(
    ready: Ready, model: Seq2Seq, sources: list[list[int]], lists: list[list[int]] | None, beam: int
) -> list[list[Hypothesis]]:
    config = SearchConfig(beam=beam, max_len_ratio=1.0, max_len_extra=6)
    listed = None if lists is None else Shortlist.of([np.array(pieces) for pieces in lists], N_TGT)
    with ready.using():
        return search(model, pad_rows(sources), config, n_best=min(2, beam), shortlist=listed)


def assert_alike(some: list[list[Hypothesis]], others: list[list[Hypothesis]], tolerance: float) -> None:
    assert [[h.ids for h in row] for row in some] == [[h.ids for h in row] for row in others]
    for row, other in zip(some, others, strict=True):
        for h, g in zip(row, other, strict=True):
            assert h.token_log_probs == pytest.approx(g.token_log_probs, abs=tolerance)


@of_every_model
@in_every_precision
def test_a_list_of_all_pieces_changes_nothing_and_neither_do_neighbours(name: str, precision: Precision) -> None:
    model = build(VARIANTS[name], torch.float32)
    ready = Ready(model, precision)
    whole = found(ready, model, SOURCES, [[*range(N_TGT)]] * len(SOURCES), 3)
    assert_alike(whole, found(ready, model, SOURCES, None, 3), 1e-4)
    together = found(ready, model, SOURCES, LISTS, 3)
    alone = [found(ready, model, [src], [own], 3)[0] for src, own in zip(SOURCES, LISTS, strict=True)]
    assert_alike(together, alone, 1e-5)
    for row, own in zip(together, LISTS, strict=True):
        assert {piece for h in row for piece in h.ids} <= set(own)
