"""Marian folders of transformers' own making: the imported model says what they say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch

from nmt.batch import BOS, EOS, PAD, UNK, padded_batch
from nmt.commands.import_model import import_model
from nmt.commands.train import train
from nmt.corpus.tokenizer import from_bytes
from nmt.errors import ModelError, NmtError, UsageError
from nmt.model_file import build, read_model
from nmt.models.contract import stepwise_logits
from nmt.recipe import Recipe
from nmt.recipe_models import TransformerConfig
from nmt.translator import Translator
from tests import marian_folders

SHAPES: dict[str, dict[str, Any]] = {
    "as OPUS-MT": {},
    "two vocabularies": {"share_encoder_decoder_embeddings": False},
    "unscaled, gelu": {"scale_embedding": False, "activation_function": "gelu"},
    "untied output, relu": {"tie_word_embeddings": False, "activation_function": "relu", "decoder_layers": 1},
}
CODES = (">>fra<<", ">>deu<<")


def make(transformers: ModuleType, folder: Path, **changes: Any) -> Any:
    """A folder with a random model, and transformers' own model of it."""
    separate = not changes.get("share_encoder_decoder_embeddings", True)
    sizes = marian_folders.write_texts(folder, 300, separate=separate, codes=CODES)
    theirs = marian_folders.new_model(transformers, sizes, **changes)
    marian_folders.scatter(theirs)
    marian_folders.save(theirs, folder)
    return theirs


