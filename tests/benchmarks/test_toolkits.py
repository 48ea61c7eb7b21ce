"""What the other toolkits' logs say: lines as each of them prints them, shortened where nothing is read."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.systems import TOOLKITS
from benchmarks.toolkits.install import STEPS
from benchmarks.toolkits.text import Text
from benchmarks.toolkits.toolkit import EVERY, Job, Toolkit, real_share
from benchmarks.watch import Sample

TEXT = Text(folder=Path("text"), pairs=10, src_tokens=150, tgt_tokens=169, valid_pairs=2, sha256="")

LOGS = {
    "OpenNMT-py": """\
[2026-11-20 11:08:45,123 INFO] Step 5/1000000; acc: 1.9; ppl: 8123.4; xent: 9.00; lr: 0.00001; sents:    1196; \
bsz: 3386/4000/239; 2105/2000 tok/s;     10 sec;
""",
    "Hugging Face": "update 5 loss 8.912 TOKENS 20000 SECONDS 10.000\n",
    "fairseq": """\
2026-11-20 11:20:00 | INFO | train_inner | epoch 001:      5 / 140 loss=12.9, nll_loss=12.8, ppl=7281, wps=2000, \
ups=0.5, wpb=4000, bsz=240, num_updates=5, lr=1.2e-05, gnorm=3.1, clip=100, train_wall=10, wall=12
""",
    "Marian": """\
[2026-11-20 11:00:00] Ep. 1 : Up. 5 : Sen. 1,185 : Cost 9.03178692 : Time 10.00s : 2000.00 words/s : gNorm 3.1
""",
    "Sockeye": "[2026-11-20:11:00:00:INFO:sockeye.training] s/sec=118.3432 tok/sec=2105.00 u/sec=0.50 \n",
    "JoeyNMT": """\
2026-11-20 11:00:00,500 - INFO - joeynmt.training - Epoch   1, Step:        5, Batch Loss:     8.90, Batch Acc: 0.01, \
Tokens per Sec:     1500, Lr: 0.000012
2026-11-20 11:00:10,500 - INFO - joeynmt.training - Epoch   1, Step:       10, Batch Loss:     8.80, Batch Acc: 0.01, \
Tokens per Sec:     2000, Lr: 0.000023
""",
}
LOGS["eole"] = LOGS["OpenNMT-py"]


def of(name: str) -> Toolkit:
    return next(toolkit for toolkit in TOOLKITS if toolkit.name == name)


@pytest.mark.parametrize("name", LOGS)
def test_its_log_gives_real_target_tokens_and_seconds(name: str) -> None:
    """Every log above says that 5 updates of 4,000 target tokens took 10 seconds."""
    found = of(name).samples(LOGS[name], TEXT)
    assert [(round(s.tokens), round(s.seconds, 3)) for s in found] == [(20000, 10.0)]


@pytest.mark.parametrize("toolkit", TOOLKITS, ids=lambda toolkit: toolkit.name)
def test_a_log_that_says_nothing_gives_nothing(toolkit: Toolkit) -> None:
    assert toolkit.samples("loading\nStep by step\n", TEXT) == []
    assert toolkit.validation("loading\n") is None
    assert toolkit.n_parameters("loading\n") is None


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("OpenNMT-py", "[2026-11-20 11:08:45,123 INFO] Validation perplexity: 7.38906\n"),
        ("eole", "[2026-11-20 11:08:45,123 INFO] Validation perplexity: 7.38906\n"),
        ("Hugging Face", "VALIDATION 2.0000\n"),
        ("fairseq", "| INFO | valid | epoch 001 | valid on 'valid' subset | loss 4.1 | nll_loss 2.88539 | ppl 7.39\n"),
        ("Marian", "[2026-11-20 11:00:00] [valid] Ep. 1 : Up. 100 : ce-mean-words : 2.0000 : new best\n"),
        ("Sockeye", "Checkpoint [1]\tValidation-ppl=7.38906\tValidation-bleu=0.1\n"),
        ("JoeyNMT", "INFO - joeynmt.prediction - Evaluation result (greedy) bleu:   1.2, loss:   2.0, ppl:   7.39\n"),
    ],
)
def test_its_validation_loss_is_in_nats_a_token(name: str, line: str) -> None:
    """In every line above, a perplexity of e^2; the last one printed counts."""
    assert of(name).validation("x\n" + line.replace("7.38906", "9.0") + line) == pytest.approx(2.0, abs=1e-4)


def test_sockeyes_sentences_have_the_mean_number_of_target_tokens() -> None:
    assert of("Sockeye").samples("s/sec=10.0 tok/sec=1.0 u/sec=0.5", TEXT) == [Sample(10 * 16.9 * 10, EVERY / 0.5)]


def test_the_share_of_real_positions_is_what_the_launcher_printed() -> None:
    assert real_share("x\nPADDING share 0.9312 of 240000\ny") == 0.9312
    assert real_share("x") is None


@pytest.mark.parametrize("toolkit", TOOLKITS, ids=lambda toolkit: toolkit.name)
def test_its_command_holds_what_is_equal_for_all(toolkit: Toolkit, tmp_path: Path) -> None:
    (tmp_path / "fairseq").mkdir()
    text = Text(tmp_path, pairs=10, src_tokens=150, tgt_tokens=169, valid_pairs=2, sha256="")
    for task, batch in toolkit.batch.items():
        out = tmp_path / task
        out.mkdir(exist_ok=True)
        job = Job(task, text, out, tmp_path / "bin" / "python", threads=2, updates=70, validate=True)
        command = toolkit.train(job, batch)
        told = " ".join([*command, *(file.read_text() for file in out.iterdir())])
        assert str(batch) in told
        assert "70" in told
        assert str(tmp_path) in told
        assert "0.1" in told or toolkit.name == "Hugging Face"  # its smoothing stands in huggingface_loop.py


def test_fairseqs_translations_are_put_back_in_order() -> None:
    log = "H-2\t-0.5\tc d\nD-2\t-0.5\tc d\nH-0\t-1.25e-05\ta\nH-10\t-3\tz\n"
    read = of("fairseq").translating
    assert read is not None
    assert read.read(Path("nothing"), log) == ["a", "c d", "z"]


def test_checkpoints_are_found_by_their_updates(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("model_step_200.pt", "checkpoints/checkpoint_3_200.pt", "checkpoints/checkpoint_last.pt"):
        (tmp_path / name).touch()
    (tmp_path / "update-200").mkdir()
    found = [toolkit.translating.saved(tmp_path) for toolkit in TOOLKITS if toolkit.translating]
    assert [list(saved) for saved in found] == [[200]] * 3


def test_every_toolkit_can_be_installed_in_fixed_versions() -> None:
    assert STEPS.keys() == {toolkit.name for toolkit in TOOLKITS}
    for toolkit in TOOLKITS:
        asked: Sequence[str] = [word for step in STEPS[toolkit.name] for word in step]
        assert any(word.startswith(f"{toolkit.package}==") for word in asked)
        assert any(word.startswith("torch==") for word in asked) == toolkit.torch


def test_a_perplexity_of_one_is_no_loss() -> None:
    assert of("eole").validation("Validation perplexity: 1.0") == pytest.approx(math.log(1.0))
