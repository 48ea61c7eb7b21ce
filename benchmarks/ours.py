"""Our half of every comparison: `nmt train` as it is, but that its log has a line every few updates, not every 50.

python -m benchmarks.ours train RECIPE --set ...      the same arguments as nmt
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.toolkits.toolkit import EVERY
from benchmarks.watch import Sample
from nmt.__main__ import main
from nmt.training import trainer

ROOT = Path(__file__).parents[1]
RECIPES = {
    "transformer": ROOT / "benchmarks" / "recipes" / "transformer-small.yaml",
    "gru": ROOT / "benchmarks" / "recipes" / "gru-512.yaml",
}
"""What is compared, and the recipe of our half."""


@dataclass(frozen=True)
class Validated:
    """A validation: after so many target tokens and seconds since the start, its loss and BLEU."""

    tokens: int
    seconds: float
    loss: float
    bleu: float


@dataclass(frozen=True)
class Log:
    """What the log.jsonl of a run says; samples and validations in the order of the updates."""

    samples: list[Sample]
    tokens_per_update: float | None
    real_share: float | None
    parameters: int | None
    settings: dict[str, Any]
    validations: list[Validated]


def read_log(text: str) -> Log:
    """Reads a log.jsonl, whose last line may be incomplete."""
    events = list[dict[str, Any]]()
    for line in text.split("\n")[:-1]:
        events.append(json.loads(line))
    updates = [event for event in events if event["event"] == "update"]
    samples, before = list[Sample](), 0
    for event in updates:
        tokens, before = event["tgt_tokens"] - before, event["tgt_tokens"]
        samples.append(Sample(tokens, tokens / event["tgt_tokens_per_second"]))
    start = next((event for event in events if event["event"] == "start"), {})
    validations = [
        Validated(_tokens_at(updates, event["update"]), event["seconds"], event["loss"], event["bleu"])
        for event in events
        if event["event"] == "validation"
    ]
    return Log(
        samples=samples,
        tokens_per_update=updates[-1]["tgt_tokens"] / updates[-1]["update"] if updates else None,
        real_share=sum(event["real_share"] for event in updates) / len(updates) if updates else None,
        parameters=start.get("parameters"),
        settings=start,
        validations=validations,
    )


def _tokens_at(updates: Sequence[dict[str, Any]], update: int) -> int:
    """Target tokens seen up to an update, or up to the last one before it that the log has."""
    return max((event["tgt_tokens"] for event in updates if event["update"] <= update), default=0)


def command(recipe: Path, settings: dict[str, object]) -> list[str]:
    """The command that trains a recipe with other values for some of its keys."""
    words = [sys.executable, "-m", "benchmarks.ours", "train", str(recipe), "--device", "cpu"]
    return [*words, *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))]


def fresh(work: Path, name: str) -> Path:
    """The folder that a run of this name will have in a working folder, without what an earlier one left there."""
    folder = work / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    return folder


if __name__ == "__main__":
    trainer.LOG_EVERY = EVERY
    main()
