"""Checkpoints: whole or not at all, found damaged when damaged, and the optimiser as if it had never stopped."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adam, AdamW, Optimizer

from nmt import durable
from nmt.durable import MANIFEST
from nmt.errors import EnvironmentFault, ModelError
from nmt.training import checkpoint
from nmt.training.checkpoint import (
    OPTIMIZER,
    STATE,
    WEIGHTS,
    Checkpoint,
    flatten_optimizer,
    folder_of,
    load,
    load_latest,
    prune,
    restore_optimizer,
    save,
    saved_updates,
)

ROOT = Path(__file__).parents[2]


def content(update: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(update)
    return {
        "weights": {"b": torch.randn(3, 2, generator=generator), "a": torch.randn((), generator=generator)},
        "optimizer": {"step": torch.tensor(float(update))},
        "state": {"update": update, "loss": 0.1 + update, "epoch": {"number": 1, "taken": [1, 2, None, True]}},
    }


def save_some(run: Path, *updates: int) -> None:
    for update in updates:
        save(run, update, **content(update))


def fail(text: str) -> None:
    pytest.fail(f"said: {text}")


def assert_equal(found: Checkpoint | None, update: int) -> None:
    assert found is not None
    wanted = content(update)
    assert found.update == update
    assert found.state == wanted["state"]
    for mine, theirs in ((found.weights, wanted["weights"]), (found.optimizer, wanted["optimizer"])):
        assert mine.keys() == theirs.keys()
        assert all(is_same(mine[name], theirs[name]) for name in mine)


def is_same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


def file_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# Saving and loading.


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    assert load_latest(tmp_path, fail) is None
    save_some(tmp_path, 9, 10, 100)
    assert_equal(load_latest(tmp_path, fail), 100)
    assert_equal(load(folder_of(tmp_path, 9)), 9)
    assert sorted(file_bytes(folder_of(tmp_path, 9))) == ["manifest.json", OPTIMIZER, STATE, WEIGHTS]
    assert saved_updates(tmp_path) == [9, 10, 100]


def test_every_dtype_and_shape_comes_back_exactly(tmp_path: Path) -> None:
    base = torch.tensor([0.0, -0.0, float("inf"), float("nan"), 1e-42, 3.5])
    tensors = {
        "empty": torch.zeros(0, 3),
        "empty too": torch.zeros(0, 3),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "slice": torch.arange(10.0)[3:6],
        "parameter": nn.Parameter(torch.ones(2)),
        "bytes": torch.arange(4, dtype=torch.uint8),
        "count": torch.tensor(2**53 + 1),
        "flag": torch.tensor([True, False]),
        **{str(dtype): base.to(dtype) for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16)},
    }
    found = load(save(tmp_path, 1, tensors, {}, {}))
    assert found.optimizer == {}
    assert found.weights.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.weights[name].dtype == tensor.dtype
        assert found.weights[name].shape == tensor.shape
        ours, theirs = (t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (found.weights[name], tensor))
        assert torch.equal(ours, theirs), name


def test_tied_tensors_come_back_equal(tmp_path: Path) -> None:
    embedding = torch.randn(4, 3)
    tensors = {"src": embedding, "tgt": embedding, "out": embedding.T, "first": embedding[0]}
    found = load(save(tmp_path, 1, tensors, tensors, {})).weights
    assert all(is_same(found[name], tensors[name]) for name in tensors)


def test_the_bytes_are_a_function_of_what_is_saved(tmp_path: Path) -> None:
    def turned(value: Any) -> Any:
        return {key: turned(value[key]) for key in reversed(list(value))} if isinstance(value, dict) else value

    one = save(tmp_path / "one", 3, **content(3))
    two = save(tmp_path / "two", 3, **{key: turned(value) for key, value in content(3).items()})
    assert file_bytes(one) == file_bytes(two)
    other = save(tmp_path / "other", 3, **{**content(3), "state": {"loss": 0.2}})
    assert file_bytes(one) != file_bytes(other)
    text = b"".join(file_bytes(one).values())
    assert os.uname().nodename.encode() + b" " not in text
    assert str(tmp_path).encode() not in text


def test_a_state_that_would_come_back_changed_is_refused(tmp_path: Path) -> None:
    for state in ({1: "a"}, {"a": {2: 3}}, {"a": [{None: 1}]}, {"a": torch.ones(1)}, {"a": {1, 2}}, {"a": b""}):
        with pytest.raises(TypeError, match="state"):
            save(tmp_path, 1, {}, {}, state)  # pyright: ignore[reportArgumentType]
    assert saved_updates(tmp_path) == []


def test_saving_again_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_some(tmp_path, 5)
    path = folder_of(tmp_path, 5)
    before = path.stat().st_ino
    synced: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "sync_folder", synced.append)
        assert save(tmp_path, 5, **content(5), say=fail) == path
    assert synced == [path.parent]  # a kill may have come between the first save's rename and its fsync
    assert path.stat().st_ino == before

    (path / WEIGHTS).write_bytes(b"torn")
    said: list[str] = []
    save(tmp_path, 5, **content(5), say=said.append)
    assert_equal(load(path), 5)
    assert len(said) == 1
    assert WEIGHTS in said[0]
    assert [other.name for other in path.parent.iterdir()] == ["update-5"]

    said.clear()
    save(tmp_path, 5, **content(6), say=said.append)
    assert said == [f"warning: {path}: is there already with other contents, kept as update-5.aside-1"]
    assert len(list(path.parent.iterdir())) == 2
    assert saved_updates(tmp_path) == [5]


def test_a_damaged_one_that_holds_a_strangers_file_is_moved_aside(tmp_path: Path) -> None:
    save_some(tmp_path, 5)
    path = folder_of(tmp_path, 5)
    (path / STATE).unlink()
    (path / "notes.txt").write_text("mine")
    said: list[str] = []
    save(tmp_path, 5, **content(5), say=said.append)
    assert_equal(load(path), 5)
    assert (path.with_name("update-5.aside-1") / "notes.txt").read_text() == "mine"
    assert "aside" in said[-1]


# Damage.


@pytest.mark.parametrize("seed", range(2))
def test_every_cut_and_every_flipped_bit_is_found(seed: int, tmp_path: Path) -> None:
    save_some(tmp_path, 5)
    path = folder_of(tmp_path, 5)
    whole = file_bytes(path)
    rng = random.Random(seed)

    def is_found(name: str, damaged: bytes) -> bool:
        (path / name).write_bytes(damaged)
        try:
            load(path)
        except ModelError as fault:
            return name == MANIFEST or name in fault.what  # a manifest that lies accuses the other files
        finally:
            (path / name).write_bytes(whole[name])
        return False

    missed = []
    for _ in range(100):
        name = rng.choice(list(whole))
        cut = rng.randrange(len(whole[name]))
        missed += [] if is_found(name, whole[name][:cut]) else [(name, "cut", cut)]
    for _ in range(500):
        name = rng.choice(list(whole))
        bit = rng.randrange(8 * len(whole[name]))
        flipped = bytearray(whole[name])
        flipped[bit // 8] ^= 1 << bit % 8
        missed += [] if is_found(name, bytes(flipped)) else [(name, "bit", bit)]
    assert missed == []
    assert not is_found(STATE, whole[STATE])  # the control: what is not damaged is not found damaged
    assert_equal(load(path), 5)


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(tmp_path: Path) -> None:
    save_some(tmp_path, 10, 20, 30, 45)
    (folder_of(tmp_path, 45) / WEIGHTS).unlink()
    (folder_of(tmp_path, 30) / "manifest.json").unlink()
    said: list[str] = []
    assert_equal(load_latest(tmp_path, said.append), 20)
    place = tmp_path / "checkpoints"
    assert said == [
        f"warning: {place}/update-45: damaged: {WEIGHTS} is missing",
        f"warning: {place}/update-30: damaged: manifest.json is missing",
        "warning: going on from update 20 instead of 45: 25 updates are lost",
    ]
    for update in (10, 20):
        (folder_of(tmp_path, update) / STATE).write_bytes(b"{}")
    with pytest.raises(ModelError, match="no checkpoint can be used") as fault:
        load_latest(tmp_path, fail)
    assert all(f"update-{update}" in fault.value.what for update in (10, 20, 30, 45))
    assert fault.value.hint == f"put a copy of one back, or move {place} away to train from the start"


def test_other_names_and_times_do_not_decide_which_is_newest(tmp_path: Path) -> None:
    save_some(tmp_path, 7, 12)
    place = tmp_path / "checkpoints"
    os.utime(folder_of(tmp_path, 7), (4e9, 4e9))
    for name in ("update-99.aside-1", "update-", "update-013", "update-x", ".tmp-update-50-1", "updates"):
        shutil.copytree(folder_of(tmp_path, 7), place / name)
    (place / "notes.txt").write_text("")
    assert_equal(load_latest(tmp_path, fail), 12)
    shutil.copytree(folder_of(tmp_path, 7), folder_of(tmp_path, 50))
    said: list[str] = []
    assert_equal(load_latest(tmp_path, said.append), 12)
    assert "holds update 7, so this is not its name" in said[0]


def test_a_folder_that_is_no_checkpoint_is_a_model_error(tmp_path: Path) -> None:
    files = file_bytes(save(tmp_path, 1, **content(1)))
    del files["manifest.json"]
    broken = {
        "a": {name: files[name] for name in (WEIGHTS, STATE)},
        "b": {**files, STATE: b"not json"},
        "c": {**files, STATE: b'{"format": 1}'},
        "d": {**files, STATE: b'{"format": 2, "state": {}, "update": 1}'},
        "e": {**files, STATE: b'{"format": 1, "state": [], "update": 1}'},
        "f": {**files, WEIGHTS: b"not safetensors"},
        "g": {**files, OPTIMIZER: (10**9).to_bytes(8, "little")},
        "h": {**files, STATE: b"[" * 100_000},
    }
    for name, given in broken.items():
        durable.publish_folder(tmp_path / name, given)
        with pytest.raises(ModelError, match=str(tmp_path / name)):
            load(tmp_path / name)


# Kills and full disks.

KILLED = """
import os, sys
from pathlib import Path
import torch
from nmt import durable
from nmt.training.checkpoint import save

