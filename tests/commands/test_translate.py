import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.batch import EOS
from nmt.commands.translate import overridden, sampling_of, translate, translate_stream, with_max_len
from nmt.corpus.tokenizer import Words
from nmt.errors import DataError, EnvironmentFault, ModelError, NmtError, UsageError
from nmt.model_file import write_model
from nmt.recipe import SearchConfig
from nmt.search.device import DeviceSearch
from nmt.search.sampling import Sampling
from nmt.translator import Translator
from tests.stand_ins import VOCABULARY, Echo, echo, endless, newlines
from tests.test_translator import bahdanau


def through(translator: Translator, data: bytes, **options: Any) -> tuple[bytes, NmtError | None]:
    """What comes out, and the error at the end."""
    sink = io.BytesIO()
    try:
        translate_stream(io.BytesIO(data), sink, translator, **options)
    except NmtError as error:
        return sink.getvalue(), error
    return sink.getvalue(), None


def n_lines(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n") and data != b"")


# --- one line out for every line in -----------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [b"the", b"cat", b"zebra", b" ", b"\n", b"\n\n", b"\r\n", b"\r", b"\t", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80"]
    + [
        s.encode()
        for s in ("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\ufeff", "\u3000", "é", "日本。", "🦓", "<unk>")
    ]
    + [b"\x1f\x8b", b"PK\x03\x04", b"the cat sat . " * 9]
)
STREAMS = st.one_of(st.lists(PIECES, max_size=30).map(b"".join), st.binary(max_size=60))
TRANSLATORS = {
    "echo": echo(max_pieces=6),
    "endless": endless(),
    "newlines": newlines(),
}
MAGIC = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00")


def check_stream(data: bytes, which: str, form: dict[str, bool]) -> None:
    out, error = through(TRANSLATORS[which], data, **form)
    if error is not None:
        assert isinstance(error, DataError)
        if data.startswith(MAGIC):  # compressed: only a beginning can have come out
            return
        assert "standard input:" in error.what
    assert out.count(b"\n") == n_lines(data)
    assert out == b"" or out.endswith(b"\n")
    text = out.decode()  # always UTF-8
    assert len(text.splitlines()) == text.count("\n"), "no other program may see more lines either"
    for source, line in zip(re.split(b"\n", data), text.split("\n"), strict=False):
        if form.get("as_json"):
            assert source == b"" or isinstance(json.loads(line)["translation"], str)
        if source.strip() == b"":
            translation = json.loads(line)["translation"] if form.get("as_json") and line else line
            assert translation.strip("\t") == ""
    bad = any(b"\0" in line or not is_utf8(line) for line in data.split(b"\n"))
    assert (error is not None) == bad


def is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


FORMS = st.sampled_from([{}, {"as_json": True}, {"alignments": True}])


@settings(max_examples=500, deadline=None)
@given(STREAMS, st.sampled_from(sorted(TRANSLATORS)), FORMS)
def test_any_bytes_give_one_line_for_every_line(data: bytes, which: str, form: dict[str, bool]) -> None:
    check_stream(data, which, form)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=10_000, deadline=None)
@given(STREAMS, st.sampled_from(sorted(TRANSLATORS)), FORMS)
def test_any_bytes_give_one_line_for_every_line_10000_times(data: bytes, which: str, form: dict[str, bool]) -> None:
    check_stream(data, which, form)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b""),
        (b"\n", b"\n"),
        (b"the", b"the\n"),
        (b"the\n\ncat", b"the\n\ncat\n"),
        (b"the cat\r\nsat\r\n", b"the cat\nsat\n"),
        (b"the\rcat\n", b"the cat\n"),
        ("the\u2028cat\x85sat\n".encode(), b"the cat sat\n"),
        ("\ufeffthe\n".encode(), b"the\n"),
        ("le café 🦓\n".encode(), "le café 🦓\n".encode()),
    ],
)
def test_lines_are_those_of_the_byte_newline(data: bytes, expected: bytes) -> None:
    assert through(echo(), data) == (expected, None)


def test_bad_lines_are_translated_and_reported_by_number_at_the_end() -> None:
    out, error = through(echo(), b"the\ncat \xff\nsat\nmat \0 .\n")
    assert out.decode() == "the\ncat \ufffd\nsat\nmat \ufffd .\n"
    assert isinstance(error, DataError)
    assert error.exit_code == 3
    assert "standard input:2:5" in error.what
    assert "standard input:4:5" in error.what


