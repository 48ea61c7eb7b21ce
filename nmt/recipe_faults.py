"""What is wrong with a recipe's values, in plain words: pydantic finds the faults, this file says them.

pydantic names a fault by a path through its own schema, with the branch it tried of every union in it. We walk the
types along that path, so that a fault is named by the keys a user wrote, by what was expected there, by what was found.
"""

import difflib
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from nmt.recipe_section import RENAMED
from nmt.yaml_values import Path, Refused, dotted, plain_scalar, shortened

# Looking for near names takes a while, and nobody reads more.
MAX_FAULTS = 500


@dataclass(frozen=True)
class ValueFault:
    """A fault at a key: where the key is, what is wrong, what to do about it."""

    path: Path
    what: str
    hint: str = ""
    others: tuple[Path, ...] = ()
    """More keys, where the fault is that several do not fit together."""


@dataclass(frozen=True)
class _Type:
    """A type as a field declares it: its alternatives without None, and what limits them."""

    options: tuple[object, ...]
    nullable: bool
    by_kind: bool
    limits: tuple[object, ...]
    title: str


@dataclass(frozen=True)
class _Place:
    """What a fault's path leads to: the keys as written, the type expected there, the section that has the last key."""

    path: Path
    expects: _Type
    section: type[BaseModel] | None


def value_faults(error: ValidationError, schema: type[BaseModel], values: object) -> list[ValueFault]:
    """The faults of `values` against `schema`, each once, in pydantic's order; of thousands only the first hundreds."""
    faults: list[ValueFault] = []
    missing: set[Path] = set()
    suggested: set[Path] = set()
    for details in error.errors(include_url=False)[:MAX_FAULTS]:
        if isinstance(details["input"], Refused):
            continue
        place = _place(details["loc"], schema, values)
        if place is None:
            continue
        fault = _fault(details, place, schema)
        if details["type"] == "missing":
            missing.add(fault.path)
        elif details["type"] == "extra_forbidden" and (near := _near(str(place.path[-1]), _keys(place.section))):
            suggested.add((*place.path[:-1], near))
        if fault not in faults:
            faults.append(fault)
    # `updats: 5` is one fault, not an unknown key and a missing one.
    explained = missing & suggested
    return [fault for fault in faults if fault.path not in explained or " is missing" not in fault.what]


# --- where ------------------------------------------------------------------------------------------------------------


def _type(annotation: object, field: FieldInfo | None = None) -> _Type:
    limits: list[object] = list(field.metadata) if field else []
    title = (field.title or "") if field else ""
    by_kind = bool(field and field.discriminator)
    nullable = False
    options: list[object] = []
    waiting = [annotation]
    while waiting:
        current = waiting.pop(0)
        origin = get_origin(current)
        if origin is Annotated:
            inner, *extras = get_args(current)
            waiting.insert(0, inner)
            for extra in extras:
                if isinstance(extra, FieldInfo):
                    limits += extra.metadata
                    title = title or extra.title or ""
                    by_kind = by_kind or bool(extra.discriminator)
                else:
                    limits.append(extra)
        elif origin in (Union, types.UnionType):
            waiting[:0] = get_args(current)
        elif current is types.NoneType or current is None:
            nullable = True
        else:
            options.append(current)
    return _Type(tuple(options), nullable, by_kind, tuple(limits), title)


def _place(loc: Sequence[str | int], schema: type[BaseModel], values: object) -> _Place | None:
    """Follows a path of pydantic's; None where the fault belongs to a branch of a union that was not meant."""
    here = _Place((), _type(schema), None)
    for part in loc:
        if len(here.expects.options) > 1:
            branch = _branch(here.expects, part, values)
            if branch is None:
                # The value has the shape of none of the branches: one fault for the whole union.
                return here if not _meant(here.expects, values) else None
            here = _Place(
                here.path, _Type((branch,), False, False, here.expects.limits, here.expects.title), here.section
            )
            continue
        option = next(iter(here.expects.options))
        path = (*here.path, part)
        if isinstance(option, type) and issubclass(option, BaseModel):
            field = option.model_fields.get(str(part))
            if field is None:
                return _Place(path, _Type((), False, False, (), ""), option)
            here = _Place(path, _type(field.annotation, field), option)
        elif get_origin(option) in (list, tuple, dict):
            arguments = get_args(option)
            index = part if get_origin(option) is tuple and isinstance(part, int) and part < len(arguments) else -1
            here = _Place(path, _type(arguments[index]), None)
        else:
            return here
        values = _below(values, part)
    if len(here.expects.options) > 1 and not here.expects.by_kind and _meant(here.expects, values):
        return None
    return here


def _below(values: object, part: str | int) -> object:
    if isinstance(values, dict):
        return values.get(part)
    if isinstance(values, list) and isinstance(part, int) and part < len(values):
        return values[part]
    return None


