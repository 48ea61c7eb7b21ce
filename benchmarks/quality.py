"""Time to quality: wall clock from the start of a training to the first validation BLEU that reaches a mark.

    python -m benchmarks.quality --target 50 --only "Hugging Face" nmt

Ours is `nmt train` on --recipe, with its start-up and all its validations. The others get the same model, size of
batches and dropout as that recipe, and Adam with its learning rate or the one that --peers-lr gives them. They train
for --minutes without any validation, and save checkpoints; then these are translated and scored, the earliest first,
and a checkpoint's time is that at which it was written. So what they would need to know when to stop is not counted.
"""

import argparse
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks import machine, ours
from benchmarks.peers import RESULTS
from benchmarks.systems import Place, Theirs, installed
from benchmarks.toolkits.text import write_text
from benchmarks.toolkits.toolkit import Job
from benchmarks.watch import watch
from nmt.commands.prepare import prepare
from nmt.corpus.shards import Prepared
from nmt.metrics import bleu, offline_tokenizer_for
from nmt.recipe import Recipe
from nmt.recipe_file import load_recipe


@dataclass(frozen=True)
class Reached:
    """A BLEU on the way: after so many updates and seconds since the program was started."""

    updates: int
    seconds: float
    bleu: float


@dataclass(frozen=True)
class Course:
    """What a system reached, in the order of time; seconds: of the first that reached the mark, None if none did."""

    system: str
    version: str
    settings: str
    seconds: float | None
    reached: list[Reached]
    other_cores: float


def first(reached: list[Reached], target: float) -> float | None:
    """The seconds of the first one that is at the mark."""
    return next((one.seconds for one in reached if one.bleu >= target), None)


def main() -> None:
    """Trains each in turn and writes benchmarks/results/quality.json as it goes."""
    options = _options()
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.work)
    recipe = load_recipe(options.recipe, options.set)
    prepared = prepare(recipe, options.recipe, say=lambda line: None)
    place = Place(options.work, write_text(prepared, options.work / "text"), options.threads)
    settings = machine.settings(options.threads) | {"target": options.target, "text": recipe.corpus.train}
    courses: list[Course] = []

    def add(course: Course) -> None:
        courses.append(course)
        print(f"{course.system}: {course.seconds} s to BLEU {options.target}; {course.reached[-1:]}", flush=True)
        text = json.dumps({"settings": settings, "courses": [asdict(one) for one in courses]}, indent=1)
        (options.out / "quality.json").write_text(text + "\n")

    if not options.only or "nmt" in options.only:
        add(_ours(recipe, place, options))
    for system in installed(options.peers):
        if system.toolkit.translating and (not options.only or system.name in options.only):
            add(_theirs(system, recipe, prepared, place, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=float, default=50.0, help="BLEU")
    parser.add_argument("--recipe", type=Path, default=ours.ROOT / "recipes" / "multi30k" / "en-fr-transformer.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for the recipe, as nmt train")
    parser.add_argument("--peers", type=Path, default=os.environ.get("PEERS"), help="folder of their environments")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these systems alone; ours is nmt")
    parser.add_argument("--peers-lr", type=float, help="the others' peak rate, not the recipe's")
    parser.add_argument("--peers-warm-up", type=int, help="the others' updates up to it, not the recipe's")
    parser.add_argument("--every", type=int, default=100, help="updates between our validations, and their checkpoints")
    parser.add_argument("--minutes", type=float, default=45.0, help="at most, for each system")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=Path("runs/quality"), help="folder for text, logs and checkpoints")
    options = parser.parse_args()
    for name in ("peers", "out", "work", "recipe"):
        if getattr(options, name) is not None:
            setattr(options, name, Path(getattr(options, name)).absolute())
    return options


def _ours(recipe: Recipe, place: Place, options: argparse.Namespace) -> Course:
    file = ours.fresh(place.work, recipe.name) / "log.jsonl"
    settings = {"train.validate_every": options.every, "compute.threads": place.threads}
    reached: list[Reached] = []
    started = time.monotonic()

    def done() -> bool:
        """Takes in what was validated since the last look, by our clock: the log's begins after the start-up."""
        log = ours.read_log(file.read_text() if file.exists() else "")
        for number, found in enumerate(log.validations[len(reached) :], len(reached) + 1):
            reached.append(Reached(number * options.every, round(time.monotonic() - started, 1), found.bleu))
        return first(reached, options.target) is not None

    command = ours.command(options.recipe, dict(settings))
    watched = watch(
        [*command, *(word for override in options.set for word in ("--set", override))],
        place.work / f"{recipe.name}.log",
        cwd=place.work,
        environment={**place.environment(), "PYTHONPATH": str(ours.ROOT)},
        limit=60 * options.minutes,
        done=done,
    )
    told = f"{options.recipe.name} {' '.join(options.set)}".strip()
    return Course("nmt", machine.commit(), told, first(reached, options.target), reached, watched.other_cores)


def _theirs(system: Theirs, recipe: Recipe, prepared: Prepared, place: Place, options: argparse.Namespace) -> Course:
    toolkit, train = system.toolkit, recipe.train
    assert toolkit.translating is not None
    out = place.work / toolkit.folder
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    job = Job("transformer", place.text, out, toolkit.python(system.root), place.threads, save_every=options.every)
    warm_up = options.peers_warm_up or getattr(train.schedule, "warmup_updates", 0) or job.warm_up
    job = replace(job, lr=options.peers_lr or train.lr, warm_up=warm_up)
    job = replace(job, dropout=getattr(recipe.model, "dropout", job.dropout))
    batch = round(toolkit.batch["transformer"] * (train.tokens or 4096) / 4096)
    command = toolkit.train(job, batch)  # it may prepare the text: before the clock starts
    started = time.time()
    watched = watch(command, out / "log", cwd=out, environment=place.environment(), limit=60 * options.minutes)
    reached: list[Reached] = []
    for updates, checkpoint in sorted(toolkit.translating.saved(out).items()):
        score = _score(system, job, checkpoint, recipe, prepared, place)
        reached.append(Reached(updates, round(checkpoint.stat().st_mtime - started, 1), score))
        if score >= options.target:
            break
    told = f"batch {batch} {toolkit.counts}, lr {job.lr}, warm-up {job.warm_up}, dropout {job.dropout}"
    found = first(reached, options.target)
    return Course(system.name, system.version, told, found, reached, watched.other_cores)


def _score(system: Theirs, job: Job, checkpoint: Path, recipe: Recipe, prepared: Prepared, place: Place) -> float:
    """BLEU of a checkpoint on the validation text, its pieces joined as ours are."""
    translating = system.toolkit.translating
    assert translating is not None
    out, log = job.out / "valid.out", job.out / "valid.log"
    command = translating.command(job, checkpoint, "valid", recipe.search.beam, out)
    watch(command, log, cwd=job.out, environment=place.environment(), limit=1800)
    tokenizer = prepared.tokenizers[1]
    hyp = [tokenizer.join(line.split(" ")) for line in translating.read(out, log.read_text(errors="replace"))]
    ref = prepared.valid.tgt_lines()
    assert len(hyp) == len(ref), f"{system.name}: {len(hyp)} translations of {len(ref)} sentences; see {log}"
    return round(bleu(hyp, [ref], tokenize=offline_tokenizer_for(recipe.corpus.tgt)).score, 2)


if __name__ == "__main__":
    main()
