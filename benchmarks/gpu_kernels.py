"""The GPU's first stages: the machine, whether fast paths are right, and attention and loss in all their forms."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.figures import Figure, Place, guarded, has
from nmt.ops import additive
from nmt.ops.cross_entropy import Rows, projected_cross_entropy

A, D = 1000, 2000
"""Bahdanau 2015: hidden units of the alignment, and width of an annotation."""
HEADS, WIDTH = 8, 64
"""Of the Transformer's base model."""
ROW = 128
"""Positions of a packed row."""

Work = Callable[[], object]


# --- the machine ------------------------------------------------------------------------------------------------------


def machine(place: Place) -> Iterator[Figure]:
    """Copy bandwidth, and matrix products at the shapes of Transformers: the real ceilings."""
    if place.device.type == "cuda":
        name, memory = torch.cuda.get_device_name(), torch.cuda.mem_get_info()[1]
        yield Figure("memory", memory / 2**30, "GiB", f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    source = place.random(place.size(1 << 28, 1 << 16), dtype=torch.float32)
    target = torch.empty_like(source)
    seconds = place.time(lambda: target.copy_(source))
    yield Figure("copy", 2 * source.nbytes / seconds / 1e9, "GB/s", "bytes read and bytes written")
    n, m = place.size(8192, 64), place.size(32768, 64)
    shapes = [(n, n, n), *((m, k, v) for k, v in ((512, 1536), (512, 2048), (2048, 512), (1024, 4096), (512, 32768)))]
    for rows, inner, columns in shapes:
        if place.small:
            inner, columns = min(inner, 64), min(columns, 64)
        a, b = place.random(rows, inner), place.random(inner, columns)
        seconds = place.time(lambda a=a, b=b: a @ b)
        yield Figure(f"product {rows} x {inner} x {columns}", 2 * rows * inner * columns / seconds / 1e12, "TFLOP/s")


# --- correctness ------------------------------------------------------------------------------------------------------


def correctness(place: Place) -> Iterator[Figure]:
    """The largest relative error of each fast path, forward and backward, beside the written-out form in float64."""
    yield from guarded("additive kernel", partial(_additive_error, place))
    yield from guarded("packed kernel", partial(_packed_error, place))
    yield from guarded("chunked loss", partial(_loss_error, place))


def _errors(
    what: str, fast: Callable[..., Tensor], plain: Callable[..., Tensor], inputs: Sequence[Tensor]
) -> Iterator[Figure]:
    """Relative errors ||fast - plain|| / ||plain|| of the result and of every gradient, and whether bits repeat."""

    def results(function: Callable[..., Tensor], dtype: torch.dtype | None) -> list[Tensor]:
        given = [x.detach().to(dtype or x.dtype).requires_grad_() for x in inputs]
        out = function(*given)
        torch.manual_seed(2)
        found = torch.autograd.grad(out, given, torch.randn_like(out, dtype=torch.float32).to(out.dtype))
        return [out.detach(), *found]

    once, again, exact = results(fast, None), results(fast, None), results(plain, torch.float64)
    for name, got, true in zip(
        ("result", *(f"gradient {i + 1}" for i in range(len(inputs)))), once, exact, strict=True
    ):
        error = float((got.double() - true).norm() / true.norm())
        yield Figure(f"{what}: {name}", error, "relative error")
    same = all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    yield Figure(f"{what}: bits repeat", float(same), "", "1 = two runs gave the same bits")


def _lengths(place: Place, count: int, mean: int, most: int) -> Tensor:
    """Lengths of sentences, spread as those of real text are."""
    torch.manual_seed(1)
    drawn = torch.exp(torch.randn(count) * 0.5) * mean * 0.88
    return drawn.round().clamp(1, most).long().to(place.device)


def _additive_inputs(place: Place, B: int, T: int, dtype: torch.dtype | None = None) -> list[Tensor]:
    a, d = place.size(A, 24), place.size(D, 16)
    shapes = ((B, T, a), (B, T, a), (B, T, d), (a,))
    return [place.random(*shape, dtype=dtype, grad=True) for shape in shapes]


def _attended(module: Any, keep: Tensor, query: Tensor, keys: Tensor, values: Tensor, v: Tensor) -> Tensor:
    return module.attend(query, keys, values, v, keep)[0]


def _additive_error(place: Place) -> Iterator[Figure]:
    if not has("nmt.ops.additive_triton"):
        yield Figure("additive kernel", skipped="nmt.ops.additive_triton is not there, or Triton is not")
        return
    if place.device.type != "cuda":
        yield Figure("additive kernel", skipped="Triton's kernels run on a GPU")
        return
    fused = importlib.import_module("nmt.ops.additive_triton")
    B, T = place.size(7, 3), place.size(33, 5)
    keep = torch.arange(T, device=place.device) < _lengths(place, B, T // 2, T)[:, None]
    for dtype in (torch.float32, place.dtype):
        inputs = _additive_inputs(place, B, T, dtype)
        what = f"additive kernel, {dtype}".replace("torch.", "")
        yield from _errors(what, partial(_attended, fused, keep), partial(_attended, additive, keep), inputs)


def _packed_error(place: Place) -> Iterator[Figure]:
    if not has("nmt.ops.packed_triton") or place.device.type != "cuda":
        yield Figure("packed kernel", skipped="nmt.ops.packed_triton is not there, or no GPU")
        return
    fused, plain = (importlib.import_module(f"nmt.ops.{name}") for name in ("packed_triton", "packed"))
    segments = _packed_segments(place, 4)
    for causal in (False, True):
        inputs = [place.random(len(segments), HEADS, ROW, WIDTH) for _ in range(3)]
        fast, written = (partial(_packed, module, segments, causal) for module in (fused, plain))
        yield from _errors(f"packed kernel{', causal' if causal else ''}", fast, written, inputs)


def _packed(module: Any, segments: Tensor, causal: bool, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return module.attend(q, k, v, segments, segments, causal)


def _loss_error(place: Place) -> Iterator[Figure]:
    n, d, v = place.size(1000, 20), place.size(512, 16), place.size(32000, 50)
    targets = torch.randint(v, (n,), device=place.device)

    def exact(features: Tensor, weight: Tensor) -> Tensor:
        return F.cross_entropy(features @ weight.T, targets, label_smoothing=0.1, reduction="sum")

    inputs = [place.random(n, d), place.random(v, d, dtype=torch.float32) * d**-0.5]
    yield from _errors("chunked loss", partial(_chunked, None, targets), exact, inputs)
    if (compiled := _kernel_rows(place)) is not None:
        yield from _errors("chunked loss, kernel", partial(_chunked, compiled, targets), exact, inputs)
    else:
        yield Figure("chunked loss, kernel", skipped="no Triton, or no GPU")


def _chunked(compiled: Rows | None, targets: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    return projected_cross_entropy(features, weight, None, targets, 0.1, compiled=compiled)[0]


def _kernel_rows(place: Place) -> Rows | None:
    """Rows of logits in Triton's kernel, where it can run."""
    if not has("nmt.ops.cross_entropy_triton") or place.device.type != "cuda":
        return None
    return importlib.import_module("nmt.ops.cross_entropy_triton").TritonRows()


# --- additive attention -----------------------------------------------------------------------------------------------


def _both_ways(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Work:
    """Forward, and backward to every input."""

    def work() -> None:
        out = function(*inputs)
        torch.autograd.grad(out, inputs, torch.ones_like(out))

    return work


def _timed(place: Place, what: str, function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Iterator[Figure]:
    work = _both_ways(function, inputs)
    seconds, peak = place.time(work), place.peak(work)
    yield Figure(what, 1e3 * seconds, "ms", "" if peak is None else f"{peak / 2**20:,.0f} MiB at most")


def additive_attention(place: Place) -> Iterator[Figure]:
    """Forward and backward at the paper's sizes: written out, compiled, fused."""
    sizes = ((80, 30), (160, 30), (256, 30), (32, 100))
    for B, T in sizes[: place.size(len(sizes), 1)]:
        B, T = place.size(B, 3), place.size(T, 5)
        inputs = _additive_inputs(place, B, T)
        keep = torch.ones(B, T, dtype=torch.bool, device=place.device)
        for name, measure in _additive_forms(place, keep):
            what = f"additive, B {B}, T {T}, {name}"
            if isinstance(measure, str):
                yield Figure(what, skipped=measure)
            else:
                yield from guarded(what, partial(_timed, place, what, measure, inputs))


def _additive_forms(place: Place, keep: Tensor) -> Iterator[tuple[str, Callable[..., Tensor] | str]]:
    """Each form as a function of query, keys, values and v, or the reason why it is not measured."""

    def product_and_sum(query: Tensor, keys: Tensor, values: Tensor, v: Tensor) -> Tensor:
        # A product with v would be a matrix product, into which nothing is fused.
        scores = (torch.tanh(query[:, :, None] + keys[:, None]) * v).sum(-1, dtype=torch.float32)
        return additive.weigh(scores, keep).to(values.dtype) @ values

    yield "written out", partial(_attended, additive, keep)
    yield "compiled", "not in a trial" if place.small else torch.compile(product_and_sum, dynamic=False)
    if place.device.type == "cuda" and has("nmt.ops.additive_triton"):
        yield "fused", partial(_attended, importlib.import_module("nmt.ops.additive_triton"), keep)
    else:
        yield "fused", "nmt.ops.additive_triton, Triton or a GPU is not there"


# --- attention between short sentences --------------------------------------------------------------------------------


def attention(place: Place) -> Iterator[Figure]:
    """Self-attention of the base model over the same sentences in every layout, forward and backward, ns a real token.

    The sentences have 28 tokens in the mean and 127 at most; some 32,000 tokens of them.
    """
    lengths = _lengths(place, place.size(1200, 6), 28, ROW - 1)
    tokens = int(lengths.sum())
    forms: list[tuple[str, Callable[[], tuple[Callable[..., Tensor], list[Tensor]] | str]]] = [
        ("padded, sorted, mask", partial(_padded, place, lengths, masked=True)),
        ("padded, sorted, no mask", partial(_padded, place, lengths, masked=False)),
        ("rows of 128, mask from segments", partial(_rows_with_mask, place, tokens)),
        ("rows of 128, packed kernel", partial(_rows_fused, place, tokens)),
        ("flat, varlen", partial(_flat, place, lengths)),
    ]
    for name, make in forms:

        def measure(name: str = name, make: Any = make) -> Iterator[Figure]:
            made = make()
            if isinstance(made, str):
                yield Figure(name, skipped=made)
                return
            function, inputs = made
            work = _both_ways(function, inputs)
            real = tokens if "rows" not in name else int(0.96 * inputs[0].shape[0] * ROW)
            yield Figure(name, 1e9 * place.time(work) / real, "ns a token")

        yield from guarded(name, measure)


def _qkv(place: Place, B: int, T: int) -> list[Tensor]:
    return [place.random(B, HEADS, T, WIDTH, grad=True) for _ in range(3)]


def _padded(place: Place, lengths: Tensor, masked: bool) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The sentences in 13 batches of like length."""
    inputs, masks = list[Tensor](), list[Tensor | None]()
    for part in lengths.sort().values.chunk(13):
        T = -(-int(part.max()) // 8) * 8
        inputs += _qkv(place, len(part), T)
        keep = torch.arange(T, device=place.device) < part[:, None]
        bias = torch.zeros(keep.shape, device=place.device, dtype=place.dtype).masked_fill(~keep, float("-inf"))
        masks.append(bias[:, None, None] if masked else None)

    def run(*given: Tensor) -> Tensor:
        parts = [
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask).sum()
            for q, k, v, mask in zip(given[::3], given[1::3], given[2::3], masks, strict=True)
        ]
        return torch.stack(parts)

    return run, inputs


def _packed_segments(place: Place, rows: int) -> Tensor:
    """(rows, ROW) int32: segments of sentences packed into rows, the last positions padding."""
    lengths = _lengths(place, rows * ROW, 28, ROW - 1).tolist()
    segments = torch.zeros(rows, ROW, dtype=torch.int32)
    for row in segments:
        at, number = 0, 1
        while at + lengths[-1] <= ROW:
            row[at : at + lengths[-1]] = number
            at, number = at + lengths.pop(), number + 1
    return segments.to(place.device)


def _rows_with_mask(place: Place, tokens: int) -> tuple[Callable[..., Tensor], list[Tensor]]:
    rows = -(-tokens // ROW)
    segments = _packed_segments(place, rows)
    same = (segments[:, :, None] == segments[:, None])[:, None]
    bias = torch.zeros(same.shape, device=place.device, dtype=place.dtype).masked_fill(~same, float("-inf"))
    return partial(F.scaled_dot_product_attention, attn_mask=bias), _qkv(place, rows, ROW)


def _rows_fused(place: Place, tokens: int) -> tuple[Callable[..., Tensor], list[Tensor]] | str:
    if not has("nmt.ops.packed_triton") or place.device.type != "cuda":
        return "nmt.ops.packed_triton is not there, or no GPU"
    rows = -(-tokens // ROW)
    fused = importlib.import_module("nmt.ops.packed_triton")
    return partial(_packed, fused, _packed_segments(place, rows), False), _qkv(place, rows, ROW)


def _flat(place: Place, lengths: Tensor) -> tuple[Callable[..., Tensor], list[Tensor]] | str:
    if place.device.type != "cuda" or not has("torch.nn.attention.varlen"):
        return "this torch has no attention over sentences of different lengths in a row, or no GPU"
    varlen_attn = importlib.import_module("torch.nn.attention.varlen").varlen_attn
    ends = F.pad(lengths.cumsum(0), (1, 0)).int()
    inputs = [place.random(int(ends[-1]), HEADS, WIDTH, grad=True) for _ in range(3)]
    return lambda q, k, v: varlen_attn(q, k, v, ends, ends, int(lengths.max()), int(lengths.max())), inputs


# --- the loss ---------------------------------------------------------------------------------------------------------


def loss(place: Place) -> Iterator[Figure]:
    """Projection to 32,000 words and smoothed loss of 16,384 positions, forward and backward."""
    n, d, v = place.size(16384, 20), place.size(512, 16), place.size(32000, 50)
    targets = torch.randint(v, (n,), device=place.device)
    inputs = [place.random(n, d, grad=True), place.random(v, d, dtype=torch.float32, grad=True)]

    def whole(features: Tensor, weight: Tensor) -> Tensor:
        logits = features @ weight.to(features.dtype).T
        return F.cross_entropy(logits.float(), targets, label_smoothing=0.1, reduction="sum")

    forms: list[tuple[str, Callable[..., Tensor]]] = [
        ("loss, all logits", whole),
        ("loss, chunked", partial(_chunked, None, targets)),
    ]
    if (compiled := _kernel_rows(place)) is not None:
        forms.append(("loss, chunked, kernel", partial(_chunked, compiled, targets)))
    else:
        yield Figure("loss, chunked, kernel", skipped="no Triton, or no GPU")
    for name, form in forms:
        yield from guarded(name, partial(_timed, place, name, form, inputs))
    name = "loss, all logits, compiled"
    if place.small:
        yield Figure(name, skipped="not in a trial")
    else:
        yield from guarded(name, lambda: _timed(place, name, torch.compile(whole, dynamic=False), inputs))


STAGES = {
    "machine": machine,
    "correctness": correctness,
    "additive": additive_attention,
    "attention": attention,
    "loss": loss,
}
