"""JoeyNMT (Kreutzer, Bastings, Riezler 2019)."""

import re
from datetime import datetime
from itertools import pairwise

from benchmarks.toolkits.text import Text
from benchmarks.toolkits.toolkit import EVERY, Job, Toolkit, config, launch, nats
from benchmarks.watch import Sample


def _train(job: Job, batch: int) -> list[str]:
    at, words = job.text.folder, str(job.text.folder / "words.joey")
    side = {
        "max_length": 200,
        "level": "word",
        "voc_limit": 8000,
        "voc_min_freq": 1,
        "voc_file": words,
        "tokenizer_cfg": {"pretokenizer": "none"},
    }
    special = {f"{name}_token": token for name, token in zip(("unk", "pad", "bos", "eos"), _SPECIAL, strict=True)}
    values = {
        "name": "peer",
        "joeynmt_version": "2.3.0",
        "model_dir": str(job.out / "model"),
        "use_cuda": False,
        "fp16": False,
        "random_seed": 1,
        "data": {
            "train": str(at / "train"),
            "dev": str(at / "valid"),
            "dataset_type": "plain",
            "src": {"lang": "src", **side},
            "trg": {"lang": "tgt", **side},
            "special_symbols": {**special, "unk_id": 0, "pad_id": 1, "bos_id": 2, "eos_id": 3},
        },
        "testing": {"n_best": 1, "beam_size": 1, "batch_size": 100, "batch_type": "sentence", "max_output_length": 60},
        "training": {
            "optimizer": "adam",
            "adam_betas": [0.9, 0.98],
            "learning_rate": job.lr,
            "clip_grad_norm": 1.0,
            "weight_decay": 0.0,
            "loss": "crossentropy",
            "label_smoothing": 0.1,
            # Its batches by tokens count padding and are of any lengths: by sentences they are of like length.
            "batch_size": batch,
            "batch_type": "sentence",
            "normalization": "tokens",
            "scheduling": "warmupinversesquareroot",
            "learning_rate_warmup": job.warm_up,
            "learning_rate_min": 0.0,
            "epochs": 1000,
            "updates": job.updates,
            "validation_freq": job.at,
            "logging_freq": EVERY,
            "early_stopping_metric": "loss",
            "shuffle": True,
            "overwrite": True,
            "print_valid_sents": [0],
            "keep_best_ckpts": 1,
        },
        "model": _transformer(job.dropout) if job.task == "transformer" else _RECURRENT,
    }
    return launch(job, "joey", 1, "-m", "joeynmt", "train", config(job, "joey.yaml", values))


_SPECIAL = ("<unk>", "<pad>", "<s>", "</s>")


def _transformer(dropout: float) -> dict[str, object]:
    side = {
        "type": "transformer",
        "num_layers": 3,
        "num_heads": 4,
        "embeddings": {"embedding_dim": 256, "scale": True},
        "hidden_size": 256,
        "ff_size": 1024,
        "dropout": dropout,
        "layer_norm": "pre",
    }
    init = {"initializer": "xavier_uniform", "bias_initializer": "zeros", "embed_initializer": "xavier_uniform"}
    return {**init, "tied_embeddings": True, "tied_softmax": True, "encoder": side, "decoder": side}


_GRU = {
    "type": "recurrent",
    "rnn_type": "gru",
    "embeddings": {"embedding_dim": 256},
    "hidden_size": 512,
    "dropout": 0.1,
    "num_layers": 1,
}
_RECURRENT = {
    "initializer": "xavier_uniform",
    "bias_initializer": "zeros",
    "embed_initializer": "normal",
    "embed_init_weight": 0.1,
    "tied_embeddings": True,
    "tied_softmax": False,
    "encoder": {**_GRU, "bidirectional": True},
    "decoder": {
        **_GRU,
        "hidden_dropout": 0.1,
        "input_feeding": True,
        "init_hidden": "bridge",
        "attention": "bahdanau",
    },
}


def samples(log: str, text: Text) -> list[Sample]:
    """Lines `2026-01-31 11:08:45,123 - INFO - ... Tokens per Sec: 757, ...`: the seconds are those between two."""
    del text
    found = re.findall(r"^([\d-]+ [\d:]+,\d+) .*Tokens per Sec: +([\d.]+)", log, re.MULTILINE)
    times = [datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f") for stamp, _ in found]
    spans = [(b - a).total_seconds() for a, b in pairwise(times)]
    return [Sample(float(speed) * span, span) for (_, speed), span in zip(found[1:], spans, strict=True)]


JOEY = Toolkit(
    name="JoeyNMT",
    folder="venv-joey",
    package="joeynmt",
    batch={"transformer": 240, "gru": 240},
    counts="sentences",
    torch=True,
    train=_train,
    samples=samples,
    validation=nats(r"Evaluation result .*?loss: +([\d.]+)"),
    parameters=r"Total params: ([\d,]+)",
)
