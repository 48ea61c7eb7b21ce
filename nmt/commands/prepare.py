"""nmt prepare: text to checked, tokenised, memory-mapped shards, once for each corpus and tokenizer section."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt.batch import UNK
from nmt.corpus.encoding import Side, encoded
from nmt.corpus.pairs import (
    CorpusFiles,
    Counts,
    PairFiles,
    PairReader,
    content_hash,
    data_folder,
    find_files,
    repeated,
    spooled,
)
from nmt.corpus.shards import SETTINGS, Prepared, ShardWriter
from nmt.corpus.tokenizer import Tokenizer, learn
from nmt.durable import clean_leftovers, failpoint, lock, publish_folder, refusals
from nmt.errors import DataError, EnvironmentFault
from nmt.recipe import CorpusConfig, Recipe, TokenizerConfig

FORMAT = 1
"""Of the prepared folder; part of its hash, so that a program that writes another one prepares anew."""
LEARN_FROM = 1_000_000
"""Sentence pairs that a tokenizer is learned from, at most: more change few pieces and cost minutes."""

_ROOT = Path("prepared")


def prepare(
    recipe: Recipe,
    recipe_path: Path,
    *,
    workers: int = 1,
    fetch: bool = False,
    say: Callable[[str], None] = print,
    tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
) -> Prepared:
    """The prepared text of a recipe, from prepared/<hash>/ under the working folder; made first where it is not there.

    The hash is that of the text files' bytes and of the settings that shape the result; weights and the names of files are not
    among them. The bytes are the same for any number of `workers` (processes that encode). `fetch` downloads what
    corpus.downloads names before. `tokenizers` (source, target) are used in the place of learned ones, when training goes on
    from a model. One process prepares at a time in a working folder, others wait. `say` gets plain lines of text.
    A tokenizer is learned from at most 1,000,000 of the pairs, taken at even distances.
    UsageError, DataError and EnvironmentFault as the text, the settings and the disk give cause.
    """
    if fetch:
        from nmt.corpus.fetch import fetch as download  # pyright: ignore[reportMissingImports]

        download(recipe.corpus.downloads, recipe_path.parent / recipe.corpus.folder, say)
    files = find_files(recipe.corpus, recipe_path)
    settings = _settings(recipe, files, tokenizers)
    folder = _ROOT / hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    weights = [pair.weight for pair in files.train]
    if folder.exists():
        return Prepared(folder, weights)
    with ExitStack() as held:
        try:
            held.enter_context(lock(_ROOT / ".lock"))
        except EnvironmentFault as busy:
            say(f"waiting: {busy.what}")
            held.enter_context(lock(_ROOT / ".lock", wait=True))
        for warning in clean_leftovers(_ROOT):
            say(f"warning: {warning}")
        if not folder.exists():
            _make(recipe, recipe_path, files, settings, folder, workers, say, tokenizers)
    return Prepared(folder, weights)


def _settings(recipe: Recipe, files: CorpusFiles, tokenizers: tuple[Tokenizer, Tokenizer] | None) -> dict[str, Any]:
    """What shapes the prepared bytes, and nothing else."""
    corpus, tokenizer = recipe.corpus, recipe.tokenizer

    def hashes(pair: PairFiles) -> list[str]:
        return [content_hash(pair.src), content_hash(pair.tgt)]

    named = {key: getattr(corpus, key) for key in ("src", "tgt", "max_len", "max_ratio", "bad_text", "dedup", "overlap")}
    text = {
        "train": [hashes(pair) for pair in files.train],
        "valid": hashes(files.valid),
        "test": hashes(files.test) if files.test else None,
    }
    if tokenizers is not None:
        pieces: object = [hashlib.sha256(tokenizer.to_bytes()).hexdigest() for tokenizer in tokenizers]
    else:
        unused = {"normalization", "character_coverage"} if tokenizer.kind == "word" else {"words"}
        pieces = tokenizer.model_dump(exclude=unused)
    return {"format": FORMAT, "corpus": named, "text": text, "tokenizer": pieces}


def _make(
    recipe: Recipe,
    recipe_path: Path,
    files: CorpusFiles,
    settings: dict[str, Any],
    folder: Path,
    workers: int,
    say: Callable[[str], None],
    tokenizers: tuple[Tokenizer, Tokenizer] | None,
) -> None:
    # Named as durable names what is unfinished, so that its clean_leftovers takes it away if we are killed.
    work = _ROOT / f".tmp-{folder.name}.work-{os.getpid()}"
    try:
        with refusals(work, "be written"):
            work.mkdir(parents=True)
            _make_in(work, recipe, recipe_path, files, settings, folder, workers, say, tokenizers)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _make_in(
    work: Path,
    recipe: Recipe,
    recipe_path: Path,
    files: CorpusFiles,
    settings: dict[str, Any],
    folder: Path,
    workers: int,
    say: Callable[[str], None],
    tokenizers: tuple[Tokenizer, Tokenizer] | None,
) -> None:
    corpus = recipe.corpus
    counts = {_label(i, pair): Counts() for i, pair in enumerate(files.all())}
    labels = list(counts)
    n_train = len(files.train)

    reader = PairReader(corpus, recipe_path)
    held_out = [
        reader.read_held_out(pair, counts[label])
        for pair, label in zip(files.all()[n_train:], labels[n_train:], strict=True)
    ]
    spools = [work / f"train-{i}.text" for i in range(n_train)]
    digests = [
        reader.spool_train(pair, counts[label], spool)
        for pair, label, spool in zip(files.train, labels, spools, strict=False)
    ]
    reader.problems.raise_any()
    failpoint("prepare.read")
    again = repeated(digests)
    for label, marks in zip(labels, again, strict=False):
        counts[label].repeats = int(marks.sum())
        counts[label].repeated = counts[label].repeats if corpus.dedup else 0
    drops = again if corpus.dedup else [None] * n_train

    def train_pairs(i: int) -> Iterator[tuple[str, str]]:
        return spooled(spools[i], drops[i])

    n_pairs = sum(len(marks) for marks in again) - sum(counts[label].repeated for label in labels)
    if n_pairs == 0:
        raise DataError(f"no training pairs are left of {_sum(counts, labels[:n_train])}", "look at the text and at corpus")
    if tokenizers is None:
        tokenizers = learn(
            lambda: evenly(chain.from_iterable(train_pairs(i) for i in range(n_train)), n_pairs, LEARN_FROM),
            recipe.tokenizer,
            (corpus.src, corpus.tgt),
        )
    failpoint("prepare.learned")
    n_ids = (tokenizers[0].n_ids, tokenizers[1].n_ids)
    content: dict[str, bytes | Callable[[Path], None]] = {}
    for i, label in enumerate(labels):
        name = f"train-{i}" if i < n_train else ("valid", "test")[i - n_train]
        writer = ShardWriter(work, name, n_ids)
        train = i < n_train
        pairs = train_pairs(i) if train else held_out[i - n_train]
        for chunk in encoded(pairs, tokenizers, workers):
            _add(writer, chunk, counts[label], corpus if train else None)
        failpoint("prepare.encoded")
        content[f"{name}.safetensors"] = writer.write
    content["src.tokenizer"] = tokenizers[0].to_bytes()
    content["tgt.tokenizer"] = tokenizers[1].to_bytes()
    about = {"settings": settings, "counts": {label: asdict(counts[label]) for label in labels}, "n_ids": n_ids}
    content[SETTINGS] = (json.dumps(about, indent=1, sort_keys=True) + "\n").encode()
    publish_folder(folder, content)


def _label(i: int, pair: PairFiles) -> str:
    return pair.name


def _sum(counts: dict[str, Counts], labels: list[str]) -> str:
    return f"{sum(counts[label].read for label in labels):,}"


def evenly(pairs: Iterable[tuple[str, str]], n: int, wanted: int) -> Iterator[tuple[str, str]]:
    """`wanted` of n pairs at even distances, always the same ones; all of them where there are no more."""
    for i, pair in enumerate(pairs):
        if (i + 1) * wanted // n > i * wanted // n or n <= wanted:
            yield pair


def _add(writer: ShardWriter, chunk: tuple[Side, Side], counts: Counts, limits: CorpusConfig | None) -> None:
    src, tgt = chunk
    keep = np.ones(len(src.lines), np.bool_)
    if limits is not None:
        keep, dropped = _within(src.lengths, tgt.lengths, limits)
    counts.kept += int(keep.sum())
    for side, part in enumerate(chunk):
        texts = [line.encode() for line, kept in zip(part.lines, keep, strict=True) if kept]
        writer.add(
            side,
            part.ids[np.repeat(keep, part.lengths)],
            part.lengths[keep],
            b"".join(texts),
            np.fromiter(map(len, texts), np.int64, len(texts)),
        )


def _within(src: NDArray[np.int64], tgt: NDArray[np.int64], limits: CorpusConfig) -> tuple[NDArray[np.bool_], int]:
    keep = (src > 0) & (tgt > 0) & (np.maximum(src, tgt) + 1 <= limits.max_len)
    return keep, 0
