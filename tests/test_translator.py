import hashlib
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.corpus.learning import learn_sentencepiece
from nmt.corpus.lexicon import Lexicon
from nmt.corpus.tokenizer import Words
from nmt.errors import EnvironmentFault, ModelError, UsageError
from nmt.model_file import ModelFile, build, read_model, write_model
from nmt.models.build import build_model
from nmt.ops.ready import Precision
from nmt.recipe import CorpusConfig, Recipe, SearchConfig, TokenizerConfig, TrainConfig
from nmt.recipe_models import BahdanauConfig, SutskeverConfig
from nmt.search.sampling import Sampling
from nmt.translator import Translator
from nmt.workers import can_fork
from tests.stand_ins import BREAKS, QUICK, Echo, echo, endless, newlines


def bahdanau() -> ModelFile:
    """A small model with random weights: what it writes means nothing, but is always the same."""
    words = [f"w{i}" for i in range(20)]
    recipe = Recipe(
        name="small",
        corpus=CorpusConfig(src="en", tgt="fr", train="train", valid="valid", max_len=12),
        model=BahdanauConfig(kind="bahdanau", d_embed=8, d_hidden=8, d_align=8, d_maxout=8),
        train=TrainConfig(batch_tokens=100, updates=1),
        search=SearchConfig(beam=3, max_len_extra=5),
    )
    src, tgt = Words(words, None), Words(words, None)
    torch.manual_seed(3)
    net = build_model(recipe.model, src.n_ids, tgt.n_ids)
    weights = {name: torch.randn_like(p) for name, p in net.named_parameters()}
    return ModelFile(recipe, weights, src, tgt, {})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_model(path, bahdanau())
    return path


LINES = ["w1 w2 w3", "", "w4", "w5 w6 w7 w8 w9 w10 w11", "   ", "w1", "w19 nobody w3 w3"]


def test_a_line_comes_out_for_every_line_in_their_order() -> None:
    lines = ["the cat", "", "sat on the mat .", " ", "\u2003\u00a0", "cat", "dog", "the the the the"]
    found = list(echo().translate(lines))
    assert [one.source for one in found] == lines
    assert [one.translation for one in found] == [
        "the cat",
        "",
        "sat on the mat .",
        "",
        "",
        "cat",
        "dog",
        "the the the the",
    ]


@pytest.mark.parametrize("line", ["", " ", "\t \u3000\u00a0\u2003\u1680", "\u2029\x1c\x85"])
def test_the_model_is_not_called_for_a_blank_line(line: str) -> None:
    translator = echo()
    (found,) = translator.translate([line])
    assert (found.translation, found.parts, found.pieces) == ("", 0, ())
    assert isinstance(translator.model, Echo)
    assert translator.model.n_rows == []


def test_translations_hold_no_line_breaks() -> None:
    (found,) = newlines().translate(["a"])
    assert found.translation == "a" + " " * len(BREAKS)
    assert "\n" in found.hypotheses[0].pieces


def test_lines_are_drawn_a_window_at_a_time() -> None:
    drawn = 0

    def source():
        nonlocal drawn
        for i in itertools.count():
            drawn += 1
            yield "the" if i % 2 else "cat"

    found = echo().translate(source())
    assert [next(found).translation for _ in range(3)] == ["cat", "the", "cat"]
    assert drawn <= 1024


def test_unknown_words_are_copied_from_where_the_model_looked() -> None:
    (found,) = echo().translate(["the zebra sat"])
    assert found.translation == "the zebra sat"
    assert found.unknown == 1
    assert found.pieces == ("the", "zebra", "sat")
    assert found.hypotheses[0].pieces == ("the", "<unk>", "sat")


def test_without_attention_an_unknown_word_stays_unknown() -> None:
    (found,) = echo(attends=False).translate(["the zebra sat"], alignments=True)
    assert found.translation == "the <unk> sat"
    assert found.alignment is None


def test_alignments_count_pieces_of_source_and_target() -> None:
    (found,) = echo().translate(["the cat sat"], alignments=True)
    assert found.alignment == ((0, 0), (1, 1), (2, 2))
    assert next(echo().translate(["the cat sat"])).alignment is None


