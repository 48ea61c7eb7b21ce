"""What a search on a CPU uses in place of plain torch (matrices made ready, compiled functions), with every kind of
model.
"""

from unittest.mock import patch

import pytest
import torch

from nmt.batch import EOS, pad_rows
from nmt.ops.native import library
from nmt.ops.ready import Precision, Ready
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.search.hypothesis import Hypothesis
from tests.properties.kinds import PAIRS, VARIANTS, build

of_every_model = pytest.mark.parametrize("name", VARIANTS)
INT8 = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this processor has no fast int8")
SOURCES = [[*src, EOS] for src, _ in PAIRS]


def found(ready: Ready | None, model: torch.nn.Module, sources: list[list[int]], beam: int) -> list[list[Hypothesis]]:
    config = SearchConfig(beam=beam, max_len_ratio=1.0, max_len_extra=6)
    if ready is None:
        return search(model, pad_rows(sources), config, n_best=min(2, beam))  # pyright: ignore[reportArgumentType]
    with ready.using():
        return search(model, pad_rows(sources), config, n_best=min(2, beam))  # pyright: ignore[reportArgumentType]


def assert_alike(some: list[list[Hypothesis]], others: list[list[Hypothesis]], tolerance: float) -> None:
    assert [[h.ids for h in row] for row in some] == [[h.ids for h in row] for row in others]
    for row, other in zip(some, others, strict=True):
        for h, g in zip(row, other, strict=True):
            assert h.token_log_probs == pytest.approx(g.token_log_probs, abs=tolerance)


@of_every_model
@pytest.mark.parametrize("beam", [1, 3])
def test_in_float32_it_finds_what_plain_torch_finds(name: str, beam: int) -> None:
    if (reason := library()[1]) != "":
        pytest.skip(reason)
    model = build(VARIANTS[name], torch.float32)
    for plain in (True, False):
        assert_alike(
            found(Ready(model, "float32", plain), model, SOURCES, beam), found(None, model, SOURCES, beam), 1e-4
        )


@INT8
@of_every_model
@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_neighbours_change_nothing(name: str, beam: int, precision: Precision) -> None:
    model = build(VARIANTS[name], torch.float32)
    ready = Ready(model, precision)
    together = found(ready, model, SOURCES, beam)
    alone = [found(ready, model, [source], beam)[0] for source in SOURCES]
    assert_alike(together, alone, 1e-5)


@INT8
@of_every_model
@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_sentences_that_are_done_may_leave_or_stay(name: str, beam: int, precision: Precision) -> None:
    model = build(VARIANTS[name], torch.float32)
    ready, sources = Ready(model, precision), SOURCES * 3
    usual = found(ready, model, sources, beam)
    for leaving in (lambda n: n, lambda n: 1_000_000):  # at once, never
        with patch("nmt.search.beam.round_up", leaving):
            assert_alike(found(ready, model, sources, beam), usual, 1e-5)
