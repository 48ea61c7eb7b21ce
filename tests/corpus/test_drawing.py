"""Drawn pieces: the text is the same, the chances are those worked out by hand, and every process draws the same."""

import io
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import sentencepiece

from nmt.corpus.drawing import Drawer, _Lattices, _Merges

TEXT = [
    "the cat sat on the mat .",
    "unbelievable weather , the bird said",
    "a cataract of cats",
    "rather bitter butter",
] * 5


def model(kind: str) -> bytes:
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=made, model_type=kind, vocab_size=60, minloglevel=2,
        hard_vocab_limit=False,
        pad_id=0, unk_id=1, bos_id=2, eos_id=3,
    )  # fmt: skip
    return made.getvalue()


MODELS = {kind: model(kind) for kind in ("bpe", "unigram")}
of_both_kinds = pytest.mark.parametrize("kind", MODELS)


def drawer(kind: str) -> tuple[Drawer, sentencepiece.SentencePieceProcessor]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=MODELS[kind])
    return Drawer(processor, kind), processor


ODD = ["", " ", "zebra", "the 漢字漢 cat", "a▁cat  sat", "the" * 30, "\u200bcafé", "cat"]
"""Nothing, unknown characters, too long a word, spaces of several sorts."""


@of_both_kinds
@pytest.mark.parametrize("amount", [0.1, 0.5, 0.99])
def test_drawn_pieces_are_the_same_text(kind: str, amount: float) -> None:
    drawn, processor = drawer(kind)
    lines = [*TEXT, *ODD]
    rows = drawn.sample(lines, amount, 1)
    assert processor.decode(rows) == processor.decode(processor.encode(lines))
    assert rows != processor.encode(lines)
    assert drawn.sample([], amount, 1) == []


def test_bpe_that_leaves_nothing_out_is_bpe() -> None:
    drawn, processor = drawer("bpe")
    assert drawn.sample([*TEXT, *ODD], 0.0, 1) == processor.encode([*TEXT, *ODD])


def counts(
    kind: Literal["bpe", "unigram"], ids: dict[str, int], scores: list[float], word: str, amount: float, n: int
) -> Counter[str]:
    """How often each segmentation of a word comes up."""
    made = (_Merges if kind == "bpe" else _Lattices)(ids, np.array(scores))
    lengths, pieces = made.draw(["-", word], np.ones(n, np.int64), amount, np.random.default_rng(5))
    names = {i: piece for piece, i in ids.items()}
    rows = np.split(pieces, np.cumsum(lengths)[:-1])
    return Counter(" ".join(names[i] for i in row.tolist()) for row in rows)


def assert_chances(found: Counter[str], chances: dict[str, float], n: int) -> None:
    assert found.keys() == chances.keys()
    assert sum(chances.values()) == pytest.approx(1)
    for word, chance in chances.items():
        assert abs(found[word] - n * chance) < 5 * (n * chance * (1 - chance)) ** 0.5, word


def test_bpe_leaves_each_merge_out_with_its_chance() -> None:
    """abcd with ab, cd, abcd, and bc, which only comes up where ab was left out, and then before cd."""
    ids = {"-": 4, "a": 5, "b": 6, "c": 7, "d": 8, "ab": 9, "bc": 10, "cd": 11, "abcd": 12}
    scores = [0.0] * 4 + [-9.0] * 5 + [-1.0, -2.0, -3.0, -4.0]
    p, n = 0.3, 40_000
    q = 1 - p
    chances = {
        "abcd": q * q * q,  # ab, cd, abcd
        "ab cd": q * q * p,
        "ab c d": q * p,
        "a bc d": p * q,  # ab left out, bc made: cd is gone
        "a b cd": p * p * q,
        "a b c d": p * p * p,
    }
    assert_chances(counts("bpe", ids, scores, "abcd", p, n), chances, n)


def test_unigram_draws_by_the_power_of_the_probability() -> None:
    ids = {"-": 4, "a": 5, "b": 6, "c": 7, "ab": 8, "bc": 9, "abc": 10}
    scores = [0.0] * 4 + [-9.0, -3.0, -4.0, -5.0, -6.0, -4.5, -9.5]
    ways = {"a b c": -12.0, "ab c": -11.0, "a bc": -7.5, "abc": -9.5}
    amount, n = 0.4, 40_000
    weights = {way: float(np.exp(amount * score)) for way, score in ways.items()}
    chances = {way: weight / sum(weights.values()) for way, weight in weights.items()}
    assert_chances(counts("unigram", ids, scores, "abc", amount, n), chances, n)


@of_both_kinds
def test_there_are_as_many_pieces_as_sentencepiece_itself_draws(kind: str) -> None:
    drawn, processor = drawer(kind)
    lines, amount = TEXT * 100, 0.2
    ours = np.bincount(np.concatenate(drawn.sample(lines, amount, 3)), minlength=processor.get_piece_size())
    theirs = processor.encode(lines, out_type=int, enable_sampling=True, alpha=amount, nbest_size=-1)
    theirs = np.bincount(np.concatenate(theirs), minlength=processor.get_piece_size())
    seen = ours + theirs > 0
    assert np.array_equal(ours > 50, theirs > 50) or np.abs(ours - theirs)[(ours > 50) != (theirs > 50)].max() < 50
    assert (
        (ours - theirs)[seen] ** 2 / (ours + theirs)[seen]
    ).sum() / seen.sum() < 2  # about 1, squares of normal ones


PROGRAM = """
import sys
import sentencepiece
from nmt.corpus.drawing import Drawer
model = sys.stdin.buffer.read()
drawer = Drawer(sentencepiece.SentencePieceProcessor(model_proto=model), sys.argv[1])
drawer.sample(["a cat"] * int(sys.argv[2]), 0.5, 7)  # what was drawn before does not matter
print(drawer.sample(["unbelievable weather , the bird said"] * 40, 0.3, 11))
"""


@of_both_kinds
def test_every_process_draws_the_same(kind: str) -> None:
    said = set()
    for before in (0, 3):
        command = [sys.executable, "-c", PROGRAM, kind, str(before)]
        root = Path(__file__).parents[2]
        done = subprocess.run(command, input=MODELS[kind], cwd=root, capture_output=True, check=True)
        said.add(done.stdout)
    assert said == {f"{drawer(kind)[0].sample(['unbelievable weather , the bird said'] * 40, 0.3, 11)}\n".encode()}
