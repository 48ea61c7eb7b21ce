"""Every recipe of the repository: it loads, can be planned without its text, and keeps what its header says."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from nmt.commands import dry_run as command
from nmt.commands.dry_run import dry_run
from nmt.recipe import Recipe
from nmt.recipe_file import load_recipe
from tests.recipes.listing import FOLDERS, PAGE, RECIPES, header, page, paths, stated_parameters

LOADED: dict[Path, Recipe] = {}


def loaded(path: Path) -> Recipe:
    if path not in LOADED:
        LOADED[path] = load_recipe(path)
    return LOADED[path]


def named(path: Path) -> str:
    return path.relative_to(RECIPES).as_posix()


every_recipe = pytest.mark.parametrize("path", paths(), ids=named)


@pytest.fixture(autouse=True)
def _no_text_and_no_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NMT_SHARED_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr(command, "product_rate", lambda device, dtype: 1e9)


@every_recipe
def test_it_has_the_parameters_that_its_header_states(path: Path, tmp_path: Path) -> None:
    plan = dry_run(loaded(path), "cpu")
    assert stated_parameters(path) == plan.parameters == sum(part.parameters for part in plan.parts)
    assert plan.time.flops > 0
    assert plan.memory.activations > 0
    assert f"{plan.parameters:,}" in "\n".join(plan.lines())
    assert list(tmp_path.iterdir()) == []


@every_recipe
def test_its_run_is_named_for_its_file(path: Path) -> None:
    folder = path.parent.relative_to(RECIPES).as_posix()
    expected = path.stem if folder in (".", "papers") else f"{folder}-{path.stem}"
    assert loaded(path).name == expected


@every_recipe
def test_its_header_says_what_it_reaches_or_that_nobody_knows_yet(path: Path) -> None:
    text = " ".join(header(path))
    measured = re.search(
        r"Reaches BLEU [\d.]+ .*\(nrefs:1\|case:\w+\|eff:no\|tok:\w+\|smooth:exp\|version:[\d.]+\)", text
    )
    assert measured or "Not yet measured." in text or "We have not trained it" in text
    assert ("We have not trained it" in text) == (path.parent.name == "papers")


@every_recipe
def test_its_text_can_be_had(path: Path) -> None:
    """From this repository, or by the words under corpus.obtain."""
    corpus = loaded(path).corpus
    assert (path.parent / corpus.folder).is_dir() or corpus.obtain


@every_recipe
def test_a_falling_rate_reaches_zero_after_the_last_update(path: Path) -> None:
    train, goes_on = loaded(path).train, f"runs/{loaded(path).name}/"  # to a recipe that begins where this one ends
    if train.schedule.kind == "linear" and not any(goes_on in (loaded(other).train.init or "") for other in paths()):
        assert train.schedule.until_update == train.updates + 1
    if train.schedule.kind == "noam":
        assert train.schedule.d_model == loaded(path).model.model_dump()["d_model"]


def test_recipes_of_one_text_have_one_corpus_and_one_tokenizer() -> None:
    """A recipe stands alone, so both sections are repeated in each: here is what keeps them the same."""
    families: dict[tuple[object, ...], list[Path]] = defaultdict(list)
    for path in paths():
        corpus = loaded(path).corpus
        folder = (path.parent / corpus.folder).resolve()
        if path.parent.name != "papers":
            families[(folder, corpus.src, corpus.tgt, str(corpus.train))].append(path)
    sizes = sorted(map(len, families.values()))
    assert sizes[-1] > 5, "they are compared with something"
    for members in families.values():
        first = loaded(members[0])
        for path in members[1:]:
            other = loaded(path)
            folder = first.corpus.folder if path.parent == members[0].parent else other.corpus.folder
            assert other.corpus == first.corpus.model_copy(update={"folder": folder}), named(path)
            assert other.tokenizer == first.tokenizer, named(path)


@pytest.mark.parametrize("family", ["multi30k/en-de", "multi30k/en-fr", "tatoeba/en-fr", "en-fr"])
def test_kinds_that_are_compared_have_one_budget(family: str) -> None:
    """Batches, updates, smoothing, search and precision of the text's bahdanau recipe; about as many parameters."""
    base = load_recipe(RECIPES / f"{family}-bahdanau.yaml")
    compared = [p for p in paths() if named(p).startswith(f"{family}-") and not p.stem.endswith("-tiny")]
    assert len(compared) > 7
    for path in compared:
        recipe = loaded(path)
        for key in ("batch_tokens", "batch_sentences", "grad_parts", "updates", "label_smoothing", "loss_per", "seed"):
            assert getattr(recipe.train, key) == getattr(base.train, key), (named(path), key)
        assert recipe.search == base.search, named(path)
        assert recipe.compute == base.compute, named(path)
        if family != "en-fr":  # on the small corpus each has what suits it
            assert 7.4e6 < (stated_parameters(path) or 0) < 9e6, named(path)


def test_every_recipe_is_listed_with_what_its_header_says() -> None:
    assert {path.parent.relative_to(RECIPES).as_posix() for path in paths()} <= FOLDERS.keys()
    assert PAGE.read_text() == page(), "python -m tests.recipes.listing"
    for path in paths():
        assert f"(../recipes/{named(path)})" in page()
