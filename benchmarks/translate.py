"""Translation on a CPU beside CTranslate2: the same weights, the same text, in turns.

    python -m benchmarks.translate MODEL SOURCE [--reference FILE]

MODEL is a model file of kind transformer; it is exported for CTranslate2 (the extra nmt[ctranslate2]) and both engines
translate the lines of SOURCE through the same `Translator` door, tokenising and joining included. Each engine lives in
a process of its own that is loaded once and told to translate, so that they can take turns: A B A B. Every engine runs
at the best of the settings below, found in a first round. Beside it, what `nmt translate` takes from its start to the
first line, and what it takes for the whole text with its start and the model's, with either engine. Writes
benchmarks/results/translate.json.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import machine
from nmt.metrics import bleu

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "translate.json"
BATCHES = {5: (32, 64, 128), 1: (64, 256, 512)}
"""Sentences at once that are tried, by beam."""


@dataclass(frozen=True)
class Setting:
    """An engine, its precision, the beam, and the sentences at once."""

    engine: str
    precision: str
    beam: int
    batch: int


@dataclass(frozen=True)
class Measured:
    """Seconds of each round for the whole text; of whole programs from their start; BLEU where there is a reference."""

    setting: Setting
    seconds: list[float]
    whole: list[float]
    sentences_per_second: float
    bleu: float | None


def main() -> None:
    """Measures and writes."""
    options = _options()
    lines = options.source.read_text().splitlines()[: options.lines]
    reference = options.reference.read_text().splitlines()[: options.lines] if options.reference else None
    settings = {
        **machine.settings(options.workers),
        "sentences": len(lines),
        "rounds": options.rounds,
        "width": options.width,
    }
    starts = [_start(options.model, lines[0]) for _ in range(3)]
    print(f"first line after {median(starts):.2f} s", flush=True)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "exported"
        command = [sys.executable, "-m", "nmt", "export", "--to", "ctranslate2", str(options.model), "-o", str(folder)]
        subprocess.run(command, check=True, cwd=ROOT)
        models = {"nmt": options.model, "ctranslate2": folder}
        results: list[Measured] = []
        for precision in options.precisions:
            for beam in options.beams:
                results += _compare(models, precision, beam, lines, reference, options)
                found = {"settings": settings, "runs": [asdict(one) for one in results], "first_line_seconds": starts}
                options.out.write_text(json.dumps(found, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: Path(text).absolute())
    parser.add_argument("source", type=Path)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--precisions", nargs="+", default=["float32", "int8"])
    parser.add_argument("--beams", nargs="+", type=int, default=[5, 1])
    parser.add_argument(
        "--width", choices=("narrowing", "constant"), default="constant", help="of our beam: search.width"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def _compare(
    models: dict[str, Path],
    precision: str,
    beam: int,
    lines: Sequence[str],
    reference: Sequence[str] | None,
    options: argparse.Namespace,
) -> list[Measured]:
    """Both engines in turns, each at its best batch."""
    with (
        _engine("nmt", models["nmt"], precision, options.workers, options.width) as ours,
        _engine("ctranslate2", models["ctranslate2"], precision, options.workers, options.width) as theirs,
    ):
        engines = {"nmt": ours, "ctranslate2": theirs}
        best = {
            name: min(BATCHES[beam], key=lambda batch: _ask(engine, lines, beam, batch)[0])
            for name, engine in engines.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        texts = dict[str, list[str]]()
        for _ in range(options.rounds):
            for name, engine in engines.items():
                took, texts[name] = _ask(engine, lines, beam, best[name])
                seconds[name].append(took)
    whole = {name: list[float]() for name in engines}
    for _ in range(3):
        for name, taken in whole.items():
            taken.append(_program(Setting(name, precision, beam, best[name]), models[name], lines, options))
    found = []
    for name in engines:
        rate = len(lines) / median(seconds[name])
        scored = bleu(texts[name], [reference]).score if reference else None
        found.append(
            Measured(Setting(name, precision, beam, best[name]), seconds[name], whole[name], round(rate, 1), scored)
        )
        score = "" if scored is None else f", BLEU {scored:.2f}"
        print(f"{precision} beam {beam} {name}: {rate:,.0f} sentences/s, batch {best[name]}{score}", flush=True)
    ratios = [b / a for a, b in zip(seconds["nmt"], seconds["ctranslate2"], strict=True)]
    same = sum(a == b for a, b in zip(*texts.values(), strict=True)) / len(lines)
    print(f"  nmt / ctranslate2 = {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {same:.1%} same lines")
    return found


# --- the process of an engine -----------------------------------------------------------------------------------------


@contextmanager
def _engine(name: str, model: Path, precision: str, workers: int, width: str) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-c", "from benchmarks.translate import serve; serve()"]
    process = subprocess.Popen(
        [*command, name, str(model), precision, str(workers), width],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _ask(engine: "subprocess.Popen[str]", lines: Sequence[str], beam: int, batch: int) -> tuple[float, list[str]]:
    assert engine.stdin is not None
    assert engine.stdout is not None
    print(json.dumps({"lines": lines, "beam": beam, "batch": batch}), file=engine.stdin, flush=True)
    answer: dict[str, Any] = json.loads(engine.stdout.readline())
    return answer["seconds"], answer["lines"]


def serve() -> None:
    """Loads what the arguments name, then translates what each line of stdin asks for."""
    from nmt.training.allocator import keep_memory
    from nmt.translator import Translator

    name, model, precision, workers, width = sys.argv[1:]
    if name == "nmt":
        keep_memory()
        translator = Translator.load(Path(model), device="cpu", precision=precision, workers=int(workers))  # pyright: ignore
        translator.config = translator.config.model_copy(update={"width": width})
    else:
        from nmt.engines.ctranslate2 import CTranslate2Translator

        translator = CTranslate2Translator.open(Path(model), device="cpu", precision=precision, workers=int(workers))
    for text in sys.stdin:
        asked = json.loads(text)
        started = time.perf_counter()
        found = [
            one.translation for one in translator.translate(asked["lines"], beam=asked["beam"], batch=asked["batch"])
        ]
        print(json.dumps({"seconds": time.perf_counter() - started, "lines": found}), flush=True)


def _program(setting: Setting, model: Path, lines: Sequence[str], options: argparse.Namespace) -> float:
    """Seconds of `nmt translate` for the whole text."""
    words = f"--precision {setting.precision} --beam {setting.beam} --batch {setting.batch} --workers {options.workers}"
    command = [sys.executable, "-m", "nmt", "translate", "--model", str(model), "--engine", setting.engine]
    command += ["--device", "cpu", *words.split()]
    if setting.engine == "nmt":
        command += ["--set", f"search.width={options.width}"]
    started = time.perf_counter()
    done = subprocess.run(command, input="\n".join([*lines, ""]), capture_output=True, text=True, check=True, cwd=ROOT)
    took = time.perf_counter() - started
    assert done.stdout.count("\n") == len(lines)
    return took


def _start(model: Path, line: str) -> float:
    """Seconds from the start of `nmt translate` to its first line."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "nmt", "translate", "--model", str(model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        print(line, file=process.stdin, flush=True)
        process.stdout.readline()
        took = time.perf_counter() - started
        process.stdin.close()
    return took


if __name__ == "__main__":
    main()
