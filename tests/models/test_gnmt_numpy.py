"""The NumPy twin of `gnmt` is itself held to finite differences, to nn.LSTM, and to an example worked by hand."""

from collections.abc import Mapping, Sequence
from math import atanh, log

import numpy as np
import pytest
import torch

from tests.models.gnmt_numpy import Conventions, Result, Sizes, backward, forward, random_parameters, shapes
from tests.models.lstm_numpy import gates_together
from tests.models.slopes import assert_gradient_is_slope, dead
from tests.models.tape_numpy import Array

SIZES = Sizes(n=3, m=2, layers=4, align=2, K_x=7, K_y=6)
SMALL = Sizes(n=2, m=2, layers=3, align=2, K_x=7, K_y=6)
BOS = 2

# Words repeat, and BOS is among the target's, so that a gradient that overwrites instead of adding is seen.
SRC = [4, 6, 4, 3]
TGT = [5, 2, 5, 3]

PAPER = Conventions()
V1 = Conventions("previous", first="zero", start="handed")  # tensorflow/nmt, gnmt
V2 = Conventions("current", first="zero", start="handed")  # tensorflow/nmt, gnmt_v2
NVIDIA = Conventions("current", bottom_fed=False)
ALL = [PAPER, V1, V2, NVIDIA, Conventions("current", first="attended", start="handed")]


def example(how: Conventions, sizes: Sizes = SIZES, seed: int = 1) -> dict[str, Array]:
    # Scale 2, or too little of a word comes through so many LSTMs to be seen.
    return random_parameters(np.random.default_rng(seed), shapes(sizes, how), scale=2.0)


def run(params: Mapping[str, Array], how: Conventions, src: Sequence[int] = SRC, tgt: Sequence[int] = TGT) -> Result:
    return forward(params, src, tgt, bos=BOS, conventions=how)


# --- the gradient -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ALL, ids=str)
def test_gradient_is_the_slope_of_the_loss(how: Conventions):
    params = example(how, SMALL)

    def loss(moved: Mapping[str, Array]) -> float:
        return run(moved, how, SRC[-2:], TGT[:2]).loss

    assert_gradient_is_slope(loss, params, backward(run(params, how, SRC[-2:], TGT[:2])), gates_together)


@pytest.mark.parametrize("how", ALL, ids=str)
def test_gradient_reaches_every_parameter(how: Conventions):
    gradient = backward(run(example(how), how))
    assert dead(gradient) == set()
    for name, ids in (("E_x", SRC), ("E_y", [BOS, *TGT[:-1]])):
        assert set(np.flatnonzero(gradient[name].any(axis=0))) == set(ids), name


def test_one_step_of_a_zero_start_asks_with_nothing():
    # y_0 is the bottom layer's zero state: W_q meets nothing, and no state of the decoder recurs.
    gradient = backward(run(example(PAPER), PAPER, tgt=[3]))
    recurrent = {f"dec_{layer}_U_{gate}" for layer in range(1, 5) for gate in "ifog"}
    forget = {f"dec_{layer}_{kind}_f" for layer in range(1, 5) for kind in "Wb"}
    assert dead(gradient) == recurrent | forget | {"W_q"}


def test_one_step_of_a_zero_context_sees_the_source_in_the_handed_states_alone():
    gradient = backward(run(example(V1), V1, tgt=[3]))
    assert {"W_q", "W_k", "b_a", "v_a"} <= dead(gradient)
    assert not {"E_x", "enc_1_bwd_W_i", "enc_4_W_i"} & dead(gradient)


# --- the equations, from the states that the result shows -------------------------------------------------------------


@torch.no_grad()
def lstm(params: Mapping[str, Array], layer: str, x: Array, h: Array | None = None, c: Array | None = None) -> Array:
    """The outputs (rows, n) of nn.LSTM with a layer's weights; its rows are i, f, g, o, its second bias is zero."""
    n = params[f"{layer}_b_i"].shape[0]
    theirs = torch.nn.LSTM(x.shape[1], n, dtype=torch.float64)
    weights = {
        name: torch.from_numpy(np.concatenate([params[f"{layer}_{ours}_{gate}"] for gate in "ifgo"]))
        for name, ours in (("weight_ih_l0", "W"), ("weight_hh_l0", "U"), ("bias_ih_l0", "b"))
    }
    theirs.load_state_dict(weights | {"bias_hh_l0": torch.zeros(4 * n)})
    state = tuple(torch.from_numpy((np.zeros(n) if s is None else s)[None].copy()) for s in (h, c))
    return theirs(torch.from_numpy(x.copy()), state)[0].numpy()


