"""Exported models say what ours say: every option of kind transformer, log P, text, and what is refused."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.batch import BOS, PAD, UNK, padded_batch
from nmt.commands.translate import translate
from nmt.corpus.tokenizer import Words
from nmt.errors import EnvironmentFault, ModelError, NmtError, UsageError
from nmt.model_file import ModelFile, build, write_model
from nmt.models.build import build_model
from nmt.recipe import CorpusConfig, Recipe, SearchConfig, TrainConfig
from nmt.recipe_models import BahdanauConfig, ModernConfig, TransformerConfig
from nmt.translator import Translator

pytest.importorskip("ctranslate2", reason="CTranslate2 is an extra: pip install 'nmt[ctranslate2]'")

from nmt.commands import export_model as exporting
from nmt.commands.export_model import Agreement, export_model, sample_lines
from nmt.engines.ctranslate2 import CTranslate2Translator, searchable
from nmt.engines.ctranslate2_spec import names

CHOICES: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "pre-norm": {"norm": "pre"},
    "learned positions": {"positions": "learned", "max_positions": 9},
    "swish, output bias": {"activation": "swish", "output_bias": True},
    "gelu, untied": {"activation": "gelu", "tied_output": False, "tied_embeddings": False},
    "another depth": {"n_decoder_layers": 1},
}
WORDS = [f"w{i}" for i in range(20)]
LINES = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11 w3", "w19 nobody w3 w3", "w2 w2"]


def model_file(config: Any = None, **search: Any) -> ModelFile:
    """A small model with random weights."""
    sizes = {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_ff": 24, "output_bias": True}
    recipe = Recipe(
        name="small",
        corpus=CorpusConfig(src="en", tgt="fr", train="train", valid="valid", max_len=16),
        model=config or TransformerConfig.model_validate({"kind": "transformer", **sizes}),
        train=TrainConfig(batch_tokens=100, updates=1),
        search=SearchConfig.model_validate({"beam": 3, "max_len_extra": 5, **search}),
    )
    src, tgt = Words(WORDS, None), Words(WORDS, None)
    torch.manual_seed(3)
    net = build_model(recipe.model, src.n_ids, tgt.n_ids)
    weights = {}
    for name, p in net.named_parameters():
        about = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        weights[name] = torch.empty_like(p).uniform_(about - 0.6, about + 0.6)
    if "projection.bias" in weights:
        # CTranslate2 takes PAD and BOS out before the softmax, our search after it: here they have no share of it.
        weights["projection.bias"][[PAD, UNK, BOS]] = -50.0
    return ModelFile(recipe, weights, src, tgt, {})


def chosen(**choice: Any) -> ModelFile:
    sizes = {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_ff": 24, **choice}
    return model_file(TransformerConfig.model_validate({"kind": "transformer", **sizes}))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model file and the folder made of it, not to be changed."""
    folder = tmp_path_factory.mktemp("exported")
    write_model(folder / "model.safetensors", model_file())
    export_model(folder / "model.safetensors", folder / "ct2")
    return folder / "model.safetensors", folder / "ct2"


@pytest.mark.parametrize("choice", CHOICES)
def test_log_p_and_text_are_ours(tmp_path: Path, choice: str) -> None:
    m = chosen(**CHOICES[choice])
    write_model(tmp_path / "model.safetensors", m)
    said: list[str] = []
    tokenizer = m.tgt_tokenizer
    assert isinstance(tokenizer, Words)
    agreement = export_model(tmp_path / "model.safetensors", tmp_path / "ct2", say=said.append)
    assert agreement.greedy == agreement.lines
    assert agreement.beam + agreement.chosen == agreement.lines
    assert said[0].startswith(f"checked: {agreement.lines} of {agreement.lines} lines the same greedily, ")

    theirs = CTranslate2Translator.open(tmp_path / "ct2", device="cpu")
    ours = Translator.of(m, device="cpu")
    ours.config = searchable(ours.config)
    net = build(m)
    for one in ours.translate(LINES, beam=1):
        best = one.hypotheses[0]
        src, tgt = m.src_tokenizer.encode([one.source]), [[tokenizer._ids[piece] for piece in best.pieces]]
        given = padded_batch(src, tgt)
        with torch.inference_mode():
            log_probs = net.project(net(given)).log_softmax(-1)[0].gather(1, given.tgt_out[0][:, None])[:, 0]
        n = len(tgt[0]) + (not best.cut)
        found = theirs.log_prob(one.source, best)
        assert found == pytest.approx(float(log_probs[:n].sum()), abs=1e-4)


