"""How pairs are cut into batches of little padding: sentences of about one length on both sides, from lengths alone.

Pairs lie in a plane, source length by target length. It is cut in two by the one or the other length, whichever leaves
less padding, and the halves again, until each is one batch. Against sorting by target length and then by source length
this halves the padding: sorted, a batch has one target length and source lengths of all sorts.
"""

from dataclasses import dataclass

import numpy as np

from nmt.batch import Indices, runs

_SRC, _TGT, _PAIRS, _FIRST, _WEIGHT = range(5)


@dataclass(frozen=True)
class _Part:
    """Cells (5, n), int64: source length, target length, how many pairs have them, where these stand in the order by
    length, and what one of them weighs; `batches` is how many are to be made of them.
    """

    cells: Indices
    batches: int


def divide(
    src: Indices, tgt: Indices, limit: int, rng: np.random.Generator, *, by_sentences: bool = False
) -> list[Indices]:
    """Cuts pairs of these lengths (n,) into batches of at most `limit` target tokens each, or of `limit` pairs.

    Batches hold nearly equally much; of pairs all hold `limit` but one. A pair over the limit is a batch of its own.
    Where the plane is cut is drawn within the middle third, and who of equal lengths goes where: so pairs meet others
    each time. -> numbers of pairs for each batch, in no particular order.
    """
    heavy = np.flatnonzero(tgt > limit) if not by_sentences else np.empty(0, np.int64)
    if len(heavy):
        usual = np.flatnonzero(tgt <= limit)
        rest = divide(src[usual], tgt[usual], limit, rng)
        return [*(usual[batch] for batch in rest), *heavy[:, None]]
    if not len(src):
        return []
    order, cells = _cells(src, tgt, rng)
    cells = np.vstack([cells, np.ones_like(cells[_TGT]) if by_sentences else cells[_TGT]])
    done: list[Indices] = []
    waiting = [_Part(cells, len(src))]
    while waiting:
        part = waiting.pop()
        weight = int((part.cells[_WEIGHT] * part.cells[_PAIRS]).sum())
        if weight <= limit:
            done.append(part.cells)
            continue
        waiting += _split(part, weight, limit, rng, by_sentences)
    return _pairs(done, order)


def _split(part: _Part, weight: int, limit: int, rng: np.random.Generator, by_sentences: bool) -> tuple[_Part, _Part]:
    """A part over the limit in two, so that each half can be cut into its batches."""
    # Where each batch has room for one pair more there is nearly always a place to cut at.
    room = limit if by_sentences else max(limit - int(part.cells[_WEIGHT].max()), (limit + 1) // 2)
    batches = max(2, min(part.batches, -(-weight // room)))
    while True:
        third = -(-batches // 3)
        left = batches // 2 if batches < 4 else int(rng.integers(third, batches - third + 1))
        target = left * limit if by_sentences else weight * left // batches
        halves = _halves(part.cells, weight, target, (weight - (batches - left) * limit, left * limit))
        if halves is not None:
            return _Part(halves[0], left), _Part(halves[1], batches - left)
        batches += 1


def _cells(src: Indices, tgt: Indices, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Pair numbers by length, shuffled where lengths are equal; and the cells (4, n) of _Part without their weight."""
    shuffled = rng.permutation(len(src))
    code = src[shuffled] * (int(tgt.max()) + 1) + tgt[shuffled]
    if int(code.max()) < 1 << 16:
        code = code.astype(np.uint16)  # which numpy sorts several times faster
    by_code = np.argsort(code, kind="stable")
    order, code = shuffled[by_code], code[by_code]
    first = np.flatnonzero(np.concatenate([[True], code[1:] != code[:-1]]))
    return order, np.stack([src[order[first]], tgt[order[first]], np.diff(first, append=len(src)), first])


def _halves(cells: Indices, weight: int, target: int, window: tuple[int, int]) -> tuple[Indices, Indices] | None:
    """Cells cut in two where the first half weighs about `target` and its weight lies in the window: by the length that
    leaves less padding. A cell may be cut, its pairs are all alike. None where no cut is in the window.
    """
    low, high = max(window[0], 1), min(window[1], weight - 1)
    best: tuple[int, Indices, int, int] | None = None
    for axis in (_SRC, _TGT):
        by_length = cells[:, np.lexsort((cells[_TGT - axis], cells[axis]))]
        ends = np.cumsum(by_length[_WEIGHT] * by_length[_PAIRS])
        i = int(np.searchsorted(ends, target))
        each, pairs = int(by_length[_WEIGHT, i]), int(by_length[_PAIRS, i])
        before = int(ends[i]) - each * pairs
        taken = (target - before + each // 2) // each  # of cell i, for the first half
        taken += (before + taken * each < low) - (before + taken * each > high)
        if not (low <= before + taken * each <= high and 0 <= taken <= pairs):
            continue
        positions = _positions(by_length[:, : i + (taken > 0)], taken - pairs if taken else 0)
        positions += _positions(by_length[:, i + (taken == pairs) :], -taken if taken < pairs else 0)
        if best is None or positions < best[0]:
            best = positions, by_length, i, taken
    if best is None:
        return None
    _, by_length, i, taken = best
    first, second = by_length[:, : i + 1].copy(), by_length[:, i:].copy()
    first[_PAIRS, -1] = taken
    second[_PAIRS, 0] -= taken
    second[_FIRST, 0] += taken
    return first[:, first[_PAIRS] > 0], second[:, second[_PAIRS] > 0]


def _positions(cells: Indices, more: int) -> int:
    """Source and target positions of a batch of these cells and `more` pairs."""
    return (int(cells[_PAIRS].sum()) + more) * int(cells[_SRC].max() + cells[_TGT].max())


def _pairs(parts: list[Indices], order: Indices) -> list[Indices]:
    """The pair numbers of each part's cells."""
    cells = np.concatenate(parts, axis=1)
    numbers = order[runs(cells[_FIRST], cells[_PAIRS])]
    return np.split(numbers, np.cumsum([int(part[_PAIRS].sum()) for part in parts])[:-1])
