"""The model against a float64 twin that somebody else wrote from the paper in NumPy, without seeing it."""

import numpy as np
import pytest
import torch
from torch import nn

from nmt.batch import BOS, EOS, padded_batch
from nmt.models.bahdanau import Bahdanau, BahdanauState
from nmt.models.contract import stepwise_logits
from nmt.training.loss import batch_loss
from tests.models import bahdanau_numpy as paper

SIZES = paper.Sizes(n=5, m=4, maxout=3, n_prime=6, K_x=11, K_y=13)
PAIRS = [([5, 6, 7], [4, 5, 12]), ([8], [6, 7, 8, 9, 10]), ([9, 4, 10, 6, 7], [10]), ([4, 4], [11, 4])]


def build(dtype: torch.dtype = torch.float64) -> Bahdanau:
    model = Bahdanau(
        SIZES.K_x, SIZES.K_y, d_embed=SIZES.m, d_hidden=SIZES.n, d_align=SIZES.n_prime, d_maxout=SIZES.maxout
    ).to(dtype)
    model.compute_dtype = dtype
    return model


def named_as_in_the_model(p: paper.Parameters) -> dict[str, np.ndarray]:
    """The paper's arrays under our parameters' names: gates stacked in the order z, r, candidate, words as rows."""
    gru = {}
    for ours, theirs in (("encoder.forward_gru", "fwd"), ("encoder.backward_gru", "bwd")):
        d = p.as_dict()
        W, W_z, W_r, U, U_z, U_r, b, b_z, b_r = (
            d[f"{name}_{theirs}"] for name in ("W", "W_z", "W_r", "U", "U_z", "U_r", "b", "b_z", "b_r")
        )
        gru |= {
            f"{ours}.W.weight": np.concatenate([W_z, W_r, W]),
            f"{ours}.W.bias": np.concatenate([b_z, b_r, b]),
            f"{ours}.U_zr": np.concatenate([U_z, U_r]),
            f"{ours}.U": U,
        }
    return gru | {
        "src_embed.weight": p.E_x.T,
        "tgt_embed.weight": p.E_y.T,
        "W_s.weight": p.W_s,
        "W_s.bias": p.b_s,
        "W_a.weight": p.W_a,
        "U_a.weight": p.U_a,
        "U_a.bias": p.b_a,
        "v_a": p.v_a,
        "W.weight": np.concatenate([p.W_z, p.W_r, p.W]),
        "W.bias": np.concatenate([p.b_z, p.b_r, p.b]),
        "U_zr": np.concatenate([p.U_z, p.U_r]),
        "U": p.U,
        "C.weight": np.concatenate([p.C_z, p.C_r, p.C]),
        "U_o.weight": p.U_o,
        "U_o.bias": p.b_o,
        "V_o.weight": p.V_o,
        "C_o.weight": p.C_o,
        "projection.weight": p.W_o,
        "projection.bias": p.b_y,
    }


@pytest.fixture(scope="module")
def twin() -> paper.Parameters:
    return paper.random_parameters(np.random.default_rng(7), SIZES)


def loaded(twin: paper.Parameters, dtype: torch.dtype = torch.float64) -> Bahdanau:
    model = build(dtype)
    values = named_as_in_the_model(twin)
    assert values.keys() == dict(model.named_parameters()).keys()
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in values.items()})
    return model


def with_eos() -> list[tuple[list[int], list[int]]]:
    return [([*src, EOS], [*tgt, EOS]) for src, tgt in PAIRS]