@pytest.mark.parametrize("beam", [1, 2])
def test_translations_begin_with_their_prefixes(beam: int) -> None:
    lines = ["the cat sat", "the cat", "", "on the mat", "the cat sat on the mat . the cat sat on the mat ."]
    prefixes = ["cat zebra", "", "mat", " on ", "mat  <unk>"]
    found = list(echo(max_pieces=7).translate(lines, beam=beam, prefixes=prefixes))
    assert [one.translation for one in found] == [
        "cat zebra sat",
        "the cat",
        "mat",
        "on the mat",
        "mat  <unk> sat on the mat . the cat sat on the mat .",
    ]
    assert found[0].pieces == ("the", "cat", "sat")


def test_a_subword_prefix_comes_out_as_it_was_given() -> None:
    prefixes = ["the dog", "the \u65e5 ca", "\uff54he ca"]
    found = list(pieces_echo().translate(["the cat number 5 sat on the mat"] * 3, prefixes=prefixes))
    for one, prefix in zip(found, prefixes, strict=True):
        assert one.translation.startswith(prefix)
        assert len(one.translation) > len(prefix)


def test_long_lines_are_cut_at_punctuation_translated_and_joined() -> None:
    line = "the cat sat on the mat . the cat sat . cat , the mat , on the cat"
    translator = echo(max_pieces=7)
    with patch.object(translator.model, "encode", wraps=translator.model.encode) as encode:
        (found,) = translator.translate([line], alignments=True)
    assert found.translation == line
    assert found.parts == 4
    assert found.alignment == tuple((i, i) for i in range(len(line.split())))
    assert found.pieces == tuple(line.split())
    (call,) = encode.call_args_list
    assert call.args[0].shape == (4, 8)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["the", "cat", ".", ",", "zebra", "Zug!", "¿que?", "a;b"]), min_size=1, max_size=80))
def test_no_word_of_a_long_line_is_lost(words: list[str]) -> None:
    (found,) = echo(max_pieces=5).translate([" ".join(words)])
    assert found.translation.split() == words
    assert found.parts >= len(words) / 5


def test_a_line_of_a_hundred_thousand_characters_comes_out() -> None:
    line = "the cat " * 12_500
    (found,) = echo(config=QUICK.model_copy(update={"beam": 1}), max_pieces=60).translate([line])
    assert found.translation == line.strip()


def test_a_long_line_without_spaces_comes_out() -> None:
    (found,) = echo(max_pieces=3).translate(["x" * 700])
    assert found.translation.replace(" ", "") == "x" * 700


def test_an_endless_translation_is_cut_and_flagged() -> None:
    (found,) = endless().translate(["cat cat"])
    assert found.cut
    assert found.translation == "the the the the the"
    assert not next(echo().translate(["cat cat"])).cut


def test_half_a_surrogate_pair_is_no_crash() -> None:
    (found,) = echo().translate(["the \ud800 cat"])
    assert found.translation == "the \ufffd cat"


def test_n_best_are_sorted_and_the_first_is_the_translation(path: Path) -> None:
    translator = Translator.load(path, device="cpu")
    for found, one in zip(translator.translate(LINES, n_best=3), translator.translate(LINES), strict=True):
        scores = [candidate.score for candidate in found.hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert found.hypotheses[0].translation == found.translation == one.translation


def test_more_translations_than_the_beam_are_refused() -> None:
    with pytest.raises(UsageError, match="need a beam of 3, not 2"):
        list(echo().translate(["the"], n_best=3))


def test_a_batch_of_one_and_of_many_give_the_same_lines(path: Path) -> None:
    translator = Translator.load(path, device="cpu")
    lines = [" ".join(f"w{(i * j) % 20}" for j in range(1 + i % 11)) for i in range(60)]
    alone, many = (list(translator.translate(lines, batch=batch)) for batch in (1, 64))
    differing = [(a, b) for a, b in zip(alone, many, strict=True) if a.translation != b.translation]
    assert all(abs(a.score - b.score) < 1e-5 for a, b in differing)
    assert len(differing) <= 1
    assert all(abs(a.score - b.score) < 1e-4 for a, b in zip(alone, many, strict=True))


@pytest.mark.parametrize("asked", [{}, {"n_best": 2, "alignments": True}, {"beam": 1}])
def test_a_search_that_stays_on_the_device_gives_the_same_lines(path: Path, asked: dict[str, Any]) -> None:
    ordinary, m = Translator.load(path, device="cpu"), read_model(path)
    there = Translator(build(m), m.src_tokenizer, m.tgt_tokenizer, m.recipe.search, max_pieces=11, on_device=True)
    prefixes = ["", "", "w3", "", "", "", "w5 w6"]
    with patch("nmt.translator.search", side_effect=AssertionError):
        found = list(there.translate(LINES, prefixes=prefixes, **asked))
    for ours, theirs in zip(found, ordinary.translate(LINES, prefixes=prefixes, **asked), strict=True):
        assert [one.translation for one in ours.hypotheses] == [one.translation for one in theirs.hypotheses]
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)
    assert there.why_eager == ordinary.why_eager == ""


