"""Watches a program while it works: what it logs, the memory and the processor time that it and its children take.

Linux only: everything is read from /proc.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_MIB = 1 << 20
_EVERY = 0.5  # seconds between looks
_EVERY_CHILDREN = 5.0  # seconds between looks at the children's memory, which costs the kernel some work
_GRACE = 20.0  # seconds to save and go after SIGTERM


@dataclass(frozen=True)
class Sample:
    """A stretch of logged work: real target tokens, without padding, and the seconds that they took."""

    tokens: float
    seconds: float


@dataclass(frozen=True)
class Rate:
    """Target tokens a second after the warm-up, over so many seconds and tokens of logged work."""

    tokens_per_second: float
    seconds: float
    tokens: float


def rate(samples: Sequence[Sample], warm_up: float) -> Rate:
    """The rate of what was logged after the first `warm_up` seconds of logged work; all zero where there is nothing.

    A stretch that the warm-up ends in belongs to the warm-up.
    """
    passed, kept = 0.0, list[Sample]()
    for sample in samples:
        if passed >= warm_up:
            kept.append(sample)
        passed += sample.seconds
    seconds, tokens = sum(s.seconds for s in kept), sum(s.tokens for s in kept)
    return Rate(tokens / seconds if seconds else 0.0, seconds, tokens)


@dataclass(frozen=True)
class Watched:
    """What a program took, from its start to its end.

    code: its exit code, negative for a signal; stopped: whether we ended it, done or out of time. peak_mib: the largest
    resident set of its main process (VmHWM), children_mib: the most private memory of its other processes. cores: those
    that it kept busy; other_cores: those that all other programs of the machine kept busy meanwhile.
    """

    code: int
    stopped: bool
    seconds: float
    peak_mib: int
    children_mib: int
    cores: float
    other_cores: float


def watch(
    command: Sequence[str],
    log: Path,
    *,
    cwd: Path,
    environment: dict[str, str],
    limit: float,
    done: Callable[[], bool] = lambda: False,
) -> Watched:
    """Runs a command until it ends, `done()` says that it has shown enough, or `limit` seconds have passed.

    What it prints goes to `log`. It gets a session of its own, and with SIGTERM, then SIGKILL, all of that ends.
    """
    started, busy, own = time.monotonic(), _busy_seconds(), 0.0
    peak = children = 0
    looked_at_children, stopped = 0.0, False
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        while process.poll() is None:
            members = _session(process.pid)
            own = max(own, sum(seconds for _, seconds in members))
            peak = max(peak, _peak_bytes(process.pid))
            if len(members) > 1 and time.monotonic() - looked_at_children > _EVERY_CHILDREN:
                looked_at_children = time.monotonic()
                children = max(children, sum(_private_bytes(pid) for pid, _ in members if pid != process.pid))
            if done() or time.monotonic() - started > limit:
                stopped = True
                break
            time.sleep(_EVERY)
        seconds = time.monotonic() - started
        other = max(0.0, _busy_seconds() - busy - own)
    finally:
        _end(process)
    return Watched(
        code=process.returncode,
        stopped=stopped,
        seconds=round(seconds, 2),
        peak_mib=round(peak / _MIB),
        children_mib=round(children / _MIB),
        cores=round(own / seconds, 2),
        other_cores=round(other / seconds, 2),
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the whole session, first asking, and waits for its leader."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _session(leader: int) -> list[tuple[int, float]]:
    """Process numbers of a session, with the processor seconds that each has taken so far."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name of the program stands in brackets and may hold anything; numbers come after the last bracket.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[3]) == leader:
            found.append((int(entry.name), (int(fields[11]) + int(fields[12])) / _TICKS))
    return found


def _peak_bytes(pid: int) -> int:
    return _kilobytes(Path(f"/proc/{pid}/status"), ("VmHWM:",)) << 10


def _private_bytes(pid: int) -> int:
    return _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), ("Private_Clean:", "Private_Dirty:")) << 10


def _kilobytes(file: Path, keys: tuple[str, ...]) -> int:
    """The sum of the lines that begin with one of the keys; 0 when the process is gone."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(keys))


def _busy_seconds() -> float:
    """Processor seconds that all programs together have taken since the machine started."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split(maxsplit=8)[1:8])
    return (user + nice + system + irq + softirq) / _TICKS
