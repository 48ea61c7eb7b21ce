"""Whether the other processes of a training still come along, and who says it when one does not.

Every process says once a second, in a store that all can read, that it lives and how often it has come to wait for the
others. Who has waited longer than the limit looks who is missing, says so, and ends. Of all that goes wrong one process
speaks, the first to claim it; the others end without a word.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, Protocol, Self

from nmt.errors import EnvironmentFault, NmtError, SaidElsewhere
from nmt.processes import Place

_GRACE_SECONDS = 10.0
"""What a process has to end by itself when another one has said why the training ends."""
_ANSWER_SECONDS = 5.0
"""What the store has to answer."""
_RESUME = "the same command goes on from the last checkpoint"


class Store(Protocol):
    """What torch.distributed's stores can do: short texts by key, for all processes. RuntimeError where it is gone."""

    def set(self, key: str, value: str, /) -> None:
        """Puts a value there, in the place of an earlier one."""
        ...

    def get(self, key: str, /) -> bytes:
        """The value; waits for it where there is none yet."""
        ...

    def multi_get(self, keys: list[str], /) -> Sequence[bytes]:
        """The values of several keys at once."""
        ...

    def check(self, keys: list[str], /) -> bool:
        """Whether all these keys have values."""
        ...

    def compare_set(self, key: str, expected: str, value: str, /) -> bytes:
        """Puts a value there if it is as expected ("" for none yet); the value that is there then."""
        ...

    def clone(self) -> Self:
        """Another client of it: a client answers one thread at a time."""
        ...


