"""YAML 1.2 to plain values: the part of the language that a recipe needs, and the line of every key.

We walk the parser's events and build the values ourselves, so nothing that YAML can do beyond plain text, numbers,
lists and mappings ever happens: ruamel's own loaders let anchors, aliases and merge keys through.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

Path = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""

MAX_DEPTH = 20
MAX_EVENTS = 10_000
# ruamel scans a megabyte of comments in a third of a second, but of words in two, and a tag in quadratic time.
MAX_CONTENT = 256 * 1024
MAX_LINE = 8192

_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Longer whole numbers stay text, which no field takes for a number: int() is quadratic in the number of digits.
_MAX_DIGITS = 40

# What YAML 1.2 lets stand in a file as it is (production 1, c-printable).
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# What ruamel raises on some malformed input besides its own errors.
_PARSER_SLIPS = (ValueError, IndexError, AssertionError, AttributeError, TypeError, KeyError, OverflowError)


class Refused:
    """Stands where a value could not be read, and a fault says why: whatever else is wrong with it is a consequence."""


@dataclass(frozen=True)
class Fault:
    """Something wrong in the text: its line (from 1), what, and what to do about it."""

    line: int
    what: str
    hint: str = ""


@dataclass
class Document:
    """A YAML text as plain values: None, bool, int, float, str, list, dict with text keys, `Refused`."""

    value: object = None
    lines: dict[Path, int] = field(default_factory=dict)
    """The line (from 1) of every key and list item."""
    faults: list[Fault] = field(default_factory=list)
    broken: bool = False
    """The text is not YAML, or not all of it was read: `value` says nothing."""


def plain_scalar(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means in YAML 1.2.2's core schema (10.3.2): `no` and `12:30` are text, `012` is 12."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= _MAX_DIGITS:
        if _INT.fullmatch(text):
            return int(text)
        if _OCTAL.fullmatch(text):
            return int(text[2:], 8)
        if _HEX.fullmatch(text):
            return int(text[2:], 16)
    if _FLOAT.fullmatch(text) and not _INT.fullmatch(text):
        return float(text)
    if match := _INFINITE.fullmatch(text):
        return float(match[1] + "inf")
    if text in (".nan", ".NaN", ".NAN"):
        return float("nan")
    return text


def read_yaml(text: str, *, inline: bool = False) -> Document:
    """Reads one document. Every fault found is in the result; nothing is raised.

    `inline` is for a value on the command line: one scalar or flow collection, nothing after it, not even a comment.
    Anything but comments is limited to 256 KiB, a line to 8,192 characters and nesting to 20 levels, so that no text
    takes more than about a second.
    """
    document = Document()
    if fault := _unfit(text):
        document.faults.append(fault)
        document.broken = True
        return document
    reader = _Reader(text, document, inline)
    try:
        document.value = reader.read()
    except _StopError as stop:
        document.faults.append(stop.fault)
        document.broken = True
    except MarkedYAMLError as error:
        document.faults.append(_syntax_fault(error, reader.line))
        document.broken = True
    except (YAMLError, *_PARSER_SLIPS):
        document.faults.append(Fault(reader.line, "this is not YAML from here on"))
        document.broken = True
    return document


def _unfit(text: str) -> Fault | None:
    if match := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, match.start()) + 1
        return Fault(
            line,
            f"the character U+{ord(match[0]):04X} is not text",
            "delete it, or write it as an escape in double quotes",
        )
    content = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE:
            return Fault(number, f"a line of {len(line):,} characters", f"the limit is {MAX_LINE:,}")
        if not line.startswith("#"):
            content += len(line) + 1
        if content > MAX_CONTENT:
            return Fault(number, f"more than {MAX_CONTENT // 1024} KiB of values: this is not a recipe")
    return None


class _StopError(Exception):
    """Reading cannot go on."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.what)
        self.fault = fault


class _Parser(YAML):
    """ruamel's parser without its plug-ins: it would search its folder for code to import each time."""

    def official_plug_ins(self) -> list[str]:
        return []


