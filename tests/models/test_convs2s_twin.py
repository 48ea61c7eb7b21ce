"""The model against a float64 twin that somebody else wrote from the paper in NumPy, without seeing it."""

import numpy as np
import pytest
import torch

from nmt.batch import BOS, EOS, Batch, padded_batch
from nmt.models import convs2s
from nmt.models.contract import stepwise_logits
from nmt.models.convs2s import ConvS2S
from nmt.training.loss import batch_loss
from tests.models import convs2s_numpy as paper
from tests.models.convs2s_numpy import Layer

SIZES = paper.Sizes(
    f=4,
    out=5,
    encoder=[Layer(6, 3), Layer(6, 2), Layer(7, 1)],
    decoder=[Layer(5, 3), Layer(7, 2), Layer(7, 1)],
    positions=9,
    K_x=11,
    K_y=13,
)
PAPER = paper.Conventions(gradient_z=1 / len(SIZES.decoder))
"""What section 3.4 does to the gradient of the encoder; the equations to the letter are the twin's default."""
PAIRS = [([5, 6, 7], [4, 5, 12]), ([8], [6, 7, 8, 9, 10]), ([9, 4, 10, 6, 7, 7], [10]), ([4, 4], [11, 4])]

Arrays = dict[str, np.ndarray]


def named_as_in_the_model(p: Arrays) -> Arrays:
    """The twin's arrays under our parameters' names: words and positions as rows."""
    layers = {
        "enc_in_W": "encoder_in",
        "enc_out_W": "encoder_out",
        "dec_in_W": "decoder_in",
        "dec_out_W": "decoder_out",
    }
    layers |= {"W_o": "projection"}
    biases = {weight: weight.replace("W", "b") for weight in layers}
    for side, name, depth in (("enc", "encoder", len(SIZES.encoder)), ("dec", "decoder", len(SIZES.decoder))):
        for l in range(depth):  # noqa: E741
            theirs, ours = f"{side}_{l + 1}", f"{name}.{l}"
            layers |= {f"{theirs}_W": f"{ours}.convolution.linear"}
            biases |= {f"{theirs}_W": f"{theirs}_b"}
            if f"{theirs}_R_b" in p:
                layers |= {f"{theirs}_R": f"{ours}.residual"}
                biases |= {f"{theirs}_R": f"{theirs}_R_b"}
            if side == "dec":
                layers |= {f"{theirs}_W_{x}": f"{ours}.W_{x}" for x in "dc"}
                biases |= {f"{theirs}_W_{x}": f"{theirs}_b_{x}" for x in "dc"}
    tables = {"E_x": "src_embed", "P_x": "src_positions", "E_y": "tgt_embed", "P_y": "tgt_positions"}
    named = {f"{ours}.weight": p[theirs].T for theirs, ours in tables.items()}
    for theirs, ours in layers.items():
        named |= {f"{ours}.v": p[f"{theirs}_v"], f"{ours}.g": p[f"{theirs}_gain"], f"{ours}.bias": p[biases[theirs]]}
    assert len(named) == len(p)
    return named


@pytest.fixture(scope="module")
def twin() -> Arrays:
    return paper.random_parameters(np.random.default_rng(7), paper.shapes(SIZES))


def loaded(twin: Arrays, dtype: torch.dtype = torch.float64) -> ConvS2S:
    model = ConvS2S(
        SIZES.K_x, SIZES.K_y, SIZES.f, SIZES.out, SIZES.encoder, SIZES.decoder, SIZES.positions, dropout=0.0
    ).to(dtype)
    model.compute_dtype = dtype
    values = named_as_in_the_model(twin)
    assert values.keys() == dict(model.named_parameters()).keys()
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in values.items()})
    return model


def batch() -> Batch:
    return padded_batch(*map(list, zip(*PAIRS, strict=True)))


def with_eos() -> list[tuple[list[int], list[int]]]:
    return [([*src, EOS], [*tgt, EOS]) for src, tgt in PAIRS]


def test_logits_and_weights_equal_the_papers_equations(twin: Arrays) -> None:
    model, pairs = loaded(twin), batch()
    logits = model.project(model(pairs)).detach().numpy()
    memory = model.encode(pairs.src, pairs.src_keep)
    for row, (src, tgt) in enumerate(with_eos()):
        truth = paper.forward(twin, src, tgt, bos=BOS, sizes=SIZES)
        np.testing.assert_allclose(logits[row, : len(tgt)], truth.logits, rtol=0, atol=1e-12)
        np.testing.assert_allclose(memory.keys[row, : len(src)].detach().numpy(), truth.z, rtol=0, atol=1e-12)
        state = model.start(memory, 1, 0)
        for t in range(len(tgt)):
            step = model.step(pairs.tgt_in[:, t], memory, state, want_weights=True)
            state = step.state
            assert step.weights is not None
            weights = step.weights[row, :, 0].detach().numpy()  # (L, S)
            np.testing.assert_allclose(weights[:, : len(src)], truth.a[:, t], rtol=0, atol=1e-12)
            assert not weights[:, len(src) :].any()


def test_every_gradient_equals_the_papers_equations(twin: Arrays) -> None:
    """With the encoder's share scaled, as 3.4 has it."""
    model = loaded(twin)
    loss = batch_loss(model, batch(), 0.0)
    loss.smoothed.backward()
    truth: Arrays = {name: np.zeros_like(array) for name, array in twin.items()}
    true_loss = 0.0
    for src, tgt in with_eos():
        result = paper.forward(twin, src, tgt, bos=BOS, sizes=SIZES, conventions=PAPER)
        true_loss += result.loss
        for name, gradient in paper.backward(result).items():
            truth[name] += gradient
    assert float(loss.nll) == pytest.approx(true_loss, rel=1e-12)
    wanted = named_as_in_the_model(truth)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), wanted[name], rtol=1e-10, atol=1e-11, err_msg=name)
        assert np.abs(wanted[name]).max() > 1e-4, name


def test_the_comparison_sees_a_gradient_that_is_not_scaled(twin: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    monkeypatch.setattr(convs2s, "scale_gradient", lambda x, _: x)
    with pytest.raises(AssertionError, match=r"encoder|src"):
        test_every_gradient_equals_the_papers_equations(twin)


def test_the_comparison_sees_the_released_programs_order(twin: Arrays) -> None:
    """Negative control: the authors' program is another function of the same parameters."""
    src, tgt = with_eos()[0]
    one = paper.forward(twin, src, tgt, bos=BOS, sizes=SIZES).logits
    for other in (
        paper.Conventions("glu"),
        paper.Conventions(query_scale=0.5**0.5),
        paper.Conventions(value_scale=0.7),
    ):
        assert np.abs(paper.forward(twin, src, tgt, bos=BOS, sizes=SIZES, conventions=other).logits - one).max() > 1e-3


def test_stepping_in_float32_stays_close_to_the_paper(twin: Arrays) -> None:
    logits = stepwise_logits(loaded(twin, torch.float32), batch()).detach().numpy()
    for row, (src, tgt) in enumerate(with_eos()):
        truth = paper.forward(twin, src, tgt, bos=BOS, sizes=SIZES).logits
        np.testing.assert_allclose(logits[row, : len(tgt)], truth, rtol=0, atol=1e-5)
