"""Talk on standard error: bars, a live line and tables on a terminal, plain lines now and then elsewhere.

The only file that imports rich. A line is redrawn when there is news, by us: rich's own live display hides the cursor
and starts a thread, and a command may fork, or be killed at any moment.
"""

import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self, TextIO

from rich.console import Console as Rich
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nmt.talk import Progress, Silence

PLAIN_SECONDS = 30.0
"""Seconds between lines that say how far a long work is, where standard error is not a terminal."""
DRAWN_SECONDS = 0.1
"""Seconds between changes of the live line on a terminal."""

_ERASE = "\r\x1b[2K"


class Console:
    """The `Talk` of the command line, to be used as a context: it ends with the live line's last state in place.

    `stream` is standard error unless a test gives another.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        # Standard error is None where the shell closed it.
        self._stream = stream or sys.stderr or open(os.devnull, "w")  # noqa: SIM115 (lives as long as the process)
        self._rich = Rich(file=self._stream, highlight=False, markup=False, emoji=False)
        self._clock = clock
        self.terminal = self._rich.is_terminal and not self._rich.is_dumb_terminal
        """Whether a line can be redrawn."""
        self._live: tuple[RenderableType, Callable[[], str]] | None = None
        self._drawn_at: float | None = None
        self._said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def say(self, line: str) -> None:
        """A line that stays; above the bar or live line, where one is shown."""
        # Sentences are shown too, in any script; only what a terminal would act on is written as an escape.
        shown = "".join(repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs") and c != "\t" else c for c in line)
        live = self._live if self.terminal else None
        self._write((_ERASE if live else "") + shown + "\n")
        if live:
            self._draw(live[0])

    def live(self, line: str) -> None:
        """A line that the next one replaces, and an empty one takes away; elsewhere the first, the last, and one every
        half minute stay as lines.
        """
        if line:
            self._show(Text(line), lambda: line)
            return
        if self.terminal and self._live is not None:
            self._write(_ERASE)
        self._live = None

    @contextmanager
    def progress(self, description: str, total: int | None = None, unit: str = "") -> Iterator["Bar"]:
        """A bar with share, rate and remaining time; elsewhere such a line every half minute, and one at the end."""
        self.close()
        bar = Bar(description, total, unit, self._clock, lambda: self._show(bar, bar.line))
        try:
            yield bar
        finally:
            # Also when nothing was done: the line says so.
            self._live = (bar, bar.line)
            self.close()

    @contextmanager
    def passing(self, description: str, total: int | None = None, unit: str = "") -> Iterator[Progress]:
        """A bar that is there from the beginning and gone in the end; elsewhere nothing is said."""
        if not self.terminal:
            with Silence().progress(description, total, unit) as nothing:
                yield nothing
            return
        self.close()
        bar = Bar(description, total, unit, self._clock, lambda: self._show(bar, bar.line))
        bar.advance(0)
        try:
            yield bar
        finally:
            self.live("")
            self._drawn_at = None

    @contextmanager
    def transfers(self) -> Iterator[Callable[[str, int, int | None], None]]:
        """A function of (name, bytes there, bytes in all or None) that shows one bar after the other, a file each."""
        with ExitStack() as shown:
            current: list[Bar] = []

            def tell(name: str, done: int, total: int | None) -> None:
                if not current or current[0].description != name:
                    shown.pop_all().close()
                    current[:] = [shown.enter_context(self.progress(name, total, "bytes"))]
                bar = current[0]
                bar.total = total
                bar.advance(done - bar.done)

            yield tell

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """Rows under a header; columns after the first are aligned to the right."""
        self.close()
        if title:
            self.say(title)
        if not self.terminal:
            widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
            for row in [header, *rows]:
                first, *others = zip(row, widths, strict=True)
                cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
                self.say("  ".join(cells).rstrip())
            return
        table = Table(box=None, pad_edge=False)
        for i, name in enumerate(header):
            table.add_column(Text(name), justify="right" if i else "left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._rich.print(table)

    def close(self) -> None:
        """Ends the live line or bar: its last state stays."""
        if self._live is None:
            return
        thing, text = self._live
        self._live = None
        self._drawn_at = None
        if self.terminal:
            self._draw(thing)
            self._write("\n")
        elif text() != self._said:
            self.say(text())
        self._said = ""

    def _show(self, thing: RenderableType, text: Callable[[], str]) -> None:
        self._live = (thing, text)
        now = self._clock()
        if self._drawn_at is not None and now - self._drawn_at < (DRAWN_SECONDS if self.terminal else PLAIN_SECONDS):
            return
        self._drawn_at = now
        if self.terminal:
            self._draw(thing)
        else:
            self._said = text()
            self.say(self._said)

    def _draw(self, thing: RenderableType) -> None:
        with self._rich.capture() as captured:
            self._rich.print(thing, end="", no_wrap=True, overflow="ellipsis")
        self._write(_ERASE + captured.get().split("\n")[0])

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Bar:
    """A bar: description, share done, counts, rate, remaining time."""

    def __init__(
        self, description: str, total: int | None, unit: str, clock: Callable[[], float], show: Callable[[], None]
    ) -> None:
        self.description = description
        self.total = total
        self.unit = unit
        self.done = 0
        self._clock = clock
        self._show = show
        self._start = clock()

    def advance(self, n: int = 1) -> None:
        """So much more is done."""
        self.done += n
        self._show()

    def line(self) -> str:
        """The bar in words: `prepare train.en: 120,000 of 1,000,000 lines, 12 %, 4,812/s, 00:03:03 left`."""
        return f"{self.description}: {self.figures()}"

    def figures(self) -> str:
        """What the bar says after its description."""
        seconds = self._clock() - self._start
        of_total = f" of {self.total:,}" if self.total is not None else ""
        parts = [f"{self.done:,}{of_total} {self.unit}".rstrip()]
        if self.total:
            parts.append(f"{100 * self.done // self.total} %")
        # No rate from the first moments: it would be a wild guess.
        if seconds >= 1 and self.done:
            rate = self.done / seconds
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
            if self.total is not None and self.done < self.total:
                parts.append(f"{duration((self.total - self.done) / rate)} left")
            else:
                parts.append(duration(seconds))
        return ", ".join(parts)

    def __rich__(self) -> RenderableType:
        """The same with a bar."""
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self.total, completed=min(self.done, self.total), width=16) if self.total else Text("")
        row.add_row(Text(self.description), bar, Text(self.figures(), no_wrap=True, overflow="ellipsis"))
        return row


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as 00:12:10; days as 3d 02:00:00."""
    days, rest = divmod(round(seconds), 24 * 3600)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}d {clock}" if days else clock
