"""The text of a recipe as other toolkits read it: the very pieces that we train on, cut already, a line a sentence.

So every toolkit has the same sentence pairs, the same pieces and the same vocabulary, and none of them tokenises.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nmt.batch import SPECIALS
from nmt.corpus.shards import Prepared, Shard

VOCABULARIES = ("words.txt", "words.joey", "words.counted", "words.fairseq", "words.sockeye.json", "words.marian.yml")
"""The vocabulary in the form that each toolkit wants; `words.txt` is the plain list without special words."""


@dataclass(frozen=True)
class Text:
    """Where the pieces lie, as FOLDER/{train,valid,test}.{src,tgt}, and what there is of them.

    tgt_tokens: target pieces of the training text, an end of sentence for each pair; tgt_mean: of a pair. sha256: of
    the training text in pieces, both sides.
    """

    folder: Path
    pairs: int
    src_tokens: int
    tgt_tokens: int
    valid_pairs: int
    sha256: str

    @property
    def tgt_mean(self) -> float:
        """Target tokens of a training pair, with the end of the sentence."""
        return self.tgt_tokens / self.pairs


def write_text(prepared: Prepared, folder: Path) -> Text:
    """Writes the prepared text of a recipe with a joint vocabulary in pieces, and the vocabularies."""
    folder.mkdir(parents=True, exist_ok=True)
    assert len(prepared.train) == 1, "the other toolkits read one training text"
    train, valid = prepared.train[0], prepared.valid
    tokenizer = prepared.tokenizers[1]
    shards = {"train": train, "valid": valid} | ({} if prepared.test is None else {"test": prepared.test})
    for name, shard in shards.items():
        for side, lines in (("src", shard.src_lines()), ("tgt", shard.tgt_lines())):
            (folder / f"{name}.{side}.txt").write_text("".join(f"{line}\n" for line in lines))
            (folder / f"{name}.{side}").write_text(_pieces(prepared, shard, side))
    words = tokenizer.pieces(range(len(SPECIALS), tokenizer.n_ids))
    for name, content in zip(VOCABULARIES, _vocabularies(words), strict=True):
        (folder / name).write_text(content)
    digest = hashlib.sha256()
    for side in ("src", "tgt"):
        digest.update((folder / f"train.{side}").read_bytes())
    return Text(
        folder=folder,
        pairs=len(train),
        src_tokens=int(train.src_lengths.sum()) + len(train),
        tgt_tokens=int(train.tgt_lengths.sum()) + len(train),
        valid_pairs=len(valid),
        sha256=digest.hexdigest(),
    )


def _pieces(prepared: Prepared, shard: Shard, side: str) -> str:
    """The sentences of one side as pieces with spaces between them."""
    tokenizer = prepared.tokenizers[0 if side == "src" else 1]
    ids = shard.src_ids if side == "src" else shard.tgt_ids
    return "".join(" ".join(tokenizer.pieces(ids(i).tolist())) + "\n" for i in range(len(shard)))


def _vocabularies(words: Sequence[str]) -> tuple[str, ...]:
    """The contents of VOCABULARIES, in their order."""

    def numbered(specials: Sequence[str]) -> dict[str, int]:
        return {word: i for i, word in enumerate([*specials, *words])}

    return (
        "".join(f"{word}\n" for word in words),
        "".join(f"{word}\n" for word in ["<unk>", "<pad>", "<s>", "</s>", *words]),
        "".join(f"{word}\t1\n" for word in words),
        "".join(f"{word} 1\n" for word in words),
        json.dumps(numbered(["<pad>", "<unk>", "<s>", "</s>"]), ensure_ascii=False, indent=0),
        # YAML, of which a JSON string is a part.
        "".join(f"{json.dumps(word, ensure_ascii=False)}: {i}\n" for word, i in numbered(["</s>", "<unk>"]).items()),
    )
