"""`luong` against its float64 twin, which somebody else wrote from the paper in NumPy without seeing it.

Where the paper is silent the two agreed on all but what a window sees that lies wholly beyond the sentence (the twin:
nothing; the model: the last word), so no target here is longer than that. The paper never puts `location` and a window
together: both take the softmax inside the window then, and `width` is chosen so that S means the same.
"""

from typing import Any

import numpy as np
import pytest
import torch

from nmt.batch import BOS, EOS, padded_batch
from nmt.models.luong import Luong
from nmt.training.loss import batch_loss
from tests.models import luong_numpy as paper
from tests.models.lstm_names import Array, lstm_as_ours
from tests.models.tape_numpy import random_parameters

PAIRS = [([5, 6, 7, 8, 9, 4], [4, 5, 12]), ([8, 4], [6, 7, 8]), ([9, 4, 10, 6], [10]), ([], [5])]
FORMS = [
    (paper.Attention(score, reach, D=2, input_feeding=fed, location="whole" if reach == "global" else "used"), reverse)
    for score in ("dot", "general", "concat", "location")
    for reach in ("global", "local_m", "local_p")
    for fed in (True, False)
    for reverse in (True, False)
]


class Case:
    """A twin's parameters, the model with the same ones, and the twin's results sentence by sentence."""

    def __init__(self, attention: paper.Attention, reverse: bool) -> None:
        width = 5 if attention.reach == "global" else 8  # of source lengths 7, 3, 5 and 1: shorter, equal and longer
        sizes = paper.Sizes(n=4, m=3, layers=2, K_x=11, K_y=13, align=5, width=width)
        self.attention, self.reverse = attention, reverse
        self.params = random_parameters(np.random.default_rng(5), paper.shapes(sizes, attention), scale=1.5)
        self.model = Luong(
            n_src=sizes.K_x,
            n_tgt=sizes.K_y,
            n_layers=sizes.layers,
            d_embed=sizes.m,
            d_hidden=sizes.n,
            score=attention.score,
            reach=attention.reach,
            window=int(attention.D),
            d_align=sizes.align,
            max_source=width,
            input_feeding=attention.input_feeding,
            reverse_source=reverse,
        ).double()
        self.model.compute_dtype = torch.float64
        ours = named_as_in_the_model(self.params)
        assert ours.keys() == dict(self.model.named_parameters()).keys()
        self.model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in ours.items()})
        self.batch = padded_batch([src for src, _ in PAIRS], [tgt for _, tgt in PAIRS])

    def truths(self) -> list[paper.Result]:
        """Positions are those of the sentence as written, whatever the order it is read in."""
        found = []
        for src, tgt in PAIRS:
            n = len(src)
            found.append(
                paper.forward(
                    self.params,
                    [*src, EOS],
                    [*tgt, EOS],
                    bos=BOS,
                    attention=self.attention,
                    reverse=paper.words_reversed if self.reverse else paper.as_given,
                    positions=[*range(n, 0, -1), n + 1] if self.reverse else None,
                )
            )
        return found


def named_as_in_the_model(values: dict[str, Array]) -> dict[str, Array]:
    """The twin's arrays under our parameters' names: words as rows, gates stacked."""
    ours = {"src_embed.weight": values["E_x"].T, "tgt_embed.weight": values["E_y"].T}
    for layer in (1, 2):
        ours |= lstm_as_ours(f"encoder.layers.{layer - 1}", f"enc_{layer}", values)
        ours |= lstm_as_ours(f"decoder.layers.{layer - 1}", f"dec_{layer}", values)
    ours |= {f"alignment.{name}": values[name] for name in ("W_a", "v_a", "W_p", "v_p") if name in values}
    return ours | {"W_c.weight": values["W_c"], "projection.weight": values["W_s"]}


def in_words(form: Any) -> str:
    attention, reverse = form
    fed = "fed" if attention.input_feeding else "not fed"
    return f"{attention.score}-{attention.reach}-{fed}{'-reversed' if reverse else ''}"


@pytest.mark.parametrize("form", FORMS, ids=in_words)
def test_logits_weights_and_every_gradient_equal_the_papers_equations(
    form: tuple[paper.Attention, bool],
) -> None:
    case = Case(*form)
    model, batch, truths = case.model, case.batch, case.truths()
    logits = model.project(model(batch)).detach().numpy()
    memory = model.encode(batch.src, batch.src_keep)
    state, weights = model.start(memory, 1, 0), []
    for t in range(batch.tgt_in.shape[1]):
        step = model.step(batch.tgt_in[:, t], memory, state, want_weights=True)
        assert step.weights is not None
        state = step.state
        weights.append(step.weights[:, 0, 0].detach().numpy())
    for row, ((src, tgt), truth) in enumerate(zip(PAIRS, truths, strict=True)):
        T, S = len(tgt) + 1, len(src) + 1
        np.testing.assert_allclose(logits[row, :T], truth.logits, rtol=0, atol=1e-12)
        found = np.stack(weights)[:T, row]  # (T, S and padding), in the order of the sentence
        as_read = found[:, truth.positions.astype(int) - 1]
        np.testing.assert_allclose(as_read, truth.a, rtol=0, atol=1e-12)
        assert not found[:, S:].any()

    loss = batch_loss(model, batch, 0.0)
    loss.smoothed.backward()
    assert float(loss.nll) == pytest.approx(sum(truth.loss for truth in truths), rel=1e-12)
    one_by_one = [named_as_in_the_model(paper.backward(truth)) for truth in truths]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        wanted = sum(gradients[name] for gradients in one_by_one)
        np.testing.assert_allclose(parameter.grad.numpy(), wanted, rtol=0, atol=1e-10, err_msg=name)


def test_the_comparison_sees_the_context_in_the_wrong_half_of_its_matrix() -> None:
    """Negative control: two parts of one matrix exchanged must be noticed."""
    case = Case(*FORMS[0])
    with torch.no_grad():
        case.model.W_c.weight.copy_(case.model.W_c.weight.roll(4, dims=1))
    logits = case.model.project(case.model(case.batch)).detach().numpy()
    assert np.abs(logits[0, :4] - case.truths()[0].logits).max() > 1e-3
