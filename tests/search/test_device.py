"""The search that stays on the device finds what the ordinary one finds; here on a CPU, where steps run one by one."""

import math
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.batch import BOS, EOS, pad_rows
from nmt.errors import ModelError, UsageError
from nmt.models.contract import Seq2Seq
from nmt.ops.graph import Work
from nmt.recipe import SearchConfig
from nmt.search import device
from nmt.search.beam import search
from nmt.search.board import Board, _rewrite
from nmt.search.device import DeviceSearch, search_on_device
from nmt.search.hypothesis import Hypothesis
from nmt.search.shortlist import Shortlist
from tests.search.standins import Table, TinyGRU, sentence

SENTENCES = [[4, 5], [6], [7, 4, 5, 6, 4, 4], [5, 5, 5], [4], [6, 7, 4], [4, 4, 4, 4, 4, 4, 4, 4], [7]]


def batch_of(sentences: list[list[int]]) -> torch.Tensor:
    return pad_rows([[*ids, EOS] for ids in sentences])


def assert_same(found: list[list[Hypothesis]], wanted: list[list[Hypothesis]]) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        assert [(h.ids, h.ended) for h in ours] == [(h.ids, h.ended) for h in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-5)
            assert a.token_log_probs == pytest.approx(b.token_log_probs, abs=1e-5)
            assert (a.alignment is None) == (b.alignment is None)
            if a.alignment is not None and b.alignment is not None:
                torch.testing.assert_close(a.alignment, b.alignment)


def rehearsed(work: Work) -> Work:
    """Does the work before it is needed, as who records it must, and records nothing."""
    work()
    work()
    return work


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_it_is_the_ordinary_search(data: st.DataObject) -> None:
    beam = data.draw(st.integers(1, 6))
    config = SearchConfig(
        beam=beam,
        width=data.draw(st.sampled_from(["narrowing", "constant"])),
        length_formula=data.draw(st.sampled_from(["none", "gnmt", "average"])),
        length_penalty=data.draw(st.sampled_from([0.4, 1.0, 2.5])),
        coverage_penalty=data.draw(st.sampled_from([0.0, 0.3])),
        min_len_ratio=data.draw(st.sampled_from([0.0, 0.7, 3.0])),
        max_len_extra=data.draw(st.sampled_from([0, 5, 40])),
    )
    levels = data.draw(st.sampled_from([3, 65536]))  # of the logits: with three, most are equal to others
    end, words = data.draw(st.sampled_from([-100.0, -1.0, 1.0, 4.0])), data.draw(st.sampled_from([6, 40]))
    model = Table(words, data.draw(st.integers(0, 10**6)), end=end, levels=levels)
    asked: dict[str, Any] = {"n_best": data.draw(st.integers(1, beam)), "want_weights": data.draw(st.booleans())}
    if data.draw(st.booleans()):
        asked["prefix"] = pad_rows([[5], [], [4, 5, 5], *([[]] * 5)])
    src = batch_of(SENTENCES)
    assert_same(search_on_device(model, src, config, **asked), search(model, src, config, **asked))


def test_a_greatest_length_of_one_and_a_prefix_longer_than_the_first_board() -> None:
    model, src = Table(9, 1), batch_of(SENTENCES[:2])
    short = SearchConfig(max_len_ratio=0.0, max_len_extra=0)
    assert_same(search_on_device(model, src, short), search(model, src, short))
    prefix = pad_rows([[4, 5] * 20, [6]])
    assert prefix.shape[1] > device._FEWEST_STEPS
    found = search_on_device(model, src, SearchConfig(), prefix=prefix)
    assert found[0][0].ids[:40] == [4, 5] * 20
    assert_same(found, search(model, src, SearchConfig(), prefix=prefix))


