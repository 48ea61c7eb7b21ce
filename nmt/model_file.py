"""The one file a model is: weights, tokenizers, recipe and lineage in a safetensors file.

Tensors: the model's parameters under their names, tied ones once, and both tokenizers as bytes (`tokenizer.src`,
`tokenizer.tgt`). One metadata key, `nmt`, holds sorted JSON: format, the nmt it needs, recipe, lineage, and checksums
of the tokenizers and of all tensors. No clock, host or path of ours goes in, so equal models are equal files.

A file may come from anyone: sizes are compared with the file before anything is allocated, nothing in it is evaluated,
and names, shapes and types must be those of the model that its recipe builds. It is read whole, never mapped (a mapped
file that is cut meanwhile kills the process), and written beside and renamed.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from nmt.corpus.tokenizer import Tokenizer, from_bytes
from nmt.durable import refusals, write_file
from nmt.errors import EnvironmentFault, ModelError
from nmt.models.build import build_model
from nmt.models.contract import Seq2Seq
from nmt.recipe import Recipe
from nmt.recipe_section import with_new_names

FORMAT = 1
NEEDS = "0.1.0"
"""The first nmt that reads this format: what a reader of an older one is told to get."""

MAX_HEADER = 16 << 20
"""Bytes of the header: recipe, lineage and a line a tensor need some 100 KB."""
MAX_TOKENIZER = 256 << 20

_KEY = "nmt"
_SIDES = ("src", "tgt")
_DTYPES = {"F32": 4, "F64": 8, "F16": 2, "BF16": 2, "U8": 1, "I64": 8, "I32": 4, "BOOL": 1}
_DAMAGED = "get the file again from where it came, or write it again from a checkpoint with nmt train"
_SHOWN = 5


@dataclass(frozen=True)
class ModelFile:
    """A trained translator with all it needs.

    weights  parameters by name, CPU tensors as the model's own (float32); tied parameters stand under their first name
    lineage  JSON values: hashes of the data, parent model, versions, scores with their signatures
    """

    recipe: Recipe
    weights: dict[str, Tensor]
    src_tokenizer: Tokenizer
    tgt_tokenizer: Tokenizer
    lineage: dict[str, Any]


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Tokenizers(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    src: Sha256
    tgt: Sha256


class _Metadata(BaseModel):
    """What the metadata key holds; the recipe is checked by its own schema."""

    model_config = ConfigDict(extra="forbid", strict=True)
    format: int
    needs: str
    recipe: dict[str, Any]
    lineage: dict[str, Any]
    tokenizers: _Tokenizers
    tensors: Sha256


def write_model(path: Path, m: ModelFile) -> None:
    """Puts the model at `path`, whole or not at all, in the place of what was there; equal models give equal bytes.

    `m.weights` may be a `state_dict`: parameters tied to another one are left out. ModelError where the weights are not
    those of the recipe's model or are not finite, EnvironmentFault where the disk refuses.
    """
    tokenizers = {"src": m.src_tokenizer.to_bytes(), "tgt": m.tgt_tokenizer.to_bytes()}
    outline = _outline(path, m.recipe, m.src_tokenizer, m.tgt_tokenizer)
    ties = {name for name, _ in outline.named_parameters(remove_duplicate=False)} - _expected(outline).keys()
    weights = {name: weight.detach().cpu().contiguous() for name, weight in m.weights.items() if name not in ties}
    _check_weights(path, weights, outline, "this cannot be written: it is a fault of the program that trained it")
    tensors = weights | {_tokenizer_name(side): _as_tensor(data) for side, data in tokenizers.items()}
    metadata = {
        "format": FORMAT,
        "needs": NEEDS,
        "recipe": m.recipe.model_dump(mode="json"),
        "lineage": m.lineage,
        "tokenizers": {side: hashlib.sha256(data).hexdigest() for side, data in tokenizers.items()},
        "tensors": _checksum(tensors),
    }
    text = json.dumps(metadata, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_file(path, safetensors.torch.save(tensors, metadata={_KEY: text}))


def read_model(path: Path) -> ModelFile:
    """The model at `path`, checked through and through; holds the file twice for a moment.

    ModelError, with what is wrong and what to do, for a file that is missing, cut, damaged, foreign, of a newer nmt, or
    whose tensors are not those of its recipe; EnvironmentFault where we may not read.
    """
    data = read_whole(path)
    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as fault:
        raise ModelError(f"{path}: damaged: {fault}", _DAMAGED) from fault
    metadata = _metadata(path, data)
    del data
    if _checksum(tensors) != metadata.tensors:
        raise ModelError(f"{path}: damaged: its tensors have changed since they were written", _DAMAGED)
    recipe = _recipe(path, metadata.recipe)
    src, tgt = (_tokenizer(path, tensors, side, getattr(metadata.tokenizers, side)) for side in _SIDES)
    weights = {name: tensor for name, tensor in tensors.items() if name not in map(_tokenizer_name, _SIDES)}
    _check_weights(path, weights, _outline(path, recipe, src, tgt), _DAMAGED)
    return ModelFile(recipe, weights, src, tgt, metadata.lineage)


def build(model_file: ModelFile, device: torch.device | str = "cpu") -> Seq2Seq:
    """The model itself on a device, in evaluation mode, computing in the type of the recipe's compute.dtype."""
    with torch.device(device):
        model = build_model(model_file.recipe.model, model_file.src_tokenizer.n_ids, model_file.tgt_tokenizer.n_ids)
    own = _expected(model)
    with torch.no_grad():
        for name, weight in model_file.weights.items():
            own[name].copy_(weight)
    model.compute_dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[model_file.recipe.compute.dtype]
    return model.eval()


