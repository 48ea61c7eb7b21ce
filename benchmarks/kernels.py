"""Each operation that has several forms, alone: time, memory and error of each form as sizes grow.

    python benchmarks/kernels.py --out OUT               what runs on this machine's device
    python benchmarks/kernels.py --compile --out OUT     and the plain forms through torch.compile
    python benchmarks/kernels.py --small                 tiny sizes, to see that it works

Forms of one operation take turns, forward and backward together; a figure is the median of its turns. Errors are beside
the plain form in the same type, the largest difference of a result or gradient by the largest number in it. Writes
OUT/kernels.json after every size, and prints the table that it makes of it.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.ops import additive, dot, packed
from nmt.ops.choose import PLAIN, Kernels, choose_device, choose_kernels
from nmt.ops.cross_entropy import projected_cross_entropy
from nmt.ops.linear import linear
from nmt.processes import cores

Function = Callable[..., Tensor]

LENGTHS = (10, 20, 40, 80, 160, 320)
"""Pieces of a sentence, while the batch shrinks so that its tokens stay the same."""
TOKENS = {"cuda": 8192, "cpu": 1280}
ALIGN = {"cuda": 1000, "cpu": 256}
"""Hidden units of the alignment: Bahdanau's on a GPU."""
HEADS, WIDTH, ROW, WORDS = 8, 64, 128, 8000


@dataclass(frozen=True)
class Figure:
    """One form of one operation at one size; peak_mib only where the device tells."""

    operation: str
    size: str
    form: str
    ms: float
    error: float
    peak_mib: float | None


@dataclass(frozen=True)
class Bench:
    """An operation at a size: its plain form, the others by name, the inputs that have gradients, and what a compiler
    gets: nothing, where it is not a plain function of them.
    """

    operation: str
    size: str
    plain: Function
    others: dict[str, Function]
    inputs: list[Tensor]
    compilable: Function | None


