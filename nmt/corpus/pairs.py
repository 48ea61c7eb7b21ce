"""The parallel text a recipe names: its files found, read line by line in pairs, checked, counted and put aside.

Every fault of all files is gathered and told at once. What passes is spooled to a work file, two lines a pair, so that
the text is read and unpacked once and memory does not grow with it (but for 16 bytes a training pair, to find repeated
ones, and 8 to say where two files part).
"""

import hashlib
import os
import stat
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nmt.corpus.text import BAD_TEXT_HINT, SHOWN, LineReport, open_text, scan_lines
from nmt.errors import DataError
from nmt.recipe import CorpusConfig, TextPair


@dataclass(frozen=True)
class PairFiles:
    """Two files that translate each other, found; `name` is what the table calls them."""

    name: str
    src: Path
    tgt: Path
    weight: float = 1.0


@dataclass(frozen=True)
class CorpusFiles:
    """All the text of a recipe."""

    train: list[PairFiles]
    valid: PairFiles
    test: PairFiles | None

    def all(self) -> list[PairFiles]:
        """Training text first, then validation, then test."""
        return [*self.train, self.valid, *([self.test] if self.test else [])]


@dataclass
class Counts:
    """What was met in one corpus, in pairs; whether that is dropped is the recipe's business.

    read, kept: before and after everything; bad: with a line that is not text; empty: with nothing, or white space, on
    a side; overlap: also in the validation or test text; repeated: occurred before in the training text; too_long,
    ratio: beyond corpus.max_len and max_ratio; same: source equals target. separators: characters, not pairs, that
    became spaces.
    """

    read: int = 0
    bad: int = 0
    empty: int = 0
    overlap: int = 0
    repeated: int = 0
    too_long: int = 0
    ratio: int = 0
    kept: int = 0
    same: int = 0
    separators: int = 0


def data_folder(corpus: CorpusConfig, recipe_path: Path) -> Path:
    """corpus.folder from the recipe's place; where that is not there, the one of its last name in NMT_SHARED_DATA."""
    # Without the .. in the middle, as a person would write it.
    folder = Path(os.path.normpath(recipe_path.parent / corpus.folder))
    shared = os.environ.get("NMT_SHARED_DATA")
    if not folder.exists() and shared and (Path(shared) / folder.name).exists():
        return Path(shared) / folder.name
    return folder


def find_files(corpus: CorpusConfig, recipe_path: Path) -> CorpusFiles:
    """The files of a corpus section; DataError with all that are missing, and how to get them."""
    folder = data_folder(corpus, recipe_path)
    missing: list[str] = []

    def find_one(name: str) -> Path:
        plain, packed = folder / name, folder / f"{name}.gz"
        if not plain.exists() and not packed.exists():
            missing.append(str(plain) if plain.suffix == ".gz" else f"{plain} (or {packed.name})")
        return plain if plain.exists() else packed

    def find(text: str | TextPair) -> PairFiles:
        if isinstance(text, TextPair):
            return PairFiles(Path(text.src).name, find_one(text.src), find_one(text.tgt), weight=text.weight)
        return PairFiles(text, find_one(f"{text}.{corpus.src}"), find_one(f"{text}.{corpus.tgt}"))

    train = corpus.train if isinstance(corpus.train, list) else [corpus.train]
    files = CorpusFiles(
        train=[find(text) for text in train],
        valid=find(corpus.valid),
        test=find(corpus.test) if corpus.test else None,
    )
    if not train:
        raise DataError("corpus.train names no text", "give at least one prefix or pair of files")
    if missing:
        hints = [corpus.obtain] if corpus.obtain else []
        if corpus.downloads:
            hints.append(f"to download it: nmt prepare --fetch {recipe_path}")
        if not hints:
            hints.append("put the files there, or set corpus.folder")
        if not folder.exists() and folder.name:
            hints.append(f"or let NMT_SHARED_DATA name a folder that holds them in {folder.name}/")
        unique = list(dict.fromkeys(missing))
        raise DataError("\n".join(["text that the recipe names is missing:", *unique]), "\n".join(hints))
    for pair in files.all():
        _check_kind(pair)
    return files


