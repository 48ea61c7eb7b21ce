"""The recurrent model with attention to choose: each choice against its docstring in NumPy; what a choice changes."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nmt.batch import BOS, EOS, padded_batch
from nmt.models.build import build_model
from nmt.models.contract import stepwise_logits
from nmt.models.rnn import RNN
from nmt.recipe_file import load_recipe
from nmt.recipe_models import RNNConfig
from nmt.training.loss import batch_loss
from tests.models import rnn_numpy as written

RECIPES = Path(__file__).parents[2] / "recipes" / "rnn"
PAIRS = [([5, 6, 7], [4, 5, 12]), ([8], [6, 7, 8, 9, 10]), ([9, 4, 10, 6, 7, 5, 8], [10]), ([4, 4], [11, 4])]

ATTENTIONS: dict[str, dict[str, Any]] = {
    "none": {"attention": "none"},
    "bahdanau": {"attention": "bahdanau"},
    **{f"luong {score}": {"attention": "luong", "score": score} for score in ("dot", "general", "concat", "location")},
    **{f"luong {reach}": {"attention": "luong", "reach": reach} for reach in ("local_m", "local_p")},
    "luong location local_p": {"attention": "luong", "score": "location", "reach": "local_p"},
    "luong not fed": {"attention": "luong", "input_feeding": False},
}
of_every_choice = pytest.mark.parametrize(
    ("attention", "cell", "n_layers"), list(product(ATTENTIONS, ("gru", "lstm"), (1, 3)))
)


def config(attention: str, **others: Any) -> RNNConfig:
    """Small sizes; the window and the width of `location` are shorter than the longest sentence."""
    sizes = {"d_embed": 5, "d_hidden": 6, "d_align": 4, "window": 2, "max_source": 5}
    return RNNConfig.model_validate({"kind": "rnn", **sizes, **ATTENTIONS[attention], **others})


def build(wanted: RNNConfig, dtype: torch.dtype = torch.float64) -> RNN:
    torch.manual_seed(1)
    model = build_model(wanted, 11, 13).to(dtype)
    assert isinstance(model, RNN)
    model.compute_dtype = dtype
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.8, 0.8)
    return model


def batch_of_pairs() -> Any:
    return padded_batch(*map(list, zip(*PAIRS, strict=True)))


@of_every_choice
def test_logits_are_those_of_the_docstring(attention: str, cell: str, n_layers: int) -> None:
    wanted = config(attention, cell=cell, n_layers=n_layers)
    model, batch = build(wanted), batch_of_pairs()
    numbers = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    choices = written.Choices(
        cell, wanted.attention, wanted.score, wanted.reach, wanted.window, wanted.input_feeding, n_layers
    )
    logits, stepwise = model.project(model(batch)), stepwise_logits(model, batch)
    for row, (src, tgt) in enumerate(PAIRS):
        truth = written.logits(numbers, choices, [*src, EOS], [BOS, *tgt])
        for found in (logits, stepwise):
            np.testing.assert_allclose(found[row, : len(truth)].detach().numpy(), truth, rtol=0, atol=1e-12)


@of_every_choice
def test_gradients_of_forward_equal_those_of_stepping(attention: str, cell: str, n_layers: int) -> None:
    """The properties hold this for one layer count and one cell at a time; here are all of them together."""
    found: list[dict[str, Tensor]] = []
    batch = batch_of_pairs()
    for stepping in (False, True):
        model = build(config(attention, cell=cell, n_layers=n_layers))
        logits = stepwise_logits(model, batch) if stepping else model.project(model(batch))
        keep = batch.tgt_out != 0
        torch.nn.functional.cross_entropy(logits[keep], batch.tgt_out[keep]).backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() == dict(model.named_parameters()).keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=0, atol=1e-12, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_attention_changes_no_parameter_but_those_of_the_alignment(cell: str) -> None:
    shapes = [
        {n: p.shape for n, p in build(config(a, cell=cell)).named_parameters() if not n.startswith("alignment.")}
        for a in ATTENTIONS
        if a != "luong not fed"
    ]
    assert all(found == shapes[0] for found in shapes)


def parameters(k: int, L: int, E: int, H: int, K: int, fed: int) -> int:
    """Counted by hand, without the alignment: k gates, L layers, `fed` numbers beside each word."""
    embeddings, lowest = 2 * E * K, 2 * k * (E * (H // 2) + (H // 2) ** 2 + H // 2)
    encoder = lowest + (L - 1) * k * (H * H + H * H + H)
    decoder = k * ((E + fed) * H + H * H + H) + (L - 1) * k * (H * H + H * H + H)
    return embeddings + encoder + decoder + 2 * H * H + K * H + K


ALIGNMENTS = {
    "none": 0,
    "bahdanau": 256 * 512 + (256 * 512 + 256) + 256,
    "luong dot": 0,
    "luong general": 512 * 512,
    "luong concat": 256 * 1024 + 256,
    "luong location": 50 * 512,
    "luong local_m": 512 * 512,
    "luong local_p": 512 * 512 + 512 * 512 + 512,
    "luong location local_p": 50 * 512 + 512 * 512 + 512,
    "luong not fed": 512 * 512,
}


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize(("cell", "gates"), [("gru", 3), ("lstm", 4)])
def test_parameters_are_those_counted_by_hand(attention: str, cell: str, gates: int, n_layers: int) -> None:
    wanted = RNNConfig.model_validate({"kind": "rnn", "cell": cell, "n_layers": n_layers, **ATTENTIONS[attention]})
    with torch.device("meta"):
        model = build_model(wanted, 8000, 8000)
    count = sum(p.numel() for p in model.parameters())
    fed = 0 if attention == "luong not fed" else 512
    assert count == parameters(gates, n_layers, 256, 512, 8000, fed) + ALIGNMENTS[attention]
    if (attention, cell, n_layers) == ("none", "gru", 1):
        assert count == 11_479_872


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_weights_are_there_where_there_is_attention(attention: str) -> None:
    model, batch = build(config(attention)), batch_of_pairs()
    memory = model.encode(batch.src, batch.src_keep)
    step = model.step(batch.tgt_in[:, 0], memory, model.start(memory, 1, 3), want_weights=True)
    assert (step.weights is None) == (attention == "none")


def test_bahdanaus_query_is_the_state_before_and_luongs_the_one_now() -> None:
    """The first weights of bahdanau cannot know the first word, those of luong do."""
    src = padded_batch([[5, 6, 7]], [[4]])
    for attention, knows in (("bahdanau", False), ("luong general", True)):
        model = build(config(attention))
        memory = model.encode(src.src, src.src_keep)
        weights = []
        for word in (4, 5):
            step = model.step(torch.tensor([word]), memory, model.start(memory, 1, 3), want_weights=True)
            assert step.weights is not None
            weights.append(step.weights)
        assert (weights[0] - weights[1]).abs().max() > 1e-3 if knows else torch.equal(*weights)


@pytest.mark.parametrize("attention", ["none", "bahdanau", "luong general", "luong not fed"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_bfloat16_products_keep_the_loss_within_a_percent(attention: str, cell: str) -> None:
    model, batch = build(config(attention, cell=cell, n_layers=2), torch.float32), batch_of_pairs()
    exact = float(batch_loss(model, batch, 0.1).smoothed.detach())
    model.compute_dtype = torch.bfloat16
    loss = batch_loss(model, batch, 0.1).smoothed
    loss.backward()
    assert float(loss.detach()) == pytest.approx(exact, rel=0.01)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("attention", ["none", "bahdanau", "luong general", "luong not fed"])
def test_dropout_is_drawn_anew_for_every_update_and_never_when_evaluating(attention: str) -> None:
    model, batch = build(config(attention, dropout=0.3, n_layers=2)), batch_of_pairs()
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    assert torch.equal(model(batch), model(batch))


def test_ties_share_one_table() -> None:
    tied = build_model(config("none", d_embed=6, tied_output=True, tied_embeddings=True), 13, 13)
    assert isinstance(tied, RNN)
    assert tied.projection.weight is tied.tgt_embed.weight is tied.src_embed.weight


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"d_hidden": 7}, "d_hidden must be even"),
        ({"tied_output": True}, "tied_output needs d_hidden equal to d_embed"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config("none", **keys)


def test_the_recipes_differ_in_the_attention_alone() -> None:
    dumps = {}
    for attention in ("none", "bahdanau", "luong"):
        recipe = load_recipe(RECIPES / f"en-fr-{attention}.yaml").model_dump()
        assert recipe.pop("name") == f"rnn-en-fr-{attention}"
        assert recipe["model"].pop("attention") == attention
        dumps[attention] = recipe
    assert dumps["none"] == dumps["bahdanau"] == dumps["luong"]
