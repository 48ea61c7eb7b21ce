"""Prepared text on disk: sentence pairs as ids and as text, in safetensors files that are read without copying.

A shard holds eight tensors of one dimension. For each side: `*_tokens`, the ids of all sentences one after the other,
without BOS and EOS (uint16 where the vocabulary has at most 65,536 ids, else int32); `*_offsets`, int64, one more than
there are sentences: sentence i is tokens[offsets[i]:offsets[i + 1]]; `*_text`, the same sentences as UTF-8, and
`*_text_offsets`.
"""

import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nmt.corpus.tokenizer import Tokenizer, from_bytes
from nmt.durable import verify_folder
from nmt.errors import DataError

Ids = NDArray[np.uint16] | NDArray[np.int32]
Offsets = NDArray[np.int64]

SETTINGS = "prepared.json"
"""File of a prepared folder that says what it was made from and what was dropped; manifest.json beside it holds the
checksums.
"""

_SIDES = ("src", "tgt")
_HEADER_MAX = 1 << 20
_DTYPES = {"I64": np.int64, "I32": np.int32, "U16": np.uint16, "U8": np.uint8}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


class ShardWriter:
    """Collects sentence pairs in files of a work folder, a file a tensor, and writes them as one safetensors file."""

    def __init__(self, folder: Path, name: str, n_ids: tuple[int, int]) -> None:
        self._columns: dict[str, _Column] = {}
        for side, n in zip(_SIDES, n_ids, strict=True):
            ids = np.uint16 if n <= 1 << 16 else np.int32
            for tensor, dtype in (("tokens", ids), ("text", np.uint8)):
                self._columns[f"{side}_{tensor}"] = _Column(folder / f"{name}.{side}_{tensor}", dtype)
            for tensor in ("offsets", "text_offsets"):
                column = _Column(folder / f"{name}.{side}_{tensor}", np.int64)
                column.add(np.zeros(1, np.int64))
                self._columns[f"{side}_{tensor}"] = column

    def add(self, side: int, ids: NDArray[np.integer], lengths: Offsets, lines: Sequence[str]) -> None:
        """Sentences of one side (0 source, 1 target): their ids one after the other, the number of ids of each, their
        text.
        """
        texts = [line.encode() for line in lines]
        self._add(f"{_SIDES[side]}_tokens", f"{_SIDES[side]}_offsets", ids, lengths)
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        self._add(
            f"{_SIDES[side]}_text", f"{_SIDES[side]}_text_offsets", np.frombuffer(b"".join(texts), np.uint8), sizes
        )

    def _add(self, name: str, offsets: str, data: NDArray[Any], sizes: Offsets) -> None:
        self._columns[offsets].add(self._columns[name].length + np.cumsum(sizes))
        self._columns[name].add(data)

    def close(self) -> None:
        """No more will be added: closes the work files."""
        for column in self._columns.values():
            column.close()

    def write(self, path: Path) -> None:
        """The shard, at `path`, once closed; the work files are removed. OSError where the disk refuses."""
        # Wide types first: with the header padded to 8 bytes, every tensor then starts at a multiple of its item size.
        columns = sorted(self._columns.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
        header: dict[str, Any] = {}
        end = 0
        for name, column in columns:
            start, end = end, end + column.length * column.dtype.itemsize
            header[name] = {"dtype": _NAMES[column.dtype], "shape": [column.length], "data_offsets": [start, end]}
        head = json.dumps(header, separators=(",", ":")).encode()
        head += b" " * (-len(head) % 8)
        with path.open("wb") as file:
            file.write(len(head).to_bytes(8, "little") + head)
            for _, column in columns:
                column.move_into(file)


class _Column:
    """One tensor that grows in a file."""

    def __init__(self, path: Path, dtype: type[np.generic]) -> None:
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._path = path
        self._file = path.open("wb")

    def add(self, data: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(data, self.dtype.newbyteorder("<")).data)
        self.length += len(data)

    def close(self) -> None:
        self._file.close()

    def move_into(self, file: BinaryIO) -> None:
        with self._path.open("rb") as mine:
            shutil.copyfileobj(mine, file, 1 << 20)
        self._path.unlink()


def _map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file as views of a read-only map; DataError unless its header is in order."""

    def damaged(why: str) -> DataError:
        return DataError(f"{path} is damaged: {why}", "remove its folder; it is then prepared again")

    if path.stat().st_size < 8:
        raise damaged("it has no header")
    whole = np.memmap(path, np.uint8, mode="r")
    size = int.from_bytes(whole[:8].tobytes(), "little")
    if size > min(_HEADER_MAX, len(whole) - 8):
        raise damaged("its header is longer than itself")
    try:
        header = json.loads(whole[8 : 8 + size].tobytes().decode())
        entries = {
            name: (_DTYPES[entry["dtype"]], [*map(int, entry["shape"])], [*map(int, entry["data_offsets"])])
            for name, entry in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged("its header makes no sense") from None
    data = whole[8 + size :]
    tensors: dict[str, NDArray[Any]] = {}
    end = 0
    for name, (dtype, shape, offsets) in sorted(entries.items(), key=lambda item: item[1][2]):
        if len(shape) != 1 or len(offsets) != 2 or offsets[0] != end or offsets[1] - end != shape[0] * dtype().itemsize:
            raise damaged(f"the place of {name} makes no sense")
        start, end = offsets
        if end > len(data) or start > end:
            raise damaged(f"{name} reaches past its end")
        tensors[name] = np.asarray(data[start:end]).view(dtype)
    if end != len(data):
        raise damaged("it is longer than its tensors")
    return tensors


class Shard:
    """Sentence pairs of one corpus, mapped from a file: the arrays are views that the system loads as they are touched.

    `src` and `tgt` are (tokens, offsets) as described at the top of this file. `weight` is how many times an epoch goes
    through the corpus. DataError where the file is damaged.
    """

    def __init__(self, path: Path, weight: float = 1.0) -> None:
        self.weight = weight
        tensors = _map_tensors(path)
        try:
            self.src: tuple[Ids, Offsets] = (tensors["src_tokens"], tensors["src_offsets"])
            self.tgt: tuple[Ids, Offsets] = (tensors["tgt_tokens"], tensors["tgt_offsets"])
            self.src_text: tuple[NDArray[np.uint8], Offsets] = (tensors["src_text"], tensors["src_text_offsets"])
            self.tgt_text: tuple[NDArray[np.uint8], Offsets] = (tensors["tgt_text"], tensors["tgt_text_offsets"])
        except KeyError as missing:
            raise DataError(f"{path} is damaged: it has no {missing.args[0]}") from None
        for data, offsets in (self.src, self.tgt, self.src_text, self.tgt_text):
            in_order = len(offsets) == len(self.src[1]) > 0 and offsets[0] == 0 and offsets[-1] == len(data)
            if offsets.dtype != np.int64 or not in_order or not bool(np.all(offsets[1:] >= offsets[:-1])):
                raise DataError(f"{path} is damaged: its offsets make no sense")

    def __len__(self) -> int:
        """Number of sentence pairs."""
        return len(self.src[1]) - 1

    def src_ids(self, i: int) -> Ids:
        """(S,) ids of source sentence i, without EOS: a view, not to be written to."""
        tokens, offsets = self.src
        return tokens[offsets[i] : offsets[i + 1]]

    def tgt_ids(self, i: int) -> Ids:
        """(T,) ids of target sentence i, without BOS and EOS: a view, not to be written to."""
        tokens, offsets = self.tgt
        return tokens[offsets[i] : offsets[i + 1]]

    @cached_property
    def src_lengths(self) -> Offsets:
        """(len(self),) int64: pieces of each source sentence, without EOS."""
        return np.diff(self.src[1])

    @cached_property
    def tgt_lengths(self) -> Offsets:
        """(len(self),) int64: pieces of each target sentence, without EOS."""
        return np.diff(self.tgt[1])

    def src_line(self, i: int) -> str:
        """Source sentence i as text, as the line rule gave it."""
        return _line(self.src_text, i)

    def tgt_line(self, i: int) -> str:
        """Target sentence i as text, as the line rule gave it."""
        return _line(self.tgt_text, i)

    def src_lines(self) -> list[str]:
        """All source sentences as text."""
        return [self.src_line(i) for i in range(len(self))]

    def tgt_lines(self) -> list[str]:
        """All target sentences as text: references for BLEU."""
        return [self.tgt_line(i) for i in range(len(self))]


def _line(text: tuple[NDArray[np.uint8], Offsets], i: int) -> str:
    data, offsets = text
    return data[offsets[i] : offsets[i + 1]].tobytes().decode()


class Prepared:
    """A folder that `nmt prepare` made, opened: tokenizers, and a shard for each training corpus, for valid and for
    test.

    `manifest` holds what it was made from (`settings`), what was read and dropped (`counts`), and under `files` the
    size and sha256 of each file. `weights` are the training corpora's, in order: they are the recipe's business and not
    in the folder. DataError where any file is missing or damaged: every byte is read and compared once, here.
    """

    def __init__(self, folder: Path, weights: Sequence[float] = ()) -> None:
        self.folder = folder
        hint = "remove that folder; it is then prepared again"
        files = verify_folder(folder, DataError, hint)["files"]
        self.manifest: dict[str, Any] = {**json.loads((folder / SETTINGS).read_bytes()), "files": files}
        n_train = sum(name.startswith("train-") for name in files)
        assert len(weights) in (0, n_train)
        self.tokenizers: tuple[Tokenizer, Tokenizer] = _tokenizers(folder)
        self.train: list[Shard] = [
            Shard(folder / f"train-{i}.safetensors", weight) for i, weight in enumerate(weights or [1.0] * n_train)
        ]
        self.valid: Shard = Shard(folder / "valid.safetensors")
        self.test: Shard | None = Shard(folder / "test.safetensors") if "test.safetensors" in files else None


def _tokenizers(folder: Path) -> tuple[Tokenizer, Tokenizer]:
    src, tgt = ((folder / f"{side}.tokenizer").read_bytes() for side in _SIDES)
    first = from_bytes(src)
    return first, first if src == tgt else from_bytes(tgt)