class _Reader:
    """One pass over the events of a text, filling a document."""

    def __init__(self, text: str, document: Document, inline: bool) -> None:
        self.text = text
        self.document = document
        self.inline = inline
        self.line = 1
        self.end = 0
        self.count = 0
        # A fresh parser each time: ruamel keeps state in it, also after an error.
        self.events: Iterator[Event] = iter(_Parser(typ="safe", pure=True).parse(text))

    def read(self) -> object:
        value: object = None
        n_documents = 0
        while not isinstance(event := self.next(), StreamEndEvent):
            if isinstance(event, StreamStartEvent):
                continue
            assert isinstance(event, DocumentStartEvent)
            n_documents += 1
            if n_documents > 1:
                raise _StopError(Fault(self.line, "a second document begins here", "keep one document a file"))
            self.check_directives(event)
            if self.inline and event.explicit:
                raise _StopError(Fault(1, "a value must not begin with ---", "put text like this in quotes"))
            value = self.value(self.next(), (), 0)
            rest = self.text[self.end :]
            assert isinstance(self.next(), DocumentEndEvent)
            if self.inline and rest.strip():
                raise _StopError(
                    Fault(
                        1, "a value must not be followed by anything", "put text that holds # or a line break in quotes"
                    )
                )
        return value

    def next(self) -> Event:
        event = next(self.events)
        self.count += 1
        self.line = event.start_mark.line + 1
        self.end = event.end_mark.index
        if self.count > MAX_EVENTS:
            raise _StopError(Fault(self.line, f"more than {MAX_EVENTS:,} values: this is not a recipe"))
        return event

    def check_directives(self, start: DocumentStartEvent) -> None:
        # ruamel drops the directives it does not know, so the text before the document is read again here.
        for number, line in enumerate(self.text[: start.end_mark.index].split("\n"), start=1):
            if line.startswith("%"):
                self.fault(
                    number,
                    f"the directive {shortened(line.split()[0])} is not allowed",
                    "a recipe is plain YAML 1.2: delete the line",
                )
                return
        if start.version is not None or start.tags:
            self.fault(self.line, "directives are not allowed", "a recipe is plain YAML 1.2: delete the line")

    def fault(self, line: int, what: str, hint: str = "") -> None:
        self.document.faults.append(Fault(line, what, hint))

    def value(self, event: Event, path: Path, depth: int) -> object:
        """Builds the value that begins with this event; refused ones are read to their end all the same."""
        line = self.line
        if isinstance(event, AliasEvent):
            self.fault(line, f"the alias *{shortened(event.anchor)} is not allowed", "write the value out")
            return Refused()
        if depth > MAX_DEPTH:
            raise _StopError(Fault(line, f"values nest deeper than {MAX_DEPTH} levels"))
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self.fault(
                line, f"the anchor &{shortened(anchor)} is not allowed", "write the value out wherever it is needed"
            )
        refused = self.tagged(event)
        if isinstance(event, ScalarEvent):
            value = self.scalar(event, line)
        elif isinstance(event, SequenceStartEvent):
            self.check_flow(event.flow_style)
            value = self.sequence(path, depth)
        else:
            assert isinstance(event, MappingStartEvent)
            self.check_flow(event.flow_style)
            value = self.mapping(path, depth)
        return Refused() if refused else value

    def tagged(self, event: Event) -> bool:
        tag = getattr(event, "tag", None)
        if tag is None:
            return False
        name = shortened(str(tag).replace("tag:yaml.org,2002:", "!!"))
        self.fault(
            self.line,
            f"the tag {name} is not allowed",
            "values are text, numbers, true, false, null, lists and mappings: delete the tag",
        )
        return True

    def check_flow(self, flow_style: bool | None) -> None:
        if self.inline and not flow_style:
            raise _StopError(
                Fault(1, "a collection must stand in brackets", "write lists as [a, b] and mappings as {key: value}")
            )

    def scalar(self, event: ScalarEvent, line: int) -> object:
        text = event.value
        if self.unfit_text(text, line):
            return Refused()
        value = text if event.style else plain_scalar(text)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            self.fault(line, f"{text} is too large for a whole number")
            return Refused()
        return value

    def unfit_text(self, text: str, line: int) -> bool:
        """Escapes can write what no file may hold."""
        if "\0" in text:
            self.fault(line, "text must not hold a NUL character")
        elif any("\ud800" <= character <= "\udfff" for character in text):
            self.fault(line, "text must not hold half of a surrogate pair", r"write it as \U and eight digits")
        else:
            return False
        return True

    def sequence(self, path: Path, depth: int) -> list[object]:
        items: list[object] = []
        while not isinstance(event := self.next(), SequenceEndEvent):
            here = (*path, len(items))
            self.document.lines[here] = self.line
            items.append(self.value(event, here, depth + 1))
        return items

    def mapping(self, path: Path, depth: int) -> dict[str, object]:
        entries: dict[str, object] = {}
        while not isinstance(event := self.next(), MappingEndEvent):
            line = self.line
            key = self.key(event, depth)
            if key is None:
                self.skip(depth)
                continue
            here = (*path, key)
            if key in entries:
                first = self.document.lines[here]
                self.fault(line, f"{dotted(here)} stands twice: in line {first} and here", "keep one of them")
                self.skip(depth)
                continue
            self.document.lines[here] = line
            entries[key] = self.value(self.next(), here, depth + 1)
        return entries

    def skip(self, depth: int) -> None:
        """Reads the value of a key that is refused: what is wrong inside it is no news."""
        document, self.document = self.document, Document()
        self.value(self.next(), (), depth + 1)
        self.document = document

    def key(self, event: Event, depth: int) -> str | None:
        """The key as text, whatever it looks like; None, and a fault, where it cannot be one."""
        line = self.line
        n_faults = len(self.document.faults)
        if not isinstance(event, ScalarEvent):
            self.value(event, ("",), depth + 1)
            if not isinstance(event, AliasEvent):
                self.fault(line, "a list or a mapping cannot be a key", "keys are words")
            return None
        if event.anchor is not None:
            self.fault(line, f"the anchor &{shortened(event.anchor)} is not allowed", "delete it")
        self.tagged(event)
        if not event.style and event.value == "<<":
            self.fault(line, "the merge key << is not allowed", "write the keys out")
        self.unfit_text(event.value, line)
        return None if len(self.document.faults) > n_faults else event.value