# --- reading ----------------------------------------------------------------------------------------------------------


def read_whole(path: Path) -> bytes:
    """All bytes of a safetensors file, after the sizes that its header declares have been compared with its own.

    ModelError for a file that is missing, cut or not sound, EnvironmentFault where we may not read.
    """
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
                _DAMAGED,
            )
        header = file.read(n_header)
        declared = 8 + n_header + _data_size(path, _header(path, header))
        if declared != status.st_size:
            raise ModelError(f"{path}: damaged: {status.st_size:,} bytes that declare {declared:,}", _DAMAGED)
        data = first + header + file.read(declared)
    if len(data) != declared:
        raise ModelError(f"{path} changed while it was read", "wait until its writer is done")
    return data


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
        raise ModelError(f"{path}: damaged: its {what} is not JSON: {fault}", _DAMAGED) from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: damaged: its {what} is no JSON object", _DAMAGED)
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
                    raise ModelError(f"{path}: damaged: tensor {_short(name)} lies at {begin} to {stop}", _DAMAGED)
                end = max(end, stop)
            case _:
                raise ModelError(f"{path}: damaged: the header says nothing sound of {_short(name)}", _DAMAGED)
    return end


def _short(text: str) -> str:
    """A name from a file, so that it can stand in a message."""
    return ascii(text[:80])[1:-1]


def _metadata(path: Path, data: bytes) -> _Metadata:
    header = _header(path, data[8 : 8 + int.from_bytes(data[:8], "little")])
    held = header.get("__metadata__")
    if not isinstance(held, dict) or held.keys() != {_KEY} or not isinstance(held[_KEY], str):
        raise ModelError(f"{path}: a safetensors file, but not one of nmt", "name a model.safetensors that nmt wrote")
    found = _json(path, held[_KEY], "metadata")
    newer = found.get("format")
    if type(newer) is int and newer > FORMAT:
        needs = _short(str(found.get("needs")))
        raise ModelError(
            f"{path}: has format {newer}, this nmt reads up to {FORMAT}: it needs nmt >= {needs}", "install a newer nmt"
        )
    try:
        metadata = _Metadata.model_validate(found)
    except ValidationError as fault:
        raise ModelError(f"{path}: damaged: metadata: {_first(fault)}", _DAMAGED) from None
    if metadata.format != FORMAT:
        raise ModelError(f"{path}: damaged: there is no format {metadata.format}", _DAMAGED)
    return metadata


def _first(fault: ValidationError) -> str:
    errors = fault.errors(include_url=False, include_input=False)
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{_short('.'.join(map(str, errors[0]['loc'])))}: {errors[0]['msg']}{more}"


def _recipe(path: Path, values: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate_json(json.dumps(with_new_names(values)))
    except ValidationError as fault:
        raise ModelError(f"{path}: its recipe is not one of this nmt: {_first(fault)}", _DAMAGED) from None


def _tokenizer_name(side: str) -> str:
    return f"tokenizer.{side}"


def _as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _tokenizer(path: Path, tensors: Mapping[str, Tensor], side: str, sha256: str) -> Tokenizer:
    name = _tokenizer_name(side)
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != torch.uint8 or tensor.dim() != 1 or not 0 < len(tensor) <= MAX_TOKENIZER:
        raise ModelError(f"{path}: damaged: {name} is missing or no tensor of bytes", _DAMAGED)
    data = tensor.numpy().tobytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError(f"{path}: damaged: {name} is not the tokenizer this model was trained with", _DAMAGED)
    try:
        return from_bytes(data)
    except ModelError as fault:
        raise ModelError(f"{path}: {name}: {fault.what}", fault.hint or _DAMAGED) from fault


# --- checking ---------------------------------------------------------------------------------------------------------


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of names, types, shapes and bytes, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        if tensor.numel():
            digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _outline(path: Path, recipe: Recipe, src: Tokenizer, tgt: Tokenizer) -> Seq2Seq:
    """The recipe's model on the meta device: names, shapes and types without the numbers."""
    try:
        with torch.device("meta"):
            return build_model(recipe.model, src.n_ids, tgt.n_ids)
    except (RuntimeError, OverflowError, TypeError) as fault:  # what torch says to sizes beyond 2^63
        raise ModelError(f"{path}: its recipe asks for sizes that no machine has", _DAMAGED) from fault


def _expected(model: Seq2Seq) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, tied ones once."""
    kept = model.state_dict(keep_vars=True)
    once = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    return {name: tensor for name, tensor in kept.items() if name in once}


def _check_weights(path: Path, weights: Mapping[str, Tensor], outline: Seq2Seq, hint: str) -> None:
    """ModelError with the first five differences between the weights and the model, and how many there are."""
    expected = _expected(outline)
    faults = [f"{name} is missing" for name in expected if name not in weights]
    faults += [f"{_short(name)} is none of this model's" for name in weights if name not in expected]
    for name, wanted in expected.items():
        found = weights.get(name)
        if found is None:
            continue
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            faults.append(f"{name} is {_form(found)}, not {_form(wanted)}")
        elif found.is_floating_point() and not bool(found.isfinite().all()):
            faults.append(f"{name} holds numbers that are not finite")
    if faults:
        more = f"; {len(faults)} in all" if len(faults) > _SHOWN else ""
        raise ModelError(f"{path}: not the model of its recipe: {'; '.join(faults[:_SHOWN])}{more}", hint)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {'x'.join(map(str, tensor.shape)) or 'number'}"
