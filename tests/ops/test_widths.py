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
