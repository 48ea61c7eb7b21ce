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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nmt.corpus.tokenizer import Tokenizer, from_bytes
from nmt.durable import write_file
from nmt.errors import ModelError, UsageError
from nmt.model_header import DAMAGED, FORMAT, KEY, NEEDS, metadata_of, read_whole, recipe_of, short
from nmt.models.build import build_model
from nmt.models.contract import Seq2Seq
from nmt.models.meta import Unfilled, on_meta
from nmt.recipe import Recipe

MAX_TOKENIZER = 256 << 20

_SIDES = ("src", "tgt")
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
    write_file(path, safetensors.torch.save(tensors, metadata={KEY: text}))


def read_model(path: Path) -> ModelFile:
    """The model at `path`, checked through and through; holds the file twice for a moment.

    ModelError, with what is wrong and what to do, for a file that is missing, cut, damaged, foreign, of a newer nmt, or
    whose tensors are not those of its recipe; EnvironmentFault where we may not read.
    """
    data = read_whole(path)
    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as fault:
        raise ModelError(f"{path}: damaged: {fault}", DAMAGED) from fault
    metadata = metadata_of(path, data)
    del data
    if _checksum(tensors) != metadata.tensors:
        raise ModelError(f"{path}: damaged: its tensors have changed since they were written", DAMAGED)
    recipe = recipe_of(path, metadata.recipe)
    src, tgt = (_tokenizer(path, tensors, side, getattr(metadata.tokenizers, side)) for side in _SIDES)
    weights = {name: tensor for name, tensor in tensors.items() if name not in map(_tokenizer_name, _SIDES)}
    _check_weights(path, weights, _outline(path, recipe, src, tgt), DAMAGED)
    return ModelFile(recipe, weights, src, tgt, metadata.lineage)


def build(model_file: ModelFile, device: torch.device | str = "cpu") -> Seq2Seq:
    """The model itself on a device, in evaluation mode, computing in the type of the recipe's compute.dtype."""
    with torch.device(device), Unfilled():
        model = build_model(model_file.recipe.model, model_file.src_tokenizer.n_ids, model_file.tgt_tokenizer.n_ids)
    own = _expected(model)
    with torch.no_grad():
        for name, weight in model_file.weights.items():
            own[name].copy_(weight)
    # What training writes names the type that it had; one that says auto was made elsewhere.
    types = {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16}
    model.compute_dtype = types[model_file.recipe.compute.dtype]
    return model.eval()


def check_vocabularies(path: Path, first: ModelFile, other_path: Path, other: ModelFile) -> None:
    """Raises UsageError where two files cut text differently, or number its pieces differently."""
    differing = [
        side
        for side, one, two in (
            ("source", first.src_tokenizer, other.src_tokenizer),
            ("target", first.tgt_tokenizer, other.tgt_tokenizer),
        )
        if one.to_bytes() != two.to_bytes()
    ]
    if differing:
        raise UsageError(
            f"{other_path}: its {' and '.join(differing)} vocabulary is not that of {path}",
            "the models of an ensemble are trained with the same corpus and tokenizer sections",
        )


# --- reading ----------------------------------------------------------------------------------------------------------


def _tokenizer_name(side: str) -> str:
    return f"tokenizer.{side}"


def _as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _tokenizer(path: Path, tensors: Mapping[str, Tensor], side: str, sha256: str) -> Tokenizer:
    name = _tokenizer_name(side)
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != torch.uint8 or tensor.dim() != 1 or not 0 < len(tensor) <= MAX_TOKENIZER:
        raise ModelError(f"{path}: damaged: {name} is missing or no tensor of bytes", DAMAGED)
    data = tensor.numpy().tobytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError(f"{path}: damaged: {name} is not the tokenizer this model was trained with", DAMAGED)
    try:
        return from_bytes(data)
    except ModelError as fault:
        raise ModelError(f"{path}: {name}: {fault.what}", fault.hint or DAMAGED) from fault


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
        with on_meta():
            return build_model(recipe.model, src.n_ids, tgt.n_ids)
    except (RuntimeError, OverflowError, TypeError) as fault:  # what torch says to sizes beyond 2^63
        raise ModelError(f"{path}: its recipe asks for sizes that no machine has", DAMAGED) from fault


def _expected(model: Seq2Seq) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, tied ones once."""
    kept = model.state_dict(keep_vars=True)
    once = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    return {name: tensor for name, tensor in kept.items() if name in once}


def _check_weights(path: Path, weights: Mapping[str, Tensor], outline: Seq2Seq, hint: str) -> None:
    """ModelError with the first five differences between the weights and the model, and how many there are."""
    expected = _expected(outline)
    faults = [f"{name} is missing" for name in expected if name not in weights]
    faults += [f"{short(name)} is none of this model's" for name in weights if name not in expected]
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
