"""Text as lines: the one rule by which bytes become lines, for corpora, references and standard input alike.

The rule: a line ends at the byte `\\n` and nowhere else; one `\\r` before it is dropped; the rest is strict UTF-8. The
characters that other programs take for line ends or field separators (TAB, `\\v`, `\\f`, an inner `\\r`, U+001C to
U+001E, U+0085, U+2028, U+2029) become a space and are counted. A byte order mark is dropped at byte 0; anywhere else it
became part of the text by joining files, and becomes a space too. A line is bad when it is not UTF-8, holds a NUL, or
has more than 1 MiB. gzip is recognised by its first bytes, whatever the name says.
"""

import re
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from nmt.errors import DataError, EnvironmentFault

BadText = Literal["error", "skip", "replace"]

SHOWN = 5
"""Bad lines of a file that a message shows; of the others it gives the number."""
MAX_LINE = 1 << 20
"""Bytes of the longest line that is read; sentences are far shorter, so a longer one is not text."""
MAX_RATIO = 200
"""Bytes that a compressed byte may unpack to, over a whole file; prose has 3 to 10, one sentence repeated for ever 300
to 1,000.
"""
MAX_RATIO_FROM = 64 << 20
"""Unpacked bytes from which the ratio is looked at: less does no harm."""
MAX_UNPACKED = 1 << 38
"""Unpacked bytes of one file, at most (256 GiB)."""

