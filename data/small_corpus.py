"""Writes the small English-French corpus of the repository from its own grammar and lexicon.

    python data/small_corpus.py                     write data/en-fr/{train,valid,test,long}.{en,fr}
    python data/small_corpus.py --check             count what the files hold
    python data/small_corpus.py --sample 300 --seed 7    print pairs to read, spread over the constructions

The same sentences come out each time, on any machine: every choice comes from one seeded generator.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

import french
import lexicon
from constructions import CONSTRUCTIONS, WEIGHTS, Construction, Pair, long_story
from phrases import Draw, join

FOLDER = Path(__file__).resolve().parent / "en-fr"
SEED = 20240607
SIZES = {"train": 30_000, "valid": 1_000, "test": 1_000, "long": 500}
SHORT = (3, 30)
LONG = (31, 60)

TOKEN = re.compile(r"\w+|'s\b|[^\w\s]")


def tokens(sentence: str) -> list[str]:
    """Gives the words and marks of a sentence."""
    return TOKEN.findall(sentence)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def finish(pair: Pair) -> tuple[str, str]:
    """Gives both sentences with elision, capitals and punctuation; a space stands before "?", "!" and ":" in French."""
    en = _capital(join(pair.en)).replace(" i ", " I ") + pair.mark
    fr = _capital(french.elide(join(pair.fr))) + (pair.mark if pair.mark == "." else " " + pair.mark)
    return en, fr


class Corpus:
    """The pairs drawn so far, none repeated on either side."""

    def __init__(self, seed: int) -> None:
        self.draw = Draw(seed)
        self.seen: set[str] = set()
        self.names: dict[str, str] = {}

    def add(self, name: str, function: Construction, low: int, high: int) -> tuple[str, str] | None:
        """Gives a new pair of the construction, or None when it repeats one or has the wrong length."""
        self.draw.context = name
        en, fr = finish(function(self.draw))
        words = len(en.split())
        marked = len(tokens(en))
        if words < low or marked > high or f"en {en.lower()}" in self.seen or f"fr {fr.lower()}" in self.seen:
            return None
        self.seen.update((f"en {en.lower()}", f"fr {fr.lower()}"))
        self.names[en] = name
        return en, fr


def build(seed: int = SEED) -> tuple[dict[str, list[tuple[str, str]]], dict[str, str]]:
    """Gives the pairs of each set, and the construction of every English sentence."""
    corpus = Corpus(seed)
    short: list[tuple[str, str]] = []
    wanted = SIZES["train"] + SIZES["valid"] + SIZES["test"]
    misses: Counter[str] = Counter()
    turns = [turn for turn in CONSTRUCTIONS.items() for _ in range(WEIGHTS.get(turn[0], 1))]
    while len(short) < wanted:
        for name, function in turns:
            # A small construction runs dry: after many repeats its turns go to the others.
            if misses[name] > 600:
                continue
            pair = corpus.add(name, function, *SHORT)
            if pair is None:
                misses[name] += 1
            else:
                short.append(pair)
    del short[wanted:]
    corpus.draw.random.shuffle(short)
    far: list[tuple[str, str]] = []
    while len(far) < SIZES["long"]:
        pair = corpus.add("long_story", long_story, *LONG)
        if pair is not None:
            far.append(pair)
    cut, end = SIZES["train"], SIZES["train"] + SIZES["valid"]
    return {"train": short[:cut], "valid": short[cut:end], "test": short[end:], "long": far}, corpus.names


def write(folder: Path, sets: dict[str, list[tuple[str, str]]]) -> None:
    """Writes every set, one sentence a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pairs in sets.items():
        for side, code in enumerate(("en", "fr")):
            text = "".join(pair[side] + "\n" for pair in pairs)
            (folder / f"{name}.{code}").write_bytes(text.encode("utf-8"))


def read(folder: Path, name: str, code: str) -> list[str]:
    """Gives the sentences of one file."""
    return (folder / f"{name}.{code}").read_text(encoding="utf-8").split("\n")[:-1]


