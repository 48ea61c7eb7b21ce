"""A small reverse-mode tape in float64 NumPy, for twins of models whose gradients are too many to derive by hand.

It knows nothing of torch nor of `nmt`, and is itself held to finite differences by test_tape_numpy.py. A `Node` holds a
number, a vector or a matrix, and for each node it was made from a function that takes d loss / d (this node) to its
share of d loss / d (that node). `gradient` adds those shares up, latest node first.

    W, x = Node([[1.0, 2.0]]), Node([3.0, 4.0])
    loss = total(tanh(W @ x))
    d_W, d_x = gradient(loss, [W, x])

Matrices act on column vectors as in the papers, `W @ x`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Pullback = Callable[[Array], Array]

_births = count()


class Node:
    """A value and where it came from. Two nodes add, subtract, multiply and divide entry by entry as arrays do.

    `@` is the product of vectors and matrices, `node[index]` a part; the index is of slices and whole numbers, so that
    it names no entry twice.
    """

    __array_ufunc__ = None  # an array on the left becomes a constant instead of taking the node for one of its entries

    def __init__(self, value: npt.ArrayLike | np.float64, parents: Sequence[tuple["Node", Pullback]] = ()) -> None:
        self.value: Array = np.asarray(value, dtype=np.float64)
        self.parents = tuple(parents)
        self.birth = next(_births)  # a parent is always born before its child

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def __add__(self, other: "Node | Array | float") -> "Node":
        a, b = self, as_node(other)
        return Node(a.value + b.value, [(a, _summed_to(a.shape)), (b, _summed_to(b.shape))])

    def __mul__(self, other: "Node | Array | float") -> "Node":
        a, b = self, as_node(other)
        return Node(
            a.value * b.value,
            [(a, lambda d: _sum_to(d * b.value, a.shape)), (b, lambda d: _sum_to(d * a.value, b.shape))],
        )

    def __truediv__(self, other: "Node | Array | float") -> "Node":
        a, b = self, as_node(other)
        quotient = a.value / b.value
        return Node(
            quotient,
            [(a, lambda d: _sum_to(d / b.value, a.shape)), (b, lambda d: _sum_to(-d * quotient / b.value, b.shape))],
        )

    def __neg__(self) -> "Node":
        return Node(-self.value, [(self, lambda d: -d)])

    def __sub__(self, other: "Node | Array | float") -> "Node":
        return self + -as_node(other)

    def __rsub__(self, other: Array | float) -> "Node":
        return as_node(other) - self

    __radd__ = __add__
    __rmul__ = __mul__

    def __matmul__(self, other: "Node") -> "Node":
        a, b = self.value, other.value
        if a.ndim == 2 and b.ndim == 2:
            return Node(a @ b, [(self, lambda d: d @ b.T), (other, lambda d: a.T @ d)])
        if a.ndim == 2:  # matrix times vector
            return Node(a @ b, [(self, lambda d: np.outer(d, b)), (other, lambda d: a.T @ d)])
        if b.ndim == 2:  # row vector times matrix
            return Node(a @ b, [(self, lambda d: b @ d), (other, lambda d: np.outer(a, d))])
        return Node(a @ b, [(self, lambda d: d * b), (other, lambda d: d * a)])  # dot product

    def __getitem__(self, index: int | slice | None | tuple[int | slice | None, ...]) -> "Node":
        def pull(d: Array) -> Array:
            whole = np.zeros_like(self.value)
            whole[index] += d
            return whole

        return Node(self.value[index], [(self, pull)])


def as_node(value: Node | npt.ArrayLike) -> Node:
    """The node itself; a number or an array becomes a constant."""
    return value if isinstance(value, Node) else Node(value)


def tanh(a: Node) -> Node:
    y = np.tanh(a.value)
    return Node(y, [(a, lambda d: d * (1.0 - y**2))])


def sigmoid(a: Node) -> Node:
    """1 / (1 + exp(-a)), by tanh so that no exp overflows."""
    y = 0.5 * (1.0 + np.tanh(0.5 * a.value))
    return Node(y, [(a, lambda d: d * y * (1.0 - y))])


def exp(a: Node) -> Node:
    y = np.exp(a.value)
    return Node(y, [(a, lambda d: d * y)])


def log(a: Node) -> Node:
    return Node(np.log(a.value), [(a, lambda d: d / a.value)])


def sqrt(a: Node) -> Node:
    y = np.sqrt(a.value)
    return Node(y, [(a, lambda d: d / (2.0 * y))])


def total(a: Node, axis: int | None = None) -> Node:
    """The sum of all entries, or of those along an axis."""

    def pull(d: Array) -> Array:
        return np.broadcast_to(d if axis is None else np.expand_dims(d, axis), a.shape)

    return Node(np.sum(a.value, axis=axis), [(a, pull)])


def concatenate(parts: Sequence[Node]) -> Node:
    """Vectors end to end, [a; b] as the papers write it."""
    ends = np.cumsum([part.shape[0] for part in parts])
    pieces = [slice(int(end) - part.shape[0], int(end)) for part, end in zip(parts, ends, strict=True)]
    joined = np.concatenate([part.value for part in parts])
    return Node(joined, [(part, lambda d, piece=piece: d[piece]) for part, piece in zip(parts, pieces, strict=True)])


def stack(parts: Sequence[Node]) -> Node:
    """Numbers as the entries of a vector, vectors as the rows of a matrix."""
    rows = np.stack([part.value for part in parts])
    return Node(rows, [(part, lambda d, k=k: d[k]) for k, part in enumerate(parts)])


def maximum(a: Node, b: Node) -> Node:
    """Entry by entry, equal shapes. At a tie the derivative does not exist; each side then gets half."""
    share = np.where(a.value == b.value, 0.5, (a.value > b.value).astype(np.float64))
    return Node(np.maximum(a.value, b.value), [(a, lambda d: d * share), (b, lambda d: d * (1.0 - share))])


def softmax(a: Node) -> Node:
    """Of a vector."""
    return exp(log_softmax(a))


def log_softmax(a: Node) -> Node:
    """Of a vector. The largest entry is taken off first so that no exp overflows; as a constant, for it cancels."""
    shifted = a - float(np.max(a.value))
    return shifted - log(total(exp(shifted)))


def scale_gradient(a: Node, factor: float) -> Node:
    """`a` itself; its gradient is multiplied by `factor`. So what comes out below it is no gradient of the loss."""
    return Node(a.value, [(a, lambda d: factor * d)])


def gradient(loss: Node, wanted: Sequence[Node]) -> list[Array]:
    """d loss / d node for each wanted node, of its shape; zeros where the loss does not depend on it.

    Nothing is kept on the nodes: asking twice gives the same.
    """
    if loss.shape != ():
        raise ValueError(f"only a number has a gradient, this has shape {loss.shape}")
    pending = {loss.birth: loss}
    shares: dict[int, Array] = {loss.birth: np.ones(())}
    while pending:
        node = pending.pop(max(pending))  # every child of it was born later and has been seen
        for parent, pull in node.parents:
            share = pull(shares[node.birth])
            if share.shape != parent.shape:
                raise ValueError(f"a pullback gave shape {share.shape} for a node of shape {parent.shape}")
            shares[parent.birth] = shares.get(parent.birth, 0.0) + share
            pending[parent.birth] = parent
    return [np.array(shares.get(node.birth, np.zeros(node.shape)), dtype=np.float64) for node in wanted]


# --- what every twin needs --------------------------------------------------------------------------------------------


def as_nodes(params: Mapping[str, npt.ArrayLike]) -> dict[str, Node]:
    """A leaf for each parameter."""
    return {name: Node(array) for name, array in params.items()}


def gradients(loss: Node, params: Mapping[str, Node]) -> dict[str, Array]:
    """d loss / d parameter for each parameter, by name."""
    return dict(zip(params, gradient(loss, list(params.values())), strict=True))


def negative_log_likelihood(logits: Sequence[Node], tgt: Sequence[int]) -> Node:
    """-sum_t log softmax(logits_t)[y_t], natural logarithm."""
    return -total(stack([log_softmax(row)[y] for row, y in zip(logits, tgt, strict=True)]))


def random_parameters(
    rng: np.random.Generator, shapes: Mapping[str, tuple[int, ...]], scale: float = 1.0
) -> dict[str, Array]:
    """Parameters for comparisons: nothing is zero, and nothing saturates at scale 1.

    Matrices from N(0, scale^2 / columns), but embeddings (names that start with E_ or P_) from N(0, scale^2); vectors
    from N(0, (scale / 2)^2), but gains of a weight norm (names that end in _gain) from scale * U(0.5, 1.5).
    """

    def draw(name: str, shape: tuple[int, ...]) -> Array:
        if name.endswith("_gain"):
            return scale * rng.uniform(0.5, 1.5, shape)
        if len(shape) == 1:
            return rng.normal(0.0, scale / 2, shape)
        return rng.normal(0.0, scale if name.startswith(("E_", "P_")) else scale / np.sqrt(shape[1]), shape)

    return {name: draw(name, shape) for name, shape in shapes.items()}


def check_ids(what: str, ids: Iterable[int], words: int) -> None:
    """NumPy would take a negative id for one counted from the end."""
    ids = list(ids)
    if not ids:
        raise ValueError(f"{what} is empty")
    for k in ids:
        if not 0 <= k < words:
            raise ValueError(f"{what} holds id {k}; the vocabulary has {words} words")


def _sum_to(d: Array, shape: tuple[int, ...]) -> Array:
    """Undo a broadcast: sum over the axes that it added or stretched."""
    d = d.sum(axis=tuple(range(d.ndim - len(shape))))
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and d.shape[axis] != 1)
    return d.sum(axis=stretched, keepdims=True)


def _summed_to(shape: tuple[int, ...]) -> Pullback:
    return lambda d: _sum_to(d, shape)
