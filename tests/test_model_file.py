import hashlib
import json
import os
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from nmt import model_file
from nmt.batch import SPECIALS, padded_batch
from nmt.corpus.tokenizer import Words
from nmt.errors import EnvironmentFault, ModelError
from nmt.model_file import ModelFile, build, read_model, write_model
from nmt.models.build import build_model
from nmt.recipe import CorpusConfig, Recipe, TrainConfig
from nmt.recipe_models import BahdanauConfig

SIZES = {"d_embed": 3, "d_hidden": 4, "d_align": 2, "d_maxout": 3}


def small_recipe(**model: Any) -> Recipe:
    return Recipe(
        name="small",
        corpus=CorpusConfig(src="en", tgt="fr", train="train", valid="valid"),
        model=BahdanauConfig(kind="bahdanau", **(SIZES | model)),
        train=TrainConfig(batch_tokens=100, updates=1),
    )


def small_model(seed: int = 1, **model: Any) -> ModelFile:
    recipe = small_recipe(**model)
    src, tgt = Words(["a", "b", "c"], None), Words(["x", "y", "z"] if model else ["x", "y", "z", "w"], None)
    torch.manual_seed(seed)
    net = build_model(recipe.model, src.n_ids, tgt.n_ids)
    weights = {name: torch.rand_like(p) for name, p in net.named_parameters()}
    return ModelFile(recipe, weights, src, tgt, {"parent": None, "scores": {"BLEU": {"score": 1.5, "signature": "s"}}})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write_model(path, small_model())
    return path


def taken_apart(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    return safetensors.torch.load(data), json.loads(json.loads(data[8 : 8 + n])["__metadata__"]["nmt"])


def put_together(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, Any], resum: bool = True) -> None:
    """A file as a careful forger would write it: the checksums are right."""
    if resum:
        metadata["tensors"] = model_file._checksum(tensors)
        for side in ("src", "tgt"):
            if f"tokenizer.{side}" in tensors:
                data = tensors[f"tokenizer.{side}"].numpy().tobytes()
                metadata["tokenizers"][side] = hashlib.sha256(data).hexdigest()
    path.write_bytes(safetensors.torch.save(tensors, metadata={"nmt": json.dumps(metadata, sort_keys=True)}))


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_model(path)
    assert str(path) in caught.value.what
    assert caught.value.hint
    assert caught.value.exit_code == 4
    return caught.value.what


def test_what_is_written_is_read(path: Path) -> None:
    wrote, read = small_model(), read_model(path)
    assert read.recipe == wrote.recipe
    assert read.lineage == wrote.lineage
    assert read.src_tokenizer.encode(["a c ?"]) == wrote.src_tokenizer.encode(["a c ?"])
    assert read.tgt_tokenizer.pieces(range(8)) == [*SPECIALS, "x", "y", "z", "w"]
    assert read.weights.keys() == wrote.weights.keys()
    assert all(torch.equal(read.weights[name], wrote.weights[name]) for name in read.weights)


def test_a_model_of_an_older_nmt_is_read_under_the_new_names_of_its_keys(path: Path) -> None:
    tensors, metadata = taken_apart(path)
    train = metadata["recipe"]["train"]
    train["accumulate"] = train.pop("grad_parts") + 2
    put_together(path, tensors, metadata)
    assert read_model(path).recipe.train.grad_parts == 3


