"""Translation on a CPU with and without a shortlist: the same model and lines, in turns.

    nmt prepare RECIPE --lexicon LEXICON
    python -m benchmarks.shortlists MODEL LEXICON SOURCE REFERENCE

One process with one thread; seconds of its processor time, so that it may share the machine. Writes
benchmarks/results/shortlists.json.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks import machine
from nmt.metrics import bleu
from nmt.training.allocator import keep_memory
from nmt.translator import Translator

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "shortlists.json"
BATCHES = {5: 128, 1: 512}
"""Sentences at once, by beam."""


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "lexicon", "source", "reference"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    lines, reference = (path.read_text().splitlines() for path in (options.source, options.reference))
    found = {"settings": {**machine.settings(1), "sentences": len(lines), "rounds": options.rounds}, "runs": []}
    for precision in ("float32", "int8"):
        both = {
            name: Translator.load(options.model, device="cpu", precision=precision, shortlist=lexicon)
            for name, lexicon in (("without", None), ("with", options.lexicon))
        }
        for beam, batch in BATCHES.items():
            seconds: dict[str, list[float]] = {name: [] for name in both}
            scores = dict[str, float]()
            for turn in range(options.rounds + 1):
                for name, translator in both.items():
                    began = time.process_time()
                    told = [one.translation for one in translator.translate(lines, beam=beam, batch=batch)]
                    if turn:  # the first is for what is made once
                        seconds[name].append(time.process_time() - began)
                    scores[name] = bleu(told, [reference]).score
            found["runs"].append({"precision": precision, "beam": beam, "seconds": seconds, "bleu": scores})
            ratios = [a / b for a, b in zip(seconds["without"], seconds["with"], strict=True)]
            print(f"{precision} beam {beam}: {median(ratios):.2f} times as fast, BLEU {scores}", flush=True)
            options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