def test_a_damaged_gzip_stream_stops_with_an_error_after_what_was_sound() -> None:
    out, error = through(echo(), b"\x1f\x8b garbage")
    assert out == b""
    assert isinstance(error, DataError)


def test_lines_keep_their_order_whatever_their_length() -> None:
    lines = [f"{'the ' * ((i * 7) % 13)}n{i}" for i in range(3000)]
    out, _ = through(echo(), "".join(f"{line}\n" for line in lines).encode())
    assert out.decode().splitlines() == lines


def test_a_batch_of_one_gives_the_same_as_a_batch_of_64() -> None:
    data = "".join(f"{'the ' * (i % 9)}n{i}\n" for i in range(300)).encode()
    assert through(echo(), data, batch=1) == through(echo(), data, batch=64)


# --- forms of output --------------------------------------------------------------------------------------------------


def test_alignments_follow_a_tab_as_in_pharaoh() -> None:
    assert through(echo(), b"the cat\n\n", alignments=True)[0] == b"the cat\t0-0 1-1\n\t\n"
    assert through(echo(attends=False), b"the cat\n", alignments=True)[0] == b"the cat\t\n"


def test_a_model_without_attention_says_once_that_it_has_no_alignments() -> None:
    for options in ({"alignments": True}, {"alignments": True, "as_json": True}):
        said: list[str] = []
        through(echo(attends=False), b"the cat\nthe\n", say=said.append, **options)
        assert said == ["this model has no attention, so there are no alignments"]
    said = []
    through(echo(attends=False), b"the cat\nthe\n", say=said.append, as_json=True)
    through(echo(), b"the cat\n\n", say=said.append, alignments=True)
    through(echo(attends=False), b"\n", say=said.append, alignments=True)
    assert said == [], "nobody asked, there are some, or there is nothing to align"
    through(echo(attends=False), b"the\tthe\n", say=said.append, alignments=True, score_target=True)
    assert said == ["this model has no attention, so there are no alignments"]


def test_json_holds_what_is_known_of_a_line() -> None:
    found = json.loads(through(echo(), b"the zebra\n", as_json=True)[0])
    assert found == {
        "source": "the zebra",
        "source_pieces": ["the", "zebra"],
        "parts": 1,
        "translation": "the zebra",
        "score": pytest.approx(0.0, abs=1e-4),
        "log_prob": 0.0,
        "pieces": ["the", "<unk>"],
        "token_scores": [0.0, 0.0],
        "alignment": [[0, 0], [1, 1]],
        "cut": False,
        "looped": False,
        "unknown": 1,
    }


def test_token_scores_are_of_the_pieces_and_log_prob_counts_the_end_too(run: Path) -> None:
    translator = Translator.load(run / "model.safetensors", device="cpu")
    out, error = through(translator, b"w1 w2 w3\nw4 w5 , w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12 w13\n\n", as_json=True)
    assert error is None
    records = [json.loads(line) for line in out.splitlines()]
    assert [one["parts"] for one in records][::2] == [1, 0]
    assert records[1]["parts"] > 1
    for one in records:
        assert len(one["token_scores"]) == len(one["pieces"])
        assert all(value <= 0 for value in one["token_scores"])
        assert one["log_prob"] <= sum(one["token_scores"]) + 1e-5
    assert (records[2]["log_prob"], records[2]["token_scores"]) == (0.0, [])
    (found,) = through_score(translator, records[0]["source"], records[0]["translation"])
    assert found["score"] == pytest.approx(records[0]["score"], abs=1e-4) or records[0]["cut"]


def through_score(translator: Translator, source: str, target: str) -> list[dict[str, Any]]:
    """The record of a pair that is scored."""
    out, error = through(translator, f"{source}\t{target}\n".encode(), score_target=True, as_json=True)
    assert error is None
    return [json.loads(line) for line in out.splitlines()]