_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"
_REPLACEMENT = "\ufffd"
_SEPARATORS = re.compile("[\t\v\f\r\x1c-\x1e\x85\u2028\u2029\ufeff]")
_SEPARATORS_BUT_TAB = re.compile(_SEPARATORS.pattern.replace("\t", ""))
_GZIP = b"\x1f\x8b"
_REFUSED = {
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"BZh": ("bzip2", "bunzip2"),
    b"PK\x03\x04": ("zip", "unzip"),
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class BadLine:
    """A line that is not text: its number and the column in characters, both from 1, and what is wrong there."""

    line: int
    column: int
    why: str


@dataclass
class LineReport:
    """What was met in one file or stream so far; `name` is what messages call it. It grows as lines are drawn."""

    name: str
    lines: int = 0
    bad: int = 0
    first_bad: list[BadLine] = field(default_factory=list)
    separators: int = 0
    bom: bool = False

    def add_bad(self, bad: BadLine) -> None:
        """Count a bad line; the first five are kept to be shown."""
        self.bad += 1
        if self.bad <= SHOWN:
            self.first_bad.append(bad)

    def describe_bad(self) -> list[str]:
        """The bad lines as `file:line:column: why`, five at most, and how many there are in all."""
        shown = [f"{self.name}:{bad.line}:{bad.column}: {bad.why}" for bad in self.first_bad]
        if self.bad > len(shown):
            shown.append(f"{self.name}: {self.bad:,} bad lines in all")
        return shown


@dataclass(frozen=True)
class Text:
    """A whole file: its lines and what was met in reading them."""

    lines: list[str]
    report: LineReport


BAD_TEXT_HINT = "fix the text (Latin-1: iconv -f latin1 -t utf-8), or set corpus.bad_text: skip or replace"


def bad_text_error(reports: list[LineReport], hint: str = BAD_TEXT_HINT) -> DataError:
    """The error for files with bad lines: for each of them the first five and their number."""
    return DataError("\n".join(line for report in reports for line in report.describe_bad()), hint)


def scan_lines(
    stream: BinaryIO, report: LineReport, tabs: bool = False, skip: int = 0
) -> Iterator[tuple[str, BadLine | None]]:
    """Every line of a stream with its fault, if any, in bounded memory; as many as there are `\\n`, and one for an
    unended last line.

    A bad line is still one line: what is not UTF-8, and each NUL, stands as U+FFFD in it; one over 1 MiB is a single
    U+FFFD. Bytes are taken as they come, so on a pipe a line is given before the next one arrives. DataError for
    damaged or unsuitable compression, EnvironmentFault where the system cannot read. With `tabs` a TAB stays. The first
    `skip` lines are counted and not looked at.
    """
    separators = _SEPARATORS_BUT_TAB if tabs else _SEPARATORS
    pending = bytearray()  # the beginning of a line that has not ended yet; empty while that is over-long
    length = 0  # its bytes
    chunks = _chunks(stream, report)
    for chunk in _after(chunks, report, skip) if skip else chunks:
        *ended, rest = chunk.split(b"\n")
        for raw in ended:
            if length:
                length += len(raw)
                raw = bytes(pending + raw) if length <= MAX_LINE else b""
                pending.clear()
                yield _line(raw, length, report, separators)
                length = 0
            else:
                yield _line(raw, len(raw), report, separators)
        if rest:
            length += len(rest)
            if length <= MAX_LINE:
                pending += rest
            else:
                pending.clear()
    if length:
        yield _line(bytes(pending), length, report, separators)


def read_lines(
    stream: BinaryIO,
    name: str,
    bad_text: BadText = "error",
    *,
    report: LineReport | None = None,
    on_bad: Callable[[BadLine], None] | None = None,
) -> Iterator[str]:
    """The lines of a stream. Bad lines: `replace` gives them with U+FFFD, `skip` leaves them out, `error` raises at the
    end.

    `on_bad` is called with each of them, before the line is given. `report` collects the counts. With `error` the whole
    stream is read first-to-last and DataError then lists the first five faults; so whatever was drawn before must not
    be used.
    """
    report = report or LineReport(name)
    for text, bad in scan_lines(stream, report):
        if bad is None:
            yield text
            continue
        if on_bad is not None:
            on_bad(bad)
        if bad_text == "replace":
            yield text
    if bad_text == "error" and report.bad:
        raise bad_text_error([report])


@contextmanager
def open_text(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, as they are (`scan_lines` unpacks); DataError when it is missing or a folder, EnvironmentFault
    when locked away.
    """
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise DataError(f"{path} is a folder, not a file of text")
        stream = path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as fault:
        raise EnvironmentFault(f"{path} cannot be read: {fault.strerror or fault}") from None
    with stream:
        yield stream


def read_text(path: Path, bad_text: BadText = "error") -> Text:
    """A whole file of lines, for validation, test and reference text. Holds all of it; errors as for `open_text` and
    `read_lines`.
    """
    report = LineReport(str(path))
    with open_text(path) as stream:
        return Text(list(read_lines(stream, report.name, bad_text, report=report)), report)


def _line(raw: bytes, length: int, report: LineReport, separators: re.Pattern[str]) -> tuple[str, BadLine | None]:
    """One line, without its `\\n`, as text; `length` counts its bytes where they were too many to keep."""
    report.lines += 1
    if length > MAX_LINE:
        bad = BadLine(report.lines, 1, f"a line of {length:,} bytes; the longest that is read has {MAX_LINE:,}")
        report.add_bad(bad)
        return _REPLACEMENT, bad
    if report.lines == 1 and raw.startswith(_BOM):
        report.bom = True
        raw = raw[len(_BOM) :]
    if raw.endswith(b"\r"):
        raw = raw[:-1]
    bad = None
    try:
        text = raw.decode()
    except UnicodeDecodeError as fault:
        text = raw.decode(errors="replace")
        # Everything before the first undecodable byte is sound, so this counts characters, as editors do.
        column = len(raw[: fault.start].decode()) + 1
        why = f"byte 0x{raw[fault.start]:02X} is not UTF-8"
        if report.lines == 1 and raw.startswith(_UTF16):
            why += "; the file looks like UTF-16 (iconv -f utf-16 -t utf-8)"
        bad = BadLine(report.lines, column, why)
    nul = text.find("\0")
    if nul >= 0:
        text = text.replace("\0", _REPLACEMENT)
        if bad is None or nul + 1 < bad.column:
            bad = BadLine(report.lines, nul + 1, "NUL byte")
    if bad is not None:
        report.add_bad(bad)
    if separators.search(text):
        text, n = separators.subn(" ", text)
        report.separators += n
    return text, bad


def _chunks(stream: BinaryIO, report: LineReport) -> Iterator[bytes]:
    """The stream's bytes in pieces of at most 64 KiB, unpacked where they begin like gzip."""
    # read1 gives what there is; read would wait on a pipe until 64 KiB have come.
    take = getattr(stream, "read1", stream.read)

    def read() -> bytes:
        try:
            return take(_CHUNK) or b""
        except OSError as fault:
            raise EnvironmentFault(f"{report.name} cannot be read: {fault.strerror or fault}") from None

    head = read()
    # Wait for more only while what has come could still be the beginning of a magic number.
    while any(len(head) < len(magic) and magic.startswith(head) for magic in (_GZIP, *_REFUSED)) and (more := read()):
        head += more
    for magic, (name, command) in _REFUSED.items():
        if head.startswith(magic) and (name != "bzip2" or head[4:10] == b"1AY&SY"):
            raise DataError(
                f"{report.name} is packed with {name}, which is not read here", f"unpack it ({command}), or use gzip"
            )
    if head.startswith(_GZIP):
        yield from _unpacked(head, read, report)
        return
    while head:
        yield head
        head = read()


def _after(chunks: Iterator[bytes], report: LineReport, n_lines: int) -> Iterator[bytes]:
    """What follows the first n_lines lines, which are counted in the report; an unended last line is one too."""
    begun = False
    for chunk in chunks:
        missing = n_lines - report.lines
        if missing > 0:
            ends = chunk.count(b"\n")
            if ends < missing:
                report.lines += ends
                begun = not chunk.endswith(b"\n")
                continue
            at = 0
            for _ in range(missing):
                at = chunk.index(b"\n", at) + 1
            report.lines, begun = n_lines, False
            chunk = chunk[at:]
        if chunk:
            yield chunk
    report.lines += begun


def _unpacked(pending: bytes, read: Callable[[], bytes], report: LineReport) -> Iterator[bytes]:
    """gzip members, one after the other, in pieces of at most 64 KiB; zeros after the last one are padding, as in
    gzip(1).
    """
    n_in = n_out = 0
    gzip = zlib.MAX_WBITS | 16
    decoder = zlib.decompressobj(gzip)
    while True:
        if decoder.eof:
            while not (pending := pending.lstrip(b"\0")):
                pending = read()
                if not pending:
                    return
            decoder = zlib.decompressobj(gzip)
        elif not pending:
            pending = read()
        ended = not pending
        try:
            out = decoder.decompress(pending, _CHUNK)
        except zlib.error as fault:
            raise DataError(
                f"{report.name} is damaged: after {report.lines:,} lines its gzip data make no sense ({fault})",
                "get the file again",
            ) from None
        left = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        n_in += len(pending) - len(left)
        n_out += len(out)
        pending = left
        if (n_out > MAX_RATIO_FROM and n_out > MAX_RATIO * n_in) or n_out > MAX_UNPACKED:
            raise DataError(
                f"{report.name} unpacks to more than {n_out:,} bytes from {n_in:,}: text does not pack so well",
                "if it really is text, unpack it first (gunzip)",
            )
        if out:
            yield out
        elif ended and not decoder.eof:
            raise DataError(
                f"{report.name} is cut short: its gzip data stop without an end after {report.lines:,} lines",
                "get the file again",
            )
