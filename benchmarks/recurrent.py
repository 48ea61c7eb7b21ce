"""Translation by recurrent models on a CPU beside OpenNMT-py, whose models are of the same sizes: in turns.

    python -m benchmarks.recurrent     two quiet cores, 20 minutes

Multi30k's test2016, 1,000 sentences in the same pieces. The models have hardly learned anything (one update): every
translation is made to be 15 pieces and the end of a sentence, so that what a model likes changes nothing. Each program
is started anew for each measurement; what it takes for a single line is taken off, so that start and model are out of
it. Every one runs at the best of the settings below, found in a first round: two processes with a thread each, half of
the text for each of OpenNMT-py's, or one with two threads. Both in float32 and in whole numbers of 8 bits (theirs by
torch's dynamic quantisation). Writes benchmarks/results/recurrent.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks import machine, ours
from benchmarks.toolkits.opennmt import OPENNMT, train_with
from benchmarks.toolkits.text import Text, write_text
from benchmarks.toolkits.toolkit import Job
from nmt.commands.prepare import prepare
from nmt.recipe_file import load_recipe

RESULTS = ours.ROOT / "benchmarks" / "results" / "recurrent.json"
LENGTH = 16
"""Steps of every translation."""
BATCHES = (64, 256)
MODELS: dict[str, tuple[str, dict[str, object]]] = {
    "additive": ("{}", {}),
    "multiplicative": (
        "{kind: luong, n_layers: 2, d_embed: 256, d_hidden: 512, reverse_source: false, tied_embeddings: true}",
        {"encoder_type": "rnn", "rnn_type": "LSTM", "layers": 2, "global_attention": "general"},
    ),
}
"""What our recipe's model is instead, and what is otherwise in the other program's configuration."""
PRECISIONS = {"float32": "fp32", "int8": "int8"}
"""Ours, and the other program's word for it."""


@dataclass(frozen=True)
class Setting:
    """How a program runs: sentences at once, processes, and threads of each."""

    batch: int
    processes: int
    threads: int


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=os.environ.get("PEERS"), required="PEERS" not in os.environ)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beams", nargs="+", type=int, default=[5, 1])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.peers = options.peers.absolute()
    options.out = options.out.absolute()
    options.work.mkdir(parents=True, exist_ok=True)
    os.chdir(options.work)
    version = OPENNMT.version(options.peers)
    if version is None:
        parser.error("OpenNMT-py is not there: python -m benchmarks.toolkits.install OpenNMT-py")
    recipe = load_recipe(ours.RECIPES["gru"], [])
    text = write_text(prepare(recipe, ours.RECIPES["gru"]), Path("text").absolute())
    settings = {**machine.settings(2), "rounds": options.rounds, "length": LENGTH, "version": version}
    runs = []
    for model in options.models:
        both = {"nmt": _Ours(model), "OpenNMT-py": _Theirs(model, text, options.peers)}
        systems = {f"{name} {one}": _at(system, one) for one in options.precisions for name, system in both.items()}
        for beam in options.beams:
            runs += _compare(model, beam, systems, options.rounds)
            options.out.write_text(json.dumps({"settings": settings, "runs": runs}, indent=1) + "\n")


def _compare(model: str, beam: int, systems: "dict[str, _Ours | _Theirs]", rounds: int) -> list[dict[str, object]]:
    best = {
        name: min(system.settings(), key=lambda setting: min(system.seconds(setting, beam) for _ in range(2)))
        for name, system in systems.items()
    }
    starts = {name: median(system.seconds(best[name], beam, 1) for _ in range(3)) for name, system in systems.items()}
    taken: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, system in systems.items():
            taken[name].append(system.seconds(best[name], beam))
    found = []
    for name, system in systems.items():
        n = system.sentences
        row = {"model": model, "beam": beam, "system": name, "setting": asdict(best[name]), "start": starts[name]}
        row |= {"seconds": taken[name], "sentences": n, "parameters": system.parameters}
        row |= {"commit": machine.commit()}
        rates = [n / (seconds - starts[name]) for seconds in taken[name]]
        found.append({**row, "sentences_per_second": rates})
        print(f"{model} beam {beam} {name}: {median(rates):,.1f} sentences/s, {best[name]}", flush=True)
    return found


def _at(system: "_Ours | _Theirs", precision: str) -> "_Ours | _Theirs":
    """The same in another precision."""
    other = copy(system)
    other.precision = precision
    return other


