"""Text to ids and back: sentencepiece models (bpe, unigram, char), vocabularies of whole words, and what Marian's
models have (marian), as one interface.

In every kind ids 0 to 3 are PAD, UNK, BOS and EOS of `nmt.batch`. `encode` adds no BOS and EOS; `decode` leaves out
PAD, BOS and EOS. corpus/learning.py makes them from text.
"""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import sentencepiece

from nmt.batch import BOS, EOS, PAD, SPECIALS, UNK
from nmt.corpus.drawing import Drawer
from nmt.corpus.moses import MosesWords
from nmt.errors import ModelError

MAX_BYTES = 256 << 20
"""Bytes of the largest tokenizer that is loaded; a sentencepiece model of 64,000 pieces has about 1 MB."""
MAX_IDS = 1 << 24
"""Ids of the largest vocabulary that is loaded."""

THREADS = 1
"""Of sentencepiece: in learning sums over threads would depend on their number, and a million pairs take a minute."""

_FORMAT = 1
_SPACE = "\u2581"
_FEW = 8
"""Lines up to which one call for each is cheaper: a call for several starts a thread, at the price of ten lines."""


class Tokenizer(ABC):
    """Turns lines into ids and ids into lines; `kind` is bpe, unigram, char, word or marian."""

    kind: str

    @property
    @abstractmethod
    def n_ids(self) -> int:
        """Number of ids, special ones included: V."""

    @abstractmethod
    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """The ids of each line, without BOS and EOS; what the vocabulary lacks is UNK."""

    def sample(self, lines: Sequence[str], amount: float, seed: int) -> list[list[int]]:
        """The ids of each line, its pieces drawn at random where the kind can do that; a function of lines and seed."""
        del amount, seed
        return self.encode(lines)

    def code(self, line: str) -> str:
        """What at the beginning of a line speaks of all of it, and so belongs before each part of a long one."""
        del line
        return ""

    @abstractmethod
    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The line each sequence of ids stands for, PAD, BOS and EOS left out."""

    @abstractmethod
    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The piece that each id stands for, special ones by their names in SPECIALS."""

    @abstractmethod
    def to_bytes(self) -> bytes:
        """All of it, so that `from_bytes` gives it back: deterministic, and free of paths, hosts and times."""

    @abstractmethod
    def join(self, pieces: Sequence[str]) -> str:
        """The line these pieces stand for: `decode` for pieces of which some were replaced by other text."""


class SentencePieces(Tokenizer):
    """A sentencepiece model. A piece that is unknown decodes to nothing: a `⁇` in a translation would help nobody."""

    def __init__(self, kind: str, model: bytes) -> None:
        self.kind = kind
        self._model = model
        if not model:  # sentencepiece would take it, and then complain on stderr at every call
            raise ModelError("the tokenizer is no sentencepiece model: it is empty")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as fault:  # sentencepiece's only error
            raise ModelError(f"the tokenizer is no sentencepiece model: {fault}") from None
        if not len(SPECIALS) < self.n_ids <= MAX_IDS:
            raise ModelError(f"the tokenizer has {self.n_ids:,} ids, not between {len(SPECIALS) + 1} and {MAX_IDS:,}")
        if tuple(map(self._processor.id_to_piece, range(len(SPECIALS)))) != SPECIALS or not (
            self._processor.is_unknown(UNK) and all(map(self._processor.is_control, (PAD, BOS, EOS)))
        ):
            raise ModelError(f"the tokenizer's first pieces are not {' '.join(SPECIALS)}")

    @property
    def n_ids(self) -> int:
        """Number of ids, special ones included: V."""
        return self._processor.get_piece_size()

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """The ids of each line, without BOS and EOS; a character without a piece is UNK."""
        if len(lines) <= _FEW:
            return [self._processor.encode(line, out_type=int) for line in lines]
        return self._processor.encode(list(lines), out_type=int, num_threads=THREADS)

    def sample(self, lines: Sequence[str], amount: float, seed: int) -> list[list[int]]:
        """Pieces drawn at random: bpe leaves out each merge with probability `amount` (Provilkov et al. 2020), unigram
        draws from all segmentations with temperature `amount` (Kudo 2018).
        """
        if self.kind == "char":
            return self.encode(lines)
        return self._drawer.sample(lines, amount, seed)

    @cached_property
    def _drawer(self) -> Drawer:
        return Drawer(self._processor, self.kind)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The line each sequence of ids stands for; UNK and special ids are left out."""
        return [self._processor.decode(list(map(int, row))) for row in ids]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The piece each id stands for; `▁` begins a word."""
        table = self._table
        return [table[i] for i in ids]

    @cached_property
    def _table(self) -> list[str]:
        return [self._processor.id_to_piece(i) for i in range(self.n_ids)]

    def join(self, pieces: Sequence[str]) -> str:
        """The line these pieces stand for; a piece outside the vocabulary stands for itself, with `▁` as a space."""
        skipped = (SPECIALS[PAD], SPECIALS[BOS], SPECIALS[EOS], SPECIALS[UNK])
        text = "".join(piece for piece in pieces if piece not in skipped).replace(_SPACE, " ")
        return text.removeprefix(" ")

    def to_bytes(self) -> bytes:
        """A line of JSON and the model's own bytes."""
        return _pack({"kind": self.kind}, self._model)


