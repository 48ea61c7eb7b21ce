"""The same real work with every other toolkit that is installed, in turns with ours.

    python -m benchmarks.peers speed     target tokens a second, memory and padding: two quiet cores, 25 minutes
    python -m benchmarks.peers loss      validation loss after equal tokens: may share the machine, takes long

PEERS (or --peers) names the folder of their environments, which benchmarks/toolkits/setup.py makes; toolkits that are
not there are named and left out. A round trains A B C A B C ..., each alone, from its start until enough of its own log
lies behind a warm-up; the first round has all of them, later ones those that were fastest in it, and ours. What came of
each run is written at once to --out; `python -m benchmarks.page` makes docs/performance.md's tables from that.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks import machine, ours
from benchmarks.systems import OURS, TOOLKITS, Ours, Place, System, Until, installed
from benchmarks.toolkits.text import write_text
from benchmarks.toolkits.toolkit import EVERY
from benchmarks.watch import Sample, Watched, rate
from nmt.commands.prepare import prepare
from nmt.recipe_file import load_recipe
from nmt.training.cost import product_rate

RESULTS = ours.ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Run:
    """One training of one round.

    tokens_per_second: real target tokens after the warm-up, over `seconds` and `tokens` of logged work. products:
    Gflop/s of matrix products in float32 just before, which says whether the machine is as fast as in other rounds.
    The rest is as in systems.Outcome.
    """

    round: int
    system: str
    version: str
    batch: int
    tokens_per_second: float
    seconds: float
    tokens: float
    tokens_per_update: float | None
    real_share: float | None
    parameters: int | None
    products: float
    watched: Watched


@dataclass(frozen=True)
class Loss:
    """Validation loss in nats a target token, after so many updates of about so many tokens in all."""

    system: str
    version: str
    updates: int
    tokens: float
    loss: float | None
    watched: Watched


def main() -> None:
    """Measures what is asked for, writing the file after each run."""
    options = _options()
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.work)
    torch.set_num_threads(options.threads)
    there = installed(options.peers)
    if absent := sorted({t.name for t in TOOLKITS} - {system.name for system in there}):
        print(f"not installed, left out: {', '.join(absent)}", file=sys.stderr)
    commit = machine.commit()
    systems = [s for s in [*(Ours(name, commit) for name in OURS), *there] if s.name in (options.only or [s.name])]
    recipe = ours.RECIPES["transformer"]
    text = write_text(prepare(load_recipe(recipe), recipe, say=lambda line: None), options.work / "text")
    place = Place(options.work, text, options.threads)
    settings = {
        **machine.settings(options.threads),
        "absent": absent,
        "text": {key: value for key, value in asdict(text).items() if key != "folder"},
        **{key: getattr(options, key) for key in ("warm_up", "measure", "limit", "rounds", "contenders")},
    }
    if options.verb == "speed":
        _speed(systems, place, settings, options)
    else:
        _loss(systems, place, settings, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("speed", "loss"))
    parser.add_argument("--peers", type=Path, default=os.environ.get("PEERS"), help="folder of their environments")
    parser.add_argument("--tasks", nargs="+", choices=ours.RECIPES, default=list(ours.RECIPES))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these systems alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contenders", type=int, default=2, help="toolkits that later rounds have, the fastest")
    parser.add_argument("--warm-up", type=float, default=12.0, help="seconds of logged work that do not count")
    parser.add_argument("--measure", type=float, default=24.0, help="seconds of logged work that do")
    parser.add_argument("--limit", type=float, default=150.0, help="seconds after which a run is ended in any case")
    parser.add_argument("--tokens", type=int, default=400_000, help="loss: after about so many target tokens")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--work", type=Path, default=Path("runs/peers"), help="folder for text, logs and checkpoints")
    options = parser.parse_args()
    for name in ("peers", "out", "work"):
        if getattr(options, name) is not None:
            setattr(options, name, Path(getattr(options, name)).absolute())
    known = [*OURS, *(toolkit.name for toolkit in TOOLKITS)]
    if unknown := sorted(set(options.only or ()) - set(known)):
        parser.error(f"there is no {', '.join(unknown)}; choose from: {', '.join(known)}")
    return options


def _speed(systems: Sequence[System], place: Place, settings: dict[str, object], options: argparse.Namespace) -> None:
    """All rounds of all tasks."""

    def enough(samples: Sequence[Sample]) -> bool:
        return rate(samples, options.warm_up).seconds >= options.measure

    for task in options.tasks:
        taking, runs = [system for system in systems if system.batch(task)], list[Run]()
        for number in range(1, options.rounds + 1):
            for system in taking:
                products = product_rate(torch.device("cpu"), torch.float32) / 1e9
                found = system.train(task, place, Until(enough=enough, limit=options.limit))
                measured = rate(found.samples, options.warm_up)
                run = Run(
                    round=number,
                    system=system.name,
                    version=system.version,
                    batch=system.batch(task) or 0,
                    tokens_per_second=round(measured.tokens_per_second, 1),
                    seconds=round(measured.seconds, 2),
                    tokens=round(measured.tokens),
                    tokens_per_update=found.tokens_per_update,
                    real_share=found.real_share,
                    parameters=found.parameters,
                    products=round(products, 1),
                    watched=found.watched,
                )
                runs.append(run)
                print(f"{task} {_line(run)}", flush=True)
                _write(options.out / f"peers-speed-{task}.json", settings, "runs", runs)
            if number == 1:
                kept = contenders(runs, options.contenders)
                taking = [system for system in taking if system.name in OURS or system.name in kept]
        print(ratios([asdict(run) for run in runs]))


def contenders(runs: Sequence[Run], count: int) -> list[str]:
    """The fastest `count` systems that are not ours, the fastest first."""
    others = [run for run in runs if run.system not in OURS]
    return [run.system for run in sorted(others, key=lambda run: -run.tokens_per_second)][:count]


def _loss(systems: Sequence[System], place: Place, settings: dict[str, object], options: argparse.Namespace) -> None:
    """Every system once: as many updates as make about so many tokens by the sizes of its first batches."""
    for task in options.tasks:
        losses = list[Loss]()
        for system in systems:
            if not system.batch(task):
                continue
            begun = system.train(task, place, Until(enough=lambda samples: len(samples) >= 6, limit=3600))
            if not begun.tokens_per_update:
                print(f"{task} {system.name}: it never said how far it was", file=sys.stderr)
                continue
            updates = EVERY * round(options.tokens / begun.tokens_per_update / EVERY)
            found = system.train(task, place, Until(updates=updates, limit=7200))
            tokens = sum(sample.tokens for sample in found.samples)
            losses.append(Loss(system.name, system.version, updates, tokens, found.validation, found.watched))
            print(f"{task} {system.name}: {found.validation} after {updates} updates, {tokens:,.0f} tokens", flush=True)
            _write(options.out / f"peers-loss-{task}.json", settings, "losses", losses)


def _write(file: Path, settings: dict[str, object], name: str, rows: Sequence[Run | Loss]) -> None:
    file.write_text(json.dumps({"settings": settings, name: [asdict(row) for row in rows]}, indent=1) + "\n")


def _line(run: Run) -> str:
    share = f"padding {1 - run.real_share:.1%}" if run.real_share else "padding unknown"
    size = f"{run.tokens_per_update:,.0f} tokens an update" if run.tokens_per_update else "no update logged"
    watched = run.watched
    return (
        f"round {run.round} {run.system}: {run.tokens_per_second:,.0f} tokens/s over {run.seconds:.0f} s, "
        f"{size}, {share}, {watched.peak_mib}+{watched.children_mib} MiB, others {watched.other_cores} cores, "
        f"products {run.products:.0f} Gflop/s" + ("" if run.tokens else f"; ended with {watched.code}")
    )


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, and the smallest and largest."""

    middle: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.least:.2f} to {self.most:.2f})"


def ratio(runs: Sequence[dict], ours: str, other: str) -> Spread | None:
    """Our rate over another's of the same round, over all rounds that have both; None where none has."""
    mine = {run["round"]: run["tokens_per_second"] for run in runs if run["system"] == ours}
    theirs = {run["round"]: run["tokens_per_second"] for run in runs if run["system"] == other}
    found = [mine[number] / theirs[number] for number in mine.keys() & theirs.keys() if theirs[number]]
    return Spread(median(found), min(found), max(found)) if found else None


def ratios(runs: Sequence[dict]) -> str:
    """Our variants against each toolkit, a line each."""
    lines = []
    others = dict.fromkeys(run["system"] for run in runs if run["system"] not in OURS)
    for name in OURS:
        for other in others:
            if spread := ratio(runs, name, other):
                lines.append(f"{name} / {other} = {spread}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
