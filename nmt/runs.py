"""Where runs lie and which one is the newest: shared by the commands that pick a run by themselves.

A run is a folder `runs/<name>/` with `recipe.yaml` (every default written out), `log.jsonl`, `checkpoints/update-<n>/`
and `model.safetensors`. Every `start` and `saved` event of the log carries "time", what `now()` gave as it was written,
and every `start` event "recipe_file", the recipe's name as it was typed.
"""

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from nmt.errors import ModelError

_HINT = "train one: nmt train RECIPE; or name the file to use on the command line"


def now() -> str:
    """The time of an event in a log: UTC, ISO 8601 with microseconds and a final Z."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def newest_run(runs: Path) -> Path:
    """The run whose log says it saved last: the one with the latest "time" in its last `saved` event.

    Dates of files do not count: copying, unpacking or touching a run does not make it new. A run that has not saved yet
    has nothing to translate with and is passed over. Raises ModelError where there is no run to choose, and where a log
    cannot be read or does not say when its run saved.
    """
    if not runs.is_dir():
        raise ModelError(f"{runs}: there is no such folder, so there is no run to choose", _HINT)
    # Runs that saved at the same moment are told apart by name, so that the answer is always the same.
    saved: list[tuple[datetime, str]] = []
    for run in sorted(runs.iterdir()):
        log = run / "log.jsonl"
        if log.is_file():
            time = _last_saved(log)
            if time is not None:
                saved.append((time, run.name))
    if not saved:
        raise ModelError(f"{runs}: no run here has saved a model yet", _HINT)
    return runs / max(saved)[1]


def models_to_use(named: Sequence[Path], say: Callable[[str], None]) -> list[Path]:
    """The model files of what a command line names: files, or folders of runs. Where it names none, those that the
    environment variable NMT_MODEL names, with the path separator of the system (a colon) between several; else the
    newest run in `runs`. `say` is told which, where the command line did not say. ModelError as for `newest_run`.
    """
    paths = list(named)
    if not paths and (paths := [Path(name) for name in os.environ.get("NMT_MODEL", "").split(os.pathsep) if name]):
        say(f"model: {' and '.join(map(str, paths))} (from NMT_MODEL)")
    if not paths:
        paths = [newest_run(Path("runs"))]
        say(f"model: {paths[0]}")
    return [path / "model.safetensors" if path.is_dir() else path for path in paths]


def recipe_file_of(run: Path) -> Path:
    """The recipe file that a run was last started with; names of files in `run/recipe.yaml` start from its folder.

    The last `start` event of the log carries it as "recipe_file", as it was typed: relative to the folder that holds
    `runs`. Raises ModelError where the log does not say. The file itself may be gone.
    """
    log = run / "log.jsonl"
    event = _last(log, "start")
    name = event[1].get("recipe_file") if event else None
    if not isinstance(name, str):
        raise ModelError(
            f"{log}: no start event says which recipe file this run is of", "name the reference: nmt score REF [HYP]"
        )
    return run.parent.parent / name


def _last_saved(log: Path) -> datetime | None:
    """The time of the last `saved` event; None where there is none."""
    found = _last(log, "saved")
    if found is None:
        return None
    number, event = found
    try:
        moment = datetime.fromisoformat(str(event.get("time")))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ModelError(f"{log}:{number}: this saved event has no time in UTC, so the newest run is not known", _HINT)
    return moment


def _last(log: Path, name: str) -> tuple[int, dict[str, object]] | None:
    """The last event of this name in a log, with the number of its line."""
    quoted = json.dumps(name).encode()
    found: tuple[int, dict[str, object]] | None = None
    try:
        with log.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                # Only these lines are worth parsing: a log has one for each of many thousand updates.
                if quoted not in line:
                    continue
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # a line torn by a kill: what it says was not finished
                if isinstance(event, dict) and event.get("event") == name:
                    found = number, event
    except OSError as error:
        raise ModelError(f"{log}: cannot be read: {error.strerror}", _HINT) from error
    return found