class Watch:
    """This process's side of it: what the main thread asks when something is wrong, and two threads of its own.

    One beats and looks around, through the store. The other one asks nobody, and ends the process when the store does
    not answer: whoever keeps it (torchrun; the first process, where there is none) may hang as well.
    """

    def __init__(self, store: Store, where: Place, limit: float) -> None:
        self._where, self._limit, self._store = where, limit, store
        self._interval = min(1.0, limit / 10)
        self._under_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        self._parent = os.getppid() if self._under_torchrun else None
        self._entered, self._beats = 0, 0
        self._since: float | None = None  # the main thread waits for the others
        self._due: float | None = None  # it should be on its way again
        self._word: SaidElsewhere | None = None
        self._names: dict[int, str] = {}
        self._marks: dict[int, tuple[int, str]] = {}
        self._ended = threading.Event()
        store.set(f"nmt/who/{where.rank}", f"{os.getpid()} {socket.gethostname()} {_mark(os.getpid())}")
        self._beat(store)
        self._threads = [
            threading.Thread(target=self._every_interval, args=(self._look_around, store.clone()), daemon=True),
            threading.Thread(target=self._every_interval, args=(self._look_at_the_clock,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def meet(self) -> None:
        """Learns who the others are, once all are there."""
        everybody = range(self._where.size)
        for rank, text in enumerate(self._store.multi_get([f"nmt/who/{rank}" for rank in everybody])):
            pid, host, mark = text.decode().split(" ", 2)
            self._names[rank] = f"process {rank} of {self._where.size} (pid {pid} on {host})"
            self._marks[rank] = (int(pid), mark)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what ends only when all processes have come to it."""
        self._entered += 1
        self._since = time.monotonic()
        self._due = self._since + self._limit + 3 * self._interval + _ANSWER_SECONDS
        try:
            yield
        finally:
            self._since = self._due = None

    def end(self) -> None:
        """Stops beating."""
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=1)  # one may be waiting for a store that is gone

    def leave(self, exit_code: int) -> SaidElsewhere | None:
        """The end of a training that ends with a fault: None where it is on this process to say it, first of all."""
        with self._asking():
            word = self._last_word(exit_code)
        if self._where.rank == 0 and not self._under_torchrun:
            time.sleep(3 * self._interval)  # the store ends with its keeper: all must have heard before
        self.end()
        return word

    def word(self) -> SaidElsewhere | None:
        """How to end where another process has said why."""
        return self._word or self._hear(self._store)

    def lost(self, reason: Exception) -> NmtError:
        """What to say of a connection that broke: another one's word, or who is gone."""
        with self._asking():
            try:
                silent = [] if self.word() else self._missing(self._store)[0]
                word = self.word()
            except RuntimeError:
                silent, word = [], self._word
        if word is not None:
            return word
        if silent:
            return self._fault(silent, "is gone")
        first_line = str(reason).strip().partition("\n")[0]
        return self._fault([self._where.rank], f"lost touch with the others: {first_line}")

    def gone(self, rank: int) -> NmtError:
        """What to say of a process that gives no sign of life."""
        return self._fault([rank], "is gone")

    def beat_of(self, rank: int) -> bytes:
        """What a process said last: another one each time, while it lives."""
        return self._store.get(f"nmt/beat/{rank}")

    def _every_interval(self, look: Callable[..., None], *args: Store) -> None:
        while not self._ended.wait(self._interval):
            # Without the store the main thread hears of the others by its connections alone.
            with contextlib.suppress(RuntimeError):
                look(*args)

    def _look_around(self, store: Store) -> None:
        self._beat(store)
        since = self._since
        if since is not None and time.monotonic() - since > self._limit:
            silent, behind = self._missing(store)
            if self._since == since:  # they have not come meanwhile
                self._give_up(silent or behind, speaks=self._claim(store, EnvironmentFault.exit_code))
        self._word = self._word or self._hear(store)
        if self._word is not None and not self._ended.wait(_GRACE_SECONDS):
            os._exit(self._word.exit_code)

    def _look_at_the_clock(self) -> None:
        if self._parent is not None and os.getppid() != self._parent:
            # torchrun is gone, and nobody else would stop us.
            self._parent = None
            os.kill(os.getpid(), signal.SIGTERM)
        due = self._due
        if due is not None and time.monotonic() > due:
            if self._under_torchrun:
                self._give_up([], speaks=self._where.local_rank == 0)
            self._give_up([0], speaks=self._where.rank == 1)

    def _give_up(self, missing: list[int], speaks: bool) -> NoReturn:
        """Ends this process although its main thread is inside torch and may never come back."""
        hint = f"see what it is at (py-spy dump --pid PID); compute.timeout_seconds is the limit; {_RESUME}"
        fault = self._fault(missing, f"has kept the others waiting for {self._limit:g} seconds", hint)
        if speaks:
            with contextlib.suppress(OSError):
                print(fault, file=sys.stderr, flush=True)
            for rank in missing:
                self._kill(rank)
        else:
            time.sleep(1)  # torchrun ends all when one ends: first the one that speaks
        os._exit(fault.exit_code)

    def _kill(self, rank: int) -> None:
        """Ends a process that hangs, if it is one of this machine: torchrun would wait half a minute more for it."""
        pid, mark = self._marks[rank]
        if mark and mark == _mark(pid):
            os.kill(pid, signal.SIGKILL)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self._due = time.monotonic() + 3 * self._interval + _ANSWER_SECONDS
        try:
            yield
        finally:
            self._due = None

    def _beat(self, store: Store) -> None:
        self._beats += 1
        store.set(f"nmt/beat/{self._where.rank}", f"{self._beats} {self._entered}")

    def _claim(self, store: Store, exit_code: int) -> bool:
        mine = f"{self._where.rank} {exit_code}"
        return store.compare_set("nmt/fault", "", mine) == mine.encode()

    def _hear(self, store: Store) -> SaidElsewhere | None:
        if not store.check(["nmt/fault"]):
            return None
        rank, exit_code = map(int, store.get("nmt/fault").split())
        return None if rank == self._where.rank else SaidElsewhere(exit_code)

    def _last_word(self, exit_code: int) -> SaidElsewhere | None:
        try:
            return None if self._claim(self._store, exit_code) else self.word()
        except RuntimeError:
            # Whoever kept the store is gone, and nobody can be asked.
            speaks = self._where.local_rank == 0 if self._under_torchrun else self._where.rank < 2
            return self._word or (None if speaks else SaidElsewhere(exit_code))

    def _missing(self, store: Store) -> tuple[list[int], list[int]]:
        """The processes that give no sign of life, and those that have not come as far as this one."""
        others = [rank for rank in range(self._where.size) if rank != self._where.rank]
        keys = [f"nmt/beat/{rank}" for rank in others]
        before = store.multi_get(keys)
        time.sleep(3 * self._interval)
        after = store.multi_get(keys)
        silent = [rank for rank, one, two in zip(others, before, after, strict=True) if one == two]
        behind = [rank for rank, beat in zip(others, after, strict=True) if int(beat.split()[1]) < self._entered]
        return silent, behind

    def _fault(self, who: list[int], what: str, hint: str = "") -> EnvironmentFault:
        names = ", ".join(self._names.get(rank, f"process {rank}") for rank in who)
        hint = hint or f"look for what it said last, or what the kernel says (dmesg: out of memory?); {_RESUME}"
        fault = EnvironmentFault(f"{names or 'the network or torchrun'} {what}", hint)
        fault.own = True
        return fault


def _mark(pid: int) -> str:
    """What no other process has, of any machine, container or earlier time; "" where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{boot} {os.readlink('/proc/self/ns/pid')} {started}"
    except (OSError, IndexError):
        return ""
