"""What is in use in this thread while a block lasts: made matrices, casts, compiled functions."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class InUse(Generic[T]):
    """At most one thing of a kind; None where none is."""

    def __init__(self, name: str) -> None:
        self._active: ContextVar[T | None] = ContextVar(name, default=None)

    def now(self) -> T | None:
        """What is in use here; nothing in a graph that torch.compile makes, which cannot look at the context."""
        return None if torch.compiler.is_compiling() else self._active.get()

    @contextmanager
    def using(self, it: T | None) -> Iterator[None]:
        """While it lasts, that is in use in this thread."""
        token = self._active.set(it)
        try:
            yield
        finally:
            self._active.reset(token)
