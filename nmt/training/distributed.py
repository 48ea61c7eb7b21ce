"""The processes of one training: what they say to each other, and how they end together.

`Group` is a process alone, and the list of all that a training ever asks of the others; `Team` is one of several, as
torchrun starts them. What goes between them is tensors and JSON, over gloo, and gradients over NCCL where they are on
GPUs. Nobody is authenticated there: the network between the machines must be a trusted one.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from nmt.errors import EnvironmentFault, NmtError, Stopped, TrainingStopped, UsageError
from nmt.processes import Place, place
from nmt.training.watch import Store, Watch

T = TypeVar("T")

_SPARE_SECONDS = 60.0
"""How much later torch's own limit ends a wait: Watch knows who is missing, torch only that somebody is."""

# all_gather_into_tensor until torch 2.12.
_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


class Group:
    """A process alone: what it says to all it says to itself. A context around all that the processes do together."""

    def __init__(self, where: Place | None = None) -> None:
        where = where or Place()
        self.rank, self.size, self.local_size = where.rank, where.size, where.local_size

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def share(self, n: int, rank: int | None = None) -> range:
        """Which of n things are this process's, or those of `rank`: contiguous runs in the order of the processes."""
        rank = self.rank if rank is None else rank
        return range(rank * n // self.size, (rank + 1) * n // self.size)

    def in_turn(self, make: Callable[[], T]) -> T:
        """What `make` gives each process; the first is done, however long that takes, before the others begin."""
        return make()

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process, the only one that calls it. JSON, where it has to travel."""
        return make()

    def tensors_from_first(self, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The same for tensors by name, on the CPU."""
        return make()

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in their order. JSON, where they have to travel."""
        return [value]

    def total(self, numbers: Sequence[int]) -> list[int]:
        """The sums of whole numbers over the processes."""
        return list(numbers)

    def fill(self, tensor: Tensor) -> Tensor:
        """The same tensor, each element as the one process has it that put something else than 0 there."""
        return tensor

    def exchange(self, sent: Tensor, counts: Sequence[int]) -> Tensor:
        """sent (size, n, W): n rows for each process. What all have sent to this one: (sum(counts), W), in the order of
        the processes; `counts` has the n of each.
        """
        return sent.flatten(0, 1)

    def everybodys(self, tensor: Tensor) -> Tensor:
        """The flat tensors of all processes, of one size, one behind the other."""
        return tensor

    def meet(self) -> None:
        """Returns when all processes have come here."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        """Of a fault that several processes raise, or raise because of each other, one comes out; SaidElsewhere in the
        others.
        """


def join(device: torch.device, parts: int, limit: float) -> Group:
    """The group of this process, once all of them are there; `limit` is the seconds that one may be waited for.

    UsageError where there are fewer parts of a gradient than processes, EnvironmentFault where they cannot meet.
    """
    where = place()
    if where.size == 1:
        return Group()
    if parts < where.size:
        raise UsageError(
            f"train.grad_parts is {parts}, and {where.size} processes need at least {where.size} parts to share",
            f"set train.grad_parts: {where.size} or a multiple of it, which a run keeps for good, "
            f"or start {parts if parts > 1 else 'one process, without torchrun'}",
        )
    return Team(where, device, limit)


class Team(Group):
    """One of several processes. What it asks of the others fails with a NmtError where one of them is missing."""

    def __init__(self, where: Place, device: torch.device, limit: float) -> None:
        super().__init__(where)
        self._limit = limit
        address = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        spare = timedelta(seconds=limit + _SPARE_SECONDS)
        try:
            store = next(rendezvous("env://", timeout=timedelta(seconds=limit)))[0]
            self._store = cast(Store, store)  # torch's stubs do not know clone
            self._watch = Watch(self._store, where, limit)
            dist.init_process_group(backend, store=store, rank=where.rank, world_size=where.size, timeout=spare)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise EnvironmentFault(
                f"process {where.rank} of {where.size} could not meet the others at {address}: {reason}",
                "start all of them with torchrun; several machines must reach each other at --rdzv-endpoint",
            ) from error
        self._watch.meet()
        self._turns = 0

    def in_turn(self, make: Callable[[], T]) -> T:
        """By a key that the first process sets when it is done."""
        self._turns += 1
        key = f"nmt/turn/{self._turns}"
        if self.first:
            made = make()
            self._store.set(key, "")
            return made
        with self._faults():
            self._wait_for(key)
        return make()

    def from_first(self, make: Callable[[], T]) -> T:
        """A broadcast of its JSON."""
        made = make() if self.first else None
        data = self._bytes_from_first(json.dumps(made).encode() if self.first else b"")
        return json.loads(data) if made is None else made

    def tensors_from_first(self, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """A broadcast of names and shapes, then one of each tensor."""
        made = {name: tensor.detach().to("cpu").contiguous() for name, tensor in (make() if self.first else {}).items()}
        shapes = self.from_first(lambda: [[n, str(t.dtype).removeprefix("torch."), *t.shape] for n, t in made.items()])
        for name, dtype, *shape in shapes:
            if not self.first:
                made[name] = torch.empty(shape, dtype=getattr(torch, dtype))
            with self._together():
                dist.broadcast(made[name], 0)
        return made

    def gather(self, value: T) -> list[T]:
        """Sizes first, then all values at the size of the largest."""
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = torch.zeros(self.size, dtype=torch.int64)
        sizes[self.rank] = len(data)
        self.fill(sizes)
        padded = data.new_zeros(int(sizes.max()))
        padded[: len(data)] = data
        found = self.everybodys(padded).view(self.size, -1)
        return [json.loads(row[:n].numpy().tobytes()) for row, n in zip(found, sizes.tolist(), strict=True)]

    def total(self, numbers: Sequence[int]) -> list[int]:
        """In 64 bits."""
        return self.fill(torch.tensor(numbers, dtype=torch.int64)).tolist()

    def fill(self, tensor: Tensor) -> Tensor:
        """A sum: with zeros it is exact, in any order."""
        with self._together():
            dist.all_reduce(tensor)
        return tensor

    def exchange(self, sent: Tensor, counts: Sequence[int]) -> Tensor:
        """All to all."""
        size, n, width = sent.shape
        received = sent.new_empty(sum(counts), width)
        with self._together():
            dist.all_to_all_single(
                received.view(-1), sent.view(-1), [count * width for count in counts], [n * width] * size
            )
        return received

    def everybodys(self, tensor: Tensor) -> Tensor:
        """All-gather."""
        found = tensor.new_empty(self.size * len(tensor))
        with self._together():
            _all_gather(found, tensor)
        return found

    def meet(self) -> None:
        """A barrier on the host: a GPU may be behind."""
        self.total([0])

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if value is None:
            self.meet()
            self._watch.end()
            dist.destroy_process_group()
            return
        word = self._watch.leave(_exit_code(value))
        if word is not None:
            raise word from value
        if isinstance(value, NmtError):
            if not (self.first or value.own or isinstance(value, Stopped | TrainingStopped)):
                value.what = f"process {self.rank} on {socket.gethostname()}: {value.what}"
            value.own = True

    def _bytes_from_first(self, data: bytes) -> bytes:
        size = torch.tensor([len(data)])
        with self._together():
            dist.broadcast(size, 0)
        held = torch.frombuffer(bytearray(data), dtype=torch.uint8) if self.first else size.new_empty(0)
        if not self.first:
            held = torch.empty(int(size), dtype=torch.uint8)
        with self._together():
            dist.broadcast(held, 0)
        return held.numpy().tobytes()

    def _wait_for(self, key: str) -> None:
        """Polls: the first process may be at it for hours, and lives as long as it says something new."""
        heard, since = b"", time.monotonic()
        while not self._store.check([key]):
            if word := self._watch.word():
                raise word
            beat = self._watch.beat_of(0)
            if beat != heard:
                heard, since = beat, time.monotonic()
            elif time.monotonic() - since > self._limit:
                raise self._watch.gone(0)
            time.sleep(0.1)

    @contextmanager
    def _together(self) -> Iterator[None]:
        with self._watch.waiting(), self._faults():
            yield

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """torch raises a RuntimeError where a connection breaks, or the time is up."""
        try:
            yield
        except RuntimeError as error:
            raise self._watch.lost(error) from error


def _exit_code(error: BaseException) -> int:
    if isinstance(error, NmtError):
        return error.exit_code
    return 130 if isinstance(error, KeyboardInterrupt) else 1
