"""compute.cuda_graphs: replays give the gradients of the batch that is there now; CUDA stood in for by a tape."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nmt.batch import EOS, PAD, Batch, packed, padded_batch, roomy, sentences
from nmt.commands.train import train
from nmt.errors import EnvironmentFault
from nmt.model_file import read_model
from nmt.models.contract import Seq2Seq
from nmt.ops.graph import Recorder, Work
from nmt.recipe import Recipe, TrainConfig
from nmt.recipe_file import load_recipe
from nmt.recipe_models import Layout
from nmt.training.backward import Eager, Recorded, backward_of
from nmt.training.loss import batch_loss
from tests.properties.kinds import N_TGT, VARIANTS, build
from tests.training import tiny
from tests.training.tape import record

CPU = torch.device("cpu")
Pairs = list[tuple[list[int], list[int]]]
FIRST: Pairs = [
    *[([5, 6, 7, 4, 5, 6, 7, 8], [4, 5, 12]), ([8], [6, 7, 8, 9, 10, 4, 5, 6]), ([9, 4, 10, 6, 7], [10]), ([], [])],
    *[([4], [5]), ([6, 6], [7, 8]), ([4, 5], [6]), ([9], [8]), ([8, 7, 6], [5, 4, 6, 7]), ([10], [11]), ([5, 5], [9])],
]
SECOND: Pairs = [
    *[([4, 4], [11, 4, 5, 6, 7, 8, 9, 8]), ([10, 9, 8, 7, 6, 5, 4, 10], [5]), ([], [8, 8]), ([5, 6, 10, 9], [])],
    *[
        ([8, 8], [6]),
        ([4, 9], [10]),
        ([4], [4]),
        ([], [9, 9, 6]),
        ([7, 9, 5], [4, 7]),
        ([6], [12, 5, 4]),
        ([8, 4], [7]),
    ],
]
"""Eleven pairs, and others in a batch of the same shape, which both fill up in every way."""
TAKING = [(name, layout) for name, config in VARIANTS.items() for layout in sorted(config.layouts)]
every_model = pytest.mark.parametrize(("name", "layout"), TAKING)


def batch_of(pairs: Pairs, layout: Layout) -> Batch:
    if layout == "padded":
        return padded_batch([src for src, _ in pairs], [tgt for _, tgt in pairs])
    src, tgt = (sentences(side) for side in zip(*pairs, strict=True))
    rows = np.minimum(np.arange(11), 8) if layout == "rows" else np.zeros(11, np.int64)  # nine rows: the last has three
    return packed(src, tgt, rows, (17, 17) if layout == "rows" else (41, 41), layout)


def training(**keys: Any) -> TrainConfig:
    return Recipe.model_validate(tiny.recipe(train={"label_smoothing": 0.1, **keys})).train


def recorded(model: Seq2Seq, train: TrainConfig, told: list[str], how: Callable[[Work], Work] = record) -> Recorded:
    return Recorded(model, list(model.parameters()), train, CPU, how, told.append)


def gradients(model: Seq2Seq) -> list[Tensor | None]:
    """Those that are there, taken away as after an update."""
    found = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = None
    return found


def assert_close(found: list[Tensor | None], wanted: list[Tensor | None]) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@every_model
@pytest.mark.parametrize("r_drop", [0.0, 2.0])
def test_what_fills_a_batch_up_counts_for_nothing(name: str, layout: Layout, r_drop: float) -> None:
    model, batch = build(VARIANTS[name]), batch_of(FIRST, layout)
    wide = roomy(batch)
    assert wide.room is not None
    counts = (wide.room.tgt_tokens, wide.room.sentences), (batch.tgt_tokens, batch.sentences)
    for more, less in ((wide.src.shape, batch.src.shape), (wide.longest, batch.longest), counts):
        assert more > less
    found = []
    for one in (batch, wide):
        sums = batch_loss(model, one, 0.1, r_drop)
        sums.smoothed.backward()
        found.append([sums.smoothed.detach(), sums.nll, *gradients(model)])
    assert_close(found[1], found[0])


@every_model
def test_a_replay_gives_the_gradients_of_the_batch_that_is_there(name: str, layout: Layout) -> None:
    model, train, told = build(VARIANTS[name]), training(), list[str]()
    ways = Eager(model, train, CPU), recorded(model, train, told)
    batches = [batch_of(pairs, layout) for pairs in (FIRST, SECOND, FIRST, SECOND[::-1], FIRST[::-1])]
    shapes = {(b.src.shape, b.tgt_in.shape, b.longest, b.room) for b in map(ways[1].shaped, batches)}
    assert len(shapes) == 1
    for number, batch in enumerate(batches):
        found = []
        for way in ways:
            nll = way(way.shaped(batch), 3 + number, 1)
            found.append([nll, *gradients(model)])
        assert_close(found[1], found[0])
    assert len(ways[1]._kept) == 1
    assert told == []


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["bahdanau", "convs2s", "gnmt", "luong", "modern", "rnn", "transformer"])
def test_recorded_on_a_gpu_it_gives_the_same_gradients(name: str) -> None:
    device = torch.device("cuda")
    model, train, told = build(VARIANTS[name]).to(device), training(), list[str]()
    ways = (
        Eager(model, train, device),
        Recorded(model, list(model.parameters()), train, device, Recorder(device), told.append),
    )
    for pairs in (FIRST, SECOND, FIRST, SECOND):
        found = []
        for way in ways:
            found.append([way(way.shaped(batch_of(pairs, "padded")), 3, 1), *gradients(model)])
        assert_close(found[1], found[0])
    assert told == []


@pytest.mark.parametrize("kind", ["bahdanau", "transformer", "luong", "convs2s"])
def test_dropout_is_drawn_anew_from_the_seed(kind: str) -> None:
    """The third call is a replay, and draws what the first drew from its seed; another seed draws something else."""
    model = build(VARIANTS[kind].model_copy(update={"dropout": 0.5})).train()
    backward, found = recorded(model, training(), []), []
    batch = backward.shaped(batch_of(FIRST, "padded"))
    for seed in (1, 1, 1, 2, 1):
        found.append([backward(batch, 3, seed), *gradients(model)])
    for again in (1, 2, 4):
        assert_close(found[again], found[0])
    assert float((found[3][0] - found[0][0]).abs()) > 1e-3


def test_the_parts_of_an_update_keep_their_gradients() -> None:
    model = build(VARIANTS["bahdanau"])
    first = next(model.parameters())
    for parts in (1, 2):
        backward, held = recorded(model, training(grad_parts=parts), []), list[Tensor]()
        for pairs in (FIRST, FIRST, SECOND):
            backward(backward.shaped(batch_of(pairs, "padded")), 3, 1)
            assert first.grad is not None
            held.append(first.grad)
            first.grad = None
        assert torch.equal(held[1], held[2]) == (parts == 1)


def test_a_shape_is_recorded_when_it_comes_again_and_kept_for_as_long_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nmt.training.backward._KEPT", 2)
    made = list[int]()

    def noted(work: Work) -> Work:
        made.append(1)
        return record(work)

    model = build(VARIANTS["rnn"])
    backward, counts = recorded(model, training(), [], noted), []
    for length in (1, 1, 1, 2, 3, 2, 3, 1, 3):
        backward(backward.shaped(padded_batch([[4] * length], [[5] * length])), 1, 1)
        counts.append(len(made))
    #                1        2  3        1: gone meanwhile
    assert counts == [0, 1, 1, 1, 1, 2, 3, 4, 4]


def test_where_nothing_can_be_recorded_it_goes_on_without_and_says_so_once() -> None:
    def refused(work: Work) -> Work:
        try:
            work()
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    model, told = build(VARIANTS["transformer"]), list[str]()
    ways = Eager(model, training(), CPU), recorded(model, training(), told, refused)
    for pairs in (FIRST, SECOND, FIRST, FIRST):
        found = []
        for way in ways:
            found.append([way(way.shaped(batch_of(pairs, "padded")), 3, 1), *gradients(model)])
        assert_close(found[1], found[0])
    assert told == ["slower than it could be, without CUDA graphs: operation not permitted when stream is capturing"]


def test_memory_that_ends_while_recording_is_no_reason_to_go_on_without() -> None:
    def full(work: Work) -> Work:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = build(VARIANTS["rnn"])
    backward = recorded(model, training(), [], full)
    batch = backward.shaped(batch_of(FIRST, "padded"))
    backward(batch, 3, 1)
    with pytest.raises(torch.OutOfMemoryError):
        backward(batch, 3, 1)


@pytest.mark.parametrize(
    ("n", "wanted"), [(1, 1), (7, 7), (8, 8), (9, 10), (17, 20), (33, 40), (41, 48), (100, 112), (4000, 4096)]
)
def test_few_sizes_at_most_a_quarter_more(n: int, wanted: int) -> None:
    batch = padded_batch([[N_TGT - 1] * (n - 1)], [[4]])
    assert roomy(batch).src.shape == (1, wanted)
    assert wanted <= 1.25 * n


def test_rows_that_are_added_have_something_to_look_at_and_nothing_to_predict() -> None:
    wide = roomy(padded_batch([[4, 5]] * 9, [[6]] * 9))
    assert len(wide.src) == 10
    assert wide.src[9].tolist() == [EOS, PAD, PAD]
    assert wide.tgt_out[9].tolist() == wide.tgt_in[9].tolist() == [PAD, PAD]
    assert (wide.tgt_tokens, wide.sentences) == (18, 9)
    assert wide.real_share == (27 + 18) / (10 * 5)


def test_without_a_gpu_it_is_refused_with_a_way_out(tmp_path: Path) -> None:
    made = tiny.recipe(compute={"cuda_graphs": True})
    recipe, model = Recipe.model_validate(made), build(VARIANTS["bahdanau"])
    with pytest.raises(EnvironmentFault, match=r"compute\.cuda_graphs needs a CUDA device"):
        train(recipe, tiny.write(tmp_path, made) / "recipe.yaml", device="cpu", reporter=Listener(), runs=tmp_path)
    assert not (tmp_path / "prepared").exists()  # at once, before the text is read
    with pytest.raises(EnvironmentFault) as caught:
        backward_of(recipe, model, list(model.parameters()), CPU, lambda _: None)
    assert str(caught.value) == "error: compute.cuda_graphs needs a CUDA device\n  leave it out to train here"
    plain = with_graphs(recipe, False)
    assert isinstance(backward_of(plain, model, list(model.parameters()), CPU, lambda _: None), Eager)


def with_graphs(recipe: Recipe, graphs: bool) -> Recipe:
    return recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"cuda_graphs": graphs})})


class Listener:
    """Hears what a training says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Keeps it."""
        self.lines.append(line)

    def live(self, line: str) -> None:
        """Lets it pass."""


@pytest.mark.parametrize("parts", [1, 2])
def test_a_training_that_replays_comes_to_the_same_weights(
    parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, shares = list[dict[str, Tensor]](), list[float]()
    replays = list[int]()

    def counted(work: Work) -> Work:
        replay = record(work)

        def run() -> None:
            replays.append(1)
            replay()

        return run

    def on_tape(recipe: Recipe, model: Seq2Seq, parameters: Any, device: torch.device, say: Any) -> Recorded:
        assert recipe.compute.cuda_graphs
        return Recorded(model, parameters, recipe.train, device, counted, say)

    for graphs in (False, True):
        made = tiny.recipe(
            model={"dropout": 0.0},
            train={"batch_sentences": None, "batch_tokens": 80, "grad_parts": parts},
            compute={"cuda_graphs": graphs, "kernels": "plain"},
        )
        folder = tiny.write(tmp_path / str(graphs), made)
        monkeypatch.chdir(folder)
        if graphs:
            monkeypatch.setattr("nmt.training.trainer.backward_of", on_tape)
            monkeypatch.setattr("nmt.commands.train.check_graphs", lambda *_: None)
        train(load_recipe(folder / "recipe.yaml"), folder / "recipe.yaml", device="cpu", reporter=(heard := Listener()))
        weights.append(read_model(folder / "runs" / "tiny" / "model.safetensors").weights)
        shares.append(tiny.events(folder, "update")[-1]["real_share"])
        assert ("updates: recorded as CUDA graphs" in "\n".join(heard.lines)) == graphs
    assert len(replays) >= 4
    assert shares[1] < shares[0] < 1.0  # what fills batches up is told as padding
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-3, atol=1e-4)
