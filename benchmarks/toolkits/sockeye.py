"""Sockeye 3 (Hieber et al. 2022)."""

import math
import re

from benchmarks.toolkits.text import Text
from benchmarks.toolkits.toolkit import EVERY, Job, Toolkit, launch, perplexity
from benchmarks.watch import Sample


def _train(job: Job, batch: int) -> list[str]:
    at = str(job.text.folder)
    words = f"{at}/words.sockeye.json"
    peak = job.lr * math.sqrt(job.warm_up)  # it divides by the root of the updates, or of the warm-up's
    command = f"""-s {at}/train.src -t {at}/train.tgt -vs {at}/valid.src -vt {at}/valid.tgt -o {job.out}/model
        --source-vocab {words} --target-vocab {words} --shared-vocab --use-cpu --max-seq-len 100:100
        --batch-type max-word --batch-size {batch} --batch-sentences-multiple-of 1 --encoder transformer
        --decoder transformer --num-layers 3:3 --transformer-model-size 256 --num-embed 256:256
        --transformer-attention-heads 4 --transformer-feed-forward-num-hidden 1024 --transformer-dropout-attention 0
        --transformer-dropout-act 0 --transformer-dropout-prepost {job.dropout} --weight-tying-type src_trg_softmax
        --label-smoothing 0.1 --optimizer adam --optimizer-betas 0.9:0.98 --initial-learning-rate {peak}
        --learning-rate-scheduler-type inv-sqrt-decay --learning-rate-warmup {job.warm_up}
        --gradient-clipping-threshold 1.0 --gradient-clipping-type norm --checkpoint-interval {min(job.at, 100_000)}
        --max-updates {job.updates} --seed 1 --overwrite-output""".split()
    return launch(job, "sockeye", 0, job.script("sockeye-train"), *command)


def samples(log: str, text: Text) -> list[Sample]:
    """Lines `s/sec=105.21 tok/sec=1768.22 u/sec=0.43`. Its tokens are padded source tokens, so sentences are taken,
    each of the mean number of target tokens.
    """
    found = re.findall(r"s/sec=([\d.]+) tok/sec=[\d.]+ u/sec=([\d.]+)", log)
    seconds = [(float(sentences), EVERY / float(updates)) for sentences, updates in found if float(updates)]
    return [Sample(sentences * text.tgt_mean * s, s) for sentences, s in seconds]


SOCKEYE = Toolkit(
    name="Sockeye",
    folder="venv-sockeye",
    package="sockeye",
    batch={"transformer": 5500},
    counts="tokens of the longer side, with padding",
    torch=True,
    train=_train,
    samples=samples,
    validation=perplexity(r"Validation-ppl=([\d.]+)"),
    parameters=r"# of parameters: (\d+)",
)
