"""Which pairs share a row: whole sentence pairs nearly fill rows of fixed widths on both sides, from lengths alone.

Pairs come in random order, not by length, so a row holds a bit of everything.
"""

import numpy as np

from nmt.batch import Indices

_Widths = tuple[int, int]


def balanced(src: Indices, tgt: Indices, rng: np.random.Generator) -> Indices:
    """A random order of pairs of these lengths (n,) in which any stretch has about the corpus's source-target ratio.

    Pairs with more source than that ratio are merged with those that have less, so that what both have had too much of
    so far stays even: rows that end on one side then end on the other too.
    """
    shuffled = rng.permutation(len(src))
    excess = (src * int(tgt.sum()) - tgt * int(src.sum()))[shuffled]  # sums to 0
    had = np.empty(len(src))
    for kind in (excess > 0, excess <= 0):
        amount = np.abs(excess[kind]).astype(np.float64)
        had[kind] = np.cumsum(amount) - amount / 2
    return shuffled[np.argsort(had, kind="stable")]


def fill_rows(src: Indices, tgt: Indices, widths: _Widths, rng: np.random.Generator) -> Indices:
    """The row of each pair (n,), from 0, none longer than these widths (source, target) on either side.

    Rows are first filled in balanced order, each until the next pair does not fit; then short pairs, kept back for it,
    go into what is left, the largest that fits first.
    """
    rows = np.full(len(src), -1)
    if not len(src):
        return rows
    filling = src / widths[0] + tgt / widths[1]
    # A row ends about half a pair early, and a long pair is in the way more often: E[x^2] / (2 E[x]) of 2.
    left_over = float((filling**2).sum() / filling.sum() / 4)
    # Sorting shuffled pairs keeps those of equal lengths in random order.
    shuffled = rng.permutation(len(src))
    by_size = shuffled[np.argsort(filling[shuffled], kind="stable")]
    kept_back = int(np.searchsorted(np.cumsum(filling[by_size]), left_over * filling.sum()))
    short, long = by_size[:kept_back], by_size[kept_back:]
    n_rows = _in_order(long, src, tgt, widths, rows, 0, rng)
    src_room = widths[0] - np.bincount(rows[long], src[long], n_rows).astype(np.int64)
    tgt_room = widths[1] - np.bincount(rows[long], tgt[long], n_rows).astype(np.int64)
    rows[short] = _into_gaps(src_room, tgt_room, src[short], tgt[short])
    _in_order(short[rows[short] < 0], src, tgt, widths, rows, n_rows, rng)
    return rows


def _in_order(
    pairs: Indices, src: Indices, tgt: Indices, widths: _Widths, rows: Indices, n_rows: int, rng: np.random.Generator
) -> int:
    """Gives these pairs new rows, each filled until the next one does not fit; the number of rows with them."""
    if not len(pairs):
        return n_rows
    order = pairs[balanced(src[pairs], tgt[pairs], rng)]
    firsts = np.array(cuts((src[order], tgt[order]), widths))
    rows[order] = n_rows + np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(order)))
    return n_rows + len(firsts)


def cuts(lengths: tuple[Indices, ...], limits: tuple[int, ...]) -> list[int]:
    """Where each batch begins when each takes pairs in order as long as none of these sums goes over its limit.

    A pair over a limit is taken alone.
    """
    n = len(lengths[0])
    ends = np.full(n, n)
    for one, limit in zip(lengths, limits, strict=True):
        sums = np.concatenate([[0], np.cumsum(one)])
        ends = np.minimum(ends, np.searchsorted(sums, sums[:-1] + limit, side="right") - 1)
    ends = np.maximum(ends, np.arange(1, n + 1)).tolist()
    firsts, first = list[int](), 0
    while first < n:
        firsts.append(first)
        first = ends[first]
    return firsts


def _into_gaps(src_room: Indices, tgt_room: Indices, src: Indices, tgt: Indices) -> Indices:
    """A row for each of these pairs, -1 where none has room; takes the room it uses.

    In rounds: every row takes the largest kind of pair that it has room for, as long as there are any. A table by
    source and target room says which kind that is.
    """
    rows = np.full(len(src), -1)
    if not len(src):
        return rows
    height, width = int(src.max()) + 1, int(tgt.max()) + 1
    code = src * width + tgt
    by_kind = np.argsort(code, kind="stable")
    kinds, first, left = np.unique(code[by_kind], return_index=True, return_counts=True)
    by_size = np.argsort(kinds // width + kinds % width, kind="stable")
    kinds, first, left = kinds[by_size], first[by_size], left[by_size]
    kind_src, kind_tgt = kinds // width, kinds % width
    table = np.empty((height, width), np.int32)
    open_rows = np.arange(len(src_room))
    while True:
        table.fill(-1)
        there = np.flatnonzero(left)
        table[kind_src[there], kind_tgt[there]] = there
        np.maximum.accumulate(table, axis=0, out=table)
        np.maximum.accumulate(table, axis=1, out=table)
        wanted = table[np.minimum(src_room[open_rows], height - 1), np.minimum(tgt_room[open_rows], width - 1)]
        open_rows, wanted = open_rows[wanted >= 0], wanted[wanted >= 0]
        if not len(open_rows):
            return rows
        # Of the rows that want one kind, as many as there are of it get one.
        by_wish = np.argsort(wanted, kind="stable")
        wanted = wanted[by_wish]
        wishes = np.bincount(wanted, minlength=len(kinds))
        rank = np.arange(len(wanted)) - (np.cumsum(wishes) - wishes)[wanted]
        served = rank < left[wanted]
        row, kind, rank = open_rows[by_wish[served]], wanted[served], rank[served]
        rows[by_kind[first[kind] + rank]] = row
        src_room[row] -= kind_src[kind]
        tgt_room[row] -= kind_tgt[kind]
        given = np.minimum(wishes, left)
        first, left = first + given, left - given
