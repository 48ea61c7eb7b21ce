"""The NumPy twin of `cho` is itself held to finite differences, to its equations, and to an example worked by hand."""

from collections.abc import Mapping, Sequence
from math import log

import numpy as np
import pytest

from tests.models.cho_numpy import Reset, Result, Sizes, backward, forward, random_parameters, shapes
from tests.models.slopes import assert_gradient_is_slope, dead
from tests.models.tape_numpy import Array

SIZES = Sizes(n=4, m=3, maxout=3, K_x=7, K_y=6)
FACTORED = Sizes(n=4, m=3, maxout=3, K_x=7, K_y=6, rank=2)
BOS = 2

# Words repeat, and BOS is among the target's, so that a gradient that overwrites instead of adding is seen.
SRC = [4, 6, 4, 3]
TGT = [5, 2, 5, 3]


def example(sizes: Sizes = SIZES, seed: int = 1) -> dict[str, Array]:
    return random_parameters(np.random.default_rng(seed), shapes(sizes), scale=1.5)


def run(
    params: Mapping[str, Array], tgt: Sequence[int] = TGT, bos: int | None = BOS, reset: Reset = "before"
) -> Result:
    return forward(params, SRC, tgt, bos=bos, reset=reset)


# --- the gradient -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", ["before", "appendix"])
@pytest.mark.parametrize(("sizes", "bos"), [(SIZES, BOS), (FACTORED, None)])
def test_gradient_is_the_slope_of_the_loss(sizes: Sizes, bos: int | None, reset: Reset):
    params = example(sizes)

    def loss(moved: Mapping[str, Array]) -> float:
        return run(moved, TGT[:3], bos, reset).loss

    assert_gradient_is_slope(loss, params, backward(run(params, TGT[:3], bos, reset)))


def test_gradient_reaches_every_parameter():
    gradient = backward(run(example()))
    assert dead(gradient) == set()
    for name, ids in (("E_x", SRC), ("E_y", [BOS, *TGT[:-1]])):
        assert set(np.flatnonzero(gradient[name].any(axis=0))) == set(ids), name


def test_no_word_is_embedded_before_the_first_where_there_is_no_bos():
    gradient = backward(run(example(), tgt=[5, 4, 3], bos=None))
    assert set(np.flatnonzero(gradient["E_y"].any(axis=0))) == {5, 4}
    blank = example()
    blank["E_y"][:, BOS] = 0
    np.testing.assert_array_equal(run(blank, tgt=[5], bos=None).logits, run(blank, tgt=[5], bos=BOS).logits)


def test_gradient_of_the_first_recurrence_is_zero_with_one_word():
    params = example()
    gradient = backward(forward(params, [3], [3], bos=BOS))
    # h_0 = 0: nothing to reset and nothing to multiply. h'_0 is not 0, so the decoder's are alive.
    assert dead(gradient) == {"U", "U_z", "U_r", "W_r", "b_r"}


# --- the equations, from the states that the result shows -------------------------------------------------------------


