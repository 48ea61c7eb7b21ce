"""`nmt train --check-kernels`: each fast form against its plain one, on this machine, at a recipe's sizes."""

import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from nmt.batch import EOS, PAD, Batch
from nmt.commands.dry_run import LENGTH
from nmt.errors import EnvironmentFault
from nmt.layers.multihead import SelfAttention
from nmt.models.build import build_model
from nmt.models.contract import Seq2Seq
from nmt.ops import additive, cells, dot, masks, packed
from nmt.ops.choose import ALWAYS, PLAIN, Choice, Kernels, choose_device, choose_kernels, training_dtype
from nmt.ops.cross_entropy import projected_cross_entropy
from nmt.ops.fused import using
from nmt.ops.graph import Record, Recorder
from nmt.ops.linear import linear, wide
from nmt.processes import cores
from nmt.recipe import Recipe
from nmt.training.backward import Backward, Eager, Recorded
from nmt.training.fitting import planned_tokens
from nmt.training.forms import widest, with_dtype

MOST_POSITIONS = {"cpu": 1500, "cuda": 32768}
"""Target positions of the batch that is compared, at most: a recipe's own may take minutes in the plain form."""
LIMITS = {"float32": 1e-3, "bfloat16": 0.1}
"""Errors above these are more than the rounding of a training step."""
_ROW = 128  # positions of a packed row
_SECONDS = 2.0  # that each comparison is repeated for, if three rounds take no longer


Form = Callable[[], Sequence[Tensor]]


@dataclass(frozen=True)
class Case:
    """An operation in two forms; each gives results and gradients, in one order, for the same inputs.

    `exact`: both again, to be compared in their place where these round too often to tell a fault from it.
    """

    operation: str
    plain: Form
    fast: Form
    exact: tuple[Form, Form] | None = None


@dataclass(frozen=True)
class Compared:
    """error: the largest difference of a result or gradient, by the largest number in it. Milliseconds are medians of
    rounds that alternate.
    """

    operation: str
    error: float
    plain_ms: float
    fast_ms: float

    @property
    def speed_up(self) -> float:
        """Plain time over fast time."""
        return self.plain_ms / self.fast_ms


