"""The NumPy twin of `bahdanau` is itself held to finite differences, to an example worked by hand, and to B.1."""

from dataclasses import replace
from math import log

import numpy as np
import pytest

from tests.models.bahdanau_numpy import (
    NAMES,
    RECURRENT,
    Array,
    Parameters,
    Sizes,
    backward,
    forward,
    forward_backward,
    initialise,
    random_parameters,
    shapes,
)

SIZES = Sizes(n=5, m=4, maxout=3, n_prime=6, K_x=7, K_y=8)
BOS = 2

# Words repeat, and BOS is among the target's, so that a gradient that overwrites instead of adding is seen.
SRC = [4, 6, 4, 3]
TGT = [5, 2, 5, 3]

DECODER_UNIT = {"W", "W_z", "W_r", "U", "U_z", "U_r", "C", "C_z", "C_r", "b", "b_z", "b_r"}
ALIGNMENT = {"W_a", "U_a", "v_a", "b_a"}


def example(seed: int = 1) -> Parameters:
    return random_parameters(np.random.default_rng(seed), SIZES)


def changed(params: Parameters, **arrays: Array | list) -> Parameters:
    return replace(params, **{name: np.array(array, dtype=np.float64) for name, array in arrays.items()})


def slope(params: Parameters, name: str, direction: Array, src: list[int], tgt: list[int]) -> float:
    """Central difference of fourth order of the loss along a direction in one parameter."""
    step = 1e-3

    def loss(k: int) -> float:
        moved = changed(params, **{name: getattr(params, name) + k * step * direction})
        return forward(moved, src, tgt, BOS).loss

    return (8 * (loss(1) - loss(-1)) - (loss(2) - loss(-2))) / (12 * step)


def assert_slope(by_hand: float, measured: float, what: str) -> None:
    """Relative error below 1e-6; below 1e-3 the rounding of the loss itself shows, so the error counts from there."""
    error = abs(by_hand - measured) / max(abs(by_hand), abs(measured), 1e-3)
    assert error < 1e-6, f"{what}: {by_hand} by hand, {measured} measured, relative error {error}"


# --- the gradient -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("S", "T"), [(1, 1), (1, 3), (2, 2), (3, 1), (4, 4)])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_slope_of_the_loss(name: str, S: int, T: int):
    rng = np.random.default_rng(10 * S + T)
    params, src, tgt = example(), SRC[-S:], TGT[-T:]
    gradient = getattr(backward(params, forward(params, src, tgt, BOS)), name)
    assert gradient.shape == shapes(SIZES)[name]

    for entry in rng.choice(gradient.size, size=min(5, gradient.size), replace=False):
        one = np.zeros(gradient.size)
        one[entry] = 1.0
        measured = slope(params, name, one.reshape(gradient.shape), src, tgt)
        assert_slope(gradient.flat[entry], measured, f"{name}[{entry}]")

    # One direction through the whole tensor: no entry goes unseen.
    whole = rng.normal(size=gradient.shape) / np.sqrt(gradient.size)
    assert_slope(float(np.sum(gradient * whole)), slope(params, name, whole, src, tgt), f"{name}, whole")


def test_gradient_reaches_every_parameter():
    params = example()
    gradient = backward(params, forward(params, SRC, TGT, BOS)).as_dict()
    for name, array in gradient.items():
        assert np.max(np.abs(array)) > 1e-3, name
    for name, ids in (("E_x", SRC), ("E_y", [BOS, *TGT[:-1]])):
        used = np.any(gradient[name] != 0, axis=0)
        assert set(np.flatnonzero(used)) == set(ids), name


def test_gradient_of_the_decoder_unit_is_zero_with_one_target_word():
    # t~_1 is made of s_0; s_1 feeds nothing.
    params = example()
    gradient = backward(params, forward(params, SRC, [3], BOS)).as_dict()
    assert {name for name, array in gradient.items() if not array.any()} == DECODER_UNIT


