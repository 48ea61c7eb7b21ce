"""How tensors go to functions of the compiled libraries: the types of arguments, and addresses."""

import ctypes

import torch
from torch import Tensor

P, N, Y, F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float
"""An address, a number of things, a yes or no, and a number."""


def typed(x: Tensor) -> tuple[int, int]:
    """Address, and whether it is bfloat16; TypeError for a type that the functions do not know."""
    if x.dtype not in (torch.float32, torch.bfloat16):
        raise TypeError(f"float32 or bfloat16, not {x.dtype}")
    return x.data_ptr(), int(x.dtype == torch.bfloat16)


def addresses(*tensors: Tensor | None) -> list[int | None]:
    """Of each; none of what is not there."""
    return [None if x is None else x.data_ptr() for x in tensors]