def save_in_a_child(run, update, point):
    pid = os.fork()
    if pid == 0:
        os.environ["NMT_FAILPOINT"] = point
        save(run, update, {"w": torch.full((50,), float(update))}, {"m": torch.zeros(50)}, {"update": update})
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

here = Path(sys.argv[1])
for i, point in enumerate(sys.argv[2].split()):
    run = here / str(i)
    assert save_in_a_child(run, 1, "") == 0
    if point.startswith("remove"):  # a save removes only a damaged checkpoint of its own update
        assert save_in_a_child(run, 2, "") == 0
        (run / "checkpoints/update-2/weights.safetensors").write_bytes(b"torn")
    assert save_in_a_child(run, 2, point) == -9, point
"""


def kill_saving(here: Path, points: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(here), " ".join(points)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_a_kill_at_any_failpoint_of_a_save_loses_no_earlier_update(tmp_path: Path) -> None:
    a_file = ("publish.write", "publish.sync", "remove.unlink.")
    points = [
        f"{name}:kill@{k}"
        for name in durable.FAILPOINTS
        if not name.startswith("write.")
        for k in ((1, 2, 3) if name.startswith(a_file) and "sync-" not in name else (1,))
    ]
    kill_saving(tmp_path, points)
    for i, point in enumerate(points):
        run = tmp_path / str(i)
        said: list[str] = []
        found = load_latest(run, said.append)
        assert found is not None
        assert found.update in (1, 2), point
        assert torch.equal(found.weights["w"], torch.full((50,), float(found.update)))
        if not point.startswith("remove"):  # there it was damaged before
            assert said == [], point
            assert (found.update == 2) == (point.split(":")[0] in AFTER_THE_RENAME), point
        save(run, 2, {"w": torch.full((50,), 2.0)}, {"m": torch.zeros(50)}, {"update": 2})
        assert not [path for path in (run / "checkpoints").iterdir() if path.name.startswith(".")], point
        again = load_latest(run, fail)
        assert again is not None
        assert again.update == 2
        assert prune(run, [2]) == []
        assert [path.name for path in (run / "checkpoints").iterdir()] == ["update-2"], point


AFTER_THE_RENAME = ("publish.rename.after", "publish.sync-parent.before", "publish.sync-parent.after")


def test_a_full_disk_at_any_failpoint_keeps_the_earlier_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NMT_FAILPOINT", "none:kill")
    save_some(tmp_path / "count", 1)
    points = [(name, k + 1) for name, n in durable._passed.items() for k in range(n)]
    assert len(points) == 2 * (1 + 3 + 3 + 5) + 4
    for i, (name, k) in enumerate(points):
        monkeypatch.delenv("NMT_FAILPOINT", raising=False)
        run = tmp_path / str(i)
        save_some(run, 1)
        monkeypatch.setenv("NMT_FAILPOINT", f"{name}:enospc@{k}")
        with pytest.raises(EnvironmentFault, match="No space left on device") as fault:
            save_some(run, 2)
        assert fault.value.hint.startswith("free some space")
        found = load_latest(run, fail)
        assert_equal(found, 2 if name in AFTER_THE_RENAME else 1)
        assert not [path for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]
        save_some(run, 2)  # the disk has space again
        assert_equal(load_latest(run, fail), 2)


# Pruning.


def test_pruning_keeps_what_is_wanted_and_always_the_newest_whole_one(tmp_path: Path) -> None:
    save_some(tmp_path, 1, 2, 3, 4, 5)
    assert prune(tmp_path, [2, 5]) == []
    assert saved_updates(tmp_path) == [2, 5]
    assert prune(tmp_path, []) == []
    assert saved_updates(tmp_path) == [5]
    save_some(tmp_path, 6)
    (folder_of(tmp_path, 6) / WEIGHTS).unlink()
    assert prune(tmp_path, [6]) == []
    assert saved_updates(tmp_path) == [5, 6]
    assert prune(tmp_path, []) == []
    assert saved_updates(tmp_path) == [5]
    (folder_of(tmp_path, 5) / WEIGHTS).unlink()
    assert prune(tmp_path, []) == [f"{tmp_path / 'checkpoints'}: nothing removed: no checkpoint there is whole"]
    assert saved_updates(tmp_path) == [5]


def test_a_failing_removal_is_a_warning_and_strangers_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_some(tmp_path, 1, 2, 3, 4)
    (folder_of(tmp_path, 1) / "notes.txt").write_text("mine")
    monkeypatch.setenv("NMT_FAILPOINT", "remove.unlink.before:enospc@2")
    warnings = prune(tmp_path, [4])
    assert len(warnings) == 2
    assert "we did not put notes.txt there" in warnings[0]
    assert "update-2: not removed entirely: No space left" in warnings[1]
    assert saved_updates(tmp_path) == [1, 4]
    assert_equal(load(folder_of(tmp_path, 1)), 1)


# The optimiser.


class Net(nn.Module):
    """Has a parameter that gets no gradient at first, one that is a scalar, and one that never gets any."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 5)
        self.late = nn.Linear(5, 5)
        self.scale = nn.Parameter(torch.ones(()))
        self.unused = nn.Parameter(torch.ones(2))

    def loss(self, update: int) -> Tensor:
        x = torch.randn(3, 4, generator=torch.Generator().manual_seed(update))
        h = torch.tanh(self.inner(x.to(self.scale.dtype))) * self.scale
        return (self.late(h) if update >= 4 else h).square().mean()