def test_loops_are_flagged_and_told_and_honest_repetitions_are_not() -> None:
    long = SearchConfig(beam=2, max_len_ratio=4.0, max_len_extra=3)
    words = Words(VOCABULARY, None)
    round_and_round = Translator(Echo(words.n_ids, script=[4, 5, 6] * 3 + [EOS]), words, words, long)
    said: list[str] = []
    out, error = through(
        round_and_round, b"cat on mat\n\nthe cat sat the cat sat\non .\n", as_json=True, say=said.append
    )
    assert error is None
    assert [json.loads(line)["looped"] for line in out.splitlines()] == [True, False, False, True]
    assert said == ["2 lines with the same words over and over (--set search.no_repeat_ngram=4 forbids that): 1, 4"]
    found = next(endless().translate(["cat cat cat cat cat"]))
    assert (found.cut, found.looped) == (True, False), "the source says it five times, the translation eight times"


# --- given translations -----------------------------------------------------------------------------------------------


def test_given_pairs_are_scored_one_line_a_line() -> None:
    data = b"the cat\tthe cat\nsat\tmat\n\t\nsat\t\n \tsat\nthe\tthe\tcat\n"
    out, error = through(echo(), data, score_target=True)
    assert error is None
    rows = [line.split("\t") for line in out.decode().splitlines()]
    assert rows[0] == ["0.000000", "0.000000", "3"]
    assert rows[2] == ["0.000000", "0.000000", "0"], "two empty texts: what translating an empty line scores"
    assert [row[2] for row in rows] == ["3", "2", "0", "1", "2", "3"]
    # The stand-in gives every other word e^-20, and its configuration divides by ((5 + |y|) / 6)^0.6.
    assert float(rows[1][1]) == pytest.approx(-20, abs=1e-3)
    assert float(rows[1][0]) == pytest.approx(-20 / (7 / 6) ** 0.6, abs=1e-3)
    assert float(rows[3][1]) == pytest.approx(-20, abs=1e-3)
    plain = through(echo(), b"the\tthe cat\n", score_target=True, alignments=True)[0]
    assert plain.decode().split("\t")[3] == "0-0 0-1\n"


def test_a_line_that_cannot_be_scored_is_empty_and_reported_at_the_end() -> None:
    with patch("nmt.scorer.SCORED_PIECES", 4):
        data = b"the cat\n\nthe\tthe\nthe \xff\tthe\nthe\tthe the the the the\nthe\tthe\n"
        out, error = through(echo(), data, score_target=True)
        as_json, _ = through(echo(), data, score_target=True, as_json=True)
    assert [line != "" for line in out.decode().split("\n")] == [False, False, True, True, False, True, False]
    assert isinstance(error, DataError)
    assert str(error).splitlines() == [
        "error: standard input:4:5: byte 0xFF is not UTF-8",
        "  standard input:1:1: no tab between source and target",
        "  standard input:2:1: no tab between source and target",
        "  standard input:5:1: a side has more than 5,000 pieces",
        "  lines that are no text were scored with U+FFFD where they could not be read",
        "  lines without a score are empty; with --score-target each line is SOURCE<TAB>TARGET",
    ]
    records = [json.loads(line) for line in as_json.splitlines()]
    assert [one["score"] is None for one in records] == [True, True, False, False, True, False]
    assert records[4]["translation"] == "the the the the the"


def test_pairs_of_any_length_and_order_are_scored_alike(run: Path) -> None:
    translator = Translator.load(run / "model.safetensors", device="cpu")
    pairs = [(f"w{i} w{i % 7}", " ".join(f"w{(i * j) % 20}" for j in range(i % 40))) for i in range(80)]
    together = list(translator.score(pairs))
    alone = [next(translator.score([pair], batch=1)) for pair in pairs]
    assert [one.score for one in together] == pytest.approx([one.score for one in alone], rel=1e-5)
    assert [one.source for one in together] == [source for source, _ in pairs]
    assert [one.translation for one in together] == [target for _, target in pairs]
    whole = list(translator.translate([source for source, _ in pairs], sampling=Sampling(9.0)))
    again = list(translator.score((one.source, one.translation) for one in whole))
    ended = [
        (one, same) for one, same in zip(whole, again, strict=True) if not (one.cut or one.unknown or one.parts > 1)
    ]
    assert len(ended) > 5
    for one, same in ended:
        assert same.score == pytest.approx(one.score, abs=1e-4)


