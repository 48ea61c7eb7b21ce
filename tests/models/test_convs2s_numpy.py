"""The NumPy twin of `convs2s` is itself held to finite differences, to conv1d, and to examples worked by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log, sqrt

import numpy as np
import pytest
import torch

from tests.models.convs2s_numpy import (
    Conventions,
    Layer,
    Result,
    Sizes,
    backward,
    forward,
    plain,
    random_parameters,
    released,
    shapes,
)
from tests.models.slopes import assert_gradient_is_slope, dead
from tests.models.tape_numpy import Array

# An even kernel on either side, a layer wider and one narrower than that below it, kernels of one.
SIZES = Sizes(
    f=3,
    out=2,
    encoder=[Layer(2, 3), Layer(3, 2)],
    decoder=[Layer(3, 3), Layer(2, 2), Layer(2, 1)],
    positions=6,
    K_x=7,
    K_y=6,
)
SMALL = Sizes(f=3, out=2, encoder=[Layer(2, 3)], decoder=[Layer(3, 3), Layer(2, 2)], positions=4, K_x=7, K_y=6)
BOS = 2

# Words repeat, and BOS is among the target's, so that a gradient that overwrites instead of adding is seen.
SRC = [4, 6, 4, 5, 3]
TGT = [5, 2, 5, 3]

LETTER = Conventions()
CODE = replace(released(attentions=2), gradient_z=1.0)


def example(sizes: Sizes = SIZES, seed: int = 1) -> dict[str, Array]:
    return random_parameters(np.random.default_rng(seed), shapes(sizes))


def run(
    params: Mapping[str, Array],
    how: Conventions = LETTER,
    sizes: Sizes = SIZES,
    src: Sequence[int] = SRC,
    tgt: Sequence[int] = TGT,
) -> Result:
    return forward(params, src, tgt, bos=BOS, sizes=sizes, conventions=how)


# --- the gradient -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "sizes", "S", "T"), [(LETTER, SMALL, 3, 2), (CODE, SMALL, 2, 3), (CODE, SIZES, 3, 2)])
def test_gradient_is_the_slope_of_the_loss(how: Conventions, sizes: Sizes, S: int, T: int):
    params, src, tgt = example(sizes), SRC[-S:], TGT[:T]

    def loss(moved: Mapping[str, Array]) -> float:
        return run(moved, how, sizes, src, tgt).loss

    assert_gradient_is_slope(loss, params, backward(run(params, how, sizes, src, tgt)))


@pytest.mark.parametrize("how", [LETTER, CODE])
def test_gradient_reaches_every_parameter(how: Conventions):
    params = example()
    gradient = backward(run(params, how))
    assert dead(gradient) == set()
    used = {"E_x": set(SRC), "P_x": {0, 1, 2, 3, 4}, "E_y": {BOS, *TGT[:-1]}, "P_y": {0, 1, 2, 3}}
    for name, columns in used.items():
        assert set(np.flatnonzero(gradient[name].any(axis=0))) == columns, name


def in_encoder(name: str) -> bool:
    return name.startswith("enc_")


def test_scaling_the_gradient_of_z_scales_the_encoder_and_nothing_else():
    params = example()
    whole = run(params)
    scaled = run(params, replace(LETTER, gradient_z=0.25))
    np.testing.assert_array_equal(scaled.logits, whole.logits)
    true, quarter = backward(whole), backward(scaled)
    for name, array in true.items():
        if not name.endswith("_x"):
            np.testing.assert_allclose(quarter[name], 0.25 * array if in_encoder(name) else array, rtol=1e-12)

    # The source embeddings: what they hear as e_j is whole, what they hear through the encoder is a quarter.
    direct = backward(run(params, replace(LETTER, gradient_z=0.0)))
    for name in ("E_x", "P_x"):
        np.testing.assert_allclose(quarter[name], 0.75 * direct[name] + 0.25 * true[name], rtol=0, atol=1e-14)
        assert np.max(np.abs(direct[name] - true[name])) > 1e-2


def test_the_other_reading_leaves_the_source_embeddings_their_gradient():
    params = example()
    true = backward(run(params))
    spared = backward(run(params, replace(LETTER, gradient_z=0.25, gradient_in=4.0)))
    for name, array in true.items():
        np.testing.assert_allclose(spared[name], 0.25 * array if in_encoder(name) else array, rtol=0, atol=1e-14)


def test_released_code_scales_by_twice_the_number_of_attentions():
    assert released(attentions=15).gradient_z == pytest.approx(1 / 30)


# --- weight normalisation ---------------------------------------------------------------------------------------------


def test_weight_norm_is_the_plain_model_with_rows_of_the_length_of_their_gain():
    params = example()
    without = plain(params)
    assert {name: array.shape for name, array in without.items()} == shapes(SIZES, weight_norm=False)
    np.testing.assert_allclose(run(without).logits, run(params).logits, rtol=0, atol=1e-14)
    for name in ("enc_2_W", "dec_2_R", "dec_1_W_d", "W_o"):
        np.testing.assert_allclose(np.linalg.norm(without[name], axis=1), params[f"{name}_gain"], rtol=1e-14)
        np.testing.assert_allclose(
            without[name] / params[f"{name}_v"],
            np.broadcast_to((without[name] / params[f"{name}_v"])[:, :1], without[name].shape),
        )


def test_lookup_tables_and_biases_have_no_weight_norm():
    normed = {name[:-2] for name in shapes(SIZES) if name.endswith("_v")}
    assert normed == {name for name, shape in shapes(SIZES, weight_norm=False).items() if len(shape) == 2} - {
        "E_x",
        "P_x",
        "E_y",
        "P_y",
    }


def test_gradient_of_v_is_across_v_and_that_of_the_gain_along_it():
    params = example()
    gradient, without = backward(run(params)), backward(run(plain(params)))
    for name in without:
        if f"{name}_v" in params:
            v, gain = params[f"{name}_v"], params[f"{name}_gain"][:, None]
            length = np.linalg.norm(v, axis=1, keepdims=True)
            along = np.sum(without[name] * v, axis=1, keepdims=True) / length
            np.testing.assert_allclose(gradient[f"{name}_gain"], along[:, 0], rtol=0, atol=1e-13)
            # Salimans and Kingma, Eq. (3).
            across = gain / length * (without[name] - along * v / length)
            np.testing.assert_allclose(gradient[f"{name}_v"], across, rtol=0, atol=1e-13)
            np.testing.assert_allclose(np.sum(gradient[f"{name}_v"] * v, axis=1), 0, rtol=0, atol=1e-13)


# --- the layers -------------------------------------------------------------------------------------------------------


def conv1d(W: Array, b: Array, x: Array, left: int, right: int) -> Array:
    """A gated convolution over the rows of x (S, d_below), by torch; W as in the twin."""
    k = left + right + 1
    kernel = torch.from_numpy(W.reshape(len(W), k, -1).transpose(0, 2, 1).copy())
    padded = torch.nn.functional.pad(torch.from_numpy(x.T.copy()), (left, right))
    y = torch.nn.functional.conv1d(padded[None], kernel, torch.from_numpy(b))
    return torch.nn.functional.glu(y, dim=1)[0].T.numpy()


def test_encoder_is_two_gated_convolutions():
    params = example()
    p, r = plain(params), run(params)
    np.testing.assert_allclose(r.e, (p["E_x"][:, SRC] + p["P_x"][:, :5]).T, rtol=0, atol=1e-15)
    h = r.e @ p["enc_in_W"].T + p["enc_in_b"]
    h = sqrt(0.5) * (conv1d(p["enc_1_W"], p["enc_1_b"], h, 1, 1) + h)
    h = sqrt(0.5) * (conv1d(p["enc_2_W"], p["enc_2_b"], h, 0, 1) + h @ p["enc_2_R"].T + p["enc_2_R_b"])
    np.testing.assert_allclose(r.z, h @ p["enc_out_W"].T + p["enc_out_b"], rtol=0, atol=1e-14)


@pytest.mark.parametrize("how", [LETTER, CODE])
def test_decoder_layers_follow_from_those_below(how: Conventions):
    params = example()
    p, r = plain(params), run(params, how)
    below = r.g @ p["dec_in_W"].T + p["dec_in_b"]
    for k, (layer, h) in enumerate(zip((1, 2, 3), r.h, strict=True)):
        residual = below @ p["dec_2_R"].T + p["dec_2_R_b"] if layer == 2 else below
        u = conv1d(p[f"dec_{layer}_W"], p[f"dec_{layer}_b"], below, SIZES.decoder[k].k - 1, 0)
        state = u if how == CODE else sqrt(0.5) * (u + residual)
        d = how.query_scale * (state @ p[f"dec_{layer}_W_d"].T + p[f"dec_{layer}_b_d"] + r.g)
        np.testing.assert_allclose(r.d[k], d, rtol=0, atol=1e-14)
        odds = np.exp(r.d[k] @ r.z.T)
        np.testing.assert_allclose(r.a[k], odds / odds.sum(axis=1, keepdims=True), rtol=0, atol=1e-14)
        np.testing.assert_allclose(r.c[k], sqrt(5) * how.value_scale * r.a[k] @ (r.z + r.e), rtol=0, atol=1e-14)
        state = sqrt(0.5) * (state + r.c[k] @ p[f"dec_{layer}_W_c"].T + p[f"dec_{layer}_b_c"])
        np.testing.assert_allclose(h, sqrt(0.5) * (state + residual) if how == CODE else state, rtol=0, atol=1e-14)
        below = h
    out = below @ p["dec_out_W"].T + p["dec_out_b"]
    np.testing.assert_allclose(r.logits, out @ p["W_o"].T + p["b_o"], rtol=0, atol=1e-14)


def test_a_later_target_word_changes_no_earlier_prediction():
    params = example()
    one, other = run(params, tgt=[5, 2, 5, 3]), run(params, tgt=[5, 2, 1, 0])
    np.testing.assert_array_equal(one.logits[:3], other.logits[:3])
    assert np.max(np.abs(one.logits[3] - other.logits[3])) > 1e-3


def test_every_source_word_is_seen_within_the_kernels():
    # Kernel 3 reaches one word to either side, kernel 2 one word more to the right.
    params = example()
    one, other = run(params), run(params, src=[4, 6, 4, 2, 3])
    changed = np.any(one.z != other.z, axis=1)
    np.testing.assert_array_equal(changed, [False, True, True, True, True])


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
        forward(example(), src, tgt, bos=bos, sizes=SIZES)


# --- worked by hand ---------------------------------------------------------------------------------------------------

# With a = log(3) / 2: sigma(2a) = 3/4. R is sqrt(1/2), which the paper puts on every sum of a residual.
A = log(3) / 2
R = sqrt(1 / 2)

ONE = Sizes(f=1, out=1, encoder=[Layer(1, 3)], decoder=[Layer(1, 2)], positions=2, K_x=2, K_y=2)

BY_HAND = {
    "E_x": [[1 / 2, -3 / 2]],
    "P_x": [[1 / 2, 1 / 2]],
    "E_y": [[2, -1]],
    "P_y": [[-1, 0]],
    "enc_in_W": [[1]],
    "enc_in_b": [0],
    "enc_1_W": [[3, 1, -2], [-A, A, -A]],
    "enc_1_b": [0, 0],
    "enc_out_W": [[4 / 15 / R]],
    "enc_out_b": [2 / 15],
    "dec_in_W": [[1]],
    "dec_in_b": [0],
    "dec_1_W": [[1, 2], [-4 * A, -4 * A]],
    "dec_1_b": [0, 2 * A],
    "dec_1_b_c": [0],
    "W_o": [[A], [-A]],
    "b_o": [0, 0],
}


def by_hand(**others: list) -> dict[str, Array]:
    params = {name: np.array(array, dtype=np.float64) for name, array in {**BY_HAND, **others}.items()}
    assert {name: array.shape for name, array in params.items()} == shapes(ONE, weight_norm=False)
    return params


def close(actual: Array, expected: list) -> None:
    np.testing.assert_allclose(actual, np.array(expected), rtol=0, atol=1e-12)


def test_example_worked_by_hand():
    # x = (0, 1), with positions 1 and -1; y_0 = 0, y = (1, 1), with positions g = (2 - 1, -1 - 0) = (1, -1).
    w = 4 / 13 * (4 * A - 2)
    params = by_hand(
        dec_1_W_d=[[w / R]],
        dec_1_b_d=[2 * A - 1 - 3 / 2 * w],
        dec_1_W_c=[[1]],
        dec_out_W=[[16 / 25]],
        dec_out_b=[-7 / 25],
    )
    result = forward(params, src=[0, 1], tgt=[1, 1], bos=0, sizes=ONE)

    # Encoder. Windows (0, 1, -1) and (1, -1, 0). A: 1 + 2 = 3; 3 - 1 = 2. B: a + a = 2a; -a - a = -2a.
    #   GLU: 3 * 3/4 = 9/4; 2 * 1/4 = 1/2. h = R (9/4 + 1) = 13/4 R; R (1/2 - 1) = -1/2 R.
    #   z = 4/15 * 13/4 + 2/15 = 1; -4/15 * 1/2 + 2/15 = 0. Values z + e = 2; -1.
    close(result.e, [[1], [-1]])
    close(result.z, [[1], [0]])

    # Decoder. Windows (0, 1) and (1, -1). A: 2; 1 - 2 = -1. B: -4a + 2a = -2a; -4a + 4a + 2a = 2a.
    #   GLU: 2 * 1/4 = 1/2; -1 * 3/4 = -3/4. With the residual: R (1/2 + 1) = 3/2 R; R (-3/4 - 1) = -7/4 R.
    # d = w * 3/2 + b_d + 1 = 2a; w * -7/4 + b_d - 1 = 2a - 2 - 13/4 w = -2a.
    # Scores (2a, 0), (-2a, 0): weights (3/4, 1/4), (1/4, 3/4).
    # c, times 2 sqrt(1/2) = 2R: 2R (3/4 * 2 - 1/4) = 5/2 R; 2R (1/4 * 2 - 3/4) = -1/2 R.
    # h = R (3/2 R + 5/2 R) = 2; R (-7/4 R - 1/2 R) = -9/8.
    close(result.g, [[1], [-1]])
    close(result.d, [[[2 * A], [-2 * A]]])
    close(result.a, [[[3 / 4, 1 / 4], [1 / 4, 3 / 4]]])
    close(result.c, [[[5 / 2 * R], [-1 / 2 * R]]])
    close(result.h[0], [[2], [-9 / 8]])

    # Out: 32/25 - 7/25 = 1; -18/25 - 7/25 = -1. Logits (a, -a), (-a, a): p = (3/4, 1/4), (1/4, 3/4).
    # loss = -log(1/4) - log(3/4) = log(16/3).
    close(result.logits, [[A, -A], [-A, A]])
    assert result.loss == pytest.approx(log(16 / 3), abs=1e-12)

    # Gradient. d logits: (3/4, -3/4), (1/4, -1/4). d W_o = first - second. d out = 2a * 3/4, 2a * 1/4.
    gradient = backward(result)
    close(gradient["b_o"], [1, -1])
    close(gradient["W_o"], [[1 / 2], [-1 / 2]])
    close(gradient["dec_out_b"], [2 * A])
    close(gradient["dec_out_W"], [[2 * A * (3 / 4 * 2 - 1 / 4 * 9 / 8)]])
    # d (h + W_c c) = R * 16/25 * d out.
    into = R * 16 / 25 * 2 * A
    close(gradient["dec_1_b_c"], [into])
    close(gradient["dec_1_W_c"], [[into * (3 / 4 * 5 / 2 - 1 / 4 * 1 / 2) * R]])


def test_example_of_the_released_code_worked_by_hand():
    # As above up to the gated linear units, 1/2 and -3/4, from which the released code attends.
    w = 4 / 5 * (4 * A / R - 2)
    o = 2 / (11 / 8 + 2 * R)
    params = by_hand(
        dec_1_W_d=[[w]],
        dec_1_b_d=[2 * A / R - 1 - w / 2],
        dec_1_W_c=[[1]],
        dec_out_W=[[o]],
        dec_out_b=[1 - o * (7 / 8 + R)],
    )
    result = forward(params, src=[0, 1], tgt=[1, 1], bos=0, sizes=ONE, conventions=released(attentions=1))

    # d = R (w/2 + b_d + 1) = 2a; R (-3/4 w + b_d - 1) = R (2a/R - 2 - 5/4 w) = -2a. Weights as above.
    # c, values times R: 2R * R * 5/4 = 5/4; 2R * R * -1/4 = -1/4.
    # h = R (R (1/2 + 5/4) + 1) = 7/8 + R; R (R (-3/4 - 1/4) - 1) = -1/2 - R, apart by 11/8 + 2R.
    close(result.d, [[[2 * A], [-2 * A]]])
    close(result.c, [[[5 / 4], [-1 / 4]]])
    close(result.h[0], [[7 / 8 + R], [-1 / 2 - R]])
    close(result.logits, [[A, -A], [-A, A]])
