"""log.jsonl: a line an event, flushed as it happens, and cut back on resume so that it tells one unbroken story."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Events that belong to a moment of the training itself; after a resume those beyond the checkpoint did not happen.
_OF_UPDATES = frozenset({"update", "validation", "saved", "skipped"})


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
    """Appends events to a log. Failing to write never stops training: `say` hears of it once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broken: str | None = None

    def cut_back(self, update: int) -> None:
        """Removes what was logged after the checkpoint of this update."""
        kept = [e for e in read_events(self.path) if e.get("event") not in _OF_UPDATES or e.get("update", 0) <= update]
        if self.path.exists():
            text = "".join(_line(event) for event in kept)
            self.path.write_text(text, encoding="utf-8")

    def write(self, event: str, **fields: Any) -> None:
        """One event, with its fields in the order given."""
        try:
            with self.path.open("a", encoding="utf-8") as log:
                log.write(_line({"event": event, **fields}))
        except OSError as fault:
            self.broken = str(fault)


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, ensure_ascii=False) + "\n"