def test_gradient_of_the_alignment_is_zero_with_one_source_word():
    params = example()
    gradient = backward(params, forward(params, [3], TGT, BOS)).as_dict()
    recurrent = {f"{name}_{direction}" for name in ("U", "U_z", "U_r") for direction in ("fwd", "bwd")}
    # A single word also starts both encoders from zero, where the reset gate has nothing to reset.
    reset = {f"{name}_r_{direction}" for name in ("W", "b") for direction in ("fwd", "bwd")}
    assert {name for name, array in gradient.items() if not array.any()} == ALIGNMENT | recurrent | reset


def test_batch_is_the_sum_of_its_sentences():
    params = example()
    pairs = [(SRC, TGT), ([1, 3], [6, 6, 3]), ([3], [3])]
    loss, gradient, results = forward_backward(params, pairs, BOS)
    assert [(list(r.src), list(r.tgt)) for r in results] == pairs
    alone = [forward(params, src, tgt, BOS) for src, tgt in pairs]
    assert loss == pytest.approx(sum(r.loss for r in alone), rel=1e-14)
    gradients = [backward(params, r) for r in alone]
    for name in NAMES:
        np.testing.assert_allclose(getattr(gradient, name), sum(getattr(g, name) for g in gradients), atol=1e-14)


# --- the forward pass -------------------------------------------------------------------------------------------------


def test_alignment_of_each_target_word_sums_to_one():
    alpha = forward(example(), SRC, TGT, BOS).alpha
    assert alpha.shape == (4, 4)
    np.testing.assert_allclose(alpha.sum(axis=1), 1.0, rtol=0, atol=1e-15)
    assert np.ptp(alpha) > 0.03


@pytest.mark.parametrize("S", [1, 2, 3, 4])
def test_alignment_is_uniform_where_v_a_is_zero(S: int):
    params = changed(example(), v_a=np.zeros(SIZES.n_prime))
    result = forward(params, SRC[-S:], TGT, BOS)
    np.testing.assert_allclose(result.alpha, 1.0 / S, rtol=0, atol=1e-16)
    np.testing.assert_allclose(result.c, np.tile(result.h.mean(axis=0), (4, 1)), rtol=0, atol=1e-15)


def test_a_later_target_word_changes_no_earlier_prediction():
    params = example()
    one, other = forward(params, SRC, [5, 2, 5, 3], BOS), forward(params, SRC, [5, 2, 1, 0], BOS)
    np.testing.assert_array_equal(one.logits[:3], other.logits[:3])  # y_3 is first an input at step 4
    assert np.max(np.abs(one.logits[3] - other.logits[3])) > 1e-3


@pytest.mark.parametrize(
    ("src", "tgt", "bos", "message"),
    [
        ([], [3], 2, "src is empty"),
        ([3], [], 2, "tgt is empty"),
        ([7], [3], 2, "src holds id 7; the vocabulary has 7 words"),
        ([3], [-1], 2, "tgt holds id -1; the vocabulary has 8 words"),
        ([3], [3], 8, "bos holds id 8; the vocabulary has 8 words"),
    ],
)
def test_ids_outside_the_vocabulary_are_refused(src: list[int], tgt: list[int], bos: int, message: str):
    with pytest.raises(ValueError, match=message):
        forward(example(), src, tgt, bos)


# --- maxout -----------------------------------------------------------------------------------------------------------


def with_rows(params: Parameters, rows: list[int]) -> Parameters:
    """The rows of t~ in another order."""
    return changed(params, **{name: getattr(params, name)[rows] for name in ("U_o", "V_o", "C_o", "b_o")})


def test_order_within_a_maxout_pair_changes_nothing():
    params = example()
    swapped = with_rows(params, [1, 0, 3, 2, 5, 4])
    one, other = forward(params, SRC, TGT, BOS), forward(swapped, SRC, TGT, BOS)
    np.testing.assert_allclose(other.logits, one.logits, rtol=0, atol=1e-14)
    back = with_rows(backward(swapped, other), [1, 0, 3, 2, 5, 4])
    for name, array in backward(params, one).as_dict().items():
        np.testing.assert_allclose(getattr(back, name), array, rtol=0, atol=1e-13, err_msg=name)


