"""Which of the processes of a training this one is, as torchrun says it in the environment."""

import os
from dataclasses import dataclass

from nmt.errors import UsageError

_HINT = "start several processes with torchrun: torchrun --nproc-per-node 2 -m nmt train RECIPE"


@dataclass(frozen=True)
class Place:
    """Process `rank` of `size`, both counted over all machines; on this machine, `local_rank` of `local_size`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def place() -> Place:
    """The place that torchrun gave this process; that of the only one where there are no others.

    UsageError where the environment says that there are several, and not which one this is.
    """
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        return Place()
    found = Place(_number("RANK"), size, _number("LOCAL_RANK"), _number("LOCAL_WORLD_SIZE", 1))
    if not (found.rank < found.size and found.local_rank < found.local_size):
        raise UsageError(f"the environment says RANK {found.rank} of WORLD_SIZE {found.size}", _HINT)
    return found


def speaks() -> bool:
    """Whether this process is the one of its machine that says what all of them find, a fault in the recipe say."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("LOCAL_RANK", "0") == "0"


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal() or (name.endswith("SIZE") and int(text) == 0):
        what = f"is '{text}', not a number" if name in os.environ else "is missing"
        raise UsageError(f"the environment variable {name} {what}, so this process does not know its place", _HINT)
    return int(text)