class MarianPieces(Tokenizer):
    """One side of a Marian model: a sentencepiece model that cuts, and a list of pieces that numbers what it gives.

    Pieces without a number are UNK, which decodes to nothing. A line may begin with a code in double angles, `>>fra<<`,
    which is a piece of its own: models of several target languages read there which one is wanted.
    """

    kind = "marian"

    def __init__(self, model: bytes, pieces: Sequence[str]) -> None:
        """pieces: from id 4 on; "" for ids that stand for nothing."""
        self._model, self._pieces = model, [*SPECIALS, *pieces]
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as fault:  # sentencepiece's only error
            raise ModelError(f"the tokenizer is no sentencepiece model: {fault}") from None
        if not model or not self._processor.get_piece_size():
            raise ModelError("the tokenizer is no sentencepiece model: it is empty")
        self._ids = {piece: i for i, piece in enumerate(self._pieces) if i >= len(SPECIALS) and piece}
        if len(self._ids) != sum(piece != "" for piece in pieces):
            raise ModelError("the tokenizer's pieces are not all different")

    @property
    def n_ids(self) -> int:
        """Number of ids, special ones included: V."""
        return len(self._pieces)

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """The ids of each line, without BOS and EOS; a piece without a number is UNK."""
        cut = [split_code(line) for line in lines]
        rows = self._processor.encode([text for _, text in cut], out_type=str, num_threads=THREADS)
        get = self._ids.get
        codes = ([code] if code else [] for code, _ in cut)
        return [[get(piece, UNK) for piece in (*code, *row)] for code, row in zip(codes, rows, strict=True)]

    def code(self, line: str) -> str:
        """The language it is to be translated into."""
        return split_code(line)[0]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The line each sequence of ids stands for; UNK and special ids are left out."""
        return [self.join(self.pieces(row)) for row in ids]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The piece each id stands for; `▁` begins a word."""
        return [self._pieces[i] for i in ids]

    def join(self, pieces: Sequence[str]) -> str:
        """The line these pieces stand for; a piece that the sentencepiece model lacks stands for itself."""
        kept = [piece for piece in pieces if piece not in SPECIALS]
        return self._processor.decode_pieces(kept).replace(_SPACE, " ").strip(" ")

    def to_bytes(self) -> bytes:
        """A line of JSON, the model's own bytes, and the pieces as JSON."""
        pieces = json.dumps(self._pieces[len(SPECIALS) :], ensure_ascii=False).encode()
        return _pack({"kind": self.kind, "model": len(self._model)}, self._model + pieces)


def split_code(line: str) -> tuple[str, str]:
    """The code in double angles that a line begins with, "" for none, and the rest of it."""
    end = line.find("<<") + len("<<") if line.startswith(">>") and "<<" in line else 0
    return line[:end], line[end:]