def test_every_line_has_one_and_scores_are_ours(exported: tuple[Path, Path]) -> None:
    theirs, ours = CTranslate2Translator.open(exported[1], device="cpu"), Translator.load(exported[0], device="cpu")
    theirs.config = ours.config = searchable(ours.config)
    lines = ["", *LINES, "  ", " ".join(WORDS * 3), "w1 w2 w3"]
    for beam in (1, 3):
        pairs = zip(theirs.translate(lines, beam=beam), ours.translate(lines, beam=beam), strict=True)
        for one, other in pairs:
            assert (one.source, one.pieces, one.parts) == (other.source, other.pieces, other.parts)
            if beam == 1:
                assert one.translation == other.translation
                assert one.score == pytest.approx(other.score, abs=1e-4)
                assert (one.cut, one.unknown) == (other.cut, other.unknown)
    [best] = theirs.translate(["w1 w2 w3"], n_best=3)
    assert len({candidate.pieces for candidate in best.hypotheses}) == 3
    assert sorted((candidate.score for candidate in best.hypotheses), reverse=True) == [
        candidate.score for candidate in best.hypotheses
    ]


def test_neighbours_do_not_matter(exported: tuple[Path, Path]) -> None:
    theirs = CTranslate2Translator.open(exported[1], device="cpu")
    together = [one.translation for one in theirs.translate(LINES)]
    assert [next(theirs.translate([line])).translation for line in LINES] == together
    assert [one.translation for one in theirs.translate(LINES, batch=1)] == together


def test_two_exports_of_a_model_are_the_same_bytes(exported: tuple[Path, Path], tmp_path: Path) -> None:
    export_model(exported[0], tmp_path / "again")
    for file in sorted(exported[1].iterdir()):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_names_of_ids_differ_though_pieces_do_not() -> None:
    class Twice(Words):
        def pieces(self, ids: Any) -> list[str]:
            return ["<pad>", "<unk>", "<s>", "</s>", "a", "", "a", ""]

    assert names(Twice(["a", "b", "c", "d"], None))[4:] == ["a", "<id 5>", "a<id 6>", "<id 7>"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (BahdanauConfig(kind="bahdanau", d_embed=8, d_hidden=8, d_align=8, d_maxout=8), "has no recurrent layers"),
        (ModernConfig(kind="modern", n_layers=1, d_model=8, n_heads=2, d_ff=8), "rotary positions, RMSNorm and SwiGLU"),
    ],
)
def test_other_kinds_are_refused(tmp_path: Path, config: Any, said: str) -> None:
    write_model(tmp_path / "model.safetensors", model_file(config))
    with pytest.raises(UsageError, match=f"kind {config.kind} cannot be exported: .*{said}"):
        export_model(tmp_path / "model.safetensors", tmp_path / "ct2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors"]


