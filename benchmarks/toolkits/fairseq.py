"""fairseq (Ott et al. 2019)."""

import math
import re
import subprocess
from pathlib import Path

from benchmarks.toolkits.text import Text
from benchmarks.toolkits.toolkit import EVERY, FOREVER, Job, Toolkit, Translating, launch, nats
from benchmarks.watch import Sample


def binarised(job: Job) -> Path:
    """The text as fairseq reads it, made once by its own program."""
    at = job.text.folder
    folder = at / "fairseq"
    if not folder.exists():
        command = launch(job, "fairseq", 1, job.script("fairseq-preprocess"), "-s", "src", "-t", "tgt")
        command += ["--trainpref", f"{at}/train", "--validpref", f"{at}/valid", "--testpref", f"{at}/test"]
        command += ["--srcdict", f"{at}/words.fairseq", "--joined-dictionary", "--destdir", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
    return folder


def _train(job: Job, batch: int) -> list[str]:
    data = binarised(job)
    command = f"""{data} --cpu --arch transformer --encoder-layers 3 --decoder-layers 3 --encoder-embed-dim 256
        --decoder-embed-dim 256 --encoder-ffn-embed-dim 1024 --decoder-ffn-embed-dim 1024 --encoder-attention-heads 4
        --decoder-attention-heads 4 --share-all-embeddings --dropout {job.dropout} --label-smoothing 0.1
        --criterion label_smoothed_cross_entropy --optimizer adam --lr {job.lr} --lr-scheduler inverse_sqrt
        --warmup-updates {job.warm_up} --clip-norm 1.0 --max-tokens {batch} --max-update {job.updates}
        --log-interval {EVERY} --log-format simple --seed 1 --num-workers 0""".split()
    command += ["--adam-betas", "(0.9, 0.98)", "--save-dir", str(job.out / "checkpoints")]
    if not job.save_every:
        command += ["--no-save"]
    else:
        command += ["--save-interval-updates", str(job.save_every), "--no-epoch-checkpoints", "--disable-validation"]
    if job.validate:
        command += ["--validate-interval-updates", str(job.at), "--validate-interval", str(FOREVER)]
    elif not job.save_every:
        command += ["--disable-validation"]
    return launch(job, "fairseq", 1, job.script("fairseq-train"), *command)


def samples(log: str, text: Text) -> list[Sample]:
    """Lines `train_inner | ... wps=2410.1, ups=0.6, wpb=4012.2, ...`: target words a second, and an update."""
    del text
    found = re.findall(r"train_inner .*?wps=([\d.]+), .*?wpb=([\d.]+)", log)
    return [Sample(EVERY * float(size), EVERY * float(size) / float(speed)) for speed, size in found if float(speed)]


def _translate(job: Job, checkpoint: Path, split: str, beam: int, out: Path) -> list[str]:
    del out  # it prints them
    command = f"""{binarised(job)} --cpu --path {checkpoint} --gen-subset {split} --beam {beam} --lenpen 1
        --batch-size 100 --max-len-a 1.5 --max-len-b 10""".split()
    return launch(job, "fairseq", 1, job.script("fairseq-generate"), *command)


def _saved(folder: Path) -> dict[int, Path]:
    """Files checkpoints/checkpoint_EPOCH_UPDATES.pt."""
    files = (folder / "checkpoints").glob("checkpoint_*_*.pt")
    return {int(file.stem.rpartition("_")[2]): file for file in files}


def _printed(out: Path, log: str) -> list[str]:
    """Lines `H-12 TAB score TAB pieces`, the longest sentence first; 12 is its place in the text."""
    del out
    found = re.findall(r"^H-(\d+)\t[-\d.einf]+\t(.*)$", log, re.MULTILINE)
    return [pieces for _, pieces in sorted((int(number), pieces) for number, pieces in found)]


FAIRSEQ = Toolkit(
    name="fairseq",
    folder="venv-fairseq",
    package="fairseq",
    batch={"transformer": 4800},
    counts="tokens of the longer side, with padding",
    torch=True,
    train=_train,
    samples=samples,
    validation=nats(r"\| valid on .*?nll_loss ([\d.]+)", math.log(2)),
    parameters=r"num\. (?:shared )?model params: ([\d,]+)",
    translating=Translating(_saved, _translate, _printed),
)
