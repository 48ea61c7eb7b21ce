"""The alignment is that of Model 1's equations, however the text is cut and however many corpora it lies in."""

from collections import defaultdict

import numpy as np
import pytest

from nmt.batch import EOS
from nmt.corpus.ibm1 import Corpus, Table, align
from nmt.corpus.sides import store_of

Pairs = list[tuple[list[int], list[int]]]
N = 12  # pieces of either side


def pairs(n: int, seed: int) -> Pairs:
    """Sentences of 0 to 6 pieces, in which piece i is mostly translated by 15 - i."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        src = draw.integers(4, N, draw.integers(0, 7)).tolist()
        tgt = [15 - i if draw.random() < 0.8 else int(draw.integers(4, N)) for i in src if draw.random() < 0.9]
        found.append((src, tgt))
    return found


def corpus(of: Pairs) -> Corpus:
    return store_of([src for src, _ in of]), store_of([tgt for _, tgt in of])


def written_out(of: Pairs, iterations: int) -> dict[tuple[int, int], float]:
    """t(f | e) by loops over the equations, from a uniform one."""
    t: dict[tuple[int, int], float] = defaultdict(lambda: 1.0 / N)
    for _ in range(iterations):
        counts: dict[tuple[int, int], float] = defaultdict(float)
        for src, tgt in of:
            for f in tgt:
                total = sum(t[e, f] for e in [*src, EOS])
                for e in [*src, EOS]:
                    counts[e, f] += t[e, f] / total
        sums: dict[int, float] = defaultdict(float)
        for (e, _), count in counts.items():
            sums[e] += count
        t = defaultdict(float, {(e, f): count / sums[e] for (e, f), count in counts.items()})
    return dict(t)


def as_dict(table: Table) -> dict[tuple[int, int], float]:
    keys = zip(*(part.tolist() for part in np.divmod(table.keys, table.n_tgt)), strict=True)
    return dict(zip(keys, table.probabilities.tolist(), strict=True))


@pytest.mark.parametrize("links", [1, 30, 1 << 20])
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_it_is_expectation_maximisation_written_out(iterations: int, links: int) -> None:
    text = pairs(200, 1)
    found = as_dict(align([corpus(text)], N, N, iterations=iterations, links=links, least=0.0))
    truth = written_out(text, iterations)
    assert found.keys() == truth.keys()
    assert found == pytest.approx(truth, rel=1e-9, abs=1e-15)


def test_several_corpora_are_as_one() -> None:
    text = pairs(60, 2)
    whole = align([corpus(text)], N, N)
    parts = align([corpus(text[:20]), corpus([]), corpus(text[20:])], N, N)
    assert np.array_equal(whole.keys, parts.keys)
    assert whole.probabilities == pytest.approx(parts.probabilities)


def test_text_without_a_target_piece_links_nothing() -> None:
    for text in ([], [([4, 5], [])]):
        table = align([corpus(text)], N, N)
        assert len(table.keys) == len(table.ranked()[0]) == 0
    nothing = [([], [7])]
    assert as_dict(align([corpus(nothing)], N, N)) == {(EOS, 7): 1.0}, "it comes of the empty word"


def test_the_likeliest_translation_comes_first() -> None:
    e, f, t = align([corpus(pairs(500, 3))], N, N).ranked()
    assert np.all(np.diff(e) >= 0)
    assert np.all((np.diff(t) <= 0) | (np.diff(e) > 0))
    firsts = {int(e[i]): int(f[i]) for i in range(len(e)) if i == 0 or e[i] != e[i - 1]}
    assert {i: firsts[i] for i in range(4, N)} == {i: 15 - i for i in range(4, N)}


def test_a_small_table_keeps_what_is_likely() -> None:
    """What is cut is what has the smallest share; the rest is little moved by it."""
    text = pairs(500, 4)
    whole, cut = (as_dict(align([corpus(text)], N, N, links=50, entries=entries)) for entries in (1 << 20, 60))
    assert len(cut) <= 60 < len(whole)
    assert all(cut[i, 15 - i] == pytest.approx(whole[i, 15 - i], abs=0.15) for i in range(4, N))
    sums = defaultdict(float)
    for (e, _), p in cut.items():
        sums[e] += p
    assert list(sums.values()) == pytest.approx([1.0] * len(sums), abs=1e-4)


def test_the_unlikely_leave_the_table() -> None:
    text = pairs(500, 5)
    whole, kept = (as_dict(align([corpus(text)], N, N, least=least)) for least in (0.0, 0.01))
    assert all(p >= 0.01 for p in kept.values())
    assert {pair for pair, p in whole.items() if p > 0.03} <= kept.keys() < whole.keys()