class _Ours:
    """`nmt translate`, as it is."""

    precision = "float32"

    def __init__(self, model: str) -> None:
        name = f"recurrent-{model}"
        changes = {"name": name, "train.updates": 1, "train.validate_every": 1, "train.validate_sentences": 1}
        # min_len_ratio asks for more than there may be, and gives way: as many pieces as fit, and the end.
        changes |= {"search.max_len_ratio": 0, "search.max_len_extra": LENGTH, "search.min_len_ratio": LENGTH}
        changes |= {"corpus.test": "null"} | ({} if MODELS[model][0] == "{}" else {"model": MODELS[model][0]})
        ours.fresh(Path(), name)
        words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
        command = [sys.executable, "-m", "nmt", "train", str(ours.RECIPES["gru"]), "--device", "cpu", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        self.model = Path("runs") / name / "model.safetensors"
        self.source = Path("text/test.src.txt").read_text().splitlines(keepends=True)
        self.sentences = len(self.source)
        log = ours.read_log((Path("runs") / name / "log.jsonl").read_text())
        self.parameters = log.parameters

    def settings(self) -> list[Setting]:
        """What is tried."""
        return [Setting(batch, 2, 1) for batch in BATCHES]

    def seconds(self, setting: Setting, beam: int, lines: int | None = None) -> float:
        """Of the whole program, for the first lines or all."""
        words = [sys.executable, "-m", "nmt", "translate", "--model", str(self.model), "--device", "cpu"]
        words += ["--precision", self.precision]
        words += ["--beam", str(beam), "--batch", str(setting.batch), "--workers", str(setting.processes)]
        source = "".join(self.source[:lines])
        began = time.perf_counter()
        done = subprocess.run(words, input=source, capture_output=True, text=True, check=True)
        took = time.perf_counter() - began
        assert done.stdout.count("\n") == source.count("\n")
        return took


class _Theirs:
    """`onmt_translate`, as it is, started with what it needs on this Python."""

    precision = "float32"

    def __init__(self, model: str, text: Text, peers: Path) -> None:
        self.python = OPENNMT.python(peers)
        out = Path(f"opennmt-{model}").absolute()
        out.mkdir(exist_ok=True)
        self.job = Job("gru", text, out, self.python, 2, updates=1)
        command = train_with(self.job, OPENNMT.batch["gru"], MODELS[model][1])
        log = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment(2))
        self.parameters = OPENNMT.n_parameters(log.stdout + log.stderr)
        self.source = (text.folder / "test.src").read_text().splitlines(keepends=True)
        self.sentences = len(self.source)

    def settings(self) -> list[Setting]:
        """What is tried."""
        return [Setting(batch, n, 3 - n) for batch in BATCHES for n in (1, 2)]

    def seconds(self, setting: Setting, beam: int, lines: int | None = None) -> float:
        """Of the whole program, or of two at once, for the first lines of each or all."""
        source, n = self.source, setting.processes
        # Every n-th line, so that each has sentences of all lengths.
        shares = [source[i::n][:lines] for i in range(n)]
        for i, share in enumerate(shares):
            (self.job.out / f"source.{i}").write_text("".join(share))
        commands = [self._command(i, setting, beam) for i in range(n)]
        began = time.perf_counter()
        running = [
            subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment(setting.threads)
            )
            for command in commands
        ]
        codes = [process.wait() for process in running]
        assert not any(codes)
        took = time.perf_counter() - began
        written = [(self.job.out / f"found.{i}").read_text().splitlines() for i in range(n)]
        assert [len(one) for one in written] == [len(share) for share in shares]
        return took

    def _command(self, i: int, setting: Setting, beam: int) -> Sequence[str]:
        out, (checkpoint,) = self.job.out, self.job.out.glob("model_step_*.pt")
        words = f"""-model {checkpoint} -src {out}/source.{i} -output {out}/found.{i} -beam_size {beam}
            -batch_size {setting.batch} -batch_type sents -min_length {LENGTH - 1} -max_length {LENGTH}
            -length_penalty avg -gpu -1 -precision {PRECISIONS[self.precision]}""".split()
        return [str(self.python), "-P", str(LAUNCH), "opennmt", "1", self.job.script("onmt_translate"), *words]


LAUNCH = Path(__file__).parent / "toolkits" / "launch.py"


def _environment(threads: int) -> dict[str, str]:
    fixed = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": 1}
    return os.environ | {name: str(value) for name, value in fixed.items()}


if __name__ == "__main__":
    main()