Make = Callable[[list[nn.Parameter]], Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "adam": lambda p: Adam(p, lr=1e-2, betas=(0.9, 0.98), eps=1e-9),
    "adam fused": lambda p: Adam(p, lr=1e-2, fused=True),
    "adam foreach amsgrad": lambda p: Adam(p, lr=1e-2, foreach=True, amsgrad=True),
    "adam tensor lr": lambda p: Adam(p, lr=torch.tensor(1e-2)),
    "adamw": lambda p: AdamW(p, lr=1e-2, weight_decay=0.1),
    "adadelta": lambda p: Adadelta(p, lr=1.0, rho=0.95, eps=1e-6),
    "sgd": lambda p: SGD(p, lr=0.1),
    "sgd momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam groups": lambda p: Adam([{"params": p[1::2], "lr": 1e-3}, {"params": p[::2], "betas": (0.5, 0.6)}]),
}


def names_of(net: nn.Module, optimizer: Optimizer) -> list[str]:
    by_id = {id(param): name for name, param in net.named_parameters()}
    return [by_id[id(param)] for group in optimizer.param_groups for param in group["params"]]


def fresh(make: Make, dtype: torch.dtype = torch.float32) -> tuple[Net, Optimizer]:
    torch.manual_seed(1)
    net = Net().to(dtype)
    return net, make(list(net.parameters()))


