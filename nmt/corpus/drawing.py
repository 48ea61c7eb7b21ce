"""Pieces drawn at random: sentencepiece's BPE-dropout and unigram sampling, as a function of a seed in every process.

sentencepiece by itself mixes something of the process into its seed (0.2.3 does; 0.2.1 and before did not), so that a
resumed training, or the processes of one training, would each see other pieces. Here numpy draws, all words of a text
together. Pieces never reach from one word into the next, so words are drawn by themselves; one with a character that
has no piece of its own stays as `encode` has it.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor

from nmt.batch import SPECIALS, runs

Ints = NDArray[np.int64]

SPACE = "\u2581"
"""Begins each word."""

_NEVER = np.iinfo(np.int32).max
_LONGEST = 32
"""Characters of the longest word that is drawn anew. Longer ones, addresses as a rule, stay as they are."""


class Drawer:
    """Draws pieces of lines as one sentencepiece model of kind bpe or unigram has them."""

    def __init__(self, processor: SentencePieceProcessor, kind: str) -> None:
        self._processor = processor
        pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
        self._ids = {piece: i for i, piece in enumerate(pieces) if i >= len(SPECIALS)}
        scores = np.array([processor.get_score(i) for i in range(len(pieces))])
        self._pieces = _Merges(self._ids, scores) if kind == "bpe" else _Lattices(self._ids, scores)

    def sample(self, lines: Sequence[str], amount: float, seed: int) -> list[list[int]]:
        """The ids of each line; see Tokenizer.sample."""
        texts = [text.split(SPACE)[1:] for text in self._processor.normalize(list(lines))]
        kinds: dict[str, int] = {}
        which = np.fromiter((kinds.setdefault(word, len(kinds)) for words in texts for word in words), np.int64)
        lengths, ids = self._draw(list(kinds), which, amount, np.random.default_rng(seed))
        word_ends = np.cumsum([0, *map(len, texts)])
        ends = np.concatenate([[0], np.cumsum(lengths)])[word_ends].tolist()
        flat = ids.tolist()
        return [flat[first:last] for first, last in pairwise(ends)]

    def _draw(self, words: list[str], which: Ints, amount: float, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Of words[i] for each i of `which`: how many pieces, and their ids, word after word."""
        n = len(which)
        lengths, parts = np.empty(n, np.int64), list[tuple[Ints, Ints]]()
        for group, choosing in self._groups(words):
            here = np.flatnonzero(np.isin(which, group))
            own = np.searchsorted(group, which[here])
            chosen = [SPACE + words[i] for i in group]
            if choosing:
                lengths[here], ids = self._pieces.draw(chosen, own, amount, rng)
            else:
                plain = [self._processor.encode(words[i]) for i in group]
                sizes = np.fromiter(map(len, plain), np.int64)
                starts = np.cumsum(sizes) - sizes
                lengths[here] = sizes[own]
                ids = np.array([i for row in plain for i in row], np.int64)[runs(starts[own], sizes[own])]
            parts.append((here, ids))
        starts = np.cumsum(lengths) - lengths
        flat = np.empty(int(lengths.sum()), np.int64)
        for here, ids in parts:
            flat[runs(starts[here], lengths[here])] = ids
        return lengths, flat

    def _groups(self, words: list[str]) -> Iterator[tuple[Ints, bool]]:
        """Numbers of words that are drawn together, being of about one length, and of those that are not drawn."""
        known = np.array([len(w) < _LONGEST and all(c in self._ids for c in SPACE + w) for w in words], bool)
        length = np.array([len(word) + 1 for word in words])
        yield np.flatnonzero(~known), False
        for shortest in range(1, _LONGEST + 1, 4):
            yield np.flatnonzero(known & (length >= shortest) & (length < shortest + 4)), True