def test_order_of_whole_maxout_pairs_goes_with_the_columns_of_w_o():
    params = example()
    moved = with_rows(params, [4, 5, 0, 1, 2, 3])
    moved = changed(moved, W_o=params.W_o[:, [2, 0, 1]])
    np.testing.assert_allclose(
        forward(moved, SRC, TGT, BOS).logits, forward(params, SRC, TGT, BOS).logits, rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("rows", [[0, 2, 1, 3, 4, 5], [3, 1, 2, 0, 4, 5], [0, 2, 4, 1, 3, 5]])
def test_order_across_maxout_pairs_matters(rows: list[int]):
    # The last one is the layout "first half against second half", which is not the paper's.
    params = example()
    one, other = forward(params, SRC, TGT, BOS), forward(with_rows(params, rows), SRC, TGT, BOS)
    assert np.max(np.abs(one.logits - other.logits)) > 0.1


def test_tie_in_a_maxout_pair_gives_each_row_half():
    params = example()
    tied = with_rows(params, [0, 0, 2, 3, 4, 5])
    gradient = backward(tied, forward(tied, SRC, TGT, BOS))
    for array in (gradient.U_o, gradient.V_o, gradient.C_o, gradient.b_o):
        np.testing.assert_array_equal(array[0], array[1])
    # Where the other row is out of reach the first one gets all of it.
    alone = changed(tied, b_o=[tied.b_o[0], -100.0, *tied.b_o[2:]])
    whole = backward(alone, forward(alone, SRC, TGT, BOS))
    np.testing.assert_allclose(2 * gradient.U_o[0], whole.U_o[0], rtol=0, atol=1e-14)
    assert not whole.U_o[1].any()


# --- worked by hand ---------------------------------------------------------------------------------------------------

# With a = log(3) / 2, exp(2a) = 3: tanh(a) = 1/2, tanh(3a) = 13/14,
#   sigma(2a) = 3/4, sigma(-2a) = 1/4, sigma(4a) = 9/10.
# With d = log(2) / 2: tanh(d) = 1/3, tanh(3d) = 7/9, exp(2d) = 2.
A = log(3) / 2
D = log(2) / 2

BY_HAND = Parameters(
    **{
        name: np.array(array, dtype=np.float64)
        for name, array in {
            "E_x": [[1, -1]],
            "W_fwd": [[A]],
            "W_z_fwd": [[2 * A]],
            "W_r_fwd": [[-2 * A]],
            "U_fwd": [[160 / 27 * A]],
            "U_z_fwd": [[16 / 3 * A]],
            "U_r_fwd": [[16 / 3 * A]],
            "b_fwd": [0],
            "b_z_fwd": [0],
            "b_r_fwd": [0],
            "W_bwd": [[2 * A]],
            "W_z_bwd": [[0]],
            "W_r_bwd": [[0]],
            "U_bwd": [[64 / 3 * A]],
            "U_z_bwd": [[16 / 3 * A]],
            "U_r_bwd": [[0]],
            "b_bwd": [A],
            "b_z_bwd": [2 * A],
            "b_r_bwd": [-2 * A],
            "E_y": [[1, -1]],
            "W": [[-A]],
            "W_z": [[2 * A]],
            "W_r": [[2 * A]],
            "U": [[16 * A]],
            "U_z": [[-8 * A]],
            "U_r": [[4 * A]],
            "C": [[144 / 5 * A, 72 * A]],
            "C_z": [[0, 144 * A]],
            "C_r": [[0, -432 * A]],
            "b": [-14 * A],
            "b_z": [2 * A],
            "b_r": [0],
            "W_s": [[16 * A]],
            "b_s": [0],
            "W_a": [[-8 / 3 * D]],
            "U_a": [[-4 * D, 4 * D]],
            "v_a": [9 * D],
            "b_a": [43 / 12 * D],
            "U_o": [[4], [2]],
            "V_o": [[3], [1.5]],
            "C_o": [[720, 0], [0, -180]],
            "b_o": [-279, -1],
            "W_o": [[2 * A], [-2 * A]],
            "b_y": [0, 2 * A],
        }.items()
    }
)


def test_example_worked_by_hand():
    # x = (0, 1), embedded 1 and -1; y_0 = 0, y = (1, 0), embedded 1 and -1 and 1.
    result = forward(BY_HAND, src=[0, 1], tgt=[1, 0], bos=0)

    def close(actual: Array, expected: list) -> None:
        np.testing.assert_allclose(actual, np.array(expected), rtol=0, atol=1e-11)

    # Forward encoder. x_1: z = sigma(2a) = 3/4, h~ = tanh(a) = 1/2, h = 3/4 * 1/2 = 3/8.
    #   x_2: z = sigma(-2a + 16/3 * 3/8 a) = sigma(0) = 1/2; r = sigma(2a + 16/3 * 3/8 a) = sigma(4a) = 9/10;
    #        h~ = tanh(-a + 160/27 * (9/10 * 3/8) a) = tanh(a) = 1/2; h = 1/2 * 3/8 + 1/2 * 1/2 = 7/16.
    # Backward encoder, x_2 first: z = sigma(2a) = 3/4, h~ = tanh(-2a + a) = -1/2, h = -3/8.
    #   x_1: z = sigma(2a - 16/3 * 3/8 a) = 1/2; r = sigma(-2a) = 1/4;
    #        h~ = tanh(2a + a + 64/3 * (1/4 * -3/8) a) = tanh(a) = 1/2; h = 1/2 * -3/8 + 1/2 * 1/2 = 1/16.
    close(result.h, [[3 / 8, 1 / 16], [7 / 16, -3 / 8]])

    # s_0 = tanh(16a * 1/16) = 1/2.
    # Step 1. W_a s_0 = -4/3 d; U_a h_1 = -5/4 d; U_a h_2 = -13/4 d; with b_a: d and -d, so hidden = (1/3, -1/3),
    #   e = (3d, -3d), odds exp(6d) = 8, alpha = (8/9, 1/9).
    #   c = (8/9 * 3/8 + 1/9 * 7/16, 8/9 * 1/16 - 1/9 * 3/8) = (55/144, 1/72).
    #   Gates, E y_0 = 1: z = sigma(2a - 4a + 2a + 2a) = 3/4; r = sigma(2a + 2a - 6a) = 1/4;
    #   s~ = tanh(-a + 16a * (1/4 * 1/2) + (11 + 1) a - 14a) = tanh(-a) = -1/2; s_1 = 1/4 * 1/2 - 3/4 * 1/2 = -1/4.
    # Step 2. W_a s_1 = 2/3 d; inside the tanh 3d and d; hidden = (7/9, 1/3), e = (7d, 3d), odds exp(4d) = 4,
    #   alpha = (4/5, 1/5), c = (4/5 * 3/8 + 1/5 * 7/16, 4/5 * 1/16 - 1/5 * 3/8) = (31/80, -1/40).
    close(result.s[:2], [[1 / 2], [-1 / 4]])
    close(result.decoder.z[0], [3 / 4])
    close(result.decoder.r[0], [1 / 4])
    close(result.hidden[:, :, 0], [[1 / 3, -1 / 3], [7 / 9, 1 / 3]])
    close(result.alpha, [[8 / 9, 1 / 9], [4 / 5, 1 / 5]])
    close(result.c, [[55 / 144, 1 / 72], [31 / 80, -1 / 40]])

    # Deep output. Step 1: t~ = (2 + 3 + 275 - 279, 1 + 1.5 - 2.5 - 1) = (1, -1), t = 1, logits (2a, -2a + 2a).
    #   Step 2, E y_1 = -1: t~ = (-1 - 3 + 279 - 279, -0.5 - 1.5 + 4.5 - 1) = (-4, 1.5), t = 1.5, logits (3a, -3a + 2a).
    # p = (3/4, 1/4) and, from odds exp(4a) = 9, (9/10, 1/10). loss = -log(1/4) - log(9/10) = log(40/9).
    close(result.t_tilde, [[1, -1], [-4, 1.5]])
    close(result.logits, [[2 * A, 0], [3 * A, -A]])
    close(np.exp(result.log_p), [[3 / 4, 1 / 4], [9 / 10, 1 / 10]])
    assert result.loss == pytest.approx(log(40 / 9), abs=1e-11)

    # Gradient. d logits: (3/4, -3/4) and (-1/10, 1/10). d W_o = 1 * first + 1.5 * second.
    # d t = 2a * 3/4 + 2a * 3/4 = 3a to row 1 of t~, then -2a/10 - 2a/10 = -0.4a to row 2.
    gradient = backward(BY_HAND, result)
    close(gradient.b_y, [0.65, -0.65])
    close(gradient.W_o, [[0.6], [-0.6]])
    close(gradient.b_o, [3 * A, -0.4 * A])
    close(gradient.U_o, [[3 * A / 2], [0.4 * A / 4]])
    close(gradient.V_o, [[3 * A], [0.4 * A]])
    close(gradient.C_o, [[3 * A * 55 / 144, 3 * A / 72], [-0.4 * A * 31 / 80, 0.4 * A / 40]])


def test_reset_gate_acts_before_the_recurrent_matrix():
    # One unit cannot tell U [r * h] from r * (U h); two can. Forward encoder, n = 2, x_1 embedded as 1, x_2 as 0.
    # x_1: z = sigma(2a) = 3/4, h~ = tanh(a) = 1/2, h = (3/8, 3/8).
    # x_2: r = (sigma(-2a), sigma(2a)) = (1/4, 3/4), r * h = (3/32, 9/32); U = 32/3 a times the matrix that swaps, so
    #   U [r * h] = (3a, a), whereas r * (U h) would be (a, 3a). h~ = (tanh(3a), tanh(a)) = (13/14, 1/2).
    #   z = 3/4: h = (1/4 * 3/8 + 3/4 * 13/14, 1/4 * 3/8 + 3/4 * 1/2) = (177/224, 15/32).
    sizes = Sizes(n=2, m=1, maxout=1, n_prime=1, K_x=2, K_y=1)
    zero = Parameters(**{name: np.zeros(shape) for name, shape in shapes(sizes).items()})
    params = changed(
        zero,
        E_x=[[1, 0]],
        W_fwd=[[A], [A]],
        b_z_fwd=[2 * A, 2 * A],
        b_r_fwd=[-2 * A, 2 * A],
        U_fwd=[[0, 32 / 3 * A], [32 / 3 * A, 0]],
    )
    result = forward(params, src=[0, 1], tgt=[0], bos=0)
    np.testing.assert_allclose(result.fwd.state, [[3 / 8, 3 / 8], [177 / 224, 15 / 32]], rtol=0, atol=1e-14)
    np.testing.assert_array_equal(result.h[:, 2:], 0)


# --- initialisation, B.1 ----------------------------------------------------------------------------------------------

LARGE = Sizes(n=60, m=50, maxout=40, n_prime=70, K_x=80, K_y=90)


@pytest.fixture(scope="module")
def initial() -> Parameters:
    return initialise(np.random.default_rng(3), LARGE)


def test_initial_shapes(initial: Parameters):
    assert {name: array.shape for name, array in initial.as_dict().items()} == shapes(LARGE)
    assert all(array.dtype == np.float64 for array in initial.as_dict().values())


@pytest.mark.parametrize("name", RECURRENT)
def test_initial_recurrent_matrices_are_orthogonal_and_differ(initial: Parameters, name: str):
    U = getattr(initial, name)
    np.testing.assert_allclose(U @ U.T, np.eye(LARGE.n), rtol=0, atol=1e-13)
    assert all(np.max(np.abs(U - getattr(initial, other))) > 0.1 for other in RECURRENT if other != name)


def test_initial_v_a_and_biases_are_zero(initial: Parameters):
    vectors = {name for name, array in initial.as_dict().items() if array.ndim == 1}
    assert vectors == {"v_a", *(name for name in NAMES if name.startswith("b"))}
    assert len(vectors) == 14
    assert not any(getattr(initial, name).any() for name in vectors)


def test_initial_standard_deviations(initial: Parameters):
    matrices = [name for name, array in initial.as_dict().items() if array.ndim == 2 and name not in RECURRENT]
    assert len(matrices) == 21
    for name in matrices:
        array = getattr(initial, name)
        sigma = 0.001 if name in ("W_a", "U_a") else 0.01
        # 3000 entries or more: five standard errors of the mean and of the deviation.
        assert abs(array.mean()) < 5 * sigma / np.sqrt(array.size), name
        assert array.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * array.size)), name


def test_random_parameters_hide_nothing_behind_zeros():
    assert all(np.all(array != 0) for array in example().as_dict().values())
