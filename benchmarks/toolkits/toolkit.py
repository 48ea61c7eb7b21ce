"""What another toolkit is to the side-by-side: how it trains the model of a recipe, and what its log says.

Each has a file here. Every one has the same pieces, vocabulary, number of layers and widths, dropout, smoothing,
optimiser and clipping as our recipes in benchmarks/recipes, and a batch size, in its own way of counting, that comes to
about as many real target tokens an update. Attention dropout is off where it can be, as ours is; docs/performance.md
says where they differ.
"""

import json
import math
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.toolkits.text import Text
from benchmarks.watch import Sample

HERE = Path(__file__).parent
EVERY = 5
"""Updates between two lines of a log, for every toolkit."""
FOREVER = 1_000_000
"""Updates of a run that is ended from outside."""


@dataclass(frozen=True)
class Job:
    """A training to be run by one toolkit.

    updates: how many, with one validation at their end when `validate`; save_every: updates between checkpoints, 0 for
    none. python: of the toolkit's environment. lr: the peak of the learning rate, reached after `warm_up` updates; it
    then falls with the square root of the updates. The defaults are those of benchmarks/recipes.
    """

    task: str
    text: Text
    out: Path
    python: Path
    threads: int
    updates: int = FOREVER
    validate: bool = False
    save_every: int = 0
    dropout: float = 0.1
    lr: float = 1e-3
    warm_up: int = 300

    @property
    def at(self) -> int:
        """The update after which it validates."""
        return self.updates if self.validate else FOREVER

    def script(self, name: str) -> str:
        """A program of the toolkit's environment."""
        return str(self.python.parent / name)


@dataclass(frozen=True)
class Translating:
    """How a toolkit translates with what it trained.

    saved: updates and checkpoint of each one that a job's folder has. command: of a job, checkpoint, part of the text
    (valid, test), beam and a file for the output. read: the translations in pieces, a line each, from that file and
    from what was printed.
    """

    saved: Callable[[Path], dict[int, Path]]
    command: Callable[[Job, Path, str, int, Path], list[str]]
    read: Callable[[Path, str], list[str]] = lambda out, log: out.read_text().splitlines()


@dataclass(frozen=True)
class Toolkit:
    """A program to be compared with.

    folder: of its environment, below the one that PEERS names. package: as the package index has it. batch: its own
    number for about 4,096 real target tokens an update, by task. counts: what that number counts, in words. torch:
    whether it trains on PyTorch. train: the command; samples, validation: what its log says, in real target tokens and
    seconds, and in nats a target token.
    """

    name: str
    folder: str
    package: str
    batch: dict[str, int]
    counts: str
    torch: bool
    train: Callable[[Job, int], list[str]]
    samples: Callable[[str, Text], list[Sample]]
    validation: Callable[[str], float | None]
    parameters: str = r"$^"
    translating: Translating | None = None

    def python(self, root: Path) -> Path:
        """The interpreter of its environment."""
        return root / self.folder / "bin" / "python"

    def version(self, root: Path) -> str | None:
        """The installed version; of PyTorch too where it has it. None where it is not installed, or not all of it."""
        if not self.python(root).exists():
            return None
        names = [self.package, *(["torch"] if self.torch else [])]
        ask = "import sys,importlib.metadata as m;print(*(m.version(n) for n in sys.argv[1:]))"
        asked = subprocess.run([self.python(root), "-c", ask, *names], capture_output=True, text=True)
        if asked.returncode:
            return None
        versions = asked.stdout.split()
        return versions[0] + (f" (torch {versions[1]})" if self.torch else "")

    def n_parameters(self, log: str) -> int | None:
        """The number of parameters, as it prints it."""
        found = re.search(self.parameters, log)
        return int(re.sub(r"[,_]", "", found[1])) if found else None


def real_share(log: str) -> float | None:
    """Share of source and target positions that hold a token, as launch.py told it last."""
    found = re.findall(r"PADDING share ([\d.]+)", log)
    return float(found[-1]) if found else None


def launch(job: Job, toolkit: str, pad: int, *command: str) -> list[str]:
    """The command that starts a Python toolkit's program and counts its padding, `pad` being that id."""
    return [str(job.python), "-P", str(HERE / "launch.py"), toolkit, str(pad), *command]


def perplexity(pattern: str, base: float = math.e) -> Callable[[str], float | None]:
    """Nats a token from the last perplexity that a log prints."""

    def read(log: str) -> float | None:
        found = re.findall(pattern, log)
        return math.log(float(found[-1]), base) if found else None

    return read


def nats(pattern: str, unit: float = 1.0) -> Callable[[str], float | None]:
    """Nats a token from the last loss that a log prints, in this unit."""

    def read(log: str) -> float | None:
        found = re.findall(pattern, log)
        return float(found[-1]) * unit if found else None

    return read


def config(job: Job, name: str, values: object) -> str:
    """A configuration file: JSON, which YAML readers read."""
    path = job.out / name
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False))
    return str(path)