def shortened(text: object, limit: int = 60) -> str:
    """Text for a message: without anything that a terminal would act on, and not too long."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[: limit + 1])
    return shown if len(shown) <= limit else shown[:limit] + "..."


def dotted(path: Path) -> str:
    """A path as it is written after --set: train.schedule.kind."""
    return ".".join(shortened(part) for part in path)


# ruamel's words for the faults that people make most, and ours.
_OURS = {
    "mapping values are not allowed": (
        "a colon where no key can be",
        "indent keys of one section alike; put text that holds ': ' in quotes",
    ),
    "could not find expected ':'": ("a key without a colon", "write key: value"),
    "cannot start any token": (
        "a character that YAML keeps for itself",
        "indent with spaces, not tabs; put text that begins with @, ` or % in quotes",
    ),
    "found unexpected end of stream": ("the file ends inside quotes", "close them"),
    "found unexpected document separator": ("the document ends inside quotes", "close them"),
    "expected <block end>": (
        "this line is not indented like the ones of its section",
        "indent keys of one section alike",
    ),
    "expected ',' or": (
        "a list or mapping in brackets is not closed",
        "separate values with commas and close every bracket",
    ),
    "expected the node content": (
        "a value is missing",
        "close every bracket; put text that begins with , ] or } in quotes",
    ),
    "found unknown escape character": (
        "an escape that does not exist in double quotes",
        r"write \\ for a backslash, or use single quotes",
    ),
    "undefined alias": ("an alias is not allowed", "write the value out"),
}


def _syntax_fault(error: MarkedYAMLError, line: int) -> Fault:
    mark = error.problem_mark or error.context_mark
    if mark is not None:
        line = mark.line + 1
    problem = str(error.problem or error.context or "")
    for theirs, (what, hint) in _OURS.items():
        if theirs in problem:
            return Fault(line, what, hint)
    return Fault(line, f"this is not YAML: {shortened(problem.split(chr(10))[0], 100)}")