@pytest.fixture(scope="module")
def opus(transformers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model, not to be changed."""
    folder = tmp_path_factory.mktemp("marian") / "opus-mt-en-fr"
    make(transformers, folder)
    return folder


@pytest.fixture
def copy(opus: Path, tmp_path: Path) -> Path:
    """The same folder, to be changed."""
    return Path(shutil.copytree(opus, tmp_path / "opus-mt-en-fr"))


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_and_text_are_those_of_transformers(transformers: ModuleType, tmp_path: Path, shape: str) -> None:
    theirs = make(transformers, tmp_path / "folder", **SHAPES[shape])
    tokenizer = transformers.MarianTokenizer.from_pretrained(tmp_path / "folder")
    made = import_model(tmp_path / "folder", tmp_path / "model.safetensors")
    text, wanted = marian_folders.lines("test.en", 6), marian_folders.lines("test.fr", 6)

    given = padded_batch(made.src_tokenizer.encode(text), made.tgt_tokenizer.encode(wanted))
    src = tokenizer(text, return_tensors="pt", padding=True)
    tgt = tokenizer(text_target=wanted, return_tensors="pt", padding=True)["input_ids"]
    begin = torch.full((len(tgt), 1), theirs.config.pad_token_id)
    with torch.inference_mode():
        truth = theirs(**src, decoder_input_ids=torch.cat([begin, tgt[:, :-1]], 1)).logits
        model = build(read_model(tmp_path / "model.safetensors"))
        logits, stepwise = model.project(model(given)), stepwise_logits(model, given)
    pad, keep = theirs.config.pad_token_id, given.tgt_out != PAD
    theirs_by_our_id = torch.tensor([pad, 1, 0, *(i for i in range(truth.shape[-1]) if i not in (pad, 1, 0))])
    ours = torch.tensor([i for i in range(logits.shape[-1]) if i != BOS])
    truth = truth[..., theirs_by_our_id]
    assert truth[keep].std() > 0.5
    for found in (logits, stepwise):
        torch.testing.assert_close(found[..., ours][keep], truth[keep], rtol=0, atol=1e-5)
        torch.testing.assert_close(found[keep].logsumexp(-1), truth[keep].logsumexp(-1), rtol=0, atol=1e-5)

    translator = Translator.load(tmp_path / "model.safetensors")
    # What ends a translation that finds no end by itself is ours: so many pieces for n pieces, not 32 for all.
    cap = {"max_len_ratio": 0.0, "max_len_extra": 30}
    translator.config = translator.config.model_copy(update=cap)
    for beam in (1, 5):
        found = [one.translation for one in translator.translate(text, beam=beam)]
        assert found == marian_folders.translate(theirs, tokenizer, text, beam)


def taught(transformers: ModuleType, folder: Path, updates: int, **sizes: Any) -> tuple[Any, Any, Translator]:
    """A model that transformers has trained for so long, its tokenizer, and our translator of it."""
    shapes = marian_folders.write_texts(folder, 300)
    theirs = marian_folders.new_model(transformers, shapes, dropout=0.0, **sizes)
    tokenizer = transformers.MarianTokenizer.from_pretrained(folder)
    marian_folders.teach(theirs, tokenizer, updates)
    marian_folders.save(theirs, folder)
    import_model(folder, folder.parent / "model.safetensors")
    return theirs, tokenizer, Translator.load(folder.parent / "model.safetensors")


def shares(theirs: Any, tokenizer: Any, ours: Translator, text: list[str]) -> tuple[float, float]:
    """Share of the lines that are the same, greedily and with a beam of 5."""
    same = []
    for beam in (1, 5):
        truth = marian_folders.translate(theirs, tokenizer, text, beam)
        found = [one.translation for one in ours.translate(text, beam=beam)]
        same.append(sum(a == b for a, b in zip(found, truth, strict=True)) / len(text))
    return same[0], same[1]


def test_a_model_that_has_learned_a_little_says_the_same(transformers: ModuleType, tmp_path: Path) -> None:
    sizes = {"d_model": 48, "encoder_layers": 1, "decoder_layers": 1}
    theirs, tokenizer, ours = taught(transformers, tmp_path / "folder", 30, **sizes)
    cap = {"max_len_ratio": 0.0, "max_len_extra": 30}
    ours.config = ours.config.model_copy(update=cap)
    greedy, beam = shares(theirs, tokenizer, ours, marian_folders.lines("test.en", 20))
    assert (greedy, beam) == (1.0, 1.0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_model_that_has_learned_says_the_same(transformers: ModuleType, tmp_path: Path) -> None:
    sizes = {"d_model": 96, "encoder_ffn_dim": 192, "decoder_ffn_dim": 192, "decoder_layers": 2}
    theirs, tokenizer, ours = taught(transformers, tmp_path / "folder", 1000, max_position_embeddings=128, **sizes)
    theirs.generation_config.max_length = 128  # with the start, and an end that is forced
    ours.config = ours.config.model_copy(update={"max_len_ratio": 0.0, "max_len_extra": 126})
    greedy, beam = shares(theirs, tokenizer, ours, marian_folders.lines("test.en"))
    assert greedy >= 0.999  # logits agree within 1e-5: a line in a thousand has two pieces closer than that
    assert beam >= 0.99
    assert worst_difference(theirs, tokenizer, tmp_path, marian_folders.lines("test.en", 200)) < 1e-5


def worst_difference(theirs: Any, tokenizer: Any, folder: Path, text: list[str]) -> float:
    """Between the scores that transformers gives its own translations, beam 5, and those that our model gives them."""
    made = read_model(folder / "model.safetensors")
    model, pad = build(made), theirs.config.pad_token_id
    number = {pad: PAD, 1: UNK, 0: EOS}
    number |= {i: 4 + n for n, i in enumerate(i for i in range(pad) if i not in number)}
    worst = 0.0
    with torch.inference_mode():
        given = tokenizer(text, return_tensors="pt", padding=True)
        found = theirs.generate(**given, num_beams=5, return_dict_in_generate=True, output_scores=True)
        for line, row, score in zip(text, found.sequences.tolist(), found.sequences_scores.tolist(), strict=True):
            ids = [number[i] for i in row[1:] if i not in (pad, 0)]
            pair = padded_batch(made.src_tokenizer.encode([line]), [ids])
            log_probs = model.project(model(pair)).log_softmax(-1)[0].gather(1, pair.tgt_out[0][:, None])
            worst = max(worst, abs(float(log_probs.mean()) - score))
    return worst


TEXT = [
    "The cat sees the dog.",
    "",
    "  two  spaces ",
    "Ünïcödé 🦓 日本 naïve",
    ">>fra<< The cat.",
    ">>xyz<<cat",
    ">>no end",
    "a <unk> b </s> c <pad>",
    "\u2581cat\u2581 dog",
]


def test_text_is_cut_and_joined_as_transformers_does_it(transformers: ModuleType, opus: Path, tmp_path: Path) -> None:
    theirs = transformers.MarianTokenizer.from_pretrained(opus)
    ids = json.loads((opus / "vocab.json").read_text())
    made = import_model(opus, tmp_path / "model.safetensors")
    number = {id: i for i, id in enumerate([ids["<pad>"], 1, None, 0])}
    number |= {id: i for i, id in enumerate((i for i in range(len(ids)) if i not in number), 4)}
    plain = [line for line in TEXT if "</s>" not in line]  # there, special pieces in a text are special
    assert made.src_tokenizer.encode(plain) == [[number[i] for i in row[:-1]] for row in theirs(plain)["input_ids"]]
    truth = theirs(text_target=plain)["input_ids"]
    assert made.tgt_tokenizer.encode(plain) == [[number[i] for i in row[:-1]] for row in truth]
    french = marian_folders.lines("test.fr", 50)
    rows = theirs(text_target=french)["input_ids"]
    found = made.tgt_tokenizer.decode([[number[i] for i in row] for row in rows])
    assert found == theirs.batch_decode(rows, skip_special_tokens=True)
    assert {PAD, BOS, EOS}.isdisjoint(i for row in made.src_tokenizer.encode(TEXT) for i in row)
    assert made.src_tokenizer.encode(["🦓"])[0][-1] == UNK
    again = from_bytes(made.tgt_tokenizer.to_bytes())
    assert (again.encode(french), again.n_ids) == (made.tgt_tokenizer.encode(french), len(ids) + 1)


def test_the_recipe_says_all_of_the_model(opus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    import_model(opus, tmp_path / "a.safetensors", say=said.append)
    made = read_model(tmp_path / "a.safetensors")
    assert said == [f"imported: en to fr, 2+3 layers of 32, {made.src_tokenizer.n_ids} ids: {tmp_path}/a.safetensors"]
    assert (made.recipe.name, made.recipe.corpus.src, made.recipe.corpus.tgt) == ("opus-mt-en-fr", "en", "fr")
    model = made.recipe.model
    assert isinstance(model, TransformerConfig)
    assert (model.activation, model.norm, model.output_bias, model.tied_output) == ("swish", "post", True, True)
    search = made.recipe.search
    assert (search.beam, search.width, search.length_formula) == (5, "constant", "average")
    assert search.length_penalty == 1.0
    assert made.recipe.corpus.max_len == 64
    assert made.lineage["imported"]["sha256"].keys() >= {"model.safetensors", "source.spm", "vocab.json"}
    import_model(opus, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_every_part_of_a_long_line_has_the_language_code(opus: Path, tmp_path: Path) -> None:
    import_model(opus, tmp_path / "model.safetensors")
    translator = Translator.load(tmp_path / "model.safetensors")
    parts = translator._parts(">>fra<< " + "The cat sees the dog. " * 30)
    assert len(parts) > 2
    assert {translator.src_tokenizer.pieces(part.ids)[0] for part in parts} == {">>fra<<"}
    translator.max_pieces = 1
    assert translator._parts(">>fra<< a b c ")  # ends


def change_json(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        held = json.loads((folder / name).read_text()) | values
        (folder / name).write_text(json.dumps({key: value for key, value in held.items() if value is not None}))

    return change


def change_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        tensors = safetensors.torch.load((folder / "model.safetensors").read_bytes())
        change(tensors)
        (folder / "model.safetensors").write_bytes(safetensors.torch.save(tensors))

    return changed


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def in_shards(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.safetensors.index.json")


def cut(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:100])

    return change


FC1 = "model.encoder.layers.0.fc1.weight"
FAULTS: dict[str, tuple[Callable[[Path], None], type[NmtError], str]] = {
    "another model": (change_json("config.json", model_type="bart"), ModelError, 'model_type is "bart", not marian'),
    "pre-norm": (change_json("config.json", normalize_before=True), ModelError, "normalize_before true: kind"),
    "tanh": (change_json("config.json", activation_function="tanh"), ModelError, "activation_function tanh: kind"),
    "heads": (change_json("config.json", decoder_attention_heads=2), ModelError, "encoder_attention_heads 4 beside"),
    "no width": (change_json("config.json", d_model=None), ModelError, "d_model: field required"),
    "wrong width": (change_json("config.json", d_model=36), ModelError, "not "),
    "bad words": (change_json("generation_config.json", bad_words_ids=[[7]]), ModelError, "bad_words_ids forbids [7]"),
    "pickle": (pickled, ModelError, "has pytorch_model.bin but no model.safetensors"),
    "shards": (in_shards, ModelError, "has model.safetensors.index.json but no model.safetensors"),
    "cut weights": (cut("model.safetensors"), ModelError, "model.safetensors"),
    "cut text": (cut("source.spm"), ModelError, "source.spm: the tokenizer is no sentencepiece model"),
    "cut json": (cut("vocab.json"), ModelError, "vocab.json is not JSON"),
    "no target": (lambda folder: (folder / "target.spm").unlink(), ModelError, "target.spm is missing"),
    "doubled id": (change_json("vocab.json", twice=5), ModelError, "its ids are not all different numbers"),
    "no unknown": (change_json("vocab.json", **{"<unk>": None}), ModelError, "vocab.json lacks <unk>"),
    "missing": (change_tensors(lambda held: [held.pop(FC1)]), ModelError, f"{FC1} is missing"),
    "extra": (
        change_tensors(lambda held: held.update(more=torch.zeros(1))),
        ModelError,
        "none of a Marian model's: more",
    ),
    "shape": (change_tensors(lambda held: held.update({FC1: torch.zeros(3, 32)})), ModelError, "is 3x32, not 48x32"),
    "infinite": (change_tensors(lambda held: held[FC1].fill_(torch.inf)), ModelError, "not finite"),
    "nameless": (change_json("tokenizer_config.json", source_lang=None), UsageError, "from which language to which"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_imported_is_refused_and_leaves_nothing(copy: Path, tmp_path: Path, fault: str) -> None:
    change, kind, said = FAULTS[fault]
    change(copy)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(kind) as caught:
        import_model(copy, tmp_path / "model.safetensors")
    assert said in caught.value.what
    assert sorted(tmp_path.iterdir()) == before


def test_a_stored_table_of_positions_must_be_the_sinusoids(copy: Path, tmp_path: Path) -> None:
    name = "model.encoder.embed_positions.weight"
    j = torch.arange(16)
    angles = torch.arange(64)[:, None] / 10000 ** (2 * j / 32)
    table = torch.cat([angles.sin(), angles.cos()], 1).half()
    change_tensors(lambda held: held.update({name: table}))(copy)
    import_model(copy, tmp_path / "model.safetensors")
    change_tensors(lambda held: held.update({name: table.flip(1).contiguous()}))(copy)
    with pytest.raises(ModelError, match="not the table of sines and cosines"):
        import_model(copy, tmp_path / "other.safetensors")


def test_what_is_there_is_not_written_over(opus: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        import_model(opus, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="is no folder"):
        import_model(tmp_path / "nothing", tmp_path / "other.safetensors")


def test_a_search_that_cannot_be_kept_is_named(copy: Path, tmp_path: Path) -> None:
    change_json("generation_config.json", repetition_penalty=1.5, no_repeat_ngram_size=3, num_beams=7)(copy)
    said: list[str] = []
    made = import_model(copy, tmp_path / "model.safetensors", src="eng", tgt="fra", name="mine", say=said.append)
    assert said[0].startswith("warning: generation_config.json: repetition_penalty 1.5 is left out")
    assert (made.recipe.search.no_repeat_ngram, made.recipe.search.beam) == (3, 7)
    assert (made.recipe.corpus.src, made.recipe.corpus.tgt, made.recipe.name) == ("eng", "fra", "mine")


class Quiet:
    """A training that tells nobody how it goes."""

    def say(self, line: str) -> None: ...

    def live(self, line: str) -> None: ...


def test_it_can_be_trained_further(opus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = import_model(opus, tmp_path / "parent.safetensors")
    values = made.recipe.model_dump(mode="json")
    for name in ("en", "fr"):
        for part in ("train", "valid"):
            (tmp_path / f"{part}.{name}").write_text("\n".join(marian_folders.lines(f"{part}.{name}", 40)) + "\n")
    values["name"], values["compute"]["threads"] = "child", 1
    values["search"] |= {"beam": 1, "max_len_ratio": 0.0, "max_len_extra": 5}
    values["train"] |= {"init": "parent.safetensors", "updates": 3, "batch_tokens": 300, "validate_sentences": 2}
    recipe = Recipe.model_validate(values)
    monkeypatch.chdir(tmp_path)
    train(recipe, tmp_path / "recipe.yaml", device="cpu", reporter=Quiet())
    child = read_model(tmp_path / "runs" / "child" / "model.safetensors")
    assert child.src_tokenizer.to_bytes() == made.src_tokenizer.to_bytes()
    assert any(not torch.equal(child.weights[name], weight) for name, weight in made.weights.items())