def _check_kind(pair: PairFiles) -> None:
    for path in (pair.src, pair.tgt):
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(
                f"{path} is not a plain file", "the text of a recipe is read more than once: put it in a file"
            )
    if pair.src.samefile(pair.tgt):
        raise DataError(
            f"{pair.src} and {pair.tgt} are one and the same file",
            "source and target must be two files: look at corpus",
        )


def content_hash(path: Path) -> str:
    """sha256 of a file's bytes, as they lie there (packed or not)."""
    with open_text(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]


@dataclass
class Problems:
    """What is wrong with the text so far; `raise_any` tells it all."""

    lines: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def add(self, lines: list[str], hint: str) -> None:
        """Note a problem of one or more lines, and what to do; a hint is told once."""
        self.lines += lines
        if hint not in self.hints:
            self.hints.append(hint)

    def raise_any(self) -> None:
        """DataError with all that was noted, if anything was."""
        if self.lines:
            raise DataError("\n".join(self.lines), "\n".join(self.hints))


class PairReader:
    """Reads the text of a recipe in pairs, under its rules; collects problems and counts."""

    def __init__(self, corpus: CorpusConfig, recipe_path: Path) -> None:
        self.problems = Problems()
        self.warnings: list[str] = []
        self._held_out: set[tuple[str, str]] = set()
        self._corpus = corpus
        self._again = f"nmt prepare {recipe_path}"

    def read_held_out(self, files: PairFiles, counts: Counts) -> list[tuple[str, str]]:
        """All pairs of validation or test text: none is dropped but bad ones, so that scores are those of the whole
        files.
        """
        pairs: list[tuple[str, str]] = []
        for src, tgt, _ in self._pairs(files, counts):
            counts.same += src == tgt
            if not src.strip() or not tgt.strip():
                counts.empty += 1
            else:
                self._held_out.add((src, tgt))
            pairs.append((src, tgt))
        if not pairs and not self.problems.lines:
            self.problems.add(
                [f"{files.src} and {files.tgt} hold no text"], "validation and test text need a line at least"
            )
        return pairs

    def spool_train(self, files: PairFiles, counts: Counts, spool: Path) -> NDArray[np.uint64]:
        """Put the pairs of a training corpus that pass into a file; (n, 2) digests of them, to find repeated ones."""
        digests = bytearray()
        overlaps: list[str] = []
        with spool.open("wb") as out:
            for src, tgt, line in self._pairs(files, counts):
                if not src.strip() or not tgt.strip():
                    counts.empty += 1
                    continue
                if (src, tgt) in self._held_out:
                    counts.overlap += 1
                    if len(overlaps) < SHOWN:
                        overlaps.append(f"{files.src}:{line}: {_shortened(src)}")
                    if self._corpus.overlap != "allow":
                        continue
                counts.same += src == tgt
                text = f"{src}\n{tgt}\n".encode()
                digests += hashlib.blake2b(text, digest_size=16).digest()
                out.write(text)
        if counts.overlap and self._corpus.overlap == "error":
            self.problems.add(
                [
                    f"{files.src}: {counts.overlap:,} training pairs are also in the validation or test text:",
                    *overlaps,
                ],
                "set corpus.overlap: drop, to train without them (allow, to train on them all the same)",
            )
        return np.frombuffer(bytes(digests), np.uint64).reshape(-1, 2)

    def _pairs(self, files: PairFiles, counts: Counts) -> Iterator[tuple[str, str, int]]:
        """(source, target, line number) of each pair of good lines, or also of repaired ones; notes what is wrong."""
        paths = (files.src, files.tgt)
        reports = [LineReport(str(path)) for path in paths]
        sizes = (array("I"), array("I"))  # characters of each line, to find where two files part
        before = [_state(path) for path in paths]
        with open_text(files.src) as src_stream, open_text(files.tgt) as tgt_stream:
            lines = zip_longest(scan_lines(src_stream, reports[0]), scan_lines(tgt_stream, reports[1]))
            for number, (one, other) in enumerate(lines, 1):
                if one is not None:
                    sizes[0].append(len(one[0]))
                if other is not None:
                    sizes[1].append(len(other[0]))
                if one is None or other is None:
                    continue
                counts.read += 1
                if one[1] or other[1]:
                    counts.bad += 1
                    if self._corpus.bad_text != "replace":
                        continue
                yield one[0], other[0], number
        if [_state(path) for path in paths] != before:
            self.problems.add(
                [f"{files.src} or {files.tgt} changed while it was being read"], f"run again: {self._again}"
            )
        counts.separators = sum(report.separators for report in reports)
        for report in reports:
            if report.bad and self._corpus.bad_text == "error":
                self.problems.add(report.describe_bad(), BAD_TEXT_HINT)
            else:
                self.warnings += report.describe_bad()
        n_src, n_tgt = reports[0].lines, reports[1].lines
        if n_src != n_tgt:
            what = [
                f"{files.src} has {n_src:,} lines, {files.tgt} {n_tgt:,}: "
                "line n of one must translate line n of the other"
            ]
            if line := first_shifted_line(*(np.frombuffer(side, np.uint32) for side in sizes)):
                what.append(f"judging by the lengths of lines, they part near line {line:,}")
            self.problems.add(what, f"look for a lost line break, then run: {self._again}")