@pytest.mark.parametrize("n", [1, 3, 5, 17, 40])
def test_sentences_that_are_done_leave_and_boards_are_few(n: int) -> None:
    model, config = Table(30, 2, end=1.0), SearchConfig(beam=3)
    sentences = [[4 + i % 3] * (1 + i % 9) for i in range(n)]
    shapes = list[tuple[int, ...]]()

    def noted(board: Board, other: Board, divisors: torch.Tensor) -> None:
        shapes.append(board.shape)
        take(board, other, divisors)

    take = Board.take
    with patch.object(Board, "take", noted):
        found = search_on_device(model, batch_of(sentences), config, n_best=3)
    assert_same(found, search(model, batch_of(sentences), config, n_best=3))
    assert shapes[0][0] == next(size for size in device._SENTENCES if size >= n)
    assert all(after[0] < before[0] for before, after in pairwise(shapes))
    assert n < 17 or len(shapes) > 1


def test_positions_are_rounded_up_to_powers_of_two() -> None:
    assert [device._positions(n) for n in (1, 16, 17, 33, 100)] == [16, 16, 32, 64, 128]


def test_sentences_beyond_the_largest_board_are_rounded_up_too() -> None:
    assert [device._sentences(n) for n in (1, 2, 16, 17, 1024, 1025, 3000)] == [1, 4, 16, 32, 1024, 2048, 3072]


@pytest.mark.parametrize("model", [Table(20, 1, end=1.0), TinyGRU(20)], ids=["table", "gru"])
def test_boards_that_are_kept_serve_other_batches(model: Seq2Seq, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_WORTH", 1)
    kept, config = DeviceSearch(model, rehearsed), SearchConfig(beam=3, max_len_extra=40)
    batches = [SENTENCES, [*SENTENCES[::-1], [5]], SENTENCES[:1], [[6, 6], *SENTENCES]]
    for number, sentences in enumerate(batches):
        src = batch_of(sentences)
        assert_same(kept.search(src, config, n_best=2), search(model, src, config, n_best=2))
        boards = len(kept._kept)
        assert_same(kept.search(src, config, n_best=2), search(model, src, config, n_best=2))
        assert len(kept._kept) == boards
        # Other lengths and penalties are numbers on the same boards.
        other = config.model_copy(update={"length_penalty": 1.5, "min_len_ratio": 0.5, "max_len_extra": 30})
        assert_same(kept.search(src, other, n_best=2), search(model, src, other, n_best=2))
        assert number == 0 or len(kept._kept) <= boards + 1
    assert kept.why_eager == ""


def test_boards_that_were_not_used_for_longest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    model, kept = Table(20, 1, end=1.0), DeviceSearch(Table(20, 1, end=1.0), rehearsed)
    beams = [SearchConfig(beam=beam) for beam in (2, 3, 4)]
    for config in beams[:2]:
        kept.search(batch_of(SENTENCES), config)
    size = sum(lane.board.size for lane in kept._kept.values())
    monkeypatch.setattr(device, "_memory_for_boards", lambda _: size)
    for config in (beams[0], beams[2]):
        assert_same(kept.search(batch_of(SENTENCES), config), search(model, batch_of(SENTENCES), config))
    assert [key[1] for key in kept._kept] == [4], "a board of four is more than one of three"
    monkeypatch.setattr(device, "_memory_for_boards", lambda _: 0)
    assert_same(kept.search(batch_of(SENTENCES), beams[0]), search(model, batch_of(SENTENCES), beams[0]))
    assert [key[1] for key in kept._kept] == [2]


def test_a_look_is_at_what_the_device_knew_a_few_steps_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, the event and the pinned memory stood in for."""
    happened, empty = list[str](), torch.empty

    class Event:
        def record(self) -> None:
            happened.append("copied")

        def synchronize(self) -> None:
            happened.append("waited")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch, "empty", lambda *args, pin_memory=False, **kwargs: empty(*args, **kwargs))
    watch, done = device._Watch(torch.device("cuda")), torch.zeros(3, dtype=torch.bool)
    looks = []
    for t in range(1, 11):
        done[0], done[1] = t >= 4, t >= 5
        happened.append(str(t))
        looks.append(watch.after(t, done))
    assert happened == ["1", "2", "3", "4", "copied", "5", "6", "waited", "7", "8", "copied", "9", "10", "waited"]
    assert [None if look is None else look.tolist() for look in looks[5:]] == [
        [True, False, False],
        *[None] * 3,
        [True, True, False],
    ]


def test_smaller_boards_are_recorded_once_they_were_wanted_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_WORTH", 20)
    model, config = Table(30, 2, end=1.0), SearchConfig(beam=3)
    src = batch_of([[4 + i % 3] * (1 + i % 9) for i in range(17)])
    kept, sizes = DeviceSearch(model, rehearsed), list[int]()
    while len(sizes) < 15:
        assert_same(kept.search(src, config), search(model, src, config))
        sizes.append(len({key[0] for key in kept._kept}))
    assert sizes[:2] == [1, 1]
    assert sizes[-1] > 1
    assert kept._wanted.total() > 20


def test_a_board_that_grows_takes_along_who_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller one was wanted before, but not often; a longer one is to be recorded anyway."""
    monkeypatch.setattr(device, "_FEWEST_STEPS", 8)
    model, config = Table(30, 2, end=4.0), SearchConfig(beam=3, min_len_ratio=2.5, max_len_ratio=4.0)
    src = batch_of([[5] * 9, *[[4 + i % 3] for i in range(17)], [6] * 8])
    kept = DeviceSearch(model, rehearsed)
    for _ in range(2):
        assert_same(kept.search(src, config, n_best=3), search(model, src, config, n_best=3))
    assert [(key[0], key[3]) for key in kept._kept][:2] == [(32, 8), (4, 16)]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_however_boards_change_it_finds_the_same(data: st.DataObject) -> None:
    record = data.draw(st.sampled_from([None, rehearsed]))
    model = Table(30, data.draw(st.integers(0, 10**6)), end=data.draw(st.sampled_from([-1.0, 1.0, 4.0])))
    kept = DeviceSearch(model, record)
    with (
        patch.object(device, "_FEWEST_STEPS", data.draw(st.sampled_from([2, 8, 32]))),
        patch.object(device, "_WORTH", data.draw(st.sampled_from([1, 4, 10**6]))),
    ):
        for _ in range(data.draw(st.integers(1, 3))):
            lengths = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=40))
            src = batch_of([[4 + (i + n) % 9 for i in range(n)] for n in lengths])
            shortest, width = (
                data.draw(st.sampled_from([0.0, 2.0])),
                data.draw(st.sampled_from(["narrowing", "constant"])),
            )
            config = SearchConfig(beam=data.draw(st.integers(1, 3)), width=width, min_len_ratio=shortest)
            assert_same(kept.search(src, config), search(model, src, config))


