"""Where and how things run: the device that a user's word stands for, the precision of translation, and which
implementation of each operation runs there.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from nmt.errors import EnvironmentFault, NmtError, UsageError
from nmt.ops import additive, packed
from nmt.ops.cells import Cells
from nmt.ops.cross_entropy import Rows
from nmt.ops.fused import Fused, library
from nmt.processor import instructions


def choose_device(wanted: str) -> torch.device:
    """`auto` takes a CUDA device where there is one; asking for one that is not there is an EnvironmentFault."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise UsageError(f"there is no device {wanted}", "use auto, cpu or cuda")
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise EnvironmentFault("there is no CUDA device here, or this torch cannot use it", "use --device cpu, or auto")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def fast_bfloat16(device: torch.device) -> bool:
    """Whether products of bfloat16 are faster there than those of float32: on GPUs, and on CPUs that have instructions
    for them (avx512_bf16 or AMX on x86, BF16 on ARM). Elsewhere they are emulated, at a fifth of the speed.
    """
    if device.type != "cpu":
        return True
    return torch.backends.mkldnn.is_available() and not instructions().isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def training_dtype(asked: str, device: torch.device) -> str:
    """compute.dtype, `auto` decided."""
    return asked if asked != "auto" else "bfloat16" if fast_bfloat16(device) else "float32"


def translation_dtype(device: torch.device, trained: str) -> str:
    """The precision of search: the recipe's on a GPU, float32 on a CPU, where few rows at a time gain little from less.

    The scores at the end of a training are measured with it, so that `nmt translate` gives the same ones.
    """
    return training_dtype(trained, device) if device.type == "cuda" else "float32"


# --- which implementation ---------------------------------------------------------------------------------------------

Asked = Literal["auto", "plain", "fused"]


AlignAdditive = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
AttendAdditive = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
AttendPacked = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, bool, float], Tensor]


@dataclass(frozen=True)
class Kernels:
    """The implementations that a model runs; ops/additive.py, ops/packed.py and ops/cross_entropy.py say what each is.
    passes: on a CPU, what a training does between products, compiled, the loss and steps of recurrent layers too
    (ops/fused.py). None, as for rows and cells, stands for torch's own operations.
    """

    additive_align: AlignAdditive = additive.align
    additive_attend: AttendAdditive = additive.attend
    additive_steps: type[additive.Steps] = additive.Steps
    packed_attend: AttendPacked = packed.attend
    rows: Rows | None = None
    cells: Cells | None = None
    passes: Fused | None = None


PLAIN = Kernels()


@dataclass(frozen=True)
class Choice:
    """What compute.kernels came to: the implementations, the form of each operation by name, and why those that are
    plain are.
    """

    kernels: Kernels
    forms: dict[str, str]
    why: dict[str, str]

    def __str__(self) -> str:
        """In a line."""
        if not self.forms:
            return "kernels: this model has none to choose from"
        told = list[str]()
        for why, names in groupby(self.forms, key=lambda name: self.why.get(name, "")):
            told.append(
                ", ".join(f"{_NAMES[name]} {self.forms[name]}" for name in names) + (f" ({why})" if why else "")
            )
        return f"kernels: {', '.join(told)}"


# The table: what has a fused form, where there is a choice, and the types of products that it is for. On a CPU additive
# attention, steps of recurrent layers and the loss are among the passes.
_NAMES = {
    "additive": "additive attention",
    "packed": "attention over packed rows",
    "cells": "steps of recurrent layers",
    "loss": "loss of the vocabulary",
    "passes": "passes between products",
}
_PLACES = {
    **dict.fromkeys(("additive", "cells", "loss"), ("cuda",)),
    **{"packed": ("cpu", "cuda"), "passes": ("cpu",)},
}
ALWAYS = frozenset({"loss", "passes"})
"""What every model's training has."""
_DTYPES = dict.fromkeys(_NAMES, ("bfloat16", "float32")) | {"packed": ("bfloat16",)}
_WIDEST = {"packed": packed.LONGEST}
_LEAST_CAPABILITY = (8, 0)  # NVIDIA's A100: products of bfloat16