def _branch(union: _Type, label: str | int, value: object) -> object | None:
    """The branch of a union that pydantic's label names, if a value of this shape can have meant it."""
    for option in union.options:
        if union.by_kind:
            if isinstance(option, type) and issubclass(option, BaseModel) and label in kinds_of(option):
                return option
        elif _shape(option) == _shape_of(value) != "scalar" and _names(str(label), option):
            return option
    return None


def _meant(union: _Type, value: object) -> bool:
    """Whether the faults of some single branch say more than that no branch fits."""
    shape = _shape_of(value)
    return union.by_kind or (shape != "scalar" and any(_shape(option) == shape for option in union.options))


def _names(label: str, option: object) -> bool:
    if isinstance(option, type) and issubclass(option, BaseModel):
        return re.search(rf"\b{option.__name__}\b", label) is not None
    return label.startswith(("list[", "tuple[", "dict["))


def _shape(option: object) -> str:
    origin = get_origin(option)
    if origin in (list, tuple):
        return "list"
    if origin is dict or (isinstance(option, type) and issubclass(option, BaseModel)):
        return "mapping"
    return "scalar"


def _shape_of(value: object) -> str:
    return "mapping" if isinstance(value, dict) else "list" if isinstance(value, list) else "scalar"


def kinds_of(section: type[BaseModel]) -> tuple[str, ...]:
    """The values that `kind` may have in a section: one, or none where the section has no such key."""
    field = section.model_fields.get("kind")
    return tuple(get_args(field.annotation)) if field is not None else ()


# --- what -------------------------------------------------------------------------------------------------------------


def _fault(details: ErrorDetails, place: _Place, schema: type[BaseModel]) -> ValueFault:
    key, found, path = dotted(place.path), details["input"], place.path
    match details["type"]:
        case "extra_forbidden":
            section = place.section or schema
            return ValueFault(
                path, f"{key} is not a key of {section.__name__}", _unknown_key_hint(path, section, schema)
            )
        case "missing" if isinstance(path[-1], str):
            return ValueFault(path, f"{key} is missing", f"give {_expected(place.expects)}{_meaning(place)}")
        case "missing":
            what = f"{dotted(path[:-1])} is too short: {key} must be {_expected(place.expects)}"
            return ValueFault(path[:-1], what)
        case "union_tag_not_found":
            for written in found if isinstance(found, dict) else ():
                if _near(written, ["kind"]):
                    return ValueFault(
                        (*path, written), f"{key}.{shortened(written)} is not a key", "did you mean: kind"
                    )
            return ValueFault(path, f"{key}.kind is missing", f"give {_listed(_kinds(place.expects))}")
        case "union_tag_invalid":
            kinds = _kinds(place.expects)
            kind = found.get("kind") if isinstance(found, dict) else None
            what = f"{key}.kind must be {_listed(kinds)}, not {_shown(kind)}"
            return ValueFault((*path, "kind"), what, _did_you_mean(_near(kind, kinds)))
        case "value_error" | "assertion_error":
            message = str(details.get("ctx", {}).get("error", details["msg"]))
            named = _named_in(message, path, schema)
            return ValueFault(path, f"{key}: {message}" if key else message, others=named)
        case _:
            what = f"{key or 'a recipe'} must be {_expected(place.expects)}, not {_shown(found)}"
            return ValueFault(path, what, _value_hint(found, place.expects))


def _meaning(place: _Place) -> str:
    """The first sentence of the field's description."""
    field = place.section.model_fields.get(str(place.path[-1])) if place.section else None
    text = " ".join((field.description or "").split()) if field else ""
    return f": {re.split(r'[.:;] |[.:;]$', text)[0]}" if text else ""


def _keys(section: type[BaseModel] | None) -> list[str]:
    return list(section.model_fields) if section else []


def _near(word: object, words: Sequence[str]) -> str | None:
    # Long words cost time and have no near ones.
    if not isinstance(word, str) or len(word) > 60:
        return None
    for spelled in (word, word.lower().replace("-", "_")):
        if near := difflib.get_close_matches(spelled, words, n=1, cutoff=0.6):
            return near[0]
    return None


def _did_you_mean(word: str | None) -> str:
    return f"did you mean: {word}" if word else ""


def _unknown_key_hint(path: Path, section: type[BaseModel], schema: type[BaseModel]) -> str:
    if now := RENAMED.get(dotted(path)):
        return f"it is called {now} now"
    key, known = str(path[-1]), _all_keys(schema)
    here = tuple(part for part in path if isinstance(part, str))
    if kinds := list(dict.fromkeys(kind for other in known.get(here, ()) for kind in kinds_of(other))):
        return f"{key} goes with kind: {_listed(kinds)}; here there are {', '.join(_keys(section))}"
    elsewhere = [dotted(found) for found in known if found[-1] == key]
    near = _near(key, _keys(section))
    if near and not elsewhere:
        return _did_you_mean(near)
    if near and elsewhere:
        return f"did you mean: {near} (or {elsewhere[0]})"
    if elsewhere:
        return f"did you mean: {' or '.join(elsewhere[:3])}"
    if "." in key:
        return "dots are for --set on the command line: in a file, indent the key under its section"
    return f"its keys: {', '.join(_keys(section))}"


