"""The faults a user can meet: what went wrong, what to do about it, and the exit code that tells a script which kind it was."""

EXIT_PIPE_CLOSED = 141


class NmtError(Exception):
    """A fault that is not ours: printed as `error: WHAT` and, on a second line, HINT; no traceback.

    `what` begins with the place (file, line, key) where there is one; `hint` is one line that says what to do, or empty.
    """

    exit_code: int = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        """The lines that belong on stderr, without a final newline."""
        lines = [f"error: {line}" if i == 0 else f"  {line}" for i, line in enumerate(self.what.splitlines())]
        return "\n".join(lines + [f"  {line}" for line in self.hint.splitlines()])


class UsageError(NmtError):
    """The command line or the recipe asks for something that does not exist or cannot be."""

    exit_code = 2


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
