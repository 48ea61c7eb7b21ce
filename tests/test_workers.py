"""Copies of this process do what is asked, and nobody waits for one that is gone."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from nmt import workers
from nmt.errors import DataError, EnvironmentFault, UsageError
from nmt.workers import Workers

pytestmark = pytest.mark.skipif(not workers.can_fork(), reason="processes are copied on Linux only")


def nothing() -> None:
    pass


def work(job: int) -> tuple[int, int]:
    if job == 13:
        raise DataError("thirteen", "take another")
    if job == 17:
        raise ZeroDivisionError("seventeen")
    if job == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02 if job % 3 == 0 else 0.0)
    return job * job, os.getpid()


def test_all_jobs_are_done_in_order_by_several_processes() -> None:
    both = Workers(2, work, nothing)
    found = both.map(list(range(12)))
    again = both.map([5])
    both.close()
    assert [square for square, _ in found] == [n * n for n in range(12)]
    pids = {pid for _, pid in found}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert again[0][0] == 25
    assert both.map([]) == []


def test_each_begins_once() -> None:
    begun = Workers(2, lambda job: os.environ.get("BEGUN"), lambda: os.environ.__setitem__("BEGUN", "yes"))
    assert begun.map([1, 2, 3]) == ["yes"] * 3
    assert "BEGUN" not in os.environ
    begun.close()


def test_what_a_job_raises_is_raised_here() -> None:
    both = Workers(2, work, nothing)
    with pytest.raises(DataError, match="thirteen") as fault:
        both.map([1, 13, 2])
    assert fault.value.hint == "take another"
    both.close()


def test_a_fault_of_the_program_is_printed_and_raised_as_such(capfd: pytest.CaptureFixture[str]) -> None:
    both = Workers(2, work, nothing)
    with pytest.raises(RuntimeError, match=r"worker \d ended with 1"):
        both.map([1, 17, 2])
    both.close()
    assert "ZeroDivisionError: seventeen" in capfd.readouterr().err


def test_a_process_that_is_gone_is_told_of() -> None:
    both = Workers(2, work, nothing)
    with pytest.raises(
        EnvironmentFault, match=r"worker \d ended by signal 9; the system may have had no memory"
    ) as gone:
        both.map([1, 99, 2])
    assert "--workers 1" in gone.value.hint
    both.close()


def test_elsewhere_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UsageError, match="Linux"):
        Workers(2, work, nothing)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_they_end_with_the_process_that_wanted_them(how: signal.Signals) -> None:
    program = """
        import os, time
        from nmt.workers import Workers
        both = Workers(2, lambda job: os.getpid(), lambda: None)
        print(*{p for _ in range(20) for p in both.map([1, 2, 3, 4])}, flush=True)
        time.sleep(60)
    """
    root = Path(workers.__file__).parents[1]
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, cwd=root)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert pids
    process.send_signal(how)
    process.wait()
    process.stdout.close()
    limit = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not any(map(alive, pids))
