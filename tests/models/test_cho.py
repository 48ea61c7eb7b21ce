"""Cho's encoder-decoder against the paper's equations: on numbers written out here, in sizes counted by hand, and as a
float64 twin in NumPy that somebody else wrote from the paper without seeing the model.
"""

import math
from math import tanh

import numpy as np
import pytest
import torch

from nmt.batch import BOS, EOS, padded_batch
from nmt.layers.recurrent import Reset
from nmt.models.build import build_model
from nmt.models.cho import Cho
from nmt.models.contract import stepwise_logits
from nmt.recipe_models import ChoConfig
from nmt.training.loss import batch_loss
from tests.models import cho_numpy as paper

# One number for each parameter, where every width is 1 and the maxout takes the larger of two.
E_SRC, E_TGT = {5: 0.3, 6: -0.8, EOS: 0.5}, {BOS: 99.0, 4: 0.7, 7: -0.6, EOS: 0.2}
W_Z, W_R, W_, B_Z, B_R, B_ = 0.4, -0.5, 0.9, 0.1, 0.2, -0.3  # of the encoder
U_Z, U_R, U_ = 0.6, -0.7, 0.8
V, B_V, V_PRIME, B_V_PRIME = 1.1, 0.15, -0.9, 0.25
DW_Z, DW_R, DW, DB_Z, DB_R, DB = -0.2, 0.3, 0.5, 0.12, -0.14, 0.16  # of the decoder
DU_Z, DU_R, DU = -0.4, 0.45, 0.55
C_Z, C_R, C_ = 0.65, -0.75, 0.85
O_H, O_Y, O_C, B_O = (0.9, -1.3), (0.2, 0.7), (-0.35, 0.6), (0.05, -0.1)
G, B_G = {4: 0.5, 7: -1.5, EOS: 2.0}, {4: 0.01, 7: -0.02, EOS: 0.03}


def sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def words(numbers: dict[int, float]) -> torch.Tensor:
    return column(*(numbers.get(i, 0.0) for i in range(8)))


def by_numbers(reset: Reset) -> Cho:
    model = Cho(8, 8, d_embed=1, d_hidden=1, d_maxout=1, reset=reset).double()
    model.compute_dtype = torch.float64
    model.load_state_dict(
        {
            "src_embed.weight": words(E_SRC),
            "tgt_embed.weight": words(E_TGT),
            "encoder.W.weight": column(W_Z, W_R, W_),
            "encoder.W.bias": column(B_Z, B_R, B_)[:, 0],
            "encoder.U_zr": column(U_Z, U_R),
            "encoder.U": column(U_),
            "V.weight": column(V),
            "V.bias": column(B_V)[:, 0],
            "V_prime.weight": column(V_PRIME),
            "V_prime.bias": column(B_V_PRIME)[:, 0],
            "W.weight": column(DW_Z, DW_R, DW),
            "W.bias": column(DB_Z, DB_R, DB)[:, 0],
            "U_zr": column(DU_Z, DU_R),
            "U": column(DU),
            "C.weight": column(C_Z, C_R, C_),
            "O_h.weight": column(*O_H),
            "O_h.bias": column(*B_O)[:, 0],
            "O_y.weight": column(*O_Y),
            "O_c.weight": column(*O_C),
            "projection.weight": words(G),
            "projection.bias": words(B_G)[:, 0],
        }
    )
    return model


@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_equations_by_hand(reset: Reset) -> None:
    """Source 5 6 EOS, target 4 7: the encoder's three steps, the summary, the decoder's three, each as printed."""
    h = 0.0
    for word in (5, 6, EOS):
        x = E_SRC[word]
        z = sigmoid(W_Z * x + B_Z + U_Z * h)
        r = sigmoid(W_R * x + B_R + U_R * h)
        h = (1 - z) * h + z * tanh(W_ * x + B_ + U_ * (r * h))  # z is one minus the paper's
    c = tanh(V * h + B_V)
    h = tanh(V_PRIME * c + B_V_PRIME)
    logits = []
    for y in (0.0, E_TGT[4], E_TGT[7]):  # e(y_0) = 0
        z = sigmoid(DW_Z * y + DB_Z + DU_Z * h + C_Z * c)
        r = sigmoid(DW_R * y + DB_R + DU_R * h + C_R * c)
        inner = r * (DU * h + C_ * c) if reset == "after" else DU * (r * h) + C_ * c
        h = (1 - z) * h + z * tanh(DW * y + DB + inner)
        s = max(O_H[i] * h + O_Y[i] * y + O_C[i] * c + B_O[i] for i in (0, 1))
        logits.append([G[word] * s + B_G[word] for word in (4, 7, EOS)])
    model, batch = by_numbers(reset), padded_batch([[5, 6]], [[4, 7]])
    found = model.project(model(batch))[0][:, [4, 7, EOS]]
    torch.testing.assert_close(found, torch.tensor(logits, dtype=torch.float64), atol=1e-12, rtol=0)


