"""The progression as a program: who is trained when, what a failure does, and the table that comes of the results."""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import progression
from nmt.metrics import bleu, tokenizer_for


def options(tmp_path: Path, parallel: int = 2) -> argparse.Namespace:
    return argparse.Namespace(out=tmp_path, parallel=parallel, text="small", device="cpu", set=[])


def stand_in(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], codes: dict[str, int]) -> list[str]:
    """Processes that sleep in the place of trainings; the systems in the order in which they were started."""
    started: list[str] = []

    def start(system: str, options: argparse.Namespace) -> subprocess.Popen[bytes]:
        started.append(system)
        sleep = f"import signal, sys, time; signal.signal(15, lambda *_: sys.exit(143)); time.sleep({seconds[system]})"
        return subprocess.Popen([sys.executable, "-c", f"{sleep}; sys.exit({codes.get(system, 0)})"])

    monkeypatch.setattr(progression, "_start", start)
    return started


def test_the_next_one_starts_when_one_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started = stand_in(monkeypatch, {"cho": 1.5, "gnmt": 0.0, "luong": 0.0}, {})
    done = list(progression._trained(["cho", "gnmt", "luong"], options(tmp_path), None))
    assert started == ["cho", "gnmt", "luong"]
    assert done == ["gnmt", "luong", "cho"]


def test_one_that_fails_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, {"cho": 0.0, "gnmt": 0.0}, {"cho": 3})
    assert list(progression._trained(["cho", "gnmt"], options(tmp_path, parallel=1), None)) == ["gnmt"]
    assert "cho: nmt train ended with 3; see" in capsys.readouterr().err


def test_when_time_is_up_all_are_stopped_and_no_other_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started = stand_in(monkeypatch, {"cho": 60.0, "gnmt": 60.0, "luong": 0.0}, {})
    before = time.monotonic()
    assert list(progression._trained(["cho", "gnmt", "luong"], options(tmp_path), before + 1.5)) == []
    assert started == ["cho", "gnmt"]
    assert time.monotonic() - before < 30


def test_scores_by_length_are_those_of_the_sentences_of_that_length() -> None:
    src = ["a b c", "a " * 10, "a " * 11, "a " * 40]
    ref = ["the cat sat on the mat", "a dog ran over the road", "birds sing in the tree", "we all go home now then"]
    hyp = ["the cat sat on the mat", "a dog ran over a road", "birds sang in the tree", "you all go home now then"]
    found = progression._by_length(src, hyp, ref, "en")
    tokenize = tokenizer_for("en")
    assert found == {
        "10": (round(bleu(hyp[:2], [ref[:2]], tokenize=tokenize).score, 2), 2),
        "15": (round(bleu(hyp[2:3], [ref[2:3]], tokenize=tokenize).score, 2), 1),
        "more": (round(bleu(hyp[3:], [ref[3:]], tokenize=tokenize).score, 2), 1),
    }


def result(system: str, **changes: Any) -> dict[str, Any]:
    settings = {"device": "cpu x86_64", "threads": 1, "dtype": "bfloat16", "seed": 1, "commit": "0123abc"}
    made = {
        **{"system": system, "parameters": 1_854_648, "bleu": 64.97, "by_length": {"10": (70.25, 600)}},
        **{"bleu_long": 22.684, "tgt_tokens": 2_801_234, "tgt_tokens_per_second": 7123.4, "seconds": 393.0},
        **{"signature": "nrefs:1|tok:13a", "settings": settings},
    }
    return made | changes


def test_the_table_has_a_row_a_system_and_says_its_settings() -> None:
    lines = progression.table([result("cho"), result("gnmt", by_length={"10": (80.0, 600), "more": (9.0, 2)})])
    head, rule, cho, gnmt, empty, note = lines.splitlines()
    assert head == (
        "| system | parameters | BLEU | ≤ 10 (600) | more (2) | long | target tokens | tokens/s | minutes |"
    )
    assert rule.count("---") == 9
    assert cho == "| Cho 2014, no attention | 1.85 M | 64.97 | 70.2 |  | 22.7 | 2.80 M | 7,123 | 6.5 |"
    assert gnmt.startswith("| GNMT 2016, residual LSTMs | 1.85 M | 64.97 | 80.0 | 9.0 | 22.7 |")
    assert not empty
    assert note.startswith("BLEU: nrefs:1|tok:13a; by words of the source (sentences). device cpu x86_64, threads 1")
