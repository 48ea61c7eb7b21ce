"""What the processor says of itself."""

from functools import cache
from pathlib import Path


@cache
def facts() -> dict[str, str]:
    """The system's words on one processor (`model name`, `flags`; on ARM `Features`); empty where it has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    found = dict[str, str]()
    for line in lines:
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def instructions() -> frozenset[str]:
    """The names of its optional instructions."""
    return frozenset((facts().get("flags") or facts().get("Features") or "").split())
