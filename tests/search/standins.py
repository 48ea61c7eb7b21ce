"""Translators small enough to know everything about: one reads its logits off a hash of the prefix, one has a GRU."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nmt.batch import BOS, EOS, PAD, pad_rows
from nmt.models.contract import Memory, Seq2Seq, State, Step
from nmt.recipe import SearchConfig
from nmt.search.penalty import length_divisor

MODULUS = 2_147_483_629  # prime, so that products of two stay within int64


@dataclass(frozen=True)
class TableMemory(Memory):
    src: Tensor  # (B, S)
    seed: Tensor  # (B,)


@dataclass(frozen=True)
class TableState(State):
    prefix: Tensor  # (R,)


class Table(Seq2Seq):
    """log P(word | source, prefix) is a fixed random number for every prefix; so are the attention weights."""

    def __init__(
        self, n_words: int, seed: int = 0, spread: float = 6.0, end: float = 0.0, levels: int = 1 << 16
    ) -> None:
        super().__init__()
        self.n_words, self.seed, self.spread, self.end, self.levels = n_words, seed, spread, end, levels
        self.projection = nn.Linear(n_words, n_words, bias=False)
        nn.init.eye_(self.projection.weight)

    def initialize(self) -> None:
        raise AssertionError("this one is never trained")

    def encode(self, src: Tensor, keep: Tensor) -> TableMemory:
        seed = torch.full((src.shape[0],), 17 + self.seed, dtype=torch.int64)
        for column in range(src.shape[1]):
            word = src[:, column]
            seed = torch.where(word == PAD, seed, (seed * 48_271 + word + 1) % MODULUS)
        return TableMemory(keep, src, seed)

    def start(self, memory: Memory, beam: int, max_len: int) -> TableState:
        assert isinstance(memory, TableMemory)
        return TableState(memory.seed.repeat_interleave(beam))

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        assert isinstance(memory, TableMemory)
        assert isinstance(state, TableState)
        prefix = (state.prefix * 69_621 + prev + 1) % MODULUS
        features = self._numbers(prefix[:, None], torch.arange(self.n_words)) * self.spread
        features[:, EOS] += self.end
        weights = None
        if want_weights:
            src = memory.src.repeat_interleave(len(prev) // len(memory.src), 0)
            scores = self._numbers(prefix[:, None] + src * 31, torch.arange(src.shape[1])) * 4.0
            weights = scores.masked_fill(src == PAD, -torch.inf).softmax(-1)[:, None, None, :]
        return Step(features, TableState(prefix), weights)

    def _numbers(self, a: Tensor, b: Tensor) -> Tensor:
        mixed = ((a * 40_692 + b * 7_919 + 3) % MODULUS * 16_807) % MODULUS
        return (mixed % self.levels).float() / self.levels


@dataclass(frozen=True)
class GRUMemory(Memory):
    last: Tensor  # (B, D)


@dataclass(frozen=True)
class GRUState(State):
    hidden: Tensor  # (R, D)


class TinyGRU(Seq2Seq):
    """Mean of the source embeddings into a GRU cell: no attention."""

    def __init__(self, n_words: int, d_hidden: int = 16, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(n_words, d_hidden)
        self.cell = nn.GRUCell(d_hidden, d_hidden)
        self.dropout = nn.Dropout(0.5)
        self.projection = nn.Linear(d_hidden, n_words)
        with torch.no_grad():
            self.projection.weight.mul_(4.0)
        self.eval()

    def initialize(self) -> None:
        raise AssertionError("this one is never trained")

    def encode(self, src: Tensor, keep: Tensor) -> GRUMemory:
        embedded = self.embedding(src) * keep[:, :, None]
        return GRUMemory(keep, embedded.sum(1) / keep.sum(1, keepdim=True))

    def start(self, memory: Memory, beam: int, max_len: int) -> GRUState:
        assert isinstance(memory, GRUMemory)
        return GRUState(memory.last.repeat_interleave(beam, 0))

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        assert isinstance(state, GRUState)
        hidden = self.cell(self.dropout(self.embedding(prev)), state.hidden)
        return Step(hidden, GRUState(hidden), None)


def sentence(*ids: int) -> Tensor:
    """One source sentence, (1, S)."""
    return pad_rows([[*ids, EOS]])


@torch.no_grad()
def log_probs_after(model: Seq2Seq, src: Tensor, ids: list[int]) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities (V,) of the word after `ids`, and the attention (|ids| + 1, S) up to it, by stepping alone."""
    memory = model.encode(src, src != PAD)
    state = model.start(memory, 1, len(ids) + 1)
    rows, log_probs = [], torch.empty(0)
    for word in [BOS, *ids]:
        step = model.step(torch.tensor([word]), memory, state, want_weights=True)
        state, log_probs = step.state, model.project(step.features)[0].double().log_softmax(-1)
        rows.append(None if step.weights is None else step.weights.mean((1, 2))[0])
    return log_probs, None if rows[0] is None else torch.stack([row for row in rows if row is not None])


def score_of(model: Seq2Seq, src: Tensor, config: SearchConfig, ids: list[int], ended: bool = True) -> float:
    """The score of a translation, by the words of SearchConfig and nothing of the search."""
    words = [*ids, EOS] if ended else ids
    total = 0.0
    for i, word in enumerate(words):
        again = config.repetition_penalty if word in words[:i] else 1.0
        total += again * float(log_probs_after(model, src, words[:i])[0][word])
    score = total / length_divisor(config, len(words))
    if config.coverage_penalty:
        attention = log_probs_after(model, src, words[:-1])[1]
        assert attention is not None
        score += config.coverage_penalty * float(attention.double().sum(0).clamp(max=1.0).log().sum())
    return score


def repeats(ids: list[int], n: int) -> bool:
    """Whether some sequence of n pieces stands twice in ids."""
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return n > 0 and len(set(grams)) < len(grams)


def every_string(n_words: int, max_len: int) -> Iterator[list[int]]:
    """All translations of at most max_len tokens, EOS counted: ids without it."""
    level: list[list[int]] = [[]]
    for _ in range(max_len):
        yield from level
        level = [[*ids, word] for ids in level for word in range(n_words) if word not in (PAD, BOS, EOS)]
