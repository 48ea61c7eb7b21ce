"""A folder of Hugging Face's Marian format on disk: its JSON files, its tensors and its two sides of text, checked.

Nothing but plain JSON, safetensors and sentencepiece models is read, by fixed names; no code of the folder is run.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from nmt.corpus.tokenizer import MAX_IDS, MarianPieces
from nmt.durable import refusals
from nmt.errors import ModelError
from nmt.model_header import read_whole

ACTIVATIONS = {"relu": "relu", "swish": "swish", "silu": "swish", "gelu": "gelu"}
"""Their names of what stands in a feed-forward layer, and ours."""
WHOLE = "get the whole folder again from where it came"
_MAX_JSON = 64 << 20


class _Read(BaseModel):
    """A JSON file of the folder; keys that say nothing to us are left alone."""

    model_config = ConfigDict(strict=True, frozen=True)


class Config(_Read):
    """What config.json says of the model; defaults are those of transformers.MarianConfig."""

    model_type: Literal["marian"]
    vocab_size: int = Field(gt=0, lt=MAX_IDS)
    decoder_vocab_size: int | None = Field(default=None, gt=0, lt=MAX_IDS)
    d_model: int = Field(gt=0)
    encoder_layers: int = Field(gt=0)
    decoder_layers: int = Field(gt=0)
    encoder_attention_heads: int = Field(gt=0)
    decoder_attention_heads: int = Field(gt=0)
    encoder_ffn_dim: int = Field(gt=0)
    decoder_ffn_dim: int = Field(gt=0)
    activation_function: str
    max_position_embeddings: int = Field(default=1024, gt=1)
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    scale_embedding: bool = False
    share_encoder_decoder_embeddings: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int = Field(ge=0)
    eos_token_id: int = Field(ge=0)
    decoder_start_token_id: int = Field(ge=0)
    normalize_before: bool = False
    normalize_embedding: bool = False
    add_final_layer_norm: bool = False

    @property
    def n_tgt(self) -> int:
        """Rows of the target vocabulary."""
        return self.decoder_vocab_size or self.vocab_size


class Generation(_Read):
    """How the folder wants to be searched: generation_config.json, or in older folders config.json."""

    num_beams: int | None = Field(default=None, gt=0)
    length_penalty: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    no_repeat_ngram_size: int | None = Field(default=None, ge=0)
    repetition_penalty: float | None = None
    min_length: int | None = None
    early_stopping: bool | str | None = None
    do_sample: bool | None = None
    bad_words_ids: list[list[int]] | None = None


class TokenizerFile(_Read):
    """What tokenizer_config.json says; a special piece is its text, or an object with its text as `content`."""

    source_lang: str | None = None
    target_lang: str | None = None
    unk_token: str | dict[str, Any] = "<unk>"
    separate_vocabs: bool = False

    @property
    def unknown(self) -> str:
        """The piece for what the vocabulary lacks."""
        return self.unk_token if isinstance(self.unk_token, str) else str(self.unk_token.get("content"))


# --- files ------------------------------------------------------------------------------------------------------------


def _bytes(path: Path, cap: int) -> bytes:
    """A file of the folder, whole."""
    if not path.is_file():
        raise ModelError(f"{path} is missing", WHOLE)
    with refusals(path, "be read"), open(path, "rb") as file:
        data = file.read(cap + 1)
    if len(data) > cap:
        raise ModelError(f"{path} has more than {cap:,} bytes", WHOLE)
    return data


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(path, _MAX_JSON).decode())
    except (ValueError, RecursionError) as fault:
        raise ModelError(f"{path} is not JSON: {fault}", WHOLE) from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} is no JSON object", WHOLE)
    return found


_Kind = TypeVar("_Kind", bound=_Read)


def _checked(path: Path, values: dict[str, Any], kind: type[_Kind]) -> _Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        raise ModelError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}", WHOLE) from None


def read_config(folder: Path) -> Config:
    """config.json; ModelError where it is not that of a Marian model, or of one that kind transformer cannot be."""
    path = folder / "config.json"
    values = _json(path)
    if values.get("model_type") != "marian":
        raise ModelError(
            f"{path}: model_type is {json.dumps(values.get('model_type'))}, not marian",
            "nmt import reads Marian models, such as those of OPUS-MT",
        )
    if isinstance(one := values.get("eos_token_id"), list) and len(one) == 1:
        values["eos_token_id"] = one[0]
    config = _checked(path, values, Config)
    if odd := list(_foreign(config)):
        raise ModelError(f"{path}: {', '.join(odd)}: kind transformer cannot be that", "")
    return config


def _foreign(config: Config) -> Iterator[str]:
    """What a model of kind transformer cannot be, or transformers itself does not compute."""
    for key in ("normalize_before", "normalize_embedding", "add_final_layer_norm"):
        if getattr(config, key):
            yield f"{key} true"
    for one, two in (("encoder_attention_heads", "decoder_attention_heads"), ("encoder_ffn_dim", "decoder_ffn_dim")):
        if getattr(config, one) != getattr(config, two):
            yield f"{one} {getattr(config, one)} beside {two} {getattr(config, two)}"
    if config.activation_function not in ACTIVATIONS:
        yield f"activation_function {config.activation_function}"


def read_tokenizer_file(folder: Path) -> TokenizerFile:
    """tokenizer_config.json."""
    path = folder / "tokenizer_config.json"
    return _checked(path, _json(path), TokenizerFile)


def read_generation(folder: Path, say: Callable[[str], None]) -> Generation:
    """generation_config.json, or in older folders config.json; `say` gets what the recipe's search cannot do."""
    path = folder / "generation_config.json"
    if not path.exists():
        path = folder / "config.json"
    found = _checked(path, _json(path), Generation)
    plain = {"repetition_penalty": 1.0, "min_length": 0, "early_stopping": False, "do_sample": False}
    for key, usual in plain.items():
        value = getattr(found, key)
        if value is not None and value != usual:
            say(f"warning: {path.name}: {key} {value} is left out; nmt translate goes by the recipe's search section")
    return found


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of model.safetensors; pickles are never opened."""
    path = folder / "model.safetensors"
    if not path.is_file():
        for other, hint in (
            ("pytorch_model.bin", "a pickle can run code, so it is not read: have transformers save it as safetensors"),
            ("model.safetensors.index.json", "its weights lie in several files: have transformers save it as one"),
        ):
            if (folder / other).exists():
                raise ModelError(f"{folder} has {other} but no model.safetensors", hint)
        raise ModelError(f"{path} is missing", WHOLE)
    try:
        return safetensors.torch.load(read_whole(path))
    except safetensors.SafetensorError as fault:
        raise ModelError(f"{path}: damaged: {fault}", WHOLE) from None


def file_names(described: TokenizerFile) -> list[str]:
    """The files that the model comes from."""
    names = ["config.json", "model.safetensors", "source.spm", "target.spm", "tokenizer_config.json", "vocab.json"]
    return [*names, "target_vocab.json"] if described.separate_vocabs else names


# --- vocabularies -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """A side's tokenizer, and for each of its ids the row that it has in the folder's weights (V,)."""

    tokenizer: MarianPieces
    rows: Tensor


def read_sides(folder: Path, config: Config, described: TokenizerFile) -> tuple[Side, Side]:
    """Source and target: their sentencepiece models and how the weights number their pieces."""
    shared = config.share_encoder_decoder_embeddings
    if described.separate_vocabs and shared:
        raise ModelError(
            f"{folder}: separate_vocabs in tokenizer_config.json, share_encoder_decoder_embeddings in config.json",
            "one vocabulary cannot be two: " + WHOLE,
        )
    vocabularies = "vocab.json", "target_vocab.json" if described.separate_vocabs else "vocab.json"
    return (
        _side(folder, config, "source.spm", vocabularies[0], config.vocab_size, described),
        _side(folder, config, "target.spm", vocabularies[1], config.n_tgt, described),
    )


def _side(folder: Path, config: Config, model: str, vocabulary: str, n_rows: int, described: TokenizerFile) -> Side:
    path = folder / vocabulary
    ids = _json(path)
    if not all(type(i) is int and 0 <= i < n_rows for i in ids.values()) or len(set(ids.values())) != len(ids):
        raise ModelError(f"{path}: its ids are not all different numbers from 0 to {n_rows - 1:,}", WHOLE)
    if described.unknown not in ids:
        raise ModelError(f"{path} lacks {described.unknown}, the piece for what is unknown", WHOLE)
    pad, eos, unk = config.pad_token_id, config.eos_token_id, ids[described.unknown]
    if len({pad, eos, unk}) < 3 or max(pad, eos, config.decoder_start_token_id) >= n_rows:
        raise ModelError(f"{folder}: pad {pad}, end of sentence {eos} and unknown {unk} are not three ids", WHOLE)
    pieces = {i: piece for piece, i in ids.items()}
    others = [i for i in range(n_rows) if i not in (pad, eos, unk)]
    try:
        tokenizer = MarianPieces(_bytes(folder / model, _MAX_JSON), [pieces.get(i, "") for i in others])
    except ModelError as fault:
        raise ModelError(f"{folder / model}: {fault.what}", WHOLE) from None
    return Side(tokenizer, torch.tensor([pad, unk, config.decoder_start_token_id, eos, *others]))