def test_logits_and_weights_equal_the_papers_equations(twin: paper.Parameters) -> None:
    model = loaded(twin)
    batch = padded_batch(*map(list, zip(*PAIRS, strict=True)))
    logits = model.project(model(batch)).detach().numpy()
    memory = model.encode(batch.src, batch.src_keep)
    for row, (src, tgt) in enumerate(with_eos()):
        truth = paper.forward(twin, src, tgt, BOS)
        np.testing.assert_allclose(logits[row, : len(tgt)], truth.logits, rtol=0, atol=1e-12)
        state = model.start(memory, 1, 0)
        for t in range(len(tgt)):
            step = model.step(batch.tgt_in[:, t], memory, state, want_weights=True)
            state = step.state
            assert step.weights is not None
            weights = step.weights[row, 0, 0].detach().numpy()
            np.testing.assert_allclose(weights[: len(src)], truth.alpha[t], rtol=0, atol=1e-12)
            assert not weights[len(src) :].any()


def test_every_gradient_equals_the_papers_equations(twin: paper.Parameters) -> None:
    model = loaded(twin)
    batch = padded_batch(*map(list, zip(*PAIRS, strict=True)))
    loss = batch_loss(model, batch, 0.0)
    loss.smoothed.backward()
    true_loss, gradients, _ = paper.forward_backward(twin, with_eos(), BOS)
    assert float(loss.nll) == pytest.approx(true_loss, rel=1e-12)
    truth = named_as_in_the_model(gradients)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), truth[name], rtol=1e-10, atol=1e-11, err_msg=name)


def test_the_comparison_sees_the_query_of_the_wrong_state(twin: paper.Parameters) -> None:
    """Negative control: swapping two parameters that play like parts must be noticed."""
    model = loaded(twin)
    batch = padded_batch(*map(list, zip(*PAIRS, strict=True)))
    right = model.project(model(batch))
    with torch.no_grad():
        z, r = model.U_zr.clone().split(SIZES.n)
        model.U_zr.copy_(torch.cat([r, z]))
    assert (model.project(model(batch)) - right).abs().max() > 1e-3


def test_stepping_in_float32_stays_close_to_the_paper(twin: paper.Parameters) -> None:
    model = loaded(twin, torch.float32)
    batch = padded_batch(*map(list, zip(*PAIRS, strict=True)))
    logits = stepwise_logits(model, batch).detach().numpy()
    for row, (src, tgt) in enumerate(with_eos()):
        np.testing.assert_allclose(
            logits[row, : len(tgt)], paper.forward(twin, src, tgt, BOS).logits, rtol=0, atol=1e-5
        )


def test_bfloat16_products_keep_the_loss_within_a_percent(twin: paper.Parameters) -> None:
    model = loaded(twin, torch.float32)
    batch = padded_batch(*map(list, zip(*PAIRS, strict=True)))
    exact = float(batch_loss(model, batch, 0.1).smoothed.detach())
    model.compute_dtype = torch.bfloat16
    loss = batch_loss(model, batch, 0.1).smoothed
    loss.backward()
    assert float(loss.detach()) == pytest.approx(exact, rel=0.01)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_initialization_is_that_of_appendix_b1() -> None:
    torch.manual_seed(0)
    model = Bahdanau(500, 600, d_embed=62, d_hidden=100, d_align=90, d_maxout=50)
    model.initialize()
    for name, p in model.state_dict().items():
        last = name.split(".")[-1]
        if name == "v_a" or last == "bias":
            assert not p.any(), name
        elif last in ("U", "U_zr"):
            for square in p.split(100):
                torch.testing.assert_close(square @ square.T, torch.eye(100), atol=1e-5, rtol=0)
        else:
            expected = 0.001 if name in ("W_a.weight", "U_a.weight") else 0.01
            assert float(p.std()) == pytest.approx(expected, rel=0.05), name
            assert float(p.mean().abs()) < 4 * expected / p.numel() ** 0.5, name


def test_ties_share_one_table() -> None:
    tied = Bahdanau(20, 20, 8, 6, 5, 8, tied_output=True, tied_embeddings=True)
    assert tied.projection.weight is tied.tgt_embed.weight is tied.src_embed.weight
    free = Bahdanau(20, 20, 8, 6, 5, 8)
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == 2 * 20 * 8


# The reset after the recurrent matrix, as torch.nn.GRU has it.