def test_flags_of_translating_do_not_go_with_scoring(run: Path) -> None:
    flags = (("beam", 2), ("n_best", 2), ("sample", True), ("prefix", True), ("shortlist", Path("lexicon")))
    for flag, value in flags:
        with pytest.raises(UsageError, match="--score-target scores the translations that it is given, --") as refused:
            translate([run], score_target=True, **{flag: value})  # type: ignore[arg-type]
        assert refused.value.hint == f"leave out one of the two: --{flag.replace('_', '-')} or --score-target"


def test_several_translations_are_json_one_object_a_line() -> None:
    out, error = through(echo(), b'the ||| "cat"\n\nsat\n', n_best=2)
    assert error is None
    records = [json.loads(line) for line in out.splitlines()]
    assert [len(one["hypotheses"]) for one in records] == [2, 1, 2]
    assert records[0]["translation"] == records[0]["hypotheses"][0]["translation"] == 'the ||| "cat"'


def test_samples_depend_on_the_seed_and_the_number_of_the_line_alone(run: Path) -> None:
    lines = [f"w{i % 20} w{i % 7} w3" for i in range(40)]

    def drawn(lines: list[str], batch: int = 64, n: int = 2, seed: int = 1) -> list[list[str]]:
        sink = io.BytesIO()
        source = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
        translate(
            [run], device="cpu", n_best=n, batch=batch, sample=True, seed=seed, as_json=True, stdin=source, stdout=sink
        )
        found = [json.loads(line) for line in sink.getvalue().splitlines()]
        return [[one["translation"] for one in line.get("hypotheses", [line])] for line in found]

    together = drawn(lines)
    assert drawn(lines, batch=1) == together
    assert drawn(lines, n=1) == [found[:1] for found in together]
    assert drawn(["", *lines[1:]])[1:] == together[1:]
    assert drawn(lines[1:]) != together[1:], "every line has another number now"
    assert drawn(lines, seed=2) != together
    (first, *_), (again, *_) = drawn(["w1 w2"] * 2, n=4)
    assert first != again, "the same sentence on another line is drawn anew"


def test_windows_do_not_change_what_is_drawn(run: Path) -> None:
    translator = Translator.load(run / "model.safetensors", device="cpu")
    lines = [f"w{i}" for i in range(12)]
    whole = list(translator.translate(lines, sampling=Sampling()))
    with patch("nmt.translator.WINDOW_LINES", 5):
        assert [x.translation for x in translator.translate(lines, sampling=Sampling())] == [
            x.translation for x in whole
        ]


def test_what_follows_a_tab_begins_the_translation() -> None:
    data = b"the cat sat\tmat cat\nthe cat\n\n\tmat\nsat\t\nthe cat sat\ton\tthe\n"
    out, error = through(echo(), data, prefix=True)
    assert error is None
    assert out == b"mat cat sat\nthe cat\n\nmat\nsat\non the sat\n"
    found = json.loads(through(echo(), b"the cat sat\tmat\n", prefix=True, as_json=True)[0])
    assert (found["source"], found["prefix"], found["translation"]) == ("the cat sat", "mat", "mat cat sat")
    assert through(echo(), b"the\tcat\n")[0] == b"the cat\n", "without the flag a tab is a space"


def test_flags_of_sampling_are_checked() -> None:
    assert sampling_of(False, beam=3) is None
    assert sampling_of(True, temperature=0.5, top_k=3, seed=4) == Sampling(0.5, 3, 1.0, 4)
    for flag in ("temperature", "top_k", "top_p", "seed"):
        with pytest.raises(UsageError, match=f"--{flag.replace('_', '-')} says how to draw") as refused:
            sampling_of(False, **{flag: 1})
        assert refused.value.hint == "add --sample, or leave it out"
    with pytest.raises(UsageError, match="--sample draws translations at random, --beam searches"):
        sampling_of(True, beam=1)


def test_settings_are_refused_before_anything_is_read() -> None:
    source = cast(BinaryIO, None)
    with pytest.raises(UsageError, match="need a beam of 9"):
        translate_stream(source, io.BytesIO(), echo(), n_best=9)


