"""The history of attention as one program: every system trained at one budget on one text, and what each reaches.

    python benchmarks/progression.py --text multi30k --minutes 9   # a GPU: run it until it is done
    python benchmarks/progression.py --text small                  # two CPU cores: about an hour

Each system is a recipe (recipes/multi30k/en-fr-KIND.yaml, or recipes/en-fr-KIND.yaml for the small corpus) trained by
`nmt train`, its test text translated and scored. With --minutes the program stops in time, everything saved; the same
command goes on from there. --parallel N trains N systems side by side, which a GPU that waits for launches can bear.
Writes OUT/progression.json after every system, and prints the table that it makes of it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nmt.commands.dry_run import dry_run
from nmt.corpus.pairs import find_files
from nmt.corpus.text import read_text
from nmt.metrics import bleu, tokenizer_for
from nmt.recipe import Recipe
from nmt.recipe_file import load_recipe
from nmt.translator import Translator

ROOT = Path(__file__).parents[1]
SYSTEMS = {
    "rnn-none": "recurrent, no attention",
    "rnn-bahdanau": "the same, additive attention",
    "rnn-luong": "the same, multiplicative attention",
    "cho": "Cho 2014, no attention",
    "sutskever": "Sutskever 2014, no attention",
    "bahdanau": "Bahdanau 2015, additive",
    "luong": "Luong 2015, multiplicative",
    "gnmt": "GNMT 2016, residual LSTMs",
    "convs2s": "ConvS2S 2017, convolutions",
    "transformer": "Transformer 2017",
    "modern": "modern Transformer",
}
"""One model whose attention is a key, then the papers in the order of history."""
TEXTS = {"multi30k": "recipes/multi30k/en-fr-{}.yaml", "small": "recipes/en-fr-{}.yaml"}
LONG = {"small": ROOT / "data" / "en-fr" / "long"}
"""Sentences longer than any that training saw, where a text has them."""
LENGTHS = (10, 15, 20, 30)
"""Upper bounds, in words of the source, of the groups that BLEU is given for; the last group has what is longer."""


@dataclass(frozen=True)
class Result:
    """What a system reached, with what it took.

    seconds is training alone, over all its pieces, without validations; tgt_tokens are real ones. by_length: BLEU of
    the test sentences of at most so many source words ("more" for the rest), and how many. bleu_long: of the text in
    LONG, where there is one.
    """

    system: str
    recipe: str
    parameters: int
    updates: int
    tgt_tokens: int
    seconds: float
    tgt_tokens_per_second: float
    validation_bleu: float
    bleu: float
    signature: str
    by_length: dict[str, tuple[float, int]]
    bleu_long: float | None
    sentences_per_second: float
    settings: dict[str, Any]


def main() -> None:
    """Trains what is not trained yet, scores it, writes the JSON and prints the table."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "progression.json"
    done = {r["system"]: r for r in json.loads(file.read_text())["results"]} if file.exists() else {}
    waiting = [system for system in options.systems if system not in done]
    end = time.monotonic() + 60 * options.minutes if options.minutes else None
    for system in _trained(waiting, options, end):
        done[system] = asdict(_measured(system, options))
        ordered = [done[name] for name in SYSTEMS if name in done]
        file.write_text(json.dumps({"text": options.text, "results": ordered}, indent=1) + "\n")
    if not all(system in done for system in options.systems):
        print("time is up, or a training stopped: the same command goes on from here", file=sys.stderr)
        sys.exit(75)
    print(table([done[name] for name in SYSTEMS if name in done]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", choices=TEXTS, default="multi30k", help="which recipes")
    parser.add_argument("--out", type=Path, default=Path("runs/progression"), help="folder of runs and results")
    parser.add_argument("--minutes", type=float, help="stop and save after so many")
    parser.add_argument("--parallel", type=int, default=1, help="systems trained side by side")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="SYSTEM")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="for every recipe, as nmt train"
    )
    return parser.parse_args()


def _recipe_file(system: str, options: argparse.Namespace) -> Path:
    if options.text == "small" and system.startswith("rnn-"):
        return ROOT / "recipes" / "rnn" / f"en-fr-{system.removeprefix('rnn-')}.yaml"
    return ROOT / TEXTS[options.text].format(system)


def _recipe(system: str, options: argparse.Namespace) -> Recipe:
    return load_recipe(_recipe_file(system, options), options.set)


def _trained(systems: Sequence[str], options: argparse.Namespace, end: float | None) -> Iterator[str]:
    """Trains the systems, so many side by side; gives each as it is done. When time is up the others are saved."""
    waiting, running = list(systems), dict[str, subprocess.Popen[bytes]]()
    stopping = False

    def fill() -> None:
        while waiting and not stopping and len(running) < options.parallel:
            system = waiting.pop(0)
            running[system] = _start(system, options)

    while running or (waiting and not stopping):
        fill()
        ended = {system: process for system, process in running.items() if process.poll() is not None}
        for system in ended:
            del running[system]
        for system, process in ended.items():
            if process.returncode not in (0, 128 + signal.SIGTERM):
                log = options.out / f"{system}.log"
                print(f"{system}: nmt train ended with {process.returncode}; see {log}", file=sys.stderr)
            if process.returncode == 0:
                fill()  # the next one starts before this one is scored
                yield system
        if end is not None and time.monotonic() > end and not stopping:
            stopping = True
            for process in running.values():
                process.send_signal(signal.SIGTERM)  # it saves, and goes on from there next time
        if not ended:
            time.sleep(0.2)


