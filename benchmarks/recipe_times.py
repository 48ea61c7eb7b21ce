"""How long each recipe on the small corpus trains on this machine, from the pace of its first updates.

    python -m benchmarks.recipe_times     two quiet cores, 8 minutes

Each is trained for 100 updates; the pace is that of the second half. Minutes are those of all its updates at that pace,
and of the validations that it asks for at the time that one took, though untrained models write longer translations
than trained ones. Writes benchmarks/results/recipe-times.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machine
from nmt.recipe_file import load_recipe

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "recipe-times.json"
UPDATES = 100


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    recipes = sorted([*ROOT.glob("recipes/en-fr-*.yaml"), *ROOT.glob("recipes/rnn/en-fr-*.yaml")])
    settings, rows = machine.settings(options.threads), []
    with tempfile.TemporaryDirectory() as scratch:
        for path in recipes:
            rows.append(_measured(path, Path(scratch), options.threads))
            print("{recipe}: {tgt_tokens_per_second:,.0f} target tokens/s, {minutes:.1f} minutes".format(**rows[-1]))
            options.out.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


def _measured(path: Path, scratch: Path, threads: int) -> dict[str, Any]:
    recipe = load_recipe(path, [])
    changes = {"train.updates": UPDATES, "train.validate_every": UPDATES, "corpus.test": "null"}
    changes |= {"compute.threads": threads, "train.average": "null"}
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "nmt", "train", str(path), "--device", "cpu", *words]
    subprocess.run(command, check=True, cwd=scratch, capture_output=True)
    lines = (scratch / "runs" / recipe.name / "log.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    updates = [event for event in events if event["event"] == "update"]
    half = next(event for event in updates if event["update"] == UPDATES // 2)
    pace = updates[-1]["tgt_tokens_per_second"]
    validation = next(event for event in events if event["event"] == "validation")
    each = (updates[-1]["tgt_tokens"] - half["tgt_tokens"]) / (UPDATES - UPDATES // 2)
    validating = validation["seconds"] - updates[-1]["seconds"]
    training = recipe.train.updates * each / pace
    minutes = (training + recipe.train.updates // recipe.train.validate_every * validating) / 60
    return {
        "recipe": str(path.relative_to(ROOT)),
        "updates": recipe.train.updates,
        "tgt_tokens_per_second": pace,
        "validation_seconds": round(validating, 2),
        "minutes": round(minutes, 2),
        "dtype": next(event for event in events if event["event"] == "start")["dtype"],
    }


if __name__ == "__main__":
    main()