def train(net: Net, optimizer: Optimizer, first: int, last: int) -> None:
    for update in range(first, last + 1):
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * 0.9  # a schedule: the rate is part of what must be restored
        optimizer.zero_grad()
        net.loss(update).backward()
        optimizer.step()


def save_net(run: Path, update: int, net: Net, optimizer: Optimizer) -> Path:
    tensors, described = flatten_optimizer(optimizer, names_of(net, optimizer))
    return save(run, update, net.state_dict(), tensors, {"optimizer": described})


def resume(run: Path, make: Make, first: int, last: int, drop: tuple[str, str] | None = None) -> Path:
    """Loads the newest into fresh objects, trains on and saves; `drop` starts one tensor of the state anew."""
    found = load_latest(run, fail)
    assert found is not None
    net, optimizer = fresh(make)
    with torch.no_grad():
        for param in net.parameters():
            param.fill_(7.0)
    net.load_state_dict(found.weights)
    restore_optimizer(optimizer, names_of(net, optimizer), found.optimizer, found.state["optimizer"])
    if drop is not None:
        optimizer.state[net.get_parameter(drop[0])][drop[1]].zero_()
    train(net, optimizer, first, last)
    return save_net(run.with_name("resumed"), last, net, optimizer)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("stop", [2, 5])  # before and after the late layer has a state
