"""What the GPU's measurement is made of: figures, the place they are taken at, and how time is taken there."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor


@dataclass(frozen=True)
class Figure:
    """A number with its unit; or, where there is none, why."""

    what: str
    value: float | None = None
    unit: str = ""
    note: str = ""
    skipped: str = ""


@dataclass(frozen=True)
class Place:
    """Device, type of products, and seconds for each figure; `small` for a trial in tiny sizes."""

    device: torch.device
    dtype: torch.dtype
    seconds: float
    small: bool

    @staticmethod
    def here(smoke: bool) -> "Place":
        """The GPU, or for a trial the CPU."""
        if smoke:
            torch.set_num_threads(1)
            return Place(torch.device("cpu"), torch.bfloat16, 0.001, True)
        return Place(torch.device("cuda"), torch.bfloat16, 0.4, False)

    def size(self, full: int, small: int) -> int:
        """A size, or the small one in its place."""
        return small if self.small else full

    def random(self, *shape: int, dtype: torch.dtype | None = None, grad: bool = False) -> Tensor:
        """Normal numbers on the device."""
        made = torch.randn(shape, device=self.device).to(dtype or self.dtype)
        return made.requires_grad_(grad)

    def wait(self) -> None:
        """Returns when the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def time(self, work: Callable[[], object]) -> float:
        """Seconds that the work takes: the median of as many times as fit, three at least, after one to warm up."""
        work()
        self.wait()
        taken, started = list[float](), time.perf_counter()
        while len(taken) < 3 or time.perf_counter() - started < self.seconds:
            before = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - before)
        return median(taken)

    def peak(self, work: Callable[[], object]) -> int | None:
        """Bytes that the device holds at most while the work is done, beyond those before; None on a CPU."""
        if self.device.type != "cuda":
            return None
        work()
        self.wait()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        work()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device) - before


def has(module: str) -> bool:
    """Whether nmt has this module, and this machine what it imports."""
    return importlib.util.find_spec(module) is not None and (
        "triton" not in module or importlib.util.find_spec("triton") is not None
    )


def guarded(what: str, measure: Callable[[], Iterator[Figure]]) -> Iterator[Figure]:
    """The figures of one thing; where torch or the device refuses, its reason in their place."""
    try:
        yield from measure()
    except (RuntimeError, NotImplementedError, TypeError, ValueError, ImportError) as fault:
        first = str(fault).strip().splitlines() or [type(fault).__name__]
        yield Figure(what, skipped=f"{type(fault).__name__}: {first[0][:200]}")
