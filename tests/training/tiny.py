"""A training of a second: a corpus of digits written on the spot, its recipe, and what is left of it on disk."""

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nmt.training.checkpoint import folder_of, saved_updates

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "corpus": {"src": "aa", "tgt": "bb", "train": "train", "valid": "valid", "overlap": "drop"},
    "tokenizer": {"kind": "word", "vocab": 20, "words": "spaces"},
    "model": {
        "kind": "bahdanau",
        **{"d_embed": 8, "d_hidden": 8, "d_align": 8, "d_maxout": 8, "dropout": 0.1},
        "initialization": {"kind": "uniform", "scale": 0.3},
    },
    "train": {
        **{"batch_sentences": 30, "updates": 12, "lr": 0.05, "clip_norm": 5.0},
        **{"validate_every": 4, "save_every": 3, "average": {"of": "best", "count": 2}, "samples": 1},
    },
    "search": {"beam": 2, "max_len_ratio": 1.0, "max_len_extra": 1},
    "compute": {"dtype": "float32", "threads": 1},
}
"""Five batches an epoch, so that saves, validations and epochs end at different updates."""

TRAIN = ["train", "recipe.yaml"]


def recipe(**changes: Any) -> dict[str, Any]:
    """RECIPE with sections changed: a value None takes a key out; other sections than mappings are replaced."""
    made: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in RECIPE.items()}
    for section, change in changes.items():
        if isinstance(change, Mapping):
            merged = {**made[section], **change}
            made[section] = {key: value for key, value in merged.items() if value is not None}
        else:
            made[section] = change
    return made


def write_corpus(folder: Path, *, hopeless: bool = False) -> None:
    """train, more (another training corpus) and valid: digits, and the same digits backwards.

    `hopeless` gives validation references of words that training never sees: BLEU stays 0 and the loss only rises, so
    that what depends on validation is known beforehand.
    """
    rng = random.Random(1)
    for name, size in (("train", 150), ("more", 41), ("valid", 8)):
        rows = [[str(rng.randrange(10)) for _ in range(rng.randint(2, 6))] for _ in range(size)]
        (folder / f"{name}.aa").write_text("".join(f"{' '.join(row)}\n" for row in rows))
        translated = [["x"] * len(row) if hopeless and name == "valid" else row[::-1] for row in rows]
        (folder / f"{name}.bb").write_text("".join(f"{' '.join(row)}\n" for row in translated))


def write(folder: Path, made: Mapping[str, Any], *, hopeless: bool = False) -> Path:
    """A folder to train in, with corpus and recipe. JSON is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    write_corpus(folder, hopeless=hopeless)
    (folder / "recipe.yaml").write_text(json.dumps(made, indent=1))
    return folder


def result(folder: Path) -> dict[str, str]:
    """sha256 of every file of the last checkpoint, and of the model."""
    run = folder / "runs" / "tiny"
    last = folder_of(run, saved_updates(run)[-1])
    files = {path.name: path for path in (*sorted(last.iterdir()), run / "model.safetensors")}
    assert {"weights.safetensors", "optimizer.safetensors", "state.json", "model.safetensors"} <= files.keys()
    return {"checkpoint": last.name, **{name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in files.items()}}


def events(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    """The log's events of these kinds, or all; every line must be whole."""
    lines = (folder / "runs" / "tiny" / "log.jsonl").read_text().splitlines()
    return [event for line in lines if (event := json.loads(line))["event"] in kinds or not kinds]
