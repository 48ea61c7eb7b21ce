"""One process at a time: the kernel's lock on a file, which is free as soon as its holder is dead."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from nmt.durable import make_folder, refusals
from nmt.errors import EnvironmentFault
from nmt.processes import is_alive

_held: set[int] = set()


@cache
def _guard_forks() -> None:
    os.register_at_fork(after_in_child=_close_in_child)


def _close_in_child() -> None:
    # A forked worker that outlives us would go on holding the lock.
    for fd in _held:
        os.close(fd)
    _held.clear()


@contextmanager
def lock(path: Path, wait: bool = False) -> Iterator[None]:
    """Holds the kernel's lock on the file `path` (made where missing, and left there), for one process at a time.

    Where another process holds it: EnvironmentFault with that process's host and pid, or with `wait`, waiting until
    it is free. The kernel frees it when the holder dies, however it dies, so there is no stale lock.
    """
    with refusals(path, "be locked"):
        make_folder(path.parent)
        fd = _locked(path, wait)
    try:
        with refusals(path, "be locked"):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{socket.gethostname()} {os.getpid()}\n".encode(), 0)
        yield
    finally:
        if fd in _held:  # not in a forked child, which has closed it
            with suppress(OSError):
                os.ftruncate(fd, 0)
            _held.discard(fd)
            os.close(fd)


def _locked(path: Path, wait: bool) -> int:
    _guard_forks()
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                ours = os.path.samestat(os.fstat(fd), os.stat(path))
            except FileNotFoundError:
                ours = False
        except BlockingIOError as error:
            holder = _holder(fd)
            os.close(fd)
            raise EnvironmentFault(
                f"{path.parent}: in use by {holder} (lock {path.name})", "wait until it is done, or stop it first"
            ) from error
        except BaseException:
            os.close(fd)
            raise
        if ours:
            _held.add(fd)
            return fd
        os.close(fd)  # somebody removed or replaced the file between our open and our lock: that lock guards nothing


def _holder(fd: int) -> str:
    """Who holds the lock. The holder writes its name just after it got it: wait a moment for one that can be true."""
    text = ""
    for _ in range(20):
        text = os.pread(fd, 400, 0).decode("utf-8", "replace")
        host, _, pid = text.strip().partition(" ")
        if pid.isdecimal() and (host != socket.gethostname() or is_alive(int(pid))):
            return f"process {pid} on {host}"
        time.sleep(0.01)
    return "another process"
