"""What every section of a recipe is built from: the base class, and the kinds of numbers."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

RENAMED = {"train.accumulate": "train.grad_parts"}
"""Keys that had another name once. A recipe must use the new one; what was written by an older nmt is still read."""

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of a recipe: immutable, strict about types, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


def with_new_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's plain values, as an older nmt wrote them, with the keys that were renamed under their new names."""
    renamed = {section: dict(held) if isinstance(held, Mapping) else held for section, held in values.items()}
    for before, after in RENAMED.items():
        section, key = before.split(".")
        held = renamed.get(section)
        if isinstance(held, dict) and key in held:
            held[after.removeprefix(f"{section}.")] = held.pop(key)
    return renamed