def test_cut_and_split_lines_are_told_with_their_numbers() -> None:
    said: list[str] = []
    through(endless(), b"the\n\n" + b"cat\n" * 6, say=said.append)
    assert said == ["7 lines cut at the greatest length: the model found no end: 1, 3, 4, 5, 6, ..."]
    said.clear()
    through(echo(max_pieces=2), b"the cat\nthe cat sat\n", say=said.append)
    assert said == ["1 line longer than the model has learned, translated in parts: 2"]


def test_search_keys_can_be_overridden_and_nothing_else() -> None:
    config = SearchConfig()
    changed = overridden(config, ["search.beam=3", "search.length_formula=average", "search.length_penalty=1"])
    assert changed == SearchConfig(beam=3, length_formula="average", length_penalty=1.0)
    assert overridden(config, []) == config
    for wrong in ("train.lr=1", "search.bean=3", "beam=3", "search.beam"):
        with pytest.raises(UsageError, match="only the search can be changed"):
            overridden(config, [wrong])
    for wrong in ("search.beam=0", "search.beam=1.5", "search.length_formula=long", "search.length_penalty=-1"):
        with pytest.raises(UsageError, match=r"--set search\."):
            overridden(config, [wrong])


def test_the_greatest_length_is_a_formula() -> None:
    config = SearchConfig()
    for formula, expected in {
        "2x+10": (2.0, 10),
        "1.5x": (1.5, 0),
        "x": (1.0, 0),
        "x+5": (1.0, 5),
        "50": (0.0, 50),
        " 2 * x + 3 ": (2.0, 3),
        ".5X+1": (0.5, 1),
        "10 + 2x": (2.0, 10),
    }.items():
        changed = with_max_len(config, formula)
        assert (changed.max_len_ratio, changed.max_len_extra) == expected, formula
        assert changed == config.model_copy(update={"max_len_ratio": expected[0], "max_len_extra": expected[1]})
    for wrong in (
        "",
        "2y+10",
        "x+",
        "+",
        "2x+3.5",
        "x*2",
        "-3",
        "2x-1",
        "x x",
        "2x+3x",
        "1+2",
        "ten",
        "٣",
        "1e3",
        ".x",
    ):
        with pytest.raises(UsageError) as refused:
            with_max_len(config, wrong)
        assert refused.value.what == f"--max-len {wrong}: this is no length"
        assert refused.value.hint == "write pieces as a number, 50, or by the pieces x of the source: 2x+10"
    for wrong in ("0", "0x+0", "10000", "x+10000", "99999x"):
        with pytest.raises(UsageError, match="must be between 1 and 9,999 pieces"):
            with_max_len(config, wrong)


def test_no_translation_is_longer_than_it_may_be(run: Path) -> None:
    for formula, longest in (("3", 3), ("2x+1", 5)):
        sink = io.BytesIO()
        source = io.BytesIO(b"w1 w2\n")
        translate([run], device="cpu", max_len=formula, as_json=True, stdin=source, stdout=sink)
        assert len(json.loads(sink.getvalue())["pieces"]) == longest


# --- pipes ------------------------------------------------------------------------------------------------------------


@contextmanager
def running(translator: Translator) -> Iterator[tuple[BinaryIO, BinaryIO, list[BaseException]]]:
    """The translator between two pipes, in a thread: the end to write to and the end to read from."""
    in_r, in_w = os.pipe()
    out_r, out_w = os.pipe()
    faults: list[BaseException] = []

    def work() -> None:
        with open(in_r, "rb") as source, open(out_w, "wb") as sink:
            try:
                translate_stream(source, sink, translator)
            except (NmtError, OSError) as fault:
                faults.append(fault)

    thread = threading.Thread(target=work)
    thread.start()
    with open(in_w, "wb", buffering=0) as there, open(out_r, "rb", buffering=0) as back:
        yield cast(BinaryIO, there), cast(BinaryIO, back), faults
    thread.join(20)
    assert not thread.is_alive()


def test_a_line_is_answered_before_the_next_one_comes() -> None:
    with running(echo()) as (there, back, _):
        slowest = 0.0
        for i in range(20):
            started = time.monotonic()
            there.write(f"the n{i}\n".encode())
            assert back.read(100) == f"the n{i}\n".encode()
            slowest = max(slowest, time.monotonic() - started)
        there.write(b"half a")
        time.sleep(0.05)
        there.write(b" line\nthe\n")
        got = back.read(100)
        got += back.read(100) if got == b"half a line\n" else b""
        assert got == b"half a line\nthe\n"
    assert slowest < 5.0  # a machine under load; on a free one it is 0.02


