"""nmt prepare --lexicon: from text to a file that a translation can use."""

import io
from pathlib import Path

import numpy as np
import pytest

from nmt.commands import lexicon as module
from nmt.commands.lexicon import make_lexicon
from nmt.commands.translate import translate
from nmt.corpus.lexicon import read_lexicon
from nmt.errors import EnvironmentFault
from nmt.model_file import ModelFile, write_model
from nmt.models.build import build_model
from tests.commands.test_prepare import WORDS, recipe, sentences, text, write

_ = text  # a fixture


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_words_have_their_translations(text: Path, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(module, "ALIGN_FROM", round(500 * share))
    monkeypatch.setattr("nmt.corpus.lexicon.CANDIDATES", 3)
    monkeypatch.setattr("nmt.corpus.lexicon.COMMON", 2)
    write(text, "more", *sentences(200, seed=9))
    said: list[str] = []
    small = recipe({"kind": "word", "vocab": 200}, train=["train", "more"])
    made = make_lexicon(small, Path("r.yaml"), Path("lexicon.safetensors"), say=said.append)
    found = read_lexicon(Path("lexicon.safetensors"))
    assert np.array_equal(found.pieces, made.pieces)
    assert said[-2] == ("aligning 500 pairs" if share == 1.0 else "aligning 150 of 500 pairs")
    assert said[-1].startswith("lexicon: lexicon.safetensors, ")
    prepared = module.prepare(small, Path("r.yaml"), say=said.append)
    src, tgt = prepared.tokenizers
    found.check(Path("lexicon.safetensors"), src, tgt)
    for word, translated in WORDS.items():
        assert tgt.encode([translated])[0][0] in found.shortlist(src.encode([word])[0])


def test_a_recipe_that_goes_on_from_a_model_has_its_vocabulary(text: Path) -> None:
    first = recipe({"kind": "word", "vocab": 30})
    prepared = module.prepare(first, Path("r.yaml"), say=lambda line: None)
    src, tgt = prepared.tokenizers
    model = build_model(first.model, src.n_ids, tgt.n_ids)
    model.initialize()
    write_model(text / "model.safetensors", ModelFile(first, dict(model.state_dict()), src, tgt, {}))
    write(text, "other", ["new words here"] * 50, ["mots nouveaux"] * 50)
    train = first.train.model_copy(update={"init": "model.safetensors"})
    second = recipe({"kind": "word", "vocab": 30}, train="other").model_copy(update={"train": train})
    made = make_lexicon(second, text / "r.yaml", text / "lexicon.safetensors", say=lambda line: None)
    made.check(Path("lexicon.safetensors"), src, tgt)
    sink = io.BytesIO()
    translate(
        *([text / "model.safetensors"],),
        shortlist=text / "lexicon.safetensors",
        device="cpu",
        stdin=io.BytesIO(b"the old cat\n\nnew words\n"),
        stdout=sink,
    )
    assert sink.getvalue().count(b"\n") == 3


def test_what_cannot_be_written_shows_before_the_work(text: Path) -> None:
    (text / "file").write_text("")
    with pytest.raises(EnvironmentFault):
        make_lexicon(recipe(), Path("r.yaml"), Path("file/lexicon"), say=lambda line: None)
    assert not (text / "prepared").exists()