def test_the_two_places_of_the_reset_are_told_apart() -> None:
    batch = padded_batch([[5, 6]], [[4, 7]])
    after, before = (model.project(model(batch)) for model in (by_numbers("after"), by_numbers("before")))
    assert (after - before).abs().max() > 1e-2


def test_the_start_symbol_has_no_embedding() -> None:
    """e(y_0) is the zero vector: what stands in BOS's row is never used, and gets no gradient."""
    model, batch = by_numbers("after"), padded_batch([[5, 6]], [[4, 7]])
    before = model.project(model(batch))
    batch_loss(model, batch, 0.0).smoothed.backward()
    assert model.tgt_embed.weight.grad is not None
    assert not model.tgt_embed.weight.grad[BOS].any()
    with torch.no_grad():
        model.tgt_embed.weight[BOS] = -5.0
    assert torch.equal(model.project(model(batch)), before)
    assert torch.equal(stepwise_logits(model, batch), stepwise_logits(by_numbers("after"), batch))


def cho_parameters(m: int, n: int, l: int, K_x: int, K_y: int) -> int:  # noqa: E741
    """Counted by hand from appendix A, with a bias wherever one is omitted for readability."""
    embeddings = m * K_x + m * K_y
    encoder = 3 * (m * n + n * n + n)
    summary_and_first_state = 2 * (n * n + n)
    decoder = 3 * (m * n + n * n + n * n + n)
    readout = 2 * l * (n + m + n) + 2 * l
    return embeddings + encoder + summary_and_first_state + decoder + readout + K_y * l + K_y


def test_the_default_sizes_have_the_parameters_of_the_equations() -> None:
    with torch.device("meta"):
        model = build_model(ChoConfig(kind="cho"), 30_004, 30_004)
        small = build_model(ChoConfig(kind="cho", d_embed=100), 15_004, 15_004)  # the sizes of 2014
    count = sum(p.numel() for p in model.parameters())
    assert count == cho_parameters(620, 1000, 500, 30_004, 30_004) == 69_585_964
    assert sum(p.numel() for p in small.parameters()) == cho_parameters(100, 1000, 500, 15_004, 15_004)


def test_the_reset_has_no_parameters_of_its_own() -> None:
    after, before = (dict(by_numbers(reset).named_parameters()) for reset in ("after", "before"))
    assert after.keys() == before.keys()


def test_there_are_no_attention_weights() -> None:
    model, batch = by_numbers("after"), padded_batch([[5, 6]], [[4, 7]])
    memory = model.encode(batch.src, batch.src_keep)
    assert model.step(batch.tgt_in[:, 0], memory, model.start(memory, 1, 3), want_weights=True).weights is None


@pytest.mark.parametrize("reset", ["after", "before"])
def test_bfloat16_products_keep_the_loss_within_a_percent(reset: Reset) -> None:
    torch.manual_seed(0)
    model = Cho(20, 20, d_embed=16, d_hidden=16, d_maxout=16, reset=reset)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    batch = padded_batch([[5, 6, 7], [8]], [[4, 7], [6, 9, 10, 11]])
    exact = float(batch_loss(model, batch, 0.1).smoothed.detach())
    model.compute_dtype = torch.bfloat16
    loss = batch_loss(model, batch, 0.1).smoothed
    loss.backward()
    assert float(loss.detach()) == pytest.approx(exact, rel=0.01)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_initialization_is_that_of_section_4() -> None:
    torch.manual_seed(0)
    model = Cho(500, 600, d_embed=62, d_hidden=100, d_maxout=50)
    model.initialize()
    for name, p in model.state_dict().items():
        if name.endswith("bias"):
            assert not p.any(), name
        elif name.split(".")[-1] in ("U", "U_zr"):
            for square in p.split(100):
                torch.testing.assert_close(square @ square.T, torch.eye(100), atol=1e-5, rtol=0)
        else:
            assert float(p.std()) == pytest.approx(0.01, rel=0.05), name
            assert float(p.mean().abs()) < 4 * 0.01 / p.numel() ** 0.5, name


def test_ties_share_one_table() -> None:
    tied = Cho(20, 20, 8, 6, 8, tied_output=True, tied_embeddings=True)
    assert tied.projection.weight is tied.tgt_embed.weight is tied.src_embed.weight
    free = Cho(20, 20, 8, 6, 8)
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == 2 * 20 * 8


