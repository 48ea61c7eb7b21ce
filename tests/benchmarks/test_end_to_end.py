"""Whole measurements of our half on a corpus of digits, as a person starts them."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import ours, peers, train
from tests.training import tiny

pytestmark = pytest.mark.slow


@pytest.fixture
def _digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny recipe in place of the Transformer's, its text and a working folder."""
    folder = tmp_path / "text"
    folder.mkdir()
    monkeypatch.setitem(
        ours.RECIPES,
        "transformer",
        tiny.write(folder, tiny.recipe(train={"batch_sentences": None, "batch_tokens": 150})) / "recipe.yaml",
    )
    monkeypatch.delenv("PEERS", raising=False)
    monkeypatch.chdir(tmp_path)


COMMON = [
    "--tasks",
    "transformer",
    "--warm-up",
    "0",
    "--measure",
    "0.001",
    "--threads",
    "1",
    "--out",
    "out",
    "--work",
    "w",
]


def called(module: object, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments, *COMMON])
    module.main()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.usefixtures("_digits")
def test_our_speed_is_measured_in_rounds_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called(peers, ["speed", "--rounds", "2"], monkeypatch)
    found = json.loads((tmp_path / "out" / "peers-speed-transformer.json").read_text())
    assert [(run["round"], run["system"]) for run in found["runs"]] == [
        (1, "nmt float32"), (1, "nmt bfloat16"), (2, "nmt float32"), (2, "nmt bfloat16"),
    ]  # fmt: skip
    assert len(found["settings"]["absent"]) == 7
    for run in found["runs"]:
        assert run["tokens_per_second"] > 0
        assert 0.5 < run["real_share"] <= 1
        assert run["watched"]["peak_mib"] > 100


@pytest.mark.usefixtures("_digits")
def test_our_loss_is_that_of_the_last_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called(peers, ["loss", "--only", "nmt float32", "--tokens", "1500"], monkeypatch)
    (loss,) = json.loads((tmp_path / "out" / "peers-loss-transformer.json").read_text())["losses"]
    assert 1200 < loss["tokens"] < 1800
    assert loss["updates"] == 10
    assert 1 < loss["loss"] < 4


@pytest.mark.usefixtures("_digits")
def test_the_share_of_the_limit_is_rate_over_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called(train, ["limit"], monkeypatch)
    rows = json.loads((tmp_path / "out" / "train-limit.json").read_text())["rows"]
    assert [row["dtype"] for row in rows] == ["float32", "bfloat16"]
    for row in rows:
        assert row["share"] == pytest.approx(row["tokens_per_second"] / row["limit_tokens_per_second"], rel=0.01)


@pytest.mark.usefixtures("_digits")
def test_growth_has_every_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called(train, ["growth", "--tokens", "20", "--lengths", "2", "10", "--sentences", "1", "3"], monkeypatch)
    rows = json.loads((tmp_path / "out" / "train-growth.json").read_text())["rows"]
    sizes = [(row["sentences"], row["length"]) for row in rows if row["dtype"] == "float32"]
    assert sizes == [(10, 2), (2, 10), (1, train.TYPICAL), (3, train.TYPICAL)]
