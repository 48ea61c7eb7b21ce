"""nmt prepare: text to checked, tokenised, memory-mapped shards, once for each corpus and tokenizer section."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from nmt.batch import UNK
from nmt.corpus.encoding import Pairs, Side, encoder
from nmt.corpus.learning import learn
from nmt.corpus.pairs import (
    CorpusFiles,
    Counts,
    PairFiles,
    PairReader,
    content_hash,
    find_files,
    repeated,
    spooled,
)
from nmt.corpus.shards import SETTINGS, Prepared, ShardWriter
from nmt.corpus.tokenizer import Tokenizer
from nmt.durable import clean_leftovers, failpoint, probe, publish_folder, refusals
from nmt.errors import DataError, EnvironmentFault, UsageError
from nmt.lock import lock
from nmt.recipe import CorpusConfig, Recipe

FORMAT = 1
"""Of the prepared folder; part of its hash, so that a program that writes another one prepares anew."""
LEARN_FROM = 1_000_000
"""Sentence pairs that a tokenizer is learned from, at most: more change few pieces and cost minutes."""
FAILPOINTS = ("prepare.read", "prepare.learned", "prepare.encoded")
"""Places where a test may strike: all text read; tokenizers learned; a shard encoded. Those of publish_folder come
after.
"""

_ROOT = Path("prepared")
_REPORT_EVERY = 30.0  # seconds between lines of progress
_SAME_SHARE = 0.01  # of the training pairs: more copies of the source teach a model to copy

Say = Callable[[str], None]
Transfer = Callable[[str, int, int | None], None]


def prepare(
    recipe: Recipe,
    recipe_path: Path,
    *,
    workers: int = 1,
    fetch: bool = False,
    say: Say = print,
    tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
    transfer: Transfer | None = None,
) -> Prepared:
    """The prepared text of a recipe, from prepared/<hash>/ under the working folder; made first where it is not there.

    The hash is that of the text files' bytes and of the settings that shape the result: not of their names, nor of
    weights. The bytes are the same for any number of `workers` (processes that encode). `fetch` first downloads what
    corpus.downloads names. `tokenizers` (source, target) take the place of learned ones, when training goes on from a
    model. A tokenizer is learned from at most 1,000,000 pairs, taken at even distances from all training text. In a
    working folder one process prepares at a time, others wait for it. `say` gets plain lines of text, `transfer` what
    has come of a download: its name, the bytes that are there, and all of them or None. UsageError, DataError and
    EnvironmentFault as the settings, the text and the disk give cause.
    """
    if workers < 1:
        raise UsageError(f"{workers} workers cannot prepare anything", "give 1 or more")
    if fetch:
        _download(recipe.corpus, recipe_path, say, transfer)
    files = find_files(recipe.corpus, recipe_path)
    settings = _settings(recipe, files, tokenizers)
    folder = _ROOT / hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    weights = [pair.weight for pair in files.train]
    if not folder.exists():
        with ExitStack() as held:
            try:
                held.enter_context(lock(_ROOT / ".lock"))
            except EnvironmentFault as busy:
                say(f"waiting: {busy.what}")
                held.enter_context(lock(_ROOT / ".lock", wait=True))
            for warning in clean_leftovers(_ROOT):
                say(f"warning: {warning}")
            if not folder.exists():
                _Making(recipe, recipe_path, files, settings, folder, workers, say).run(tokenizers)
    prepared = Prepared(folder, weights)
    say(f"prepared: {folder}, {sum(map(len, prepared.train)):,} training pairs")
    return prepared


def _download(corpus: CorpusConfig, recipe_path: Path, say: Say, transfer: Transfer | None) -> None:
    if not corpus.downloads:
        raise UsageError(f"{recipe_path} names no downloads", corpus.obtain or "list them under corpus.downloads")
    from nmt.corpus.fetch import fetch  # the only code that knows the network, and only when asked for

    fetch(corpus.downloads, recipe_path.parent / corpus.folder, say, transfer)


def _settings(recipe: Recipe, files: CorpusFiles, tokenizers: tuple[Tokenizer, Tokenizer] | None) -> dict[str, Any]:
    """What shapes the prepared bytes, and nothing else."""
    corpus, tokenizer = recipe.corpus, recipe.tokenizer

    def hashes(pair: PairFiles) -> list[str]:
        return [content_hash(pair.src), content_hash(pair.tgt)]

    keys = ("src", "tgt", "max_len", "max_ratio", "bad_text", "dedup", "overlap")
    if tokenizers is not None:
        pieces: object = [hashlib.sha256(tokenizer.to_bytes()).hexdigest() for tokenizer in tokenizers]
    elif tokenizer.kind == "word":
        pieces = tokenizer.model_dump(exclude={"normalization", "character_coverage"})
    else:
        pieces = tokenizer.model_dump(exclude={"words"})
    return {
        "format": FORMAT,
        "corpus": {key: getattr(corpus, key) for key in keys},
        "text": {
            "train": [hashes(pair) for pair in files.train],
            "valid": hashes(files.valid),
            "test": hashes(files.test) if files.test else None,
        },
        "tokenizer": pieces,
    }


@dataclass
class _Part:
    """One corpus on its way: the name of its shard, its files, its counts, and its pairs once they are read."""

    shard: str
    files: PairFiles
    counts: Counts
    held_out: bool
    pairs: Callable[[], Pairs] = tuple


@dataclass(frozen=True)
class _Making:
    """The making of one prepared folder."""

    recipe: Recipe
    recipe_path: Path
    files: CorpusFiles
    settings: dict[str, Any]
    folder: Path
    workers: int
    say: Say

    def run(self, tokenizers: tuple[Tokenizer, Tokenizer] | None) -> None:
        """Reads, learns, encodes and publishes; a work folder beside the final one is gone afterwards."""
        size = sum(path.stat().st_size for pair in self.files.all() for path in (pair.src, pair.tgt))
        probe(_ROOT, 4 * size)  # text, work files and shards, where the text is not packed
        # Named as durable names what is unfinished: its clean_leftovers takes it away if we are killed.
        work = _ROOT / f".tmp-{self.folder.name}.work-{os.getpid()}"
        try:
            with refusals(work, "be written"):
                work.mkdir()
                self._run_in(work, tokenizers)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _run_in(self, work: Path, tokenizers: tuple[Tokenizer, Tokenizer] | None) -> None:
        corpus = self.recipe.corpus
        self.say(f"reading {corpus.src} and {corpus.tgt} text")
        train, held_out = self._read(work)
        failpoint("prepare.read")
        if tokenizers is None:
            tokenizers = self._learn(train)
        failpoint("prepare.learned")
        n_ids = (tokenizers[0].n_ids, tokenizers[1].n_ids)
        content: dict[str, bytes | Callable[[Path], None]] = {}
        unknown, pieces = np.zeros(2, np.int64), np.zeros(2, np.int64)
        done, total = 0, sum(part.counts.read for part in [*train, *held_out])
        told = time.monotonic()
        with encoder(tokenizers, self.workers) as encode:
            for part in [*train, *held_out]:
                writer = ShardWriter(work, part.shard, n_ids)
                for chunk in encode(part.pairs()):
                    kept = _kept(chunk, part.counts, None if part.held_out else corpus)
                    for i, side in enumerate(kept):
                        writer.add(i, side.ids, side.lengths, side.lines)
                        if not part.held_out:
                            unknown[i] += np.count_nonzero(side.ids == UNK)
                            pieces[i] += len(side.ids)
                    done += len(chunk[0].lines)
                    if time.monotonic() - told > _REPORT_EVERY:
                        told = time.monotonic()
                        self.say(f"encoded {done:,} of {total:,} pairs")
                writer.close()
                content[f"{part.shard}.safetensors"] = writer.write
                failpoint("prepare.encoded")
        n = sum(part.counts.kept for part in train)
        if n == 0:
            read = sum(part.counts.read for part in train)
            raise DataError(f"none of the {read:,} training pairs is left", self._reasons(train))
        for line in [*_table([*train, *held_out], corpus), *_notes([*train, *held_out], corpus)]:
            self.say(line)
        for i, language in enumerate((corpus.src, corpus.tgt)):
            share = unknown[i] / max(1, pieces[i])
            self.say(
                f"{language}: {n_ids[i]:,} ids, {pieces[i] / n:.1f} pieces a sentence, {share:.2%} of them unknown"
            )
        content["src.tokenizer"] = tokenizers[0].to_bytes()
        content["tgt.tokenizer"] = tokenizers[1].to_bytes()
        content[SETTINGS] = self._about(train, held_out, n_ids)
        publish_folder(self.folder, content)

    def _read(self, work: Path) -> tuple[list[_Part], list[_Part]]:
        """All text, checked: training parts, then validation and test."""
        corpus = self.recipe.corpus
        reader = PairReader(corpus, self.recipe_path)
        held_out = [_Part("valid", self.files.valid, Counts(), held_out=True)]
        if self.files.test is not None:
            held_out.append(_Part("test", self.files.test, Counts(), held_out=True))
        for part in held_out:
            pairs = reader.read_held_out(part.files, part.counts)
            part.pairs = lambda pairs=pairs: pairs
        train = [_Part(f"train-{i}", pair, Counts(), held_out=False) for i, pair in enumerate(self.files.train)]
        digests = [reader.spool_train(part.files, part.counts, work / f"{part.shard}.pairs") for part in train]
        reader.problems.raise_any()
        for warning in reader.warnings:
            self.say(f"warning: {warning}")
        for part, marks in zip(train, repeated(digests), strict=True):
            part.counts.repeated = int(marks.sum())
            drop = marks if corpus.dedup else None
            part.pairs = lambda spool=work / f"{part.shard}.pairs", drop=drop: spooled(spool, drop)
        return train, held_out

    def _learn(self, train: list[_Part]) -> tuple[Tokenizer, Tokenizer]:
        corpus, config = self.recipe.corpus, self.recipe.tokenizer
        n = sum(1 for part in train for _ in part.pairs())
        if n == 0:
            read = sum(part.counts.read for part in train)
            raise DataError(f"none of the {read:,} training pairs is left", self._reasons(train))
        of = f"{LEARN_FROM:,} of {n:,}" if n > LEARN_FROM else f"{n:,}"
        sizes = " and ".join(f"{size:,}" for size in dict.fromkeys(config.sizes))
        self.say(f"learning a {config.kind} vocabulary of {sizes} from {of} pairs")
        learned = learn(
            lambda: evenly(chain.from_iterable(part.pairs() for part in train), n, LEARN_FROM),
            config,
            (corpus.src, corpus.tgt),
        )
        if all(tokenizer.n_ids < size for tokenizer, size in zip(learned, config.sizes, strict=True)):
            self.say(f"note: the text has no more {config.kind}s than these; tokenizer.vocab would allow {sizes}")
        return learned

    def _reasons(self, train: list[_Part]) -> str:
        corpus = self.recipe.corpus
        reasons = [
            f"{sum(dropped):,} {reason}"
            for reason, *dropped in zip(_REASONS, *(_dropped(part, corpus) for part in train), strict=True)
            if sum(dropped)
        ]
        return f"dropped: {', '.join(reasons)}" if reasons else "the training files are empty"

    def _about(self, train: list[_Part], held_out: list[_Part], n_ids: tuple[int, int]) -> bytes:
        """prepared.json: no names, paths or times, so that the same text gives the same bytes wherever it lies."""
        about = {
            "settings": self.settings,
            "counts": {part.shard: asdict(part.counts) for part in [*train, *held_out]},
            "n_ids": n_ids,
            "versions": {name: version(name) for name in ("sentencepiece", "sacremoses")},
        }
        return (json.dumps(about, indent=1, sort_keys=True) + "\n").encode()


def evenly(pairs: Pairs, n: int, wanted: int) -> Iterator[tuple[str, str]]:
    """`wanted` of n pairs at even distances, always the same ones; all of them where there are no more."""
    for i, pair in enumerate(pairs):
        if n <= wanted or (i + 1) * wanted // n > i * wanted // n:
            yield pair


def _kept(chunk: tuple[Side, Side], counts: Counts, limits: CorpusConfig | None) -> tuple[Side, Side]:
    """The pairs of a chunk that are within the limits, both sides of them; counts the others by reason."""
    src, tgt = chunk
    keep = np.ones(len(src.lines), np.bool_)
    if limits is not None:
        short, long = np.minimum(src.lengths, tgt.lengths), np.maximum(src.lengths, tgt.lengths)
        empty = short == 0  # characters that the tokenizer's normalisation takes away
        too_long = ~empty & (long + 1 > limits.max_len)
        ratio = ~empty & ~too_long & (long > (limits.max_ratio or np.inf) * short)
        counts.empty += int(empty.sum())
        counts.too_long += int(too_long.sum())
        counts.ratio += int(ratio.sum())
        keep = ~(empty | too_long | ratio)
    counts.kept += int(keep.sum())
    if keep.all():
        return chunk
    return src.select(keep), tgt.select(keep)


_REASONS = ("bad text", "empty", "overlap", "repeated", "too long", "ratio")


def _dropped(part: _Part, corpus: CorpusConfig) -> tuple[int, ...]:
    """The numbers of pairs dropped for each of _REASONS. Of validation and test text only bad lines go: scores are of
    the rest.
    """
    counts = part.counts
    bad = counts.bad if corpus.bad_text == "skip" else 0
    if part.held_out:
        return bad, 0, 0, 0, 0, 0
    return (
        bad,
        counts.empty,
        counts.overlap if corpus.overlap == "drop" else 0,
        counts.repeated if corpus.dedup else 0,
        counts.too_long,
        counts.ratio,
    )


def _table(parts: list[_Part], corpus: CorpusConfig) -> list[str]:
    """What was read, dropped and kept, a line a corpus; reasons that never applied have no column."""
    drops = [_dropped(part, corpus) for part in parts]
    used = [i for i in range(len(_REASONS)) if any(row[i] for row in drops)]
    rows = [["corpus", "read", *(_REASONS[i] for i in used), "kept"]]
    for part, row in zip(parts, drops, strict=True):
        numbers = [part.counts.read, *(row[i] for i in used), part.counts.kept]
        rows.append([part.files.name, *(f"{number:,}" for number in numbers)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _notes(parts: list[_Part], corpus: CorpusConfig) -> list[str]:
    """What a careful person would want to know about this text."""
    notes: list[str] = []
    for part in parts:
        counts, name = part.counts, part.files.name
        if counts.separators:
            notes.append(f"note: {name}: tabs and other separators that became spaces: {counts.separators:,}")
        if counts.overlap and corpus.overlap == "allow":
            notes.append(f"warning: {name}: pairs that are also in the validation or test text: {counts.overlap:,}")
        if counts.repeated and not corpus.dedup:
            notes.append(
                f"note: {name}: pairs that occurred before: {counts.repeated:,} (corpus.dedup: true drops them)"
            )
        if counts.same > _SAME_SHARE * counts.read:
            share = counts.same / counts.read
            notes.append(f"warning: {name}: pairs whose source equals their target: {counts.same:,} ({share:.1%})")
        if counts.empty and part.held_out:
            notes.append(
                f"warning: {name}: pairs with an empty side: {counts.empty:,}, kept, for scores need every line"
            )
    return notes
