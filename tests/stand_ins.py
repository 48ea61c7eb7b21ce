"""Translators whose output is known: one repeats the source, one never ends, one writes every kind of line break."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nmt.batch import EOS, PAD, SPECIALS, UNK
from nmt.corpus.tokenizer import Tokenizer, Words
from nmt.models.contract import Memory, Seq2Seq, State, Step
from nmt.recipe import SearchConfig
from nmt.translator import Translator


@dataclass(frozen=True)
class SourceMemory(Memory):
    src: Tensor  # (B, S)


@dataclass(frozen=True)
class Position(State):
    at: Tensor  # (R,)


class Echo(Seq2Seq):
    """Writes the source, or `script` whatever the source is, with all its attention on the word it repeats."""

    def __init__(self, n_ids: int, script: Sequence[int] | None = None, attends: bool = True) -> None:
        super().__init__()
        self.projection = nn.Linear(n_ids, n_ids, bias=False)
        nn.init.eye_(self.projection.weight)
        self.n_ids, self.script, self.attends = n_ids, script, attends
        self.n_rows: list[int] = []

    def initialize(self) -> None:
        raise AssertionError("this one is never trained")

    def encode(self, src: Tensor, keep: Tensor) -> SourceMemory:
        self.n_rows.append(len(src))
        return SourceMemory(keep, src)

    def start(self, memory: Memory, beam: int, max_len: int) -> Position:
        return Position(torch.zeros(len(memory.keep) * beam, dtype=torch.int64))

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        assert isinstance(memory, SourceMemory)
        assert isinstance(state, Position)
        src = memory.src.repeat_interleave(len(prev) // len(memory.src), 0)  # (R, S)
        at = state.at.clamp(max=src.shape[1] - 1)[:, None]
        if self.script is None:
            words = src.gather(1, at)[:, 0]
        else:
            words = torch.tensor(self.script)[state.at.clamp(max=len(self.script) - 1)]
        words = words.masked_fill(words == PAD, EOS)
        features = nn.functional.one_hot(words, self.n_ids).float() * 20.0
        weights = (
            torch.zeros(src.shape).scatter_(1, at, 1.0)[:, None, None, :] if want_weights and self.attends else None
        )
        return Step(features, Position(state.at + 1), weights)


class Strange(Tokenizer):
    """One id a character of `alphabet`, whatever these are; other characters are UNK."""

    def __init__(self, alphabet: str) -> None:
        self.alphabet = alphabet

    @property
    def n_ids(self) -> int:
        return len(SPECIALS) + len(self.alphabet)

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        return [[len(SPECIALS) + self.alphabet.index(c) if c in self.alphabet else UNK for c in line] for line in lines]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        return [self.join(self.pieces(row)) for row in ids]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [(*SPECIALS, *self.alphabet)[i] for i in ids]

    def join(self, pieces: Sequence[str]) -> str:
        return "".join(piece for piece in pieces if piece not in SPECIALS)

    def to_bytes(self) -> bytes:
        raise AssertionError("this one is never stored")


VOCABULARY = ["the", "cat", "sat", "on", "mat", ".", ","]
QUICK = SearchConfig(beam=2, max_len_ratio=1.0, max_len_extra=3)


def echo(*, config: SearchConfig = QUICK, max_pieces: int = 100, attends: bool = True) -> Translator:
    """Repeats every line, with single spaces between its words."""
    words = Words(VOCABULARY, None)
    return Translator(Echo(words.n_ids, attends=attends), words, words, config, max_pieces=max_pieces)


def endless() -> Translator:
    """Writes `the the the ...` and never an end."""
    words = Words(VOCABULARY, None)
    return Translator(Echo(words.n_ids, script=[4]), words, words, QUICK)


BREAKS = "\n\r\t\v\f\x1c\x1d\x1e\x85\u2028\u2029\0"


def newlines() -> Translator:
    """Writes everything that some program takes for the end of a line."""
    strange = Strange("a" + BREAKS)
    script = [*range(len(SPECIALS), strange.n_ids), EOS]
    config = SearchConfig(beam=1, max_len_extra=40)
    return Translator(Echo(strange.n_ids, script=script), strange, strange, config)