def test_where_nothing_can_be_recorded_the_same_step_runs_and_it_says_why() -> None:
    asked = list[Work]()

    def refuses(work: Work) -> Work:
        work()
        asked.append(work)
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nand more of it")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    model, src, config = Table(20, 1, end=1.0), batch_of(SENTENCES), SearchConfig(beam=3, max_len_extra=40)
    eager = DeviceSearch(model, refuses)
    for _ in range(2):
        assert_same(eager.search(src, config), search(model, src, config))
    assert eager.why_eager == "operation not permitted when stream is capturing"
    assert len(asked) == 1


def test_a_lack_of_memory_is_no_reason_to_go_on_without() -> None:
    def exhausted(work: Work) -> Work:
        try:
            raise torch.OutOfMemoryError("no room")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    full = DeviceSearch(Table(20, 1), exhausted)
    with pytest.raises(torch.OutOfMemoryError):
        full.search(batch_of(SENTENCES), SearchConfig())
    assert full.why_eager == ""


def test_a_tie_that_chance_decided_is_left_to_the_ordinary_search() -> None:
    model, src = Table(300, 2, levels=4, end=-100.0), batch_of([[4], [5]])
    config = SearchConfig(beam=4, length_formula="none", max_len_ratio=0.0, max_len_extra=4)
    with patch("nmt.search.device.search", wraps=search) as ordinary:
        found = search_on_device(model, src, config, n_best=4)
    assert ordinary.call_count == 1, "no tie at an edge: nothing was tested"
    assert_same(found, search(model, src, config, n_best=4))


