"""Whether the other processes of a training still come along, and who says it when one does not.

Every process says once a second that it lives and how often it has come to wait for the others. Who has waited longer
than the limit looks who is missing, says so, and ends. Of all that goes wrong one process speaks, the first to claim
it; the others end without a word.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, Self

from nmt.errors import EnvironmentFault, NmtError, SaidElsewhere
from nmt.processes import Place

_GRACE_SECONDS = 10.0
"""What a process has to end by itself when another one has said why the training ends."""
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
        """Another client of it, for another thread."""
        ...


class Watch:
    """This process's side of it: a thread that beats, and what the main thread asks when something is wrong."""

    def __init__(self, store: Store, where: Place, limit: float) -> None:
        self._where, self._limit, self._store = where, limit, store
        self._interval = min(1.0, limit / 10)
        self._entered = 0
        self._since: float | None = None
        self._beats = 0
        self._parent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None
        self._ended = threading.Event()
        store.set(f"nmt/who/{where.rank}", f"pid {os.getpid()} on {socket.gethostname()}")
        self._beat(store)
        # A store's client answers one thread at a time.
        self._thread = threading.Thread(target=self._run, args=(store.clone(),), daemon=True)
        self._thread.start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what ends only when all processes have come to it."""
        self._entered += 1
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def end(self) -> None:
        """Stops beating."""
        self._ended.set()
        self._thread.join()

    def claim(self, exit_code: int) -> bool:
        """Whether it is on this process to say why the training ends; it says so if nobody did before."""
        mine = f"{self._where.rank} {exit_code}"
        try:
            return self._store.compare_set("nmt/fault", "", mine) == mine.encode()
        except RuntimeError:
            return True  # whoever kept the store is gone: nobody can be asked

    def said_elsewhere(self) -> SaidElsewhere | None:
        """How to end where another process has said why."""
        return _said_elsewhere(self._store)

    def lost(self, reason: Exception) -> NmtError:
        """What to say of a connection that broke: somebody's word, or who is gone."""
        try:
            return self.said_elsewhere() or self._gone(reason)
        except RuntimeError:
            return self._fault(f"process {self._where.rank}", f"lost touch with the others: {_first_line(reason)}")

    def gone(self, rank: int) -> NmtError:
        """What to say of a process that gives no sign of life."""
        return self._fault(self._name(self._store, rank), "is gone")

    def beat_of(self, rank: int) -> bytes:
        """What a process said last: another one each time, while it lives."""
        return self._store.get(f"nmt/beat/{rank}")

    def _run(self, store: Store) -> None:
        try:
            while not self._ended.wait(self._interval):
                self._beat(store)
                since = self._since
                if since is not None and time.monotonic() - since > self._limit:
                    self._give_up(store, since)
                elsewhere = _said_elsewhere(store)
                if elsewhere is not None and not self._ended.wait(_GRACE_SECONDS):
                    os._exit(elsewhere.exit_code)
                if self._parent is not None and os.getppid() != self._parent:
                    # torchrun is gone, and nobody else would stop us.
                    self._parent = None
                    os.kill(os.getpid(), signal.SIGTERM)
        except RuntimeError:
            pass  # the store is gone, with whoever kept it: the connections tell the main thread

    def _beat(self, store: Store) -> None:
        self._beats += 1
        store.set(f"nmt/beat/{self._where.rank}", f"{self._beats} {self._entered}")

    def _give_up(self, store: Store, since: float) -> None:
        silent, behind = self._missing(store)
        if self._since != since:
            return  # they came, at last
        who = ", ".join(self._name(store, rank) for rank in silent or behind) or "the network between the processes"
        fault = self._fault(
            who,
            f"has kept the others waiting for {self._limit:g} seconds",
            f"see what it is at (py-spy dump --pid PID); compute.timeout_seconds is the limit; {_RESUME}",
        )
        mine = f"{self._where.rank} {fault.exit_code}"
        if store.compare_set("nmt/fault", "", mine) == mine.encode():
            with contextlib.suppress(OSError):
                print(fault, file=sys.stderr, flush=True)
        else:
            time.sleep(1)  # torchrun ends all when one ends: first the one that speaks
        # The main thread is inside torch and may never come back.
        os._exit(fault.exit_code)

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

    def _gone(self, reason: Exception) -> NmtError:
        silent, _ = self._missing(self._store)
        if word := self.said_elsewhere():
            return word
        if not silent:
            return self._fault(f"process {self._where.rank}", f"lost touch with the others: {_first_line(reason)}")
        return self._fault(", ".join(self._name(self._store, rank) for rank in silent), "is gone")

    def _name(self, store: Store, rank: int) -> str:
        return f"process {rank} of {self._where.size} ({store.get(f'nmt/who/{rank}').decode()})"

    def _fault(self, who: str, what: str, hint: str = "") -> EnvironmentFault:
        hint = hint or f"look for what it said last, or what the kernel says (dmesg: out of memory?); {_RESUME}"
        return EnvironmentFault(f"{who} {what}", hint)


def _said_elsewhere(store: Store) -> SaidElsewhere | None:
    if not store.check(["nmt/fault"]):
        return None
    return SaidElsewhere(int(store.get("nmt/fault").split()[1]))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
