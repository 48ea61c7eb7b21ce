"""The run's lock: one holder, named to the second, and never a stale one."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nmt.errors import EnvironmentFault, NmtError
from nmt.lock import lock

ROOT = Path(__file__).parents[1]
HEAD = "import sys; from pathlib import Path; from nmt.lock import lock; here = Path(sys.argv[1])\n"


def child(code: str, here: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in another Python, with `here` as the folder it works in."""
    command = [sys.executable, "-S", "-c", HEAD + code, str(here)]
    return subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, text=True, capture_output=True, timeout=60)


HOLD = """
with lock(here / ".lock"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", HEAD + HOLD, str(tmp_path)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_process_is_told_who_holds_the_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(EnvironmentFault) as fault, lock(tmp_path / ".lock"):
        pytest.fail("two holders")
    assert fault.value.what == f"{tmp_path}: in use by process {holder.pid} on {os.uname().nodename} (lock .lock)"
    assert fault.value.hint


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with lock(tmp_path / ".lock"):
        done = child("lock(here / '.lock').__enter__()", tmp_path)
        assert f"in use by process {os.getpid()} on" in done.stderr
    with lock(tmp_path / ".lock"):
        pass


def test_waiting_ends_when_the_lock_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    begin = time.monotonic()
    with subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {holder.pid}"]), lock(tmp_path / ".lock", wait=True):
        assert time.monotonic() - begin > 0.2


def test_a_forked_worker_does_not_keep_the_lock(tmp_path: Path) -> None:
    code = """
import os, signal
with lock(here / ".lock"):
    pid = os.fork()
    if pid == 0:
        os.close(1), os.close(2)
        signal.pause()
    print(pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = child(code, tmp_path)
    worker = int(killed.stdout)
    try:
        assert killed.returncode == -signal.SIGKILL
        with lock(tmp_path / ".lock"):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_lock_file_that_is_removed_guards_nothing_and_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "made" / ".lock"
    with lock(path):
        pass
    assert path.read_bytes() == b""  # names nobody when nobody holds it
    path.unlink()
    with lock(path), pytest.raises(EnvironmentFault, match=f"in use by process {os.getpid()}"), lock(path):
        pytest.fail("two holders")


def test_a_lock_file_that_is_replaced_at_the_last_moment_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".lock"
    flock, calls = fcntl.flock, []

    def removed_meanwhile(fd: int, how: int) -> None:
        flock(fd, how)
        calls.append(fd)
        if len(calls) == 1:
            path.unlink()
        if len(calls) == 2:
            path.unlink()
            path.write_bytes(b"")

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with lock(path):
        assert len(calls) == 3
        assert path.read_text().split()[1] == str(os.getpid())


RACES = """
import os, select
from nmt.errors import EnvironmentFault

def start(race, go, told, done):
    os.read(go, 1)  # end of file when everybody has been started
    try:
        with lock(here / f"{race}" / ".lock"):
            os.write(told, f"+{os.getpid()};".encode())
            os.read(done, 1)
    except EnvironmentFault as fault:
        os.write(told, f"-{fault.what.split(' process ')[1].split()[0]};".encode())
    os._exit(0)

for race in range(50):
    (go, send_go), (hear, told), (done, send_done) = os.pipe(), os.pipe(), os.pipe()
    pids = []
    for _ in range(4):
        pids.append(os.fork())
        if pids[-1] == 0:
            os.close(send_go), os.close(send_done)
            start(race, go, told, done)
    os.close(send_go)
    answers = ""
    while answers.count(";") < 4:
        answers += os.read(hear, 1000).decode()
    os.close(send_done)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    for fd in (go, hear, told, done):
        os.close(fd)
    won = [answer[1:] for answer in answers.split(";") if answer.startswith("+")]
    lost = [answer[1:] for answer in answers.split(";") if answer.startswith("-")]
    assert len(won) == 1 and lost == won * 3, answers
print("50 races")
"""


def test_of_racing_starts_exactly_one_gets_the_lock(tmp_path: Path) -> None:
    done = child(RACES, tmp_path)
    assert done.stdout == "50 races\n", done.stderr


def test_the_race_test_finds_a_lock_that_is_none(tmp_path: Path) -> None:
    done = child("import fcntl; fcntl.flock = lambda fd, how: None\n" + RACES, tmp_path)
    assert "AssertionError" in done.stderr


def test_errors_of_the_body_pass_through_the_lock_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), lock(tmp_path / ".lock"):
        (tmp_path / "missing").read_bytes()
    with pytest.raises(NmtError, match="mine"), lock(tmp_path / ".lock"):
        raise NmtError("mine")
    with lock(tmp_path / ".lock"):
        pass
