"""`nmt train --dry-run`: what a recipe would train, worked out on the meta device: no data, no memory, no training."""

import json
from dataclasses import asdict, dataclass

import torch

from nmt.errors import UsageError
from nmt.models.build import build_model
from nmt.recipe import SGD, Adadelta, Adam, Recipe

_FLOAT = 4  # bytes of a float32


@dataclass(frozen=True)
class Part:
    """A parameter tensor: its name, shape, and how many numbers it holds."""

    name: str
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Plan:
    """Sizes of the model of a recipe.

    parts: every parameter, a tied one once. memory: bytes that weights, gradients and optimiser keep throughout; what
    an update needs on top grows with the batch. src_vocab, tgt_vocab: ids, as the recipe's tokenizer.vocab says.
    """

    name: str
    kind: str
    src_vocab: int
    tgt_vocab: int
    parts: list[Part]
    parameters: int
    memory: int

    def as_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self), indent=1)

    def lines(self) -> list[str]:
        """The same for people: a line a parameter, then the sums."""
        width = max(len(part.name) for part in self.parts)
        shapes = [" x ".join(f"{size:,}" for size in part.shape) for part in self.parts]
        shape_width = max(map(len, shapes))
        return [
            f"{self.name}: {self.kind}, {self.src_vocab:,} source ids, {self.tgt_vocab:,} target ids",
            *(
                f"  {part.name:<{width}}  {shape:>{shape_width}}  {part.parameters:>13,}"
                for part, shape in zip(self.parts, shapes, strict=True)
            ),
            f"  {'parameters in all':<{width}}  {'':>{shape_width}}  {self.parameters:>13,}",
            f"weights, gradients and optimiser: {self.memory / 2**20:,.0f} MiB, and what a batch needs on top",
        ]


def dry_run(recipe: Recipe) -> Plan:
    """The plan of a recipe; UsageError for sizes that no tensor can have."""
    src_ids, tgt_ids = recipe.tokenizer.sizes
    try:
        with torch.device("meta"):
            model = build_model(recipe.model, src_ids, tgt_ids)
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
    match recipe.train.optimizer:
        case Adam() | Adadelta():
            slots = 2
        case SGD(momentum=momentum):
            slots = 1 if momentum else 0
    return Plan(recipe.name, recipe.model.kind, src_ids, tgt_ids, parts, total, total * _FLOAT * (2 + slots))