def test_a_reader_who_leaves_ends_it() -> None:
    with running(echo()) as (there, back, faults):
        there.write(b"the\n")
        assert back.read(100) == b"the\n"
        back.close()
        for _ in range(100):
            try:
                there.write(b"cat\n")
            except BrokenPipeError:
                break
            time.sleep(0.02)
            if faults:
                break
        assert [type(fault) for fault in faults] == [BrokenPipeError]


def test_a_full_disk_is_the_machines_fault() -> None:
    with (
        open("/dev/full", "wb") as full,
        pytest.raises(EnvironmentFault, match="standard output: cannot be written") as caught,
    ):
        translate_stream(io.BytesIO(b"the\n"), full, echo())
    assert caught.value.exit_code == 5


# --- with a model file, and as a process ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("work") / "runs" / "small"
    write_model(run / "model.safetensors", bahdanau())
    event = {"event": "saved", "time": "2026-01-01T00:00:00.000000Z"}
    (run / "log.jsonl").write_text(json.dumps(event) + "\n")
    return run


def test_a_run_its_file_and_the_newest_run_are_the_same(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent.parent)
    monkeypatch.delenv("NMT_MODEL", raising=False)
    outs, said = [], []
    for models in ([run], [run / "model.safetensors"], []):
        sink = io.BytesIO()
        translate(models, device="cpu", stdin=io.BytesIO(b"w1 w2\nw3\n"), stdout=sink, say=said.append)
        outs.append(sink.getvalue())
    assert outs[0] == outs[1] == outs[2]
    assert outs[0].count(b"\n") == 2
    assert said[-1] == "model: runs/small" or "model: runs/small" in said


