"""A lexicon: which target pieces a translation may need, by the pieces of its source; and the file that holds one.

A safetensors file with three tensors: the candidates of all source pieces one after the other (`pieces`, int32) and
where those of each begin (`offsets`, int64, one more than there are source pieces), and those of every sentence
(`common`, int32). One metadata key, `nmt_lexicon`, holds sorted JSON: format, number of target pieces, and the sha256
of both tokenizers, so that no other vocabulary is taken for theirs.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from nmt.batch import SPECIALS
from nmt.corpus.ibm1 import Table
from nmt.corpus.tokenizer import Tokenizer
from nmt.durable import refusals, write_file
from nmt.errors import ModelError, UsageError

CANDIDATES = 50
"""Target pieces of a source piece, at most, besides what copies it."""
COMMON = 100
"""Of the most frequent target pieces, how many every sentence may have."""

_FORMAT = 1
_KEY = "nmt_lexicon"
_SPACE = "\u2581"
_MAKE = "make one with the recipe of the model: nmt prepare RECIPE --lexicon FILE"


@dataclass(frozen=True)
class Lexicon:
    """Candidates of source piece i: pieces[offsets[i]:offsets[i + 1]], int32; `common` (int32): those of all sentences.

    n_tgt       target pieces in all: V
    tokenizers  sha256 of the source and of the target tokenizer
    """

    pieces: NDArray[np.int32]
    offsets: NDArray[np.int64]
    common: NDArray[np.int32]
    n_tgt: int
    tokenizers: tuple[str, str]

    def shortlist(self, src: Sequence[int], more: Sequence[int] = ()) -> NDArray[np.int64]:
        """The target pieces for a sentence of these source pieces, and `more`: ascending, no piece twice."""
        listed = np.zeros(self.n_tgt, np.bool_)
        listed[self.common] = True
        for piece in src:
            listed[self.pieces[self.offsets[piece] : self.offsets[piece + 1]]] = True
        listed[list(more)] = True
        return np.flatnonzero(listed)

    def write(self, path: Path) -> None:
        """Puts it at `path`, whole or not at all; EnvironmentFault where the disk refuses."""
        about = {"format": _FORMAT, "n_tgt": self.n_tgt, "tokenizers": self.tokenizers}
        tensors = {"pieces": self.pieces, "offsets": self.offsets, "common": self.common}
        write_file(path, safetensors.numpy.save(tensors, metadata={_KEY: json.dumps(about, sort_keys=True)}))

    def check(self, path: Path, src: Tokenizer, tgt: Tokenizer) -> None:
        """UsageError where it was made for other tokenizers than these, ModelError where it does not fit its own."""
        theirs = zip(("source", "target"), self.tokenizers, (src, tgt), strict=True)
        if differing := [side for side, own, tokenizer in theirs if own != _sha256(tokenizer)]:
            raise UsageError(f"{path}: its {' and '.join(differing)} vocabulary is not that of the model", _MAKE)
        if (len(self.offsets) - 1, self.n_tgt) != (src.n_ids, tgt.n_ids):
            raise ModelError(f"{path}: damaged: it has other numbers of pieces than its vocabularies", _MAKE)


def lexicon_of(table: Table, frequencies: NDArray[np.int64], src: Tokenizer, tgt: Tokenizer) -> Lexicon:
    """The lexicon of an alignment (`nmt.corpus.ibm1`) and of how often each target piece occurs, (V,).

    Common are the special pieces and the most frequent ones; a source piece has its likeliest others, and what copies
    it: the piece that is spelled alike or, where there is none, its characters.
    """
    frequent = np.argsort(-frequencies, kind="stable")
    common = np.union1d(np.arange(len(SPECIALS)), frequent[:COMMON])
    everywhere = set(common.tolist())
    e, f, _ = table.ranked()
    kept = ~np.isin(f, common)
    e, f = e[kept], f[kept]
    begins = np.searchsorted(e, np.arange(src.n_ids + 1))
    spelled = {piece: i for i, piece in enumerate(tgt.pieces(range(tgt.n_ids))) if i >= len(SPECIALS)}
    rows = []
    for i, piece in enumerate(src.pieces(range(src.n_ids))):
        likely = f[begins[i] : min(begins[i + 1], begins[i] + CANDIDATES)]
        alike = [piece] if piece in spelled else [c for letter in piece for c in (letter, _SPACE + letter)]
        rows.append(sorted({*likely.tolist(), *(spelled[c] for c in alike if c in spelled)} - everywhere))
    return Lexicon(
        np.array([*chain.from_iterable(rows)], np.int32),
        np.array([0, *accumulate(map(len, rows))], np.int64),
        common.astype(np.int32),
        tgt.n_ids,
        (_sha256(src), _sha256(tgt)),
    )


def read_lexicon(path: Path) -> Lexicon:
    """The lexicon at `path`; ModelError where it is missing, damaged or something else, EnvironmentFault where we may
    not read.
    """
    if not path.is_file():
        raise ModelError(f"{path} is not there, or not a file", _MAKE)
    with refusals(path, "be read"):
        data = path.read_bytes()
    try:
        tensors = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        about = json.loads(header["__metadata__"][_KEY])
        lexicon = _checked(tensors, about)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        lexicon = None
    if lexicon is None:
        raise ModelError(f"{path}: no lexicon, or a damaged one", _MAKE)
    return lexicon


def _checked(tensors: dict[str, NDArray[Any]], about: dict[str, Any]) -> Lexicon | None:
    """The lexicon, where these are sound; KeyError, TypeError or ValueError, or None, where not."""
    src, tgt = about["tokenizers"]
    pieces, offsets, common = tensors["pieces"], tensors["offsets"], tensors["common"]
    n_tgt, kinds = about["n_tgt"], [(x.dtype, x.ndim) for x in (pieces, offsets, common)]
    sound = (
        about["format"] == _FORMAT
        and isinstance(n_tgt, int)
        and kinds == [(np.int32, 1), (np.int64, 1), (np.int32, 1)]
        and len(offsets) > 0
        and offsets[0] == 0
        and offsets[-1] == len(pieces)
        and bool(np.all(offsets[1:] >= offsets[:-1]))
        and all(bool(np.all((x >= 0) & (x < n_tgt))) for x in (pieces, common))
        and bool(np.isin(np.arange(len(SPECIALS)), common).all())
    )
    return Lexicon(pieces, offsets, common, n_tgt, (str(src), str(tgt))) if sound else None


def _sha256(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(tokenizer.to_bytes()).hexdigest()
