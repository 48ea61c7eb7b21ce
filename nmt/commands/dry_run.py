"""`nmt train --dry-run`: everything that can be known about a training before it begins, in about a second."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from nmt.commands.train import choose_device
from nmt.corpus.pairs import find_files
from nmt.errors import ModelError, UsageError
from nmt.models.build import build_model
from nmt.recipe import Recipe
from nmt.recipe_file import dump_recipe

# Weights, gradients and Adam's two moments, 4 bytes each.
BYTES_PER_PARAMETER = 16


@dataclass(frozen=True)
class DryRun:
    """What a training would be: its whole recipe, text files that were found, device, and size.

    `parameters` counts those of the full vocabulary that the recipe asks for; text that holds fewer words needs fewer.
    """

    recipe: Recipe
    files: tuple[Path, ...]
    device: str
    parameters: int

    def text(self) -> str:
        """The recipe with every default, and the rest as comments: a recipe that reads back as the same one."""
        gib = self.parameters * BYTES_PER_PARAMETER / 2**30
        lines = [
            f"# {self.parameters:,} parameters, on {self.device}",
            f"# {gib:.2f} GiB for weights, gradients and moments, besides what batches take",
            *(f"# {json.dumps(str(path), ensure_ascii=False)}" for path in self.files),
        ]
        return "\n".join(lines) + f"\n\n{dump_recipe(self.recipe)}"

    def json(self) -> str:
        """The same as one line of JSON."""
        return json.dumps(
            {
                "recipe": self.recipe.model_dump(),
                "files": [str(path) for path in self.files],
                "device": self.device,
                "parameters": self.parameters,
            },
            ensure_ascii=False,
        )


def dry_run(recipe: Recipe, recipe_path: Path, *, device: str = "auto") -> DryRun:
    """Checks what `train` would check, without reading text or allocating the model.

    Raises what it would raise: DataError for text that is not there, EnvironmentFault for a device that is not,
    ModelError for a train.init that is not, UsageError for sizes that no tensor can have.
    """
    files = tuple(path for pair in find_files(recipe.corpus, recipe_path).all() for path in (pair.src, pair.tgt))
    if recipe.train.init is not None and not (recipe_path.parent / recipe.train.init).is_file():
        raise ModelError(
            f"train.init: there is no {recipe_path.parent / recipe.train.init}", "name a model.safetensors"
        )
    chosen = choose_device(device)
    try:
        with torch.device("meta"):
            model = build_model(recipe.model, recipe.tokenizer.vocab, recipe.tokenizer.vocab)
    except (RuntimeError, TypeError) as error:
        # On the meta device nothing is allocated, so numbers that overflow are all that a recipe can do wrong.
        if "overflow" not in str(error).lower():
            raise
        what = f"{recipe_path}: a {recipe.model.kind} model of these sizes cannot be: they overflow 64 bits"
        raise UsageError(what, "look at tokenizer.vocab and the sizes of the model section") from None
    return DryRun(recipe, files, str(chosen), sum(parameter.numel() for parameter in model.parameters()))
