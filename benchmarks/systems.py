"""What is compared: our variants and the other toolkits, each a thing that trains a task and says how it went."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from benchmarks import ours
from benchmarks.toolkits.fairseq import FAIRSEQ
from benchmarks.toolkits.huggingface import HUGGING_FACE
from benchmarks.toolkits.joey import JOEY
from benchmarks.toolkits.marian import MARIAN
from benchmarks.toolkits.opennmt import EOLE, OPENNMT
from benchmarks.toolkits.sockeye import SOCKEYE
from benchmarks.toolkits.text import Text
from benchmarks.toolkits.toolkit import EVERY, FOREVER, Job, Toolkit, real_share
from benchmarks.watch import Sample, Watched, watch
from nmt.recipe_file import load_recipe

TOOLKITS = (HUGGING_FACE, FAIRSEQ, EOLE, OPENNMT, MARIAN, SOCKEYE, JOEY)
OURS = {"nmt float32": "float32", "nmt bfloat16": "bfloat16"}
"""Our variants, and compute.dtype of each."""


@dataclass(frozen=True)
class Outcome:
    """What a training said and took.

    samples: its log, a line's stretch each. real_share: of the source and target positions that it computed, those that
    hold a token, where it is known. validation: nats a target token.
    """

    samples: list[Sample]
    tokens_per_update: float | None
    real_share: float | None
    parameters: int | None
    validation: float | None
    watched: Watched


@dataclass(frozen=True)
class Place:
    """Where trainings run: a folder for what they write, the text in pieces, and threads."""

    work: Path
    text: Text
    threads: int

    def environment(self) -> dict[str, str]:
        """The variables that every program gets."""
        threads = str(self.threads)
        fixed = {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",  # OpenNMT-py reads its own files so
        }
        return {**{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, **fixed}


@dataclass(frozen=True)
class Until:
    """When a training ends: after `updates`, then with one validation, or once `enough` of its log is there.

    limit: seconds after which it ends in any case.
    """

    updates: int | None = None
    enough: Callable[[Sequence[Sample]], bool] = lambda samples: False
    limit: float = 150.0


class System(Protocol):
    """Something that trains."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def version(self) -> str:
        """Of the program, and of what it stands on."""
        ...

    def batch(self, task: str) -> int | None:
        """Its own number for the size of a batch of this task; None where it has no such model."""
        ...

    def train(self, task: str, place: Place, until: Until) -> Outcome:
        """Trains from the beginning."""
        ...


@dataclass(frozen=True)
class Ours:
    """One of our variants."""

    name: str
    version: str

    def batch(self, task: str) -> int | None:
        """Target tokens an update, without padding, at most."""
        return load_recipe(ours.RECIPES[task]).train.tokens

    def train(self, task: str, place: Place, until: Until) -> Outcome:
        """Runs `nmt train` on the task's recipe."""
        run, updates = f"{task}-{OURS[self.name]}", until.updates or FOREVER
        file = ours.fresh(place.work, run) / "log.jsonl"

        def log() -> ours.Log:
            return ours.read_log(file.read_text() if file.exists() else "")

        settings: dict[str, object] = {
            "name": run,
            "compute.dtype": OURS[self.name],
            "compute.threads": place.threads,
            "train.updates": updates,
            "train.validate_every": updates,
            "train.validate_sentences": 1,  # the loss is over all of them; the BLEU is not wanted
        }
        watched = watch(
            ours.command(ours.RECIPES[task], settings),
            place.work / f"{run}.log",
            cwd=place.work,
            environment={**place.environment(), "PYTHONPATH": str(ours.ROOT)},
            limit=until.limit,
            # With a number of updates, its last validation is what is waited for, not the test text that follows.
            done=lambda: bool(log().validations) if until.updates else until.enough(log().samples),
        )
        found = log()
        validation = found.validations[-1].loss if found.validations else None
        return Outcome(found.samples, found.tokens_per_update, found.real_share, found.parameters, validation, watched)


@dataclass(frozen=True)
class Theirs:
    """Another toolkit, from its environment below `root`."""

    toolkit: Toolkit
    root: Path
    version: str

    @property
    def name(self) -> str:
        """The toolkit's name."""
        return self.toolkit.name

    def batch(self, task: str) -> int | None:
        """See Toolkit.counts."""
        return self.toolkit.batch.get(task)

    def train(self, task: str, place: Place, until: Until) -> Outcome:
        """Runs the toolkit's own program."""
        toolkit, text = self.toolkit, place.text
        out = place.work / f"{self.name}-{task}".replace(" ", "-").lower()
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        job = Job(task, text, out, toolkit.python(self.root), place.threads)
        if until.updates:
            job = replace(job, updates=until.updates, validate=True)
        log = out / "log"

        def said() -> str:
            return log.read_text(errors="replace") if log.exists() else ""

        watched = watch(
            toolkit.train(job, toolkit.batch[task]),
            log,
            cwd=out,
            environment=place.environment(),
            limit=until.limit,
            done=lambda: toolkit.validation(said()) is not None
            if until.updates
            else until.enough(toolkit.samples(said(), text)),
        )
        samples = toolkit.samples(said(), text)
        size = sum(sample.tokens for sample in samples) / (EVERY * len(samples)) if samples else None
        return Outcome(
            samples, size, real_share(said()), toolkit.n_parameters(said()), toolkit.validation(said()), watched
        )


def installed(root: Path | None) -> list[Theirs]:
    """The toolkits that have an environment below this folder, with the versions that are in it."""
    if root is None:
        return []
    return [Theirs(toolkit, root, version) for toolkit in TOOLKITS if (version := toolkit.version(root))]
