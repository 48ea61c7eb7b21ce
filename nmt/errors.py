"""The faults a user can meet: what went wrong, what to do about it, and an exit code that tells a script which kind."""

from collections.abc import Sequence
from typing import Self

EXIT_PIPE_CLOSED = 141


class NmtError(Exception):
    """A fault that is not ours: printed as `error: WHAT` and, on a second line, HINT; no traceback.

    `what` begins with the place (file, line, key) where there is one; `hint` says what to do, in one line, or is empty.
    """

    exit_code: int = 1
    own: bool = False
    """Whether only this one of several processes says it, so that none must keep silent for the others."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        """The lines that belong on stderr, without a final newline."""
        return _lines(self.what, self.hint)


def _lines(what: str, hint: str) -> str:
    first, *rest = what.splitlines() or [""]
    return "\n".join([f"error: {first}", *(f"  {line}" for line in [*rest, *hint.splitlines()])])


class UsageError(NmtError):
    """The command line or the recipe asks for something that does not exist or cannot be."""

    exit_code = 2
    faults: tuple[tuple[str, str], ...] = ()
    """What and hint of every fault, where there are several; `what` and `hint` are then the first one's."""

    @classmethod
    def many(cls, faults: Sequence[tuple[str, str]]) -> Self:
        """Several faults of one recipe at once, as (what, hint): each prints an `error:` line and its hint."""
        error = cls(*faults[0])
        error.faults = tuple(faults)
        return error

    def __str__(self) -> str:
        """The lines that belong on stderr, without a final newline."""
        return "\n".join(_lines(what, hint) for what, hint in self.faults or [(self.what, self.hint)])


class DataError(NmtError):
    """Text or prepared data that cannot be used as it is."""

    exit_code = 3


class ModelError(NmtError):
    """A model file or a checkpoint that is missing, damaged, or not what was asked for."""

    exit_code = 4


class EnvironmentFault(NmtError):
    """The machine refuses: disk, memory, permission, lock, device, network."""

    exit_code = 5


class TrainingStopped(NmtError):
    """Training gave up by itself: a non-finite loss or gradient, or a divergence."""

    exit_code = 6


class Stopped(NmtError):
    """A signal asked us to stop, and what had to be saved is saved; `exit_code` is 128 plus the signal's number."""

    def __init__(self, what: str, hint: str, signal_number: int) -> None:
        super().__init__(what, hint)
        self.exit_code = 128 + signal_number


class SaidElsewhere(NmtError):
    """Another process of the same training has said why it ends: this one ends like it, and without a word."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("said by another process")
        self.exit_code = exit_code
