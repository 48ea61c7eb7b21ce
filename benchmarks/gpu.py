"""Ten minutes on one GPU: what the machine can do, whether our kernels are right, and how fast everything is.

    python -m benchmarks.gpu --minutes 10 --out OUT        on an H200, or whatever GPU there is
    python -m benchmarks.gpu --smoke --out OUT             every stage in tiny sizes on a CPU, to know that it works

Each stage is a process of its own with a time of its own: one that hangs, or breaks the device's context, takes nothing
from the others. The next one starts up while the one before it measures, and then waits for its turn. OUT/gpu.json is
written after every figure, and a table comes at the end. What nmt does not have is left out with the reason.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

from benchmarks import machine
from benchmarks.figures import Figure, Place
from benchmarks.peers import RESULTS

ROOT = Path(__file__).parents[1]
BEFORE = 20.0
"""Seconds that the first process may take to start up."""


@dataclass(frozen=True)
class Stage:
    """A part of the measurement: the seconds that it may take of ten minutes, and what it does."""

    name: str
    seconds: float
    module: str


STAGES = (
    Stage("machine", 20, "gpu_kernels"),
    Stage("correctness", 40, "gpu_kernels"),
    Stage("additive", 40, "gpu_kernels"),
    Stage("attention", 40, "gpu_kernels"),
    Stage("loss", 40, "gpu_kernels"),
    Stage("loop", 25, "gpu_models"),
    Stage("training", 150, "gpu_models"),
    Stage("compiled", 120, "gpu_models"),
    Stage("decoding", 40, "gpu_models"),
    Stage("on device", 45, "gpu_models"),
    Stage("plain", 30, "gpu_models"),
)


def main() -> None:
    """Runs all stages, or as a child one of them."""
    options = _options()
    if options.stage:
        _work(options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    stages = [stage for stage in STAGES if not options.only or stage.name in options.only]
    scale = 60 * options.minutes / sum(stage.seconds for stage in STAGES)
    settings = machine.settings(threads=0) | {"smoke": options.smoke, "minutes": options.minutes}
    figures: list[dict[str, Any]] = []
    waiting = _start(stages[0], options)
    for number, stage in enumerate(stages):
        process = waiting
        if number + 1 < len(stages):
            waiting = _start(stages[number + 1], options)
        for figure in _watched(process, stage, scale * stage.seconds + (BEFORE if number == 0 else 0)):
            figures.append({"stage": stage.name, **figure})
            text = json.dumps({"settings": settings, "figures": figures}, indent=1)
            (options.out / "gpu.json").write_text(text + "\n")
    print(table(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all stages, shared out among them")
    parser.add_argument("--only", nargs="+", choices=[stage.name for stage in STAGES], metavar="STAGE")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--stage", choices=[stage.name for stage in STAGES], help=argparse.SUPPRESS)
    return parser.parse_args()


# --- the parent -------------------------------------------------------------------------------------------------------


def _start(stage: Stage, options: argparse.Namespace) -> subprocess.Popen[str]:
    """A process that has loaded what the stage needs, and waits for a line before it touches the device."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--stage", stage.name, *(["--smoke"] if options.smoke else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _watched(process: subprocess.Popen[str], stage: Stage, seconds: float) -> Iterator[dict[str, Any]]:
    """The figures of a stage as they come, until it ends or its time is up."""
    assert process.stdin is not None
    started = time.monotonic()
    process.stdin.write("go\n")
    process.stdin.close()
    lines: Queue[str] = Queue()
    reader = Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    ended = False
    while not ended and (left := seconds - (time.monotonic() - started)) > 0:
        try:
            line = lines.get(timeout=left)
        except Empty:
            break
        ended = not line
        if line.startswith("{"):
            yield json.loads(line)
        elif line:
            print(line, end="", file=sys.stderr)
    if not ended:
        process.kill()
        yield asdict(Figure("the rest of it", skipped=f"its {seconds:.0f} seconds were over"))
    elif code := process.wait():
        yield asdict(Figure("the rest of it", skipped=f"its process ended with {code}"))
    process.wait()
    reader.join()
    yield asdict(Figure("time of the stage", time.monotonic() - started, "s"))


def _read(process: subprocess.Popen[str], lines: Queue[str]) -> None:
    """All that a process prints, and an empty line at its end."""
    assert process.stdout is not None
    with process.stdout as printed:
        for line in printed:
            lines.put(line)
    lines.put("")


def table(figures: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, a row a figure; what was left out stands below it, with the reason."""
    rows = ["| stage | what | figure | note |", "|---|---|---|---|"]
    left_out = []
    for figure in figures:
        if figure["skipped"]:
            left_out.append(f"- {figure['stage']}, {figure['what']}: {figure['skipped']}")
        else:
            value = f"{figure['value']:,.4g} {figure['unit']}"
            rows.append(f"| {figure['stage']} | {figure['what']} | {value} | {figure['note']} |")
    return "\n".join([*rows, *(["", "Left out:", "", *left_out] if left_out else [])])


# --- a child ----------------------------------------------------------------------------------------------------------


def _work(options: argparse.Namespace) -> None:
    """Measures one stage, a line of JSON a figure."""
    module = next(stage.module for stage in STAGES if stage.name == options.stage)
    if module == "gpu_kernels":
        from benchmarks import gpu_kernels as stages
    else:
        from benchmarks import gpu_models as stages
    measure: Callable[[Place], Iterator[Figure]] = stages.STAGES[options.stage]
    sys.stdin.readline()
    for figure in measure(Place.here(options.smoke)):
        print(json.dumps(asdict(figure)), flush=True)


if __name__ == "__main__":
    main()
