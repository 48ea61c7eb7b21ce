"""Luong 2015: every score with every reach, fed and not; the paper's sizes; what reversal means for positions."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nmt.batch import PAD, Batch, padded_batch
from nmt.models.build import build_model
from nmt.models.contract import stepwise_logits
from nmt.models.luong import Luong
from nmt.ops.luong import attentional
from nmt.recipe_models import LuongConfig
from nmt.training.loss import batch_loss

SCORES, REACHES = ("dot", "general", "concat", "location"), ("global", "local_m", "local_p")
PAIRS = [([5, 6, 7, 8, 9, 4], [4, 5, 12]), ([8], [6, 7, 8, 9, 10]), ([9, 4, 10, 6], [10]), ([], [])]


def built(dropout: float = 0.0, n_layers: int = 2, **choices: Any) -> Luong:
    torch.manual_seed(6)
    sizes = {"score": "general", "reach": "global", "window": 2, "d_align": 3, "max_source": 4} | choices
    model = Luong(11, 13, n_layers, 3, 4, dropout=dropout, **sizes).double()
    model.compute_dtype = torch.float64
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.8, 0.8)
    return model


def batch_of_all() -> Batch:
    return padded_batch([src for src, _ in PAIRS], [tgt for _, tgt in PAIRS])


def gradients(model: Luong, features: Tensor, batch: Batch) -> dict[str, Tensor | None]:
    keep = batch.tgt_out != PAD
    loss = nn.functional.cross_entropy(model.project(features)[keep], batch.tgt_out[keep])
    return dict(
        zip(
            dict(model.named_parameters()),
            torch.autograd.grad(loss, list(model.parameters()), allow_unused=True),
            strict=True,
        )
    )


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("input_feeding", [True, False])
@pytest.mark.parametrize("n_layers", [1, 3])
def test_forward_equals_stepping_in_every_combination(
    score: str, reach: str, input_feeding: bool, n_layers: int
) -> None:
    model, batch = built(score=score, reach=reach, input_feeding=input_feeding, n_layers=n_layers), batch_of_all()
    keep = batch.tgt_out != PAD
    torch.testing.assert_close(
        model.project(model(batch))[keep], stepwise_logits(model, batch)[keep], atol=1e-12, rtol=0
    )
    found, wanted = gradients(model, model(batch), batch), gradients(model, super(Luong, model).forward(batch), batch)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-12, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_equation_5_by_hand() -> None:
    """W_c = (1, 0, 3): the context (2, 5) comes first, then h = -1/2: tanh(2 - 3/2)."""
    W_c = torch.tensor([[1.0, 0.0, 3.0]], dtype=torch.float64)
    found = attentional(torch.tensor([2.0, 5.0]).double(), torch.tensor([-0.5]).double(), W_c)
    assert float(found) == pytest.approx(0.46211715726000973, abs=1e-15)


def test_input_feeding_is_of_h_tilde_and_zero_at_first() -> None:
    """Section 3.3: the lowest layer's input is [E y; h~_{t-1}]."""
    model, batch = built(), batch_of_all()
    memory = model.encode(batch.src, batch.src_keep)
    state = model.start(memory, 1, 0)
    assert not state.fed.any()
    first = model.step(batch.tgt_in[:, 0], memory, state)
    torch.testing.assert_close(first.state.fed, first.features)  # pyright: ignore
    lowest = model.decoder.layers[0]
    x = torch.cat([model.tgt_embed(batch.tgt_in[:, 1]), first.features], dim=-1)
    wanted = lowest.step(x, first.state.carries[0])  # pyright: ignore
    second = model.step(batch.tgt_in[:, 1], memory, first.state).state
    torch.testing.assert_close(second.carries[0][0], wanted[0])  # pyright: ignore


# Source reversal and positions.


def weights_of(model: Luong, src: list[list[int]], steps: int) -> Tensor:
    """(steps, B, S)"""
    batch = padded_batch(src, [[4]] * len(src))
    memory = model.encode(batch.src, batch.src_keep)
    state, found = model.start(memory, 1, 0), []
    for _ in range(steps):
        step = model.step(torch.full((len(src),), 4), memory, state, want_weights=True)
        assert step.weights is not None
        state = step.state
        found.append(step.weights[:, 0, 0])
    return torch.stack(found).detach()


