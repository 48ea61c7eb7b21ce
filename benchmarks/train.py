"""Our own training: its variants, the machine's limit beside it, and how its speed changes with length and batch.

    python -m benchmarks.train variants     every precision, layout and compiler setting there is, on the real text
    python -m benchmarks.train limit        share of what torch.mm reaches at the model's shapes, in the same minutes
    python -m benchmarks.train growth       sentences of 10 to 320 pieces at one number of tokens; batches of 1 to 1024
    python -m benchmarks.train attention    the four attentions of modern in its encoder, 64 to 4,096 pieces a sentence
    python -m benchmarks.train loader       tokens a second that one thread makes batches of, in every layout

Each writes benchmarks/results/train-WHAT.json as it goes; `python -m benchmarks.page` makes tables of them. On a CPU it
wants the machine to itself, as benchmarks/peers.py does.
"""

import argparse
import json
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, cast, get_args

import numpy as np
import torch

from benchmarks import machine, ours
from benchmarks.peers import RESULTS
from benchmarks.products import limit
from benchmarks.watch import Watched, rate, watch
from nmt.batch import SPECIALS, padded_batch, roomy
from nmt.commands.prepare import prepare
from nmt.corpus.batches import Batches
from nmt.corpus.shards import Prepared
from nmt.models.build import build_model
from nmt.models.contract import Seq2Seq
from nmt.models.initialize import initialize
from nmt.models.modern import Attention, ModernMemory
from nmt.ops.choose import choose_kernels
from nmt.ops.fused import using
from nmt.recipe import Recipe
from nmt.recipe_file import load_recipe
from nmt.recipe_models import Layout, ModernConfig
from nmt.training.allocator import keep_memory
from nmt.training.loss import batch_loss
from nmt.training.optim import build_optimizer

DTYPES = ("float32", "bfloat16")
LENGTHS = (10, 20, 40, 80, 160, 320)
SENTENCES = (1, 4, 16, 64, 256, 1024)
LONG = (64, 128, 256, 512, 1024, 2048, 4096)
"""Positions of a sentence for `attention`."""
TYPICAL = 30
"""Pieces of a sentence where the number of sentences changes."""


@dataclass(frozen=True)
class Trained:
    """A variant's rate on the real text, its share of real positions, and what it took. keys: those that it changed."""

    task: str
    keys: dict[str, str]
    tokens_per_second: float
    seconds: float
    real_share: float | None
    tokens_per_update: float | None
    watched: Watched


@dataclass(frozen=True)
class Share:
    """Training beside the machine's limit: operations of the model a second, and those of its products alone."""

    task: str
    dtype: str
    tokens_per_second: float
    limit_tokens_per_second: float
    model_gflops: float
    products_gflops: float
    share: float


@dataclass(frozen=True)
class Point:
    """One size of batch: real target tokens a second, forward, backward and optimiser; peak bytes on a GPU."""

    task: str
    dtype: str
    sentences: int
    length: int
    tokens_per_second: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Loaded:
    """Batches made by one thread from one epoch of the real text: source and target tokens a second of its CPU time,
    loading alone, and cutting the epoch into batches with it; the best of several epochs.

    shapes, roomy_share: of its batches filled up as compute.cuda_graphs has them.
    """

    layout: str
    tokens: int
    batches: int
    real_share: float
    shapes: int
    roomy_share: float
    loaded_per_second: float
    cut_and_loaded_per_second: float


def main() -> None:
    """Measures what is asked for."""
    options = _options()
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.work)
    keep_memory()
    torch.set_num_threads(options.threads)
    measures = {"variants": _variants, "limit": _limits, "growth": _growth, "attention": _attention, "loader": _loader}
    measure = measures[options.what]
    settings = machine.settings(options.threads) | {"warm_up": options.warm_up, "measure": options.measure}
    write_rows(measure(options), settings, options.out / f"train-{options.what}.json")


