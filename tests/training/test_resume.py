"""A training that was killed, at any moment and however often, ends with the same bytes as one that was not.

Weights, optimiser, the rest of the checkpoint's state and model.safetensors are compared by sha256. The negative
controls leave one restored thing out: the same comparison must then fail.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from nmt import durable
from nmt.commands import prepare
from nmt.ops.fused import library
from nmt.training import checkpoint
from tests.training.tiny import TRAIN, events, recipe, result, write
from tests.training.warm import Warm, environment

KILLED = -signal.SIGKILL
FAILPOINTS = (*durable.FAILPOINTS, *prepare.FAILPOINTS)


@dataclass(frozen=True)
class Unbroken:
    """A training that nobody disturbed."""

    folder: Path
    result: dict[str, str]
    passed: dict[str, int]  # how often each failpoint was


@pytest.fixture(scope="module")
def unbroken(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Unbroken]:
    """Trains a recipe without a break, once."""
    done: dict[str, Unbroken] = {}

    def train(made: Mapping[str, Any], hopeless: bool = False) -> Unbroken:
        key = json.dumps([made, hopeless])
        if key not in done:
            folder = write(tmp_path_factory.mktemp("unbroken"), made, hopeless=hopeless)
            counts = folder / "passed.json"
            # Failpoints are counted only while the variable is set.
            process = warm.start(folder, TRAIN, {"NMT_FAILPOINT": "none:kill"}, ["count_failpoints", str(counts)])
            assert process.wait() == 0, process.stderr
            done[key] = Unbroken(folder, result(folder), json.loads(counts.read_text()))
        return done[key]

    return train


def kill_at(warm: Warm, folder: Path, failpoint: str, passing: int) -> None:
    process = warm.start(folder, TRAIN, {"NMT_FAILPOINT": f"{failpoint}:kill@{passing}"})
    assert process.wait() == KILLED, process.stderr


def kill_when_saved(warm: Warm, folder: Path, update: int) -> None:
    process = warm.start(folder, TRAIN, meddle=["kill_when_saved", update])
    assert process.wait() == KILLED, process.stderr
    assert checkpoint.saved_updates(folder / "runs" / "tiny")[-1] == update


def finish(warm: Warm, folder: Path, meddle: Sequence[Any] = ()) -> dict[str, str]:
    process = warm.start(folder, TRAIN, meddle=meddle)
    assert process.wait() == 0, process.stderr
    return result(folder)


def kill_at_random(warm: Warm, folder: Path, rng: random.Random, seconds: float) -> int:
    """The exit code: 0 where the moment came too late."""
    process = warm.start(folder, TRAIN)
    time.sleep(rng.uniform(0, seconds))
    process.send(signal.SIGKILL)
    return process.wait()


@pytest.fixture(scope="module")
def seconds(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> float:
    """What an unbroken training takes here and now, when it is not the first."""
    taken = []
    for _ in range(2):
        folder = write(tmp_path_factory.mktemp("timed"), recipe())
        started = time.monotonic()
        finish(warm, folder)
        taken.append(time.monotonic() - started)
    return taken[-1]


# The promise.


def test_the_tiny_training_passes_every_failpoint(unbroken: Callable[..., Unbroken]) -> None:
    assert unbroken(recipe()).passed.keys() == set(FAILPOINTS)


def test_training_twice_gives_the_same_bytes_through_the_command_line_too(
    unbroken: Callable[..., Unbroken], tmp_path: Path
) -> None:
    write(tmp_path, recipe())
    command = [sys.executable, "-m", "nmt", *TRAIN]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert result(tmp_path) == unbroken(recipe()).result


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_at_a_failpoint_it_ends_with_the_same_bytes(
    failpoint: str, warm: Warm, unbroken: Callable[..., Unbroken], tmp_path: Path
) -> None:
    whole = unbroken(recipe())
    write(tmp_path, recipe())
    # Any passing, but always the same one; over the failpoints they spread from the first to the last.
    kill_at(warm, tmp_path, failpoint, 1 + crc32(failpoint.encode()) % whole.passed[failpoint])
    assert finish(warm, tmp_path) == whole.result


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_at_every_passing_of_a_failpoint_it_ends_with_the_same_bytes(
    failpoint: str, warm: Warm, unbroken: Callable[..., Unbroken], tmp_path: Path
) -> None:
    whole = unbroken(recipe())
    for passing in range(1, whole.passed[failpoint] + 1):
        folder = write(tmp_path / str(passing), recipe())
        kill_at(warm, folder, failpoint, passing)
        assert finish(warm, folder) == whole.result, passing


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_four_random_moments_it_ends_with_the_same_bytes(
    seed: int, warm: Warm, unbroken: Callable[..., Unbroken], seconds: float, tmp_path: Path
) -> None:
    whole = unbroken(recipe())
    write(tmp_path, recipe())
    rng = random.Random(seed)
    codes = [kill_at_random(warm, tmp_path, rng, seconds) for _ in range(4)]
    assert KILLED in codes
    assert set(codes) <= {0, KILLED}
    assert finish(warm, tmp_path) == whole.result


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_killed_at_a_hundred_random_moments_it_ends_with_the_same_bytes(
    dtype: str, warm: Warm, unbroken: Callable[..., Unbroken], seconds: float, tmp_path: Path
) -> None:
    made = recipe(compute={"dtype": dtype})
    whole = unbroken(made)
    rng = random.Random(9)
    killed = 0
    while killed < 100:
        folder = write(tmp_path / str(killed), made)
        for _ in range(rng.randint(1, 6)):
            killed += kill_at_random(warm, folder, rng, seconds) == KILLED
        assert finish(warm, folder) == whole.result


@pytest.mark.parametrize(
    ("failpoint", "passing"),
    [("publish.folder.before", 2), ("publish.write.half", 8), ("publish.rename.before", 4), ("write.rename.before", 2)],
)
def test_a_full_disk_ends_the_training_and_with_room_it_goes_on_to_the_same_bytes(
    failpoint: str, passing: int, warm: Warm, unbroken: Callable[..., Unbroken], tmp_path: Path
) -> None:
    process = warm.start(write(tmp_path, recipe()), TRAIN, {"NMT_FAILPOINT": f"{failpoint}:enospc@{passing}"})
    assert process.wait() == 5
    assert "No space left on device\n  free some space there, then run the same command again\n" in process.stderr
    assert not list((tmp_path / "runs").rglob(".tmp-*"))
    assert finish(warm, tmp_path) == unbroken(recipe()).result


def test_an_old_checkpoint_that_cannot_be_removed_is_a_warning(
    warm: Warm, unbroken: Callable[..., Unbroken], tmp_path: Path
) -> None:
    process = warm.start(write(tmp_path, recipe()), TRAIN, {"NMT_FAILPOINT": "remove.rename.before:enospc"})
    assert process.wait() == 0, process.stderr
    assert "warning: runs/tiny/checkpoints/update-3: not removed: No space left on device" in process.stderr
    assert result(tmp_path) == unbroken(recipe()).result


def test_a_damaged_checkpoint_costs_its_updates_and_no_bytes(warm: Warm, tmp_path: Path) -> None:
    whole = finish(warm, write(tmp_path, recipe(train={"keep": 2})))
    weights = tmp_path / "runs" / "tiny" / "checkpoints" / "update-12" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    process = warm.start(tmp_path, TRAIN)
    assert process.wait() == 0, process.stderr
    assert "warning: going on from update 9 instead of 12: 3 updates are lost" in process.stderr
    assert result(tmp_path) == whole
    assert [event["update"] for event in events(tmp_path, "saved")] == [3, 6, 9, 12]


BY_TOKENS = {"batch_sentences": None, "batch_tokens": 150}
TRANSFORMER = {
    **{"kind": "transformer", "n_layers": 1, "d_model": 8, "n_heads": 2, "d_ff": 8},
    **dict.fromkeys(("d_embed", "d_hidden", "d_align", "d_maxout")),
}

VARIANTS: dict[str, dict[str, Any]] = {
    "bfloat16": {"compute": {"dtype": "bfloat16"}},
    "adamw, inverse_sqrt": {
        "train": {
            "optimizer": {"kind": "adam", "weight_decay": 0.01},
            "schedule": {"kind": "inverse_sqrt", "warmup_updates": 5},
        }
    },
    "noam, bfloat16": {
        "train": {"lr": 2.0, "schedule": {"kind": "noam", "warmup_updates": 7, "d_model": 8}},
        "compute": {"dtype": "bfloat16"},
    },
    "adadelta, loss per sentence": {"train": {"lr": 1.0, "optimizer": {"kind": "adadelta"}, "loss_per": "sentence"}},
    "nesterov, plateau": {
        "train": {
            "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": True},
            "schedule": {"kind": "plateau", "patience": 1, "warmup_updates": 2},
        }
    },
    "sgd, halving, two corpora": {
        "corpus": {
            "train": [
                {"src": "train.aa", "tgt": "train.bb", "weight": 0.5},
                {"src": "more.aa", "tgt": "more.bb", "weight": 2},
            ]
        },
        "train": {
            "lr": 0.7,
            "optimizer": {"kind": "sgd"},
            "schedule": {"kind": "halving", "from_epoch": 1, "every_epochs": 0.5},
        },
    },
    "switch from adam to sgd between the kills": {
        "train": {
            "switch": {
                **{"at_update": 8, "optimizer": {"kind": "sgd", "momentum": 0.9}, "lr": 0.1},
                "schedule": {"kind": "plateau", "patience": 1},
            }
        }
    },
    "tokens, in parts, smoothed": {
        "train": {"batch_sentences": None, "batch_tokens": 150, "grad_parts": 3, "label_smoothing": 0.1}
    },
    "pieces drawn anew": {
        "tokenizer": {"kind": "bpe", "vocab": 22, "joint": True},
        "train": {"batch_sentences": None, "batch_tokens": 150, "grad_parts": 2, "subword_sampling": 0.3},
    },
    "rows": {"model": TRANSFORMER, "train": {**BY_TOKENS, "layout": "rows", "row_tokens": 24}},
    "flat, drawn anew": {
        "tokenizer": {"kind": "bpe", "vocab": 22, "joint": True},
        "model": TRANSFORMER,
        "train": {**BY_TOKENS, "layout": "flat", "grad_parts": 2, "subword_sampling": 0.3},
    },
    "bpe, tied": {
        "tokenizer": {"kind": "bpe", "vocab": 22, "joint": True},
        "model": {"tied_output": True, "tied_embeddings": True},
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_killed_twice_every_kind_of_training_ends_with_the_same_bytes(
    variant: str, warm: Warm, unbroken: Callable[..., Unbroken], tmp_path: Path
) -> None:
    made = recipe(**VARIANTS[variant])
    whole = unbroken(made)
    write(tmp_path, made)
    # The prepared text, update 3, and the weights of validation 4 were published: this is update 6.
    kill_at(warm, tmp_path, "publish.rename.before", 4)
    assert checkpoint.saved_updates(tmp_path / "runs" / "tiny") == [3]
    kill_when_saved(warm, tmp_path, 9)
    assert finish(warm, tmp_path) == whole.result


# What changes on the way.

WITHOUT = {"NMT_NATIVE": "0"}


@pytest.mark.skipif(library()[0] is None, reason="there is no C compiler here")
@pytest.mark.parametrize(
    ("before", "after", "was"), [(WITHOUT, {}, "plain"), ({}, WITHOUT, "fused"), ({}, {}, None)], ids=str
)
def test_going_on_with_other_passes_is_a_warning_and_ends_with_other_bytes(
    before: Mapping[str, str],
    after: Mapping[str, str],
    was: str | None,
    warm: Warm,
    unbroken: Callable[..., Unbroken],
    tmp_path: Path,
) -> None:
    process = warm.start(write(tmp_path, recipe()), TRAIN, before, ["kill_when_saved", 6])
    assert process.wait() == KILLED, process.stderr
    assert "warning: so far" not in process.stderr
    for _ in range(2):  # going on once more is no change
        process = warm.start(tmp_path, TRAIN, after)
        assert process.wait() == 0, process.stderr
        warned = [line for line in process.stderr.splitlines() if line.startswith("warning: ")]
        line = (
            f"warning: so far passes was {was}: from here on results are as good, but not byte for byte those of an "
            + "unbroken run"
        )
        assert warned == ([line] if was else [])
        was = None
    forms = ["plain" if env else "fused" for env in (before, after, after)]
    assert [event["kernels"]["passes"] for event in events(tmp_path, "start")] == forms
    assert (result(tmp_path) == unbroken(recipe()).result) == (before == after)


# The same comparison with its guard removed.

PLATEAU = {"schedule": {"kind": "plateau", "patience": 2}}
LEFT_OUT: dict[str, tuple[list[str], dict[str, Any]]] = {
    "the batch": (["leave_out_progress", "batch"], {}),
    "the epoch": (["leave_out_progress", "epoch"], {}),
    "the update": (["leave_out_progress", "update"], {}),
    "the validations": (["leave_out_progress", "validated"], {}),
    "the patience": (["leave_out_progress", "waited"], {"train": {"patience": 2, "validate_every": 3}}),
    "the plateau's factor": (["leave_out_plateau", "factor"], {"train": {**PLATEAU, "validate_every": 2}}),
    "the plateau's best": (["leave_out_plateau", "best"], {"train": {**PLATEAU, "validate_every": 2}}),
    "the plateau's patience": (["leave_out_plateau", "waited"], {"train": {**PLATEAU, "validate_every": 3}}),
    "a weight": (["leave_out_weight", "v_a"], {}),
    "Adam's first moment": (["leave_out_optimizer", "state/C.weight/exp_avg"], {}),
    "Adam's second moment": (["leave_out_optimizer", "state/C.weight/exp_avg_sq"], {}),
    "Adam's count": (["leave_out_optimizer", "state/C.weight/step"], {}),
    "Adadelta's steps": (
        ["leave_out_optimizer", "state/C.weight/acc_delta"],
        {"train": {"lr": 1.0, "optimizer": {"kind": "adadelta"}}},
    ),
    "the momentum": (
        ["leave_out_optimizer", "state/C.weight/momentum_buffer"],
        {"train": {"optimizer": {"kind": "sgd", "momentum": 0.9}}},
    ),
    "dropout's counter": (["leave_out_dropout_counter"], {}),
}


@pytest.mark.parametrize("left_out", LEFT_OUT)
def test_resuming_without_one_restored_thing_ends_with_other_bytes(
    left_out: str, warm: Warm, unbroken: Callable[..., Unbroken], tmp_path: Path
) -> None:
    meddle, changes = LEFT_OUT[left_out]
    made = recipe(**changes)
    whole = unbroken(made, hopeless=True)
    write(tmp_path, made, hopeless=True)
    # After update 6, in the second epoch, with a validation or two behind it.
    kill_when_saved(warm, tmp_path, 6)
    broken = finish(warm, tmp_path, meddle)
    assert any(broken[name] != whole.result[name] for name in ("weights.safetensors", "model.safetensors"))


# What is left of a broken training beside its bytes.

START_FIELDS = {
    "time",
    "update",
    "commit",
    "versions",
    "device",
    "threads",
    "dtype",
    "layout",
    "kernels",
    "seed",
    "recipe",
    "data",
}


def test_the_log_of_a_training_killed_many_times_is_one_story(
    warm: Warm, unbroken: Callable[..., Unbroken], tmp_path: Path
) -> None:
    write(tmp_path, recipe())
    # Before the first save; after a save and before the word of it; between a validation and the next save.
    for failpoint, passing in (("publish.rename.before", 2), ("publish.rename.after", 2), ("publish.rename.after", 2)):
        process = warm.start(tmp_path, TRAIN, {"NMT_FAILPOINT": f"{failpoint}:kill@{passing}"}, meddle=["log_every", 1])
        assert process.wait() == KILLED, process.stderr
        # A kill in the middle of a line.
        with (tmp_path / "runs" / "tiny" / "log.jsonl").open("a") as log:
            log.write('{"event": "update", "upd')
    finish(warm, tmp_path, ["log_every", 1])
    starts = events(tmp_path, "start")
    assert [event["update"] for event in starts] == sorted(event["update"] for event in starts)
    assert len(starts) == 4
    assert all(START_FIELDS | {"recipe_file", "same_bytes"} <= event.keys() for event in starts)
    assert [event["update"] for event in events(tmp_path, "update")] == list(range(1, 13))
    assert [event["update"] for event in events(tmp_path, "saved")] == [3, 6, 9, 12]
    whole = unbroken(recipe()).folder
    for kind, fields in (("validation", ("update", "loss", "bleu", "signature")), ("end", ("reason", "scores"))):
        ours, theirs = ([[e[f] for f in fields] for e in events(folder, kind)] for folder in (tmp_path, whole))
        assert ours == theirs
    updates = events(tmp_path, "update")
    assert updates[-1]["tgt_tokens"] == events(whole, "update")[-1]["tgt_tokens"]
    assert all(a["tgt_tokens"] < b["tgt_tokens"] and a["epoch"] < b["epoch"] for a, b in pairwise(updates))


def test_nothing_half_made_and_no_old_checkpoint_is_left(warm: Warm, tmp_path: Path) -> None:
    write(tmp_path, recipe())
    for failpoint in ("publish.manifest.half", "remove.unlink.after", "write.write.half"):
        kill_at(warm, tmp_path, failpoint, 2)
    finish(warm, tmp_path)
    run = tmp_path / "runs" / "tiny"
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_dir()}
    kept = events(tmp_path, "end")[0]["model_of_updates"]
    assert {"checkpoints", "checkpoints/update-12", "best"} <= names
    assert {f"best/update-{u}" for u in kept} <= names
    assert len(names) <= 3 + 3  # the average's two, and the best one where it is not of them
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]


def test_starting_a_finished_training_again_changes_nothing(warm: Warm, tmp_path: Path) -> None:
    write(tmp_path, recipe())
    assert finish(warm, tmp_path) == finish(warm, tmp_path)
    assert [event["update"] for event in events(tmp_path, "end")] == [12, 12]


def test_a_log_that_cannot_be_written_stops_no_training(
    warm: Warm, unbroken: Callable[..., Unbroken], tmp_path: Path
) -> None:
    (write(tmp_path, recipe()) / "runs" / "tiny" / "log.jsonl").mkdir(parents=True)
    process = warm.start(tmp_path, TRAIN)
    assert process.wait() == 0, process.stderr
    assert process.stderr.count("training goes on without its log") == 1
    assert result(tmp_path) == unbroken(recipe()).result
