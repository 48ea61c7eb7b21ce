"""Durable writing under kills, full disks, damage, power cuts and races."""

import errno
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nmt import durable
from nmt.durable import (
    FAILPOINTS,
    MANIFEST,
    clean_leftovers,
    failpoint,
    probe,
    publish_folder,
    remove_folder,
    set_aside,
    verify_folder,
    write_file,
)
from nmt.errors import DataError, EnvironmentFault, ModelError, UsageError

ROOT = Path(__file__).parents[1]
OLD = {"a.bin": b"old a" * 50, "b.json": b"old b"}
NEW = {"a.bin": b"new a" * 50, "b.json": b"new b"}
HEAD = """
import sys
from pathlib import Path
from nmt import durable
from nmt.lock import lock
here = Path(sys.argv[1])
"""
NAIVE = """
def naive(path, data):  # in place: what everybody writes first
    with open(path, "wb") as file:
        file.write(data[:len(data) // 2])
        file.flush()
        durable.failpoint("write.write.half")
        file.write(data[len(data) // 2:])

def naive_folder(final, files):
    final.mkdir()
    for name, data in files.items():
        naive(final / name, data)
        durable.failpoint("publish.write.after")
    entries = {name: durable.describe(data) for name, data in files.items()}
    (final / durable.MANIFEST).write_bytes(durable._manifest_bytes(entries))

def naive_remove(path):
    for inner in sorted(path.iterdir()):
        inner.unlink()
        durable.failpoint("remove.unlink.after")
    path.rmdir()
"""