def _start(system: str, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nmt", "train", str(_recipe_file(system, options)), "--device", options.device]
    command += [word for override in options.set for word in ("--set", override)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with (options.out / f"{system}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=options.out, stdout=log, stderr=log, env=environment)


def _events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def _measured(system: str, options: argparse.Namespace) -> Result:
    """Translates the test text with the trained model and scores it."""
    recipe = _recipe(system, options)
    run = options.out / "runs" / recipe.name
    events = _events(run)
    updates = [event for event in events if event["event"] == "update"]
    validations = [event["bleu"] for event in events if event["event"] == "validation"]
    # Rates are those between two events, without validations, so this is the time of training alone.
    before = [0, *(event["tgt_tokens"] for event in updates[:-1])]
    seconds = sum((e["tgt_tokens"] - b) / e["tgt_tokens_per_second"] for b, e in zip(before, updates, strict=True))
    src, ref = _test_text(recipe, system, options)
    device = "cuda" if options.device == "auto" and torch.cuda.is_available() else options.device
    translator = Translator.load(run / "model.safetensors", device=device)
    started = time.monotonic()
    hyp = [found.translation for found in translator.translate(src)]
    took = time.monotonic() - started
    longer = None
    if file := LONG.get(options.text):
        long_src, long_ref = (read_text(file.with_suffix(f".{side}")).lines for side in ("en", "fr"))
        found = [t.translation for t in translator.translate(long_src)]
        longer = round(bleu(found, [long_ref], tokenize=tokenizer_for(recipe.corpus.tgt)).score, 2)
    score = bleu(hyp, [ref], tokenize=tokenizer_for(recipe.corpus.tgt))
    start = next(event for event in events if event["event"] == "start")
    keys = ("commit", "versions", "device", "threads", "dtype", "kernels", "seed", "recipe")
    return Result(
        system=system,
        recipe=str(_recipe_file(system, options).relative_to(ROOT)),
        parameters=dry_run(recipe).parameters,
        updates=updates[-1]["update"],
        tgt_tokens=updates[-1]["tgt_tokens"],
        seconds=round(seconds, 1),
        tgt_tokens_per_second=round(updates[-1]["tgt_tokens"] / seconds, 1),
        validation_bleu=max(validations),
        bleu=round(score.score, 2),
        signature=score.signature,
        by_length=_by_length(src, hyp, ref, recipe.corpus.tgt),
        bleu_long=longer,
        sentences_per_second=round(len(src) / took, 2),
        settings={key: start.get(key) for key in keys} | {"set": options.set},
    )


def _test_text(recipe: Recipe, system: str, options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Source and target lines of the recipe's test text."""
    files = find_files(recipe.corpus, _recipe_file(system, options)).test
    assert files is not None, "a recipe of the progression has a test text"
    return read_text(files.src).lines, read_text(files.tgt).lines


def _by_length(src: list[str], hyp: list[str], ref: list[str], language: str) -> dict[str, tuple[float, int]]:
    groups: dict[str, list[int]] = {**{str(bound): [] for bound in LENGTHS}, "more": []}
    for i, line in enumerate(src):
        words = len(line.split())
        groups[next((str(bound) for bound in LENGTHS if words <= bound), "more")].append(i)

    def score(rows: list[int]) -> float:
        found = bleu([hyp[i] for i in rows], [[ref[i] for i in rows]], tokenize=tokenizer_for(language))
        return round(found.score, 2)

    return {name: (score(rows), len(rows)) for name, rows in groups.items() if rows}


def table(results: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, a row a system in the order of history."""
    groups = [name for name in (*map(str, LENGTHS), "more") if any(name in r["by_length"] for r in results)]
    sizes = {name: next(r["by_length"][name][1] for r in results if name in r["by_length"]) for name in groups}
    heads = [f"more ({sizes[g]})" if g == "more" else f"≤ {g} ({sizes[g]})" for g in groups]
    longer = ["long"] if any(r["bleu_long"] is not None for r in results) else []
    head = ["system", "parameters", "BLEU", *heads, *longer, "target tokens", "tokens/s", "minutes"]
    rows = [head, ["---"] * len(head)]
    for r in results:
        scores = [f"{r['by_length'][g][0]:.1f}" if g in r["by_length"] else "" for g in groups]
        rows.append(
            [
                SYSTEMS[r["system"]],
                f"{r['parameters'] / 1e6:.2f} M",
                f"{r['bleu']:.2f}",
                *scores,
                *(f"{r['bleu_long']:.1f}" for _ in longer),
                f"{r['tgt_tokens'] / 1e6:.2f} M",
                f"{r['tgt_tokens_per_second']:,.0f}",
                f"{r['seconds'] / 60:.1f}",
            ]
        )
    settings = results[0]["settings"]
    told = ", ".join(f"{key} {settings[key]}" for key in ("device", "threads", "dtype", "seed", "commit"))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", f"BLEU: {results[0]['signature']}; by words of the source (sentences). {told}."])


if __name__ == "__main__":
    main()
