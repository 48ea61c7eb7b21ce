import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nmt.commands.info import info
from nmt.corpus.tokenizer import Words
from nmt.errors import ModelError
from nmt.model_file import ModelFile, write_model
from nmt.recipe import Recipe
from tests.properties.kinds import VARIANTS, build
from tests.test_translator import bahdanau
from tests.training.tiny import recipe

ROOT = Path(__file__).parents[2]
LINEAGE = {
    "commit": "0123456789abcdef",
    "data": "5f60f49a770bacb4",
    "nmt": "0.1.0",
    "torch": "2.9.1",
    "parent": "fedcba9876543210",
    "updates": [100, 1200],
    "scores": {"validation": {"BLEU": 31.416, "signature": "nrefs:1|x"}},
}


def written(path: Path, **train: object) -> Path:
    m = bahdanau()
    made = m.recipe.model_copy(update={"train": m.recipe.train.model_copy(update=train)})
    write_model(path, ModelFile(made, m.weights, m.src_tokenizer, m.tgt_tokenizer, LINEAGE if train else {}))
    return path


def test_people_are_told_what_a_model_is(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", init="parent.safetensors")
    size = path.stat().st_size / 1e3
    assert info([tmp_path]).splitlines() == [
        str(path),
        "  translates        en to fr",
        f"  kind              bahdanau, 3,016 parameters (F32, {size:.1f} kB)",
        "  vocabulary        24 source ids, 24 target ids: bpe, one vocabulary",
        "  longest           11 source pieces; longer lines are translated in parts",
        "  search            beam 3, width narrowing, length_formula gnmt, length_penalty 0.6, "
        "coverage_penalty 0.0, no_repeat_ngram 0, repetition_penalty 1.0, min_len_ratio 0.0, max_len_ratio 2.0, "
        "max_len_extra 5",
        "  run               small, mean of updates 100, 1,200",
        "  began with        parent.safetensors (sha256 fedcba987654)",
        "  data              5f60f49a770bacb4",
        "  validation score  BLEU 31.42 (nrefs:1|x)",
        "  written by        nmt 0.1.0, torch 2.9.1, commit 0123456789ab",
        "  format            1, for nmt 0.1.0 and later",
    ]


def test_what_a_file_does_not_say_is_not_known(tmp_path: Path) -> None:
    told = info([written(tmp_path / "model.safetensors")])
    assert "  run         small\n" in told
    assert "  began with  random weights\n" in told
    assert "  written by  an unknown commit\n" in told


def test_programs_are_told_in_json_a_model_a_line(tmp_path: Path) -> None:
    paths = [written(tmp_path / "a", init="p"), written(tmp_path / "b")]
    first, second = map(json.loads, info(paths, as_json=True).splitlines())
    assert first["file"] == str(paths[0])
    assert first["size"] == paths[0].stat().st_size
    assert (first["name"], first["src"], first["tgt"], first["kind"]) == ("small", "en", "fr", "bahdanau")
    assert first["model"]["d_hidden"] == 8
    assert first["search"]["beam"] == 3
    assert (first["updates"], first["scores"]) == (LINEAGE["updates"], LINEAGE["scores"])
    assert first["lineage"] == {
        **{key: LINEAGE[key] for key in ("commit", "data", "nmt", "torch", "parent")},
        "init": "p",
    }
    assert (second["updates"], second["scores"], second["lineage"]) == ([], {}, {"init": None})


@pytest.mark.parametrize("name", VARIANTS)
def test_sizes_are_those_of_the_model(name: str, tmp_path: Path) -> None:
    config = VARIANTS[name]
    model = build(config, torch.float32)
    made = Recipe.model_validate({**recipe(), "model": config.model_dump()})
    n_src = next(m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding))
    n_tgt = model.projection.out_features
    src, tgt = (Words([f"w{i}" for i in range(n - 4)], None) for n in (n_src, n_tgt))
    weights = {n: p.detach() for n, p in model.named_parameters()}
    write_model(tmp_path / "m.safetensors", ModelFile(made, weights, src, tgt, {}))
    found = json.loads(info([tmp_path / "m.safetensors"], as_json=True))
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    assert (found["src_vocab"], found["tgt_vocab"], found["kind"]) == (n_src, n_tgt, config.kind)


def test_weights_are_not_read_and_torch_is_not_loaded(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors")
    data = bytearray(path.read_bytes())
    data[-4000:] = bytes(4000)
    path.write_bytes(data)  # the weights are damaged, which only who reads them can see
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPROFILEIMPORTTIME": "1"}
    command = [sys.executable, "-m", "nmt", "translate", "--info", "--model", str(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    assert done.returncode == 0
    assert "bahdanau, 3,016 parameters" in done.stdout
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "pydantic" in loaded
    assert not loaded & {"torch", "numpy", "sentencepiece", "sacrebleu"}


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        info([tmp_path / "none"])
    (tmp_path / "x").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a model file, or cut"):
        info([tmp_path / "x"])
    cut = written(tmp_path / "model.safetensors").read_bytes()[:-1]
    (tmp_path / "cut").write_bytes(cut)
    with pytest.raises(ModelError, match="damaged"):
        info([tmp_path / "cut"])
