"""log.jsonl: a line an event, flushed as it happens, and cut back on resume so that it tells one unbroken story."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nmt.durable import write_file
from nmt.errors import EnvironmentFault

# Events that belong to a moment of the training itself; after a resume those beyond the checkpoint did not happen.
_OF_UPDATES = frozenset({"update", "validation", "saved", "skipped", "compiled"})


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log; a last line that a kill cut short is left out."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


class EventLog:
    """Appends events to a log. Failing to write never stops training: `say` hears of it once.

    Without a path, as in a process that another one writes for, it does nothing.
    """

    def __init__(self, path: Path | None, say: Callable[[str], None]) -> None:
        self.path = path
        self._say = say
        self._broken = False

    def cut_back(self, update: int) -> list[dict[str, Any]]:
        """Removes what was logged after the checkpoint of this update, and a last line that a kill cut short.

        Gives the events that stay; none where the log cannot be read.
        """
        kept: list[dict[str, Any]] = []
        if self.path is None:
            return kept
        try:
            for event in read_events(self.path):
                if event.get("event") not in _OF_UPDATES or event.get("update", 0) <= update:
                    kept.append(event)
            if self.path.exists():
                write_file(self.path, "".join(map(_line, kept)).encode())
        except OSError as fault:
            self._fail(f"{self.path}: cannot be read: {fault.strerror}")
        except EnvironmentFault as fault:
            self._fail(fault.what)
        return kept

    def write(self, event: str, **fields: Any) -> None:
        """One event, with its fields in the order given."""
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as log:
                log.write(_line({"event": event, **fields}))
        except OSError as fault:
            self._fail(f"{self.path}: cannot be written: {fault.strerror}")

    def _fail(self, what: str) -> None:
        if not self._broken:
            self._say(f"warning: {what}; training goes on without its log")
        self._broken = True


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False) + "\n"