def child(code: str, *args: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs code in another Python, with `here` as the folder it works in."""
    command = [sys.executable, "-S", "-c", HEAD + NAIVE + code, *map(str, args)]
    return subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), **env}, text=True, capture_output=True, timeout=60
    )


def passings(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every (failpoint, k) that the work passes."""
    monkeypatch.setenv("NMT_FAILPOINT", "no-such-point:kill")
    work()
    found = [(name, k + 1) for name, n in durable._passed.items() for k in range(n)]
    monkeypatch.delenv("NMT_FAILPOINT")
    return found


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def is_whole(path: Path) -> bool:
    try:
        verify_folder(path)
    except ModelError:
        return False
    return True


def in_order(files: dict[str, bytes]) -> dict[str, dict[str, object]]:
    return {name: durable.describe(data) for name, data in files.items()}


# Publishing, writing and removing: the code a child runs, its naive twin, and what must hold after a kill.


def set_up(here: Path) -> None:
    publish_folder(here / "old", OLD)
    write_file(here / "file", OLD["a.bin"])


VERBS = {
    "publish": (f"durable.publish_folder(here / 'new', {NEW!r})", f"naive_folder(here / 'new', {NEW!r})"),
    "write": (f"durable.write_file(here / 'file', {NEW['a.bin']!r})", f"naive(here / 'file', {NEW['a.bin']!r})"),
    "remove": ("assert durable.remove_folder(here / 'old') is None", "naive_remove(here / 'old')"),
}


def do(verb: str, here: Path) -> None:
    if verb == "publish":
        publish_folder(here / "new", NEW)
    elif verb == "write":
        write_file(here / "file", NEW["a.bin"])
    else:
        assert remove_folder(here / "old") is None


def is_torn(verb: str, here: Path) -> bool:
    if verb == "write":
        return (here / "file").read_bytes() not in (OLD["a.bin"], NEW["a.bin"])
    if verb == "publish" and not is_whole(here / "old"):
        return True
    path = here / {"publish": "new", "remove": "old"}[verb]
    return path.exists() and not is_whole(path)


def test_the_list_of_failpoints_is_all_that_is_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: set[str] = set()
    for verb in VERBS:
        here = tmp_path / verb
        set_up(here)
        passed |= {name for name, _ in passings(lambda verb=verb, here=here: do(verb, here), monkeypatch)}
    assert passed == set(FAILPOINTS)
    assert len(set(FAILPOINTS)) == len(FAILPOINTS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_kill_at_any_failpoint_leaves_old_or_new(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(tmp_path / "count")
    points = passings(lambda: do(verb, tmp_path / "count"), monkeypatch)
    for i, (name, k) in enumerate(points):
        here = tmp_path / str(i)
        set_up(here)
        killed = child(VERBS[verb][0], here, NMT_FAILPOINT=f"{name}:kill@{k}")
        assert killed.returncode == -signal.SIGKILL, f"{name}@{k}: {killed.stderr}"
        assert not is_torn(verb, here), f"{name}@{k}"
        assert clean_leftovers(here) == [], f"{name}@{k}"
        assert hidden(here) == [], f"{name}@{k}"
        if verb != "publish" or not (here / "new").exists():
            do(verb, here)
        assert not is_torn(verb, here), f"{name}@{k}"
        assert hidden(here) == [], f"{name}@{k}"


@pytest.mark.parametrize(
    ("verb", "point"),
    [("publish", "publish.write.after"), ("write", "write.write.half"), ("remove", "remove.unlink.after")],
)
def test_the_kill_test_finds_writing_in_place(verb: str, point: str, tmp_path: Path) -> None:
    set_up(tmp_path)
    killed = child(VERBS[verb][1], tmp_path, NMT_FAILPOINT=f"{point}:kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert is_torn(verb, tmp_path)


@pytest.mark.slow
def test_fifty_kills_at_random_moments_lose_nothing_that_was_reported(tmp_path: Path) -> None:
    code = """
import itertools
for n in itertools.count():
    durable.clean_leftovers(here)
    durable.publish_folder(here / f"update-{n}", {"a": bytes([n % 256]) * 300_000, "b": b"b"})
    durable.write_file(here / "newest", f"{n}".encode() * 10_000)
    print(n, flush=True)
    if n > 2:
        assert durable.remove_folder(here / f"update-{n - 3}") is None
"""
    rng = random.Random(1)
    for i in range(50):
        here = tmp_path / str(i)
        here.mkdir()
        with subprocess.Popen(
            [sys.executable, "-S", "-c", HEAD + code, str(here)],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
            reported = int((first + process.stdout.read()).split("\n")[-2])
        assert (here / f"update-{reported}").exists()
        newest = (here / "newest").read_bytes()
        assert newest in (f"{n}".encode() * 10_000 for n in (reported, reported + 1))
        assert clean_leftovers(here) == []
        assert hidden(here) == []
        assert all(is_whole(path) for path in here.iterdir() if path.name != "newest")
        shutil.rmtree(here)


@pytest.mark.parametrize("verb", ["publish", "write"])
def test_a_full_disk_at_any_failpoint_keeps_the_old(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(tmp_path / "count")
    points = passings(lambda: do(verb, tmp_path / "count"), monkeypatch)
    assert len(points) >= 9
    for i, (name, k) in enumerate(points):
        here = tmp_path / str(i)
        set_up(here)
        monkeypatch.setenv("NMT_FAILPOINT", f"{name}:enospc@{k}")
        with pytest.raises(EnvironmentFault) as fault:
            do(verb, here)
        monkeypatch.delenv("NMT_FAILPOINT")
        what = here / ("new" if verb == "publish" else "file")
        assert fault.value.what == f"{what}: cannot be written: No space left on device"
        assert fault.value.hint.startswith("free some space there")
        assert not is_torn(verb, here), f"{name}@{k}"
        assert hidden(here) == [], f"{name}@{k}"
        if name.partition(".")[2] not in ("rename.after", "sync-parent.before", "sync-parent.after"):
            assert not (here / "new").exists()
            assert (here / "file").read_bytes() == OLD["a.bin"]
            do(verb, here)


def test_a_failing_removal_is_told_and_finished_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(tmp_path / "count")
    for i, (name, k) in enumerate(passings(lambda: do("remove", tmp_path / "count"), monkeypatch)):
        here = tmp_path / str(i)
        set_up(here)
        monkeypatch.setenv("NMT_FAILPOINT", f"{name}:enospc@{k}")
        warning = remove_folder(here / "old")
        monkeypatch.delenv("NMT_FAILPOINT")
        assert warning is not None
        assert warning.startswith(f"{here / 'old'}: not removed")
        assert not is_torn("remove", here), f"{name}@{k}"
        assert clean_leftovers(here) == []
        assert remove_folder(here / "old") is None
        assert hidden(here) == []


def test_failpoint_strikes_at_the_kth_passing_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NMT_FAILPOINT", "x:enospc@3, y:enospc")
    failpoint("x")
    failpoint("x")
    with pytest.raises(OSError, match="No space left"):
        failpoint("x")
    failpoint("x")
    with pytest.raises(OSError, match="No space left"):
        failpoint("y")
    monkeypatch.setenv("NMT_FAILPOINT", "x:explode")
    with pytest.raises(UsageError, match="'x:explode' is not a failpoint"):
        failpoint("x")


def test_failpoint_hangs_until_killed() -> None:
    code = "print('here', flush=True); durable.failpoint('x')"
    with subprocess.Popen(
        [sys.executable, "-c", "from nmt import durable; " + code],
        cwd=ROOT,
        env={"NMT_FAILPOINT": "x:hang", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()


# A disk that is really full, too small or read-only.


def test_a_file_size_limit_is_an_environment_fault(tmp_path: Path) -> None:
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from nmt.errors import EnvironmentFault
for work in (lambda: durable.publish_folder(here / "new", {{"a.bin": bytes(5000)}}),
             lambda: durable.write_file(here / "file", bytes(5000)), lambda: durable.probe(here)):
    try:
        work()
    except EnvironmentFault as fault:
        assert "File too large" in fault.what and "ulimit" in fault.hint, fault
    else:
        raise SystemExit("not refused")
durable.publish_folder(here / "new", {NEW!r})
"""
    set_up(tmp_path)
    done = child(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert is_whole(tmp_path / "old")
    assert is_whole(tmp_path / "new")
    assert (tmp_path / "file").read_bytes() == OLD["a.bin"]
    assert hidden(tmp_path) == []


@pytest.fixture
def mounted(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs code on a file system of its own, in a user namespace."""
    trial = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(trial, capture_output=True).returncode != 0:
        pytest.skip("needs unshare -rm: this machine allows no mounts in a user namespace")

    def run(options: str, code: str) -> subprocess.CompletedProcess[str]:
        script = f'mount -t tmpfs -o {options} none "$1" && exec "$2" -S -c "$3" "$1"'
        head = HEAD + "from nmt.errors import EnvironmentFault\n"
        return subprocess.run(
            ["unshare", "-rm", "sh", "-c", script, "sh", str(tmp_path), sys.executable, head + code],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
            text=True,
            capture_output=True,
            timeout=60,
        )

    return run


REFUSED = """
import time
def refused(work, reason):
    begin = time.monotonic()
    try:
        work()
    except EnvironmentFault as fault:
        assert reason in fault.what and fault.hint, fault
        assert time.monotonic() - begin < 2
    else:
        raise SystemExit("not refused")
"""


def test_a_really_full_disk_keeps_the_old(mounted: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    code = REFUSED + (
        f"""
durable.publish_folder(here / "old", {OLD!r})
durable.write_file(here / "file", b"old")
durable.probe(here)
big = bytes(2_000_000)
refused(lambda: durable.publish_folder(here / "new", {{"a": b"fits", "b": big}}), "No space left on device")
refused(lambda: durable.write_file(here / "file", big), "No space left on device")
refused(lambda: durable.probe(here, need=10**9), "1,000 MB are needed there, 1 MB are free")
assert sorted(path.name for path in here.iterdir()) == ["file", "old"]
durable.verify_folder(here / "old")
assert (here / "file").read_bytes() == b"old"
try:
    (here / "filler").write_bytes(big)
except OSError:
    pass
refused(lambda: durable.probe(here), "No space left on device")
(here / "filler").unlink()
durable.probe(here)
durable.publish_folder(here / "new", {NEW!r})
"""
    )
    done = mounted("size=1m", code)
    assert done.returncode == 0, done.stderr


def test_a_read_only_disk_is_refused_at_once(mounted: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    code = """
reason = "Read-only file system"
refused(lambda: durable.probe(here), reason)
refused(lambda: durable.probe(here / "deeper" / "still"), reason)
refused(lambda: durable.write_file(here / "file", b"x"), reason)
refused(lambda: durable.publish_folder(here / "new", {}), reason)
def locked():
    with lock(here / ".lock"):
        pass
refused(locked, reason)
"""
    done = mounted("size=1m,ro", REFUSED + code)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        for work in (lambda: probe(tmp_path), lambda: write_file(tmp_path / "f", b""), lambda: probe(tmp_path / "g")):
            with pytest.raises(EnvironmentFault, match="Permission denied"):
                work()
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_every_refusal_has_a_reason_and_a_remedy(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(tmp_path)

    def refuse(fd: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    for work in (lambda: do("publish", tmp_path), lambda: do("write", tmp_path), lambda: probe(tmp_path)):
        with pytest.raises(EnvironmentFault, match=os.strerror(code)) as fault:
            work()
        assert fault.value.hint
    assert hidden(tmp_path) == []
    assert not is_torn("publish", tmp_path)
    assert (tmp_path / "file").read_bytes() == OLD["a.bin"]


# Damage.


def test_verify_names_every_damage(tmp_path: Path) -> None:
    path = tmp_path / "new"
    publish_folder(path, {"gone": b"1", "short": b"22", "turned": b"333", "fine": b"4444", "pipe": b"5"})
    assert verify_folder(path)["files"]["fine"] == {
        "size": 4,
        "sha256": "79f06f8fde333461739f220090a23cb2a79f6d714bee100d0e4b4af249294619",
    }
    (path / "gone").unlink()
    (path / "short").write_bytes(b"2")
    (path / "turned").write_bytes(b"334")
    (path / "pipe").unlink()
    os.mkfifo(path / "pipe")
    with pytest.raises(DataError) as fault:
        verify_folder(path, DataError, "prepare it again")
    assert str(fault.value) == (
        f"error: {path}: damaged: gone is missing; pipe cannot be read: not a plain file; short has 1 bytes, not 2; "
        "turned has changed (its sha256 differs)\n  prepare it again"
    )
    (path / MANIFEST).unlink()
    with pytest.raises(ModelError, match=r"damaged: manifest\.json is missing"):
        verify_folder(path)
    with pytest.raises(ModelError, match=r"manifest\.json is missing"):
        verify_folder(tmp_path / "never")


def test_every_bit_and_every_cut_of_a_manifest_is_found(tmp_path: Path) -> None:
    path = tmp_path / "new"
    publish_folder(path, {"a": b"1", "b": b"1"})
    manifest = path / MANIFEST
    data = manifest.read_bytes()
    for cut in range(len(data)):
        manifest.write_bytes(data[:cut])
        assert not is_whole(path), cut
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        manifest.write_bytes(flipped)
        assert not is_whole(path), bit
    manifest.write_bytes(data)
    assert is_whole(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "[" * 100_000,
        '{"files": [], "format": 1}',
        '{"files": {"a": 1}, "format": 1}',
        "\xff",
        '{"files": {"../x": {"sha256": "", "size": 1}}, "format": 1}',
        '{"files": {}, "format": 2}',
        "1" * 5000,
    ],
)
def test_a_hostile_manifest_is_a_model_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"manifest\.json"):
        verify_folder(tmp_path / "x")
    assert remove_folder(tmp_path / "x") is not None
    assert (tmp_path / "x" / MANIFEST).exists()


def test_a_manifest_cannot_reach_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"")
    for name in ("../precious", "..", ".", str(tmp_path / "precious"), "a/b", ".hidden", MANIFEST):
        folder = tmp_path / "x"
        folder.mkdir(exist_ok=True)
        (folder / MANIFEST).write_bytes(durable._manifest_bytes({name: durable.describe(b"")}))
        with pytest.raises(ModelError, match="not as we write it"):
            verify_folder(folder)
        assert remove_folder(folder) is not None
    assert (tmp_path / "precious").exists()


# What is not ours.


def test_a_strangers_file_keeps_the_folder(tmp_path: Path) -> None:
    set_up(tmp_path)
    (tmp_path / "old" / "notes.txt").write_text("mine")
    assert remove_folder(tmp_path / "old") == f"{tmp_path / 'old'}: not removed: we did not put notes.txt there"
    assert is_whole(tmp_path / "old")  # a file beside is no damage either
    (tmp_path / "old" / "notes.txt").unlink()
    (tmp_path / "old" / "deeper").mkdir()
    assert remove_folder(tmp_path / "old") is not None
    (tmp_path / "old" / "deeper").rmdir()
    assert remove_folder(tmp_path / "old") is None
    assert remove_folder(tmp_path / "old") is None
    assert remove_folder(tmp_path / "file") is not None
    do("publish", tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "new")
    assert remove_folder(tmp_path / "link") is not None
    assert is_whole(tmp_path / "link")


def test_a_strangers_file_outlives_a_half_done_removal(tmp_path: Path) -> None:
    set_up(tmp_path)
    killed = child(VERBS["remove"][0], tmp_path, NMT_FAILPOINT="remove.unlink.after:kill")
    assert killed.returncode == -signal.SIGKILL
    (gone,) = hidden(tmp_path)
    (tmp_path / gone / "notes.txt").write_text("mine")
    assert len(clean_leftovers(tmp_path)) == 1
    assert (tmp_path / gone / "notes.txt").read_text() == "mine"
    assert len(clean_leftovers(tmp_path)) == 1
    (tmp_path / gone / "notes.txt").unlink()
    assert clean_leftovers(tmp_path) == []
    assert hidden(tmp_path) == []


def test_leftovers_of_the_living_and_of_others_stay(tmp_path: Path) -> None:
    living, own = os.getppid(), os.getpid()
    stay = [f".tmp-x-{living}", ".tmp-x-", ".tmp-x", ".hidden", "tmp-x-999999", ".tmp-x-0", ".tmp--1x"]
    for name in [*stay, f".tmp-x-{own}", ".tmp-y-99999999", ".tmp-z-99999999999999999999999"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_bytes(b"")
    (tmp_path / ".tmp-file-99999999").write_bytes(b"")
    (tmp_path / ".tmp-link-99999999").symlink_to(tmp_path / ".hidden")
    assert clean_leftovers(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(stay)
    assert (tmp_path / ".hidden" / "part").exists()
    assert clean_leftovers(tmp_path / "missing") == []


def test_what_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"1")
        assert clean_leftovers(tmp_path) == []

    publish_folder(tmp_path / "new", {"a": write, "b": write})
    assert is_whole(tmp_path / "new")


def test_our_own_pid_on_a_leftover_does_not_stop_us(tmp_path: Path) -> None:
    # In a container every start may have the same pid.
    for name in (f".tmp-new-{os.getpid()}", f".tmp-old-{os.getpid()}"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.bin").write_bytes(b"torn")
    set_up(tmp_path)
    do("publish", tmp_path)
    assert is_whole(tmp_path / "new")
    assert hidden(tmp_path) == []


def test_a_folder_that_exists_is_not_written_over(tmp_path: Path) -> None:
    set_up(tmp_path)
    for existing in ("old", "file"):
        with pytest.raises(EnvironmentFault, match="File exists"):
            publish_folder(tmp_path / existing, NEW)
    assert verify_folder(tmp_path / "old")["files"] == in_order(OLD)
    assert set_aside(tmp_path / "old").name == "old.aside-1"
    publish_folder(tmp_path / "old", NEW)
    assert set_aside(tmp_path / "old").name == "old.aside-2"
    assert verify_folder(tmp_path / "old.aside-1")["files"] == in_order(OLD)


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def give_up(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_folder(tmp_path / "new", {"a": b"1", "b": give_up})
    assert list(tmp_path.iterdir()) == []
    publish_folder(tmp_path / "new", {"a": b"1", "b": lambda path: path.write_bytes(b"22") and None})
    assert verify_folder(tmp_path / "new")["files"] == in_order({"a": b"1", "b": b"22"})
    mode = stat.S_IMODE((tmp_path / "new" / "a").stat().st_mode)
    assert mode == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_bytes_are_a_function_of_the_files(tmp_path: Path) -> None:
    publish_folder(tmp_path / "one", NEW)
    publish_folder(tmp_path / "two", dict(reversed(NEW.items())))
    assert (tmp_path / "one" / MANIFEST).read_bytes() == (tmp_path / "two" / MANIFEST).read_bytes()
    assert json.loads((tmp_path / "one" / MANIFEST).read_text())["format"] == 1
