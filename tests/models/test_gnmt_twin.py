"""`gnmt` against its float64 twin, which somebody else wrote from the paper in NumPy without seeing it."""

import numpy as np
import pytest
import torch

from nmt.batch import BOS, EOS, padded_batch
from nmt.models.gnmt import GNMT
from nmt.training.loss import batch_loss
from tests.models import gnmt_numpy as paper
from tests.models.lstm_names import Array, lstm_as_ours

PAIRS = [([5, 6, 7, 8, 9, 4], [4, 5, 12]), ([8], [6, 7, 8, 9, 10]), ([9, 4, 10, 6], [10]), ([], [5])]
SIZES = paper.Sizes(n=4, m=4, layers=4, align=3, K_x=11, K_y=13)
both_forms = pytest.mark.parametrize("attention_from", ["previous", "current"])


class Case:
    """A twin's parameters, the model with the same ones, and the twin's results sentence by sentence."""

    def __init__(self, attention_from: str) -> None:
        how = paper.Conventions(attention_from=attention_from)  # pyright: ignore
        params = paper.random_parameters(np.random.default_rng(5), paper.shapes(SIZES, how), scale=2.0)
        self.model = GNMT(SIZES.K_x, SIZES.K_y, SIZES.layers, SIZES.n, SIZES.align, how.attention_from).double()
        self.model.compute_dtype = torch.float64
        ours = named_as_in_the_model(params)
        assert ours.keys() == dict(self.model.named_parameters()).keys()
        self.model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in ours.items()})
        self.batch = padded_batch([src for src, _ in PAIRS], [tgt for _, tgt in PAIRS])
        self.truths = [paper.forward(params, [*src, EOS], [*tgt, EOS], bos=BOS, conventions=how) for src, tgt in PAIRS]


def named_as_in_the_model(values: dict[str, Array]) -> dict[str, Array]:
    """The twin's arrays under our parameters' names: words as rows, gates stacked."""
    ours = {"src_embed.weight": values["E_x"].T, "tgt_embed.weight": values["E_y"].T}
    ours |= lstm_as_ours("bottom.forward_lstm", "enc_1_fwd", values)
    ours |= lstm_as_ours("bottom.backward_lstm", "enc_1_bwd", values)
    for layer in range(1, SIZES.layers + 1):
        ours |= lstm_as_ours(f"decoder.{layer - 1}", f"dec_{layer}", values)
        if layer > 1:
            ours |= lstm_as_ours(f"encoder.{layer - 2}", f"enc_{layer}", values)
    attention = {"W_a.weight": "W_q", "U_a.weight": "W_k", "U_a.bias": "b_a", "v_a": "v_a"}
    output = {"projection.weight": "W_s", "projection.bias": "b_s"}
    return ours | {name: values[theirs] for name, theirs in (attention | output).items()}


@both_forms
def test_logits_weights_and_every_gradient_equal_the_papers_equations(attention_from: str) -> None:
    case = Case(attention_from)
    model, batch = case.model, case.batch
    logits = model.project(model(batch)).detach().numpy()
    memory = model.encode(batch.src, batch.src_keep)
    state, weights = model.start(memory, 1, 0), []
    for t in range(batch.tgt_in.shape[1]):
        step = model.step(batch.tgt_in[:, t], memory, state, want_weights=True)
        assert step.weights is not None
        state = step.state
        weights.append(step.weights[:, 0, 0].detach().numpy())
    for row, ((src, tgt), truth) in enumerate(zip(PAIRS, case.truths, strict=True)):
        T, S = len(tgt) + 1, len(src) + 1
        np.testing.assert_allclose(logits[row, :T], truth.logits, rtol=0, atol=1e-12)
        found = np.stack(weights)[:T, row]
        np.testing.assert_allclose(found[:, :S], truth.p, rtol=0, atol=1e-12)
        assert not found[:, S:].any()

    loss = batch_loss(model, batch, 0.0)
    loss.smoothed.backward()
    assert float(loss.nll) == pytest.approx(sum(truth.loss for truth in case.truths), rel=1e-12)
    one_by_one = [named_as_in_the_model(paper.backward(truth)) for truth in case.truths]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        wanted = sum(gradients[name] for gradients in one_by_one)
        np.testing.assert_allclose(parameter.grad.numpy(), wanted, rtol=0, atol=1e-10, err_msg=name)


def test_the_comparison_sees_attention_from_the_wrong_step() -> None:
    """Negative control."""
    case = Case("previous")
    case.model.attention_from = "current"
    logits = case.model.project(case.model(case.batch)).detach().numpy()
    assert np.abs(logits[0, :4] - case.truths[0].logits).max() > 1e-3