def choose_kernels(
    asked: Asked, device: torch.device, dtype: str, operations: Collection[str], widest: int = 0
) -> Choice:
    """Plain or fused for each of a model's operations, with products of this type on this device. widest: positions of
    a packed row or numbers of a head, whichever are more.

    `plain` is plain; `auto` takes what is fused where it can run; `fused` where it cannot is an EnvironmentFault or a
    UsageError that says why. Triton is imported only here, and only where something fused was chosen.
    """
    names = [name for name in _NAMES if name in operations and device.type in _PLACES[name]]
    if asked == "plain":
        plain = dict.fromkeys(names, "plain")
        return Choice(PLAIN, plain, dict.fromkeys(plain, "as the recipe asks"))
    faults = {
        name: fault
        for name in names
        if (fault := _machine_fault(name, device) or _dtype_fault(name, dtype) or _width_fault(name, widest))
    }
    if asked == "fused" and faults:
        raise next(iter(faults.values()))
    forms = {name: "plain" if name in faults else "fused" for name in names}
    return Choice(_load(forms), forms, {name: fault.what for name, fault in faults.items()})


def translation_kernels(trained: Asked, device: torch.device, dtype: str, operations: Collection[str]) -> Kernels:
    """For search: as in training where the device allows it, so that the scores at its end are measured with them.

    But for packed rows: in search a row is one sentence.
    """
    asked = "plain" if trained == "plain" else "auto"
    return choose_kernels(asked, device, dtype, [name for name in operations if name != "packed"]).kernels


def _machine_fault(name: str, device: torch.device) -> NmtError | None:
    """Why this operation has no fused form that can run here."""
    if name == "passes":
        found, why = library()
        return None if found else EnvironmentFault(why, "compute.kernels: auto takes the plain forms where it must")
    if device.type != "cuda":
        return _fault("the fused kernels need a CUDA device", "this one is a CPU")
    if torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        found = ".".join(map(str, torch.cuda.get_device_capability(device)))
        return _fault("the fused kernels need compute capability 8.0", f"this GPU has {found}")
    if importlib.util.find_spec("triton") is None:
        return _fault("the fused kernels need Triton", "it is not installed", "pip install 'nmt[kernels]'")
    if not (os.environ.get("CC") or any(map(shutil.which, ("gcc", "clang", "cc")))):
        return _fault("Triton needs a C compiler", "there is none", "install gcc, or name one in the variable CC")
    return None


def _fault(need: str, lack: str, remedy: str = "") -> NmtError:
    remedies = ([remedy] if remedy else []) + ["compute.kernels: auto takes the plain forms where it must"]
    return EnvironmentFault(f"{need}, and {lack}", "; or ".join(remedies))


def _dtype_fault(name: str, dtype: str) -> NmtError | None:
    if dtype in _DTYPES[name]:
        return None
    return UsageError(
        f"{_NAMES[name]} has no fused form for {dtype}",
        f"use compute.dtype: {' or '.join(_DTYPES[name])}, or compute.kernels: auto",
    )


def _width_fault(name: str, widest: int) -> NmtError | None:
    limit = _WIDEST.get(name, widest)
    if widest <= limit:
        return None
    return UsageError(
        f"{_NAMES[name]} has no fused form for rows or heads wider than {limit}, and these have {widest}",
        f"use train.row_tokens and model.d_model / model.n_heads up to {limit}, or compute.kernels: auto",
    )


def _load(forms: dict[str, str]) -> Kernels:
    kernels = PLAIN
    if forms.get("additive") == "fused":
        from nmt.ops import additive_triton as fused

        kernels = replace(kernels, additive_align=fused.align, additive_attend=fused.attend, additive_steps=fused.Steps)
    if forms.get("packed") == "fused":
        from nmt.ops import packed_triton

        kernels = replace(kernels, packed_attend=packed_triton.attend)
    if forms.get("cells") == "fused":
        from nmt.ops.cells_triton import TritonCells

        kernels = replace(kernels, cells=TritonCells())
    if forms.get("loss") == "fused":
        from nmt.ops.cross_entropy_triton import TritonRows

        kernels = replace(kernels, rows=TritonRows())
    if forms.get("passes") == "fused":
        kernels = replace(kernels, passes=library()[0])
    return kernels