def test_a_model_that_says_something_else_is_not_exported(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(m: ModelFile, folder: Path) -> None:
        weights = {name: weight * (0.5 if "cross" in name else 1.0) for name, weight in m.weights.items()}
        right(ModelFile(m.recipe, weights, m.src_tokenizer, m.tgt_tokenizer, m.lineage), folder)

    right = exporting.convert
    monkeypatch.setattr(exporting, "convert", wrong)
    with pytest.raises(ModelError, match=r"CTranslate2 does not say the same: .* 98% are promised"):
        export_model(exported[0], tmp_path / "ct2")
    assert list(tmp_path.iterdir()) == []


def test_the_promise_counts_what_was_chosen_differently() -> None:
    assert Agreement(100, 100, 90, 8, 5).holds
    assert not Agreement(100, 97, 100, 0, 5).holds
    assert not Agreement(100, 100, 90, 7, 5).holds
    assert str(Agreement(1000, 1000, 1000, 0, 1)) == "1,000 of 1,000 lines the same greedily"


def test_a_file_of_sentences_is_checked_with(exported: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("w1 w2\n\nw3\n")
    assert export_model(exported[0], tmp_path / "ct2", check=tmp_path / "lines").lines == 2
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UsageError, match="has no line to check with"):
        export_model(exported[0], tmp_path / "other", check=tmp_path / "empty")
    with pytest.raises(UsageError, match="is there already"):
        export_model(exported[0], tmp_path / "ct2")
    assert sample_lines(model_file()) == sample_lines(model_file())


def test_a_damaged_folder_is_refused(exported: tuple[Path, Path], tmp_path: Path) -> None:
    export_model(exported[0], tmp_path / "ct2")
    (tmp_path / "ct2" / "model.bin").write_bytes(b"cut")
    with pytest.raises(ModelError, match=r"damaged: model\.bin has 3 bytes"):
        CTranslate2Translator.open(tmp_path / "ct2")
    with pytest.raises(ModelError, match="is no folder that nmt export made"):
        CTranslate2Translator.open(tmp_path)


# --- nmt translate --engine ctranslate2 -------------------------------------------------------------------------------


def through(model: Path, text: str, **options: Any) -> tuple[str, list[str]]:
    said: list[str] = []
    sink = io.BytesIO()
    source = io.BytesIO(text.encode())
    translate([model], engine="ctranslate2", device="cpu", stdin=source, stdout=sink, say=said.append, **options)
    return sink.getvalue().decode(), said


def test_a_model_is_exported_once_beside_itself(tmp_path: Path) -> None:
    write_model(tmp_path / "model.safetensors", model_file())
    out, said = through(tmp_path / "model.safetensors", "w1 w2\n\nw3\n")
    [folder] = tmp_path.glob("model.ctranslate2-*")
    assert said[0] == f"exporting to {folder}, this once"
    assert any(line.startswith("CTranslate2 has no length_formula gnmt: it ranks by average") for line in said)
    assert out.count("\n") == 3
    assert out.split("\n")[1] == ""
    again, said = through(tmp_path, "w1 w2\n\nw3\n", overrides=["search.length_formula=average"])
    assert again == out
    assert not any(line.startswith(("exporting", "CTranslate2")) for line in said)
    assert through(folder, "w1 w2\n\nw3\n")[0] == out
    write_model(tmp_path / "model.safetensors", model_file(beam=2))
    through(tmp_path, "w1\n")
    assert list(tmp_path.glob("model.ctranslate2-*")) != [folder]
    assert len(list(tmp_path.glob("model.ctranslate2-*"))) == 1


def test_json_has_what_ctranslate2_tells(exported: tuple[Path, Path]) -> None:
    out, _ = through(exported[1], "w1 w2\n", as_json=True, n_best=2)
    found = json.loads(out)
    assert found["source_pieces"] == ["w1", "w2"]
    assert found["alignment"] is None
    assert len(found["hypotheses"]) == 2


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"alignments": True}, UsageError, "does not say which words go with which"),
        ({"sample": True}, UsageError, "--engine ctranslate2 goes without --sample"),
        ({"prefix": True}, UsageError, "--engine ctranslate2 goes without --prefix"),
        ({"shortlist": Path("l")}, UsageError, "--engine ctranslate2 goes without --shortlist"),
        ({"overrides": ["search.coverage_penalty=0.2"]}, UsageError, "search.coverage_penalty: CTranslate2 has no"),
        ({"overrides": ["search.repetition_penalty=1.2"]}, UsageError, "search.repetition_penalty: CTranslate2 has no"),
        ({"overrides": ["search.min_len_ratio=0.2"]}, UsageError, "search.min_len_ratio: CTranslate2 has no"),
        ({"n_best": 9}, UsageError, "9 translations of each line need a beam of 9"),
    ],
)
def test_what_the_engine_cannot_do_is_refused(
    exported: tuple[Path, Path], options: dict[str, Any], kind: type[NmtError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        through(exported[1], "w1\n", **options)


def test_two_models_are_refused(exported: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="takes one model"):
        translate([exported[0], exported[0]], engine="ctranslate2", stdin=io.BytesIO(), stdout=io.BytesIO())


def test_without_the_extra_it_is_said(exported: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith(("ctranslate2", "nmt.engines.ctranslate2"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "nmt.commands.export_model")
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(EnvironmentFault, match="CTranslate2 is not installed"):
        through(exported[1], "w1\n")