def test_a_loaded_model_translates_as_the_one_that_was_written(path: Path) -> None:
    first, second = (list(Translator.load([path], device="cpu").translate(LINES)) for _ in range(2))
    assert first == second
    assert [one.parts for one in first] == [1, 0, 1, 1, 0, 1, 1]
    assert Translator.load(path, device="cpu").max_pieces == 11


def other_kind(words: list[str]) -> ModelFile:
    """A model without attention, for the same languages."""
    recipe = bahdanau().recipe
    corpus = recipe.corpus.model_copy(update={"max_len": 9})
    model = SutskeverConfig(kind="sutskever", d_embed=8, d_hidden=8, n_layers=2)
    recipe = recipe.model_copy(update={"model": model, "corpus": corpus})
    src, tgt = Words(words, None), Words(bahdanau().tgt_tokenizer.pieces(range(4, 24)), None)
    torch.manual_seed(4)
    weights = {n: torch.randn_like(p) for n, p in build_model(model, src.n_ids, tgt.n_ids).named_parameters()}
    return ModelFile(recipe, weights, src, tgt, {})


def test_an_ensemble_of_one_model_twice_translates_as_the_model_alone(path: Path) -> None:
    alone, twice = (list(Translator.load(paths, device="cpu").translate(LINES)) for paths in (path, [path, path]))
    assert [one.translation for one in alone] == [one.translation for one in twice]
    assert [one.score for one in alone] == pytest.approx([one.score for one in twice], abs=1e-5)