def write_rows(found: Iterable[Any], settings: dict[str, Any], path: Path) -> None:
    """Prints each dataclass that is found and writes all so far, with the settings, as it goes."""
    rows: list[dict[str, Any]] = []
    for row in found:
        rows.append(asdict(row))
        print(" ".join(f"{key}={value}" for key, value in rows[-1].items() if key != "watched"), flush=True)
        path.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("variants", "limit", "growth", "attention", "loader"))
    parser.add_argument("--tasks", nargs="+", choices=ours.RECIPES, default=list(ours.RECIPES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="all but loader: these alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warm-up", type=float, default=12.0, help="seconds of logged work that do not count")
    parser.add_argument("--measure", type=float, default=24.0, help="seconds of logged work that do")
    parser.add_argument("--limit", type=float, default=150.0, help="seconds after which a run is ended in any case")
    parser.add_argument("--tokens", type=int, default=4096, help="growth: target tokens of a batch, for each length")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--sentences", type=int, nargs="+", default=SENTENCES)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=Path("runs/train"), help="folder for text and logs")
    options = parser.parse_args()
    options.out, options.work = options.out.absolute(), options.work.absolute()
    return options


# --- variants ---------------------------------------------------------------------------------------------------------


def variants(layouts: Collection[str], compiles: bool, dtypes: Sequence[str] = DTYPES) -> list[dict[str, str]]:
    """Every combination of precision with the layouts that a model takes and plain forms, fast ones, and, where it has
    layers for that, torch.compile.
    """
    forms = [("plain", "off"), ("auto", "off"), *([("auto", "layers")] if compiles else [])]
    places = product(dtypes, [layout for layout in get_args(Layout) if layout in layouts], forms)
    keys = ("compute.dtype", "train.layout", "compute.kernels", "compute.compile")
    return [dict(zip(keys, (dtype, layout, *form), strict=True)) for dtype, layout, form in places]


def _variants(options: argparse.Namespace) -> Iterator[Trained]:
    for task in options.tasks:
        model = load_recipe(ours.RECIPES[task]).model
        for keys in variants(model.layouts, model.compiles, options.dtypes):
            yield _trained(task, keys, options)


def _trained(task: str, keys: dict[str, str], options: argparse.Namespace) -> Trained:
    """Trains a recipe with these keys until enough of it is logged."""
    name = "-".join([task, *keys.values()])
    file = ours.fresh(options.work, name) / "log.jsonl"

    def log() -> ours.Log:
        return ours.read_log(file.read_text() if file.exists() else "")

    settings = {"name": name, "compute.threads": options.threads, "train.updates": 1_000_000, **keys}
    watched = watch(
        ours.command(ours.RECIPES[task], {**settings, "train.validate_every": 1_000_000}),
        options.work / f"{name}.log",
        cwd=options.work,
        environment={**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(ours.ROOT)},
        limit=options.limit,
        done=lambda: rate(log().samples, options.warm_up).seconds >= options.measure,
    )
    found, measured = log(), rate(log().samples, options.warm_up)
    return Trained(
        task=task,
        keys=keys,
        tokens_per_second=round(measured.tokens_per_second, 1),
        seconds=round(measured.seconds, 2),
        real_share=found.real_share,
        tokens_per_update=found.tokens_per_update,
        watched=watched,
    )


# --- the machine's limit ----------------------------------------------------------------------------------------------


def _limits(options: argparse.Namespace) -> Iterator[Share]:
    """Products, training, products again: the limit is the mean of before and after."""
    for task, dtype in product(options.tasks, options.dtypes):
        recipe = load_recipe(ours.RECIPES[task], [f"compute.dtype={dtype}"])
        prepared = prepare(recipe, ours.RECIPES[task], say=lambda line: None)
        model, batches = started_model(recipe, prepared, dtype), some_batches(recipe, prepared)
        before = limit(model, batches, recipe.train.label_smoothing)
        trained = _trained(task, {"compute.dtype": dtype}, options)
        after = limit(model, batches, recipe.train.label_smoothing)
        products = (before.rate + after.rate) / 2
        yield Share(
            task=task,
            dtype=dtype,
            tokens_per_second=trained.tokens_per_second,
            limit_tokens_per_second=round(products / before.model_flops, 1),
            model_gflops=round(trained.tokens_per_second * before.model_flops / 1e9, 2),
            products_gflops=round(products / 1e9, 2),
            share=round(trained.tokens_per_second * before.model_flops / products, 4),
        )


def started_model(recipe: Recipe, prepared: Prepared | None, dtype: str, device: str = "cpu") -> Seq2Seq:
    """The recipe's model with its first weights; without text, for a vocabulary as large as the recipe's."""
    sizes = recipe.tokenizer.sizes if prepared is None else tuple(t.n_ids for t in prepared.tokenizers)
    model = build_model(recipe.model, *sizes)
    torch.manual_seed(1)
    initialize(model, recipe.model.initialization)
    model.compute_dtype = getattr(torch, dtype)
    return model.to(device)


def some_batches(recipe: Recipe, prepared: Prepared, count: int = 4) -> list[Any]:
    """Batches of the first epoch."""
    batches = Batches(prepared.train, recipe.train.seed, recipe.train.tokens, recipe.train.batch_sentences)
    pool = batches.pool(0)
    return [pool.load(places) for places in pool.batches[:count]]


# --- loader -----------------------------------------------------------------------------------------------------------


def _loader(options: argparse.Namespace) -> Iterator[Loaded]:
    """Of the first task's text, whose pieces both have."""
    task = options.tasks[0]
    recipe = load_recipe(ours.RECIPES[task])
    prepared = prepare(recipe, ours.RECIPES[task], say=lambda line: None)
    torch.set_num_threads(1)
    for layout in get_args(Layout):
        yield loaded(Batches(prepared.train, recipe.train.seed, recipe.train.tokens, layout=layout))


def loaded(batches: Batches, epochs: int = 5) -> Loaded:
    """How fast batches are made, nothing drawn anew; after an epoch that does not count."""
    found: list[Loaded] = []
    for epoch in range(epochs + 1):
        started = time.process_time()
        pool = batches.pool(epoch)
        cut = time.process_time()
        made = [pool.load(places) for places in pool.batches]
        ended = time.process_time()
        tokens = sum(batch.src_tokens + batch.tgt_tokens for batch in made)
        wide = [roomy(batch) for batch in made]
        shapes = {(batch.src.shape, batch.tgt_in.shape, batch.longest, batch.room) for batch in wide}
        share, wide_share = (round(tokens / sum(batch.positions for batch in all_), 4) for all_ in (made, wide))
        rates = round(tokens / (ended - cut)), round(tokens / (ended - started))
        found.append(Loaded(batches.layout, tokens, len(made), share, len(shapes), wide_share, *rates))
    return max(found[1:], key=lambda one: one.cut_and_loaded_per_second)


# --- growth -----------------------------------------------------------------------------------------------------------


def _growth(options: argparse.Namespace) -> Iterator[Point]:
    sizes = [(max(1, options.tokens // length), length) for length in options.lengths]
    sizes += [(sentences, TYPICAL) for sentences in options.sentences]
    for task, dtype in product(options.tasks, options.dtypes):
        recipe = load_recipe(ours.RECIPES[task])
        model = started_model(recipe, None, dtype)
        model.use(choose_kernels("auto", torch.device("cpu"), dtype, model.all_operations() | {"passes"}).kernels)
        for sentences, length in sizes:
            yield point(task, recipe, model, dtype, sentences, length)


def point(task: str, recipe: Recipe, model: Seq2Seq, dtype: str, sentences: int, length: int) -> Point:
    """The rate of updates on random sentences that all have `length` pieces on either side, end included."""
    weight = model.projection.weight
    rng = np.random.default_rng(1)
    ids = rng.integers(len(SPECIALS), weight.shape[0], (2, sentences, length - 1))
    batch = padded_batch(list(ids[0]), list(ids[1])).to(weight.device)
    optimizer = build_optimizer(recipe.train.optimizer, model, 1e-4)
    cuda = weight.device.type == "cuda"
    model.train()

    def update() -> float:
        started = time.perf_counter()
        (batch_loss(model, batch, recipe.train.label_smoothing).smoothed / batch.tgt_tokens).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if cuda:
            torch.cuda.synchronize(weight.device)
        return time.perf_counter() - started

    if cuda:
        torch.cuda.reset_peak_memory_stats(weight.device)
    update()
    taken = measured_updates(update)
    peak = torch.cuda.max_memory_allocated(weight.device) if cuda else None
    return Point(task, dtype, sentences, length, round(batch.tgt_tokens / median(taken), 1), peak)


# --- attentions -------------------------------------------------------------------------------------------------------


def _attention(options: argparse.Namespace) -> Iterator[Point]:
    """Layers that see all, a window of 16, that and strides of 16, or sums; the same number of positions at a time."""
    for dtype in options.dtypes:
        for length in LONG:
            for attention in get_args(Attention):
                config = ModernConfig(kind="modern", **ENCODER, attention=attention)
                yield encoder_point(config, dtype, max(1, options.tokens // length), length)


ENCODER: dict[str, Any] = {"n_layers": 2, "d_model": 256, "n_heads": 4, "d_ff": 704, "dropout": 0.0}


def encoder_point(config: ModernConfig, dtype: str, sentences: int, length: int) -> Point:
    """Source positions a second, forward and backward through the encoder, for sentences of one length."""
    model = build_model(config, 100, 100)
    model.initialize()
    model.compute_dtype = getattr(torch, dtype)
    passes = choose_kernels("auto", torch.device("cpu"), dtype, {"passes"}).kernels.passes
    src = torch.randint(len(SPECIALS), 100, (sentences, length))
    keep = torch.ones(sentences, length, dtype=torch.bool)
    used = [one for name, one in model.named_parameters() if name.startswith("encoder.")]

    def update() -> float:
        started = time.perf_counter()
        with using(passes):
            keys = cast(ModernMemory, model.encode(src, keep)).cross[0].keys
            torch.autograd.grad(keys.float().square().sum(), used)
        return time.perf_counter() - started

    update()
    taken = measured_updates(update, seconds=1.5)
    return Point(config.attention, dtype, sentences, length, round(sentences * length / median(taken), 1), None)


def measured_updates(update: Any, seconds: float = 2.0, least: int = 3) -> Sequence[float]:
    """The seconds of as many updates as fit in so many, of three at least."""
    taken = list[float]()
    while len(taken) < least or sum(taken) < seconds:
        taken.append(update())
    return taken


if __name__ == "__main__":
    main()
