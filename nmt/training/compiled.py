"""torch.compile around the layers of a model, and what that takes at the start.

Layer by layer, as all of one kind share what is made for the first. Never around a recurrence: its loop would be
unrolled (and torch.nn's own recurrences break graphs). Validation and search run the layers as they are written.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nmt.errors import UsageError
from nmt.models.contract import Seq2Seq
from nmt.recipe import Compile
from nmt.recipe_models import Layout


class CompiledLayers:
    """What compute.compile asks for, of a model that is about to be trained."""

    def __init__(self, how: Compile, model: Seq2Seq, layout: Layout) -> None:
        """Compiles nothing yet: that happens as the layers first run. UsageError where there are none."""
        self.how: Compile = how
        self._told = 0.0
        if how == "off":
            return
        layers = model.compilable()
        if not layers:
            raise UsageError(f"compute.compile: {how}: this model has no layers that can be compiled", "leave it off")
        for layer in layers:
            # Padded batches differ in shape: code for any, at once. Others have one.
            layer.compile(dynamic=layout == "padded")

    @contextmanager
    def as_written(self) -> Iterator[None]:
        """While it lasts layers run uncompiled."""
        if self.how == "off":
            yield
        else:
            with torch.compiler.set_stance("force_eager"):
                yield

    def seconds(self) -> float:
        """Spent on compiling since the last time that this was asked."""
        if self.how == "off":
            return 0.0
        spent = torch._dynamo.utils.calculate_time_spent()["total_wall_time"]  # pyright: ignore[reportPrivateUsage]
        before, self._told = self._told, spent
        return spent - before
