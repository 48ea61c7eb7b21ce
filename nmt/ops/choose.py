"""Where things run: the device that a user's word stands for."""

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
