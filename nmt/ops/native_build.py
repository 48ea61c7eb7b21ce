"""The library of ops/native.py, compiled by the machine's own compiler on first use and kept in the user's cache."""

import hashlib
import os
import platform
import subprocess
import tempfile
from pathlib import Path

import torch

from nmt.processor import facts, instructions

_SOURCE = Path(__file__).with_name("native.c")
_PARTS = [_SOURCE.with_name(f"native_{name}.h") for name in ("listed", "gates", "choose")]
_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-shared", "-fPIC")
_WIDE = "-mprefer-vector-width=512"
_COMPILE_SECONDS = 60


def made(compiler: str) -> Path:
    """The library's file, compiled if it is not there; OSError and subprocess.SubprocessError where it cannot be."""
    path = _folder() / f"native-{_name(compiler)}.so"
    if not path.exists():
        _compile(compiler, path)
    return path


def _folder() -> Path:
    """Where it is kept: the user's cache folder, made where it is missing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "nmt"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _name(compiler: str) -> str:
    """A hash of all that the library's instructions depend on: a home folder may be shared by unlike machines."""
    processor = facts().get("model name", platform.processor()), *sorted(instructions())
    text = [path.read_text() for path in (_SOURCE, *_PARTS)]
    told = [*text, compiler, *_flags(), platform.machine(), *processor]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]


def _flags() -> tuple[str, ...]:
    wide = platform.machine() == "x86_64" and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return (*_FLAGS, _WIDE) if wide else _FLAGS


def _compile(compiler: str, path: Path) -> None:
    """Compiled beside, then renamed: others who start meanwhile find all of it or nothing."""
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    try:
        command = [compiler, *_flags(), "-o", made, str(_SOURCE), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_COMPILE_SECONDS)
        Path(made).replace(path)
    finally:
        Path(made).unlink(missing_ok=True)
