"""Talk on standard error: redrawn on a terminal, plain lines now and then elsewhere."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nmt.console import PLAIN_SECONDS, Console, duration
from nmt.talk import Silence, Talk

ROOT = Path(__file__).parents[1]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    return Terminal()


def screen(written: str) -> list[str]:
    """What a person sees in the end: the last state of every line."""
    return [line.rpartition("\r\x1b[2K")[2] for line in written.split("\n")]


def test_elsewhere_the_live_line_is_a_line_now_and_then() -> None:
    clock, stream = Clock(), io.StringIO()
    with Console(stream, clock) as console:
        for update in range(100):
            console.live(f"update {update}")
            clock.now += PLAIN_SECONDS / 20
    assert stream.getvalue().splitlines() == [f"update {n}" for n in (0, 20, 40, 60, 80, 99)]


def test_elsewhere_nothing_is_said_twice() -> None:
    stream = io.StringIO()
    with Console(stream, Clock()) as console:
        console.live("once")
        console.close()
    assert stream.getvalue() == "once\n"


def test_on_a_terminal_the_line_is_replaced_and_its_last_state_stays(terminal: Terminal) -> None:
    clock = Clock()
    with Console(terminal, clock) as console:
        for update in range(10):
            console.live(f"update {update} · " + "x" * 100)
            clock.now += 0.06
        console.say("validation: BLEU 33.1")
        console.live("update 10")
    seen = screen(terminal.getvalue())
    assert seen == ["validation: BLEU 33.1", "update 10", ""]
    assert terminal.getvalue().count("update") < 10
    assert "update 9 · xxx" in terminal.getvalue()
    assert "x" * 60 not in terminal.getvalue()


def test_a_bar_says_share_rate_and_time_left() -> None:
    clock, stream = Clock(), io.StringIO()
    with Console(stream, clock) as console, console.progress("prepare train.en", 1000, "lines") as bar:
        bar.advance()
        clock.now = 40.0
        bar.advance(399)
        clock.now = 100.0
        bar.advance(600)
    assert stream.getvalue().splitlines() == [
        "prepare train.en: 1 of 1,000 lines, 0 %",
        "prepare train.en: 400 of 1,000 lines, 40 %, 10/s, 00:01:00 left",
        "prepare train.en: 1,000 of 1,000 lines, 100 %, 10/s, 00:01:40",
    ]


def test_a_bar_without_total_counts_and_an_error_leaves_it_where_it_was() -> None:
    clock, stream = Clock(), io.StringIO()

    def work(console: Console) -> None:
        with console.progress("read") as bar:
            clock.now = 2.0
            bar.advance(5)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        work(Console(stream, clock))
    assert stream.getvalue() == "read: 5, 2.5/s, 00:00:02\n"


def test_a_bar_on_a_terminal_fits_its_width(terminal: Terminal) -> None:
    with Console(terminal, Clock()) as console, console.progress("prepare", 10) as bar:
        for _ in range(10):
            bar.advance()
    assert "10 of 10" in screen(terminal.getvalue())[0]
    assert "\x1b[?25l" not in terminal.getvalue()  # the cursor is never hidden: a kill would leave it so


def test_tables_line_up() -> None:
    stream = io.StringIO()
    Console(stream).table(["model", "BLEU"], [["small", "9.1"], ["bahdanau", "33.15"]], "scores")
    assert stream.getvalue().splitlines() == ["scores", "model      BLEU", "small       9.1", "bahdanau  33.15"]


def test_a_table_on_a_terminal_holds_the_same(terminal: Terminal) -> None:
    Console(terminal).table(["model", "BLEU"], [["[b]", "9.1"]], "scores")
    assert all(word in terminal.getvalue() for word in ("scores", "model", "BLEU", "[b]", "9.1"))


def test_text_is_shown_as_it_is_but_for_what_a_terminal_obeys() -> None:
    stream = io.StringIO()
    Console(stream).say("[red]x[/red] :smile: un\u00a0café नमस्ते \x1b[31m \x07\r")
    assert stream.getvalue() == "[red]x[/red] :smile: un\u00a0café नमस्ते \\x1b[31m \\x07\\r\n"


def test_it_starts_no_thread(terminal: Terminal) -> None:
    before = threading.active_count()
    with Console(terminal) as console, console.progress("x", 3) as bar:
        bar.advance()
        assert threading.active_count() == before


def test_talk_is_what_commands_get() -> None:
    talks: list[Talk] = [Console(io.StringIO()), Silence()]
    for talk in talks:
        talk.say("x")
        talk.live("y")
        talk.table(["a"], [["b"]])
        with talk.progress("z", 2) as progress:
            progress.advance()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "00:00:00"), (59.6, "00:01:00"), (730, "00:12:10"), (86399, "23:59:59"), (93784, "1d 02:03:04")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_closed_error_stream_is_no_error() -> None:
    program = "from nmt.console import Console\nwith Console() as console:\n console.say('x')\n console.live('y')"
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" 2>&-', sys.executable, program],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_transfers_are_a_bar_each_that_ends_with_its_file(terminal: Terminal) -> None:
    clock = Clock()
    with Console(terminal, clock) as console, console.transfers() as tell:
        for name, done, total in (
            ("a.gz", 0, 10),
            ("a.gz", 6, 10),
            ("a.gz", 2, 10),
            ("a.gz", 10, 10),
            ("b.gz", 5, None),
        ):
            tell(name, done, total)
            clock.now += 1
    first, second, *rest = screen(terminal.getvalue())
    assert first.startswith("a.gz")
    assert "10" in first
    assert second.startswith("b.gz")
    assert "5" in second
    assert rest == [""]


def test_an_empty_live_line_takes_the_last_one_away(terminal: Terminal) -> None:
    plain = io.StringIO()
    for stream in (terminal, plain):
        with Console(stream, Clock()) as console:
            console.live("update 1")
            console.live("update 2")
            console.live("")
            console.say("the model is there")
    assert screen(terminal.getvalue()) == ["the model is there", ""]
    assert plain.getvalue().splitlines() == ["update 1", "the model is there"]


def test_a_passing_bar_is_seen_at_once_and_leaves_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    clock = Clock()
    with Console(terminal, clock) as console, console.passing("translate", 100, "lines") as bar:
        assert "0 of 100 lines" in screen(terminal.getvalue())[-1]
        clock.now += 2
        bar.advance(50)
        assert "50 of 100 lines, 50 %, 25/s, 00:00:02 left" in terminal.getvalue()
        console.say("a note")
        assert screen(terminal.getvalue())[0] == "a note"
    assert screen(terminal.getvalue()) == ["a note", ""]


def test_a_passing_bar_goes_away_when_the_work_fails(terminal: Terminal) -> None:
    with pytest.raises(KeyboardInterrupt), Console(terminal) as console, console.passing("translate", 9, "lines"):
        raise KeyboardInterrupt
    assert screen(terminal.getvalue()) == [""]


def test_elsewhere_a_passing_bar_says_nothing() -> None:
    stream = io.StringIO()
    with Console(stream, Clock()) as console, console.passing("translate", 9, "lines") as bar:
        bar.advance(9)
    assert stream.getvalue() == ""
