"""The recipes of the side-by-side: what they hold alike, and the parameters that their headers state."""

from pathlib import Path

import pytest

from benchmarks.ours import RECIPES
from nmt.commands import dry_run as command
from nmt.commands.dry_run import dry_run
from nmt.recipe_file import load_recipe
from tests.recipes.listing import ROOT, stated_parameters


def test_they_are_named_for_their_files() -> None:
    assert {path.stem for path in (ROOT / "benchmarks" / "recipes").glob("*.yaml")} == {
        load_recipe(path).name for path in RECIPES.values()
    }


@pytest.mark.parametrize("path", RECIPES.values(), ids=lambda path: path.stem)
def test_it_has_the_parameters_that_its_header_states(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "product_rate", lambda device, dtype: 1e9)
    assert dry_run(load_recipe(path), "cpu").parameters == stated_parameters(path)


def test_both_train_alike_on_the_text_of_the_other_multi30k_recipes() -> None:
    one, other = (load_recipe(path) for path in RECIPES.values())
    assert (one.corpus, one.tokenizer, one.train) == (other.corpus, other.tokenizer, other.train)
    known = load_recipe(ROOT / "recipes" / "multi30k" / "en-fr-transformer.yaml")
    assert (one.corpus, one.tokenizer) == (known.corpus, known.tokenizer)


def test_what_is_equal_for_all_toolkits_stands_in_them() -> None:
    for path in RECIPES.values():
        recipe = load_recipe(path)
        train = recipe.train
        assert (train.batch_tokens, train.label_smoothing, train.clip_norm, train.lr) == (4096, 0.1, 1.0, 1e-3)
        assert getattr(train.schedule, "warmup_updates", None) == 300
        assert getattr(recipe.model, "dropout", None) == 0.1
