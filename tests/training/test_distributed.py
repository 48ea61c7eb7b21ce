"""Several processes train what one trains, to the byte, and end together, whatever happens to one of them."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from nmt.ops.fused import library
from nmt.training.checkpoint import saved_updates
from tests.training.several import said, start, wait
from tests.training.test_stopping import assert_finite_on_disk, until_hanging
from tests.training.tiny import TRAIN, events, recipe, result, write
from tests.training.warm import Warm, environment


def parts(count: int = 4, **changes: Any) -> dict[str, Any]:
    """The tiny recipe with its batches in parts."""
    return recipe(**{**changes, "train": {"grad_parts": count, **changes.get("train", {})}})


VARIANTS: dict[str, dict[str, Any]] = {
    "dropout, clipping, adam": {},
    "tokens, r_drop, adadelta": {
        "train": {
            **{"batch_sentences": None, "batch_tokens": 150, "r_drop": 3.0},
            **{"lr": 1.0, "optimizer": {"kind": "adadelta"}},
        }
    },
    "bpe, pieces drawn anew": {
        "tokenizer": {"kind": "bpe", "vocab": 22},
        "train": {"subword_sampling": 0.3, "label_smoothing": 0.1, "loss_per": "sentence"},
    },
    "batches of fewer sentences than parts": {"train": {"batch_sentences": 3, "grad_parts": 5}},
    "a plateau, patience, a test text": {
        "corpus": {"test": "valid"},
        "train": {"schedule": {"kind": "plateau", "patience": 1}, "patience": 2, "validate_every": 3},
    },
    "bfloat16": {"compute": {"dtype": "bfloat16"}},
}


def trained(warm: Warm, folder: Path, made: Mapping[str, Any], size: int, **meddled: Any) -> Path:
    processes = start(warm, write(folder, made), size, TRAIN, **meddled)
    assert wait(processes) == [0] * size, said(processes)
    return folder


def log_of(folder: Path) -> list[dict[str, Any]]:
    """All that was logged of updates and validations, but for the clock."""
    clock = ("seconds", "tgt_tokens_per_second")
    logged = events(folder, "update", "validation", "skipped", "end")
    return [{key: value for key, value in event.items() if key not in (*clock, "time")} for event in logged]


@pytest.fixture(scope="module")
def alone(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of the four parts, every update logged."""
    return trained(warm, tmp_path_factory.mktemp("alone"), parts(), 1, meddle={0: ["log_every", 1]})


# The promise.


def test_two_processes_see_the_same_batches_and_end_with_the_same_bytes(
    warm: Warm, alone: Path, tmp_path: Path
) -> None:
    trained(warm, tmp_path, parts(), 2, meddle={0: ["log_every", 1]})
    batches = [[event["batch"] for event in events(folder, "update")] for folder in (alone, tmp_path)]
    assert batches[0] == batches[1]
    assert len(set(batches[0])) == len(batches[0]) == 12
    assert log_of(tmp_path) == log_of(alone)
    assert result(tmp_path) == result(alone)
    assert [event["processes"] for event in events(tmp_path, "start")] == [2]


def test_a_sharded_optimizer_is_nowhere_whole_and_makes_the_same_bytes(warm: Warm, alone: Path, tmp_path: Path) -> None:
    """Also of a checkpoint that one process made, and for one process that goes on."""
    write(tmp_path, parts(compute={"shard_optimizer": True}))
    processes = start(warm, tmp_path, 1, TRAIN, meddle={0: ["kill_when_saved", 3]})
    assert wait(processes) == [-signal.SIGKILL]
    processes = start(warm, tmp_path, 2, TRAIN, meddle={0: ["kill_when_saved", 6], 1: ["count_states", "states"]})
    assert wait(processes)[0] == -signal.SIGKILL
    trained(warm, tmp_path, parts(compute={"shard_optimizer": True}), 2, meddle={0: ["count_states", "states"]})
    wholes = [{k: v for k, v in result(f).items() if k != "model.safetensors"} for f in (tmp_path, alone)]
    assert wholes[0] == wholes[1]  # the model's recipe says that it was sharded
    kept = [int((tmp_path / f"states.{rank}").read_text()) for rank in (0, 1)]
    last = tmp_path / "runs" / "tiny" / "checkpoints" / "update-12"
    with safetensors.safe_open(last / "weights.safetensors", "pt") as weights:
        assert sum(kept) == len(weights.keys())
    assert min(kept) > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["muon", "adadelta", "sgd"])
