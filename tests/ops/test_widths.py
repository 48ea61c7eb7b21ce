"""The compiled functions on processors whose registers hold fewer numbers: this one, kept to what those have."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nmt.ops import native_build
from tests.ops.compiled import FUSED

HERE = Path(__file__).parent


MASKS = """
import hashlib
import torch
from nmt.ops import dropout, dot
from nmt.ops.fused import library, using
from nmt.ops.rectified import rectified
torch.manual_seed(3)
N = 55
parameters = torch.zeros(N, 1), torch.ones(N), torch.eye(N), torch.zeros(N)
nothing, each = torch.zeros(2, 3, 9, N), torch.eye(N).expand(2, 3, N, N)
with using(library()[0]):
    for y in (
        dropout.dropout(torch.ones(70, 33), 0.3),
        dropout.add_dropped(torch.zeros(70, 33), torch.ones(70, 33), 0.3),
        rectified(torch.zeros(70, 1, requires_grad=True), *parameters, 0.3),
        dot.context(nothing, nothing[:, :, :1].expand(2, 3, N, N), each, None, 0.3),
    ):
        print(hashlib.sha256((y != 0).numpy().tobytes()).hexdigest())
"""


@pytest.mark.skipif(FUSED is None or platform.machine() != "x86_64", reason="not a processor to be kept to less")
def test_dropout_zeroes_the_same_whatever_the_registers(tmp_path: Path) -> None:
    """A place's random bits are those of its place."""

    def masks(**environment: str) -> list[str]:
        return subprocess.run(
            [sys.executable, "-c", MASKS],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
            cwd=HERE.parents[1],
        ).stdout.split()

    own = masks()
    assert len(set(own)) == 4, "each draws its own keys"
    for capability in ("avx2", "default"):
        assert masks(ATEN_CPU_CAPABILITY=capability, XDG_CACHE_HOME=str(tmp_path)) == own


@pytest.mark.skipif(FUSED is None or platform.machine() != "x86_64", reason="not a processor to be kept to less")
@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ("avx2", ["fused", "native"]),
        pytest.param("default", ["fused", "native"], marks=pytest.mark.slow),
        pytest.param("avx2", ["fused_recurrent", "listed"], marks=pytest.mark.slow),
        pytest.param("default", ["fused_recurrent", "listed"], marks=pytest.mark.slow),
    ],
)
def test_narrower_registers_compute_the_same(capability: str, names: list[str], tmp_path: Path) -> None:
    """All tests of what is compiled pass."""
    has = torch.backends.cpu.get_cpu_capability()
    if has in ("DEFAULT", capability.upper()):
        pytest.skip(f"this processor has no more than {has}")
    environment = os.environ | {"ATEN_CPU_CAPABILITY": capability, "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("PYTEST_ADDOPTS", None)
    files = [str(HERE / f"test_{name}.py") for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE.parents[1])
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr
    own = native_build.library_file("fused")[0]
    assert own is not None
    made = {path.name for path in (tmp_path / "nmt").iterdir()}
    assert {name.split("-")[0] for name in made} == {"fused", "native"}
    assert own.name not in made, "compiled otherwise"