class _Merges:
    """BPE: pairs of pieces are merged in order of their score, each with probability 1 - amount, when they come up.

    As sentencepiece does it: a pair that was left out is never tried again, unless one of its halves becomes another.
    (Provilkov et al. 2020 draw for all pairs again at every merge.)
    """

    def __init__(self, ids: dict[str, int], scores: NDArray[np.float64]) -> None:
        self._ids = ids
        self._rank = np.unique(-scores, return_inverse=True)[1].astype(np.int32)
        self._n = len(scores)
        merges = {
            left * self._n + right: i
            for piece, i in ids.items()
            for cut in range(1, len(piece))
            if (left := ids.get(piece[:cut])) is not None and (right := ids.get(piece[cut:])) is not None
        }
        self._pairs = np.array([*sorted(merges), np.iinfo(np.int64).max])
        self._merged = np.array([merges[pair] for pair in self._pairs[:-1].tolist()] + [0], np.int32)

    def draw(self, words: list[str], which: Ints, amount: float, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Of words[i] for each i of `which`: how many pieces, and their ids, word after word."""
        width = max(map(len, words), default=0)
        table = np.full((len(words), width + 1), -1, np.int32)  # the last column is nobody's
        for row, word in enumerate(words):
            table[row, : len(word)] = [self._ids[c] for c in word]
        symbols = table[which]
        after = np.tile(np.arange(1, width + 2, dtype=np.int32), (len(which), 1))
        before = after - 2
        made, rank = self._look_up(symbols[:, :-1], symbols[:, 1:], amount, rng)
        live = np.arange(len(which))
        while True:
            best = rank[live].argmin(axis=1) if width > 1 and len(live) else live[:0]
            going = rank[live, best] < _NEVER if len(best) else np.zeros(0, bool)
            live, here = live[going], best[going]
            if not len(live):
                break
            there = after[live, here]  # the right half, which goes
            beyond = after[live, there]  # at most the last column
            symbols[live, here], symbols[live, there] = made[live, here], -1
            after[live, here] = beyond
            before[live, beyond] = here
            rank[live, there] = _NEVER
            for left, right in ((before[live, here], here), (here, beyond)):
                exists = left >= 0
                rows, left, right = live[exists], left[exists], right[exists]
                made[rows, left], rank[rows, left] = self._look_up(
                    symbols[rows, left], symbols[rows, right], amount, rng
                )
        there = symbols >= 0
        return there.sum(axis=1), symbols[there].astype(np.int64)

    def _look_up(
        self, left: NDArray[np.int32], right: NDArray[np.int32], amount: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """What each pair of pieces becomes, and when: never where there is no such piece, or where it is left out."""
        pairs = left.astype(np.int64) * self._n + right
        place = np.searchsorted(self._pairs, pairs)
        made = self._merged[place]
        merged = (self._pairs[place] == pairs) & (left >= 0) & (right >= 0)
        merged &= rng.random(pairs.shape, np.float32) >= amount
        return made, np.where(merged, self._rank[made], _NEVER)


class _Lattices:
    """Unigram: a segmentation x of a word has the chance P(x)^amount over the sum of these (Kudo 2018, section 3.2).

    Sums run forward over a word's characters, pieces are drawn from its end back, as sentencepiece does it.
    """

    def __init__(self, ids: dict[str, int], scores: NDArray[np.float64]) -> None:
        self._ids, self._scores = ids, scores
        self._longest = max(map(len, ids), default=1)
        self._found: dict[str, list[list[tuple[int, int]]]] = {}

    def draw(self, words: list[str], which: Ints, amount: float, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Of words[i] for each i of `which`: how many pieces, and their ids, word after word."""
        nodes, pieces = [0], list[tuple[int, int]]()  # a word's first node; of all nodes, a node for each character
        first, below = [0], list[float]()  # a node's first piece; shares of a node's pieces, summed up, and its number
        for word in words:
            total = [1.0]  # of exp(amount * score) over the segmentations up to each character
            for found in self._ending(word):
                weights = np.cumsum([total[i] * float(np.exp(amount * self._scores[piece])) for i, piece in found])
                total.append(float(weights[-1]))
                below += (weights / weights[-1] + len(first) - 1).tolist()
                pieces += found
                first.append(len(pieces))
            nodes.append(len(first) - 1)
        length = np.array([len(word) for word in words], np.int64)[which]
        width = int(length.max(initial=0))
        symbols = np.full((len(which), width), -1, np.int64)
        live, end, column = np.arange(len(which)), length, width
        start_of, piece_of = np.array(pieces, np.int64).reshape(-1, 2).T
        while len(live):
            column -= 1
            node = np.array(nodes)[which[live]] + end - 1
            chosen = np.searchsorted(below, node + rng.random(len(live)), side="right")
            chosen = np.minimum(chosen, np.array(first)[node + 1] - 1)  # where a share of 1 was rounded down
            symbols[live, column] = piece_of[chosen]
            end = start_of[chosen]
            live, end = live[end > 0], end[end > 0]
        there = symbols >= 0
        return there.sum(axis=1), symbols[there]

    def _ending(self, word: str) -> list[list[tuple[int, int]]]:
        """For each character the pieces that end with it: where they start, and their ids."""
        if word not in self._found:
            self._found[word] = [
                [
                    (i, piece)
                    for i in range(max(0, end - self._longest), end)
                    if (piece := self._ids.get(word[i:end])) is not None
                ]
                for end in range(1, len(word) + 1)
            ]
        return self._found[word]
