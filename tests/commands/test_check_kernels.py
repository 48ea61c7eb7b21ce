"""Fast forms against plain ones, as a person asks for it."""

import json
from pathlib import Path

import pytest
import torch

from nmt.commands import check_kernels as command
from nmt.commands.check_kernels import LIMITS, Case, check_kernels, compare
from nmt.errors import EnvironmentFault
from nmt.models.build import build_model
from nmt.ops.choose import choose_kernels
from nmt.ops.fused import library
from nmt.ops.graph import Work
from nmt.recipe import Recipe
from nmt.recipe_file import load_recipe
from tests.training.tape import record

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = ["tokenizer.vocab=60", "train.batch_tokens=80", "compute.threads=1"]
BAHDANAU = ["model={kind: bahdanau, d_embed: 8, d_hidden: 8, d_align: 8, d_maxout: 8}"]
TRANSFORMER = ["model={kind: transformer, n_layers: 1, d_model: 16, n_heads: 2, d_ff: 16}"]

needs_compiler = pytest.mark.skipif(library()[0] is None, reason="there is no C compiler here")


@pytest.fixture(autouse=True)
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_SECONDS", 0.0)


def recipe(*overrides: str) -> Recipe:
    return load_recipe(RECIPES / "en-fr-bahdanau.yaml", [*SMALL, *overrides])


@pytest.fixture
def no_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.ops.choose.library", lambda: (None, "NMT_NATIVE is 0"))


@pytest.mark.parametrize("passes", [pytest.param(True, marks=needs_compiler), False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_cpu_compares_what_it_has_and_says_what_it_has_not(
    dtype: str, passes: bool, request: pytest.FixtureRequest
) -> None:
    if not passes:
        request.getfixturevalue("no_passes")
    report = check_kernels(recipe(*BAHDANAU, f"compute.dtype={dtype}"), "cpu")
    assert [one.operation for one in report.compared] == ["all positions (step by step)", "loss (all logits)"]
    assert all(0 <= one.error < LIMITS[dtype] for one in report.compared)
    assert all(one.speed_up == one.plain_ms / one.fast_ms > 0 for one in report.compared)
    assert report.left_out == ({} if passes else {"passes": "NMT_NATIVE is 0"})
    assert (report.sentences, report.length) == (3, 25)


def test_heads_are_compared_where_there_are_some() -> None:
    report = check_kernels(recipe(*TRANSFORMER), "cpu")
    assert [one.operation for one in report.compared][2:] == ["multi-head attention (written out)"]


@pytest.mark.usefixtures("no_passes")
def test_people_get_a_table_and_programs_get_json() -> None:
    report = check_kernels(recipe(*BAHDANAU, "compute.dtype=float32"), "cpu")
    first, header, *rows, last = report.lines()
    assert first.startswith("en-fr-bahdanau: bahdanau on cpu ")
    assert first.endswith(", float32, 1 threads: 3 sentences of up to 25 pieces a side, forward and backward")
    assert header.split() == ["largest", "error", "plain", "fast", "speed-up"]
    assert len(rows) == 2
    assert all(len(row) == len(header) for row in rows)
    assert last == "not compared: passes: NMT_NATIVE is 0"
    told = json.loads(report.as_json())
    assert told["compared"][0]["speed_up"] == report.compared[0].speed_up
    assert told["left_out"] == report.left_out


def test_a_wrong_form_is_an_error_with_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LIMITS", {"float32": -1.0})
    with pytest.raises(EnvironmentFault) as caught:
        check_kernels(recipe(*BAHDANAU, "compute.dtype=float32"), "cpu")
    first, *others = str(caught.value).splitlines()
    assert first.startswith("error: the fast form of all positions (step by step) is wrong by ")
    assert any("largest error" in line for line in others)
    assert others[-1] == "  train with compute.kernels: plain, or --device cpu, and report it with these lines"


@pytest.mark.parametrize(("wrong", "error"), [(0.0, 0.0), (0.5, 0.125), (float("nan"), float("nan"))])
def test_the_error_is_a_share_of_the_largest_number(wrong: float, error: float) -> None:
    plain = [torch.tensor([1.0, -4.0])] * 3
    fast = [plain[0], plain[0] + torch.tensor([wrong, 0.0]), plain[0]]
    found = compare(Case("x", lambda: plain, lambda: fast), torch.device("cpu"))
    assert found.error == pytest.approx(error, nan_ok=True)


def test_a_gradient_that_is_not_a_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN is greater than no limit, and must not pass for that."""
    wrong = [torch.tensor([float("nan")])]
    right = [torch.tensor([1.0])]
    monkeypatch.setattr(command, "cases", lambda *_: [Case("it", lambda: right, lambda: wrong)])
    with pytest.raises(EnvironmentFault, match="the fast form of it is wrong by nan here"):
        check_kernels(recipe(*BAHDANAU), "cpu")


def test_the_gradients_of_a_loss_are_compared_too() -> None:
    """A scalar has but one direction, and it is not 0."""
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    loss, gradient = command._with_gradients(lambda x: (x * x).sum(), [x])
    assert (float(loss), gradient.tolist()) == (13.0, [4.0, 6.0])


@pytest.mark.parametrize("model", [BAHDANAU, TRANSFORMER])
def test_a_recording_is_compared_with_the_same_launched_one_by_one(model: list[str]) -> None:
    """CUDA stood in for by a tape."""
    asked = recipe(*model, "compute.cuda_graphs=true")
    made, batch = build_model(asked.model, 60, 60).eval(), command._batch(11, 9, torch.device("cpu"))
    command._fill(made)
    choice = choose_kernels("plain", torch.device("cpu"), "float32", [])
    found = compare(command.recorded(asked, made, batch, choice, record), torch.device("cpu"))
    assert found.error < LIMITS["float32"]
    assert all(parameter.grad is None for parameter in made.parameters())

    def wrong(work: Work) -> Work:
        record(work)
        return lambda: None

    case = command.recorded(asked, made, batch, choice, wrong)
    torch.testing.assert_close(case.plain()[1:], case.fast()[1:])  # what the rehearsal left
    made.projection.weight.data *= 2
    assert compare(case, torch.device("cpu")).error > LIMITS["float32"]


def test_what_cannot_be_recorded_is_an_error_that_says_why() -> None:
    def refused(work: Work) -> Work:
        raise RuntimeError("operation not permitted when stream is capturing")

    asked = recipe(*BAHDANAU, "compute.cuda_graphs=true")
    made, batch = build_model(asked.model, 60, 60).eval(), command._batch(3, 9, torch.device("cpu"))
    choice = choose_kernels("plain", torch.device("cpu"), "float32", [])
    with pytest.raises(EnvironmentFault, match="without CUDA graphs: operation not permitted when stream is capturing"):
        command.recorded(asked, made, batch, choice, refused)