def test_the_first_line_does_not_wait_for_torchs_compiler(run: Path) -> None:
    """It takes longer to load than everything else together, and nothing here is compiled by it."""
    program = """
import sys
from pathlib import Path
from nmt.translator import Translator
print([found.translation for found in Translator.load(Path(sys.argv[1]), device="cpu").translate(["w1 w2"])])
assert "torch._dynamo" not in sys.modules
"""
    command = [sys.executable, "-c", program, str(run / "model.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


def test_without_a_compiler_it_says_so_once_and_translates_alike(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outs, said = [], list[str]()
    for why in ("", "there is no C compiler here; install gcc or clang"):
        if why:
            monkeypatch.setattr("nmt.ops.ready.library", lambda why=why: (None, why))
        sink = io.BytesIO()
        translate([run], device="cpu", stdin=io.BytesIO(b"w1 w2\nw3\n"), stdout=sink, say=said.append)
        outs.append(sink.getvalue())
    assert outs[0] == outs[1]
    assert [line for line in said if "compile" in line] == [
        "slower than it could be, without compiled functions: there is no C compiler here; install gcc or clang"
    ]


def test_without_graphs_it_says_so_once() -> None:
    translator, said = echo(), list[str]()
    stays = DeviceSearch(translator.model, None)
    stays.why_eager = "operation not permitted when stream is capturing"
    vars(translator)["_on_device"] = stays
    sink = io.BytesIO()
    translate_stream(io.BytesIO(b"the\ncat\n" * 600), sink, translator, say=said.append)
    assert sink.getvalue() == b"the\ncat\n" * 600
    assert said == ["slower than it could be, without CUDA graphs: operation not permitted when stream is capturing"]


def test_the_environment_names_models_where_no_flag_does(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent.parent)
    file = str(run / "model.safetensors")

    def told(models: list[Path], value: str) -> tuple[bytes, list[str]]:
        monkeypatch.setenv("NMT_MODEL", value)
        sink, said = io.BytesIO(), list[str]()
        translate(models, device="cpu", stdin=io.BytesIO(b"w1 w2\n"), stdout=sink, say=said.append)
        return sink.getvalue(), said

    out, said = told([], file)
    assert said[0] == f"model: {file} (from NMT_MODEL)"
    both, said = told([], os.pathsep.join([str(run), file]))
    assert said[0] == f"model: {run} and {file} (from NMT_MODEL)"
    assert both == out, "the same model twice"
    assert told([], "")[1][0] == "model: runs/small", "empty is as good as not set"
    assert not told([run], "/nowhere")[1][0].startswith("model:"), "a flag goes before it, and nothing need be said"
    with pytest.raises(ModelError, match="/nowhere does not exist"):
        told([], "/nowhere")


def test_no_run_at_all_is_a_model_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NMT_MODEL", raising=False)
    with pytest.raises(ModelError, match="runs"):
        translate(device="cpu", stdin=io.BytesIO(), stdout=io.BytesIO())


PROGRAM = """
import sys
from pathlib import Path
from nmt.commands.translate import translate
from nmt.errors import NmtError
try:
    translate([Path(sys.argv[1])], device="cpu", say=lambda line: print(line, file=sys.stderr))
except NmtError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
except BrokenPipeError:
    sys.exit(141)
except KeyboardInterrupt:
    sys.exit(130)
"""


def process(run: Path) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(run)],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        bufsize=0,
        # A shell starts what it puts in the background with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_complete_lines_and_no_traceback(run: Path, number: int, code: int) -> None:
    with process(run) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(b"w1 w2\n")
        first = child.stdout.read(1000)
        assert first.endswith(b"\n")
        child.send_signal(number)
        rest, errors = child.communicate(timeout=30)
    assert child.returncode == code
    assert rest == b""
    assert b"Traceback" not in errors
    assert b"Fatal" not in errors
    if number == signal.SIGINT:
        assert b"error" not in errors


@pytest.mark.parametrize("options", [{"beam": 1}, {"sample": True, "seed": 4}], ids=["greedy", "drawn"])
def test_what_was_killed_goes_on_where_it_stopped(run: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    source = "\n".join(f"w{i % 20} w{(i * 7) % 20} {'w3 ' * (i % 5)}" for i in range(300)).encode()  # unended
    options = {"device": "cpu", "batch": 1, "max_len": "5", **options}
    small = "import nmt.commands.lines\nnmt.commands.lines.WINDOW_LINES = 20\n"  # so that there is a midway
    told = ", ".join(f"{name}={value!r}" for name, value in options.items())
    program = small + PROGRAM.replace('device="cpu"', told)
    with open(tmp_path / "out", "wb") as sink:
        child = subprocess.Popen([sys.executable, "-c", program, str(run)], stdin=subprocess.PIPE, stdout=sink)
    with child:
        assert child.stdin is not None
        child.stdin.write(source[:3000])  # the rest never comes: it is killed at work or while it waits
        child.stdin.flush()
        while (tmp_path / "out").stat().st_size == 0:
            time.sleep(0.005)
        child.kill()
    there = (tmp_path / "out").read_bytes()
    assert there.endswith(b"\n")
    n = there.count(b"\n")
    assert 0 < n < 300

    def rest(skip: int) -> bytes:
        sink = io.BytesIO()
        translate([run], skip=skip, stdin=io.BytesIO(source), stdout=sink, **options)
        return sink.getvalue()

    whole = rest(0)
    assert there + rest(n) == whole
    assert rest(300) == b"", "nothing is left to do"


def test_skipped_lines_keep_their_numbers_in_what_is_said() -> None:
    said: list[str] = []
    out, error = through(endless(), b"\xff\nthe\nsat\ncat \xff\nthe\n", skip=2, say=said.append)
    assert out.count(b"\n") == 3
    assert said == ["3 lines cut at the greatest length: the model found no end: 3, 4, 5"]
    assert isinstance(error, DataError)
    assert error.what == "standard input:4:5: byte 0xFF is not UTF-8"
    out, error = through(echo(), b"the\ncat", skip=2)
    assert (out, error) == (b"", None)
    out, error = through(echo(), b"the\n", skip=2)
    assert isinstance(error, DataError)
    assert error.what == "standard input has 1 line, less than --skip 2 says"
    assert error.hint == "is this the input of the output so far?"
    out, error = through(echo(), b"the\tthe\ncat\n", skip=1, score_target=True)
    assert out == b"\n"
    assert isinstance(error, DataError)
    assert error.what == "standard input:2:1: no tab between source and target"


def test_head_ends_it_quietly(run: Path) -> None:
    with process(run) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(b"w1\n")
        assert child.stdout.read(1000).count(b"\n") == 1
        child.stdout.close()
        child.stdin.write(b"w2\n")
        child.stdin.close()
        errors = child.stderr.read()
    assert child.returncode == 141
    assert b"error" not in errors
    assert b"Traceback" not in errors


def test_several_at_once_leave_the_model_as_it_is_and_read_a_fifo_like_a_file(run: Path, tmp_path: Path) -> None:
    def state() -> list[tuple[str, int, int]]:
        files = sorted(path for path in run.rglob("*"))
        return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]

    before, (file, fifo) = state(), (tmp_path / "lines", tmp_path / "fifo")
    file.write_bytes(b"".join(b"w%d w3\n" % (i % 20) for i in range(50)))
    os.mkfifo(fifo)
    with process(run) as one, process(run) as other, subprocess.Popen(["cp", str(file), str(fifo)]):
        for child, source in ((one, file), (other, fifo)):
            assert child.stdin is not None
            child.stdin.write(source.read_bytes())
            child.stdin.close()
        found = []
        for child in (one, other):
            assert child.stdout is not None
            found.append(child.stdout.read())
    assert found[0] == found[1]
    assert found[0].count(b"\n") == 50
    assert (one.returncode, other.returncode) == (0, 0)
    assert state() == before


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_is_shown_of_a_file_that_has_a_length_and_of_nothing_else(run: Path, tmp_path: Path) -> None:
    shown: list[tuple[str, int | None, str, int]] = []

    @contextmanager
    def shows(description: str, total: int | None, unit: str) -> Iterator[Any]:
        class Bar:
            done = 0

            def advance(self, n: int = 1) -> None:
                self.done += n

        bar = Bar()
        yield bar
        shown.append((description, total, unit, bar.done))

    def translated(source: Any, **options: Any) -> None:
        with open(source, "rb") if isinstance(source, Path | int) else source as source, open(os.devnull, "wb") as sink:
            translate([run], device="cpu", beam=1, max_len="2", stdin=source, stdout=sink, shows=shows, **options)

    file = tmp_path / "in"
    file.write_bytes(b"w1\nw2 w3\n\nw4")
    translated(file)
    translated(file, skip=3)
    later = os.open(file, os.O_RDONLY)
    os.read(later, 3)  # as `(read line; nmt translate) < in` has it
    translated(later)
    assert shown == [("translate", 4, "lines", 4), ("translate", 1, "lines", 1), ("translate", 3, "lines", 3)]
    file.write_bytes(b"")
    translated(file)
    assert shown[3:] == [("translate", 0, "lines", 0)]
    with gzip.open(file, "wb") as packed:
        packed.write(b"w1\n")
    translated(file)
    translated(io.BytesIO(b"w1\n"))
    reader, writer = os.pipe()
    os.write(writer, b"w1\nw2\n")
    os.close(writer)
    translated(reader)
    assert shown[4:] == [], "a packed file, something else and a pipe have no length"


def test_where_results_are_seen_there_is_no_bar(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"w1\n")
    master, slave = os.openpty()
    with open(tmp_path / "in", "rb") as source, open(slave, "wb") as sink, open(master, "rb"):
        bars: list[str] = []
        shows = cast(Any, lambda *told: bars.append(told[0]))
        translate([run], device="cpu", stdin=source, stdout=sink, shows=shows)
    assert bars == []


# --- memory -----------------------------------------------------------------------------------------------------------


class Many(io.RawIOBase):
    """So many lines, made as they are read."""

    def __init__(self, count: int) -> None:
        self.left = count

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        n = min(self.left, 2000)
        self.left -= n
        return b"the cat sat on the mat .\n" * n


class Counted(io.RawIOBase):
    """Counts lines and forgets them."""

    lines = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.lines += bytes(data).count(b"\n")
        return len(data)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_lines() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    after = {}
    for count in (10_000, 100_000):
        sink = Counted()
        translate_stream(cast(BinaryIO, Many(count)), cast(BinaryIO, sink), echo(), beam=1)
        assert sink.lines == count
        after[count] = resident()
    assert after[100_000] - after[10_000] < 32 << 20
