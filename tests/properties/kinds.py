"""Every kind of model that a recipe can name, tiny: read off the schema, so that a new kind is under test at once."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import torch
from pydantic import ValidationError
from torch import nn

from nmt.batch import Batch, padded_batch
from nmt.layers.weight_norm import WeightNormLinear
from nmt.models.build import build_model
from nmt.models.contract import Seq2Seq
from nmt.recipe import Recipe
from nmt.recipe_section import Section

N_SRC, N_TGT = 11, 13
PAIRS = [([5, 6, 7], [4, 5, 12]), ([8], [6, 7, 8, 9, 10]), ([9, 4, 10, 6, 7], [10]), ([], []), ([4, 4], [11, 4])]
"""Of all lengths, the empty one too."""


def classes(annotation: Any) -> list[type[Section]]:
    """The config classes of an annotation: one class, or a union of them, annotated or not."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return classes(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [found for part in get_args(annotation) for found in classes(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, Section) else []


CONFIGS = classes(Recipe.model_fields["model"].annotation)


def _small(name: str, default: Any, width: int) -> int:
    """A size for a field of whole numbers, by the words of its name (DESIGN: n_ counts, d_ widths)."""
    if name.startswith("d_"):
        return width
    if name.startswith("n_"):
        return 2
    return min(default, 3) if isinstance(default, int) else 3


def _integer(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated or get_origin(annotation) in (Union, types.UnionType):
        return any(_integer(part) for part in get_args(annotation))
    return annotation is int


def shrunk(config: type[Section], width: int = 8, **fixed: Any) -> dict[str, Any]:
    """Values for a config of this class in which every whole number is small."""
    values: dict[str, Any] = {}
    for name, field in config.model_fields.items():
        if name == "kind":
            values[name] = get_args(field.annotation)[0]
        elif _integer(field.annotation) and field.default is not None:
            values[name] = _small(name, field.default, width)
        elif isinstance(field.default, Section) and name != "initialization":
            values[name] = shrunk(type(field.default), width)
        elif isinstance(field.default, list) and field.default:
            # The first and the last part of a list, of two widths.
            ends = (field.default[0], field.default[-1])[: len(field.default)]
            values[name] = [_like(part, width + 4 * i) for i, part in enumerate(ends)]
    return values | fixed


def _like(part: Section, width: int) -> dict[str, Any]:
    """The values of a part of a list, its whole numbers small."""
    return {n: _small(n, v, width) if isinstance(v, int) else v for n, v in part.model_dump().items()}


def tiny(config: type[Section], width: int = 8, **fixed: Any) -> Any:
    """A small instance, checked by the schema."""
    return config.model_validate(shrunk(config, width, **fixed))


def variants() -> Iterator[tuple[str, Any]]:
    """Each kind as it is by default, and with each of its choices (booleans, words) turned to every other value.

    A number that may be left out is a choice too: 1 besides none. What the schema refuses is no model; the default of
    each kind must be one.
    """
    for config in CONFIGS:
        base = tiny(config)
        yield base.kind, base
        for name, field in config.model_fields.items():
            choices: tuple[Any, ...] = ()
            if field.annotation is bool:
                choices = (True, False)
            elif get_origin(field.annotation) is Literal and name != "kind":
                choices = get_args(field.annotation)
            elif _integer(field.annotation) and field.default is None:
                choices = (1,)
            for value in choices:
                if value != getattr(base, name):
                    try:
                        yield f"{base.kind}, {name}: {str(value).lower()}", tiny(config, **{name: value})
                    except ValidationError:
                        continue


VARIANTS = dict(variants())


def build(config: Any, dtype: torch.dtype = torch.float64, n_tgt: int = N_TGT, seed: int = 3) -> Seq2Seq:
    """The model, in evaluation mode, with weights so large that whatever matters shows."""
    torch.manual_seed(seed)
    n_src = n_tgt if getattr(config, "tied_embeddings", False) else N_SRC
    model = build_model(config, n_src, n_tgt).to(dtype)
    model.compute_dtype = dtype
    model.initialize()
    for parameter in model.parameters():
        scale = bool((parameter == 1).all())  # as that of a layer normalisation: it stays about 1
        nn.init.uniform_(parameter, 0.5, 1.5) if scale else nn.init.uniform_(parameter, -0.7, 0.7)
    for module in model.modules():
        if isinstance(module, WeightNormLinear):  # its W is about as large as any other, g not |v|
            with torch.no_grad():
                module.g.copy_(module.v.norm(dim=1) * torch.empty_like(module.g).uniform_(0.4, 0.8))
    return model.eval()


def batch_of(pairs: list[tuple[list[int], list[int]]]) -> Batch:
    """A padded batch of pairs of ids."""
    return padded_batch([src for src, _ in pairs], [tgt for _, tgt in pairs])
