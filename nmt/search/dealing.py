"""Sentences dealt out in batches, for one process or several that search side by side."""

from collections.abc import Sequence

_STEP_ROWS = 32
"""Rows whose part of a step takes as long as what a step takes whatever their number, about."""
_TWICE = 40
"""Length at which what attention looks at makes a row's step twice as long, about."""


def deal(lengths: Sequence[int], *, rows: int, tokens: int, workers: int = 1) -> list[list[int]]:
    """Batches of sentences of these lengths, by number: longest first, each sentence once.

    Of at most `rows` sentences, and `tokens` by the longest of them, in each; one sentence always fits. As few as may
    be for one worker; for several such that none waits long for the last, the next batch being for who is free.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    work = [length * (_TWICE + length) // _TWICE for length in lengths]
    fewest = _cut(order, lengths, work, rows, tokens, sum(work))
    if workers < 2 or len(fewest) < 2:
        return fewest
    counts = range(workers * -(-len(fewest) // workers), 4 * workers + len(fewest), workers)
    cuts = [_cut(order, lengths, work, rows, tokens, -(-sum(work) // n)) for n in counts]
    costs = [[sum(work[i] for i in one) + _STEP_ROWS * lengths[one[0]] for one in cut] for cut in (fewest, *cuts)]
    times = [_time(cost, workers) for cost in costs]
    return [fewest, *cuts][times.index(min(times))]


def _cut(
    order: list[int], lengths: Sequence[int], work: Sequence[int], rows: int, tokens: int, share: int
) -> list[list[int]]:
    """The order in batches of about this share of the work each, or less where no more are to be searched at once."""
    batches: list[list[int]] = []
    held = left = 0
    for i in order:
        if not batches or len(batches[-1]) >= left or held + work[i] // 2 > share:
            batches.append([])
            held, left = 0, max(1, min(rows, tokens // lengths[i]))
        batches[-1].append(i)
        held += work[i]
    return batches


def _time(costs: list[int], workers: int) -> int:
    """Until the last of batches of these costs is done, each by whoever is free first; and an eighth of the largest,
    for what nobody foresees of one.
    """
    done = [0] * workers
    for cost in costs:
        done[done.index(min(done))] += cost
    return max(done) + max(costs) // 8
