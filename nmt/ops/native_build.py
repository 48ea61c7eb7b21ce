"""The libraries of ops/native.py and ops/fused.py, compiled by the machine's own compiler on first use and kept in the
user's cache.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from nmt.processor import facts, instructions

_PARTS = {
    "native": ("native.c", "native_vectors.h", "native_listed.h", "native_gates.h", "native_choose.h"),
    "fused": (
        *("fused.c", "native_vectors.h", "fused_loss.h", "fused_norm.h", "fused_gate.h", "fused_heads.h"),
        *("fused_attention.h", "fused_recurrent.h", "fused_lstm.h"),
    ),
}
"""The files of each library, the one that includes the others first."""

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-shared", "-fPIC")
_BY_CAPABILITY = {"AVX512": ("-mprefer-vector-width=512",), "AVX2": ("-mno-avx512f",), "DEFAULT": ("-mno-avx",)}
"""On x86, by what torch's own functions use: ATEN_CPU_CAPABILITY=avx2 in the environment keeps these to it as well."""
_COMPILE_SECONDS = 60


def library_file(name: str) -> tuple[Path | None, str]:
    """The file of a library, "native" or "fused", made if it is not there; where it cannot be, None and why.
    `NMT_NATIVE=0` in the environment leaves it out.
    """
    if os.environ.get("NMT_NATIVE", "1") == "0":
        return None, "NMT_NATIVE is 0"
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", ""), "cc", "gcc", "clang"))), None)
    if compiler is None:
        return None, "there is no C compiler here; install gcc or clang"
    try:
        return _made(name, compiler), ""
    except (OSError, subprocess.SubprocessError) as error:
        told = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) and error.stderr else str(error)
        return None, f"{compiler} made no library of {name}.c: {told.splitlines()[0]}"


def _made(name: str, compiler: str) -> Path:
    """The library's file, compiled if it is not there; OSError and subprocess.SubprocessError where it cannot be."""
    sources = [Path(__file__).with_name(part) for part in _PARTS[name]]
    path = _folder() / f"{name}-{_name(sources, compiler)}.so"
    if not path.exists():
        _compile(compiler, sources[0], path)
    return path


def _folder() -> Path:
    """Where it is kept: the user's cache folder, made where it is missing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "nmt"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _name(sources: list[Path], compiler: str) -> str:
    """A hash of all that the library's instructions depend on: a home folder may be shared by unlike machines."""
    processor = facts().get("model name", platform.processor()), *sorted(instructions())
    text = [path.read_text() for path in sources]
    told = [*text, compiler, *_flags(), platform.machine(), *processor]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]


def _flags() -> tuple[str, ...]:
    more = _BY_CAPABILITY.get(torch.backends.cpu.get_cpu_capability(), ()) if platform.machine() == "x86_64" else ()
    return *_FLAGS, *more


def _compile(compiler: str, source: Path, path: Path) -> None:
    """Compiled beside, then renamed: others who start meanwhile find all of it or nothing."""
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    try:
        command = [compiler, *_flags(), "-o", made, str(source), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_COMPILE_SECONDS)
        Path(made).replace(path)
    finally:
        Path(made).unlink(missing_ok=True)
