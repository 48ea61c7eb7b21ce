"""Going on from a model: its weights, its tokenizers, and a fresh optimiser."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from nmt.model_file import read_model
from tests.training import tiny
from tests.training.warm import Process, Warm

PARENT = "runs/parent/model.safetensors"


def run(warm: Warm, folder: Path, *more: str) -> Process:
    """`nmt train recipe.yaml` in the folder, to its end."""
    process = warm.start(folder, [*tiny.TRAIN, *more])
    process.wait()
    return process


@pytest.fixture
def folder(warm: Warm, tmp_path: Path) -> Path:
    """A folder with a trained parent, and a recipe that goes on from it on other text."""
    tiny.write(tmp_path, tiny.recipe(name="parent"))
    assert run(warm, tmp_path).code == 0
    child = tiny.recipe(corpus={"train": "more"}, train={"init": PARENT})
    (tmp_path / "recipe.yaml").write_text(json.dumps(child))
    return tmp_path


def test_a_step_of_no_length_leaves_the_parents_weights(warm: Warm, folder: Path) -> None:
    small = ["--set", "train.lr=1e-30", "--set", "train.average=null", "--set", "train.updates=1"]
    process = run(warm, folder, *small)
    assert process.code == 0, process.stderr
    parent = read_model(folder / PARENT)
    child = read_model(folder / "runs" / "tiny" / "model.safetensors")
    for name, weight in parent.weights.items():
        torch.testing.assert_close(child.weights[name], weight, rtol=0, atol=1e-12)


def test_the_tokenizers_come_from_the_model_though_the_text_is_another(warm: Warm, folder: Path) -> None:
    assert run(warm, folder).code == 0
    parent = read_model(folder / PARENT)
    child = read_model(folder / "runs" / "tiny" / "model.safetensors")
    assert child.src_tokenizer.to_bytes() == parent.src_tokenizer.to_bytes()
    assert child.tgt_tokenizer.to_bytes() == parent.tgt_tokenizer.to_bytes()
    assert any(not torch.equal(child.weights[name], weight) for name, weight in parent.weights.items())
    assert child.lineage["parent"] == hashlib.sha256((folder / PARENT).read_bytes()).hexdigest()


def test_another_shape_is_refused_with_the_tensor(warm: Warm, folder: Path) -> None:
    process = run(warm, folder, "--set", "model.d_align=9")
    assert process.code == 3
    assert "is not a model of this recipe's shape; 4 tensors differ, first U_a.bias" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_model_that_is_not_there_is_said_so(warm: Warm, folder: Path) -> None:
    process = run(warm, folder, "--set", "train.init=nowhere.safetensors")
    assert process.code == 4
    assert "nowhere.safetensors" in process.stderr
    assert "Traceback" not in process.stderr