def test_equal_models_are_equal_files_and_hold_no_path(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere" / "other.safetensors"
    write_model(again, read_model(path))
    assert again.read_bytes() == path.read_bytes()
    assert str(tmp_path).encode() not in path.read_bytes()
    assert os.listdir(again.parent) == ["other.safetensors"]


def test_the_built_model_computes_with_the_files_weights(path: Path) -> None:
    m = read_model(path)
    net = build(m)
    assert not net.training
    assert all(torch.equal(p, m.weights[name]) for name, p in net.named_parameters())
    assert torch.isfinite(net(padded_batch([[4, 5]], [[4]]))).all()


def test_tied_parameters_stand_once_and_stay_tied(tmp_path: Path) -> None:
    m = small_model(tied_output=True, tied_embeddings=True)
    net = build(m)
    path = tmp_path / "m"
    write_model(path, replace(m, weights=dict(net.state_dict())))  # every name, tied ones too
    read = read_model(path)
    assert read.weights.keys() == m.weights.keys()
    again: Any = build(read)
    assert again.projection.weight is again.tgt_embed.weight is again.src_embed.weight


def test_a_bfloat16_recipe_computes_in_bfloat16(path: Path) -> None:
    m = read_model(path)
    compute = m.recipe.compute.model_copy(update={"dtype": "bfloat16"})
    assert build(replace(m, recipe=m.recipe.model_copy(update={"compute": compute}))).compute_dtype == torch.bfloat16


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    data = path.read_bytes()
    cuts = {0, 1, 7, 8, 9, len(data) - 1, *random.Random(1).sample(range(len(data)), 200)}
    for cut in cuts:
        path.write_bytes(data[:cut])
        refused(path)


def test_a_byte_too_many_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    assert "declare" in refused(path)


def test_any_flipped_bit_is_refused(path: Path) -> None:
    data = path.read_bytes()
    n = 8 + int.from_bytes(data[:8], "little")
    chance = random.Random(2)
    header = [(at, 1 << bit) for at in chance.sample(range(n), 150) for bit in (0, 3, 7)]
    body = [(at, 1 << chance.randrange(8)) for at in chance.sample(range(n, len(data)), 100)]
    survived = []
    for at, bit in header + body:
        flipped = bytearray(data)
        flipped[at] ^= bit
        path.write_bytes(flipped)
        with suppress(ModelError):
            read_model(path)
            survived.append(at)
    # A letter within a string of the recipe or the lineage may change and stay sound; nothing else may.
    text = data.index(b"__metadata__"), n
    assert all(text[0] < at < text[1] for at in survived)
    assert len(survived) < 100


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.pop("W_s.bias"), "W_s.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra is none of this model's"),
        (lambda t: t.update({"W_s.Bias": t.pop("W_s.bias")}), "W_s.bias is missing; W_s.Bias is none"),
        (lambda t: t.update({"W_s.bias": torch.zeros(5)}), "W_s.bias is float32 5, not float32 4"),
        (lambda t: t.update({"W_s.weight": t["W_s.weight"][None]}), "W_s.weight is float32 1x4x4, not float32 4x4"),
        (lambda t: t.update({"v_a": t["v_a"].double()}), "v_a is float64 2, not float32 2"),
        (lambda t: t["v_a"].fill_(float("nan")), "v_a holds numbers that are not finite"),
        (lambda t: t["v_a"].fill_(float("inf")), "v_a holds numbers that are not finite"),
        (lambda t: t.pop("tokenizer.src"), "tokenizer.src is missing"),
        (lambda t: t.update({"tokenizer.tgt": t["tokenizer.tgt"].float()}), "tokenizer.tgt is missing or no tensor"),
        (lambda t: t.update({"tokenizer.tgt": t["tokenizer.tgt"][:-1]}), "tokenizer.tgt: "),
        (lambda t: t.update({"tokenizer.tgt": torch.zeros(0, dtype=torch.uint8)}), "tokenizer.tgt is missing"),
        (
            lambda t: t.update({"tokenizer.tgt": t["tokenizer.src"], "tokenizer.src": t["tokenizer.tgt"]}),
            "src_embed.weight is float32 7x3, not float32 8x3",
        ),
        (lambda t: [t.update({n: torch.zeros(1)}) for n in list(t) if "." not in n or "W" in n], "in all"),
    ],
)
def test_forged_tensors_are_refused(path: Path, change: Any, text: str) -> None:
    tensors, metadata = taken_apart(path)
    change(tensors)
    put_together(path, tensors, metadata)
    assert text in refused(path)


