"""Whether what is beside a line changes its translation: batches, order and processes, on real sentences.

    python -m benchmarks.invariance MODEL SOURCE

Translates the lines of SOURCE 64 at a time, and then in batches of 7 and of 1, in another order, and with two
processes; counts the lines that came out otherwise, and of these the near-ties: two translations whose scores by the
same search lie less than 1e-5 apart. Writes benchmarks/results/invariance.json.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from nmt.training.allocator import keep_memory
from nmt.translation import Translation
from nmt.translator import Translator

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "invariance.json"
NEAR = 1e-5


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("--precisions", nargs="+", default=["float32", "int8"])
    parser.add_argument("--beams", nargs="+", type=int, default=[5, 1])
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    keep_memory()
    lines = options.source.read_text().splitlines()[: options.lines]
    found = {
        "settings": {**machine.settings(1), "sentences": len(lines), "near": NEAR},
        "runs": list[dict[str, object]](),
    }
    for precision in options.precisions:
        one, two = (Translator.load(options.model, device="cpu", precision=precision, workers=n) for n in (1, 2))
        for beam in options.beams:
            usual = list(one.translate(lines, beam=beam, batch=64))
            for name, others in _others(one, two, lines, beam):
                row = {"precision": precision, "beam": beam, "beside": name, **_compared(usual, others)}
                found["runs"].append(row)
                print(row, flush=True)
                options.out.write_text(json.dumps(found, indent=1) + "\n")


def _others(one: Translator, two: Translator, lines: Sequence[str], beam: int) -> "list[tuple[str, list[Translation]]]":
    order = list(range(len(lines)))
    random.Random(1).shuffle(order)
    shuffled = dict(zip(order, one.translate([lines[i] for i in order], beam=beam, batch=64), strict=True))
    found = [("another order", [shuffled[i] for i in range(len(lines))])]
    for batch in (7, 1):
        started = time.perf_counter()
        found.append((f"batches of {batch}", list(one.translate(lines, beam=beam, batch=batch))))
        print(f"batches of {batch}: {len(lines) / (time.perf_counter() - started):.0f} sentences/s")
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
