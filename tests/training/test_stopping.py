"""Stopping on request, one process a run, what ends or refuses a training: exit codes, words, and the disk after it."""

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from nmt.training.checkpoint import saved_updates
from tests.training.tiny import TRAIN, events, recipe, result, write
from tests.training.warm import Process, Warm


def until_hanging(folder: Path) -> None:
    """Waits for the training that `hang_at` holds."""
    end = time.monotonic() + 60
    while not (folder / "hanging").exists():
        assert time.monotonic() < end, "it never came to the update"
        time.sleep(0.01)


def start_and_hold(warm: Warm, folder: Path, update: int) -> Process:
    process = warm.start(folder, TRAIN, meddle=["hang_at", update])
    until_hanging(folder)
    return process


def finish(warm: Warm, folder: Path, *overrides: str) -> dict[str, str]:
    process = warm.start(folder, [*TRAIN, *(part for text in overrides for part in ("--set", text))])
    assert process.wait() == 0, process.stderr
    return result(folder)


@pytest.fixture(scope="module")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an undisturbed training ends with."""
    return finish(warm, write(tmp_path_factory.mktemp("whole"), recipe()))


# Signals.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("update", [1, 5, 9])
def test_a_signal_lets_the_update_finish_saves_and_resumes_to_the_same_bytes(
    number: int, update: int, warm: Warm, whole: dict[str, str], tmp_path: Path
) -> None:
    process = start_and_hold(warm, write(tmp_path, recipe()), update)
    process.send(number)
    (tmp_path / "go").touch()
    assert process.wait() == 128 + number
    assert process.stderr.endswith(
        f"error: stopped at update {update} of 12; it is saved\n  the same command goes on from here\n"
    )
    assert saved_updates(tmp_path / "runs" / "tiny")[-1] == update
    assert finish(warm, tmp_path) == whole


def test_a_second_interrupt_leaves_at_once_and_the_last_save_is_intact(
    warm: Warm, whole: dict[str, str], tmp_path: Path
) -> None:
    process = start_and_hold(warm, write(tmp_path, recipe()), 5)
    process.send(signal.SIGINT)
    time.sleep(0.2)  # two signals of one kind at the same moment are one
    process.send(signal.SIGINT)
    assert process.wait() == -signal.SIGINT  # it never got to "go"
    assert saved_updates(tmp_path / "runs" / "tiny") == [3]
    assert finish(warm, tmp_path) == whole


def test_a_signal_after_the_last_update_is_heeded_too(warm: Warm, whole: dict[str, str], tmp_path: Path) -> None:
    process = warm.start(write(tmp_path, recipe()), TRAIN, meddle=["interrupt_measuring"])
    assert process.wait() == 143
    assert "stopped before the final scores; all updates are done and saved" in process.stderr
    assert not events(tmp_path, "end")
    assert finish(warm, tmp_path) == whole


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_signal_at_any_moment_of_the_training_is_obeyed(warm: Warm, whole: dict[str, str], tmp_path: Path) -> None:
    rng = random.Random(4)
    stopped = 0
    for number in range(100):
        folder = write(tmp_path / str(number), recipe())
        process = warm.start(folder, TRAIN)
        end = time.monotonic() + 60
        while not (folder / "runs" / "tiny" / "log.jsonl").exists() and time.monotonic() < end:
            time.sleep(0.001)  # before the run is begun there is nothing to save, and a signal just ends it
        time.sleep(rng.uniform(0, 0.5))
        process.send(rng.choice([signal.SIGTERM, signal.SIGINT]))
        code = process.wait()
        assert code in (0, 130, 143), process.stderr
        stopped += code != 0
        assert finish(warm, folder) == whole
    assert stopped > 30


# One process a run.


def test_a_second_process_on_the_same_run_is_told_the_pid_of_the_first(
    warm: Warm, whole: dict[str, str], tmp_path: Path
) -> None:
    first = start_and_hold(warm, write(tmp_path, recipe()), 5)
    log = (tmp_path / "runs" / "tiny" / "log.jsonl").read_bytes()
    second = warm.start(tmp_path, TRAIN)
    assert second.wait() == 5
    assert f"error: runs/tiny: in use by process {first.pid} on " in second.stderr
    assert (tmp_path / "runs" / "tiny" / "log.jsonl").read_bytes() == log
    other = warm.start(tmp_path, [*TRAIN, "--set", "name=other", "--set", "train.updates=2"])
    assert other.wait() == 0, other.stderr  # another run is free to train
    (tmp_path / "go").touch()
    assert first.wait() == 0
    assert result(tmp_path) == whole


def test_a_killed_training_leaves_no_lock(warm: Warm, whole: dict[str, str], tmp_path: Path) -> None:
    first = start_and_hold(warm, write(tmp_path, recipe()), 5)
    first.send(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert finish(warm, tmp_path) == whole


# What is not finite.


def tensors_on_disk(folder: Path) -> dict[Path, dict[str, torch.Tensor]]:
    found = [path for path in (folder / "runs").rglob("*.safetensors") if path.is_file()]
    return {path: safetensors.torch.load(path.read_bytes()) for path in found}


def assert_finite_on_disk(folder: Path) -> None:
    for path, tensors in tensors_on_disk(folder).items():
        for name, tensor in tensors.items():
            assert not tensor.is_floating_point() or bool(tensor.isfinite().all()), f"{path}: {name}"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("what", ["gradient", "infinite gradient", "loss"])
def test_a_batch_that_is_not_finite_is_skipped_and_logged(
    what: str, late: bool, warm: Warm, whole: dict[str, str], tmp_path: Path
) -> None:
    process = warm.start(write(tmp_path, recipe()), TRAIN, meddle=["break_gradients", [1, 4, 9, 10], what, late])
    assert process.wait() == 0, process.stderr
    skipped = events(tmp_path, "skipped")
    assert [event["update"] for event in skipped] == [1, 4, 9, 10]
    assert all(len(event["pairs"]) == 20 for event in skipped)
    assert len({tuple(event["pairs"]) for event in skipped}) == 4
    bad = "nll" if what == "loss" else "grad_norm"
    assert {event[bad] for event in skipped} <= {"nan", "inf"}
    assert saved_updates(tmp_path / "runs" / "tiny") == [12]
    assert result(tmp_path) != whole
    assert_finite_on_disk(tmp_path)


def test_too_many_batches_in_a_row_that_are_not_finite_stop_the_training(
    warm: Warm, whole: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path, recipe(train={"max_skipped": 2}))
    process = warm.start(tmp_path, TRAIN, meddle=["break_gradients", [4, 5, 6, 7], "gradient"])
    assert process.wait() == 6
    assert "error: update 6: 3 batches in a row had a loss or gradient that is not finite (loss " in process.stderr
    assert [event["update"] for event in events(tmp_path, "skipped")] == [4, 5, 6]
    assert saved_updates(tmp_path / "runs" / "tiny") == [3]
    assert_finite_on_disk(tmp_path)
    finish(warm, tmp_path)  # what the fault was is gone: the same command goes on, and the log forgets the skipped
    assert not events(tmp_path, "skipped")
    names = ("weights.safetensors", "optimizer.safetensors")
    assert [result(tmp_path)[name] for name in names] == [whole[name] for name in names]


def test_reading_late_how_updates_went_changes_no_byte(warm: Warm, whole: dict[str, str], tmp_path: Path) -> None:
    process = warm.start(write(tmp_path, recipe()), TRAIN, meddle=["read_late"])
    assert process.wait() == 0, process.stderr
    assert result(tmp_path) == whole


@pytest.mark.parametrize("update", [3, 4])
def test_no_weight_that_is_not_finite_reaches_the_disk(update: int, warm: Warm, tmp_path: Path) -> None:
    """Update 3 is followed by a save, update 4 by a validation."""
    process = warm.start(write(tmp_path, recipe()), TRAIN, meddle=["break_weights", update])
    assert process.wait() == 6, process.stderr
    assert f"error: update {update}: v_a is no longer finite" in process.stderr
    assert saved_updates(tmp_path / "runs" / "tiny") == ([] if update == 3 else [3])
    assert_finite_on_disk(tmp_path)


def test_a_rate_far_too_high_stops_the_training_and_not_the_program(warm: Warm, tmp_path: Path) -> None:
    """The weights are finite, what comes of them is not: no update changes them any more, and validation sees it."""
    made = recipe(train={"lr": 1e38, "clip_norm": None, "optimizer": {"kind": "sgd"}, "save_every": 1})
    process = warm.start(write(tmp_path, made), TRAIN)
    assert process.wait() == 6, process.stderr
    assert "error: validation at update 4: the model's logits at target position 1 are not finite" in process.stderr
    assert_finite_on_disk(tmp_path)


# What has changed since the last start.


@pytest.fixture
def begun(warm: Warm, tmp_path: Path) -> Path:
    """A training that was killed after update 6."""
    process = warm.start(write(tmp_path, recipe()), TRAIN, meddle=["kill_when_saved", 6])
    assert process.wait() == -signal.SIGKILL
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted((folder / "runs").rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path): path.read_bytes() for path in files}


def test_a_changed_key_that_shapes_the_training_is_refused_with_both_values(warm: Warm, begun: Path) -> None:
    before = contents(begun)
    changes = ["train.lr=0.1", "model.dropout=0.2", "train.optimizer={kind: adam, betas: [0.8, 0.9]}"]
    process = warm.start(begun, [*TRAIN, *(part for text in changes for part in ("--set", text))])
    assert process.wait() == 2
    assert process.stderr.endswith(
        "error: runs/tiny was trained with other settings up to update 6:\n"
        "  model.dropout: 0.1 -> 0.2\n"
        "  train.lr: 0.05 -> 0.1\n"
        "  train.optimizer.betas: [0.9, 0.98] -> [0.8, 0.9]\n"
        "  put them back to go on, or give this training another name: --set name=...\n"
    )
    assert contents(begun) == before


def test_keys_that_say_how_long_and_how_to_look_may_change(warm: Warm, begun: Path) -> None:
    finish(
        warm, begun, "train.updates=17", "train.validate_every=5", "train.keep=2", "search.beam=1", "train.samples=0"
    )
    assert [event["update"] for event in events(begun, "validation")] == [4, 10, 15, 17]
    assert saved_updates(begun / "runs" / "tiny") == [15, 17]


def test_more_updates_after_the_end_equal_as_many_from_the_start(warm: Warm, tmp_path: Path) -> None:
    finish(warm, write(tmp_path, recipe()))  # 12 updates, all saved and validated
    process = warm.start(tmp_path, [*TRAIN, "--set", "train.updates=24"])
    assert process.wait() == 0, process.stderr
    straight = write(tmp_path / "straight", recipe(train={"updates": 24}))
    finish(warm, straight)
    assert result(tmp_path) == result(straight)


def test_a_larger_average_uses_what_was_kept(warm: Warm, tmp_path: Path) -> None:
    finish(warm, write(tmp_path, recipe(train={"average": {"of": "last", "count": 2}, "validate_every": 3})))
    process = warm.start(tmp_path, [*TRAIN, "--set", "train.average.count=4", "--set", "train.updates=15"])
    assert process.wait() == 0, process.stderr
    assert "average of updates 9, 12, 15: BLEU " in process.stderr
    assert "warning: the weights of updates 6 were not kept: the average goes without them" in process.stderr


def test_changed_text_is_refused_by_its_name(warm: Warm, begun: Path) -> None:
    before = contents(begun)
    with (begun / "train.aa").open("a") as src, (begun / "train.bb").open("a") as tgt:
        src.write("1 2\n")
        tgt.write("2 1\n")
    process = warm.start(begun, TRAIN)
    assert process.wait() == 2
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("  data: ")]
    old, new = line.removeprefix("  data: ").split(" -> ")
    assert {old, new} == {path.name for path in (begun / "prepared").iterdir() if not path.name.startswith(".")}
    assert contents(begun) == before


def test_a_changed_parent_model_is_refused(warm: Warm, tmp_path: Path) -> None:
    write(tmp_path, recipe())
    for name in ("one", "two"):
        process = warm.start(tmp_path, [*TRAIN, "--set", f"name={name}", "--set", f"train.seed={len(name + name[0])}"])
        assert process.wait() == 0, process.stderr
        (tmp_path / "parent.safetensors").write_bytes((tmp_path / "runs" / name / "model.safetensors").read_bytes())
        last = warm.start(tmp_path, [*TRAIN, "--set", "train.init=parent.safetensors", "--set", "train.updates=3"])
        if name == "one":
            assert last.wait() == 0, last.stderr
            assert events(tmp_path, "start")[0]["update"] == 0
    assert last.wait() == 2
    assert "\n  parent: " in last.stderr


def test_every_recipe_key_is_either_fixed_or_on_the_list_of_changeable_ones(tmp_path: Path) -> None:
    """A key renamed in the schema must not turn a changeable name into one that matches nothing."""
    from nmt.recipe import Recipe
    from nmt.training.progress import _CHANGEABLE, fixed_keys

    made = Recipe.model_validate_json(json.dumps(recipe(corpus={"test": "valid"})))
    keys: dict[str, Any] = made.model_dump(mode="json")
    for name in _CHANGEABLE:
        part: Any = keys
        for key in name.split("."):
            assert key in part, name
            part = part[key]
    fixed = fixed_keys(made)
    assert {"name", "train.lr", "train.seed", "model.d_hidden", "compute.dtype", "corpus.train"} <= fixed.keys()
    assert not [key for key in fixed if key.startswith("search")]