@cache
def _all_keys(schema: type[BaseModel]) -> dict[Path, list[type[BaseModel]]]:
    """Every key there is and the sections that have it: walked once, for thousands of faults may ask."""
    found: dict[Path, list[type[BaseModel]]] = {}
    for path, section in _keys_below(schema, ()):
        found.setdefault(path, []).append(section)
    return found


def _keys_below(section: type[BaseModel], path: Path) -> Iterator[tuple[Path, type[BaseModel]]]:
    for name, field in section.model_fields.items():
        yield (*path, name), section
        for option in _type(field.annotation).options:
            if isinstance(option, type) and issubclass(option, BaseModel):
                yield from _keys_below(option, (*path, name))


def _named_in(message: str, path: Path, schema: type[BaseModel]) -> tuple[Path, ...]:
    """The keys that a message names, below the section that it is about."""
    known = _all_keys(schema)
    plain = tuple(part for part in path if isinstance(part, str))
    words = [tuple(word.rstrip(".").split(".")) for word in re.findall(r"[a-z_][a-z_.]*", message)]
    return tuple((*path, *parts) for parts in words if (*plain, *parts) in known)


def _kinds(declared: _Type) -> list[str]:
    sections = [option for option in declared.options if isinstance(option, type) and issubclass(option, BaseModel)]
    return [kind for section in sections for kind in kinds_of(section)]


def _listed(words: Sequence[object], last: str = "or") -> str:
    shown = [str(word) for word in words]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def _shown(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text '{shortened(value)}'"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
        case _:
            return str(value)


def _expected(declared: _Type) -> str:
    if declared.by_kind:
        words = [f"a mapping with kind: {_listed(_kinds(declared))}"]
    else:
        words = [_option_words(option, declared) for option in declared.options]
    return _listed([*words, "null"] if declared.nullable else words)


def _option_words(option: object, declared: _Type) -> str:
    arguments = get_args(option)
    if get_origin(option) is Literal:
        return _listed(arguments)
    if get_origin(option) is list:
        return f"a list ({_expected(_type(arguments[0]))} each)"
    if get_origin(option) is tuple:
        return f"a list of {len(arguments)} ({_expected(_type(arguments[0]))} each)"
    if get_origin(option) is dict:
        return "a mapping of text to text"
    if isinstance(option, type) and issubclass(option, BaseModel):
        needed = [name for name, field in option.model_fields.items() if field.is_required()]
        if needed == ["kind"]:
            return f"a mapping with kind: {_listed(kinds_of(option))}"
        return f"a mapping with {_listed(needed, 'and')}" if needed else "a mapping"
    if option is str:
        return declared.title or ("text" + _limit_words(declared.limits))
    if option is bool:
        return "true or false"
    return ("a whole number" if option is int else "a number") + _limit_words(declared.limits)


def _limit_words(limits: Sequence[object]) -> str:
    words: list[str] = []
    for name, word in (("gt", "above"), ("ge", "of at least"), ("lt", "below"), ("le", "at most")):
        words += [f"{word} {getattr(limit, name):g}" for limit in limits if getattr(limit, name, None) is not None]
    words += [f"of at most {limit.max_length} characters" for limit in limits if hasattr(limit, "max_length")]  # pyright: ignore[reportAttributeAccessIssue]
    return " " + " and ".join(words) if words else ""


def _value_hint(found: object, declared: _Type) -> str:
    options = declared.options
    if declared.by_kind and isinstance(found, str):
        kind = _near(found, _kinds(declared))
        return f"write {{kind: {kind}}}" if kind else ""
    if isinstance(found, float) and int in options and found.is_integer():
        return f"write {int(found)}"
    if isinstance(found, str):
        return _text_hint(found, options)
    if str in options and isinstance(found, (bool, int, float)):
        return "put it in quotes to make it text"
    return ""


def _text_hint(found: str, options: Sequence[object]) -> str:
    choices = [str(word) for option in options if get_origin(option) is Literal for word in get_args(option)]
    if choices:
        return _did_you_mean(_near(found, choices))
    if bool in options and found.lower() in ("yes", "no", "on", "off", "true", "false"):
        return f"write {'true' if found.lower() in ('yes', 'on', 'true') else 'false'}"
    if int in options or float in options:
        if isinstance(plain_scalar(found), (int, float)):
            return "leave the quotes out"
        digits = found.replace("_", "").replace(",", "")
        if digits != found and isinstance(plain_scalar(digits), (int, float)):
            return f"write {digits}"
    return ""
