"""GNMT 2016: the step of section 3 written out, where residuals begin, what the two forms of attention share, sizes."""

import math
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from nmt.batch import BOS, EOS, PAD, Batch, pad_rows, padded_batch
from nmt.models.build import build_model
from nmt.models.contract import stepwise_logits
from nmt.models.gnmt import GNMT
from nmt.ops.lstm import lstm_step
from nmt.recipe import SearchConfig
from nmt.recipe_models import GNMTConfig
from nmt.search.beam import search
from nmt.training.loss import batch_loss
from tests.search.standins import every_string

Form = Literal["previous", "current"]
both_forms = pytest.mark.parametrize("attention_from", ["previous", "current"])
PAIRS = [([5, 6, 7, 8, 9, 4], [4, 5, 12]), ([8], [6, 7, 8, 9, 10]), ([9, 4, 10, 6], [10]), ([], [])]


def built(attention_from: Form = "previous", n_layers: int = 4, dropout: float = 0.0, scale: float = 0.8) -> GNMT:
    torch.manual_seed(6)
    model = GNMT(11, 13, n_layers, 4, 3, attention_from, dropout).double()
    model.compute_dtype = torch.float64
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -scale, scale)
    return model


def batch_of_all() -> Batch:
    return padded_batch([src for src, _ in PAIRS], [tgt for _, tgt in PAIRS])


def run_lstm(layer: Any, x: Tensor, backwards: bool = False) -> Tensor:
    """One sentence (S, I) through one layer, step by step."""
    h = c = torch.zeros(4, dtype=torch.float64)
    found = {}
    for t in reversed(range(len(x))) if backwards else range(len(x)):
        h, c = lstm_step(layer.W.weight @ x[t] + layer.W.bias, h, c, layer.U)
        found[t] = h
    return torch.stack([found[t] for t in range(len(x))])


