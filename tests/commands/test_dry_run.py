"""Counting parameters without building anything."""

import json
from pathlib import Path

import pytest

from nmt.commands.dry_run import dry_run
from nmt.recipe_file import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


def bahdanau_parameters(m: int, n: int, n_prime: int, l: int, K_x: int, K_y: int) -> int:  # noqa: E741
    """Counted by hand from the paper's appendix A, with the biases that B.1 sets to zero."""
    embeddings = m * K_x + m * K_y
    encoder = 2 * 3 * (m * n + n * n + n)
    initial_state = n * n + n
    alignment = n_prime * n + n_prime * 2 * n + n_prime + n_prime
    decoder = 3 * (m * n + n * n + 2 * n * n + n)
    readout = 2 * l * (n + m + 2 * n) + 2 * l
    output = K_y * l + K_y
    return embeddings + encoder + initial_state + alignment + decoder + readout + output


def test_the_papers_sizes_give_the_papers_parameters() -> None:
    plan = dry_run(load_recipe(RECIPES / "papers" / "bahdanau2015-en-fr.yaml"))
    assert plan.parameters == bahdanau_parameters(620, 1000, 1000, 500, 30_004, 30_004) == 80_449_964


def test_ties_are_counted_once() -> None:
    recipe = load_recipe(RECIPES / "multi30k" / "en-fr-bahdanau.yaml")
    sizes = (recipe.model.d_embed, recipe.model.d_hidden, recipe.model.d_align, recipe.model.d_maxout)
    free = bahdanau_parameters(*sizes, 8000, 8000)
    assert dry_run(recipe).parameters == free - 2 * 8000 * recipe.model.d_embed


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda p: str(p.relative_to(RECIPES)))
def test_every_recipe_of_the_repository_can_be_planned(path: Path) -> None:
    plan = dry_run(load_recipe(path))
    assert plan.parameters == sum(part.parameters for part in plan.parts) > 100_000
    assert json.loads(plan.as_json())["parameters"] == plan.parameters
    assert f"{plan.parameters:,}" in "\n".join(plan.lines())