def with_reset_after() -> tuple[Bahdanau, nn.GRU, nn.GRUCell]:
    """The model with random numbers, and torch's layers with the same ones as its encoder and its decoder's unit.

    In torch the order is r, z, n, and z weighs the old state, so that its parameters are ours negated.
    """
    torch.manual_seed(5)
    n, m = SIZES.n, SIZES.m
    model = Bahdanau(
        SIZES.K_x, SIZES.K_y, d_embed=m, d_hidden=n, d_align=SIZES.n_prime, d_maxout=SIZES.maxout, reset="after"
    ).double()
    model.compute_dtype = torch.float64
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    encoder, decoder = nn.GRU(m, n, bidirectional=True).double(), nn.GRUCell(m + 2 * n, n).double()

    def torchs(W: torch.Tensor) -> torch.Tensor:
        z, r, rest = W.split([n, n, W.shape[0] - 2 * n])
        return torch.cat([r, -z, rest]).detach()

    for unit, target, suffix in (
        (model.encoder.forward_gru, encoder, "_l0"),
        (model.encoder.backward_gru, encoder, "_l0_reverse"),
        (model, decoder, ""),
    ):
        assert unit.U_bias is not None
        W = torch.cat([model.W.weight, model.C.weight], dim=1) if unit is model else unit.W.weight
        nothing = torch.zeros(2 * n, dtype=torch.float64)
        values = {
            f"weight_ih{suffix}": torchs(W),
            f"weight_hh{suffix}": torchs(torch.cat([unit.U_zr, unit.U])),
            f"bias_ih{suffix}": torchs(unit.W.bias),
            f"bias_hh{suffix}": torch.cat([nothing, unit.U_bias.detach()]),
        }
        for name, value in values.items():
            with torch.no_grad():
                getattr(target, name).copy_(value)
    return model, encoder, decoder


def test_the_encoder_with_the_reset_after_is_torchs() -> None:
    model, encoder, _ = with_reset_after()
    batch = padded_batch(*map(list, zip(*sorted(PAIRS, key=lambda pair: -len(pair[0])), strict=True)))
    memory = model.encode(batch.src, batch.src_keep)
    x = nn.functional.embedding(batch.src.T, model.src_embed.weight)
    packed = nn.utils.rnn.pack_padded_sequence(x, batch.src_keep.sum(1))
    states = nn.utils.rnn.pad_packed_sequence(encoder(packed)[0])[0].transpose(0, 1)
    found = memory.annotations * batch.src_keep[:, :, None]
    torch.testing.assert_close(found, states, atol=1e-12, rtol=0)


def test_the_decoder_with_the_reset_after_is_torchs() -> None:
    """Its unit as a GRUCell that reads the embedding and the context, step after step."""
    model, _, decoder = with_reset_after()
    batch = padded_batch(*map(list, zip(*PAIRS, strict=True)))
    memory = model.encode(batch.src, batch.src_keep)
    state = model.start(memory, 1, 0)
    s = state.s
    for t in range(batch.tgt_in.shape[1]):
        step = model.step(batch.tgt_in[:, t], memory, state, want_weights=True)
        assert step.weights is not None
        y = nn.functional.embedding(batch.tgt_in[:, t], model.tgt_embed.weight)
        c = (step.weights[:, 0] @ memory.annotations)[:, 0]
        s = decoder(torch.cat([y, c], dim=1), s)
        state = step.state
        assert isinstance(state, BahdanauState)
        torch.testing.assert_close(state.s, s, atol=1e-12, rtol=0)


def test_the_reset_after_adds_a_bias_a_unit() -> None:
    before, after = (
        {n: p.shape for n, p in Bahdanau(11, 13, 4, 5, 6, 3, reset=reset).named_parameters()}
        for reset in ("before", "after")
    )
    new = {"U_bias", "encoder.forward_gru.U_bias", "encoder.backward_gru.U_bias"}
    assert after == before | dict.fromkeys(new, torch.Size([5]))
