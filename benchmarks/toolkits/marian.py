"""Marian (Junczys-Dowmunt et al. 2018), as its Python package starts it; the one toolkit here without PyTorch."""

import re

from benchmarks.toolkits.text import Text
from benchmarks.toolkits.toolkit import EVERY, FOREVER, Job, Toolkit, nats
from benchmarks.watch import Sample


def _train(job: Job, batch: int) -> list[str]:
    at = str(job.text.folder)
    if job.task == "transformer":
        model = f"""--type transformer --enc-depth 3 --dec-depth 3 --transformer-heads 4 --transformer-dim-ffn 1024
            --transformer-ffn-activation relu --tied-embeddings-all --transformer-dropout {job.dropout}"""
    else:
        model = f"""--type s2s --dim-rnn 512 --enc-cell gru --dec-cell gru --enc-depth 1 --dec-depth 1
            --tied-embeddings-src --dropout-rnn {job.dropout}"""
    command = f"""{model} --train-sets {at}/train.src {at}/train.tgt --vocabs {at}/words.marian.yml
        {at}/words.marian.yml --dim-emb 256 --label-smoothing 0.1 --mini-batch-words {batch} --maxi-batch 1000
        --max-length 100 --learn-rate {job.lr} --lr-warmup {job.warm_up} --lr-decay-inv-sqrt {job.warm_up} --clip-norm 1
        --optimizer-params 0.9 0.98 1e-09 --disp-freq {EVERY} --cpu-threads {job.threads} --sync-sgd -w 3000
        --cost-type ce-mean-words --optimizer-delay 1 --after-batches {job.updates} --overwrite --no-reload --seed 1
        --save-freq {job.save_every or FOREVER} --model {job.out}/model.npz""".split()
    if job.validate:
        command += f"""--valid-sets {at}/valid.src {at}/valid.tgt --valid-metrics ce-mean-words
            --valid-freq {job.at} --valid-mini-batch 64""".split()
    return [job.script("pymarian"), "train", *command]


def samples(log: str, text: Text) -> list[Sample]:
    """Lines `Cost 8.34 : Time 12.11s : 1912.11 words/s`: real target tokens since the last line."""
    del text
    found = re.findall(r"Cost [\d.]+ : Time ([\d.]+)s : ([\d.]+) words/s", log)
    return [Sample(float(s) * float(speed), float(s)) for s, speed in found]


MARIAN = Toolkit(
    name="Marian",
    folder="venv-marian",
    package="pymarian",
    batch={"transformer": 3600, "gru": 3600},
    counts="source tokens, with padding",
    torch=False,
    train=_train,
    samples=samples,
    validation=nats(r"ce-mean-words : ([\d.]+)"),
    parameters=r"parameters: +([\d,]+)",
)
