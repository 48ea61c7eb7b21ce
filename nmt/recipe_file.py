"""Recipes as text: a YAML file and `--set` overrides to a `Recipe`, and back; the JSON schema for editors."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, get_args

from pydantic import BaseModel, ValidationError

from nmt.errors import UsageError
from nmt.recipe import Recipe
from nmt.recipe_faults import ValueFault, kinds_of, value_faults
from nmt.yaml_values import Path as Keys
from nmt.yaml_values import dotted, read_yaml, shortened

MAX_BYTES = 1024 * 1024
MAX_FAULTS = 20


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML 1.2 file, changed by overrides `key=value` such as `train.lr=3e-4`, in their order.

    A key is dotted (a number picks from a list), a value is a YAML scalar or a collection in brackets. An override that
    changes the `kind` of a section drops the file's keys that only the old kind has. Nothing is evaluated, imported or
    expanded, and paths stay as they are written: relative to the recipe's folder.

    Raises UsageError with every fault found, each with its line or its override.
    """
    source = _Source(str(path))
    source.read(_text(path))
    for override in overrides:
        source.override(override)
    if source.broken:
        source.refuse()
    try:
        recipe = Recipe.model_validate(source.values)
    except ValidationError as error:
        for fault in value_faults(error, Recipe, source.values):
            source.fault(fault)
        source.refuse()
    if source.faults:
        source.refuse()
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML in block style, with every default written out: `load_recipe` gives an equal one from it."""
    values = recipe.model_dump()
    # A scalar beside its key, a section after an empty line.
    sections = [_entry(key, value, "") for key, value in values.items()]
    return "".join(("\n" if "\n" in text.rstrip("\n") else "") + text for text in sections)


def recipe_schema() -> dict[str, object]:
    """The JSON schema (2020-12) of a recipe: names, types, limits, defaults and descriptions of all keys."""
    schema: dict[str, object] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema.update(Recipe.model_json_schema())
    return schema


# --- reading ----------------------------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such recipe", _similar_file(path)) from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder", "name the recipe in it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a file name"
        raise UsageError(f"{shortened(path)} cannot be read: {reason.lower()}") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES // 1024} KiB: this is not a recipe")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"{path}:{line}: byte 0x{data[error.start]:02X} is not UTF-8"
        raise UsageError(what, f"if it is Latin-1: iconv -f latin1 -t utf-8 {path.name} > new.yaml") from None


def _similar_file(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, sorted(names), n=1)
    return f"did you mean: {path.parent / near[0]}" if near else ""


class _Source:
    """The plain values of a recipe, where each of them comes from, and the faults found so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: object = {}
        self.places: dict[Keys, str] = {}
        self.faults: list[tuple[str, str, str]] = []
        """Place, what, hint."""
        self.order: dict[str, int] = {}
        """The rank of every place: the file's lines, then the overrides."""
        self.broken = False

    def read(self, text: str) -> None:
        document = read_yaml(text)
        for keys, line in document.lines.items():
            self.places[keys] = self.line(line)
        for fault in document.faults:
            self.faults.append((self.line(fault.line), fault.what, fault.hint))
        self.values = document.value
        self.broken = document.broken
        if document.broken or isinstance(document.value, dict):
            return
        self.broken = True
        if not document.faults:
            what = "is empty" if document.value is None else "is not a mapping"
            hint = f"a recipe has the sections {', '.join(Recipe.model_fields)}"
            self.faults.append((self.name, f"this recipe {what}", hint))

    def line(self, number: int) -> str:
        place = f"{self.name}:{number}"
        self.order[place] = number
        return place

    def override(self, override: str) -> None:
        place = f"--set {shortened(override, 100)}"
        self.order[place] = MAX_BYTES + len(self.order)
        key, equals, text = override.partition("=")
        keys: Keys = tuple(
            int(part) if part.isdecimal() and len(part) < 10 else part for part in key.strip().split(".")
        )
        if not equals or "" in keys:
            self.faults.append((place, "an override is written key=value", "for example: --set train.lr=3e-4"))
            return
        document = read_yaml(text, inline=True)
        self.faults += [(place, fault.what, fault.hint) for fault in document.faults]
        if document.faults or self.broken:
            return
        parent = self.parent(keys, place)
        if parent is None:
            return
        last = keys[-1]
        if last == "kind" and isinstance(parent, dict):
            self.switch(keys[:-1], parent, document.value)
        if isinstance(parent, dict):
            parent[str(last)] = document.value
            keys = (*keys[:-1], str(last))
        else:
            assert isinstance(last, int)
            parent[last] = document.value
        self.places = {known: at for known, at in self.places.items() if known[: len(keys)] != keys}
        self.places[keys] = place
        for below in document.lines:
            self.places[(*keys, *below)] = place

    def parent(self, keys: Keys, place: str) -> dict[str, object] | list[object] | None:
        """What holds the last of these keys; sections that the file does not have are begun."""
        here = self.values
        for depth, key in enumerate(keys):
            if isinstance(here, list):
                if not isinstance(key, int) or key >= len(here):
                    what = f"{dotted(keys[:depth])} is a list of {len(here)}"
                    self.faults.append((place, what, "its items are numbered from 0"))
                    return None
            elif not isinstance(here, dict):
                whole = dotted(keys[:depth])
                hint = f"set it as a whole: --set {whole}='{{{shortened(key)}: ...}}'"
                self.faults.append((place, f"{whole} is one value, without keys below it", hint))
                return None
            if depth == len(keys) - 1:
                return here
            if isinstance(here, list):
                assert isinstance(key, int)
                here = here[key]
                continue
            if here.get(str(key)) is None:
                here[str(key)] = {}
                self.places[keys[: depth + 1]] = place
            here = here[str(key)]
        return None

    def switch(self, section: Keys, values: dict[str, object], kind: object) -> None:
        """Takes the file's keys out that the section's old kind has and its new one has not."""
        known = {name: option for option in _sections_at(section) for name in kinds_of(option)}
        old, new = known.get(str(values.get("kind"))), known.get(str(kind))
        if old is None or new is None:
            return
        for key in set(old.model_fields) - set(new.model_fields):
            if not self.places.get((*section, key), "--set").startswith("--set"):
                values.pop(key, None)

    def fault(self, fault: ValueFault) -> None:
        """A fault of one key, or of several that do not fit: then the last one written is to blame, overrides first."""
        places = [self.place(keys) for keys in (fault.path, *fault.others)]
        self.faults.append((max(places, key=lambda place: self.order.get(place, 0)), fault.what, fault.hint))

    def place(self, keys: Keys) -> str:
        """Where these keys are; what is missing is blamed on the section that should have it."""
        while keys and keys not in self.places:
            keys = keys[:-1]
        return self.places.get(keys, self.name)

    def refuse(self) -> NoReturn:
        """Raises what was found, in the order of the file's lines, then of the overrides."""
        assert self.faults
        ordered = sorted(self.faults, key=lambda fault: self.order.get(fault[0], 0))
        lines = [(f"{place}: {what}", hint) for place, what, hint in ordered[:MAX_FAULTS]]
        if len(ordered) > MAX_FAULTS:
            lines.append((f"{self.name}: and {len(ordered) - MAX_FAULTS} more", "correct these first"))
        raise UsageError.many(lines)


