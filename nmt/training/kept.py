"""The weights that a run keeps besides its checkpoints: those of the validations that the final model is made of."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nmt.recipe import Average
from nmt.training import checkpoint
from nmt.training.progress import Progress


def candidates(average: Average | None, progress: Progress) -> list[int]:
    """The updates whose weights the recipe's average is made of, oldest first; empty when it asks for none."""
    validated = progress.validated
    if average is None:
        return []
    if average.of == "best":
        validated = sorted(validated, key=lambda v: (v.bleu, -v.update), reverse=True)[: average.count]
    return sorted(v.update for v in validated[-average.count :])


def wanted(average: Average | None, progress: Progress) -> set[int]:
    """The updates whose weights the best model or the average may need."""
    return {*candidates(average, progress), *([progress.best.update] if progress.best else [])}


def keep(run: Path, update: int, weights: Mapping[str, Tensor]) -> None:
    """Keeps the weights of the validation after an update."""
    checkpoint.save_weights(_folder(run, update), weights)


def prune(run: Path, keep: set[int]) -> list[str]:
    """Removes the weights of other updates; one line for each that could not be."""
    return checkpoint.prune_weights(run / "best", keep)


def candidates_here(run: Path, average: Average | None, progress: Progress, say: Callable[[str], None]) -> list[int]:
    """The candidates whose weights are here: an average that was made larger meanwhile finds the older ones gone."""
    asked = candidates(average, progress)
    kept = [u for u in asked if _folder(run, u).exists()]
    if kept != asked:
        lost = ", ".join(str(u) for u in asked if u not in kept)
        say(f"warning: the weights of updates {lost} were not kept: the average goes without them")
    return kept


def mean_weights(run: Path, updates: Sequence[int]) -> dict[str, Tensor]:
    """The mean of the weights kept from these validations; of one, those weights themselves."""
    kept = [checkpoint.load_weights(_folder(run, u)) for u in updates]
    if len(kept) == 1:
        return kept[0]
    # Summed in float64 in the order of updates, so that the mean does not depend on how it came about.
    return {name: torch.stack([w[name].double() for w in kept]).mean(dim=0).to(kept[0][name].dtype) for name in kept[0]}


def _folder(run: Path, update: int) -> Path:
    return run / "best" / f"update-{update}"
