"""OpenNMT-py (Klein et al. 2017), and eole, its successor: their configurations and logs are nearly alike."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks.toolkits.text import Text
from benchmarks.toolkits.toolkit import EVERY, Job, Toolkit, Translating, config, launch, perplexity
from benchmarks.watch import Sample


def _noam(job: Job, width: int) -> float:
    """The number that both call the learning rate: its peak is that times width^-0.5 warm-up^-0.5."""
    return job.lr * math.sqrt(width * job.warm_up)


def _opennmt(job: Job, batch: int) -> list[str]:
    return train_with(job, batch, {})


def train_with(job: Job, batch: int, changes: Mapping[str, object]) -> list[str]:
    """The command that trains a job's model with other values for some of its settings."""
    text, words = job.text.folder, str(job.text.folder / "words.counted")
    values: dict[str, object] = {
        "data": {
            "corpus_1": {"path_src": str(text / "train.src"), "path_tgt": str(text / "train.tgt")},
            "valid": {"path_src": str(text / "valid.src"), "path_tgt": str(text / "valid.tgt")},
        },
        "src_vocab": words,
        "tgt_vocab": words,
        "share_vocab": True,
        "src_vocab_size": 8000,
        "tgt_vocab_size": 8000,
        "save_data": str(job.out / "data"),
        "save_model": str(job.out / "model"),
        "overwrite": True,
        "world_size": 1,
        "gpu_ranks": [],
        "num_workers": 2,
        "bucket_size": job.text.pairs + 1,
        "batch_type": "tokens",
        "batch_size": batch,
        "valid_batch_size": 512,
        "normalization": "tokens",
        "optim": "adam",
        "adam_beta2": 0.98,
        "label_smoothing": 0.1,
        "dropout": [job.dropout],
        "attention_dropout": [0.0],
        "max_grad_norm": 1.0,
        "decay_method": "noam",
        "learning_rate": _noam(job, 256),
        "warmup_steps": job.warm_up,
        "param_init": 0,
        "param_init_glorot": True,
        "report_every": EVERY,
        "train_steps": job.updates,
        "save_checkpoint_steps": job.save_every or job.updates,
        "valid_steps": job.at,
        "seed": 1,
    }
    transformer = {
        "encoder_type": "transformer",
        "decoder_type": "transformer",
        "layers": 3,
        "heads": 4,
        "hidden_size": 256,
        "word_vec_size": 256,
        "transformer_ff": 1024,
        "position_encoding": True,
        "share_embeddings": True,
        "share_decoder_embeddings": True,
    }
    recurrent = {
        "encoder_type": "brnn",
        "decoder_type": "rnn",
        "rnn_type": "GRU",
        "layers": 1,
        "hidden_size": 512,
        "word_vec_size": 256,
        "global_attention": "mlp",
        "share_embeddings": True,
        "learning_rate": _noam(job, 512),
    }
    file = config(job, "opennmt.yaml", values | (transformer if job.task == "transformer" else recurrent) | {**changes})
    return launch(job, "opennmt", 1, job.script("onmt_train"), "-config", file)


def _eole(job: Job, batch: int) -> list[str]:
    text, words = job.text.folder, str(job.text.folder / "words.counted")
    values = {
        "seed": 1,
        "overwrite": True,
        "report_every": EVERY,
        "n_sample": 0,
        "save_data": str(job.out / "data"),
        "src_vocab": words,
        "tgt_vocab": words,
        "src_vocab_size": 8000,
        "tgt_vocab_size": 8000,
        "share_vocab": True,
        "data": {
            "corpus_1": {"path_src": str(text / "train.src"), "path_tgt": str(text / "train.tgt")},
            "valid": {"path_src": str(text / "valid.src"), "path_tgt": str(text / "valid.tgt")},
        },
        "training": {
            "model_path": str(job.out / "model"),
            "train_steps": job.updates,
            "valid_steps": job.at,
            "save_checkpoint_steps": job.save_every or job.updates,
            "world_size": 1,
            "gpu_ranks": [],
            "num_workers": 2,
            "bucket_size": job.text.pairs + 1,
            "batch_type": "tokens",
            "batch_size": batch,
            "valid_batch_size": 512,
            "normalization": "tokens",
            "accum_count": [1],
            "accum_steps": [0],
            "dropout_steps": [0],
            "dropout": [job.dropout],
            "attention_dropout": [0.0],
            "compute_dtype": "fp32",
            "use_amp": False,
            "optim": "adam",
            "adam_beta2": 0.98,
            "learning_rate": _noam(job, 256),
            "warmup_steps": job.warm_up,
            "decay_method": "noam",
            "max_grad_norm": 1.0,
            "label_smoothing": 0.1,
            "param_init_method": "xavier_uniform",
        },
        "model": {
            "architecture": "transformer",
            "layers": 3,
            "heads": 4,
            "hidden_size": 256,
            "transformer_ff": 1024,
            "share_embeddings": True,
            "share_decoder_embeddings": True,
            "embeddings": {"word_vec_size": 256, "position_encoding_type": "SinusoidalInterleaved"},
        },
    }
    return launch(job, "eole", 1, job.script("eole"), "train", "-config", config(job, "eole.yaml", values))


def samples(log: str, text: Text) -> list[Sample]:
    """Lines `Step 5/...; ...; bsz: 3386/3012/239; 2105/1872 tok/s; 10 sec;`: mean source, target tokens, sentences."""
    del text
    found = re.findall(r"bsz: *[\d.]+/ *([\d.]+)/ *[\d.]+; *[\d.]+/ *([\d.]+) tok/s", log)
    return [Sample(EVERY * float(size), EVERY * float(size) / float(speed)) for size, speed in found if float(speed)]


def _translate(job: Job, checkpoint: Path, split: str, beam: int, out: Path) -> list[str]:
    command = f"""-model {checkpoint} -src {job.text.folder}/{split}.src -output {out} -beam_size {beam} -batch_size 100
        -batch_type sents -max_length 100 -length_penalty avg -gpu -1""".split()
    return launch(job, "opennmt", 1, job.script("onmt_translate"), *command)


def _saved(folder: Path) -> dict[int, Path]:
    return {int(file.stem.rpartition("_")[2]): file for file in folder.glob("model_step_*.pt")}


_COUNTS = "tokens of the longer side, with padding"
_VALIDATION = perplexity(r"[Vv]alid(?:ation)? perplexity: ([\d.e+]+)")
_PARAMETERS = r"number of parameters: (\d+)"

OPENNMT = Toolkit(
    name="OpenNMT-py",
    folder="venv-onmt",
    package="OpenNMT-py",
    batch={"transformer": 5000, "gru": 5000},
    counts=_COUNTS,
    torch=True,
    train=_opennmt,
    samples=samples,
    validation=_VALIDATION,
    parameters=_PARAMETERS,
    translating=Translating(_saved, _translate),
)
EOLE = Toolkit(
    name="eole",
    folder="venv-eole",
    package="eole",
    batch={"transformer": 5000},
    counts=_COUNTS,
    torch=True,
    train=_eole,
    samples=samples,
    validation=_VALIDATION,
    parameters=_PARAMETERS,
)
