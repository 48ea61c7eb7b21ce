"""Translations that go round in a loop: `the house of the house of the house of ...`."""

from collections import Counter
from collections.abc import Iterator, Sequence

LEAST_TIMES = 3
"""How often in a row the same pieces must stand at least."""
LEAST_PIECES = 8
"""How many pieces all of that must be at least: `no no no` and `1,000,000` are no loops."""


def looped(target: Sequence[int], source: Sequence[int] = ()) -> bool:
    """Whether somewhere in the target the same n pieces, n >= 1, stand k times in a row, without that being in the
    source.

    A loop is k >= 3 times and k * n >= 8 pieces. It is an honest repetition, and counts as none, where the source has
    some pieces at least k / 2 times in a row that are k * n / 2 pieces or more together. Ids of the two sides are never
    compared with each other.
    """
    found = [run for run in _runs(target) if run[1] >= LEAST_TIMES and run[0] * run[1] >= LEAST_PIECES]
    if not found:
        return False
    honest = list(_runs(source, 2))
    return any(not any(2 * q >= k and 2 * m * q >= n * k for m, q in honest) for n, k in found)


def _runs(ids: Sequence[int], times: int = LEAST_TIMES) -> Iterator[tuple[int, int]]:
    """(n, k): the n pieces that stand most often in a row, k times, for each n that has k >= times."""
    # No piece comes that often: true of nearly every sentence, and much faster than to look at all n.
    if len(ids) < times or max(Counter(ids).values()) < times:
        return
    for n in range(1, len(ids) // times + 1):
        longest = length = 0
        for one, other in zip(ids, ids[n:], strict=False):
            length = length + 1 if one == other else 0
            longest = max(longest, length)
        if longest // n + 1 >= times:
            yield n, longest // n + 1
