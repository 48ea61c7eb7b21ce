"""Every model searches on boards of fixed shape as it does without, and a step there asks the device for no number."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
import torch

from nmt.batch import EOS, pad_rows
from nmt.models.build import build_model
from nmt.models.meta import on_meta
from nmt.recipe import SearchConfig
from nmt.search import device
from nmt.search.beam import search
from nmt.search.board import Board, advance
from nmt.search.books import Books
from nmt.search.device import DeviceSearch
from nmt.search.ensemble import Ensemble
from nmt.search.hypothesis import Hypothesis
from nmt.search.stepper import at_rest, count_source
from tests.properties.kinds import N_TGT, VARIANTS, build
from tests.properties.test_no_waiting import Asked, Elsewhere, asked_by
from tests.search.test_device import assert_same, rehearsed

SRC = pad_rows([[*ids, EOS] for ids in ([5, 6, 7], [8], [9, 4, 10, 6, 7, 8, 9], [], [4, 4])])


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Nothing is left to the ordinary search, which would find the same whatever happened before."""
    with patch("nmt.search.device.search", side_effect=AssertionError("left to the ordinary search")):
        yield


of_every_model = pytest.mark.parametrize("name", VARIANTS)
with_beams = pytest.mark.parametrize(
    ("name", "beam"), [*((name, 3) for name in VARIANTS), *((name, 1) for name in VARIANTS if "," not in name)]
)


@with_beams
def test_every_model_finds_the_same(name: str, beam: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the first board's room; twice, so that boards that were written on are used again."""
    monkeypatch.setattr(device, "_FEWEST_STEPS", 8)
    monkeypatch.setattr(device, "_WORTH", 1)
    model, config = build(VARIANTS[name]), SearchConfig(beam=beam, min_len_ratio=2.0)
    kept, wanted = DeviceSearch(model, rehearsed), search(model, SRC, config, n_best=beam)
    for _ in range(2):
        assert_same(kept.search(SRC, config, n_best=beam), wanted)
    assert any(lane.board.shape[3] > 8 for lane in kept._kept.values())


def board_of(name: str, beam: int) -> tuple[Board, partial[None]]:
    """One that was opened, and what takes it on."""
    model, config = build(VARIANTS[name], torch.float32), SearchConfig(beam=beam)
    books = Books(config, 1, *count_source(SRC), count_source(SRC)[0] * 0)
    opening = device._opening(model, SRC, books, None, False, False)
    board = opening.like_it(32)
    board.take(opening, torch.ones(33))
    return board, partial(advance, model, board, wide=False, enough=1)


@with_beams
def test_a_step_asks_for_no_number(name: str, beam: int) -> None:
    with at_rest(build(VARIANTS[name])):
        board, step = board_of(name, beam)
        step()
        assert asked_by(step) == []
        assert board.t.tolist() == [2]


@of_every_model
def test_a_step_makes_nothing_on_the_host(name: str) -> None:
    """No tensor of it lies elsewhere than the model's, which would be a transfer that no recording may have."""
    with on_meta():
        model = build_model(VARIANTS[name], N_TGT, N_TGT).eval()
    model.compute_dtype = torch.bfloat16
    config = SearchConfig(beam=3)
    books = Books(config, 1, *count_source(SRC), count_source(SRC)[0] * 0)
    prefix = torch.ones((len(SRC), 2), dtype=torch.int64, device="meta")
    for looking in (False, True):
        with torch.no_grad(), model.settled():
            opening = device._opening(model, SRC.to("meta"), books, prefix, looking, False)
            board = opening.like_it(32)
            with Elsewhere():
                advance(model, board, wide=looking, enough=1)


def test_what_is_made_on_the_host_is_seen() -> None:
    with pytest.raises(AssertionError, match="on cpu"), Elsewhere():
        torch.arange(3)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["bahdanau", "convs2s", "gnmt", "modern", "transformer"])
@pytest.mark.parametrize("beam", [1, 3])
def test_recorded_on_a_gpu_it_finds_the_same(name: str, beam: int) -> None:
    model, src = build(VARIANTS[name]).to("cuda"), SRC.to("cuda")
    config, kept = SearchConfig(beam=beam, max_len_extra=30), DeviceSearch.on(model, src.device)
    wanted = search(model, src, config, n_best=beam)
    for _ in range(3):
        assert_same(kept.search(src, config, n_best=beam), wanted)
    assert kept.why_eager == ""


def test_a_whole_search_asks_now_and_then() -> None:
    """For lengths, who is done, and once for what was found: of a step that asked there would be one more a step."""
    model, config = build(VARIANTS["transformer"]), SearchConfig(beam=3, min_len_ratio=8.0, max_len_extra=60)
    asked, numpy, found = list[int](), torch.Tensor.numpy, list[list[Hypothesis]]()

    def counted(tensor: torch.Tensor) -> Any:
        asked.append(tensor.numel())
        return numpy(tensor)

    with patch.object(torch.Tensor, "numpy", counted), Asked() as operations:
        found = DeviceSearch(model, None).search(SRC, config)
    steps = max(len(best[0].token_log_probs) for best in found)
    assert steps >= 56
    assert operations.names == []
    assert len(asked) <= 2 + steps / device._EVERY


@pytest.mark.parametrize("name", ["transformer", "modern", "modern, attention: strided"])
def test_what_was_no_number_in_one_batch_does_not_stay_for_the_next(name: str) -> None:
    model, config = build(VARIANTS[name]), SearchConfig(beam=2, max_len_extra=6)
    kept, wanted = DeviceSearch(model, rehearsed), search(model, SRC, config)
    assert_same(kept.search(SRC, config), wanted)
    sound = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(AssertionError, match="left to the ordinary search"):
        kept.search(SRC, config)
    model.load_state_dict(sound)
    assert_same(kept.search(SRC, config), wanted)


@pytest.mark.parametrize("name", ["bahdanau", "cho", "convs2s", "gnmt", "luong", "modern", "rnn", "transformer"])
def test_in_bfloat16_parameters_are_cast_once_and_it_finds_the_same(name: str) -> None:
    """The same to the bit as with casts of its own at every step."""
    model, config = build(VARIANTS[name], torch.float32), SearchConfig(beam=1, max_len_extra=4)
    model.compute_dtype = torch.bfloat16
    with patch("nmt.search.device.search", wraps=search):
        once, each = (DeviceSearch(model, record).search(SRC, config) for record in (rehearsed, None))
    assert once == each


def test_an_ensemble_finds_the_same() -> None:
    model = Ensemble([build(VARIANTS[name], n_tgt=13) for name in ("transformer", "bahdanau", "modern")])
    config = SearchConfig(beam=3)
    assert_same(DeviceSearch(model, None).search(SRC, config, n_best=2), search(model, SRC, config, n_best=2))
