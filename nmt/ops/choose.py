"""Where and how things run: the device that a user's word stands for, the precision of translation."""

import torch

from nmt.errors import EnvironmentFault, UsageError


def choose_device(wanted: str) -> torch.device:
    """`auto` takes a CUDA device where there is one; asking for one that is not there is an EnvironmentFault."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise UsageError(f"there is no device {wanted}", "use auto, cpu or cuda")
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise EnvironmentFault("there is no CUDA device here, or this torch cannot use it", "use --device cpu, or auto")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def translation_dtype(device: torch.device, trained: str) -> str:
    """The precision of search: the recipe's on a GPU, float32 on a CPU, where few rows at a time gain little from less.

    The scores at the end of a training are measured with it, so that `nmt translate` gives the same ones.
    """
    return trained if device.type == "cuda" else "float32"
