"""nmt prepare --lexicon: which target pieces each source piece may need, from the alignment of the training text."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from nmt.batch import Indices, runs
from nmt.commands.prepare import Transfer, prepare
from nmt.corpus.ibm1 import Corpus, align
from nmt.corpus.lexicon import Lexicon, lexicon_of
from nmt.corpus.shards import Prepared, Shard
from nmt.corpus.sides import Store
from nmt.durable import probe
from nmt.model_file import read_model
from nmt.recipe import Recipe

ALIGN_FROM = 1_000_000
"""Training pairs that are aligned, at most: more would find few candidates, and take long."""

Say = Callable[[str], None]


def make_lexicon(
    recipe: Recipe,
    recipe_path: Path,
    out: Path,
    *,
    workers: int = 1,
    fetch: bool = False,
    say: Say = print,
    transfer: Transfer | None = None,
) -> Lexicon:
    """Prepares the text of a recipe as `prepare` does, aligns it, and puts the lexicon at `out`, whatever was there.

    Where the recipe goes on from a model (train.init) its tokenizers hold, as in training. Errors as for `prepare`;
    memory and time as for `nmt.corpus.ibm1.align`.
    """
    probe(out.parent)
    tokenizers = None
    if recipe.train.init is not None:
        origin = read_model(recipe_path.parent / recipe.train.init)
        tokenizers = (origin.src_tokenizer, origin.tgt_tokenizer)
    prepared = prepare(
        recipe, recipe_path, workers=workers, fetch=fetch, say=say, tokenizers=tokenizers, transfer=transfer
    )
    n = sum(map(len, prepared.train))
    aligned = min(n, ALIGN_FROM)
    say(f"aligning {aligned:,} of {n:,} pairs" if aligned < n else f"aligning {n:,} pairs")
    lexicon = lexicon_from(prepared, aligned / n)
    lexicon.write(out)
    sizes = np.diff(lexicon.offsets)
    mean, common = float(sizes.mean()), len(lexicon.common)
    say(f"lexicon: {out}, {mean:.0f} target pieces a source piece, and {common:,} for every sentence")
    return lexicon


def lexicon_from(prepared: Prepared, share: float = 1.0) -> Lexicon:
    """The lexicon of prepared training text, of a share of its pairs at even distances."""
    src, tgt = prepared.tokenizers
    table = align([_part(shard, share) for shard in prepared.train], src.n_ids, tgt.n_ids)
    frequencies = np.zeros(tgt.n_ids, np.int64)
    for shard in prepared.train:
        frequencies += np.bincount(shard.tgt[0], minlength=tgt.n_ids)
    return lexicon_of(table, frequencies, src, tgt)


def _part(shard: Shard, share: float) -> Corpus:
    """Some of its pairs, at even distances."""
    if share >= 1.0:
        return shard.src, shard.tgt
    numbers = np.floor(np.arange(round(len(shard) * share)) / share).astype(np.int64)
    return _stored(shard.src, numbers), _stored(shard.tgt, numbers)


def _stored(store: Store, numbers: Indices) -> Store:
    """A store of these sentences of another one."""
    ids, offsets = store
    lengths = offsets[numbers + 1] - offsets[numbers]
    return ids[runs(offsets[numbers], lengths)], np.concatenate([[0], np.cumsum(lengths)])
