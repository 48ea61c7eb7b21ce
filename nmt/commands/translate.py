"""`nmt translate`: standard input to standard output, one line out for every line in, in order, whatever the bytes.

A thread reads lines into a queue of bounded size; a window closes when it is full or when no more input is there, and
its translations are written at once. So a line typed into a pipe is answered before the next one comes, and a file of
millions of lines is translated in large batches in constant memory.
"""

import json
import math
import re
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Self

from pydantic import ValidationError

from nmt.corpus.text import LineReport, scan_lines
from nmt.durable import refusals
from nmt.errors import DataError, NmtError, Stopped, UsageError
from nmt.recipe import SearchConfig
from nmt.runs import newest_run
from nmt.search.sampling import Sampling
from nmt.translation import Candidate, Translation
from nmt.translator import WINDOW_CHARACTERS, WINDOW_LINES, Translator

_PAUSE = 0.01
"""Seconds without a full window after which input counts as paused: far above what a program needs to write a line."""
_SHOWN = 5
# JSON need not escape these, and many programs end a line there; they can only stand within strings.
_LINE_ENDS = re.compile("[\x7f\x85\u2028\u2029]")


def translate(
    models: Sequence[Path] = (),
    *,
    beam: int | None = None,
    n_best: int = 1,
    alignments: bool = False,
    as_json: bool = False,
    device: str = "auto",
    batch: int | None = None,
    sampling: Sampling | None = None,
    overrides: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> None:
    """Translates stdin to stdout (the process's own by default) with a model file or a run's folder, or the newest run.

    Several models translate together, as an ensemble (`Translator.load`).
    `overrides` are `search.KEY=VALUE`. `say` gets what is not a result: the name of a model that was picked, lines that
    were cut or split. Output and errors as for `translate_stream`; also UsageError, ModelError and EnvironmentFault
    before anything is read.
    """
    paths = [path / "model.safetensors" if path.is_dir() else path for path in models]
    if not paths:
        run = newest_run(Path("runs"))
        say(f"model: {run}")
        paths = [run / "model.safetensors"]
    translator = Translator.load(paths, device=device)
    translator.config = overridden(translator.config, overrides)
    translate_stream(
        stdin or sys.stdin.buffer,
        stdout or sys.stdout.buffer,
        translator,
        beam=beam,
        n_best=n_best,
        alignments=alignments,
        as_json=as_json,
        batch=batch,
        sampling=sampling,
        say=say,
    )


def sampling_of(
    sample: bool,
    *,
    beam: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Sampling | None:
    """What the flags of `nmt translate` ask for; None for a search. UsageError where they do not go together."""
    asked = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    given = {name: value for name, value in asked.items() if value is not None}
    if not sample:
        if given:
            flag = next(iter(given)).replace("_", "-")
            raise UsageError(f"--{flag} says how to draw translations at random", "add --sample, or leave it out")
        return None
    if beam is not None:
        raise UsageError(
            "--sample draws translations at random, --beam searches for the best", "choose one; --n-best counts samples"
        )
    return Sampling(**given)


def overridden(config: SearchConfig, overrides: Sequence[str]) -> SearchConfig:
    """The search section changed by `search.KEY=VALUE`, in their order; UsageError for what it cannot be."""
    values = config.model_dump()
    for override in overrides:
        key, equals, text = override.partition("=")
        section, _, name = key.strip().partition(".")
        if not equals or section != "search" or name not in values:
            raise UsageError(
                f"--set {override}: only the search can be changed in a trained model",
                f"use one of {', '.join(f'search.{name}' for name in values)}",
            )
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text.strip()
    try:
        return SearchConfig.model_validate(values)
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"--set search.{where}: {first['msg'].lower()}, not {first['input']!r}") from None


def translate_stream(
    source: BinaryIO,
    sink: BinaryIO,
    translator: Translator,
    *,
    beam: int | None = None,
    n_best: int = 1,
    alignments: bool = False,
    as_json: bool = False,
    batch: int | None = None,
    sampling: Sampling | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Writes to `sink` a line for every line of `source`, in order; an empty line for an empty one.

    By default a line is the translation. With `alignments` a tab follows (a translation holds none) and `source-target`
    pairs as in Pharaoh, `0-0 1-2`, which count the pieces that the model saw and wrote, from 0; words where the
    vocabulary is of words. With `sampling` translations are drawn, `n_best` of a line. With `as_json`, and whenever
    `n_best` is above 1, it is a JSON object (`record` has its keys). Written in whole lines: whatever stops it, complete
    lines that are a true beginning of the output are there.

    Raises, after everything was written, DataError with the numbers of the lines that were no text (they were
    translated with U+FFFD in the place of what could not be read). Raises, when it can go no further: DataError and
    EnvironmentFault of the reader, EnvironmentFault where the sink refuses (full), BrokenPipeError where its reader is
    gone, KeyboardInterrupt, Stopped on SIGTERM, and what the search raises.
    """
    as_json = as_json or n_best > 1

    notes = _Notes()

    def translated(window: Sequence[str]) -> list[Translation]:
        return translator.translate_window(
            window,
            beam=beam,
            n_best=n_best,
            alignments=alignments or as_json,
            batch=batch,
            sampling=sampling,
            first_line=notes.n_lines + 1,
        )

    translated([])  # what is wrong with the settings shows before anything is read
    report = LineReport("standard input")
    inbox = _Inbox()
    reader = threading.Thread(target=_read, args=(_unbuffered(source), report, inbox), daemon=True)
    raw = _unbuffered(sink)
    try:
        with _Signals() as signals:
            reader.start()
            while window := inbox.window():
                found = translated(window)
                lines = [record(one, n_best) if as_json else line(one, alignments) for one in found]
                with signals.held_back():
                    _write(raw, "".join(f"{text}\n" for text in lines).encode())
                notes.take(found)
    finally:
        inbox.abandon()
    notes.tell(say)
    if inbox.fault is not None:
        raise inbox.fault
    assert inbox.complete, "the reading thread died"
    if report.bad:
        raise DataError(
            "\n".join(report.describe_bad()), "these lines were translated with U+FFFD where they could not be read"
        )


def line(found: Translation, alignments: bool) -> str:
    """The plain output for a line, without its end; without attention the part after the tab stays empty."""
    if not alignments:
        return found.translation
    return f"{found.translation}\t{' '.join(f'{s}-{t}' for s, t in found.alignment or ())}"


def record(found: Translation, n_best: int = 1) -> str:
    """The JSON object for a line, on one line.

    source, source_pieces, parts; of the best translation: translation, score, pieces, alignment (pairs [source piece,
    target piece], null without attention), cut, unknown (`Candidate` says what they mean); with n_best above 1 also
    `hypotheses`, a list of objects with these six keys, best first.
    """
    values: dict[str, Any] = {"source": found.source, "source_pieces": found.pieces, "parts": found.parts}
    values |= _values(found.hypotheses[0])
    if n_best > 1:
        values["hypotheses"] = [_values(candidate) for candidate in found.hypotheses]
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    return _LINE_ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _values(candidate: Candidate) -> dict[str, Any]:
    return {
        "translation": candidate.translation,
        "score": candidate.score if math.isfinite(candidate.score) else None,
        "pieces": candidate.pieces,
        "alignment": candidate.alignment,
        "cut": candidate.cut,
        "unknown": candidate.unknown,
    }


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


def _unbuffered(stream: BinaryIO) -> Any:
    """The stream below the buffer: a thread that dies holding a buffer's lock, or a buffer that cannot be emptied,
    would make Python complain as it ends.
    """
    raw = getattr(stream, "raw", None)
    if raw is None:
        return stream
    if stream.writable():
        stream.flush()
    return _Unbuffered(raw)


class _Inbox:
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


def _read(source: BinaryIO, report: LineReport, inbox: _Inbox) -> None:
    """The reading thread."""
    fault: NmtError | None = None
    complete = False
    try:
        for text, _ in scan_lines(source, report):
            if not inbox.put(text):
                break
        complete = True
    except NmtError as error:
        fault, complete = error, True
    finally:
        inbox.end(fault, complete)


# --- writing ----------------------------------------------------------------------------------------------------------


def _write(raw: Any, data: bytes) -> None:
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


class _Signals:
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


@dataclass
class _Notes:
    """What people should know of the lines that passed: how many there were of a kind, and the first of them."""

    n_lines: int = 0
    kinds: dict[str, list[int]] = field(default_factory=dict)

    def take(self, found: Sequence[Translation]) -> None:
        for one in found:
            self.n_lines += 1
            if one.parts > 1:
                self._count("longer than the model has learned, translated in parts")
            if one.cut:
                self._count("cut at the greatest length: the model found no end")

    def _count(self, kind: str) -> None:
        numbers = self.kinds.setdefault(kind, [0])
        numbers[0] += 1
        if numbers[0] <= _SHOWN:
            numbers.append(self.n_lines)

    def tell(self, say: Callable[[str], None]) -> None:
        for kind, (count, *first) in self.kinds.items():
            more = ", ..." if count > len(first) else ""
            say(f"{count:,} line{'s' if count > 1 else ''} {kind}: {', '.join(map(str, first))}{more}")