def test_every_optimizer_can_be_sharded(kind: str, warm: Warm, tmp_path: Path) -> None:
    made = parts(train={"optimizer": {"kind": kind}}, compute={"shard_optimizer": True})
    whole = trained(warm, tmp_path / "1", made, 1)
    assert result(trained(warm, tmp_path / "2", made, 2)) == result(whole)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_three_and_four_processes_end_with_the_bytes_of_one(variant: str, warm: Warm, tmp_path: Path) -> None:
    made = parts(**VARIANTS[variant])
    whole = trained(warm, tmp_path / "1", made, 1, meddle={0: ["log_every", 1]})
    for size in (2, 3, 4):
        folder = trained(warm, tmp_path / str(size), made, size, meddle={0: ["log_every", 1]})
        assert log_of(folder) == log_of(whole), size
        assert result(folder) == result(whole), size


def test_killed_and_resumed_with_other_numbers_of_processes_it_ends_with_the_same_bytes(
    warm: Warm, alone: Path, tmp_path: Path
) -> None:
    write(tmp_path, parts())
    for size, update in ((1, 3), (2, 6)):
        processes = start(warm, tmp_path, size, TRAIN, meddle={0: ["kill_when_saved", update]})
        assert wait(processes)[0] == -signal.SIGKILL
        assert saved_updates(tmp_path / "runs" / "tiny")[-1] == update
    trained(warm, tmp_path, parts(), 1)
    assert result(tmp_path) == result(alone)


@pytest.mark.slow
def test_resumed_with_one_to_four_processes_it_ends_with_the_same_bytes(
    warm: Warm, alone: Path, tmp_path: Path
) -> None:
    write(tmp_path, parts())
    for size, update in ((4, 3), (1, 6), (3, 9)):
        processes = start(warm, tmp_path, size, TRAIN, meddle={0: ["kill_when_saved", update]})
        assert wait(processes)[0] == -signal.SIGKILL
    trained(warm, tmp_path, parts(), 2)
    assert result(tmp_path) == result(alone)


