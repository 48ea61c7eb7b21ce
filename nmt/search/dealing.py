"""Sentences dealt out in batches, for one process or several that search side by side."""

from collections.abc import Sequence

_FEW_TOKENS = 512
"""Tokens in all that are not worth a second process."""


def deal(lengths: Sequence[int], *, rows: int, tokens: int, workers: int = 1) -> list[list[int]]:
    """Batches of sentences of these lengths, by number, the longest of each first, each sentence once.

    Of at most `rows` sentences, and `tokens` by the longest of them, in each; one sentence always fits. As few as may
    be, since a step takes its time however few sentences there are. Several workers get batches that are alike: as many
    neighbours in the order of length as would fill a batch of each are dealt out one by one, so that all are busy for
    about as long; few sentences are for one. Sentences that are much shorter than others of their batch cost nothing by
    it: they are encoded with others of their length (search/groups.py), and leave when they are done.
    """
    workers = workers if sum(lengths) > _FEW_TOKENS else 1
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    at = 0
    while at < len(order):
        fits = max(1, min(rows, tokens // lengths[order[at]]))
        band = order[at : at + workers * fits]
        batches += (band[first::workers] for first in range(min(workers, len(band))))
        at += len(band)
    return batches
