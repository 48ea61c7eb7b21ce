"""What training and search may ask of a model, and nothing more; search never names a model.

The rule behind it all: axis 0 is the row. `Memory` has one row a sentence (B), `State` one row a hypothesis (R = B * K,
the K hypotheses of a sentence side by side), so `select_rows` drops sentences of any memory, and `follow` reorders and
drops hypotheses of any state. Keys and values of the words so far are the exception: a `Cache` has one row a sentence.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from nmt.batch import Batch, Layout
from nmt.layers.cache import Cache, Going, Lineage, Sources
from nmt.layers.static_cache import static
from nmt.layers.weight_norm import WeightNormLinear
from nmt.ops.choose import PLAIN, Kernels
from nmt.ops.linear import linear, wide
from nmt.ops.listed import listed
from nmt.ops.ready import ready_survey
from nmt.ops.top import Survey, survey


@dataclass(frozen=True)
class Memory:
    """What the encoder gives, computed once a sentence and never expanded for beams. Models add their tensors.

    keep  (B, S) bool: True where there is a source token.
    """

    keep: Tensor


@dataclass(frozen=True)
class State:
    """What a decoder carries from step to step; models add their tensors, rows (R) on axis 0, and caches."""


@dataclass(frozen=True)
class Step:
    """One target position.

    features  (R, D): what `project` turns into logits
    state     the state after it
    weights   (R, L, H, S) attention weights by layer and head, or None where they were not asked for or do not exist
    """

    features: Tensor
    state: State
    weights: Tensor | None


class Seq2Seq(nn.Module, ABC):
    """A translator: encode once, step as often as there are target positions.

    A model gives `encode`, `start`, `step` and a `projection`; `forward` is then the loop over `step`, which is right
    and slow. A model that can go parallel overrides it, and a test compares the two.
    """

    layouts: ClassVar[frozenset[Layout]] = frozenset({"padded"})
    compute_dtype: torch.dtype = torch.float32
    """Type of matrix products: float32, or bfloat16 by explicit casts; parameters stay as they are."""
    kernels: Kernels = PLAIN
    """Which implementations run: set by `use`, here and in every layer that has a choice."""
    operations: tuple[str, ...] = ()
    """What of this model itself, layers aside, has forms to choose from: names of ops/choose.py."""
    projection: nn.Linear | WeightNormLinear
    """Features to logits: weight (V, D) and bias (V,) or None; the loss reads them to go through the vocabulary in
    chunks.
    """

    @abstractmethod
    def encode(self, src: Tensor, keep: Tensor) -> Memory:
        """Source ids (B, S) and keep (B, S) to the memory that every step looks at."""

    @abstractmethod
    def start(self, memory: Memory, beam: int, max_len: int) -> State:
        """The state before the first step: B * beam rows, room for max_len steps where the model needs room."""

    @abstractmethod
    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        """Takes the previous words (R,) one position on. R is a multiple K of the memory's B: row r looks at sentence r
        // K. Caches aside the state keeps its shapes and types, and nothing asks the device for a number or makes a
        tensor elsewhere, so that a step can be recorded once and replayed (search/board.py).
        """

    @abstractmethod
    def initialize(self) -> None:
        """Fills every parameter as the model's paper says, drawing from torch's generator."""

    @contextmanager
    def settled(self) -> Iterator[None]:
        """While it lasts no parameter changes and none wants a gradient, so a model may keep what it makes of them."""
        yield

    def use(self, kernels: Kernels) -> None:
        """From now on these implementations run, in the model and its layers."""
        for module in self.modules():
            if hasattr(module, "kernels"):
                vars(module)["kernels"] = kernels

    def compilable(self) -> list[nn.Module]:
        """The layers whose forward pass is one graph without a loop over positions, for torch.compile."""
        return []

    def all_operations(self) -> set[str]:
        """What has forms to choose from, in the model and its layers."""
        return {name for module in self.modules() for name in getattr(module, "operations", ())}

    def forward(self, batch: Batch) -> Tensor:
        """Features (B, T, D) of every target position, given the words before it."""
        memory = self.encode(batch.src, batch.src_keep)
        state = self.start(memory, 1, batch.tgt_in.shape[1])
        features = []
        for t in range(batch.tgt_in.shape[1]):
            step = self.step(batch.tgt_in[:, t], memory, state)
            state = step.state
            features.append(step.features)
        return torch.stack(features, dim=1)

    def project(self, features: Tensor) -> Tensor:
        """Logits (..., V) in float32 of features (..., D)."""
        return linear(features, self.projection.weight, self.projection.bias).to(wide(features.dtype))

    def project_listed(self, features: Tensor, ids: Tensor, owners: Tensor) -> Tensor:
        """Of the logits of features (R, D) those of a list of pieces: (R, W) in float32.

        ids (B, W) int64: the pieces of each sentence, from the first -1 on none (-inf); owners (R,) int64: the sentence
        of each row, ascending.
        """
        weight, bias = self.projection.weight, self.projection.bias
        return listed(features, weight, bias, ids, owners).to(wide(features.dtype))

    def survey(self, features: Tensor, n: int) -> Survey:
        """What `project` makes of features (R, D), looked through: the n largest logits of each row, or all, largest
        first, where they stand, and the row's log of the sum of exp.
        """
        n = min(n, self.projection.weight.shape[0])
        found = ready_survey(features, self.projection.weight, self.projection.bias, n)
        return survey(self.project(features).float(), n) if found is None else found


Record = TypeVar("Record")
Memories = TypeVar("Memories", bound=Memory)
States = TypeVar("States", bound=State)


def map_tensors(
    record: Record,
    change: Callable[[Tensor], Tensor],
    change_cached: Callable[[Any], Any] | None = None,
) -> Record:
    """The same record with every tensor changed, through nested dataclasses and tuples; None stays None.

    change_cached: what becomes of caches, lineages and sources as a whole; without it their tensors are changed too.
    """

    def walk(part: Any) -> Any:
        if isinstance(part, Tensor):
            return change(part)
        if change_cached is not None and isinstance(part, Cache | Lineage | Sources):
            return change_cached(part)
        if isinstance(part, tuple):
            return tuple(walk(p) for p in part)
        if dataclasses.is_dataclass(part) and not isinstance(part, type):
            return dataclasses.replace(part, **{f.name: walk(getattr(part, f.name)) for f in dataclasses.fields(part)})
        return part

    return walk(record)


def select_rows(memory: Memories, rows: Tensor) -> Memories:
    """The memory of the sentences (N,) int64."""
    return map_tensors(memory, lambda tensor: tensor.index_select(0, rows), lambda kept: kept.follow(Going(rows)))


def follow(state: States, going: Going, K: int) -> States:
    """The state of the hypotheses that go on, K of each sentence."""
    rows = going.rows(K)
    if rows is None:
        return state
    return map_tensors(state, lambda tensor: tensor.index_select(0, rows), lambda cached: cached.follow(going))


def joined(memories: Sequence[Memories]) -> Memories:
    """One memory of the sentences of several, those of each after those of the one before; where one is narrower than
    the widest there is 0 or False. At least one; of a single one that itself.
    """
    if len(memories) == 1:
        return memories[0]
    columns = zip(*(tensors_of(memory) for memory in memories), strict=True)
    return map_tensors(memories[0], lambda _: _one_below_the_other(next(columns)))


def _one_below_the_other(parts: Sequence[Tensor]) -> Tensor:
    whole = parts[0].new_empty((sum(map(len, parts)), *map(max, zip(*(part.shape[1:] for part in parts), strict=True))))
    for place, part in zip(whole.split([len(part) for part in parts]), parts, strict=True):
        for axis, n in enumerate(part.shape[1:], 1):
            place.narrow(axis, n, place.shape[axis] - n).zero_()
            place = place.narrow(axis, 0, n)
        place.copy_(part)
    return whole


def tensors_of(record: Any) -> list[Tensor]:
    """All tensors in it, caches' own included, in an order that records of one model share."""
    found = list[Tensor]()

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(record, note)
    return found


def fixed(record: Record, T: int, at: Tensor) -> Record:
    """A memory, or the state that a model starts with, in tensors of its own that keep their place and shape for T
    steps: layers/static_cache.py. at (1,) int64: the step that is next, from 0, which the caller counts.
    """

    def own(tensor: Tensor) -> Tensor:
        return tensor.clone(memory_format=torch.contiguous_format)

    def kept(cached: Cache | Lineage | Sources) -> Cache | Lineage | Sources:
        return map_tensors(cached, own) if isinstance(cached, Sources) else static(cached, T, at)

    return map_tensors(record, own, kept)


def stepwise_logits(model: Seq2Seq, batch: Batch) -> Tensor:
    """Logits (B, T, V) by one step after the other: what the forward of every model must equal."""
    return model.project(Seq2Seq.forward(model, batch))
