"""Lines from one stream and to another, as `nmt translate` needs them: windows in that wait for nobody, whole lines
out.
"""

import os
import select
import signal
import stat
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Self

from nmt.corpus.text import LineReport, scan_lines
from nmt.durable import refusals
from nmt.errors import NmtError, Stopped
from nmt.translator import WINDOW_CHARACTERS, WINDOW_LINES

LARGEST_COUNTED = 1 << 33
"""Bytes of the largest file whose lines are counted beforehand, which takes seconds then."""
_GZIP = b"\x1f\x8b"
_PAUSE = 0.01
"""Seconds without a full window after which input counts as paused: far above what a program needs to write a line."""


# --- reading ----------------------------------------------------------------------------------------------------------


class _Unbuffered:
    """A raw stream that waits where a non-blocking descriptor has nothing: that is not the end of the input."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def read(self, size: int) -> bytes:
        while (data := self.raw.read(size)) is None:
            select.select([self.raw], [], [])
        return data

    def write(self, data: memoryview) -> int:
        while (n := self.raw.write(data)) is None:
            select.select([], [self.raw], [])
        return n


def unbuffered(stream: BinaryIO) -> Any:
    """The stream below the buffer: a thread that dies holding a buffer's lock, or a buffer that cannot be emptied,
    would make Python complain as it ends.
    """
    raw = getattr(stream, "raw", None)
    if raw is None:
        return stream
    if stream.writable():
        stream.flush()
    return _Unbuffered(raw)


class Inbox:
    """Lines on their way from the reading thread: two windows of them at most."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: deque[str] = deque()
        self._n_characters = 0
        self._ended = self._abandoned = False
        self.fault: NmtError | None = None
        self.complete = False

    def put(self, line: str) -> bool:
        """Takes a line, when there is room; False when nobody wants more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._holds(2) or self._abandoned)
            self._lines.append(line)
            self._n_characters += len(line)
            if len(self._lines) == 1 or self._holds(1):
                self._changed.notify_all()
            return not self._abandoned

    def end(self, fault: NmtError | None, complete: bool) -> None:
        """There will be no more; `complete` False where the thread does not know why."""
        with self._changed:
            self.fault, self.complete, self._ended = fault, complete, True
            self._changed.notify_all()

    def window(self) -> list[str]:
        """The lines that are there, one at least, a window's worth at most; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._ended)
            self._changed.wait_for(lambda: self._holds(1) or self._ended, timeout=_PAUSE)
            window: list[str] = []
            n_characters = 0
            while self._lines and len(window) < WINDOW_LINES and n_characters < WINDOW_CHARACTERS:
                window.append(self._lines.popleft())
                n_characters += len(window[-1])
            self._n_characters -= n_characters
            self._changed.notify_all()
            return window

    def abandon(self) -> None:
        """Lets the reading thread end."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()

    def _holds(self, windows: int) -> bool:
        return len(self._lines) >= windows * WINDOW_LINES or self._n_characters >= windows * WINDOW_CHARACTERS


def read(source: BinaryIO, report: LineReport, inbox: Inbox, tabs: bool = False, skip: int = 0) -> None:
    """The reading thread; with `tabs` a TAB stays what it is; the first `skip` lines are left out."""
    fault: NmtError | None = None
    complete = False
    try:
        for text, _ in scan_lines(source, report, tabs, skip):
            if not inbox.put(text):
                break
        complete = True
    except NmtError as error:
        fault, complete = error, True
    finally:
        inbox.end(fault, complete)


def length_of(source: BinaryIO) -> int | None:
    """Lines from here to the end of a plain file; None for what has no such length, or is packed, or very large.

    The place where reading goes on stays as it is.
    """
    try:
        fd = source.fileno()
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_COUNTED:
            return None
        at, n_lines, last = os.lseek(fd, 0, os.SEEK_CUR), 0, b"\n"
        if os.pread(fd, 2, at) == _GZIP:
            return None
        while chunk := os.pread(fd, 1 << 20, at):
            n_lines, at, last = n_lines + chunk.count(b"\n"), at + len(chunk), chunk[-1:]
    except OSError:  # no descriptor, or one that cannot be asked: there are streams of every kind
        return None
    return n_lines + (last != b"\n")


def on_terminal(stream: BinaryIO) -> bool:
    """Whether results are seen as they come."""
    return not stream.closed and stream.isatty()


# --- writing ----------------------------------------------------------------------------------------------------------


def write(raw: Any, data: bytes) -> None:
    """All of it, now."""
    view = memoryview(data)
    try:
        with refusals(Path("standard output"), "be written"):
            while view:
                view = view[raw.write(view) :]
    except NmtError as refusal:
        if isinstance(refusal.__cause__, BrokenPipeError):
            raise refusal.__cause__ from None
        raise


class Signals:
    """SIGINT and SIGTERM as exceptions, but not in the middle of a line; a second one does not wait for its end."""

    def __init__(self) -> None:
        self._writing = False
        self._pending: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and the like stay in force
                    self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._writing and self._pending is None:
            self._pending = number
        else:
            self._stop(number)

    def _stop(self, number: int) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped("stopped by SIGTERM", "every line that was written is whole", number)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Signals wait until what is inside is done."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False
        if self._pending is not None:
            self._stop(self._pending)
