"""Which of the processes of a training this one is, as torchrun says it in the environment; the cores it may use; which
others are alive.
"""

import os
from dataclasses import dataclass

from nmt.errors import UsageError

_HINT = "start several processes with torchrun: torchrun --nproc-per-node 2 -m nmt train RECIPE"


@dataclass(frozen=True)
class Place:
    """Process `rank` of `size`, counted over all machines; on this one, `local_rank` of `local_size`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def place() -> Place:
    """The place that torchrun gave this process; that of the only one where there are no others.

    UsageError where the environment says that there are several, and not which one this is.
    """
    size = _number("WORLD_SIZE", "1")
    if size == 1:
        return Place()
    found = Place(_number("RANK"), size, _number("LOCAL_RANK"), _number("LOCAL_WORLD_SIZE", str(size)))
    if found.rank >= found.size:
        raise UsageError(f"the environment says RANK {found.rank} of WORLD_SIZE {found.size}", _HINT)
    if found.local_rank >= found.local_size:
        what = f"LOCAL_RANK {found.local_rank} of LOCAL_WORLD_SIZE {found.local_size}"
        raise UsageError(f"the environment says {what}", _HINT)
    return found


def several() -> bool:
    """Whether the environment speaks of more than one process."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def speaks() -> bool:
    """Whether this process is the one of its machine that says what all of them find, a fault in the recipe say."""
    return not several() or os.environ.get("LOCAL_RANK", "0") == "0"


def cores() -> int:
    """CPU cores that this process may use, where the system can say that of a process; else all there are."""
    # macOS has no sched_getaffinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _number(name: str, default: str = "") -> int:
    text, least = os.environ.get(name, default), int(name.endswith("SIZE"))
    if not text.isdecimal() or int(text) < least:
        what = f"is '{text}', not a number{' above 0' * least}" if name in os.environ else "is missing"
        raise UsageError(f"the environment variable {name} {what}, so this process does not know its place", _HINT)
    return int(text)


def is_alive(pid: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
