"""How another toolkit's program is started: padding is counted, arguments arrive, and old programs are mended."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from benchmarks.toolkits import launch
from benchmarks.toolkits.toolkit import real_share


def test_padding_is_counted_in_tables_of_words_until_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    plain = F.embedding
    words, positions = torch.zeros(launch.WORDS, 1, requires_grad=True), torch.zeros(512, 1, requires_grad=True)
    launch.Padding(pad=1).install()
    try:
        for _ in range(launch.TOLD_AT[-1]):
            F.embedding(torch.tensor([[5, 6, 7, 1]]), words)
            F.embedding(torch.tensor([[1, 1, 1, 1]]), positions)  # ids of positions are no words
        assert F.embedding is plain
    finally:
        F.embedding = plain
    told = capsys.readouterr().out
    assert told.count("PADDING") == len(launch.TOLD_AT)
    assert real_share(told) == 0.75


def test_a_maker_of_batches_is_counted_and_makes_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    module = SimpleNamespace(make=lambda source, target, *rest: (source, target, rest))
    counter = launch.Padding(pad=0)
    counter.count_batches(module, "make")
    source, target = torch.tensor([[[5, 0], [6, 9]]]), torch.tensor([[[7, 9], [0, 9]]])  # (B, L, factors)
    for _ in range(launch.TOLD_AT[0] // 2):
        assert module.make(source, target, "more") == (source, target, ("more",))
    assert real_share(capsys.readouterr().out) == 0.75


def test_validation_is_not_counted() -> None:
    plain = F.embedding
    counter = launch.Padding(pad=1)
    counter.install()
    try:
        with torch.no_grad():
            F.embedding(torch.tensor([1]), torch.zeros(launch.WORDS, 1))
    finally:
        F.embedding = plain
    assert counter.calls == 0


def test_fairseqs_dataclasses_may_be_defaults_of_fields() -> None:
    """In a process of its own: the mending changes Python's dataclasses."""
    code = (
        "import dataclasses, sys; sys.path.insert(0, '.')\n"
        "from benchmarks.toolkits.launch import mend\n"
        "mend(sys.argv[1])\n"
        "@dataclasses.dataclass\n"
        "class A: x: int = 1\n"
        "@dataclasses.dataclass\n"
        "class B: a: A = A()\n"
        "print(B().a == A(1))\n"
    )
    root = Path(launch.__file__).parents[2]

    def run(toolkit: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, toolkit], cwd=root, capture_output=True, text=True)

    assert run("fairseq").stdout == "True\n"
    assert "mutable default" in run("eole").stderr


@pytest.mark.parametrize("as_module", [True, False])
def test_the_program_gets_its_arguments(as_module: bool, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys; print(__name__, sys.argv[1:])")
    program = ["-m", "program"] if as_module else [str(tmp_path / "program.py")]
    out = subprocess.run(
        [sys.executable, launch.__file__, "eole", "1", *program, "a", "--b"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout == "__main__ ['a', '--b']\n"


def test_the_place_where_python_makes_dataclasses_is_still_there() -> None:
    assert callable(vars(dataclasses)["_process_class"])