@pytest.mark.parametrize("S", [1, 4])
def test_encoder_is_a_stack_of_lstms(S: int):
    p = example(PAPER)
    r = run(p, PAPER, SRC[-S:])
    e = p["E_x"][:, SRC[-S:]].T
    bwd = lstm(p, "enc_1_bwd", e[::-1])
    m = [lstm(p, "enc_2", np.hstack([lstm(p, "enc_1_fwd", e), bwd[::-1]]))]
    m.append(lstm(p, "enc_3", m[0]))
    m.append(lstm(p, "enc_4", m[1] + m[0]))
    np.testing.assert_allclose(r.encoded, m[2] + m[1] + m[0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(r.last_h, [bwd[-1], *(rows[-1] for rows in m)], rtol=0, atol=1e-14)


@pytest.mark.parametrize("how", ALL, ids=str)
def test_decoder_is_a_stack_of_lstms_that_hear_the_contexts(how: Conventions):
    p = example(how)
    r = run(p, how)
    start = [(r.last_h[k], r.last_c[k]) if how.start == "handed" else (None, None) for k in range(4)]
    e = p["E_y"][:, [BOS, *TGT[:-1]]].T
    bottom = lstm(p, "dec_1", np.hstack([e, r.fed]) if how.bottom_fed else e, *start[0])
    second = lstm(p, "dec_2", np.hstack([bottom, r.a]), *start[1])
    third = lstm(p, "dec_3", np.hstack([second, r.a]), *start[2]) + second
    fourth = lstm(p, "dec_4", np.hstack([third, r.a]), *start[3]) + third
    np.testing.assert_allclose(r.x, [bottom, second, third, fourth], rtol=0, atol=1e-14)
    np.testing.assert_allclose(r.logits, fourth @ p["W_s"].T + p["b_s"], rtol=0, atol=1e-14)


def attention(p: Mapping[str, Array], queries: Array, encoded: Array) -> Array:
    """Weights (T, S)."""
    hidden = np.tanh((queries @ p["W_q"].T + p["b_a"])[:, None] + encoded @ p["W_k"].T)
    odds = np.exp(hidden @ p["v_a"])
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("how", ALL, ids=str)
def test_contexts_are_those_that_the_bottom_layer_asked_for(how: Conventions):
    p = example(how)
    r = run(p, how)
    initial = r.last_h[0] if how.start == "handed" else np.zeros(SIZES.n)
    np.testing.assert_allclose(r.a, r.p @ r.encoded, rtol=0, atol=1e-14)

    asked_before = attention(p, np.vstack([initial, r.x[0, :-1]]), r.encoded)
    if how.first == "zero":
        asked_before[0] = 0
    asked_now = attention(p, r.x[0], r.encoded)
    expected = asked_before if how.attention_from == "previous" else asked_now
    np.testing.assert_allclose(r.p, expected, rtol=0, atol=1e-14)
    # Either way the bottom layer hears what was asked before it moved.
    np.testing.assert_allclose(r.fed, asked_before @ r.encoded * how.bottom_fed, rtol=0, atol=1e-14)
    assert np.max(np.abs(asked_before[1:] - asked_now[1:])) > 1e-2


@pytest.mark.parametrize("how", ALL, ids=str)
def test_a_later_target_word_changes_no_earlier_prediction(how: Conventions):
    params = example(how)
    one, other = run(params, how, tgt=[5, 2, 5, 3]), run(params, how, tgt=[5, 2, 1, 0])
    np.testing.assert_array_equal(one.logits[:3], other.logits[:3])
    assert np.max(np.abs(one.logits[3] - other.logits[3])) > 1e-3


def test_one_layer_is_refused():
    with pytest.raises(ValueError, match="1 layers"):
        shapes(Sizes(n=3, m=2, layers=1, align=2, K_x=7, K_y=6), PAPER)


@pytest.mark.parametrize(
    ("src", "tgt", "bos", "message"),
    [
        ([], [3], 2, "src is empty"),
        ([3], [], 2, "tgt is empty"),
        ([7], [3], 2, "src holds id 7; the vocabulary has 7 words"),
        ([3], [-1], 2, "tgt holds id -1; the vocabulary has 6 words"),
        ([3], [3], 6, "bos holds id 6; the vocabulary has 6 words"),
    ],
)
def test_ids_outside_the_vocabulary_are_refused(src: list[int], tgt: list[int], bos: int, message: str):
    with pytest.raises(ValueError, match=message):
        forward(example(PAPER), src, tgt, bos=bos)


# --- worked by hand ---------------------------------------------------------------------------------------------------

# With a = log(3) / 2: tanh(a) = 1/2, tanh(2a) = 4/5, sigma(2a) = 3/4. With d = log(2) / 2: tanh(d) = 1/3.
# A candidate g may be any number in (-1, 1) that suits the cell: G = atanh(2d), J = atanh(5d/2).
A = log(3) / 2
D = log(2) / 2
G = atanh(2 * D)
J = atanh(5 / 2 * D)


def layer(name: str, W_g: list[float], b_g: float = (G - J) / 2, U_g: float = 0.0) -> dict[str, list]:
    """i = 1/2, f = 1/4, o = 3/4 always. Where G goes into the first g and -J into the second, h = 1/4 and then -1/4:

    c = 1/2 * 2d = d, h = 3/4 * 1/3; c = 1/4 d - 1/2 * 5/2 d = -d, h = 3/4 * -1/3.
    """
    table: dict[str, list] = {}
    for gate, bias in (("i", 0), ("f", -2 * A), ("o", 2 * A)):
        table |= {f"{name}_W_{gate}": [[0] * len(W_g)], f"{name}_U_{gate}": [[0]], f"{name}_b_{gate}": [bias]}
    return table | {f"{name}_W_g": [W_g], f"{name}_U_g": [[U_g]], f"{name}_b_g": [b_g]}


def test_example_worked_by_hand():
    # x = (0, 1), embedded 1 and -1; y_0 = 0, y = (1, 1), embedded 1 and -1 and -1. One unit, three layers.
    table = {
        "E_x": [[1, -1]],
        "E_y": [[1, -1]],
        **layer("enc_1_fwd", [(G + J) / 2]),
        **layer("enc_1_bwd", [-(G + J) / 2]),
        **layer("enc_2", [3 * (G + J), G + J]),
        **layer("enc_3", [2 * (G + J)]),
        **layer("dec_1", [(G + J) / 2, 1], b_g=(G - J) / 2 - 1 / 4, U_g=2),
        **layer("dec_2", [3 * (G + J), -(G + J)]),
        **layer("dec_3", [5 * (G + J), -3 * (G + J)]),
        "W_q": [[4 * A], [0]],
        "W_k": [[2 * A], [2 * A]],
        "b_a": [0, 0],
        "v_a": [20 * A, -18 * A],
        "W_s": [[2 * A], [-2 * A]],
        "b_s": [0, 0],
    }
    params = {name: np.array(array, dtype=np.float64) for name, array in table.items()}
    assert {name: array.shape for name, array in params.items()} == shapes(
        Sizes(n=1, m=1, layers=3, align=2, K_x=2, K_y=2), PAPER
    )
    result = forward(params, src=[0, 1], tgt=[1, 1], bos=0)

    def close(actual: Array, expected: list) -> None:
        np.testing.assert_allclose(actual, np.array(expected), rtol=0, atol=1e-12)

    # Encoder. Forward: (G + J)/2 + (G - J)/2 = G, -(G + J)/2 + (G - J)/2 = -J: 1/4, -1/4. Backward reads -1 first:
    #   G, -J again, so 1/4 at x_2 and -1/4 at x_1. Layer 2 reads (1/4, -1/4), (-1/4, 1/4):
    #   3/4 (G + J) - 1/4 (G + J) + (G - J)/2 = G, then -J: 1/4, -1/4. Layer 3 reads that: G, -J.
    #   It adds what it read: 1/2, -1/2.
    close(result.encoded, [[1 / 2], [-1 / 2]])

    # Step 1 asks with 0. Hidden (tanh(+-a), tanh(+-a)), scores (20a - 18a)/2 = a and -a: (3/4, 1/4),
    #   a_1 = 3/8 - 1/8 = 1/4. Layer 1 reads (1, 1/4): (G + J)/2 + 1/4 + (G - J)/2 - 1/4 = G: 1/4.
    #   Layer 2 reads (1/4, 1/4): (3 - 1)/4 (G + J) + (G - J)/2 = G: 1/4. Layer 3 the same: 1/4, and adds 1/4: 1/2.
    # Step 2 asks with 1/4. Hidden (tanh(a + a), tanh(a)) = (4/5, 1/2), (tanh(a - a), tanh(-a)) = (0, -1/2); scores
    #   16a - 9a = 7a and 9a: (1/4, 3/4), a_2 = 1/8 - 3/8 = -1/4. Layer 1 reads (-1, -1/4) after 1/4:
    #   -(G + J)/2 - 1/4 + 2/4 + (G - J)/2 - 1/4 = -J: -1/4. Layers 2 and 3 read (-1/4, -1/4): -J: -1/4; -1/4 - 1/4.
    close(result.p, [[3 / 4, 1 / 4], [1 / 4, 3 / 4]])
    close(result.a, [[1 / 4], [-1 / 4]])
    close(result.x[:, :, 0], [[1 / 4, -1 / 4], [1 / 4, -1 / 4], [1 / 2, -1 / 2]])

    # Logits (a, -a), (-a, a): p = (3/4, 1/4), (1/4, 3/4). loss = -log(1/4) - log(3/4) = log(16/3).
    close(result.logits, [[A, -A], [-A, A]])
    assert result.loss == pytest.approx(log(16 / 3), abs=1e-12)

    # Gradient. d logits: (3/4, -3/4), (1/4, -1/4). d W_s = 1/2 * first - 1/2 * second.
    gradient = backward(result)
    close(gradient["b_s"], [1, -1])
    close(gradient["W_s"], [[1 / 4], [-1 / 4]])
