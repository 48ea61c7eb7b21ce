import random
from itertools import product

import pytest

from nmt.loops import LEAST_PIECES, LEAST_TIMES, looped


def plainly(target: list[int], source: list[int]) -> bool:
    """The definition, by trying everything."""

    def runs(ids: list[int], times: int) -> list[tuple[int, int]]:
        """(n, k) of every stretch of n * k pieces that is n pieces k times."""
        return [
            (n, k)
            for n in range(1, len(ids) + 1)
            for k in range(times, len(ids) // n + 1)
            for at in range(len(ids) - n * k + 1)
            if ids[at : at + n] * k == ids[at : at + n * k]
        ]

    most: dict[int, int] = {}
    for n, k in runs(target, LEAST_TIMES):
        most[n] = max(k, most.get(n, 0))
    return any(
        n * k >= LEAST_PIECES and not any(2 * q >= k and 2 * m * q >= n * k for m, q in runs(source, 2))
        for n, k in most.items()
    )


def test_it_is_the_definition() -> None:
    rng = random.Random(1)
    found = 0
    for _ in range(3000):
        target, source = ([rng.randrange(rng.choice((1, 2, 2))) for _ in range(rng.randrange(18))] for _ in range(2))
        assert looped(target, source) == plainly(target, source), (target, source)
        found += looped(target, source)
    assert 100 < found < 2900


A, B, C = 5, 6, 7


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ([A] * 8, [1, 2]),
        ([9, 8] + [A, B] * 4, [1, 2]),
        ([A, B, C] * 3, [1, 2, 3]),
        ([A, B, C] * 3 + [A, 10], [1, 2, 3]),  # it found an end after all
        ([A] * 20, [4, 4]),  # the source says it twice, not ten times
        ([A, B, C] * 3, [4, 4, 2]),  # too little of the source repeats
        ([*range(50, 100), *[A, B, C, 8] * 3], []),
    ],
)
def test_loops(target: list[int], source: list[int]) -> None:
    assert looped(target, source)


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ([], []),
        ([A] * 7, []),  # no no no
        ([A, B] * 3, []),  # again and again and again and
        ([A, B, C, 8, 9] * 2, []),  # twice is no loop
        ([A] * 10, [4] * 5),  # ha ha ha ha ha, which needs twice as many pieces here
        ([A, B, C] * 3, [4, 9, 4, 9, 4, 9]),  # a chorus
        ([A, B] * 5 + [C], [4] * 9),
        (list(range(60)) * 2, []),
        ([A, B, A, C] * 2, []),
    ],
)
def test_honest_repetitions(target: list[int], source: list[int]) -> None:
    assert not looped(target, source)


def test_the_least_of_each_kind() -> None:
    """For every length of what is repeated: so many times is a loop, once less is none."""
    for n, times in ((1, 8), (2, 4), (3, 3), (4, 3), (9, 3)):
        assert looped(list(range(n)) * times)
        assert not looped(list(range(n)) * (times - 1))


def test_ids_of_the_two_sides_are_never_compared() -> None:
    for a, b in product((1, 2, 3), repeat=2):
        assert looped([a] * 9, [b])
        assert not looped([a] * 9, [b] * 9)