class Words(Tokenizer):
    """A shortlist of whole words, as in the systems of 2014; any other word is UNK, and UNK decodes to `<unk>`.

    Words are what stands between spaces, or what the rules of Moses for a language make of a line.
    """

    kind = "word"

    def __init__(self, words: Sequence[str], moses: MosesWords | None) -> None:
        self.moses = moses
        self._words = [*SPECIALS, *words]
        self._ids = {word: i for i, word in enumerate(self._words)}
        if len(self._ids) != len(self._words) or any(not word or re.search(r"[ \n]", word) for word in self._words):
            raise ModelError("the tokenizer's words are not all different words")

    @property
    def n_ids(self) -> int:
        """Number of ids, special ones included: V."""
        return len(self._words)

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """The id of each word of each line, without BOS and EOS; words that are not in the shortlist are UNK."""
        get = self._ids.get
        # The names of the special ids may occur in text too: there they are words that the shortlist lacks.
        n = len(SPECIALS)
        rows = [[get(word, UNK) for word in split_words(line, self.moses)] for line in lines]
        return [[i if i >= n else UNK for i in row] for row in rows]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The line each sequence of ids stands for, `<unk>` where a word is unknown."""
        return [self.join(self.pieces(row)) for row in ids]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The word of each id."""
        return [self._words[i] for i in ids]

    def join(self, pieces: Sequence[str]) -> str:
        """The line these words are written as."""
        skipped = (SPECIALS[PAD], SPECIALS[BOS], SPECIALS[EOS])
        words = [piece for piece in pieces if piece not in skipped]
        return self.moses.join(words) if self.moses else " ".join(words)

    def to_bytes(self) -> bytes:
        """A line of JSON and the shortlist, a word a line."""
        header = {"kind": "word", "words": "moses" if self.moses else "spaces"}
        if self.moses:
            header["lang"] = self.moses.lang
        return _pack(header, "\n".join(self._words[len(SPECIALS) :]).encode())


def split_words(line: str, moses: MosesWords | None) -> list[str]:
    """The words of a line: by Moses rules, or what stands between spaces (U+0020 only, so a no-break space stays in its
    word).
    """
    return moses.split(line) if moses else [word for word in line.split(" ") if word]


def _pack(header: dict[str, Any], payload: bytes) -> bytes:
    described = {**header, "format": _FORMAT, "sha256": hashlib.sha256(payload).hexdigest()}
    return json.dumps(described, sort_keys=True).encode() + b"\n" + payload


def from_bytes(data: bytes) -> Tokenizer:
    """The tokenizer whose `to_bytes` gave this; ModelError for anything else, and for what a newer program wrote."""
    if len(data) > MAX_BYTES:
        raise ModelError(f"the tokenizer has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
    head, _, payload = data[:4096].partition(b"\n")
    payload = data[len(head) + 1 :]
    try:
        header = json.loads(head.decode())
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise ModelError("the tokenizer is damaged: it has no header")
    if header["format"] > _FORMAT:
        raise ModelError(
            f"the tokenizer has format {header['format']}, this program knows {_FORMAT}", "use a newer nmt"
        )
    if header.get("sha256") != hashlib.sha256(payload).hexdigest():
        raise ModelError("the tokenizer is damaged: its sha256 differs")
    match header:
        case {"kind": "bpe" | "unigram" | "char" as kind}:
            return SentencePieces(kind, payload)
        case {"kind": "marian", "model": int(size)} if 0 < size < len(payload):
            return MarianPieces(payload[:size], _json_pieces(payload[size:]))
        case {"kind": "word", "words": "spaces"}:
            return Words(_shortlist(payload), None)
        case {"kind": "word", "words": "moses", "lang": str(lang)}:
            return Words(_shortlist(payload), MosesWords(lang))
    raise ModelError("the tokenizer is damaged: its header names no kind we know")


def _json_pieces(payload: bytes) -> list[str]:
    try:
        pieces = json.loads(payload.decode())
    except (ValueError, RecursionError):
        pieces = None
    if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in pieces) or len(pieces) >= MAX_IDS:
        raise ModelError("the tokenizer is damaged: its pieces are no list")
    return pieces


def _shortlist(payload: bytes) -> list[str]:
    if payload.count(b"\n") >= MAX_IDS:
        raise ModelError(f"the tokenizer has more than {MAX_IDS:,} words")
    try:
        return payload.decode().split("\n") if payload else []
    except UnicodeDecodeError:
        raise ModelError("the tokenizer is damaged: its words are not UTF-8") from None