def sigma(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


@pytest.mark.parametrize("reset", ["before", "appendix"])
def test_states_follow_the_appendix(reset: Reset):
    p = example()
    r = run(p, reset=reset)
    past, e = np.vstack([np.zeros(SIZES.n), r.h[:-1]]), p["E_x"][:, SRC].T
    np.testing.assert_allclose(r.z, sigma(e @ p["W_z"].T + past @ p["U_z"].T + p["b_z"]), rtol=0, atol=1e-15)
    np.testing.assert_allclose(r.r, sigma(e @ p["W_r"].T + past @ p["U_r"].T + p["b_r"]), rtol=0, atol=1e-15)
    candidate = np.tanh(e @ p["W"].T + (r.r * past) @ p["U"].T + p["b"])
    np.testing.assert_allclose(r.h, r.z * past + (1 - r.z) * candidate, rtol=0, atol=1e-15)

    np.testing.assert_allclose(r.c, np.tanh(p["V"] @ r.h[-1] + p["b_V"]), rtol=0, atol=1e-15)
    np.testing.assert_allclose(r.h_d[0], np.tanh(p["V_d"] @ r.c + p["b_V_d"]), rtol=0, atol=1e-15)

    past, e = r.h_d[:-1], p["E_y"][:, [BOS, *TGT[:-1]]].T
    for gate, name in ((r.z_d, "_z"), (r.r_d, "_r")):
        inside = e @ p[f"W_d{name}"].T + past @ p[f"U_d{name}"].T + p[f"C{name}"] @ r.c + p[f"b_d{name}"]
        np.testing.assert_allclose(gate, sigma(inside), rtol=0, atol=1e-15)
    inside = (r.r_d * past) @ p["U_d"].T + p["C"] @ r.c
    if reset == "appendix":
        inside = r.r_d * (past @ p["U_d"].T + p["C"] @ r.c)
    candidate = np.tanh(e @ p["W_d"].T + inside + p["b_d"])
    np.testing.assert_allclose(r.h_d[1:], r.z_d * past + (1 - r.z_d) * candidate, rtol=0, atol=1e-15)

    prime = r.h_d[1:] @ p["O_h"].T + e @ p["O_y"].T + p["O_c"] @ r.c + p["b_s"]
    np.testing.assert_allclose(r.s_prime, prime, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(r.s, r.s_prime.reshape(4, 3, 2).max(axis=2))
    np.testing.assert_allclose(r.logits, r.s @ p["G"].T + p["b_y"], rtol=0, atol=1e-14)


def test_the_two_places_of_the_reset_gate_differ():
    params = example()
    assert np.max(np.abs(run(params).logits - run(params, reset="appendix").logits)) > 1e-2


def test_two_factors_are_their_product():
    params = example(FACTORED)
    whole = {name: array for name, array in params.items() if not name.startswith("G_")}
    whole["G"] = params["G_l"] @ params["G_r"]
    np.testing.assert_allclose(run(params).logits, run(whole).logits, rtol=0, atol=1e-14)


def test_z_negated_is_the_later_papers_update():
    # 1 - sigma(a) = sigma(-a): negate what makes z, and z and 1 - z change places.
    params = example()
    turned = {name: -array if name.endswith("_z") else array for name, array in params.items()}
    one, other = forward(params, [4], [5], bos=BOS), forward(turned, [4], [5], bos=BOS)
    np.testing.assert_allclose(other.z, 1 - one.z, rtol=0, atol=1e-15)
    np.testing.assert_allclose(other.h * (1 - one.z), one.h * one.z, rtol=0, atol=1e-15)  # both z (1 - z) h~


def test_a_later_target_word_changes_no_earlier_prediction():
    params = example()
    one, other = run(params, tgt=[5, 2, 5, 3]), run(params, tgt=[5, 2, 1, 0])
    np.testing.assert_array_equal(one.logits[:3], other.logits[:3])
    assert np.max(np.abs(one.logits[3] - other.logits[3])) > 1e-3


@pytest.mark.parametrize("rows", [[1, 0, 3, 2, 5, 4], [0, 2, 4, 1, 3, 5]])
def test_order_within_a_maxout_pair_changes_nothing_and_across_pairs_does(rows: list[int]):
    params = example()
    moved = params | {name: params[name][rows] for name in ("O_h", "O_y", "O_c", "b_s")}
    same = np.allclose(run(moved).logits, run(params).logits, rtol=0, atol=1e-13)
    assert same == (rows[:2] == [1, 0])


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
        forward(example(), src, tgt, bos=bos)


# --- worked by hand ---------------------------------------------------------------------------------------------------

# With a = log(3) / 2: tanh(a) = 1/2, sigma(2a) = 3/4, sigma(4a) = 9/10.
A = log(3) / 2

BY_HAND = {
    "E_x": [[1, -1]],
    "E_y": [[9, -1]],
    "W": [[A]],
    "W_z": [[-2 * A]],
    "W_r": [[-2 * A]],
    "U": [[160 / 27 * A]],
    "U_z": [[-16 / 3 * A]],
    "U_r": [[16 / 3 * A]],
    "b": [0],
    "b_z": [0],
    "b_r": [0],
    "V": [[16 * A]],
    "b_V": [-6 * A],
    "V_d": [[4 * A]],
    "b_V_d": [-A],
    "W_d": [[-13 / 3 * A]],
    "W_d_z": [[-7 * A]],
    "W_d_r": [[-2 * A]],
    "U_d": [[16 / 3 * A]],
    "U_d_z": [[4 * A]],
    "U_d_r": [[8 * A]],
    "C": [[-6 * A]],
    "C_z": [[-8 * A]],
    "C_r": [[-4 * A]],
    "b_d": [0],
    "b_d_z": [0],
    "b_d_r": [0],
    "O_h": [[-4], [4]],
    "O_y": [[3], [-17 / 4]],
    "O_c": [[2], [-2]],
    "b_s": [0, 1],
    "G": [[A / 2], [-A / 2]],
    "b_y": [0, 0],
}


def by_hand(**others: list) -> dict[str, Array]:
    return {name: np.array(array, dtype=np.float64) for name, array in {**BY_HAND, **others}.items()}


def close(actual: Array, expected: list) -> None:
    np.testing.assert_allclose(actual, np.array(expected), rtol=0, atol=1e-12)


def test_example_worked_by_hand():
    # x = (0, 1), embedded 1 and -1; no y_0; y = (1, 0), the first embedded -1.
    result = forward(by_hand(), src=[0, 1], tgt=[1, 0], bos=None)

    # Encoder. x_1: z = sigma(-2a) = 1/4, h~ = tanh(a) = 1/2, h = 3/4 * 1/2 = 3/8.
    # x_2: z = sigma(2a - 16/3 * 3/8 a) = 1/2; r = sigma(2a + 16/3 * 3/8 a) = 9/10;
    #   h~ = tanh(-a + 160/27 * (9/10 * 3/8) a) = tanh(a) = 1/2; h = 1/2 * 3/8 + 1/2 * 1/2 = 7/16.
    close(result.z, [[1 / 4], [1 / 2]])
    close(result.h, [[3 / 8], [7 / 16]])
    # c = tanh(7a - 6a) = 1/2; h'_0 = tanh(2a - a) = 1/2.
    close(result.c, [1 / 2])

    # Step 1, nothing embedded: z' = sigma(2a - 4a) = 1/4; r' = sigma(4a - 2a) = 3/4;
    #   h~' = tanh(16/3 * (3/4 * 1/2) a - 3a) = tanh(-a) = -1/2; h'_1 = 1/4 * 1/2 - 3/4 * 1/2 = -1/4.
    # Step 2, embedded -1: z' = sigma(7a - a - 4a) = 3/4; r' = sigma(2a - 2a - 2a) = 1/4;
    #   h~' = tanh(13/3 a - 16/3 * (1/4 * 1/4) a - 3a) = tanh(a) = 1/2; h'_2 = -3/4 * 1/4 + 1/4 * 1/2 = -1/16.
    close(result.h_d, [[1 / 2], [-1 / 4], [-1 / 16]])
    close(result.z_d, [[1 / 4], [3 / 4]])
    close(result.r_d, [[3 / 4], [1 / 4]])

    # Step 1: s' = (1 + 1, -1 - 1 + 1) = (2, -1), s = 2, logits (a, -a), p = (3/4, 1/4).
    # Step 2: s' = (1/4 - 3 + 1, -1/4 + 17/4 - 1 + 1) = (-7/4, 4), s = 4, logits (2a, -2a), p = (9/10, 1/10).
    # loss = -log(1/4) - log(9/10) = log(40/9).
    close(result.s_prime, [[2, -1], [-7 / 4, 4]])
    close(result.logits, [[A, -A], [2 * A, -2 * A]])
    assert result.loss == pytest.approx(log(40 / 9), abs=1e-12)

    # Gradient. d logits: (3/4, -3/4), (-1/10, 1/10). d G = 2 * first + 4 * second.
    # d s = a/2 (3/4 + 3/4) = 3/4 a to row 1 of s', then -a/2 (1/10 + 1/10) = -a/10 to row 2.
    gradient = backward(result)
    close(gradient["b_y"], [0.65, -0.65])
    close(gradient["G"], [[1.1], [-1.1]])
    close(gradient["b_s"], [3 / 4 * A, -A / 10])
    close(gradient["O_h"], [[-3 / 16 * A], [A / 160]])
    close(gradient["O_y"], [[0], [A / 10]])
    close(gradient["O_c"], [[3 / 8 * A], [-A / 20]])


def test_example_of_the_printed_candidate_worked_by_hand():
    # Step 1 again: h~' = tanh(3/4 * (16/3 * 1/2 - 8 * 1/2) a) = tanh(3/4 * -4/3 a) = -1/2, so h'_1 = -1/4 as above.
    result = forward(by_hand(C=[[-8 * A]]), src=[0, 1], tgt=[1], bos=None, reset="appendix")
    close(result.h_d, [[1 / 2], [-1 / 4]])