def test_resuming_equals_never_having_stopped(kind: str, stop: int, tmp_path: Path) -> None:
    make = OPTIMIZERS[kind]
    net, optimizer = fresh(make)
    train(net, optimizer, 1, 10)
    straight = save_net(tmp_path / "straight", 10, net, optimizer)

    net, optimizer = fresh(make)
    train(net, optimizer, 1, stop)
    save_net(tmp_path / "run", stop, net, optimizer)
    train(net, optimizer, 99, 99)  # what is saved is saved: going on must not reach it
    resumed = resume(tmp_path / "run", make, stop + 1, 10)
    assert file_bytes(resumed) == file_bytes(straight)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("adam", "exp_avg"),
        ("adam", "exp_avg_sq"),
        ("adam", "step"),
        ("adam fused", "exp_avg"),
        ("adamw", "exp_avg_sq"),
        ("adadelta", "square_avg"),
        ("adadelta", "acc_delta"),
        ("sgd momentum", "momentum_buffer"),
    ],
)
def test_the_resume_test_finds_one_tensor_that_starts_anew(kind: str, key: str, tmp_path: Path) -> None:
    make = OPTIMIZERS[kind]
    net, optimizer = fresh(make)
    train(net, optimizer, 1, 5)
    save_net(tmp_path / "run", 5, net, optimizer)
    train(net, optimizer, 6, 10)
    straight = save_net(tmp_path / "straight", 10, net, optimizer)
    resumed = resume(tmp_path / "run", make, 6, 10, drop=("inner.weight", key))
    assert (resumed / WEIGHTS).read_bytes() != (straight / WEIGHTS).read_bytes()


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_restoring_gives_every_tensor_its_dtype_and_value(kind: str) -> None:
    net, optimizer = fresh(OPTIMIZERS[kind], torch.bfloat16)
    train(net, optimizer, 1, 5)
    for state in optimizer.state.values():  # moments in float32 beside weights in bfloat16
        for key, value in list(state.items()):
            if isinstance(value, Tensor) and key != "step":
                state[key] = value.float() + 1e-7
    tensors, described = flatten_optimizer(optimizer, names_of(net, optimizer))
    described = json.loads(json.dumps(described))
    other_net, other = fresh(OPTIMIZERS[kind], torch.bfloat16)
    restore_optimizer(other, names_of(other_net, other), tensors, described)
    for mine, theirs in zip(net.parameters(), other_net.parameters(), strict=True):
        assert optimizer.state.get(mine, {}).keys() == other.state.get(theirs, {}).keys()
        for key, value in optimizer.state.get(mine, {}).items():
            found = other.state[theirs][key]
            assert is_same(value, found) if isinstance(value, Tensor) else value == found
            assert not isinstance(value, Tensor) or value.data_ptr() != found.data_ptr()
    for mine, theirs in zip(optimizer.param_groups, other.param_groups, strict=True):
        assert {k: (type(v), v) for k, v in mine.items() if k != "params"} == {
            k: (type(v), v) for k, v in theirs.items() if k != "params"
        }


