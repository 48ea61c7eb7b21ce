"""Sentences dealt out in batches, for one process or several that search side by side."""

from collections.abc import Sequence

_STEP_ROWS = 32
"""Rows whose part of a step takes as long as what a step takes whatever their number, about."""


def deal(lengths: Sequence[int], *, rows: int, tokens: int, workers: int = 1) -> list[list[int]]:
    """Batches of sentences of these lengths, by number: longest first, each sentence once.

    Of at most `rows` sentences, and `tokens` by the longest of them, in each; one sentence always fits. As few as may
    be for one worker; for several such that none waits long for the last, the next batch being for who is free.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    fewest = _cut(order, lengths, rows, tokens, sum(lengths))
    if workers < 2 or len(fewest) < 2:
        return fewest
    counts = range(workers * -(-len(fewest) // workers), 4 * workers + len(fewest), workers)
    cuts = [_cut(order, lengths, rows, tokens, -(-sum(lengths) // n)) for n in counts]
    return min([fewest, *cuts], key=lambda batches: _time(batches, lengths, workers))


def _cut(order: list[int], lengths: Sequence[int], rows: int, tokens: int, share: int) -> list[list[int]]:
    """The order in batches of about `share` tokens each, or fewer where no more are to be searched at once."""
    batches: list[list[int]] = []
    held = left = 0
    for i in order:
        if not batches or len(batches[-1]) >= left or held + lengths[i] // 2 > share:
            batches.append([])
            held, left = 0, max(1, min(rows, tokens // lengths[i]))
        batches[-1].append(i)
        held += lengths[i]
    return batches


def _time(batches: list[list[int]], lengths: Sequence[int], workers: int) -> int:
    """Until the last of them is done, each being done by whoever is free first: in steps of single rows."""
    done = [0] * workers
    for batch in batches:
        done[done.index(min(done))] += sum(lengths[i] for i in batch) + _STEP_ROWS * lengths[batch[0]]
    return max(done)
