"""The header of a model file: what the model is, read without its tensors and without torch.

model_file.py says what a file holds. Nothing in it can be trusted: sizes are compared with the file before anything is
allocated, and nothing is evaluated.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nmt.durable import refusals
from nmt.errors import EnvironmentFault, ModelError
from nmt.recipe import Recipe
from nmt.recipe_section import with_new_names

FORMAT = 1
NEEDS = "0.1.0"
"""The first nmt that reads this format: what a reader of an older one is told to get."""

MAX_HEADER = 16 << 20
"""Bytes of the header: recipe, lineage and a line a tensor need some 100 KB."""

KEY = "nmt"
_DTYPES = {"F32": 4, "F64": 8, "F16": 2, "BF16": 2, "U8": 1, "I64": 8, "I32": 4, "BOOL": 1}
DAMAGED = "get the file again from where it came, or write it again from a checkpoint with nmt train"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Tokenizers(BaseModel):
    """Checksums of the two."""

    model_config = ConfigDict(extra="forbid", strict=True)
    src: Sha256
    tgt: Sha256


class Metadata(BaseModel):
    """What the metadata key holds; the recipe is checked by its own schema."""

    model_config = ConfigDict(extra="forbid", strict=True)
    format: int
    needs: str
    recipe: dict[str, Any]
    lineage: dict[str, Any]
    tokenizers: Tokenizers
    tensors: Sha256


@dataclass(frozen=True)
class Header:
    """What a model file says of itself.

    size     bytes of the file
    tensors  type (F32, U8, ...) and shape of each tensor, by name
    """

    size: int
    metadata: Metadata
    recipe: Recipe
    tensors: dict[str, tuple[str, tuple[int, ...]]]


def read_header(path: Path) -> Header:
    """What stands at the beginning of the file, without its tensors: a few kilobytes of any model.

    Errors as for `read_whole`, and ModelError for a file that is foreign, of a newer nmt, or says nothing sound;
    tensors that have changed are not noticed.
    """
    with _opened(path) as (_, first, header, declared):
        metadata = metadata_of(path, first)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        shapes = {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in tensors.items()}
        return Header(declared, metadata, recipe_of(path, metadata.recipe), shapes)


def read_whole(path: Path) -> bytes:
    """All bytes of a safetensors file, after the sizes that its header declares have been compared with its own.

    ModelError for a file that is missing, cut or not sound, EnvironmentFault where we may not read.
    """
    with _opened(path) as (file, first, _, declared):
        data = first + file.read(declared)
    if len(data) != declared:
        raise ModelError(f"{path} changed while it was read", "wait until its writer is done")
    return data


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, bytes, dict[str, Any], int]]:
    """The file after its header, the bytes up to there, the header itself, and the bytes that it declares in all."""
    try:
        with refusals(path, "be read"):
            # Without O_NONBLOCK a named pipe in the file's place would hang us.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except EnvironmentFault as refusal:
        if isinstance(refusal.__cause__, FileNotFoundError | NotADirectoryError):
            hint = "train a model: nmt train RECIPE; or name another file"
            raise ModelError(f"{path} does not exist", hint) from None
        raise
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise ModelError(f"{path} is not a plain file", "name a model.safetensors")
    with open(fd, "rb") as file, refusals(path, "be read"):
        first = file.read(8)
        n_header = int.from_bytes(first, "little")
        if len(first) < 8 or not 2 <= n_header <= MAX_HEADER or 8 + n_header > status.st_size:
            raise ModelError(
                f"{path}: not a model file, or cut: {status.st_size:,} bytes that declare a header of {n_header:,}",
                DAMAGED,
            )
        text = file.read(n_header)
        header = _header(path, text)
        declared = 8 + n_header + _data_size(path, header)
        if declared != status.st_size:
            raise ModelError(f"{path}: damaged: {status.st_size:,} bytes that declare {declared:,}", DAMAGED)
        yield file, first + text, header, declared


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _json(path: Path, text: bytes | str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(
            text.decode() if isinstance(text, bytes) else text,
            object_pairs_hook=_no_doubles,
            parse_constant=_no_constant,
        )
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair is no text, though JSON can spell it
    except (ValueError, RecursionError) as fault:
        raise ModelError(f"{path}: damaged: its {what} is not JSON: {fault}", DAMAGED) from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: damaged: its {what} is no JSON object", DAMAGED)
    return found


def _header(path: Path, header: bytes) -> dict[str, Any]:
    return _json(path, header, "header")


def _data_size(path: Path, header: Mapping[str, Any]) -> int:
    """Bytes after the header, as its tensors declare them; each must need what its type and shape say."""
    end = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        match entry:
            case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(stop)]} if (
                len(entry) == 3
                and dtype in _DTYPES
                and len(shape) <= 8
                and all(type(n) is int and n >= 0 for n in shape)
            ):
                size = _DTYPES[dtype]
                for n in shape:
                    size *= n
                if not 0 <= begin <= stop or stop - begin != size:
                    raise ModelError(f"{path}: damaged: tensor {short(name)} lies at {begin} to {stop}", DAMAGED)
                end = max(end, stop)
            case _:
                raise ModelError(f"{path}: damaged: the header says nothing sound of {short(name)}", DAMAGED)
    return end


def short(text: str) -> str:
    """A name from a file, so that it can stand in a message."""
    return ascii(text[:80])[1:-1]


def metadata_of(path: Path, data: bytes) -> Metadata:
    """What the metadata key holds, in a file that begins with these bytes: header and all."""
    header = _header(path, data[8 : 8 + int.from_bytes(data[:8], "little")])
    held = header.get("__metadata__")
    if not isinstance(held, dict) or held.keys() != {KEY} or not isinstance(held[KEY], str):
        raise ModelError(f"{path}: a safetensors file, but not one of nmt", "name a model.safetensors that nmt wrote")
    found = _json(path, held[KEY], "metadata")
    newer = found.get("format")
    if type(newer) is int and newer > FORMAT:
        needs = short(str(found.get("needs")))
        raise ModelError(
            f"{path}: has format {newer}, this nmt reads up to {FORMAT}: it needs nmt >= {needs}", "install a newer nmt"
        )
    try:
        metadata = Metadata.model_validate(found)
    except ValidationError as fault:
        raise ModelError(f"{path}: damaged: metadata: {_first(fault)}", DAMAGED) from None
    if metadata.format != FORMAT:
        raise ModelError(f"{path}: damaged: there is no format {metadata.format}", DAMAGED)
    return metadata


def _first(fault: ValidationError) -> str:
    errors = fault.errors(include_url=False, include_input=False)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{short('.'.join(map(str, errors[0]['loc'])))}: {errors[0]['msg']}{more}"


def recipe_of(path: Path, values: dict[str, Any]) -> Recipe:
    """The recipe that the metadata hold."""
    try:
        return Recipe.model_validate_json(json.dumps(with_new_names(values)))
    except ValidationError as fault:
        raise ModelError(f"{path}: its recipe is not one of this nmt: {_first(fault)}", DAMAGED) from None