def test_the_implementation_is_the_fresh_optimisers_choice(tmp_path: Path) -> None:
    net, optimizer = fresh(OPTIMIZERS["adam fused"])
    train(net, optimizer, 1, 3)
    save_net(tmp_path / "run", 3, net, optimizer)
    found = load_latest(tmp_path / "run", fail)
    assert found is not None
    net, optimizer = fresh(lambda p: Adam(p, foreach=False))
    restore_optimizer(optimizer, names_of(net, optimizer), found.optimizer, found.state["optimizer"])
    assert optimizer.param_groups[0]["fused"] is None
    assert optimizer.param_groups[0]["foreach"] is False
    train(net, optimizer, 4, 5)


def test_the_state_goes_by_name_not_by_order() -> None:
    net, optimizer = fresh(OPTIMIZERS["adam"])
    train(net, optimizer, 1, 5)
    tensors, described = flatten_optimizer(optimizer, names_of(net, optimizer))
    other = Net()
    turned = Adam(list(reversed(list(other.parameters()))))
    restore_optimizer(turned, names_of(other, turned), tensors, described)
    for (name, mine), theirs in zip(net.named_parameters(), other.parameters(), strict=True):
        if name != "unused":
            assert torch.equal(optimizer.state[mine]["exp_avg"], turned.state[theirs]["exp_avg"])


def test_what_does_not_fit_is_a_model_error_and_changes_nothing() -> None:
    net, optimizer = fresh(OPTIMIZERS["adam"])
    train(net, optimizer, 1, 5)
    names = names_of(net, optimizer)
    tensors, described = flatten_optimizer(optimizer, names)
    fewer = {name: value for name, value in tensors.items() if name != "state/scale/exp_avg"}
    cut = {**tensors, "state/inner.bias/exp_avg": torch.zeros(3)}
    renamed = ["other" if name == "scale" else name for name in names]
    cases: list[tuple[Make, list[str], dict[str, Tensor], str]] = [
        (OPTIMIZERS["adamw"], names, tensors, "optimizer is Adam, not AdamW"),
        (OPTIMIZERS["adam"], renamed, tensors, "differs for other, scale"),
        (OPTIMIZERS["adam"], names, fewer, "lacks state/scale/exp_avg"),
        (OPTIMIZERS["adam"], names, {**tensors, "more": torch.ones(1)}, "has more too many"),
        (OPTIMIZERS["adam"], names, cut, r"exp_avg of inner.bias as \(3,\), not \(5,\)"),
    ]
    for make, given, held, text in cases:
        _, other = fresh(make)
        with pytest.raises(ModelError, match=text) as fault:
            restore_optimizer(other, given, held, described)
        assert "recipe" in fault.value.hint
        assert len(other.state) == 0
    other_net, grouped = fresh(OPTIMIZERS["adam groups"])
    with pytest.raises(ModelError, match="groups the parameters otherwise"):
        restore_optimizer(grouped, names_of(other_net, grouped), tensors, described)