@dataclass(frozen=True)
class Place:
    """Where it runs: device, type of products, and what compute.kernels gives there."""

    device: torch.device
    dtype: torch.dtype
    kernels: Kernels
    small: bool

    def random(self, *shape: int) -> Tensor:
        """Normal numbers that have a gradient."""
        return torch.randn(*shape, device=self.device).to(self.dtype).requires_grad_()

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Sentences and their length, in turn."""
        if self.small:
            yield 2, 5
            return
        for length in LENGTHS:
            yield max(1, TOKENS[self.device.type] // length), length


def main() -> None:
    """Measures, writes the JSON, prints the table."""
    options = _options()
    device = choose_device(options.device)
    torch.set_num_threads(options.threads)
    choice = choose_kernels("auto", device, options.dtype, {"additive", "packed"})
    place = Place(device, getattr(torch, options.dtype), choice.kernels, options.small)
    figures: list[Figure] = []
    for bench in benches(place):
        figures += measured(bench, device, options.seconds, options.compile)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            told = {"settings": _settings(options, device, str(choice)), "figures": [asdict(f) for f in figures]}
            (options.out / "kernels.json").write_text(json.dumps(told, indent=1) + "\n")
    print(choice)
    print("\n".join(table(figures)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=cores(), help="of the CPU")
    parser.add_argument("--seconds", type=float, default=1.0, help="that the forms of one size take turns for")
    parser.add_argument("--compile", action="store_true", help="the plain forms through torch.compile as well")
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    parser.add_argument("--out", type=Path, help="folder for kernels.json")
    return parser.parse_args()


# --- operations -------------------------------------------------------------------------------------------------------


def benches(place: Place) -> Iterator[Bench]:
    """Every operation at every size."""
    for make in (_additive, _steps, _multihead):
        yield from (make(place, B, T) for B, T in place.sizes())
    yield _packed(place)
    yield _loss(place)


def _additive(place: Place, B: int, T: int) -> Bench:
    """Luong's concat, or any decoder whose queries are all there at once."""
    A = 8 if place.small else ALIGN[place.device.type]
    may = torch.ones(B, 1, T, dtype=torch.bool, device=place.device)

    def form(align: Function, query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        return align(query, keys, v, may)

    fused = place.kernels.additive_align
    others = {} if fused is PLAIN.additive_align else {"fused": partial(form, fused)}
    inputs = [place.random(B, T, A), place.random(B, T, A), place.random(A)]
    return Bench(
        "additive attention",
        f"B {B}, T {T}, A {A}",
        partial(form, additive.align),
        others,
        inputs,
        partial(form, _product_and_sum),
    )


def _product_and_sum(query: Tensor, keys: Tensor, v: Tensor, may: Tensor) -> Tensor:
    """additive.align for a compiler: a product with v would be a matrix product, into which nothing is fused."""
    scores = (torch.tanh(query[:, :, None] + keys[:, None]) * v).sum(-1, dtype=torch.float32)
    return scores.masked_fill(~may, -torch.inf).softmax(dim=-1)


def _steps(place: Place, B: int, T: int) -> Bench:
    """A recurrence's T looks, one query a time, and the same steps backwards."""
    A = 8 if place.small else ALIGN[place.device.type]
    hide = torch.zeros(B, T, device=place.device)

    def form(steps: type[additive.Steps], query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        return _Looks.apply(steps, hide, query, keys, v)  # pyright: ignore[reportReturnType]

    fused = place.kernels.additive_steps
    others = {} if fused is PLAIN.additive_steps else {"fused": partial(form, fused)}
    inputs = [place.random(T, B, A), place.random(B, T, A), place.random(A)]
    return Bench(
        "additive attention, a step at a time",
        f"B {B}, T {T}, A {A}",
        partial(form, additive.Steps),
        others,
        inputs,
        None,
    )


class _Looks(torch.autograd.Function):
    """What a decoder's loop does with `Steps`, without the rest of the decoder."""

    @staticmethod
    def forward(ctx: Any, steps: type[additive.Steps], hide: Tensor, query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
        there = steps(keys, v, len(query))
        weights = hide.new_empty((len(query), *hide.shape))
        for t in range(len(query)):
            there.look(t, query[t], hide, out=weights[t])
        ctx.save_for_backward(keys, v, weights, there.kept)
        ctx.steps = steps
        return weights

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        keys, v, weights, kept = ctx.saved_tensors
        T = len(weights)
        back = ctx.steps(keys, v, T, kept)
        dquery = [back.look_backward(t, weights[t], grads[0][t]) for t in range(T - 1, -1, -1)]
        return None, None, torch.stack(dquery[::-1]), *back.gradients()


def _multihead(place: Place, B: int, T: int) -> Bench:
    keep = torch.ones(B, 1, 1, T, dtype=torch.bool, device=place.device)
    inputs = [place.random(B, HEADS, T, WIDTH) for _ in range(3)]

    def written_out(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return dot.attend(query, keys, values, keep)[0]

    fast = {"without weights": lambda query, keys, values: dot.context(query, keys, values, keep)}
    return Bench(
        "multi-head attention", f"B {B}, T {T}, {HEADS} heads of {WIDTH}", written_out, fast, inputs, written_out
    )


def _packed(place: Place) -> Bench:
    rows = 1 if place.small else max(1, 4 * TOKENS[place.device.type] // ROW)
    where = (torch.arange(ROW, device=place.device, dtype=torch.int32) // 30 + 1).expand(rows, ROW).contiguous()

    def form(attend: Function, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return attend(query, keys, values, where, where, True, 0.0)

    fused = place.kernels.packed_attend
    others = {} if fused is PLAIN.packed_attend else {"fused": partial(form, fused)}
    inputs, plain = [place.random(rows, HEADS, ROW, WIDTH) for _ in range(3)], partial(form, packed.attend)
    return Bench("packed rows", f"{rows} rows of {ROW}, causal", plain, others, inputs, plain)


def _loss(place: Place) -> Bench:
    n, V, D = (20, 50, 16) if place.small else (TOKENS[place.device.type], WORDS, HEADS * WIDTH)
    targets = torch.randint(V, (n,), device=place.device)
    weight = torch.randn(V, D, device=place.device).mul_(D**-0.5).requires_grad_()

    def all_logits(features: Tensor, weight: Tensor) -> Tensor:
        return F.cross_entropy(linear(features, weight).float(), targets, label_smoothing=0.1, reduction="sum")

    def chunked(features: Tensor, weight: Tensor) -> Tensor:
        return projected_cross_entropy(features, weight, None, targets, 0.1)[0]

    inputs = [place.random(n, D), weight]
    return Bench("loss", f"{n} positions, {V} words", all_logits, {"chunked": chunked}, inputs, all_logits)


# --- measuring --------------------------------------------------------------------------------------------------------


def measured(bench: Bench, device: torch.device, seconds: float, compiled: bool) -> list[Figure]:
    """All forms of an operation, in turns."""
    forms = {"plain": bench.plain, **bench.others}
    if compiled and bench.compilable is not None:
        forms["compiled"] = torch.compile(bench.compilable, dynamic=False)
    wanted = _with_gradients(bench.plain, bench.inputs)
    errors = {name: _error(_with_gradients(form, bench.inputs), wanted) for name, form in forms.items()}
    peaks = {name: _peak(form, bench.inputs, device) for name, form in forms.items()}
    taken: dict[str, list[float]] = {name: [] for name in forms}
    started = time.monotonic()
    while time.monotonic() < started + seconds or min(map(len, taken.values())) < 3:
        for name, form in forms.items():
            taken[name].append(_milliseconds(form, bench.inputs, device))
    return [
        Figure(bench.operation, bench.size, name, round(median(taken[name]), 4), errors[name], peaks[name])
        for name in forms
    ]


def _with_gradients(function: Function, inputs: Sequence[Tensor]) -> list[Tensor]:
    out = function(*inputs)
    direction = torch.arange(out.numel(), device=out.device).view(out.shape).float().cos().to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, inputs, direction)]


def _error(found: list[Tensor], wanted: list[Tensor]) -> float:
    return max(float((f - w).abs().max() / w.abs().max()) for f, w in zip(found, wanted, strict=True))


def _peak(function: Function, inputs: Sequence[Tensor], device: torch.device) -> float | None:
    """MiB on top of the inputs."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    _with_gradients(function, inputs)
    return round((torch.cuda.max_memory_allocated(device) - before) / 2**20, 1)


def _milliseconds(function: Function, inputs: Sequence[Tensor], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    _with_gradients(function, inputs)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - started)


def _settings(options: argparse.Namespace, device: torch.device, choice: str) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}",
        "dtype": options.dtype,
        "threads": options.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "kernels": choice,
        "load": round(os.getloadavg()[0], 2),
    }


def table(figures: list[Figure]) -> list[str]:
    """A line a figure, and how many times as fast as the plain form it is."""
    plain = {(f.operation, f.size): f.ms for f in figures if f.form == "plain"}
    rows = [("operation", "size", "form", "ms", "speed-up", "error", "MiB")]
    for f in figures:
        faster = plain[f.operation, f.size] / f.ms
        memory = "" if f.peak_mib is None else f"{f.peak_mib:,.0f}"
        rows.append((f.operation, f.size, f.form, f"{f.ms:,.2f}", f"{faster:.2f}", f"{f.error:.0e}", memory))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


if __name__ == "__main__":
    main()