def test_models_of_different_kinds_translate_together(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    write_model(other, other_kind([f"w{i}" for i in range(20)]))
    together = Translator.load([path, other], device="cpu")
    assert together.max_pieces == 8
    found = list(together.translate(LINES, alignments=True))
    assert [one.parts for one in found] == [1, 0, 1, 1, 0, 1, 1]
    assert found[0].alignment is not None, "one of the two has attention"
    alone = [one.score for one in Translator.load(path, device="cpu").translate(LINES)]
    assert abs(found[0].score - alone[0]) > 0.1


def test_models_of_different_vocabularies_are_refused(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    write_model(other, other_kind([f"v{i}" for i in range(20)]))
    with pytest.raises(UsageError, match=r"other\.safetensors: its source vocabulary is not that of .*model\.safetens"):
        Translator.load([path, other])


def lexicon_at(path: Path, pieces: dict[str, list[str]], common: list[str]) -> Path:
    """A lexicon of the small model's words."""
    words = bahdanau().src_tokenizer
    sha256 = hashlib.sha256(words.to_bytes()).hexdigest()
    rows = [[i for word in pieces.get(one, ()) for i in words.encode([word])[0]] for one in words.pieces(range(24))]
    Lexicon(
        np.array([i for row in rows for i in row], np.int32),
        np.array([0, *itertools.accumulate(map(len, rows))], np.int64),
        np.array([*range(4), *words.encode([" ".join(common)])[0]], np.int32),
        24,
        (sha256, sha256),
    ).write(path)
    return path


PRECISIONS = ["float32", "bfloat16"] + ["int8"] * torch.cpu._is_vnni_supported()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_shortlist_of_all_words_changes_no_line(path: Path, tmp_path: Path, precision: Precision) -> None:
    every = lexicon_at(tmp_path / "every", {}, [f"w{i}" for i in range(20)])
    free, listed = (
        list(Translator.load(path, device="cpu", precision=precision, shortlist=which).translate(LINES))
        for which in (None, every)
    )
    assert [one.translation for one in listed] == [one.translation for one in free]
    assert [one.score for one in listed] == pytest.approx([one.score for one in free], abs=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("models", [1, 2])
def test_words_come_of_the_lists_of_their_lines_in_any_batch_and_order(
    path: Path, tmp_path: Path, models: int, precision: Precision
) -> None:
    pieces = {f"w{i}": [f"w{(i + 1) % 20}", f"w{(3 * i) % 20}"] for i in range(20)}
    lexicon = lexicon_at(tmp_path / "lexicon", pieces, ["w7"])
    translator = Translator.load([path] * models, device="cpu", precision=precision, shortlist=lexicon)
    lines = [" ".join(f"w{(i * j) % 20}" for j in range(1 + i % 9)) for i in range(18)]
    ways: list[dict[str, Any]] = [{"beam": 1}, {"n_best": 2}, {"sampling": Sampling(seed=3)}]
    for asked in ways:
        alone = list(translator.translate(lines, batch=1, **asked))
        for line, found in zip(lines, alone, strict=True):
            allowed = {"w7", "<unk>"}.union(*(pieces[word] for word in line.split()))
            assert all(set(one.pieces) <= allowed for one in found.hypotheses)
        for batch in (7, 64):
            many = list(translator.translate(lines, batch=batch, **asked))
            assert [one.translation for one in many] == [one.translation for one in alone]
        if "sampling" not in asked:  # there a line's number counts
            turned = list(translator.translate(lines[::-1], batch=7, **asked))[::-1]
            assert [one.translation for one in turned] == [one.translation for one in alone]


def test_a_prefix_need_not_be_on_the_list(path: Path, tmp_path: Path) -> None:
    lexicon = lexicon_at(tmp_path / "lexicon", {}, ["w1", "w2"])
    translator = Translator.load(path, device="cpu", shortlist=lexicon)
    for found, prefix in zip(translator.translate(LINES, prefixes=["w9 w8"] * 7), ["w9 w8"] * 7, strict=True):
        if found.parts:
            assert found.translation.startswith(prefix)
            assert set(found.hypotheses[0].pieces) <= {"w9", "w8", "w1", "w2", "<unk>"}


def test_scores_of_given_pairs_know_no_shortlist(path: Path, tmp_path: Path) -> None:
    lexicon = lexicon_at(tmp_path / "lexicon", {}, ["w1"])
    pairs = [("w1 w2", "w5 w6"), ("w3", "w1")]
    with_one, without = (Translator.load(path, device="cpu", shortlist=which).score(pairs) for which in (lexicon, None))
    assert [one.score for one in with_one] == [one.score for one in without]


def test_a_lexicon_of_another_vocabulary_is_refused(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    write_model(other, other_kind([f"v{i}" for i in range(20)]))
    lexicon = lexicon_at(tmp_path / "lexicon", {}, [])
    with pytest.raises(UsageError, match="lexicon: its source vocabulary is not that of the model") as refused:
        Translator.load(other, shortlist=lexicon)
    assert refused.value.hint == "make one with the recipe of the model: nmt prepare RECIPE --lexicon FILE"
    with pytest.raises(ModelError, match="is not there"):
        Translator.load(path, shortlist=tmp_path / "none")
    with pytest.raises(ModelError, match="no lexicon"):
        Translator.load(path, shortlist=path)


def test_bfloat16_can_be_asked_for(path: Path) -> None:
    translator = Translator.load(path, device="cpu", precision="bfloat16")
    assert translator.model.compute_dtype == torch.bfloat16
    assert len(list(translator.translate(LINES))) == len(LINES)
    compute = replace(bahdanau()).recipe.compute
    assert compute.dtype == "float32"


@pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this processor has no fast int8")
def test_int8_is_near_float32_and_the_same_for_any_batch(path: Path) -> None:
    lines = LINES * 4
    exact = list(Translator.load(path, device="cpu").translate(lines))
    translator = Translator.load(path, device="cpu", precision="int8")
    found = list(translator.translate(lines))
    assert [one.score for one in found] != [one.score for one in exact]
    assert max(abs(a.score - b.score) for a, b in zip(found, exact, strict=True)) < 0.2
    for batch in (1, 3):
        again = list(translator.translate(lines, batch=batch))
        assert [one.translation for one in again] == [one.translation for one in found]


@pytest.mark.skipif(not can_fork(), reason="processes are copied on Linux only")
def test_workers_give_what_one_process_gives(path: Path) -> None:
    lines = LINES * 30
    asked: dict[str, Any] = {"batch": 8, "n_best": 2, "alignments": True}
    truth = list(Translator.load(path, device="cpu").translate(lines, **asked))
    translator = Translator.load(path, device="cpu", workers=2)
    found = list(translator.translate(lines, **asked))
    for one, same in zip(found, truth, strict=True):  # in other batches, so rounded otherwise
        assert (one.source, one.pieces) == (same.source, same.pieces)
        for a, b in zip(one.hypotheses, same.hypotheses, strict=True):
            assert (a.translation, a.alignment) == (b.translation, b.alignment)
            assert a.score == pytest.approx(b.score, abs=1e-5)
    drawn = [
        [one.translation for one in made.translate(lines, batch=8, sampling=Sampling(seed=4))]
        for made in (translator, Translator.load(path, device="cpu"))
    ]
    assert drawn[0] == drawn[1]


def test_what_cannot_be_loaded_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        Translator.load(tmp_path / "none")
    with pytest.raises(UsageError, match="no model was named"):
        Translator.load([])
    with pytest.raises(UsageError, match="there is no device tpu"):
        Translator.load(path, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(EnvironmentFault, match="no CUDA device"):
            Translator.load(path, device="cuda")


def test_a_batch_too_large_for_the_memory_is_halved_and_no_line_lost() -> None:
    class Small(Echo):
        def encode(self, src, keep):  # type: ignore[no-untyped-def]
            if len(src) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().encode(src, keep)

    translator = echo()
    translator.model = Small(translator.src_tokenizer.n_ids)
    lines = [f"{'the ' * (i % 5)}cat" for i in range(30)]
    assert [one.translation for one in translator.translate(lines)] == lines


def test_a_single_sentence_too_large_for_the_memory_is_the_machines_fault() -> None:
    translator = echo()
    with (
        patch.object(translator.model, "encode", side_effect=torch.OutOfMemoryError("CUDA out of memory")),
        pytest.raises(EnvironmentFault, match="a sentence of 2 pieces at beam 2 exhausts the memory"),
    ):
        list(translator.translate(["the cat", "cat the"]))


def pieces_echo() -> Translator:
    lines = [f"the cat number {i} sat on the mat , and the dog {i * 7} did not ." for i in range(200)]
    pieces = learn_sentencepiece(lines, TokenizerConfig(kind="bpe", vocab=80), "the text")
    return Translator(Echo(pieces.n_ids), pieces, pieces, QUICK, max_pieces=20)


def test_subword_models_write_no_marks_for_what_they_do_not_know() -> None:
    lines = [
        "the cat",
        "the 🦓 sat",
        "日本語",
        "\u200b",
        "שלום the عالم",
        "e\u0301 \u202e the",
        "the  dog",
        "<unk> <s> ⁇ ▁the",
    ]
    found = list(pieces_echo().translate(lines))
    assert [one.source for one in found] == lines
    assert [one.translation for one in found][:3] == ["the cat", "the  sat", ""]
    assert found[3].parts == 0, "nothing is left of a zero-width space, so there is nothing to translate"
    for one in found:
        assert not {"⁇", "\ufffd", "\n"} & set(one.translation)
        assert one.translation.encode().decode() == one.translation


def test_long_subword_lines_lose_no_word() -> None:
    line = " ".join(f"the cat {i} sat ." for i in range(60))
    (found,) = pieces_echo().translate([line])
    assert found.translation == line
    assert found.parts > 10