def lexicon_counts(counts: Counter[str]) -> dict[str, int]:
    """Gives, for every English word of the lexicon, how often any of its forms occurs among the counted words."""
    forms: dict[str, set[str]] = {}
    for entries in lexicon.NOUNS.values():
        for entry in entries:
            forms[entry.en] = {entry.english(False)} if entry.mass else {entry.english(False), entry.english(True)}
    for action in (*lexicon.TRANSITIVE, *lexicon.SOCIAL, *lexicon.INDIRECT, *lexicon.GIVING, *lexicon.INTRANSITIVE):
        verb = action.en
        forms[f"to {verb.base}"] = {verb.base, verb.third(), verb.past(), verb.participle(), verb.ing()}
    for adjective in lexicon.ADJECTIVES:
        forms[adjective.en] = {adjective.en, adjective.comparative or adjective.en}
    for name in (*lexicon.NAMES, *lexicon.COUNTRIES, *lexicon.CITIES):
        text = name.text if isinstance(name, lexicon.Name) else name.en
        forms[text] = {text}
    # A compound occurs as often as its rarest word.
    return {
        word: sum(min(counts[part] for part in form.lower().split()) for form in sorted(found))
        for word, found in forms.items()
    }


def check(folder: Path) -> str:
    """Gives the counts of the committed files as lines of text."""
    _, names = build()
    lines: list[str] = []
    train = {code: read(folder, "train", code) for code in ("en", "fr")}
    for code in ("en", "fr"):
        counts = Counter(word.lower() for line in train[code] for word in tokens(line) if word[0].isalnum())
        rare = sorted(word for word, count in counts.items() if count < 8)
        letters = sum(1 for word in counts if not word.isdigit())
        lines.append(f"train.{code}: {len(counts)} word types, {letters} without figures, {len(rare)} under 8 times")
        if code == "en":
            scarce = {word: count for word, count in lexicon_counts(counts).items() if count < 8}
            lines.append(f"lexicon words under 8 times: {len(scarce)} {scarce or ''}".rstrip())
    per = Counter(names[line] for line in train["en"])
    lines.append(f"constructions: {len(CONSTRUCTIONS)}")
    lines += [f"  {count:5} {name}" for name, count in sorted(per.items(), key=lambda item: (item[1], item[0]))]
    for name in SIZES:
        lengths = sorted(len(tokens(line)) for line in read(folder, name, "en"))
        mean = sum(lengths) / len(lengths)
        lines.append(
            f"{name}: {len(lengths)} pairs, English tokens mean {mean:.1f}, "
            f"min {lengths[0]}, median {lengths[len(lengths) // 2]}, max {lengths[-1]}"
        )
    for name in ("valid", "test", "long"):
        for code in ("en", "fr"):
            shared = set(read(folder, name, code)) & set(train[code])
            lines.append(f"{name}.{code}: {len(shared)} sentences also in train")
    for code in ("en", "fr"):
        lines.append(f"train.{code}: {len(train[code]) - len(set(train[code]))} repeated sentences")
    size = sum(path.stat().st_size for path in folder.iterdir())
    lines.append(f"bytes in all: {size}")
    return "\n".join(lines)


def sample(size: int, seed: int) -> str:
    """Gives numbered pairs to read, spread evenly over the constructions and the long narratives."""
    corpus = Corpus(seed)
    functions = [*CONSTRUCTIONS.items(), ("long_story", long_story)]
    lines: list[str] = []
    while len(lines) < size:
        for name, function in functions:
            limits = LONG if function is long_story else SHORT
            pair = None
            while pair is None:
                pair = corpus.add(name, function, *limits)
            lines.append(f"{len(lines) + 1}. [{name}]\n   {pair[0]}\n   {pair[1]}")
    return "\n".join(lines[:size])


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="Write, count or sample the small English-French corpus.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files stand")
    parser.add_argument("--check", action="store_true", help="count what the files hold")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="print N pairs to read")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the sample")
    arguments = parser.parse_args()
    if arguments.sample:
        print(sample(arguments.sample, arguments.seed))
    elif arguments.check:
        print(check(arguments.folder))
    else:
        write(arguments.folder, build()[0])


if __name__ == "__main__":
    main()
