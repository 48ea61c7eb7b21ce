"""batch_tokens: auto: what it settles on, what it tries on the way, and that nothing of the trial stays."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nmt.commands.prepare import prepare
from nmt.errors import EnvironmentFault
from nmt.models.build import build_model
from nmt.models.initialize import initialize
from nmt.recipe_file import load_recipe
from nmt.training import fitting
from nmt.training.distributed import Group
from nmt.training.fitting import fitting_tokens, largest
from tests.training.tiny import TRAIN, events, recipe, result, write
from tests.training.warm import Warm

AUTO = {"batch_sentences": None, "batch_tokens": "auto", "layout": "padded"}
TRANSFORMER = {
    **{"kind": "transformer", "n_layers": 1, "d_model": 8, "n_heads": 2, "d_ff": 8},
    **dict.fromkeys(("d_embed", "d_hidden", "d_align", "d_maxout")),
}


@given(
    base=st.integers(0, 10**9),
    slope=st.integers(1, 10**6),
    room=st.integers(1, 3 * 10**10),
    most=st.sampled_from([256, 1000, 4096, 65_536]),
)
def test_where_bytes_grow_in_proportion_it_is_the_largest_and_nothing_larger_is_tried_but_the_first(
    base: int, slope: int, room: int, most: int
) -> None:
    tried: list[int] = []

    def measure(tokens: int) -> int:
        tried.append(tokens)
        return base + slope * tokens

    found = largest(measure, room, most)
    fitting_ones = [n for n in range(256, most + 1, 256) if base + slope * n <= room]
    assert found == max(fitting_ones, default=None)
    assert all(base + slope * n <= room for n in tried if n > 512)


def test_where_they_jump_it_stays_with_what_was_seen_to_fit() -> None:
    assert largest(lambda tokens: 100 if tokens <= 1024 else 10**9, 1000, 65_536) == 1024
    assert largest(lambda tokens: None if tokens > 700 else 1, 1000, 65_536) == 512  # the device had no more
    assert largest(lambda tokens: None, 1000, 65_536) is None


def test_the_trial_changes_no_weight_and_leaves_no_gradient(tmp_path: Path) -> None:
    path = write(tmp_path, recipe(train=AUTO)) / "recipe.yaml"
    made = load_recipe(path)
    prepared = prepare(made, path, say=lambda line: None)
    model = build_model(made.model, *(t.n_ids for t in prepared.tokenizers))
    torch.manual_seed(1)
    initialize(model, made.model.initialization)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert fitting_tokens(made, model, prepared, torch.device("cpu"), Group()) == fitting.MOST["cpu"]
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in model.named_parameters())


@pytest.mark.parametrize("layout", ["padded", "rows"])
def test_the_worst_batches_are_tried(layout: str, tmp_path: Path) -> None:
    path = write(tmp_path, recipe(model=TRANSFORMER, train={**AUTO, "layout": layout, "row_tokens": 6})) / "recipe.yaml"
    made = load_recipe(path)
    prepared = prepare(made, path, say=lambda line: None)
    pool = fitting.batches_of(made.train, prepared, 60).pool(0)
    worst = fitting._worst(pool, 1)
    every = [pool.load(places) for places in pool.batches]
    for size in (lambda b: b.src.numel(), lambda b: b.tgt_out.numel(), lambda b: len(b.src)):
        assert max(map(size, worst)) == max(map(size, every))
    assert len(worst) <= 3 < len(every)


def test_too_little_memory_is_said_with_what_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, recipe(train=AUTO)) / "recipe.yaml"
    made = load_recipe(path)
    prepared = prepare(made, path, say=lambda line: None)
    model = build_model(made.model, *(t.n_ids for t in prepared.tokenizers))
    initialize(model, made.model.initialization)
    monkeypatch.setattr(fitting, "_available", lambda: 0)
    with pytest.raises(EnvironmentFault, match=r"(?s)256 target tokens does not fit into the 0.0 GiB.*smaller"):
        fitting_tokens(made, model, prepared, torch.device("cpu"), Group())


def test_a_training_says_what_it_found_and_goes_on_with_it(warm: Warm, tmp_path: Path) -> None:
    """To the bytes of a training that names the number, whatever fits by then."""
    asked = {**AUTO, "layout": "auto"}
    whole = write(tmp_path / "whole", recipe(train={**asked, "batch_tokens": 4096}))
    auto = write(tmp_path / "auto", recipe(train={**asked, "updates": 8}))
    first = warm.start(auto, TRAIN)
    assert first.wait() == 0, first.stderr
    assert "train.batch_tokens: 4,096 fit" in first.stderr
    assert load_recipe(auto / "runs" / "tiny" / "recipe.yaml").train.batch_tokens == 4096
    write(auto, recipe(train=asked))
    for folder in (whole, auto):
        process = warm.start(folder, TRAIN)
        assert process.wait() == 0, process.stderr
        assert "fit" not in process.stderr  # not tried again
    assert result(auto) == result(whole)
    assert events(auto, "end")[-1]["update"] == 12
