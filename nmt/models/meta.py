"""Models of which only the shapes are wanted."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_COMPILER = "_dynamo"  # of torch


@contextmanager
def on_meta() -> Iterator[None]:
    """Tensors and modules that are made in here are on the meta device: shapes without numbers, nothing allocated."""
    with _without_the_compiler(), torch.device("meta"), Unfilled():
        yield


class Unfilled(TorchFunctionMode):
    """Leaves out the random numbers that modules of torch.nn begin with: on the meta device there are none, and a model
    that is read or initialised has its own.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def _without_the_compiler() -> Iterator[None]:
    """Spares the second and a half that loading torch's compiler takes.

    Meta kernels that are written in Python ask it, when they are first called, not to compile them. While nothing is
    compiled, something that only says yes will do. Where the compiler is loaded already, it answers itself.
    """
    name = f"torch.{_COMPILER}"
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    vars(stand_in)["disable"] = lambda function, recursive=True, *, wrapping=True: function
    sys.modules[name] = stand_in
    setattr(torch, _COMPILER, stand_in)
    try:
        yield
    finally:
        del sys.modules[name]
        delattr(torch, _COMPILER)
