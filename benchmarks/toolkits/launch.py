"""Starts another toolkit's program inside its own environment, with what it needs on Python 3.11, and counts padding.

    python launch.py TOOLKIT PAD_ID PROGRAM [ARGUMENT ...]      PROGRAM: a script's path, or -m and a module's name

It prints `PADDING share 0.93 of 123456`: the share of embedded source and target positions that hold a token, over the
first 5, 10 and 30 updates; after that the counting is taken out again and costs nothing. Of packages that are not
Python's own, only torch is imported here.
"""

import dataclasses
import importlib
import runpy
import sys
from typing import Any

import torch
from torch.nn import functional as F

WORDS = 7000
"""Rows that a table must have to be one of words: tables of positions are smaller."""
TOLD_AT = (10, 20, 60)
"""Calls after which the share is told, the last time for good: a source and a target side for each update."""


class Padding:
    """Counts padding in what goes through torch.nn.functional.embedding, in the calls up to the last of TOLD_AT."""

    def __init__(self, pad: int) -> None:
        self.pad = pad
        self.calls = self.positions = self.padding = 0
        self._embedding = F.embedding

    def install(self) -> None:
        """Begins to count."""
        F.embedding = self._counted

    def _counted(self, input: torch.Tensor, weight: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if weight.shape[0] >= WORDS and torch.is_grad_enabled():
            self.see(input)
            if self.calls == TOLD_AT[-1]:
                F.embedding = self._embedding
        return self._embedding(input, weight, *args, **kwargs)

    def see(self, input: torch.Tensor) -> None:
        """Counts one side of one batch, and tells at the calls of TOLD_AT."""
        self.positions += input.numel()
        self.padding += int((input == self.pad).sum())
        self.calls += 1
        if self.calls in TOLD_AT:
            print(f"PADDING share {1 - self.padding / self.positions:.4f} of {self.positions}", flush=True)

    def count_batches(self, module: object, name: str) -> None:
        """For a toolkit that traces its model, which therefore must not be touched: counts what its maker of batches,
        the function `name` of `module`, gets as its first two arguments, (B, L, factors), for as long as it trains.
        """
        make = getattr(module, name)

        def counted(source: torch.Tensor, target: torch.Tensor, *rest: Any) -> Any:
            for side in (source, target):
                self.see(side[:, :, 0])
            return make(source, target, *rest)

        setattr(module, name, counted)


def mend(toolkit: str) -> None:
    """What a toolkit of before Python 3.11 needs today, and what makes one tell its speed often enough."""
    if toolkit == "fairseq":
        # It and hydra 1.0 have dataclasses as defaults of dataclasses' fields. Python 3.11 takes what has a hash only,
        # and a dataclass that can be compared has none: here each gets the hash of its identity back.
        process = dataclasses._process_class  # pyright: ignore[reportAttributeAccessIssue]

        def with_hash(cls: type, *args: Any, **kwargs: Any) -> type:
            made = process(cls, *args, **kwargs)
            if made.__hash__ is None:
                made.__hash__ = object.__hash__
            return made

        dataclasses._process_class = with_hash  # pyright: ignore[reportAttributeAccessIssue]
        # Its encoder calls torch's fast layer as that was before masks had a type; its masks are those of padding, 1.
        name = "_transformer_encoder_layer_fwd"
        layer = getattr(torch, name)
        setattr(torch, name, lambda *given: layer(*given, 1))
    elif toolkit == "sockeye":
        constants = importlib.import_module("sockeye.constants")
        constants.MEASURE_SPEED_EVERY = 5  # updates; it has 50 # pyright: ignore[reportAttributeAccessIssue]


def main() -> None:
    """Mends, installs the counter and becomes the program."""
    toolkit, pad, *command = sys.argv[1:]
    mend(toolkit)
    padding = Padding(int(pad))
    if toolkit == "sockeye":
        padding.count_batches(importlib.import_module("sockeye.data_io"), "create_batch_from_parallel_sample")
    else:
        padding.install()
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
