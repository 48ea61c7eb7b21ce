"""The NumPy twin of `luong` is itself held to finite differences, to nn.LSTM, and to an example worked by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import atanh, exp, log

import numpy as np
import pytest
import torch

from tests.models.lstm_numpy import gates_together
from tests.models.luong_numpy import (
    Attention,
    Result,
    Score,
    Sizes,
    as_given,
    backward,
    forward,
    shapes,
    words_reversed,
)
from tests.models.slopes import assert_gradient_is_slope, dead
from tests.models.tape_numpy import Array, random_parameters

SIZES = Sizes(n=3, m=2, layers=2, K_x=7, K_y=6, align=4, width=4, output_bias=True)
BOS = 2

# Words repeat, and BOS is among the target's, so that a gradient that overwrites instead of adding is seen.
SRC = [4, 6, 4, 5, 3]
TGT = [5, 2, 5, 3]

ATTENTIONS = [
    Attention(score="dot", reach="global", input_feeding=False),
    Attention(score="general", reach="global"),
    Attention(score="concat", reach="global"),
    Attention(score="location", reach="global"),
    Attention(score="location", reach="global", location="used"),
    Attention(score="general", reach="local_m", D=1),
    Attention(score="location", reach="local_m", D=1),
    Attention(score="location", reach="local_m", D=1, location="used", first=0),
    Attention(score="dot", reach="local_p", D=2),
    Attention(score="general", reach="local_p", D=1.5, first=0),
    Attention(score="concat", reach="local_p", D=1, input_feeding=False),
    Attention(score="location", reach="local_p", D=2),
    Attention(score="location", reach="local_p", D=2, location="used"),
]


def example(attention: Attention, sizes: Sizes = SIZES, seed: int = 1) -> dict[str, Array]:
    # Scale 2, or too little of a word comes through two LSTMs to be seen.
    return random_parameters(np.random.default_rng(seed), shapes(sizes, attention), scale=2.0)


def run(
    params: Mapping[str, Array], attention: Attention, src: Sequence[int] = SRC, tgt: Sequence[int] = TGT
) -> Result:
    return forward(params, src, tgt, bos=BOS, attention=attention)


# --- the gradient -----------------------------------------------------------------------------------------------------


def assert_gradient_of(attention: Attention, sizes: Sizes) -> None:
    params = example(attention, sizes)

    def loss(moved: Mapping[str, Array]) -> float:
        return run(moved, attention, SRC[-4:], TGT[:3]).loss

    assert_gradient_is_slope(loss, params, backward(run(params, attention, SRC[-4:], TGT[:3])), gates_together)


@pytest.mark.parametrize("attention", ATTENTIONS, ids=str)
def test_gradient_is_the_slope_of_the_loss(attention: Attention):
    assert_gradient_of(attention, replace(SIZES, layers=1))


def test_gradient_is_the_slope_of_the_loss_of_two_layers():
    assert_gradient_of(Attention(score="general"), SIZES)


@pytest.mark.parametrize("attention", ATTENTIONS, ids=str)
def test_gradient_reaches_every_parameter(attention: Attention):
    params = example(attention)
    gradient = backward(run(params, attention))
    assert dead(gradient) == set()
    for name, ids in (("E_x", SRC), ("E_y", [BOS, *TGT[:-1]])):
        assert set(np.flatnonzero(gradient[name].any(axis=0))) == set(ids), name


def test_the_centre_hears_through_the_gaussian_alone():
    # Where the only word in the window has its Gaussian at the top, p_t is deaf: d exp(-x^2) / dx = 0 at x = 0.
    attention = Attention(score="dot", reach="local_p", D=0.5, input_feeding=False)
    params = example(attention) | {"v_p": np.zeros(SIZES.n)}  # p_t = S / 2 = 1: the first of two words
    assert dead(backward(run(params, attention, SRC[-2:]))) == {"W_p", "v_p"}


# --- the stack --------------------------------------------------------------------------------------------------------


def torch_lstm(params: Mapping[str, Array], side: str) -> torch.nn.LSTM:
    """nn.LSTM with the same weights; its rows are the gates i, f, g, o, its second bias is zero."""
    layers = SIZES.layers
    lstm = torch.nn.LSTM(params[f"{side}_1_W_i"].shape[1], SIZES.n, layers, dtype=torch.float64)
    weights: dict[str, torch.Tensor] = {}
    for k in range(layers):
        for theirs, ours in (("weight_ih", "W"), ("weight_hh", "U"), ("bias_ih", "b")):
            rows = np.concatenate([params[f"{side}_{k + 1}_{ours}_{gate}"] for gate in "ifgo"])
            weights[f"{theirs}_l{k}"] = torch.from_numpy(rows)
        weights[f"bias_hh_l{k}"] = torch.zeros(4 * SIZES.n)
    lstm.load_state_dict(weights)
    return lstm


@torch.no_grad()
def test_states_are_those_of_two_stacked_lstms_handed_over_layer_by_layer():
    attention = Attention(score="dot", input_feeding=False)
    params = example(attention)
    result = run(params, attention)
    h_bar, last = torch_lstm(params, "enc")(torch.from_numpy(params["E_x"][:, SRC].T))
    h, _ = torch_lstm(params, "dec")(torch.from_numpy(params["E_y"][:, [BOS, *TGT[:-1]]].T), last)
    np.testing.assert_allclose(result.h_bar, h_bar, rtol=0, atol=1e-14)
    np.testing.assert_allclose(result.h, h, rtol=0, atol=1e-14)


def test_input_feeding_with_deaf_columns_is_no_input_feeding():
    fed = Attention(score="general")
    params = example(fed)
    deaf = {
        name: np.where(np.arange(array.shape[1]) < SIZES.m, array, 0.0) if name.startswith("dec_1_W") else array
        for name, array in params.items()
    }
    unfed = {name: array[:, : SIZES.m] if name.startswith("dec_1_W") else array for name, array in params.items()}
    one, other = run(deaf, fed), run(unfed, replace(fed, input_feeding=False))
    np.testing.assert_allclose(one.logits, other.logits, rtol=0, atol=1e-15)
    assert np.max(np.abs(run(params, fed).logits[1:] - one.logits[1:])) > 1e-2
    np.testing.assert_array_equal(run(params, fed).logits[0], one.logits[0])  # h~_0 = 0


def test_reversal_turns_the_words_and_leaves_the_last_id():
    assert words_reversed([4, 6, 5, 3]) == [5, 6, 4, 3]
    assert words_reversed([3]) == [3]
    assert as_given((4, 3)) == [4, 3]
    attention = Attention(score="general", reach="local_m", D=1)
    params = example(attention)
    one = forward(params, [4, 6, 5, 3], TGT, bos=BOS, attention=attention, reverse=words_reversed)
    other = forward(params, [5, 6, 4, 3], TGT, bos=BOS, attention=attention)
    assert one.read == (5, 6, 4, 3)
    np.testing.assert_array_equal(one.logits, other.logits)


def test_positions_move_the_window():
    attention = Attention(score="general", reach="local_m", D=0)
    params = example(attention)
    read = forward(params, [4, 6, 5, 3], TGT, bos=BOS, attention=attention)
    np.testing.assert_array_equal(read.a, np.eye(4))
    turned = forward(params, [4, 6, 5, 3], TGT, bos=BOS, attention=attention, positions=[3, 2, 1, 4])
    np.testing.assert_array_equal(turned.a, np.eye(4)[[2, 1, 0, 3]])


def test_a_later_target_word_changes_no_earlier_prediction():
    attention = Attention(score="general", reach="local_p", D=2)
    params = example(attention)
    one, other = run(params, attention, tgt=[5, 2, 5, 3]), run(params, attention, tgt=[5, 2, 1, 0])
    np.testing.assert_array_equal(one.logits[:3], other.logits[:3])
    assert np.max(np.abs(one.logits[3] - other.logits[3])) > 1e-3


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
    attention = Attention(score="dot")
    with pytest.raises(ValueError, match=message):
        forward(example(attention), src, tgt, bos=bos, attention=attention)


# --- the attention, from the states that the result shows -------------------------------------------------------------


def softmax(scores: Array) -> Array:
    return np.exp(scores) / np.sum(np.exp(scores))


def test_dot_is_the_softmax_of_the_dot_products():
    attention = Attention(score="dot")
    r = run(example(attention), attention)
    np.testing.assert_allclose(r.a, [softmax(r.h_bar @ h) for h in r.h], rtol=0, atol=1e-15)
    np.testing.assert_allclose(r.c, r.a @ r.h_bar, rtol=0, atol=1e-15)


def test_general_with_the_identity_is_dot():
    params = example(Attention(score="general")) | {"W_a": np.eye(SIZES.n)}
    one = run(params, Attention(score="general"))
    np.testing.assert_allclose(one.logits, run(params, Attention(score="dot")).logits, rtol=0, atol=1e-15)


def test_general_has_the_query_on_the_left():
    attention = Attention(score="general")
    params = example(attention)
    r = run(params, attention)
    np.testing.assert_allclose(r.a, [softmax(h @ params["W_a"] @ r.h_bar.T) for h in r.h], rtol=0, atol=1e-14)


def test_concat_has_the_query_first():
    attention = Attention(score="concat")
    params = example(attention)
    r = run(params, attention)
    W_h, W_s = params["W_a"][:, : SIZES.n], params["W_a"][:, SIZES.n :]
    scores = [np.tanh(W_h @ h + r.h_bar @ W_s.T) @ params["v_a"] for h in r.h]
    np.testing.assert_allclose(r.a, [softmax(row) for row in scores], rtol=0, atol=1e-15)


@pytest.mark.parametrize("S", [2, 4, 5])
def test_location_uses_the_top_part_of_a_fixed_vector(S: int):
    attention = Attention(score="location", input_feeding=False)
    params = example(attention)
    r = run(params, attention, SRC[-S:])
    whole = np.array([softmax(params["W_a"] @ h) for h in r.h])  # (T, 4)
    used = min(S, SIZES.width)
    np.testing.assert_allclose(r.a[:, :used], whole[:, :used], rtol=0, atol=1e-15)
    assert not r.a[:, used:].any()
    assert np.all(r.a.sum(axis=1) < 0.99) or used == SIZES.width

    among = run(params, replace(attention, location="used"), SRC[-S:])
    np.testing.assert_allclose(among.a, r.a / r.a.sum(axis=1, keepdims=True), rtol=0, atol=1e-15)


@pytest.mark.parametrize("score", ["dot", "general", "concat"])
def test_a_monotonic_window_holds_a_softmax_of_its_own(score: Score):
    attention = Attention(score=score, reach="local_m", D=1, input_feeding=False)
    params = example(attention)
    near, far = run(params, attention), run(params, replace(attention, reach="global"))
    window = np.array([[abs(s - t) <= 1 for s in range(1, 6)] for t in range(1, 5)])
    np.testing.assert_array_equal(near.a > 0, window)
    kept = np.where(window, far.a, 0.0)
    np.testing.assert_allclose(near.a, kept / kept.sum(axis=1, keepdims=True), rtol=0, atol=1e-15)
    np.testing.assert_array_equal(near.p, [1, 2, 3, 4])


@pytest.mark.parametrize("first", [0, 1])
def test_a_predicted_window_is_a_softmax_times_a_gaussian(first: int):
    attention = Attention(score="general", reach="local_p", D=2, input_feeding=False, first=first)
    params = example(attention)
    near, far = run(params, attention), run(params, replace(attention, reach="global"))
    centre = 5 / (1 + np.exp(-np.tanh(near.h @ params["W_p"].T) @ params["v_p"]))  # (T,)
    np.testing.assert_allclose(near.p, centre, rtol=1e-14)
    off = np.arange(first, first + 5) - centre[:, None]
    kept = np.where(np.abs(off) <= 2, far.a, 0.0)
    expected = kept / kept.sum(axis=1, keepdims=True) * np.exp(-(off**2) / 2)  # sigma = 1
    np.testing.assert_allclose(near.a, expected, rtol=0, atol=1e-15)
    assert np.all(near.a.sum(axis=1) < 0.95)
    assert 0 < np.sum(near.a == 0) < near.a.size / 2


@pytest.mark.parametrize("score", ["general", "location"])
def test_where_counting_starts_moves_no_monotonic_window(score: Score):
    attention = Attention(score=score, reach="local_m", D=1)
    params = example(attention)
    np.testing.assert_array_equal(run(params, attention).a, run(params, replace(attention, first=0)).a)


def test_a_window_as_wide_as_the_sentence_is_global():
    attention = Attention(score="general", reach="local_m", D=5)
    params = example(attention)
    np.testing.assert_array_equal(run(params, attention).logits, run(params, replace(attention, reach="global")).logits)


def test_a_window_past_the_end_sees_nothing():
    attention = Attention(score="general", reach="local_m", D=1)
    params = example(attention)
    r = run(params, attention, SRC[-1:])
    np.testing.assert_array_equal(r.a, [[1], [1], [0], [0]])
    np.testing.assert_array_equal(r.c[2:], 0)
    assert np.all(np.isfinite(r.logits))


# --- worked by hand ---------------------------------------------------------------------------------------------------

# With a = log(3) / 2: tanh(a) = 1/2, tanh(2a) = 4/5, sigma(2a) = 3/4. With d = log(2) / 2: tanh(d) = 1/3.
# A candidate g may be any number in (-1, 1) that suits the cell: G = atanh(2d), J = atanh(5d/2).
A = log(3) / 2
D = log(2) / 2
G = atanh(2 * D)
J = atanh(5 / 2 * D)


def test_example_worked_by_hand():
    # x = (0, 1), embedded 1 and -1; y_0 = 0, y = (1, 1), embedded 1 and -1 and -1. One unit, one layer.
    table = {
        "E_x": [[1, -1]],
        "E_y": [[1, -1]],
        "enc_1_W_i": [[2 * A]],
        "enc_1_U_i": [[16 * A]],
        "enc_1_b_i": [-2 * A],
        "enc_1_W_f": [[4 * A]],
        "enc_1_U_f": [[8 * A]],
        "enc_1_b_f": [0],
        "enc_1_W_o": [[2 * A]],
        "enc_1_U_o": [[8 * A]],
        "enc_1_b_o": [0],
        "enc_1_W_g": [[G - 1]],
        "enc_1_U_g": [[4 * (G - J - 2)]],
        "enc_1_b_g": [1],
        "dec_1_W_i": [[2 * A, 2 * A]],
        "dec_1_U_i": [[12 * A]],
        "dec_1_b_i": [0],
        "dec_1_W_f": [[-A, 9 * A]],
        "dec_1_U_f": [[6 * A]],
        "dec_1_b_f": [0],
        "dec_1_W_o": [[A, -9 * A]],
        "dec_1_U_o": [[-6 * A]],
        "dec_1_b_o": [0],
        "dec_1_W_g": [[J + 1 / 2, 1 / 2]],
        "dec_1_U_g": [[3]],
        "dec_1_b_g": [0],
        "W_a": [[96 / 5 * A]],
        "W_p": [[4 * A]],
        "v_p": [4 * A],
        "W_c": [[48 / 19 * exp(1 / 2) * A, -104 / 19 * A]],
        "W_s": [[20 / 13 * A], [-20 / 13 * A]],
        "b_s": [-3 / 13 * A, 3 / 13 * A],
    }
    params = {name: np.array(array, dtype=np.float64) for name, array in table.items()}
    attention = Attention(score="general", reach="local_p", D=1)
    result = forward(params, src=[0, 1], tgt=[1, 1], bos=0, attention=attention)

    def close(actual: Array, expected: list) -> None:
        np.testing.assert_allclose(actual, np.array(expected), rtol=0, atol=1e-12)

    # Encoder. x_1 from zero: i = sigma(2a - 2a) = 1/2; g = tanh(G - 1 + 1) = 2d; c = d; o = sigma(2a) = 3/4;
    #   h = 3/4 * 1/3 = 1/4.
    # x_2: i = sigma(-2a + 16/4 a - 2a) = 1/2; f = sigma(-4a + 8/4 a) = sigma(-2a) = 1/4;
    #   g = tanh(-G + 1 + (G - J - 2) + 1) = tanh(-J) = -5/2 d; c = 1/4 d - 1/2 * 5/2 d = -d; o = sigma(-2a + 2a) = 1/2;
    #   h = 1/2 * -1/3 = -1/6.
    close(result.h_bar, [[1 / 4], [-1 / 6]])

    # Decoder, from h = -1/6, c = -d. Step 1 reads (1, 0): i = sigma(2a - 2a) = 1/2; f = sigma(-a - a) = 1/4;
    #   g = tanh(J + 1/2 - 3/6) = 5/2 d; c = -1/4 d + 5/4 d = d; o = sigma(a + a) = 3/4; h = 3/4 * 1/3 = 1/4.
    # p = 2 sigma(4a tanh(4a / 4)) = 2 sigma(2a) = 3/2; both words are 1/2 away: exp(-(1/4) / (2 * 1/4)) = exp(-1/2).
    # Scores 1/4 * 96/5 a * (1/4, -1/6), apart by 2a: (3/4, 1/4). c = (3/16 - 1/24) exp(-1/2) = 7/48 exp(-1/2).
    # h~ = tanh(48/19 * 7/48 a - 104/19 * 1/4 a) = tanh((7 - 26)/19 a) = -1/2.
    # Step 2 reads (-1, -1/2) from h = 1/4, c = d: i = sigma(-2a - a + 3a) = 1/2; f = sigma(a - 9/2 a + 3/2 a) = 1/4;
    #   g = tanh(-J - 1/2 - 1/4 + 3/4) = -5/2 d; c = 1/4 d - 5/4 d = -d; o = sigma(-a + 9/2 a - 3/2 a) = 3/4; h = -1/4.
    # p = 2 sigma(-2a) = 1/2: only word 1 is within 1 of it, softmax 1. c = 1/4 exp(-1/2).
    # h~ = tanh(48/19 * 1/4 a + 104/19 * 1/4 a) = tanh(2a) = 4/5.
    close(result.h, [[1 / 4], [-1 / 4]])
    close(result.p, [3 / 2, 1 / 2])
    close(result.a, [[3 / 4 * exp(-1 / 2), 1 / 4 * exp(-1 / 2)], [exp(-1 / 2), 0]])
    close(result.c, [[7 / 48 * exp(-1 / 2)], [1 / 4 * exp(-1 / 2)]])
    close(result.h_tilde, [[-1 / 2], [4 / 5]])

    # Logits: first less second is 40/13 a h~ - 6/13 a: -2a, then 2a. p = (1/4, 3/4), (3/4, 1/4).
    # loss = -log(3/4) - log(1/4) = log(16/3).
    close(result.logits[:, 0] - result.logits[:, 1], [-2 * A, 2 * A])
    assert result.loss == pytest.approx(log(16 / 3), abs=1e-12)

    # Gradient. d logits: (1/4, -1/4), (3/4, -3/4). d W_s = -1/2 * first + 4/5 * second.
    gradient = backward(result)
    close(gradient["b_s"], [1, -1])
    close(gradient["W_s"], [[19 / 40], [-19 / 40]])

    # With the first word alone nothing is fed back: d h~ = 1/4 * 40/13 a, through the tanh by 1 - 1/4.
    alone = forward(params, src=[0, 1], tgt=[1], bos=0, attention=attention)
    inside = 3 / 4 * 10 / 13 * A
    close(backward(alone)["W_c"], [[inside * 7 / 48 * exp(-1 / 2), inside / 4]])
