"""What a recipe may leave open until the device is known: the type of products, the layout of batches, and which
implementations run.
"""

from dataclasses import dataclass

import torch

from nmt.errors import UsageError
from nmt.layers.multihead import SelfAttention
from nmt.models.contract import Seq2Seq
from nmt.ops.choose import ALWAYS, Choice, choose_kernels
from nmt.recipe import Compile, Recipe
from nmt.recipe_models import Layout


@dataclass(frozen=True)
class Forms:
    """The layout of a training's batches, why it is that one, and what runs in its model."""

    layout: Layout
    why: str
    choice: Choice
    compile: Compile
    cuda_graphs: bool

    def settle(self, recipe: Recipe) -> Recipe:
        """The recipe with this layout in it."""
        return recipe.model_copy(update={"train": recipe.train.model_copy(update={"layout": self.layout})})

    def lines(self) -> list[str]:
        """For the first lines of a training."""
        lines = [f"layout: {self.layout} ({self.why})", str(self.choice)]
        if self.compile == "layers":
            lines.append("layers: compiled as batches first come through")
        if self.cuda_graphs:
            lines.append("updates: recorded as CUDA graphs, one for each shape of batch that comes a second time")
        return lines


def with_dtype(recipe: Recipe, dtype: str) -> Recipe:
    """The recipe with this compute.dtype."""
    return recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"dtype": dtype})})


def choose_forms(recipe: Recipe, model: Seq2Seq, device: torch.device) -> Forms:
    """For a training on this device; the errors are those of `choose_kernels`, and of keys that exclude each other."""
    layout, why = choose_layout(recipe, model, device)
    operations, compute = model.all_operations() | ALWAYS, recipe.compute
    if compute.compile != "off":
        if compute.kernels == "fused" and device.type == "cpu":
            raise UsageError(
                "compute.kernels: fused: with compute.compile the passes between products are torch's",
                "use compute.kernels: auto, or compute.compile: off",
            )
        operations -= {"passes"}  # compiled functions of our own would be holes in the layers' graphs
    if recipe.train.r_drop:
        operations -= {"loss"}  # it has one of its own
    if layout != "rows":
        operations -= {"packed"}
    choice = choose_kernels(compute.kernels, device, compute.dtype, operations, widest(recipe, model))
    return Forms(layout, why, choice, compute.compile, compute.cuda_graphs)


def choose_layout(recipe: Recipe, model: Seq2Seq, device: torch.device) -> tuple[Layout, str]:
    """The recipe's layout, and why: for `auto` rows where attention over them is fused, else padded.

    On a CPU rows cost more than the padding that they save: scores of whole rows are computed, and most are hidden.
    """
    train, compute = recipe.train, recipe.compute
    if train.layout != "auto":
        return train.layout, "as the recipe has it"
    if "rows" not in model.layouts:
        return "padded", f"{recipe.model.kind} takes no other"
    if train.batch_tokens is None:
        return "padded", "others need train.batch_tokens"
    if "packed" not in model.all_operations():
        return "padded", "model.attention has no fused form for rows"
    asked = "plain" if compute.kernels == "plain" else "auto"
    found = choose_kernels(asked, device, compute.dtype, {"packed"}, widest(recipe, model))
    if found.forms["packed"] == "fused":
        return "rows", "attention over packed rows is fused"
    return "padded", found.why["packed"]


def widest(recipe: Recipe, model: Seq2Seq) -> int:
    """Positions of a row, or numbers of a head, whichever are more."""
    heads = [module.d_head for module in model.modules() if isinstance(module, SelfAttention)]
    return max(recipe.train.row_tokens, *heads, 0)