def test_only_sentences_with_a_tie_are_searched_again() -> None:
    class Tied(Table):
        """Every word is as likely as every other after the sentence [4]."""

        def step(self, prev: torch.Tensor, memory: Any, state: Any, want_weights: bool = False) -> Any:
            step = super().step(prev, memory, state, want_weights)
            flat = (memory.src[:, 0] == 4) & (memory.src[:, 1] == EOS)
            flat = flat.repeat_interleave(len(prev) // len(flat))
            return type(step)(step.features.masked_fill(flat[:, None], 0.0), step.state, step.weights)

    model, src, config = Tied(40, 1), batch_of(SENTENCES), SearchConfig(beam=3)
    with patch("nmt.search.device.search", wraps=search) as ordinary:
        found = search_on_device(model, src, config)
    assert [call.args[1].tolist() for call in ordinary.call_args_list] == [[src[4].tolist()]]
    assert_same(found, search(model, src, config))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_told_as_ever(bad: float) -> None:
    model = TinyGRU(12)
    with torch.no_grad():
        model.projection.bias[5] = bad
    with pytest.raises(ModelError, match="target position 1 are not finite"):
        search_on_device(model, sentence(4), SearchConfig())


def test_what_is_rewritten_is_read_before() -> None:
    """A state may hand on what it held under another name."""
    a, b, c = torch.zeros(2), torch.ones(2), torch.full((2,), 2.0)
    _rewrite([a, b, c], [torch.full((2,), 5.0), a, b[:]])
    assert [x.tolist() for x in (a, b, c)] == [[5.0, 5.0], [0.0, 0.0], [1.0, 1.0]]


def test_a_state_that_grows_is_no_state_for_boards() -> None:
    with pytest.raises(AssertionError, match="changes its form"):
        _rewrite([torch.zeros(2, 3)], [torch.zeros(2, 4)])


@pytest.mark.parametrize("limit", [{"no_repeat_ngram": 2}, {"repetition_penalty": 1.5}])
def test_what_boards_do_not_hold_is_left_to_the_ordinary_search(limit: dict[str, Any]) -> None:
    model, src, config = Table(12, 1), batch_of(SENTENCES), SearchConfig(beam=3, **limit)
    with patch("nmt.search.device.advance", side_effect=AssertionError):
        assert_same(search_on_device(model, src, config), search(model, src, config))


def test_so_are_shortlists() -> None:
    model, src, config = Table(12, 1), batch_of(SENTENCES), SearchConfig(beam=3)
    own = Shortlist.of([np.array([EOS, 4, 6])] * len(src), 12)
    with patch("nmt.search.device.advance", side_effect=AssertionError):
        found = DeviceSearch(model, None).search(src, config, shortlist=own)
    assert_same(found, search(model, src, config, shortlist=own))


def test_the_door_is_that_of_the_ordinary_search() -> None:
    with pytest.raises(UsageError, match="n_best is"):
        search_on_device(TinyGRU(12), sentence(4), SearchConfig(beam=5), n_best=6)
    with pytest.raises(UsageError, match="no attention"):
        search_on_device(TinyGRU(12), sentence(4), SearchConfig(coverage_penalty=0.2))
    assert search_on_device(TinyGRU(12), torch.zeros(0, 3, dtype=torch.int64), SearchConfig()) == []
    model = TinyGRU(12).train()
    assert_same(search_on_device(model, sentence(4), SearchConfig()), search(model, sentence(4), SearchConfig()))
    assert model.training


def test_it_ends_a_few_steps_after_the_last_sentence_is_done() -> None:
    class Counted(Table):
        """Counts its steps, ends at the fifth piece."""

        steps = 0

        def step(self, *args: Any, **kwargs: Any) -> Any:
            self.steps = 1 if bool((args[0] == BOS).all()) else self.steps + 1
            step = super().step(*args, **kwargs)
            features = step.features.clone()
            features[:, EOS] = 100.0 if self.steps >= 5 else -100.0
            return type(step)(features, step.state, step.weights)

    model = Counted(9)
    (found,) = search_on_device(model, sentence(4, 5, 6), SearchConfig(beam=2, max_len_extra=100))[0]
    assert len(found.ids) == 4
    assert model.steps <= 5 + 2 * device._EVERY
