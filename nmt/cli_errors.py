"""What the command line makes of errors and of streams that fail: one form of message, and exit codes.

errors.py lists the faults and their codes.
"""

import contextlib
import errno
import os
import re
import sys
import time
import traceback
from types import TracebackType

from nmt.errors import EnvironmentFault, NmtError, SaidElsewhere, UsageError
from nmt.processes import several, speaks

EXIT_BUG = 1
EXIT_INTERRUPTED = 130
_SILENT_SECONDS = 2.0


def usage_error(error: Exception) -> UsageError:
    """typer's usage errors in our form."""
    context = getattr(error, "ctx", None)
    hint = f"see: {context.command_path if context else 'nmt'} --help"
    message = str(getattr(error, "format_message", error.__str__)()).strip()
    near = getattr(error, "possibilities", None)
    if near:
        message, hint = message.partition(" (")[0], f"did you mean: {near[0]}"
    elif " Did you mean " in message:
        message, _, rest = message.partition(" Did you mean ")
        hint = f"did you mean: {rest.rstrip('?').replace(chr(39), '')}"
    for theirs, ours in _OUR_WORDS.items():
        message = re.sub(theirs, ours, message)
    return UsageError(message.rstrip("."), hint)


# typer checks values through pydantic, and passes on what that says.
_OUR_WORDS = {
    r"^Invalid value for '([^']*)': ": r"\1: ",
    r": Value error, (.*) is not one of (.*?)\.*$": r" must be one of \2, not \1",
    r": Input should be a valid integer.*": " must be a whole number",
    r": Input should be (greater than|less than) or equal to (\S+)$": r" must be \1 or equal to \2",
    r"greater than or equal to": "at least",
    r"less than or equal to": "at most",
    r"^No such": "no such",
    r"^Missing argument '([^']*)'": r"\1 is missing",
    r"^Missing option '(--[^']*)'.*": r"\1 is missing",
    r"^Got unexpected extra argument\(?s?\)? \((.*)\)": r"one argument too many: \1",
    r"^Option '([^']*)' (.*)": r"\1 \2",
}


def machine_fault(error: OSError) -> EnvironmentFault | None:
    """The machine's refusals that no command foresaw; None for what must be our own fault."""
    hints = {
        errno.ENOSPC: "make room and run the same command again",
        errno.EDQUOT: "make room in your quota and run the same command again",
        errno.EFBIG: "raise the limit on file sizes: ulimit -f",
        errno.EROFS: "write somewhere else",
        errno.EACCES: "",
        errno.EPERM: "",
        errno.EIO: "the disk or the terminal may be gone",
        errno.EMFILE: "raise the limit on open files: ulimit -n",
        errno.ENOMEM: "use smaller batches or a smaller model",
    }
    if error.errno not in hints:
        return None
    place = f"{error.filename}: " if error.filename else ""
    return EnvironmentFault(f"{place}{(error.strerror or str(error)).lower()}", hints[error.errno])


def refuse(error: NmtError, shows_traceback: bool) -> int:
    """Says what a command was refused for, and gives the exit code that tells a script which kind of fault it was."""
    if isinstance(error, SaidElsewhere) or not (error.own or speaks()):
        # torchrun ends all when one ends: the one that speaks must not be ended before it has.
        time.sleep(_SILENT_SECONDS)
        return error.exit_code
    # Results so far come first, where the two share a terminal; if they cannot be written, the error still can.
    try:
        sys.stdout.flush()
    except OSError:
        discard_stdout()
    if shows_traceback:
        with contextlib.suppress(OSError):
            traceback.print_exception(error)
    print_error(str(error))
    return error.exit_code


def print_error(line: str) -> None:
    """A line on standard error, where that can still be written."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)


def report_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The hook for what nobody foresaw: a traceback, and the request to report it."""
    with contextlib.suppress(OSError):
        traceback.print_exception(kind, error, trace)
    print_error("error: this is a fault of nmt, not yours: please report it, with the lines above")
    leave(EXIT_BUG)


def leave(code: int) -> None:
    """Ends one of several processes at once where the training has failed; otherwise Python ends as usual.

    As usual it would wait for threads of torch that wait for processes that are gone.
    """
    if code and several():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def discard_stdout() -> None:
    """Points standard output at nothing, or Python would try to write the rest once more as it ends, and complain."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def open_closed_streams() -> None:
    """Gives 0, 1 and 2 something where the shell closed them (`>&-`): the next file opened would become one of them."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 (lives as long as the process)
    if sys.stdout is None:
        # A pipe that nobody reads: the first result finds out, as with any reader who left.
        reader, writer = os.pipe()
        os.close(reader)
        if writer != 1:
            os.dup2(writer, 1)
            os.close(writer)
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