def _state(path: Path) -> tuple[int, int, int]:
    now = path.stat()
    return now.st_ino, now.st_size, now.st_mtime_ns


def _shortened(text: str, width: int = 60) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def first_shifted_line(src: NDArray[np.uint32], tgt: NDArray[np.uint32]) -> int | None:
    """The line, from 1, from which on two files of unequal length fit better when shifted by the difference.

    `src` and `tgt` are the characters of each line. Lines that translate each other have lengths of a like ratio: the
    sum of |log ratio - its median| over the lines before the cut, plus that over the shifted lines after it, is least
    there. None for files of fewer than 20 lines, and where lengths fit hardly better than those of any other lines
    would.
    """
    if len(src) < len(tgt):
        return first_shifted_line(tgt, src)
    n, k = len(tgt), len(src) - len(tgt)
    if n < 20:
        return None
    longer, shorter = np.log1p(src.astype(np.float64)), np.log1p(tgt.astype(np.float64))
    straight, shifted = longer[:n] - shorter, longer[k:] - shorter
    usual = np.median(np.concatenate([straight, shifted]))
    before = np.concatenate([[0.0], np.cumsum(np.abs(straight - usual))])
    after = np.concatenate([[0.0], np.cumsum(np.abs(shifted - usual))])
    cost = before + (after[-1] - after)
    cut = int(np.argmin(cost))
    by_chance = np.abs(longer[:n] - np.roll(shorter, 7) - usual).sum()
    return cut + 1 if cost[cut] < 0.8 * by_chance else None


def repeated(digests: list[NDArray[np.uint64]]) -> list[NDArray[np.bool_]]:
    """For each corpus, which of its pairs occurred before, in it or in an earlier one."""
    every = np.concatenate(digests)
    order = np.lexsort((every[:, 1], every[:, 0]))  # stable: of equal pairs the earliest comes first
    ranked = every[order]
    again = np.zeros(len(every), np.bool_)
    again[order[1:][(ranked[1:] == ranked[:-1]).all(axis=1)]] = True
    return np.split(again, np.cumsum([len(part) for part in digests])[:-1])


def spooled(spool: Path, drop: NDArray[np.bool_] | None = None) -> Iterator[tuple[str, str]]:
    """The pairs of a spool file, but for those marked."""
    with spool.open("rb") as lines:
        for i, (src, tgt) in enumerate(zip(lines, lines, strict=True)):
            if drop is None or not drop[i]:
                yield src[:-1].decode(), tgt[:-1].decode()
