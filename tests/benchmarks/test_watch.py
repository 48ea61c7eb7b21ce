"""What is measured of a program: rates after a warm-up, memory, processor time, and how it ends."""

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.watch import Rate, Sample, rate, watch


def test_a_rate_is_all_tokens_over_all_seconds_after_the_warm_up() -> None:
    samples = [Sample(100, 10.0), Sample(500, 2.0), Sample(1000, 2.0)]
    assert rate(samples, 0.0) == Rate(1600 / 14, 14.0, 1600)
    assert rate(samples, 10.0) == Rate(375.0, 4.0, 1500)


def test_the_stretch_that_the_warm_up_ends_in_does_not_count() -> None:
    assert rate([Sample(100, 10.0), Sample(300, 3.0)], 0.1) == Rate(100.0, 3.0, 300)


def test_nothing_logged_after_the_warm_up_is_no_rate() -> None:
    assert rate([Sample(100, 10.0)], 10.0) == Rate(0.0, 0.0, 0)
    assert rate([], 0.0) == Rate(0.0, 0.0, 0)


def run(tmp_path: Path, code: str, limit: float = 30.0, done: str | None = None):
    log = tmp_path / "log"
    return watch(
        [sys.executable, "-u", "-c", code],
        log,
        cwd=tmp_path,
        environment=dict(os.environ),
        limit=limit,
        done=(lambda: done is not None and done in log.read_text()),
    ), log


def test_a_program_that_ends_by_itself_keeps_its_code_and_its_words(tmp_path: Path) -> None:
    watched, log = run(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (watched.code, watched.stopped) == (3, False)
    assert sorted(log.read_text().split()) == ["err", "out"]


def test_a_program_is_ended_when_it_has_shown_enough_or_its_time_is_up(tmp_path: Path) -> None:
    started = time.monotonic()
    watched, _ = run(tmp_path, "import time; print('enough'); time.sleep(100)", done="enough")
    assert watched.stopped
    assert watched.code == -15
    watched, _ = run(tmp_path, "import time; time.sleep(100)", limit=0.1)
    assert watched.stopped
    assert time.monotonic() - started < 60


def test_its_children_end_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])\n"
        "print('child', child.pid, 'is there'); time.sleep(100)"
    )
    _, log = run(tmp_path, code, done="is there")
    pid = int(log.read_text().split()[1])
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        time.sleep(0.1)
    pytest.fail("the child outlived its session")


def test_the_largest_memory_is_found_also_when_it_was_given_back(tmp_path: Path) -> None:
    code = "import time; x = bytearray(200 << 20); del x; print('freed'); time.sleep(100)"
    watched, _ = run(tmp_path, code, done="freed")
    assert 200 <= watched.peak_mib < 400
    assert watched.children_mib == 0
