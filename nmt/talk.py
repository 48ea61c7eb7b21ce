"""What a command may say while it works: the protocol that commands are given, and the silent version of it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """Work going on, of a known or unknown size."""

    def advance(self, n: int = 1) -> None:
        """So much more is done. Cheap: may be called as often as there is news."""
        ...


class Talk(Protocol):
    """Where a command tells people what it does: never results, which go to standard output."""

    def say(self, line: str) -> None:
        """A line that stays."""
        ...

    def live(self, line: str) -> None:
        """A line that the next one replaces, where the terminal can do that; an empty one takes it away. Cheap."""
        ...

    def progress(self, description: str, total: int | None = None, unit: str = "") -> AbstractContextManager[Progress]:
        """A bar with rate and remaining time while the context lasts; `total` None where the size is not known."""
        ...

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """Rows under a header; columns after the first are aligned to the right."""
        ...


class Silence:
    """Says nothing: the `Talk` of commands that are called from Python."""

    def say(self, line: str) -> None:
        """Nothing."""

    def live(self, line: str) -> None:
        """Nothing."""

    def progress(self, description: str, total: int | None = None, unit: str = "") -> AbstractContextManager[Progress]:
        """Nothing to see, but used like any other."""
        return nullcontext(_Uncounted())

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """Nothing."""


class _Uncounted:
    def advance(self, n: int = 1) -> None:
        pass
