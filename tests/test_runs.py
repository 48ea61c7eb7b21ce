import json
import os
import re
from pathlib import Path

import pytest

from nmt.errors import ModelError
from nmt.runs import newest_run, now, recipe_file_of


def log(runs: Path, name: str, *events: dict[str, object] | str) -> Path:
    run = runs / name
    run.mkdir(parents=True)
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    (run / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return run


def saved(time: object) -> dict[str, object]:
    return {"event": "saved", "update": 1, "time": time}


def test_now_is_utc_and_orders_as_text() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", now())
    assert now() < now()


def test_the_newest_run_is_the_one_that_saved_last(tmp_path: Path) -> None:
    log(tmp_path, "a", saved("2026-01-01T10:00:00Z"), saved("2026-01-03T10:00:00Z"))
    log(tmp_path, "b", {"event": "start", "time": "2026-01-09T00:00:00Z"}, saved("2026-01-02T10:00:00Z"))
    log(tmp_path, "c", {"event": "start", "time": "2026-01-09T00:00:00Z"}, {"event": "update", "saved": 1})
    (tmp_path / "d").mkdir()
    (tmp_path / "file").write_text("")
    assert newest_run(tmp_path) == tmp_path / "a"


def test_dates_of_files_do_not_count(tmp_path: Path) -> None:
    old = log(tmp_path, "old", saved("2026-01-01T00:00:00Z"))
    new = log(tmp_path, "new", saved("2026-01-02T00:00:00Z"))
    os.utime(old / "log.jsonl", (4e9, 4e9))
    os.utime(new / "log.jsonl", (1e9, 1e9))
    assert newest_run(tmp_path) == new


def test_the_last_event_counts_not_the_latest_time(tmp_path: Path) -> None:
    """A clock that was wrong for a while and was set back must not make a run the newest for a year."""
    log(tmp_path, "a", saved("2031-01-01T00:00:00Z"), saved("2026-01-01T00:00:00Z"))
    log(tmp_path, "b", saved("2026-01-02T00:00:00Z"))
    assert newest_run(tmp_path) == tmp_path / "b"


def test_time_zones_and_fractions_are_compared_as_moments(tmp_path: Path) -> None:
    log(tmp_path, "a", saved("2026-01-01T12:00:00+05:00"))
    log(tmp_path, "b", saved("2026-01-01T07:00:00.000001Z"))
    assert newest_run(tmp_path) == tmp_path / "b"


def test_the_same_moment_is_decided_by_name(tmp_path: Path) -> None:
    for name in ("b", "a"):
        log(tmp_path, name, saved("2026-01-01T00:00:00Z"))
    assert newest_run(tmp_path) == tmp_path / "b"


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    log(tmp_path, "a", saved("2026-01-01T00:00:00Z"), '{"event": "saved", "upda')
    assert newest_run(tmp_path) == tmp_path / "a"


def test_no_folder_and_no_run(tmp_path: Path) -> None:
    hint = "\n  train one: nmt train RECIPE; or name the file to use on the command line"
    with pytest.raises(ModelError) as caught:
        newest_run(tmp_path / "runs")
    assert str(caught.value) == (f"error: {tmp_path}/runs: there is no such folder, so there is no run to choose{hint}")
    with pytest.raises(ModelError) as caught:
        newest_run(tmp_path)
    assert str(caught.value) == f"error: {tmp_path}: no run here has saved a model yet{hint}"


@pytest.mark.parametrize("time", [None, 7, "yesterday", "2026-01-01T00:00:00", ""])
def test_a_saved_event_without_a_time_is_an_error(tmp_path: Path, time: object) -> None:
    log(tmp_path, "a", {"event": "start"}, saved(time))
    with pytest.raises(ModelError) as caught:
        newest_run(tmp_path)
    assert caught.value.what == (
        f"{tmp_path}/a/log.jsonl:2: this saved event has no time in UTC, so the newest run is not known"
    )


def test_the_recipe_file_is_that_of_the_last_start(tmp_path: Path) -> None:
    start = {"event": "start", "recipe_file": "recipes/a.yaml"}
    run = log(tmp_path / "runs", "a", {**start, "recipe_file": "old.yaml"}, start, saved("2026-01-01T00:00:00Z"))
    assert recipe_file_of(run) == tmp_path / "recipes/a.yaml"
    run = log(tmp_path / "runs", "b", {**start, "recipe_file": "/elsewhere/b.yaml"})
    assert recipe_file_of(run) == Path("/elsewhere/b.yaml")


def test_a_log_without_the_recipe_file_is_an_error(tmp_path: Path) -> None:
    run = log(tmp_path, "a", {"event": "start"})
    with pytest.raises(ModelError, match="no start event says which recipe file this run is of"):
        recipe_file_of(run)
