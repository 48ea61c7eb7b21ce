"""How the time and memory of `nmt translate` grow with the number of lines.

    python -m benchmarks.translate_growth MODEL SOURCE

Translates more and more lines of SOURCE (its lines again where it has too few) by two processes, as a user would, and
watches the whole program. What a single line takes is its start. Writes benchmarks/results/growth-translate.json.
"""

import argparse
import json
import os
import sys
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import machine
from benchmarks.watch import Watched, watch

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "growth-translate.json"
SETTINGS = [("int8", 1, 512, (4000, 16_000, 64_000)), ("float32", 5, 128, (1000, 4000, 16_000))]
"""Precision, beam, sentences at once, and numbers of lines."""


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: Path(text).absolute())
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    source = options.source.read_text().splitlines()
    found = {"settings": machine.settings(2), "runs": list[dict[str, object]]()}
    for precision, beam, batch, numbers in SETTINGS:
        start = min(_translated(options.model, source[:1], precision, beam, batch).seconds for _ in range(3))
        for n in numbers:
            watched = _translated(options.model, list(islice(cycle(source), n)), precision, beam, batch)
            row = {"precision": precision, "beam": beam, "batch": batch, "lines": n, "start": start}
            row |= {"seconds": watched.seconds, "peak_mib": watched.peak_mib, "children_mib": watched.children_mib}
            found["runs"].append(row)
            print(row, flush=True)
            options.out.write_text(json.dumps(found, indent=1) + "\n")


def _translated(model: Path, lines: list[str], precision: str, beam: int, batch: int) -> Watched:
    with TemporaryDirectory() as scratch:
        text, out = Path(scratch) / "in", Path(scratch) / "out"
        text.write_text("".join(f"{line}\n" for line in lines))
        words = f"-m nmt translate --model {model} --device cpu --workers 2 --precision {precision} --beam {beam}"
        command = f"exec {sys.executable} {words} --batch {batch} < {text} > {out}"
        log = Path(scratch) / "log"
        watched = watch(["sh", "-c", command], log, cwd=ROOT, environment=dict(os.environ), limit=3600)
        assert watched.code == 0, log.read_text()
        assert out.read_text().count("\n") == len(lines)
    return watched


if __name__ == "__main__":
    main()
