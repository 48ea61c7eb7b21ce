"""The GPU's measurement, in tiny sizes on a CPU: every stage gives figures or reasons, and no stage harms another."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch

from benchmarks import gpu, gpu_kernels, gpu_models
from benchmarks.figures import Figure, Place, guarded, has

PLACE = Place(torch.device("cpu"), torch.bfloat16, 0.0, True)
MODULES = {**gpu_kernels.STAGES, **gpu_models.STAGES}


@pytest.mark.parametrize("name", [stage.name for stage in gpu.STAGES])
def test_a_stage_gives_figures_and_says_why_what_is_missing_is_missing(name: str) -> None:
    stage: Callable[[Place], Iterator[Figure]] = MODULES[name]
    figures = list(stage(PLACE))
    assert any(figure.value is not None for figure in figures)
    for figure in figures:
        assert (figure.value is None) == bool(figure.skipped)
        assert not figure.skipped or any(
            reason in figure.skipped for reason in ("not there", "GPU", "not in a trial", "this torch")
        ), figure


def test_all_stages_fit_into_ten_minutes() -> None:
    assert sum(stage.seconds for stage in gpu.STAGES) <= 590
    assert {stage.name for stage in gpu.STAGES} == MODULES.keys()


def test_what_torch_refuses_is_a_reason_and_not_the_end() -> None:
    def refused() -> Iterator[Figure]:
        yield Figure("first", 1.0)
        raise RuntimeError("no room\nand more of it")

    assert list(guarded("it", refused)) == [Figure("first", 1.0), Figure("it", skipped="RuntimeError: no room")]


def watched(code: str, seconds: float) -> list[dict[str, object]]:
    """The figures of a stage whose process runs this code."""
    stage = gpu.Stage("trial", seconds, "gpu_kernels")

    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return list(gpu._watched(process, stage, seconds))


LINE = json.dumps(dataclasses.asdict(Figure("one", 1.5, "s")))


def test_a_stage_that_hangs_is_ended_and_keeps_what_it_had() -> None:
    found = watched(f"import time; input(); print('''{LINE}'''); time.sleep(100)", 3.0)
    assert [f["what"] for f in found] == ["one", "the rest of it", "time of the stage"]
    assert found[1]["skipped"] == "its 3 seconds were over"


def test_a_stage_that_breaks_is_told() -> None:
    found = watched(f"input(); print('''{LINE}'''); raise SystemExit(7)", 30.0)
    assert [f["what"] for f in found] == ["one", "the rest of it", "time of the stage"]
    assert found[1]["skipped"] == "its process ended with 7"


def test_the_table_has_what_was_left_out_below_it() -> None:
    figures = [
        {"stage": "a", **dataclasses.asdict(Figure("speed", 12345.6, "tokens/s", "so"))},
        {"stage": "b", **dataclasses.asdict(Figure("kernel", skipped="no GPU"))},
    ]
    lines = gpu.table(figures).splitlines()
    assert lines[2] == "| a | speed | 1.235e+04 tokens/s | so |"
    assert lines[-1] == "- b, kernel: no GPU"


def test_a_module_that_is_not_there_is_not_had() -> None:
    assert has("nmt.ops.additive")
    assert not has("nmt.ops.nothing_of_this_name")


def test_packed_rows_hold_whole_sentences() -> None:
    for row in gpu_kernels._packed_segments(PLACE, 3):
        used = row[row > 0]
        assert len(used) > gpu_kernels.ROW // 2
        assert torch.equal(row[: len(used)], used)
        assert torch.equal(used, used.sort().values)
