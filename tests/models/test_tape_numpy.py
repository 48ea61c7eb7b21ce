"""The tape on which the twins are written is itself held to finite differences, entry by entry, and to known slopes."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tests.models import tape_numpy as tape
from tests.models.slopes import assert_slope, slope
from tests.models.tape_numpy import Array, Node, as_nodes, gradient

# Every function and the shapes of what it takes. Entries are drawn from (0.5, 1.5), where sqrt, log and / are at ease.
CASES: dict[str, tuple[Callable[..., Node], list[tuple[int, ...]]]] = {
    "add": (lambda a, b: a + b, [(2, 3), (2, 3)]),
    "add, number and matrix": (lambda a, b: a + b, [(), (2, 3)]),
    "add, column and matrix": (lambda a, b: a + b, [(2, 1), (2, 3)]),
    "add, matrix and vector": (lambda a, b: a + b, [(2, 3), (3,)]),
    "add, constant": (lambda a: 2.0 + (a + 3.0), [(3,)]),
    "subtract": (lambda a, b: a - b, [(2, 3), (2, 3)]),
    "subtract, constant": (lambda a: 2.0 - (a - 3.0), [(3,)]),
    "subtract, vector and matrix": (lambda a, b: a - b, [(3,), (2, 3)]),
    "negate": (lambda a: -a, [(3,)]),
    "multiply": (lambda a, b: a * b, [(3,), (3,)]),
    "multiply, number and vector": (lambda a, b: a * b, [(), (3,)]),
    "multiply, matrix and row": (lambda a, b: a * b, [(2, 3), (1, 3)]),
    "multiply, constant": (lambda a: 2.0 * (a * 3.0), [(3,)]),
    "multiply, by itself": (lambda a: a * a, [(3,)]),
    "divide": (lambda a, b: a / b, [(3,), (3,)]),
    "divide, matrix by column": (lambda a, b: a / b, [(2, 3), (2, 1)]),
    "divide, number by vector": (lambda a, b: a / b, [(), (3,)]),
    "matrix times vector": (lambda a, b: a @ b, [(2, 3), (3,)]),
    "vector times matrix": (lambda a, b: a @ b, [(2,), (2, 3)]),
    "matrix times matrix": (lambda a, b: a @ b, [(2, 3), (3, 4)]),
    "dot product": (lambda a, b: a @ b, [(3,), (3,)]),
    "matrix times its own row": (lambda a: a @ a[0], [(2, 3)]),
    "entry": (lambda a: a[1], [(3,)]),
    "slice": (lambda a: a[1:3], [(4,)]),
    "every other": (lambda a: a[0::2], [(5,)]),
    "column": (lambda a: a[:, 1], [(2, 3)]),
    "new axis": (lambda a: a[:, None], [(3,)]),
    "tanh": (tape.tanh, [(3,)]),
    "sigmoid": (tape.sigmoid, [(3,)]),
    "exp": (tape.exp, [(3,)]),
    "log": (tape.log, [(3,)]),
    "sqrt": (tape.sqrt, [(3,)]),
    "total": (tape.total, [(2, 3)]),
    "total, axis 0": (lambda a: tape.total(a, axis=0), [(2, 3)]),
    "total, axis 1": (lambda a: tape.total(a, axis=1), [(2, 3)]),
    "concatenate": (lambda a, b: tape.concatenate([a, b, a]), [(2,), (3,)]),
    "stack, numbers": (lambda a, b: tape.stack([a, b, a]), [(), ()]),
    "stack, vectors": (lambda a, b: tape.stack([a, b, a]), [(3,), (3,)]),
    "maximum": (tape.maximum, [(6,), (6,)]),
    "softmax": (tape.softmax, [(4,)]),
    "log_softmax": (tape.log_softmax, [(4,)]),
    "negative_log_likelihood": (lambda a, b: tape.negative_log_likelihood([a, b, a], [2, 0, 0]), [(3,), (3,)]),
}


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_slope(name: str):
    function, shapes = CASES[name]
    rng = np.random.default_rng(len(name))
    arrays = {str(k): rng.uniform(0.5, 1.5, shape) for k, shape in enumerate(shapes)}
    weights = rng.normal(size=function(*map(Node, arrays.values())).shape)

    def loss(nodes: dict[str, Node]) -> Node:
        return tape.total(function(*nodes.values()) * Node(weights))

    def value(moved: Mapping[str, Array]) -> float:
        return float(loss(as_nodes(moved)).value)

    nodes = as_nodes(arrays)
    for key, derived in tape.gradients(loss(nodes), nodes).items():
        assert derived.shape == arrays[key].shape
        for entry in np.ndindex(derived.shape):
            one = np.zeros(derived.shape)
            one[entry] = 1.0
            assert_slope(float(derived[entry]), slope(value, arrays, {key: one}), f"{name}, argument {key}, {entry}")


def test_example_of_the_docstring():
    W, x = Node([[1.0, 2.0]]), Node([3.0, 4.0])
    d_W, d_x = gradient(tape.total(tape.tanh(W @ x)), [W, x])
    at = 1 - np.tanh(11.0) ** 2
    np.testing.assert_allclose(d_W, [[3 * at, 4 * at]], rtol=1e-12)
    np.testing.assert_allclose(d_x, [at, 2 * at], rtol=1e-12)


def test_a_node_that_is_used_twice_hears_from_both():
    # y = x^2, loss = y^2 + 3 y + x: 4 x^3 + 6 x + 1.
    x = Node(2.0)
    y = x * x
    assert gradient(y * y + 3.0 * y + x, [x, y]) == [45.0, 11.0]


def test_a_long_chain_is_walked_once():
    # 2^60 paths lead through the doublings; there are 61 nodes.
    x = Node(1.0)
    y = x
    for _ in range(60):
        y = y + y
    assert gradient(y, [x]) == [2.0**60]


def test_asking_twice_gives_the_same():
    x = Node([1.0, 2.0])
    loss = tape.total(x * x)
    for _ in range(2):
        np.testing.assert_array_equal(gradient(loss, [x])[0], [2.0, 4.0])


def test_what_the_loss_does_not_feel_has_gradient_zero():
    x, other = Node([1.0, 2.0]), Node([[3.0]])
    np.testing.assert_array_equal(gradient(tape.total(x), [other])[0], [[0.0]])


def test_a_tie_gives_each_side_half():
    a, b = Node([1.0, 2.0, 3.0]), Node([1.0, 3.0, 2.0])
    d_a, d_b = gradient(tape.total(tape.maximum(a, b)), [a, b])
    np.testing.assert_array_equal(d_a, [0.5, 0.0, 1.0])
    np.testing.assert_array_equal(d_b, [0.5, 1.0, 0.0])


def test_scale_gradient_changes_the_gradient_alone():
    x = Node([1.0, 2.0])
    y = tape.scale_gradient(x * x, 0.25)
    np.testing.assert_array_equal(y.value, [1.0, 4.0])
    np.testing.assert_array_equal(gradient(tape.total(y + x), [x])[0], [1.5, 2.0])


def test_softmax_neither_overflows_nor_underflows():
    a = Node([1000.0, 1000.0, -1000.0])
    np.testing.assert_array_equal(tape.softmax(a).value, [0.5, 0.5, 0.0])
    np.testing.assert_allclose(tape.log_softmax(a).value, [np.log(0.5), np.log(0.5), -2000 + np.log(0.5)])
    np.testing.assert_array_equal(tape.sigmoid(a).value, [1.0, 1.0, 0.0])


def test_only_a_number_has_a_gradient():
    with pytest.raises(ValueError, match=r"only a number has a gradient, this has shape \(2,\)"):
        gradient(Node([1.0, 2.0]), [])


def test_an_array_on_the_left_becomes_a_constant():
    x = Node([1.0, 2.0])
    y = np.array([3.0, 4.0]) * x
    assert isinstance(y, Node)
    np.testing.assert_array_equal(gradient(tape.total(y), [x])[0], [3.0, 4.0])
