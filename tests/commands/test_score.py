import gzip
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import sacrebleu

from nmt.commands import score as score_file
from nmt.commands.score import Report, score, score_json, score_lines
from nmt.errors import DataError, EnvironmentFault, ModelError, UsageError

REF = ["The cat sat on the mat.", "A dog barks.", "It rains in London again."]
HYP = ["The cat sat on a mat.", "A dog barks.", "It is raining in London."]


def write(path: Path, lines: list[str] | bytes) -> Path:
    path.write_bytes(lines if isinstance(lines, bytes) else "".join(f"{line}\n" for line in lines).encode())
    return path


@pytest.fixture
def ref(tmp_path: Path) -> Path:
    return write(tmp_path / "ref", REF)


def of(tmp_path: Path, hyp: list[str] | bytes, ref: list[str] | bytes, **settings: object) -> Report:
    return score(write(tmp_path / "ref", ref), write(tmp_path / "hyp", hyp), **settings)  # type: ignore[arg-type]


def refused(tmp_path: Path, hyp: list[str] | bytes, ref: list[str] | bytes, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        of(tmp_path, hyp, ref, **settings)
    return str(caught.value).replace(f"{tmp_path}/", "")


# --- figures ---


def test_the_lines_are_those_of_sacrebleus_command(tmp_path: Path, ref: Path) -> None:
    second, hyp = write(tmp_path / "ref2", HYP), write(tmp_path / "hyp", HYP[::-1])
    command = [sys.executable, "-m", "sacrebleu", str(ref), str(second), "-i", str(hyp), "-f", "text", "-w", "2"]
    theirs = subprocess.run([*command, "-m", "bleu", "chrf", "ter"], capture_output=True, text=True, check=True).stdout
    assert score_lines(score(ref, hyp, more_refs=[second])) + "\n" == theirs


def test_lines_by_hand(tmp_path: Path) -> None:
    report = of(tmp_path, ["a b x c d"], ["a b y c d"])
    assert score_lines(report, 1) == (
        "        BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0 = 30.2 "
        "80.0/50.0/16.7/12.5 (BP = 1.000 ratio = 1.000 hyp_len = 5 ref_len = 5)\n"
        "      chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0 = 26.0\n"
        "TER|nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0 = 20.0"
    ).replace("version:2.6.0", f"version:{sacrebleu.__version__}")


def test_json_holds_scores_signatures_and_what_was_scored(tmp_path: Path, ref: Path) -> None:
    hyp = write(tmp_path / "hyp", [*HYP[:2], ""])
    report = score(ref, hyp, lowercase=True)
    text = score_json(report)
    assert "\n" not in text
    out = json.loads(text)
    assert list(out) == ["BLEU", "chrF", "TER", "hypotheses", "references", "warnings"]
    assert out["BLEU"]["score"] == report.scores["BLEU"].score
    assert "|case:lc|" in out["BLEU"]["signature"]
    assert "|case:lc|" in out["chrF"]["signature"]
    assert set(out["BLEU"]) == {"score", "signature", "details"}
    assert set(out["chrF"]) == set(out["TER"]) == {"score", "signature"}
    sha = hashlib.sha256(hyp.read_bytes()).hexdigest()
    assert out["hypotheses"] == {"file": str(hyp), "sha256": sha, "lines": 3}
    assert [entry["file"] for entry in out["references"]] == [str(ref)]
    assert out["warnings"] == [f"{hyp}: 1 of 3 lines are empty"]


def test_hypotheses_come_from_standard_input(ref: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = "".join(f"{line}\n" for line in REF).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    report = score(ref)
    assert report.scores["BLEU"].score == pytest.approx(100)
    assert (report.hyp.name, report.hyp.lines) == ("standard input", 3)
    assert report.hyp.sha256 == report.refs[0].sha256
    assert score(ref, io.BytesIO(data)) == report


def test_packed_files_are_read(tmp_path: Path, ref: Path) -> None:
    packed = write(tmp_path / "hyp", gzip.compress(ref.read_bytes()))
    assert score(ref, packed).scores["TER"].score == 0


# --- S1: counts ---


@pytest.mark.parametrize("n", [2, 4, 0])
def test_unequal_counts_are_refused_before_scoring(tmp_path: Path, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_file, "corpus_scores", lambda *_: pytest.fail("scored"))
    assert refused(tmp_path, ["a"] * n, REF) == (
        f"error: hyp has {n} lines, ref 3: line n of one must answer line n of the other\n"
        "  nothing was scored; look for a lost or an extra line break, or for another test set"
    )


def test_counts_are_written_for_people_and_each_reference_is_looked_at(tmp_path: Path) -> None:
    short = write(tmp_path / "ref2", ["a"] * 1999)
    assert "hyp has 2,000 lines, ref2 1,999:" in refused(tmp_path, ["a"] * 2000, ["a"] * 2000, more_refs=[short])


def test_a_last_line_without_an_end_is_a_line(tmp_path: Path) -> None:
    assert of(tmp_path, b"a\nb", b"a\nb\n").hyp.lines == 2
    assert of(tmp_path, b"a\n\n", b"a\nb\n").hyp.lines == 2


def test_nothing_to_score(tmp_path: Path) -> None:
    assert refused(tmp_path, b"", b"") == "error: hyp has no lines to score\n  did the translation fail?"


# --- S2 and S7: lines and encodings ---


@pytest.mark.parametrize("sign", ["\r", "\t", "\u2028", "\u2029", "\x85", "\v", "\f", "\x1c"])
def test_only_newlines_end_lines(tmp_path: Path, sign: str) -> None:
    report = of(tmp_path, f"The cat{sign}sat on the mat.\nb\n".encode(), b"The cat sat on the mat.\nb\n")
    assert report.hyp.lines == 2
    assert [score.score for score in report.scores.values()] == pytest.approx([100, 100, 0])
    assert report.warnings == (f"{tmp_path}/hyp: 1 tabs or other separators inside lines count as spaces",)


def test_windows_line_ends_and_byte_order_marks_change_nothing(tmp_path: Path) -> None:
    report = of(tmp_path, b"\xef\xbb\xbfa b\r\nc\r\n", b"a b\nc\n")
    assert report.scores["TER"].score == 0
    assert report.warnings == ()


def test_text_that_is_not_utf8_is_refused_in_all_files_at_once(tmp_path: Path) -> None:
    assert refused(tmp_path, b"a\n\x00\n", b"\xe9t\xe9\nb\n") == (
        "error: ref:1:1: byte 0xE9 is not UTF-8\n"
        "  hyp:2:1: NUL byte\n"
        "  scores need clean text (for Latin-1: iconv -f latin1 -t utf-8)"
    )


def test_missing_files_are_told(tmp_path: Path, ref: Path) -> None:
    with pytest.raises(DataError, match="missing does not exist"):
        score(ref, tmp_path / "missing")


# --- S3: empty ---


def test_all_empty_scores_nothing_with_a_warning(tmp_path: Path) -> None:
    report = of(tmp_path, ["", " ", ""], REF)
    assert [score.score for score in report.scores.values()] == [0, 0, 100]
    assert report.warnings == (f"{tmp_path}/hyp: all 3 lines are empty",)


# --- S4: subwords, tokens ---


@pytest.mark.parametrize(
    ("line", "mark"), [("a lo@@ ng word", "@@"), ("cut o@@", "@@"), ("▁a ▁long ▁wo rd", "▁"), ("wo rd▁", "▁")]
)
def test_subwords_are_refused_unless_forced(tmp_path: Path, line: str, mark: str) -> None:
    assert refused(tmp_path, ["ok", line, line], REF) == (
        f'error: hyp:2: "{mark}" is left of a subword (2 of 3 lines have such)\n'
        "  scores of subwords compare with nothing: join them to words first, or insist with --force"
    )
    assert "ref:1:" in refused(tmp_path, ["ok"], [line])
    assert of(tmp_path, [line], REF[:1], force=True).hyp.lines == 1


@pytest.mark.parametrize("line", ["me@@you", "an @@handle", "user@example.org", "a @ b", "@@@x"])
def test_at_signs_are_no_subwords(tmp_path: Path, line: str) -> None:
    assert of(tmp_path, [line], ["x"]).warnings == ()


def test_tokenised_text_gets_a_warning_from_a_hundred_lines_on(tmp_path: Path) -> None:
    assert of(tmp_path, ["a b ."] * 99 + ["a b."], ["a b."] * 100).warnings == ()
    assert of(tmp_path, ["a b ."] * 100, ["a b."] * 100).warnings == (
        f'{tmp_path}/hyp: 100 lines end in " .": it seems to be tokenised still, and its scores compare with nothing',
    )


# --- S5: languages ---


@pytest.mark.parametrize(
    ("line", "language", "advice"),
    [
        ("今天天气很好。", "Chinese", "--lang zh"),
        ("今日は天気がいいですね。", "Japanese", "--lang ja (or --tokenize char)"),
        ("오늘은 날씨가 좋네요.", "Korean", "--lang ko (or --tokenize char)"),
        ("วันนี้อากาศดี", "Thai, Lao, Khmer or Burmese", "--tokenize char"),
    ],
)
@pytest.mark.parametrize("tokenize", [None, "intl"])
def test_the_wrong_tokenizer_gets_a_warning(
    tmp_path: Path, line: str, language: str, advice: str, tokenize: str | None
) -> None:
    assert of(tmp_path, [line], [line], tokenize=tokenize).warnings == (
        f"{tmp_path}/ref: this looks like {language}, which {tokenize or '13a'} does not split into words: "
        f"give {advice}",
    )
    assert of(tmp_path, [line], [line], tokenize="char").warnings == ()


def test_a_few_foreign_words_are_no_language(tmp_path: Path) -> None:
    assert of(tmp_path, ["x"], ["the word 東京 means eastern capital"]).warnings == ()


def test_a_language_chooses_its_tokenizer(tmp_path: Path) -> None:
    report = of(tmp_path, ["今天天气很好。"], ["今天天气很好吗？"], lang="zh")
    assert "|tok:zh|" in report.scores["BLEU"].signature
    assert report.warnings == ()
    assert "|tok:13a|" in of(tmp_path, ["a"], ["a"], lang="de").scores["BLEU"].signature
    assert "|tok:char|" in of(tmp_path, ["a"], ["a"], lang="zh", tokenize="char").scores["BLEU"].signature


def test_a_tokenizer_that_cannot_be_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="13b is not a tokenizer of sacreBLEU"):
        score(tmp_path / "missing", tokenize="13b")


# --- the newest run ---

RECIPE = """
name: {name}
corpus: {{src: en, tgt: {tgt}, folder: ../data, train: train, valid: valid, test: {test}}}
model: {{kind: bahdanau}}
train: {{batch_tokens: 10, updates: 1}}
"""


def a_run(tmp_path: Path, name: str, time: str, tgt: str = "fr", test: str = "test") -> None:
    """A run as training leaves it, started from recipes/NAME.yaml; its copy of the recipe lies elsewhere."""
    run = tmp_path / "runs" / name
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text(RECIPE.format(name=name, tgt=tgt, test=test))
    events = [
        {"event": "start", "time": time, "recipe_file": f"recipes/{name}.yaml"},
        {"event": "saved", "time": time},
    ]
    (run / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    for part in ("train", "valid", "test"):
        write(data / f"{part}.en", REF)
        write(data / f"{part}.{tgt}", [f"{part} {tgt} {i}" for i in range(3)])
    (tmp_path / "recipes").mkdir(exist_ok=True)


def test_the_reference_is_the_newest_runs_test_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(tmp_path, "old", "2026-01-01T00:00:00Z", "de")
    a_run(tmp_path, "new", "2026-01-02T00:00:00Z", "fr")
    monkeypatch.chdir(tmp_path)
    report = score(hyp=io.BytesIO(b"test fr 0\ntest fr 1\ntest fr 2\n"))
    assert report.scores["TER"].score == 0
    assert report.refs[0].name == "data/test.fr"


def test_the_newest_runs_language_chooses_the_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(tmp_path, "run", "2026-01-01T00:00:00Z", "zh")
    monkeypatch.chdir(tmp_path)
    assert "|tok:zh|" in score(hyp=io.BytesIO(b"a\nb\nc\n")).scores["BLEU"].signature
    assert "|tok:13a|" in score(hyp=io.BytesIO(b"a\nb\nc\n"), lang="en").scores["BLEU"].signature


def test_without_a_run_or_a_test_text_there_is_no_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="runs: there is no such folder"):
        score(hyp=io.BytesIO(b"a\n"))
    a_run(tmp_path, "run", "2026-01-01T00:00:00Z", test="null")
    with pytest.raises(UsageError) as caught:
        score(hyp=io.BytesIO(b"a\n"))
    assert str(caught.value) == (
        "error: runs/run/recipe.yaml names no corpus.test to score against\n  name the reference: nmt score REF [HYP]"
    )


# --- C3: no network ---

NO_SOCKETS = """
import sys
def hook(event, args):
    if event.startswith("socket.") or event == "urllib.Request":
        raise SystemExit(f"network: {event} {args}")
sys.addaudithook(hook)
from pathlib import Path
from nmt.commands.score import score, score_lines
from nmt.errors import EnvironmentFault
paths = [Path(name) for name in sys.argv[1:]]
for tokenize in ("13a", "intl", "zh", "char", "none"):
    print(score_lines(score(*paths, tokenize=tokenize)))
for tokenize in ("flores101", "flores200", "spBLEU-1K"):
    try:
        score(*paths, tokenize=tokenize)
    except EnvironmentFault as error:
        print(error)
assert "torch" not in sys.modules
"""


def test_scoring_opens_no_socket_and_imports_no_torch(tmp_path: Path, ref: Path) -> None:
    hyp = write(tmp_path / "hyp", HYP)
    done = subprocess.run(
        [sys.executable, "-c", NO_SOCKETS, str(ref), str(hyp)],
        capture_output=True,
        text=True,
        env={"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("BLEU|") == 5
    assert done.stdout.count("scoring uses no network: fetch ") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hyp", "ref"]


def test_the_socket_guard_above_would_notice(tmp_path: Path) -> None:
    program = NO_SOCKETS.split("from pathlib")[0] + "import socket; socket.socket().connect(('127.0.0.1', 9))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "network: socket." in done.stderr


def test_a_language_without_its_packages_says_what_to_do(
    tmp_path: Path, ref: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nmt.metrics._installed", lambda package: False)
    with pytest.raises(EnvironmentFault) as caught:
        score(ref, ref, lang="ja")
    assert caught.value.hint.endswith("or choose another: --tokenize char")