@dataclass(frozen=True)
class Report:
    """What was compared, with what, and which fused forms could not be, each with the reason."""

    name: str
    kind: str
    device: str
    dtype: str
    threads: int
    sentences: int
    length: int
    compared: list[Compared]
    left_out: dict[str, str]

    def as_json(self) -> str:
        """One JSON object."""
        speeds = [{**asdict(one), "speed_up": one.speed_up} for one in self.compared]
        return json.dumps({**asdict(self), "compared": speeds}, indent=1)

    def lines(self) -> list[str]:
        """For people."""
        rows = [("", "largest error", "plain", "fast", "speed-up")]
        for one in self.compared:
            times = f"{one.plain_ms:,.1f} ms", f"{one.fast_ms:,.1f} ms", f"{one.speed_up:.2f}"
            rows.append((one.operation, f"{one.error:.1e}", *times))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return [
            f"{self.name}: {self.kind} on {self.device}, {self.dtype}, {self.threads} threads: "
            f"{self.sentences:,} sentences of up to {self.length} pieces a side, forward and backward",
            *("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows),
            *(f"not compared: {name}: {why}" for name, why in self.left_out.items()),
        ]


def check_kernels(recipe: Recipe, device: str = "auto") -> Report:
    """Compares what is fast on this device with what is plain; EnvironmentFault where they differ by too much."""
    where = choose_device(device)
    dtype = training_dtype(recipe.compute.dtype, where)
    recipe = with_dtype(recipe, dtype)
    torch.set_num_threads(recipe.compute.threads or cores())
    torch.manual_seed(recipe.train.seed)
    with torch.device(where):
        model = build_model(recipe.model, *recipe.tokenizer.sizes)
    model.compute_dtype = getattr(torch, dtype)
    _fill(model)
    length = min(LENGTH, recipe.corpus.max_len)
    wanted = recipe.train.batch_sentences or planned_tokens(recipe.train, where) // length
    sentences = max(1, min(wanted, MOST_POSITIONS[where.type] // length))
    choice = choose_kernels("auto", where, dtype, model.all_operations() | ALWAYS, widest(recipe, model))
    left_out = {name: choice.why[name] for name, form in choice.forms.items() if form == "plain"}
    found = [compare(case, where) for case in cases(recipe, model.eval(), _batch(sentences, length, where), choice)]
    report = Report(
        name=recipe.name,
        kind=recipe.model.kind,
        device=torch.cuda.get_device_name(where) if where.type == "cuda" else f"cpu {platform.machine()}",
        dtype=dtype,
        threads=torch.get_num_threads(),
        sentences=sentences,
        length=length,
        compared=found,
        left_out=left_out,
    )
    if worst := [one for one in found if not one.error <= LIMITS[dtype]]:
        raise EnvironmentFault(
            "\n".join(
                [f"the fast form of {worst[0].operation} is wrong by {worst[0].error:.1e} here", *report.lines()]
            ),
            "train with compute.kernels: plain, or --device cpu, and report it with these lines",
        )
    return report


def compare(case: Case, device: torch.device) -> Compared:
    """The error of a case, and both its times."""
    forms = case.exact or (case.plain, case.fast)
    errors = [_apart(found, wanted) for wanted, found in zip(*(form() for form in forms), strict=True)]
    error = float(torch.tensor(errors, dtype=torch.float64).max())  # NaN where any is
    for form in (case.plain, case.fast):
        form()  # what is compiled is compiled now
    plain, fast = list[float](), list[float]()
    while len(plain) < 3 or (sum(plain) + sum(fast) < 1000 * _SECONDS and len(plain) < 100):
        plain.append(_milliseconds(case.plain, device))
        fast.append(_milliseconds(case.fast, device))
    return Compared(case.operation, error, median(plain), median(fast))


def _apart(found: Tensor, wanted: Tensor) -> float:
    most = float(wanted.abs().max()) if wanted.numel() else 0.0
    return float((found - wanted).abs().max()) / most if most else float(found.abs().sum())


def _milliseconds(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1000 * (time.perf_counter() - started)


# --- what is compared -------------------------------------------------------------------------------------------------


def cases(recipe: Recipe, model: Seq2Seq, batch: Batch, choice: Choice) -> Iterator[Case]:
    """Every operation of the model that has a fast form on its device."""
    dtype = model.compute_dtype
    yield _whole(model, batch, choice, dtype)
    yield _loss(model, batch, choice, recipe.train.label_smoothing)
    layer = next((module for module in model.modules() if isinstance(module, SelfAttention)), None)
    if layer is not None:
        yield _multihead(layer, batch, dtype, choice)
        if choice.forms.get("packed") == "fused":
            yield _packed(layer, batch, dtype, choice)
    if choice.forms.get("additive") == "fused":
        (v,) = (p for name, p in model.named_parameters() if name.endswith("v_a"))
        yield _additive(v, batch, dtype, choice)
    if recipe.compute.cuda_graphs and batch.src.device.type == "cuda":
        yield recorded(recipe, model, batch, choice, Recorder(batch.src.device))


def recorded(recipe: Recipe, model: Seq2Seq, batch: Batch, choice: Choice, record: Record) -> Case:
    """The gradients of a batch from a recording, and launch by launch; EnvironmentFault where none can be made.
    Compared in float32, as `_whole`.
    """
    parameters, device, dtype = list(model.parameters()), batch.src.device, model.compute_dtype

    def refuse(why: str) -> None:
        raise EnvironmentFault(f"compute.cuda_graphs: {why}", "leave it out of the recipe")

    def run(backward: Backward, dtype: torch.dtype) -> Form:
        shaped = backward.shaped(batch)

        def form() -> Sequence[Tensor]:
            model.compute_dtype = dtype
            model.use(choice.kernels)
            found = [backward(shaped, batch.tgt_tokens, 1)]
            for parameter in parameters:
                if parameter.grad is not None:
                    found.append(parameter.grad.clone())
                    parameter.grad = None
            return found

        return form

    def both(dtype: torch.dtype) -> tuple[Form, Form]:
        replayed = run(Recorded(model, parameters, recipe.train, device, record, refuse), dtype)
        replayed()  # it is recorded when it comes again
        replayed()
        return run(Eager(model, recipe.train, device), dtype), replayed

    return Case("forward and backward (launched one by one)", *both(dtype), both(torch.float32))


def _whole(model: Seq2Seq, batch: Batch, choice: Choice, dtype: torch.dtype) -> Case:
    """Compared in float32: bfloat16 rounds each of many steps, and gradients come out a tenth apart."""
    parameters = list(model.parameters())

    def run(forward: Callable[[Batch], Tensor], kernels: Kernels, dtype: torch.dtype) -> Form:
        def form() -> Sequence[Tensor]:
            model.compute_dtype = dtype
            model.use(kernels)
            with using(kernels.passes), cells.using(kernels.cells):
                return _with_gradients(lambda *_: forward(batch), parameters)

        return form

    both = (partial(Seq2Seq.forward, model), PLAIN), (model.forward, choice.kernels)
    plain, fast = (run(*form, dtype) for form in both)
    exact = run(*both[0], torch.float32), run(*both[1], torch.float32)
    return Case("all positions (step by step)", plain, fast, exact)


def _loss(model: Seq2Seq, batch: Batch, choice: Choice, smoothing: float) -> Case:
    weight, bias = model.projection.weight, model.projection.bias
    real = batch.tgt_out.flatten() != PAD
    targets = batch.tgt_out.flatten()[real]
    features = torch.randn(len(targets), weight.shape[1], device=weight.device).to(model.compute_dtype)
    inputs = [features.requires_grad_(), weight, *([] if bias is None else [bias])]

    def plain(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        logits = linear(features, weight, bias).to(wide(features.dtype))
        return F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")

    def chunked(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        with using(choice.kernels.passes):
            compiled = choice.kernels.rows
            return projected_cross_entropy(features, weight, bias, targets, smoothing, compiled=compiled)[0]

    return Case("loss (all logits)", lambda: _with_gradients(plain, inputs), lambda: _with_gradients(chunked, inputs))


def _multihead(layer: SelfAttention, batch: Batch, dtype: torch.dtype, choice: Choice) -> Case:
    keep = masks.padding(batch.src_keep)
    rows, width = batch.src.shape
    inputs = _heads(layer, rows, width, dtype, batch.src.device)

    def fast(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        with using(choice.kernels.passes):
            return dot.context(query, keys, values, keep)

    return Case(
        "multi-head attention (written out)",
        lambda: _with_gradients(lambda q, k, v: dot.attend(q, k, v, keep)[0], inputs),
        lambda: _with_gradients(fast, inputs),
    )


def _packed(layer: SelfAttention, batch: Batch, dtype: torch.dtype, choice: Choice) -> Case:
    rows, device, fused = max(1, batch.src.numel() // _ROW), batch.src.device, choice.kernels.packed_attend
    inputs = _heads(layer, rows, _ROW, dtype, device)
    where = (torch.arange(_ROW, device=device, dtype=torch.int32) // batch.src.shape[1] + 1).expand(rows, _ROW)
    return Case(
        "attention over packed rows (masked)",
        lambda: _with_gradients(lambda q, k, v: packed.attend(q, k, v, where, where, True, 0.0), inputs),
        lambda: _with_gradients(lambda q, k, v: fused(q, k, v, where, where, True, 0.0), inputs),
    )


def _additive(v: Tensor, batch: Batch, dtype: torch.dtype, choice: Choice) -> Case:
    B, lengths, may = len(batch.src), (batch.tgt_in.shape[1], batch.src.shape[1]), batch.src_keep[:, None]
    query, keys = (torch.randn(B, n, len(v), device=v.device).to(dtype).requires_grad_() for n in lengths)
    return Case(
        "additive attention (written out)",
        lambda: _with_gradients(lambda q, k, w: additive.align(q, k, w, may), [query, keys, v]),
        lambda: _with_gradients(lambda q, k, w: choice.kernels.additive_align(q, k, w, may), [query, keys, v]),
    )


def _heads(layer: SelfAttention, rows: int, width: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Queries, keys and values as its projections would give them."""
    return [
        torch.randn(rows, width, heads, layer.d_head, device=device).to(dtype).transpose(1, 2).requires_grad_()
        for heads in (layer.n_heads, layer.n_kv_heads, layer.n_kv_heads)
    ]


def _with_gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """What a function of the inputs gives, and its gradients in them for one direction, the same every time."""
    out = function(*inputs)
    direction = torch.arange(out.numel(), device=out.device).view(out.shape).float().cos().to(out.dtype)
    gradients = torch.autograd.grad(out, inputs, direction, allow_unused=True)
    return [out.detach(), *(g for g in gradients if g is not None)]


def _fill(model: Seq2Seq) -> None:
    """Numbers that neither vanish nor grow: a paper's first weights may be so small that nothing is attended to."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, parameter.shape[-1] ** -0.5)


def _batch(sentences: int, length: int, device: torch.device) -> Batch:
    """Sentences of half to all of the length, any words."""
    ends = length - torch.arange(sentences) % (length // 2 + 1)
    there = torch.arange(length)[None] < ends[:, None]
    ids = torch.where(there, torch.randint(EOS, EOS + 2, (sentences, length)), PAD).to(device)
    count = int(there.sum())
    return Batch(ids, ids, ids, count, count, sentences)