class Layer:
    """A decoder layer that remembers its state."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell
        self.h = self.c = torch.zeros(4, dtype=torch.float64)

    def __call__(self, *inputs: Tensor) -> Tensor:
        x = self.cell.W.weight @ torch.cat(inputs) + self.cell.W.bias
        self.h, self.c = lstm_step(x, self.h, self.c, self.cell.U)
        return self.h


@both_forms
def test_a_sentence_by_the_equations_of_section_3(attention_from: Form) -> None:
    """Four layers a side: two below the first residual, two with one; sentence by sentence and word by word."""
    model = built(attention_from)
    logits = model.project(model(batch_of_all()))
    for row, (src, tgt) in enumerate(PAIRS):
        e = model.src_embed(torch.tensor([*src, 3]))
        both = model.bottom
        x = torch.cat([run_lstm(both.forward_lstm, e), run_lstm(both.backward_lstm, e, backwards=True)], dim=-1)
        x1 = run_lstm(model.encoder[0], x)
        x2 = run_lstm(model.encoder[1], x1) + x1
        x3 = run_lstm(model.encoder[2], x2) + x2

        def look(y: Tensor, x: Tensor = x3) -> Tensor:
            s = torch.tanh(model.W_a.weight @ y + x @ model.U_a.weight.T + model.U_a.bias) @ model.v_a
            return s.softmax(0) @ x

        layers = [Layer(cell) for cell in model.decoder]
        for t, word in enumerate([BOS, *tgt]):
            c = look(layers[0].h)
            m0 = layers[0](model.tgt_embed.weight[word], c)
            c = c if attention_from == "previous" else look(m0)
            m1 = layers[1](m0, c)
            m2 = layers[2](m1, c) + m1
            m3 = layers[3](m2, c) + m2
            wanted = model.projection.weight @ m3 + model.projection.bias
            torch.testing.assert_close(logits[row, t], wanted, atol=1e-12, rtol=0)


@both_forms
@pytest.mark.parametrize("n_layers", [1, 2, 3, 5])
def test_forward_equals_stepping_at_every_depth(attention_from: Form, n_layers: int) -> None:
    model, batch = built(attention_from, n_layers), batch_of_all()
    keep, gradients = batch.tgt_out != PAD, []
    for logits in (model.project(model(batch)), stepwise_logits(model, batch)):
        gradients.append(torch.autograd.grad(logits[keep].square().sum(), list(model.parameters())))
    torch.testing.assert_close(
        model.project(model(batch))[keep], stepwise_logits(model, batch)[keep], atol=1e-12, rtol=0
    )
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-11)


def test_the_two_forms_differ_above_the_lowest_layer_alone() -> None:
    batch = batch_of_all()
    memory = built().encode(batch.src, batch.src_keep)
    states = []
    for form in ("previous", "current"):
        model = built(form)
        state = model.start(memory, 1, 0)
        for t in range(3):
            state = model.step(batch.tgt_in[:, t], memory, state).state
        states.append(state)
    assert torch.equal(states[0].carries[0][0], states[1].carries[0][0])
    assert torch.equal(states[0].context, states[1].context)
    assert (states[0].carries[1][0] - states[1].carries[1][0]).abs().max() > 1e-4


def counted(n_src: int, n_tgt: int, **choices: Any) -> int:
    with torch.device("meta"):
        config = GNMTConfig.model_validate({"kind": "gnmt", **choices})
        return sum(p.numel() for p in build_model(config, n_src, n_tgt).parameters())


def test_parameters_at_the_papers_sizes() -> None:
    """8 and 8 layers of 1024, 32,000 wordpieces a side (sections 3 and 8.3). The paper prints no total."""
    n, words = 1024, 32_000

    def layer(inputs: int) -> int:
        return 4 * n * (inputs + n) + 4 * n

    encoder = 2 * layer(n) + layer(2 * n) + 6 * layer(n)
    decoder = 8 * layer(n + n)
    attention = n * n + n * n + n + n  # W_a, U_a and its bias, v_a
    total = 2 * words * n + encoder + decoder + attention + words * n + words
    assert counted(words, words) == total == 280_859_904
    assert counted(words, words, attention_from="current") == total
    assert counted(words, words, tied_embeddings=True, tied_output=True) == total - 2 * words * n


def test_initialization_is_uniform_within_004() -> None:
    torch.manual_seed(0)
    model = GNMT(500, 600, 3, 30, 40)
    model.initialize()
    for name, p in model.state_dict().items():
        assert float(p.abs().max()) <= 0.04, name
        assert float(p.std()) == pytest.approx(0.08 / 12**0.5, rel=0.3), name


# Search: section 7 with this model's own probabilities and weights.


def logarithms(model: GNMT, src: Tensor, ids: list[int]) -> tuple[float, list[list[float]]]:
    """log P(ids, EOS) and p_ij, a row a target position."""
    memory = model.encode(src, src != PAD)
    state, total, rows = model.start(memory, 1, 9), 0.0, []
    for prev, word in pairwise([BOS, *ids, EOS]):
        step = model.step(torch.tensor([prev]), memory, state, want_weights=True)
        assert step.weights is not None
        state = step.state
        total += float(model.project(step.features)[0].log_softmax(-1)[word])
        rows.append(step.weights[0, 0, 0].tolist())
    return total, rows


@both_forms
@pytest.mark.parametrize("beta", [0.2, 2.0])
@torch.no_grad()
def test_search_scores_by_equation_14_with_length_and_coverage(attention_from: Form, beta: float) -> None:
    """log P / ((5 + |Y|)^a / 6^a) + beta sum_i log(min(sum_j p_ij, 1)), of all translations of up to two words."""
    torch.manual_seed(8)
    model = GNMT(11, 6, 3, 4, 3, attention_from)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -1.5, 1.5)
    src, alpha = pad_rows([[5, 9, 7]], eos=True), 0.2
    wanted, uncovered = {}, {}
    for ids in every_string(6, 3):
        total, p = logarithms(model.eval(), src, ids)
        lp = (5 + len(ids) + 1) ** alpha / (5 + 1) ** alpha
        cp = beta * sum(math.log(min(sum(row[i] for row in p), 1.0)) for i in range(4))
        wanted[tuple(ids)], uncovered[tuple(ids)] = total / lp + cp, total / lp
    config = SearchConfig(
        beam=40, length_penalty=alpha, coverage_penalty=beta, max_len_ratio=0.0, max_len_extra=3, length_formula="gnmt"
    )
    found = search(model, src, config, n_best=13)[0]
    assert [tuple(h.ids) for h in found] == sorted(wanted, key=lambda ids: -wanted[ids])
    assert [h.score for h in found] == pytest.approx([wanted[tuple(h.ids)] for h in found], abs=1e-4)
    if beta > 1:  # the term is not there for nothing
        assert sorted(wanted, key=lambda ids: -wanted[ids]) != sorted(uncovered, key=lambda ids: -uncovered[ids])


@both_forms
def test_dropout_in_training_alone(attention_from: Form) -> None:
    model, batch = built(attention_from, dropout=0.5), batch_of_all()
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    assert torch.equal(model(batch), built(attention_from)(batch))


@both_forms
def test_bfloat16_products_keep_the_loss_within_a_percent(attention_from: Form) -> None:
    model, batch = built(attention_from, scale=0.5).float(), batch_of_all()
    model.compute_dtype = torch.float32
    exact = float(batch_loss(model, batch, 0.1).smoothed.detach())
    model.compute_dtype = torch.bfloat16
    loss = batch_loss(model, batch, 0.1).smoothed
    loss.backward()
    assert float(loss.detach()) == pytest.approx(exact, rel=0.01)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