def _sections_at(keys: Keys) -> list[type[BaseModel]]:
    """The section classes that may stand at these keys."""
    sections: list[type[BaseModel]] = [Recipe]
    for key in keys:
        annotations = [section.model_fields[str(key)].annotation for section in sections if key in section.model_fields]
        sections = [found for annotation in annotations for found in _sections_in(annotation)]
    return sections


def _sections_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _sections_in(argument)]


# --- writing ----------------------------------------------------------------------------------------------------------


_RESERVED = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def _entry(key: str, value: object, indent: str) -> str:
    """A key and its value, each line ending with a line break."""
    name = f"{indent}{_scalar(key)}:"
    deeper = indent + "  "
    if isinstance(value, Mapping) and value:
        return f"{name}\n" + "".join(_entry(str(below), held, deeper) for below, held in value.items())
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        return f"{name}\n" + "".join(_item(item, deeper) for item in value)
    return f"{name} {_flow(value)}\n"


def _item(value: object, indent: str) -> str:
    if not isinstance(value, Mapping):
        return f"{indent}- {_flow(value)}\n"
    text = "".join(_entry(str(key), held, indent + "  ") for key, held in value.items())
    return f"{indent}- {text[len(indent) + 2 :]}"


def _flow(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_flow(item) for item in value)}]"
    return "{}" if isinstance(value, Mapping) else _scalar(value)


def _scalar(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return value if _plain(value) else _quoted(value)
        case _:
            return repr(value)  # floats: the shortest text that reads back as the same number


def _plain(text: str) -> bool:
    """Whether text needs no quotes for any reader of YAML, those of version 1.1 included."""
    return re.fullmatch(r"[A-Za-z/][A-Za-z0-9_./-]*", text) is not None and text.lower() not in _RESERVED


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else rf"\U{ord(c):08x}" for c in quoted)
