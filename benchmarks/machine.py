"""What a figure was measured with: program, versions, machine. No name of a host, no path."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from nmt.processes import cores
from nmt.processor import facts, instructions

ROOT = Path(__file__).parents[1]


def settings(threads: int) -> dict[str, Any]:
    """Commit (with `+` when files of it were changed), versions, processor, memory, and the time."""
    return {
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": processor(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """The commit of this checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "nmt", "benchmarks/*.py", "benchmarks/recipes")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def processor() -> str:
    """The processor's name, what of it matters for bfloat16, and to what torch is kept that could do more."""
    units = [unit for unit in ("avx512_bf16", "amx_bf16") if unit in instructions()]
    used = torch.backends.cpu.get_cpu_capability()
    kept = [f"kept to {used}"] if "avx512f" in instructions() and used in ("AVX2", "DEFAULT") else []
    return ", ".join([facts().get("model name", platform.machine()), *units, *kept])
