"""Hugging Face's MarianMTModel (Transformers), in the loop of huggingface_loop.py."""

import re
from functools import partial
from pathlib import Path

from benchmarks.toolkits.text import Text
from benchmarks.toolkits.toolkit import HERE, Job, Toolkit, Translating, launch, nats
from benchmarks.watch import Sample


def _train(job: Job, batch: int, dtype: str) -> list[str]:
    command = f"train --tokens {batch} --updates {job.updates} --threads {job.threads} --dtype {dtype}".split()
    command += f"--lr {job.lr} --warm-up {job.warm_up} --dropout {job.dropout} --save-every {job.save_every}".split()
    command += ["--data", str(job.text.folder), "--out", str(job.out), *(["--validate"] if job.validate else [])]
    return launch(job, "huggingface", 1, str(HERE / "huggingface_loop.py"), *command)


def samples(log: str, text: Text) -> list[Sample]:
    """Lines `... TOKENS 20301 SECONDS 8.123`."""
    del text
    return [Sample(float(n), float(s)) for n, s in re.findall(r"TOKENS (\d+) SECONDS ([\d.]+)", log)]


def _translate(job: Job, checkpoint: Path, split: str, beam: int, out: Path) -> list[str]:
    command = f"""translate --data {job.text.folder} --model {checkpoint} --out {out} --split {split} --beam {beam}
        --batch 100 --threads {job.threads}""".split()
    return launch(job, "huggingface", 1, str(HERE / "huggingface_loop.py"), *command)


def _saved(folder: Path) -> dict[int, Path]:
    return {int(found.name.removeprefix("update-")): found for found in folder.glob("update-*")}


HUGGING_FACE = Toolkit(
    name="Hugging Face",
    folder="venv-hf",
    package="transformers",
    batch={"transformer": 4096},
    counts="real target tokens at most",
    torch=True,
    train=partial(_train, dtype="float32"),
    samples=samples,
    validation=nats(r"VALIDATION ([\d.]+)"),
    parameters=r"parameters (\d+)",
    translating=Translating(_saved, _translate),
)
