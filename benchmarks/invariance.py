"""Whether what is beside a line changes its translation: batches, order and processes, on real sentences.

    python -m benchmarks.invariance --model MODEL SOURCE --recipe recipes/en-fr-*.yaml

Translates the lines of SOURCE with MODEL, and those of each recipe's test text with what the recipe has learned after
--updates, 64 at a time; and then in batches of 7 and of 1, in another order, and with two processes. Counts the lines
that came out otherwise, and of these the near-ties: two translations whose scores by the same search lie less than 1e-5
apart. Writes benchmarks/results/invariance.json.
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, ours
from nmt.model_file import read_model
from nmt.ops.ready import Precision
from nmt.recipe_file import load_recipe
from nmt.training.allocator import keep_memory
from nmt.translation import Translation
from nmt.translator import Translator

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "invariance.json"
NEAR = 1e-5


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs=2, type=Path, action="append", default=[], metavar=("MODEL", "SOURCE"))
    parser.add_argument("--recipe", nargs="+", type=Path, default=[])
    parser.add_argument("--updates", type=int, default=200, help="of every recipe")
    parser.add_argument("--work", type=Path, default=Path("runs/invariance"), help="folder for what they train")
    parser.add_argument("--precisions", nargs="+", default=["float32", "int8"])
    parser.add_argument("--beams", nargs="+", type=int, default=[5, 1])
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    keep_memory()
    cases = [(model, source.read_text().splitlines()) for model, source in options.model]
    cases += [_trained(recipe.absolute(), options) for recipe in options.recipe]
    found = {"settings": {**machine.settings(1), "near": NEAR, "updates": options.updates}, "runs": []}
    for model, lines in cases:
        for precision in options.precisions:
            found["runs"] += _compare(model, lines[: options.lines], precision, options.beams)
            options.out.write_text(json.dumps(found, indent=1) + "\n")


def _trained(recipe: Path, options: argparse.Namespace) -> tuple[Path, list[str]]:
    """The model that a recipe has after some updates, and the source side of its test text."""
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    loaded = load_recipe(recipe)
    run = ours.fresh(work, loaded.name)
    settings = {"train.updates": options.updates, "train.validate_every": options.updates, "corpus.test": "null"}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "nmt", "train", str(recipe), "--device", "cpu", *words]
    subprocess.run(command, check=True, cwd=work, stdout=subprocess.DEVNULL)
    assert loaded.corpus.test is not None
    source = recipe.parent / loaded.corpus.folder / f"{loaded.corpus.test}.{loaded.corpus.src}"
    return run / "model.safetensors", source.read_text().splitlines()


def _compare(model: Path, lines: Sequence[str], precision: Precision, beams: Sequence[int]) -> list[dict[str, object]]:
    rows = []
    one, two = (Translator.load(model, device="cpu", precision=precision, workers=n) for n in (1, 2))
    for beam in beams:
        row = {"kind": read_model(model).recipe.model.kind, "precision": precision, "beam": beam, "lines": len(lines)}
        usual = list(one.translate(lines, beam=beam, batch=64))
        for name, others in _others(one, two, lines, beam):
            rows.append({**row, "beside": name, **_compared(usual, others)})
            print(rows[-1], flush=True)
    return rows


def _others(one: Translator, two: Translator, lines: Sequence[str], beam: int) -> "list[tuple[str, list[Translation]]]":
    order = list(range(len(lines)))
    random.Random(1).shuffle(order)
    shuffled = dict(zip(order, one.translate([lines[i] for i in order], beam=beam, batch=64), strict=True))
    found = [("another order", [shuffled[i] for i in range(len(lines))])]
    for batch in (7, 1):
        found.append((f"batches of {batch}", list(one.translate(lines, beam=beam, batch=batch))))
    return [*found, ("two processes", list(two.translate(lines, beam=beam, batch=64)))]


def _compared(some: Sequence[Translation], others: Sequence[Translation]) -> dict[str, object]:
    pairs = [(a, b) for a, b in zip(some, others, strict=True) if a.translation != b.translation]
    gaps = [abs((a.score or 0.0) - (b.score or 0.0)) for a, b in pairs]
    return {
        "different": len(pairs),
        "near_ties": sum(gap < NEAR for gap in gaps),
        "largest_gap": max(gaps, default=0.0),
    }


if __name__ == "__main__":
    main()
