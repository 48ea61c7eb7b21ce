"""Processes that work beside this one: copies of it, who get jobs and give back what they found.

A small product of matrices is not worth two threads; two batches of sentences are. A copy is made by fork: it has what
this process has, without loading it again. It ends with it, whatever ends it.
"""

import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from nmt.errors import EnvironmentFault, NmtError, UsageError

Job = TypeVar("Job")
Found = TypeVar("Found")


def can_fork() -> bool:
    """Whether copies can be made here: elsewhere than on Linux a copied process may not call what the system gives."""
    return sys.platform == "linux"


class Workers(Generic[Job, Found]):
    """`count` processes that `begin` and then do `work`; what it takes and gives goes through pipes."""

    def __init__(self, count: int, work: Callable[[Job], Found], begin: Callable[[], None]) -> None:
        if not can_fork():
            raise UsageError("several workers need Linux", "leave out --workers")
        context = multiprocessing.get_context("fork")
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        for number in range(count):
            here, there = context.Pipe()
            # What a process inherits it must close, or the others would never see the end of their pipes.
            of_others = [*self._pipes, here]
            process = context.Process(
                target=_serve, args=(there, of_others, work, begin), name=f"worker {number + 1}", daemon=True
            )
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    def map(self, jobs: Sequence[Job]) -> list[Found]:
        """What was found for each job, in their order; the next job goes to whoever is free.

        Raises an NmtError that the work raised, and EnvironmentFault where a process was killed. Any other exception is
        a fault of the program: the process prints it and ends, and here it is a RuntimeError. No further call is good
        then.
        """
        found: list[Any] = [None] * len(jobs)
        waiting, busy = deque(enumerate(jobs)), dict[Connection, int]()
        idle = list(self._pipes)
        while waiting or busy:
            while waiting and idle:
                pipe = idle.pop()
                number, job = waiting.popleft()
                self._send(pipe, job)
                busy[pipe] = number
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                found[busy.pop(pipe)] = self._receive(pipe)
                idle.append(pipe)
        return found

    def close(self) -> None:
        """Ends the processes as soon as each has done its job."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()

    def _send(self, pipe: Any, job: Job) -> None:
        try:
            pipe.send(job)
        except OSError:
            raise self._gone(pipe) from None

    def _receive(self, pipe: Any) -> Found:
        try:
            answer = pipe.recv()
        except (EOFError, OSError):
            raise self._gone(pipe) from None
        if isinstance(answer, NmtError):
            raise answer
        return answer

    def _gone(self, pipe: Any) -> Exception:
        process = self._processes[self._pipes.index(pipe)]
        process.join(1.0)
        code = process.exitcode or 0
        if code >= 0:
            return RuntimeError(f"{process.name} ended with {code}: what it says stands above")
        memory = "; the system may have had no memory left for it" if code == -signal.SIGKILL else ""
        what = f"{process.name} ended by signal {-code}{memory}"
        return EnvironmentFault(what, "try again with fewer: --workers 1")


def _serve(pipe: Any, of_others: Sequence[Any], work: Callable[[Any], Any], begin: Callable[[], None]) -> None:
    """The life of a worker: until its pipe ends, which is when the process that wanted it closes it or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the first process decides what it means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in of_others:
        other.close()
    begin()
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = work(job)
        except NmtError as fault:
            answer = fault
        try:
            pipe.send(answer)
        except OSError:
            return
