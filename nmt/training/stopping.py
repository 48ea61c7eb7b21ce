"""Stopping on request: the first SIGINT or SIGTERM lets the update finish and saves, the second leaves at once."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class StopRequest:
    """While entered, notes SIGINT and SIGTERM instead of dying of them; `signal_number` is the first one seen.

    A second SIGINT or SIGTERM ends the process as if nobody listened: the last checkpoint is intact on disk whatever
    happens. Not so if `patient`, as one of several processes is: a signal to all of them comes once more from torchrun,
    which ends those that take too long. Outside the main thread Python delivers no signals, and this does nothing.
    """

    def __init__(self, patient: bool = False) -> None:
        self._patient = patient
        self.signal_number: int | None = None
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is None or self._patient:
            self.signal_number = self.signal_number or number
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