# The twin.

SIZES = paper.Sizes(n=5, m=4, maxout=3, K_x=11, K_y=13)
PAIRS = [([5, 6, 7], [4, 5, 12]), ([8], [6, 7, 8, 9, 10]), ([9, 4, 10, 6, 7], [10]), ([4, 4], [11, 4])]
IN_THE_PAPER: dict[Reset, paper.Reset] = {"after": "appendix", "before": "before"}
of_both_resets = pytest.mark.parametrize("reset", IN_THE_PAPER)


def named_as_in_the_model(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The paper's arrays under our parameters' names: words as rows, z, r and candidate stacked, z's negated, for ours
    weighs the new state.
    """

    def stacked(name: str) -> np.ndarray:
        return np.concatenate([-p[f"{name}_z"], p[f"{name}_r"], p[name]])

    def gates(name: str) -> np.ndarray:
        return np.concatenate([-p[f"{name}_z"], p[f"{name}_r"]])

    return {
        "src_embed.weight": p["E_x"].T,
        "tgt_embed.weight": p["E_y"].T,
        "encoder.W.weight": stacked("W"),
        "encoder.W.bias": stacked("b"),
        "encoder.U_zr": gates("U"),
        "encoder.U": p["U"],
        "V.weight": p["V"],
        "V.bias": p["b_V"],
        "V_prime.weight": p["V_d"],
        "V_prime.bias": p["b_V_d"],
        "W.weight": stacked("W_d"),
        "W.bias": stacked("b_d"),
        "U_zr": gates("U_d"),
        "U": p["U_d"],
        "C.weight": stacked("C"),
        "O_h.weight": p["O_h"],
        "O_h.bias": p["b_s"],
        "O_y.weight": p["O_y"],
        "O_c.weight": p["O_c"],
        "projection.weight": p["G"],
        "projection.bias": p["b_y"],
    }


@pytest.fixture(scope="module")
def twin() -> dict[str, np.ndarray]:
    return paper.random_parameters(np.random.default_rng(7), paper.shapes(SIZES))


def loaded(twin: dict[str, np.ndarray], reset: Reset) -> Cho:
    model = Cho(SIZES.K_x, SIZES.K_y, d_embed=SIZES.m, d_hidden=SIZES.n, d_maxout=SIZES.maxout, reset=reset).double()
    model.compute_dtype = torch.float64
    values = named_as_in_the_model(twin)
    assert values.keys() == dict(model.named_parameters()).keys()
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in values.items()})
    return model


def truth(twin: dict[str, np.ndarray], reset: Reset) -> list[paper.Result]:
    """The twin on each pair, EOS at both ends and no word before the first."""
    return [paper.forward(twin, [*s, EOS], [*t, EOS], bos=None, reset=IN_THE_PAPER[reset]) for s, t in PAIRS]


@of_both_resets
def test_logits_equal_the_twins(twin: dict[str, np.ndarray], reset: Reset) -> None:
    model = loaded(twin, reset)
    batch = padded_batch(*map(list, zip(*PAIRS, strict=True)))
    logits = model.project(model(batch)).detach().numpy()
    summaries = model.encode(batch.src, batch.src_keep).c.detach().numpy()
    for row, result in enumerate(truth(twin, reset)):
        np.testing.assert_allclose(logits[row, : len(result.logits)], result.logits, rtol=0, atol=1e-12)
        np.testing.assert_allclose(summaries[row], result.c, rtol=0, atol=1e-12)


@of_both_resets
def test_every_gradient_equals_the_twins(twin: dict[str, np.ndarray], reset: Reset) -> None:
    model = loaded(twin, reset)
    loss = batch_loss(model, padded_batch(*map(list, zip(*PAIRS, strict=True))), 0.0)
    loss.smoothed.backward()
    results = truth(twin, reset)
    assert float(loss.nll) == pytest.approx(sum(result.loss for result in results), rel=1e-12)
    each = [paper.backward(result) for result in results]
    wanted = named_as_in_the_model({name: np.sum([gradient[name] for gradient in each], axis=0) for name in twin})
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), wanted[name], rtol=0, atol=1e-10, err_msg=name)


def test_the_comparison_sees_the_wrong_reset(twin: dict[str, np.ndarray]) -> None:
    """Negative control: the other form of the paper is far from this one."""
    model = loaded(twin, "after")
    logits = model.project(model(padded_batch([PAIRS[0][0]], [PAIRS[0][1]])))[0].detach().numpy()
    assert np.abs(logits - truth(twin, "before")[0].logits).max() > 1e-3