@pytest.mark.parametrize("reverse_source", [True, False])
def test_local_m_looks_about_the_same_place_of_the_sentence_as_written(reverse_source: bool) -> None:
    """D = 2: the window of step t holds the positions t-2 .. t+2 of the written sentence and of its end, 1 .. S."""
    seen = weights_of(built(reach="local_m", reverse_source=reverse_source), [[5, 6, 7, 8, 9, 10], [5, 6]], 9) > 0
    for t in range(1, 10):
        for row, length in ((0, 7), (1, 3)):
            centre = min(t, length + 2)
            assert seen[t - 1, row].tolist() == [s <= length and abs(s - centre) <= 2 for s in range(1, 8)]


def test_annotations_stand_beside_their_own_words_when_the_source_is_read_backwards() -> None:
    """Reading a b c </s> backwards gives what reading c b a </s> forwards gives, put back in place."""
    turned = built(reverse_source=True)
    plain = built(reverse_source=False)
    ours, theirs = (padded_batch([src], [[4]]) for src in ([5, 6, 7], [7, 6, 5]))
    one, other = turned.encode(ours.src, ours.src_keep), plain.encode(theirs.src, theirs.src_keep)
    assert torch.equal(one.annotations, other.annotations[:, [2, 1, 0, 3]])
    assert torch.equal(one.last[-1][0], other.last[-1][0])
    assert torch.equal(one.last[-1][0], one.annotations[:, 3])  # </s> was read last


# Sizes, first values, dropout, precision.


def counted(**choices: Any) -> int:
    with torch.device("meta"):
        config = LuongConfig.model_validate({"kind": "luong", **choices})
        return sum(p.numel() for p in build_model(config, 50_000, 50_000).parameters())


def test_parameters_at_the_papers_sizes() -> None:
    """4 layers of 1000, embeddings of 1000, 50,000 words (section 4.1). The paper prints no total."""
    n = 1000
    words = 2 * 50_000 * n + 50_000 * n  # embeddings, W_s without a bias
    layer = 4 * n * (n + n) + 4 * n  # four gates of an input, a state and a bias
    base = words + 8 * layer + 2 * n * n  # W_c
    assert base == 216_032_000
    feeding = 4 * n * n  # the decoder's lowest layer takes 2n
    assert counted(score="dot", input_feeding=False) == base
    assert counted(score="dot") == base + feeding
    assert counted(score="general") == base + feeding + n * n
    assert counted(score="location") == base + feeding + 50 * n
    assert counted(score="concat") == base + feeding + n * 2 * n + n
    assert counted(score="general", reach="local_m") == base + feeding + n * n
    assert counted(score="general", reach="local_p") == base + feeding + n * n + n * n + n == 222_033_000


def test_initialization_is_uniform_within_01() -> None:
    torch.manual_seed(0)
    model = Luong(500, 600, 2, 30, 40, "concat", "local_p", d_align=20)
    model.initialize()
    for name, p in model.state_dict().items():
        assert float(p.abs().max()) <= 0.1, name
        assert float(p.std()) == pytest.approx(0.2 / 12**0.5, rel=0.3), name


@pytest.mark.parametrize("input_feeding", [True, False])
def test_dropout_in_training_alone_and_as_much_as_asked_for(input_feeding: bool) -> None:
    """The mean over many draws is near what stepping with dropout gives on average: both paths drop the same places."""
    model, batch = built(dropout=0.3, input_feeding=input_feeding), padded_batch([[5, 6]] * 4000, [[4, 5]] * 4000)
    with torch.no_grad():
        fast, stepped = model(batch), super(Luong, model).forward(batch)
        assert (fast[0] - fast[1]).abs().max() > 0
        torch.testing.assert_close(fast.mean(0), stepped.mean(0), atol=0.03, rtol=0)
        torch.testing.assert_close(fast.std(0), stepped.std(0), atol=0.03, rtol=0)
        model.eval()
        assert torch.equal(model(batch)[0], built(input_feeding=input_feeding)(batch)[0])


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("input_feeding", [True, False])
def test_bfloat16_products_keep_the_loss_within_a_percent(score: str, input_feeding: bool) -> None:
    model, batch = built(score=score, reach="local_m", input_feeding=input_feeding).float(), batch_of_all()
    model.compute_dtype = torch.float32
    exact = float(batch_loss(model, batch, 0.1).smoothed.detach())
    model.compute_dtype = torch.bfloat16
    loss = batch_loss(model, batch, 0.1).smoothed
    loss.backward()
    assert float(loss.detach()) == pytest.approx(exact, rel=0.01)
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in model.parameters())