def test_with_dropout_seeded_by_process_the_bytes_differ(warm: Warm, alone: Path, tmp_path: Path) -> None:
    """The comparison with its guard removed."""
    trained(warm, tmp_path, parts(), 2, meddle={0: ["seed_by_process"], 1: ["seed_by_process"]})
    assert result(tmp_path)["weights.safetensors"] != result(alone)["weights.safetensors"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    last = folder / "runs" / "tiny" / "checkpoints" / "update-12" / "weights.safetensors"
    return safetensors.torch.load(last.read_bytes())


@pytest.mark.parametrize("count", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_another_number_of_parts_differs_by_rounding_alone(count: int, warm: Warm, tmp_path: Path) -> None:
    """Without dropout, which is seeded by part: 12 updates of SGD, weights within 1e-5 (docs/distributed.md)."""
    changes: dict[str, Any] = {"model": {"dropout": 0.0}, "train": {"optimizer": {"kind": "sgd"}, "lr": 0.5}}
    whole = weights(trained(warm, tmp_path / "1", recipe(**changes), 1))
    cut = weights(trained(warm, tmp_path / "2", parts(count, **changes), 2))
    assert whole.keys() == cut.keys()
    assert max(float((whole[name] - cut[name]).abs().max()) for name in whole) < 1e-5


# At the door.


def test_fewer_parts_than_processes_are_refused_once(warm: Warm, tmp_path: Path) -> None:
    processes = start(warm, write(tmp_path, parts(2)), 3, TRAIN)
    assert wait(processes) == [2, 2, 2]
    assert said(processes) == (
        "error: train.grad_parts is 2, and 3 processes need at least 3 parts to share\n"
        "  set train.grad_parts: 3 or a multiple of it, which a run keeps for good, or start 2\n"
    )


def test_a_fault_that_all_find_is_said_once(warm: Warm, tmp_path: Path) -> None:
    processes = start(warm, write(tmp_path, parts(corpus={"train": "nowhere"})), 2, TRAIN)
    assert wait(processes) == [3, 3]
    assert said(processes).count("error: ") == 1


def test_a_fault_of_the_recipe_is_said_once(warm: Warm, tmp_path: Path) -> None:
    processes = start(warm, write(tmp_path, parts(train={"updatez": 3})), 2, TRAIN)
    assert wait(processes) == [2, 2]
    assert said(processes).count("error: ") == 1


def test_processes_of_different_recipes_are_refused(warm: Warm, tmp_path: Path) -> None:
    processes = start(warm, write(tmp_path, parts()), 2, TRAIN, more={1: ["--set", "train.lr=0.04"]})
    assert wait(processes) == [5, 5]
    assert said(processes).count("error: ") == 1
    assert "have not the same recipe\n  every machine needs the same recipe, text and versions\n" in said(processes)
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(library()[0] is None, reason="there is no C compiler here")
def test_processes_of_different_passes_are_refused(warm: Warm, tmp_path: Path) -> None:
    processes = start(warm, write(tmp_path, parts()), 2, TRAIN, meddle={1: ["without_libraries"]})
    assert wait(processes) == [5, 5]
    assert said(processes).count("error: ") == 1
    assert "have not the same kernels\n" in said(processes)
    assert not (tmp_path / "runs").exists()


def test_one_process_prepares_and_one_speaks(warm: Warm, tmp_path: Path) -> None:
    first, second = start(warm, write(tmp_path, parts()), 2, TRAIN)
    assert wait([first, second]) == [0, 0]
    assert first.stderr.count("learning a word vocabulary") == 1
    assert "2 processes with 1 threads" in first.stderr
    assert second.stderr == ""


# Ending together.


def resumes(warm: Warm, folder: Path, alone: Path) -> None:
    trained(warm, folder, parts(), 2)
    assert result(folder) == result(alone)


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_signal_to_one_process_stops_all_at_one_update(rank: int, warm: Warm, alone: Path, tmp_path: Path) -> None:
    meddle = {rank: ["signal_at", 5, signal.SIGTERM]}
    processes = start(warm, write(tmp_path, parts()), 2, TRAIN, meddle=meddle)
    assert wait(processes) == [143, 143]
    assert said(processes).count("error: stopped at update 5 of 12; it is saved\n") == 1
    assert saved_updates(tmp_path / "runs" / "tiny") == [5]
    resumes(warm, tmp_path, alone)


@pytest.mark.slow
def test_a_second_signal_to_one_of_several_does_not_cost_the_save(warm: Warm, tmp_path: Path) -> None:
    """torchrun passes a signal on to processes that may have had it already."""
    processes = start(warm, write(tmp_path, parts()), 2, TRAIN, meddle={0: ["hang_at", 5]})
    until_hanging(tmp_path)
    for _ in range(3):
        for process in processes:
            process.send(signal.SIGINT)
        time.sleep(0.1)
    (tmp_path / "go").touch()
    assert wait(processes) == [130, 130]
    assert saved_updates(tmp_path / "runs" / "tiny") == [5]


@pytest.mark.slow
def test_a_signal_during_the_final_scores_stops_all(warm: Warm, alone: Path, tmp_path: Path) -> None:
    processes = start(warm, write(tmp_path, parts()), 2, TRAIN, meddle={1: ["interrupt_measuring"]})
    assert wait(processes) == [143, 143]
    assert said(processes).count("stopped before the final scores") == 1
    resumes(warm, tmp_path, alone)


def test_a_part_that_is_not_finite_is_skipped_by_all(warm: Warm, tmp_path: Path) -> None:
    trained(warm, tmp_path, parts(), 2, meddle={1: ["break_part", 4]})
    [skipped] = events(tmp_path, "skipped")
    assert (skipped["update"], skipped["nll"]) == (4, "nan")
    assert saved_updates(tmp_path / "runs" / "tiny") == [12]
    assert_finite_on_disk(tmp_path)


def test_a_fault_of_one_process_ends_all_and_is_said_once_by_its_name(warm: Warm, alone: Path, tmp_path: Path) -> None:
    processes = start(warm, write(tmp_path, parts()), 2, TRAIN, meddle={1: ["raise_at", 5]})
    assert wait(processes) == [5, 5]
    assert said(processes).count("error: ") == 1
    assert "error: process 1 on " in processes[1].stderr
    assert "there is not enough memory\n  use smaller batches\n" in processes[1].stderr
    resumes(warm, tmp_path, alone)


@pytest.mark.slow
def test_a_full_disk_ends_all(warm: Warm, alone: Path, tmp_path: Path) -> None:
    processes = start(warm, write(tmp_path, parts()), 2, TRAIN, env={"NMT_FAILPOINT": "publish.rename.before:enospc@4"})
    assert wait(processes) == [5, 5]
    assert said(processes).count("error: ") == 1
    assert "No space left on device" in processes[0].stderr
    resumes(warm, tmp_path, alone)


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_ends_the_others_with_its_name(rank: int, warm: Warm, alone: Path, tmp_path: Path) -> None:
    processes = start(
        warm, write(tmp_path, parts(compute={"timeout_seconds": 5.0})), 2, TRAIN, meddle={rank: ["die_at", 5]}
    )
    started = time.monotonic()
    codes = wait(processes)
    assert (codes[rank], codes[1 - rank]) == (-signal.SIGKILL, 5)
    assert time.monotonic() - started < 15
    words = processes[1 - rank].stderr
    assert f"error: process {rank} of 2 (pid {processes[rank].pid} on " in words or "lost touch" in words
    resumes(warm, tmp_path, alone)


@pytest.mark.parametrize(
    ("how", "rank"),
    [
        ("hang_at", 1),
        pytest.param("hang_at", 0, marks=pytest.mark.slow),
        pytest.param("stop_at", 0, marks=pytest.mark.slow),
        pytest.param("stop_at", 1, marks=pytest.mark.slow),
    ],
)
def test_a_process_that_hangs_ends_the_training_within_its_limit(
    how: str, rank: int, warm: Warm, alone: Path, tmp_path: Path
) -> None:
    """`stop_at`: nothing in it moves any more. `hang_at`: its other threads are alive."""
    made = parts(compute={"timeout_seconds": 2.0})
    processes = start(warm, write(tmp_path, made), 2, TRAIN, meddle={rank: [how, 5]})
    started = time.monotonic()
    assert processes[1 - rank].wait() == 5
    assert processes[rank].wait() == -signal.SIGKILL
    assert time.monotonic() - started < 12
    assert said(processes).count("error: ") == 1
    assert f"error: process {rank} of 2 (pid {processes[rank].pid} on " in processes[1 - rank].stderr
    assert " has kept the others waiting for 2 seconds\n  see what it is at" in processes[1 - rank].stderr
    resumes(warm, tmp_path, alone)


def test_weights_that_have_come_apart_are_never_saved(warm: Warm, tmp_path: Path) -> None:
    processes = start(warm, write(tmp_path, parts()), 2, TRAIN, meddle={1: ["change_weight", 5]})
    assert wait(processes) == [6, 6]
    assert said(processes).count("error: ") == 1
    assert "error: update 6: the weights of process 1 are no longer those of process 0\n" in said(processes)
    assert saved_updates(tmp_path / "runs" / "tiny") == [3]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_signal_to_any_process_at_any_moment_is_obeyed_by_all(warm: Warm, alone: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    stopped = 0
    for number in range(30):
        folder = write(tmp_path / str(number), parts())
        processes = start(warm, folder, 2, TRAIN)
        end = time.monotonic() + 60
        while not (folder / "runs" / "tiny" / "log.jsonl").exists() and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 1))
        for process in rng.sample(processes, rng.randint(1, 2)):
            process.send(signal.SIGTERM)
        codes = wait(processes)
        # Who has done its work no longer listens: it goes as any program would.
        late = "all 12 updates are done" in said(processes) and set(codes) <= {0, -signal.SIGTERM}
        assert late or codes == [143, 143], said(processes)
        stopped += codes == [143, 143]
        resumes(warm, folder, alone)
    assert stopped > 5


# torchrun itself.


def torchrun(folder: Path, size: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    return subprocess.Popen(
        [*command, "-m", "nmt", *TRAIN], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    )


def until_saved(folder: Path) -> None:
    log, end = folder / "runs" / "tiny" / "log.jsonl", time.monotonic() + 200
    while not (log.exists() and '"saved"' in log.read_text()):
        assert time.monotonic() < end, "it never saved"
        time.sleep(0.02)


def test_sigterm_to_torchrun_saves_and_one_process_goes_on_to_the_same_bytes(warm: Warm, tmp_path: Path) -> None:
    made = parts(2, train={"updates": 100, "validate_every": 50, "save_every": 5})
    whole = trained(warm, tmp_path / "whole", made, 1)
    process = torchrun(write(tmp_path / "cut", made), 2)
    until_saved(tmp_path / "cut")
    process.send_signal(signal.SIGTERM)
    words = process.communicate()[1]
    assert process.returncode != 0
    assert words.count("error: stopped at update ") == 1, words
    assert words.count("2 processes with 1 threads") == 1
    stopped = saved_updates(tmp_path / "cut" / "runs" / "tiny")[-1]
    assert f"error: stopped at update {stopped} of 100; it is saved\n" in words
    assert 5 < stopped < 100
    trained(warm, tmp_path / "cut", made, 1)
    assert result(tmp_path / "cut") == result(whole)


@pytest.mark.slow
def test_when_torchrun_is_killed_its_processes_save_and_end(warm: Warm, tmp_path: Path) -> None:
    made = parts(2, train={"updates": 100_000, "validate_every": 1000, "save_every": 10})
    process = torchrun(write(tmp_path, made), 2)
    until_saved(tmp_path)
    process.kill()
    words = process.communicate()[1]  # ends when all that could write there have ended
    assert words.count("error: stopped at update ") == 1, words


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_under_torchrun_a_process_that_dies_or_hangs_is_named_once(
    number: signal.Signals, warm: Warm, tmp_path: Path
) -> None:
    made = parts(2, train={"updates": 100_000, "save_every": 10}, compute={"timeout_seconds": 5.0})
    process = torchrun(write(tmp_path, made), 2)
    until_saved(tmp_path)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[1]), number)
    started = time.monotonic()
    words = process.communicate()[1]
    assert time.monotonic() - started < 20
    assert words.count("error: ") == 1
    assert f"error: process 1 of 2 (pid {children[1]} on " in words
    assert "exitcode  : 5" in words
