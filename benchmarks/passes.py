"""What compiled passes bring to a training on this CPU, for each kind of model: updates with them and without in turns.

    python -m benchmarks.passes                            the recipes of recipes/multi30k for English to French
    python -m benchmarks.passes recipes/en-fr-*.yaml       others

One process, one model, the same batches: each batch is an update with the plain forms, then one with the compiled ones,
or the other way round, so that whatever else the machine does falls on both. Writes benchmarks/results/passes.json;
`python -m benchmarks.page` makes a table of it. It wants the machine to itself, as benchmarks/peers.py does.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch.nn.utils import clip_grad_norm_

from benchmarks import machine, ours
from benchmarks.peers import RESULTS
from benchmarks.train import some_batches, started_model, write_rows
from nmt.batch import Batch
from nmt.commands.prepare import prepare
from nmt.models.contract import Seq2Seq
from nmt.ops.choose import choose_kernels
from nmt.recipe import Recipe
from nmt.recipe_file import load_recipe
from nmt.training.allocator import keep_memory
from nmt.training.loss import batch_loss
from nmt.training.optim import build_optimizer, step_if_finite

FORMS = ("plain", "auto")


@dataclass(frozen=True)
class Gained:
    """Real target tokens a second of both forms over the same updates, and how many times as fast the compiled one is:
    the median of the batches' own ratios, and those that a quarter of them lie below and above.
    """

    recipe: str
    kind: str
    dtype: str
    updates: int
    plain: float
    compiled: float
    times: float
    quarter: float
    three_quarters: float


def main() -> None:
    """Measures each recipe and writes the results as it goes."""
    options = _options()
    for folder in (options.work, options.out):
        folder.mkdir(parents=True, exist_ok=True)
    os.chdir(options.work)
    keep_memory()
    torch.set_num_threads(options.threads)
    write_rows(_gains(options), machine.settings(options.threads), options.out / "passes.json")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", type=Path, metavar="RECIPE")
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32"])
    parser.add_argument("--batches", type=int, default=12, help="different batches of a recipe")
    parser.add_argument("--seconds", type=float, default=40.0, help="of updates for each recipe, both forms together")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, default=Path("runs/passes"), help="folder for text")
    options = parser.parse_args()
    given = options.recipes or sorted((ours.ROOT / "recipes" / "multi30k").glob("en-fr-*.yaml"))
    options.recipes = [path.absolute() for path in given]
    options.out, options.work = options.out.absolute(), options.work.absolute()
    return options


def _gains(options: argparse.Namespace) -> Iterator[Gained]:
    for path in options.recipes:
        for dtype in options.dtypes:
            recipe = load_recipe(path, [f"compute.dtype={dtype}"])
            prepared = prepare(recipe, path, say=lambda line: None)
            batches = some_batches(recipe, prepared, options.batches)
            yield gain(recipe, started_model(recipe, prepared, dtype), batches, options.seconds)


def gain(recipe: Recipe, model: Seq2Seq, batches: list[Batch], seconds: float) -> Gained:
    """Of one model, on these batches over and over until so much time has passed; each of both forms once before."""
    dtype = str(model.compute_dtype).removeprefix("torch.")
    operations = model.all_operations() | {"passes"}
    kernels = {form: choose_kernels(form, torch.device("cpu"), dtype, operations).kernels for form in FORMS}
    optimizer, parameters = build_optimizer(recipe.train.optimizer, model, 1e-4), list(model.parameters())
    model.train()

    def update(form: str, batch: Batch) -> float:
        model.use(kernels[form])
        started = time.perf_counter()
        loss = batch_loss(model, batch, recipe.train.label_smoothing, recipe.train.r_drop)
        (loss.smoothed / batch.tgt_tokens).backward()
        step_if_finite(optimizer, clip_grad_norm_(parameters, 1.0))
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - started

    for form in FORMS:
        for batch in batches[:2]:
            update(form, batch)
    taken: dict[str, list[float]] = {form: [] for form in FORMS}
    tokens, spent = 0, 0.0
    while spent < seconds or tokens == 0:
        turn = len(taken["plain"])
        batch = batches[turn % len(batches)]
        for form in FORMS[:: 1 if turn % 2 else -1]:
            taken[form].append(update(form, batch))
            spent += taken[form][-1]
        tokens += batch.tgt_tokens
    ratios = sorted(plain / compiled for plain, compiled in zip(taken["plain"], taken["auto"], strict=True))
    return Gained(
        recipe=recipe.name,
        kind=recipe.model.kind,
        dtype=dtype,
        updates=len(ratios),
        plain=round(tokens / sum(taken["plain"]), 1),
        compiled=round(tokens / sum(taken["auto"]), 1),
        times=round(median(ratios), 3),
        quarter=round(ratios[len(ratios) // 4], 3),
        three_quarters=round(ratios[len(ratios) * 3 // 4], 3),
    )


if __name__ == "__main__":
    main()
