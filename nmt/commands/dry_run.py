"""`nmt train --dry-run`: what a recipe would train and what that would take: no data, no memory, no training."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby

import torch

from nmt.errors import UsageError
from nmt.models.build import build_model
from nmt.models.meta import on_meta
from nmt.ops.choose import choose_device, training_dtype
from nmt.processes import cores
from nmt.recipe import Recipe
from nmt.training.cost import batch_cost, product_rate
from nmt.training.fitting import planned_tokens
from nmt.training.forms import choose_layout, with_dtype
from nmt.training.optim import slots

LENGTH = 25
"""Pieces of a sentence, its end included, where there is no text to ask: WMT's 4.5 M English-German pairs have 26 words
a sentence (Luong et al. 2015, section 4.1)."""

_FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Part:
    """A parameter tensor: its name, shape, and how many numbers it holds."""

    name: str
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Memory:
    """Bytes: weights, gradients and optimiser stay throughout, activations are what an update needs on top at least."""

    weights: int
    gradients: int
    optimizer: int
    activations: int


@dataclass(frozen=True)
class Time:
    """Seconds that the matrix products of all updates take: `flops` each, at `rate` a second on `device`."""

    updates: int
    tgt_tokens: int
    flops: int
    device: str
    rate: float
    seconds: float


@dataclass(frozen=True)
class Plan:
    """Sizes of the model of a recipe, and what its training takes.

    parts: every parameter, a tied one once. src_vocab, tgt_vocab: ids, as the recipe's tokenizer.vocab says. sentences,
    length: the batch that activations and time are of; grad_parts: the parts that it is cut into; row_tokens: positions
    of a row, for a layout of several sentences a row. automatic: training will look for a batch that fits, and this is
    the largest that it may find.
    """

    name: str
    kind: str
    src_vocab: int
    tgt_vocab: int
    parts: list[Part]
    parameters: int
    sentences: int
    length: int
    grad_parts: int
    layout: str
    row_tokens: int | None
    automatic: bool
    dtype: str
    memory: Memory
    time: Time

    def as_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self), indent=1)

    def lines(self) -> list[str]:
        """The same for people: parameters by part, then memory and time with how they are estimated."""
        return [
            f"{self.name}: {self.kind}, {self.src_vocab:,} source ids, {self.tgt_vocab:,} target ids",
            *self._parameter_lines(),
            *self._memory_lines(),
            *self._time_lines(),
        ]

    def _parameter_lines(self) -> list[str]:
        """A line a module with its sum; below it, tensors of one shape that repeat from layer to layer share a line."""
        rows: list[tuple[str, str, str]] = []
        for module, group in groupby(sorted(self.parts, key=self._rank), key=_module):
            parts = list(group)
            simple = all(part.name.removeprefix(module) in ("", ".weight", ".bias") for part in parts)
            shapes = " + ".join(_shape(part.shape) for part in parts) if simple else ""
            rows.append((module, shapes, f"{sum(part.parameters for part in parts):,}"))
            for (name, shape), count in Counter((_layerless(part.name), part.shape) for part in parts).items():
                if not simple:
                    below = name.removeprefix(module).removeprefix(".")
                    rows.append((f"  {below}", (f"{count} of " if count > 1 else "") + _shape(shape), ""))
        rows.append(("parameters in all", "", f"{self.parameters:,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return [f"  {a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows]

    def _rank(self, part: Part) -> int:
        """Where the first tensor of the part's module stands, so that a module's tensors come together."""
        return next(i for i, other in enumerate(self.parts) if _module(other) == _module(part))

    def _memory_lines(self) -> list[str]:
        memory, rows = self.memory, -(-self.sentences // self.grad_parts)
        total = memory.weights + memory.gradients + memory.optimizer + memory.activations
        return [
            f"memory: {_size(total)}: weights {_size(memory.weights)}, gradients {_size(memory.gradients)}, "
            f"optimiser {_size(memory.optimizer)}, activations {_size(memory.activations)}",
            f"  activations are an estimate: what {rows:,} sentences of {self.length} pieces a side{self._where()} "
            "leave for the backward, without what comes and goes",
            *(
                ["  train.batch_tokens: auto takes a smaller batch where this one does not fit"]
                if self.automatic
                else []
            ),
        ]

    def _where(self) -> str:
        """How the sentences lie, where there are several a row."""
        if self.layout == "padded":
            return ""
        return f" in rows of {self.row_tokens}" if self.row_tokens else " in one row"

    def _time_lines(self) -> list[str]:
        time = self.time
        return [
            f"time: {_duration(time.seconds)} for {time.updates:,} updates of {time.tgt_tokens:,} target tokens, "
            f"{_si(time.flops / time.tgt_tokens)}FLOP each, forward and backward",
            f"  an estimate of the matrix products alone, at {_si(time.rate)}FLOP/s as just measured on {time.device} "
            f"in {self.dtype}: all else comes on top",
        ]


def dry_run(recipe: Recipe, device: str = "auto") -> Plan:
    """The plan of a recipe; UsageError for sizes that no tensor can have."""
    target = choose_device(device)
    recipe = with_dtype(recipe, training_dtype(recipe.compute.dtype, target))
    train, dtype = recipe.train, getattr(torch, recipe.compute.dtype)
    length = min(LENGTH, recipe.corpus.max_len)
    sentences = train.batch_sentences or max(1, planned_tokens(train, target) // length)
    rows = -(-sentences // train.grad_parts)
    times_seen = 2 if train.r_drop else 1
    try:
        with on_meta():
            model = build_model(recipe.model, *recipe.tokenizer.sizes)
            model.compute_dtype = dtype
            layout, _ = choose_layout(recipe, model, target)
            cost = batch_cost(model, rows * times_seen, length, layout, train.row_tokens)
    except (RuntimeError, TypeError) as error:
        # On the meta device nothing is allocated, so numbers that overflow are all that a recipe can do wrong.
        if "overflow" not in str(error).lower():
            raise
        raise UsageError(
            f"a {recipe.model.kind} model of these sizes cannot be: they overflow 64 bits",
            "look at tokenizer.vocab and the sizes of the model section",
        ) from None
    parts = [Part(name, tuple(p.shape), p.numel()) for name, p in model.named_parameters()]
    total = sum(part.parameters for part in parts)
    optimizers = [train.optimizer, *([train.switch.optimizer] if train.switch else [])]
    held = max(map(slots, optimizers))
    with _threads(recipe.compute.threads):
        rate = product_rate(target, dtype)
    flops = cost.flops * sentences // rows
    return Plan(
        name=recipe.name,
        kind=recipe.model.kind,
        src_vocab=recipe.tokenizer.sizes[0],
        tgt_vocab=recipe.tokenizer.sizes[1],
        parts=parts,
        parameters=total,
        sentences=sentences,
        length=length,
        grad_parts=train.grad_parts,
        layout=layout,
        row_tokens=train.row_tokens if layout == "rows" else None,
        automatic=train.batch_tokens == "auto",
        dtype=recipe.compute.dtype,
        memory=Memory(total * _FLOAT, total * _FLOAT, total * _FLOAT * held, cost.kept),
        time=Time(train.updates, sentences * length, flops, target.type, rate, train.updates * flops / rate),
    )


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    """As many CPU threads as training would use."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- words ------------------------------------------------------------------------------------------------------------


def _module(part: Part) -> str:
    return part.name.split(".")[0]


def _layerless(name: str) -> str:
    """A parameter's name with * for the number of its layer."""
    return re.sub(r"\.\d+(?=\.|$)", ".*", name)


def _shape(sizes: tuple[int, ...]) -> str:
    return " x ".join(f"{size:,}" for size in sizes)


def _size(n: int) -> str:
    return f"{n / 2**20:,.0f} MiB" if n < 10 * 2**30 else f"{n / 2**30:,.1f} GiB"


def _si(number: float) -> str:
    """A number with the prefix of its size: 3.1 G."""
    prefixes = ["", "k", "M", "G", "T", "P"]
    while number >= 1000 and len(prefixes) > 1:
        number /= 1000
        del prefixes[0]
    return f"{number:.3g} {prefixes[0]}"


def _duration(seconds: float) -> str:
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} seconds"