def test_a_tokenizer_of_another_model_is_refused_though_its_size_fits(path: Path) -> None:
    tensors, metadata = taken_apart(path)
    tensors["tokenizer.src"] = model_file._as_tensor(Words(["d", "e", "f"], None).to_bytes())
    metadata["tensors"] = model_file._checksum(tensors)
    put_together(path, tensors, metadata, resum=False)
    assert "not the tokenizer this model was trained with" in refused(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m.update(format=2, needs="9.9"), "needs nmt >= 9.9"),
        (lambda m: m.update(format=2, needs="9.9", more=[1]), "needs nmt >= 9.9"),
        (lambda m: m.update(format=0), "no format 0"),
        (lambda m: m.update(format="1"), "format"),
        (lambda m: m.pop("lineage"), "lineage"),
        (lambda m: m.update(lineage=[]), "lineage"),
        (lambda m: m.update(path="/etc"), "path"),
        (lambda m: m["recipe"].pop("model"), "recipe"),
        (lambda m: m["recipe"].update(modle={}), "modle"),
        (lambda m: m["recipe"]["model"].update(kind="__import__('os')"), "recipe"),
        (lambda m: m["recipe"]["model"].update(d_hidden=5), "not the model of its recipe"),
        (lambda m: m["recipe"]["model"].update(d_hidden=10**6), "not the model of its recipe"),
        (lambda m: m["recipe"]["model"].update(d_hidden=10**15), "sizes that no machine has"),
        (lambda m: m["recipe"]["model"].update(d_hidden=10**30), "sizes that no machine has"),
        (lambda m: m["recipe"]["model"].update(d_hidden=-1), "recipe"),
        (lambda m: m["recipe"].update(name="\ud800"), "JSON"),
        (lambda m: m.update(lineage={"a": float("nan")}), "JSON"),
    ],
)
def test_forged_metadata_is_refused(path: Path, change: Any, text: str) -> None:
    tensors, metadata = taken_apart(path)
    change(metadata)
    put_together(path, tensors, metadata)
    assert text in refused(path)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{}",
        b"null",
        b'{"a": 1}',
        b"[" * 100_000,
        b'{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4000000000000]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [1e3], "data_offsets": [0, 4000]}}',
        b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [-4, -4]}}',
        b'{"a": {"dtype": "F128", "shape": [0], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "a": {}}',
        b'{"__metadata__": {"nmt": 3}}',
        b'{"__metadata__": {"nmt": "{}", "more": ""}}',
        b'{"__metadata__": {"nmt": "{"}}',
        b'{"__metadata__": {"nmt": "{\\"format\\": ' + b"9" * 5000 + b'}"}}',
        b"\xff\xfe",
    ],
)
def test_hostile_headers_are_refused(path: Path, header: bytes) -> None:
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    refused(path)


@pytest.mark.parametrize("n_header", [1 << 24, (1 << 24) + 1, 1 << 40, (1 << 64) - 1])
def test_huge_declared_headers_are_refused_unread(path: Path, n_header: int) -> None:
    with path.open("r+b") as file:
        file.write(n_header.to_bytes(8, "little"))
    assert "declare" in refused(path)


def test_pickles_and_other_files_are_refused(path: Path) -> None:
    for data in (
        b"",
        b"\x80\x04K\x01.",
        b"PK\x03\x04" + bytes(200),
        bytes(1000),
        safetensors.torch.save({"a": torch.zeros(2)}),
    ):
        path.write_bytes(data)
        refused(path)


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none")
    assert "not a plain file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a plain file" in refused(tmp_path / "pipe")


def test_a_refusal_of_the_machine_is_no_model_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        read_model(tmp_path / "loop")


def test_non_finite_weights_are_never_written(tmp_path: Path) -> None:
    m = small_model()
    m.weights["v_a"][0] = float("nan")
    with pytest.raises(ModelError, match="v_a holds numbers that are not finite"):
        write_model(tmp_path / "m", m)
    assert not (tmp_path / "m").exists()
