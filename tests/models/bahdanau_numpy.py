"""A twin of the model `bahdanau` in float64 NumPy, forward and backward, written from the paper alone.

D. Bahdanau, K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR 2015,
arXiv 1409.0473; section and equation numbers below are this paper's. The names are the paper's too, and every matrix
acts on a column vector as printed there. One sentence pair at a time: no padding, no mask, no batch axis, and one loop
turn for each word, so that there is little in which an error could hide. The gradients are derived by hand; nothing
here differentiates by itself.

    from tests.models.bahdanau_numpy import Sizes, backward, forward, random_parameters

    sizes = Sizes(n=5, m=4, maxout=3, n_prime=6, K_x=7, K_y=8)
    params = random_parameters(np.random.default_rng(1), sizes)
    result = forward(params, src=[4, 6, 3], tgt=[5, 3], bos=2)
    gradient = backward(params, result)         # Parameters again: gradient.U_a is d loss / d U_a

What the paper leaves open, and what is done here:

- y_0. The first step needs a previous word; the paper names none. It is a word like any other: the id `bos`, a column
  of E_y, with a gradient.
- Biases. The appendix omits them "for readability"; B.1 sets them to zero, so they exist. There is one for each gate
  and candidate, inside the tanh of s_0, inside the tanh of the alignment, on t~ and on the logits. None on the score
  e_ij itself: the softmax would cancel it.
- Eq. (4) writes g(y_{i-1}, s_i, c_i), appendix A.2.2 computes t~_i from s_{i-1}. The appendix is followed, being the
  one with a formula. So the last state s_T is computed and feeds nothing; with one target word all gradients of the
  decoder's gated unit are zero.
- A tie within a maxout pair. The derivative does not exist there; each of the two rows gets half.
- z. Both A.2.1 and A.2.2 let z weigh the NEW state: (1 - z) * old + z * candidate.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sizes:
    """Sizes by A.2.3: n hidden units, m embedding, `maxout` the paper's l, `n_prime` the paper's n' (alignment)."""

    n: int
    m: int
    maxout: int
    n_prime: int
    K_x: int
    K_y: int


@dataclass(frozen=True)
class Parameters:
    """Every parameter, or a gradient with respect to every parameter.

    Encoder (A.2.1). `_fwd` is the paper's right arrow, `_bwd` its left arrow; one embedding serves both.
        E_x                           (m, K_x)   column k is source word k
        W_*, W_z_*, W_r_*             (n, m)     candidate, update gate z, reset gate r: acts on E x_i
        U_*, U_z_*, U_r_*             (n, n)     recurrent: U acts on r * h_{i-1}, U_z and U_r on h_{i-1}
        b_*, b_z_*, b_r_*             (n,)
    Decoder (A.2.2).
        E_y                           (m, K_y)   column k is target word k
        W, W_z, W_r                   (n, m)     acts on E y_{i-1}
        U, U_z, U_r                   (n, n)     U acts on r_i * s_{i-1}, U_z and U_r on s_{i-1}
        C, C_z, C_r                   (n, 2n)    acts on c_i; columns [:n] meet the forward half, [n:] the backward half
        b, b_z, b_r                   (n,)
        W_s (n, n), b_s (n,)          s_0 = tanh(W_s h<-_1 + b_s)
    Alignment (A.1.2): e_ij = v_a . tanh(W_a s_{i-1} + U_a h_j + b_a).
        W_a (n', n), U_a (n', 2n), v_a (n',), b_a (n',)
    Deep output (A.2.2): t~_i = U_o s_{i-1} + V_o E y_{i-1} + C_o c_i + b_o, logits_i = W_o t_i + b_y.
        U_o (2l, n), V_o (2l, m), C_o (2l, 2n), b_o (2l,)   rows 2j and 2j + 1, counted from 0, are maxout pair j
        W_o (K_y, l), b_y (K_y,)
    """

    E_x: Array
    W_fwd: Array
    W_z_fwd: Array
    W_r_fwd: Array
    U_fwd: Array
    U_z_fwd: Array
    U_r_fwd: Array
    b_fwd: Array
    b_z_fwd: Array
    b_r_fwd: Array
    W_bwd: Array
    W_z_bwd: Array
    W_r_bwd: Array
    U_bwd: Array
    U_z_bwd: Array
    U_r_bwd: Array
    b_bwd: Array
    b_z_bwd: Array
    b_r_bwd: Array
    E_y: Array
    W: Array
    W_z: Array
    W_r: Array
    U: Array
    U_z: Array
    U_r: Array
    C: Array
    C_z: Array
    C_r: Array
    b: Array
    b_z: Array
    b_r: Array
    W_s: Array
    b_s: Array
    W_a: Array
    U_a: Array
    v_a: Array
    b_a: Array
    U_o: Array
    V_o: Array
    C_o: Array
    b_o: Array
    W_o: Array
    b_y: Array

    def as_dict(self) -> dict[str, Array]:
        """The arrays themselves, not copies, by name."""
        return {name: getattr(self, name) for name in NAMES}


NAMES: tuple[str, ...] = tuple(field.name for field in fields(Parameters))

RECURRENT = ("U_fwd", "U_z_fwd", "U_r_fwd", "U_bwd", "U_z_bwd", "U_r_bwd", "U", "U_z", "U_r")
"""What B.1 makes orthogonal."""


@dataclass(frozen=True)
class Gated:
    """What a gated unit computed over S words, row i for word i: update gate, reset gate, candidate, state."""

    z: Array  # (S, n)
    r: Array  # (S, n)
    candidate: Array  # (S, n)
    state: Array  # (S, n)


@dataclass(frozen=True)
class Result:
    """What the forward pass computed for one pair of S source and T target words. Row i - 1 belongs to target y_i."""

    src: tuple[int, ...]
    tgt: tuple[int, ...]
    bos: int
    fwd: Gated  # of the forward encoder, row j - 1 for x_j
    bwd: Gated  # of the backward encoder, row j - 1 for x_j as well
    h: Array  # (S, 2n) annotations, Eq. (7), forward half first
    s_0: Array  # (n,) initial state
    decoder: Gated  # row i - 1 holds z_i, r_i, s~_i, s_i
    hidden: Array  # (T, S, n') tanh of the alignment
    e: Array  # (T, S) alignment scores
    alpha: Array  # (T, S) alignment weights, Eq. (6)
    c: Array  # (T, 2n) contexts, Eq. (5)
    t_tilde: Array  # (T, 2l) before the maxout
    t: Array  # (T, l) after it
    logits: Array  # (T, K_y)
    log_p: Array  # (T, K_y)
    loss: float  # -sum_i log p(y_i), natural logarithm

    @property
    def s(self) -> Array:
        """(T + 1, n): s_0 .. s_T. The last one feeds nothing."""
        return np.concatenate([self.s_0[None], self.decoder.state])


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter, in the order of `Parameters`."""
    n, m, l2 = sizes.n, sizes.m, 2 * sizes.maxout
    table: dict[str, tuple[int, ...]] = {"E_x": (m, sizes.K_x), "E_y": (m, sizes.K_y)}
    for suffix in ("_fwd", "_bwd", ""):
        for gate in ("", "_z", "_r"):
            table[f"W{gate}{suffix}"] = (n, m)
            table[f"U{gate}{suffix}"] = (n, n)
            table[f"b{gate}{suffix}"] = (n,)
    table |= {"C": (n, 2 * n), "C_z": (n, 2 * n), "C_r": (n, 2 * n)}
    table |= {"W_s": (n, n), "b_s": (n,)}
    table |= {
        "W_a": (sizes.n_prime, n),
        "U_a": (sizes.n_prime, 2 * n),
        "v_a": (sizes.n_prime,),
        "b_a": (sizes.n_prime,),
    }
    table |= {"U_o": (l2, n), "V_o": (l2, m), "C_o": (l2, 2 * n), "b_o": (l2,)}
    table |= {"W_o": (sizes.K_y, sizes.maxout), "b_y": (sizes.K_y,)}
    return {name: table[name] for name in NAMES}


def initialise(rng: np.random.Generator, sizes: Sizes) -> Parameters:
    """Parameters by B.1.

    Recurrent matrices orthogonal; W_a and U_a from N(0, 0.001^2); v_a and every bias 0; any other from N(0, 0.01^2),
    the embeddings and W_s among them.
    """

    def draw(name: str, shape: tuple[int, ...]) -> Array:
        if name in RECURRENT:
            return _orthogonal(rng, shape[0])
        if len(shape) == 1:
            return np.zeros(shape)
        return rng.normal(0.0, 0.001 if name in ("W_a", "U_a") else 0.01, shape)

    return Parameters(**{name: draw(name, shape) for name, shape in shapes(sizes).items()})


def random_parameters(rng: np.random.Generator, sizes: Sizes, scale: float = 1.0) -> Parameters:
    """Parameters for comparisons: nothing is zero, biases and v_a included, and nothing saturates at scale 1.

    Embeddings and v_a from N(0, scale^2), other matrices from N(0, scale^2 / columns), biases from N(0, (scale / 2)^2).
    """

    def draw(name: str, shape: tuple[int, ...]) -> Array:
        if name in ("E_x", "E_y", "v_a"):
            return rng.normal(0.0, scale, shape)
        if len(shape) == 1:
            return rng.normal(0.0, scale / 2, shape)
        return rng.normal(0.0, scale / np.sqrt(shape[1]), shape)

    return Parameters(**{name: draw(name, shape) for name, shape in shapes(sizes).items()})


def forward(params: Parameters, src: Sequence[int], tgt: Sequence[int], bos: int) -> Result:
    """Predict `tgt` (y_1 .. y_T, with its EOS if that is to be predicted) from `src` (x_1 .. x_S, with its EOS if any).

    `bos` is y_0, embedded by E_y like any other word.
    """
    p = params
    _check_ids("src", src, p.E_x.shape[1])
    _check_ids("tgt", tgt, p.E_y.shape[1])
    _check_ids("bos", [bos], p.E_y.shape[1])

    # A.2.1. The backward unit reads x_S first; turning its rows around again lets row j - 1 belong to x_j in both.
    fwd = _encode(_encoder_unit(p, "fwd"), [p.E_x[:, k] for k in src])
    bwd = _turned(_encode(_encoder_unit(p, "bwd"), [p.E_x[:, k] for k in reversed(src)]))
    h = np.concatenate([fwd.state, bwd.state], axis=1)

    # A.2.2: the backward state of the FIRST source word, which has read the whole sentence.
    s_0 = np.tanh(p.W_s @ bwd.state[0] + p.b_s)

    s = s_0
    steps: list[_Unit] = []
    hiddens: list[Array] = []
    es: list[Array] = []
    alphas: list[Array] = []
    cs: list[Array] = []
    t_tildes: list[Array] = []
    ts: list[Array] = []
    logits: list[Array] = []
    for y_previous in [bos, *tgt[:-1]]:
        Ey = p.E_y[:, y_previous]

        # A.1.2: the query is the state BEFORE this step.
        hidden = np.stack([np.tanh(p.W_a @ s + p.U_a @ h_j + p.b_a) for h_j in h])
        e = hidden @ p.v_a
        alpha = np.exp(_log_softmax(e))
        c = alpha @ h

        # A.2.2, deep output, from the same state.
        t_tilde = p.U_o @ s + p.V_o @ Ey + p.C_o @ c + p.b_o
        t = np.array([max(t_tilde[k], t_tilde[k + 1]) for k in range(0, len(t_tilde), 2)])

        # A.2.2, the next state.
        unit = _gated_unit(
            p.W @ Ey + p.C @ c + p.b,
            p.W_z @ Ey + p.C_z @ c + p.b_z,
            p.W_r @ Ey + p.C_r @ c + p.b_r,
            _Recurrent(p.U, p.U_z, p.U_r),
            s,
        )
        s = unit.state

        steps.append(unit)
        hiddens.append(hidden)
        es.append(e)
        alphas.append(alpha)
        cs.append(c)
        t_tildes.append(t_tilde)
        ts.append(t)
        logits.append(p.W_o @ t + p.b_y)

    log_p = np.stack([_log_softmax(row) for row in logits])
    return Result(
        src=tuple(src),
        tgt=tuple(tgt),
        bos=bos,
        fwd=fwd,
        bwd=bwd,
        h=h,
        s_0=s_0,
        decoder=_stacked(steps),
        hidden=np.stack(hiddens),
        e=np.stack(es),
        alpha=np.stack(alphas),
        c=np.stack(cs),
        t_tilde=np.stack(t_tildes),
        t=np.stack(ts),
        logits=np.stack(logits),
        log_p=log_p,
        loss=-float(sum(log_p[i, y] for i, y in enumerate(tgt))),
    )


def backward(params: Parameters, result: Result) -> Parameters:
    """The gradient of `result.loss` with respect to every parameter, by hand.

    `d_x` stands for d loss / d x throughout. `a` marks what goes into a tanh or a sigmoid: d tanh(a) = 1 - tanh(a)^2,
    d sigma(a) = sigma(a) (1 - sigma(a)).
    """
    p, R = params, result
    S, T, n = len(R.src), len(R.tgt), R.s_0.shape[0]
    g = {name: np.zeros_like(array) for name, array in p.as_dict().items()}
    s = R.s
    d_h = np.zeros_like(R.h)  # (S, 2n), from every target word
    d_s = np.zeros(n)  # of s_i, from the steps after i; s_T feeds nothing

    for i in reversed(range(T)):  # row i is the paper's step i + 1: previous state s[i], new state s[i + 1]
        y_previous = R.tgt[i - 1] if i > 0 else R.bos
        Ey, c, alpha = p.E_y[:, y_previous], R.c[i], R.alpha[i]

        # -log softmax: p - one-hot.
        d_logits = np.exp(R.log_p[i])
        d_logits[R.tgt[i]] -= 1.0
        g["W_o"] += _outer(d_logits, R.t[i])
        g["b_y"] += d_logits
        d_t = p.W_o.T @ d_logits

        # Maxout: only the larger of a pair hears of it.
        d_t_tilde = np.zeros_like(R.t_tilde[i])
        for j, d in enumerate(d_t):
            first, second = R.t_tilde[i, 2 * j], R.t_tilde[i, 2 * j + 1]
            share = 0.5 if first == second else float(first > second)
            d_t_tilde[2 * j], d_t_tilde[2 * j + 1] = share * d, (1.0 - share) * d
        g["U_o"] += _outer(d_t_tilde, s[i])
        g["V_o"] += _outer(d_t_tilde, Ey)
        g["C_o"] += _outer(d_t_tilde, c)
        g["b_o"] += d_t_tilde
        d_s_previous = p.U_o.T @ d_t_tilde
        d_Ey = p.V_o.T @ d_t_tilde
        d_c = p.C_o.T @ d_t_tilde

        # The gated unit.
        unit = _Unit(R.decoder.z[i], R.decoder.r[i], R.decoder.candidate[i], R.decoder.state[i])
        d_unit = _gated_unit_backward(d_s, unit, _Recurrent(p.U, p.U_z, p.U_r), s[i])
        for gate, d_a, state in (
            ("", d_unit.a, unit.r * s[i]),
            ("_z", d_unit.a_z, s[i]),
            ("_r", d_unit.a_r, s[i]),
        ):
            g[f"W{gate}"] += _outer(d_a, Ey)
            g[f"U{gate}"] += _outer(d_a, state)
            g[f"C{gate}"] += _outer(d_a, c)
            g[f"b{gate}"] += d_a
            d_Ey += getattr(p, f"W{gate}").T @ d_a
            d_c += getattr(p, f"C{gate}").T @ d_a
        d_s_previous += d_unit.previous

        # c = sum_j alpha_j h_j, then the softmax: d e_j = alpha_j (d alpha_j - sum_k alpha_k d alpha_k).
        d_alpha = R.h @ d_c
        d_h += _outer(alpha, d_c)
        d_e = alpha * (d_alpha - alpha @ d_alpha)

        # e_j = v_a . hidden_j.
        for j in range(S):
            g["v_a"] += d_e[j] * R.hidden[i, j]
            d_a = d_e[j] * p.v_a * (1.0 - R.hidden[i, j] ** 2)
            g["W_a"] += _outer(d_a, s[i])
            g["U_a"] += _outer(d_a, R.h[j])
            g["b_a"] += d_a
            d_s_previous += p.W_a.T @ d_a
            d_h[j] += p.U_a.T @ d_a

        g["E_y"][:, y_previous] += d_Ey
        d_s = d_s_previous

    # s_0 = tanh(W_s h<-_1 + b_s).
    d_a = d_s * (1.0 - R.s_0**2)
    g["W_s"] += _outer(d_a, R.bwd.state[0])
    g["b_s"] += d_a
    d_h[0, n:] += p.W_s.T @ d_a

    # Each encoder in the order in which it read.
    _encode_backward(p, g, "fwd", list(R.src), R.fwd, d_h[:, :n])
    _encode_backward(p, g, "bwd", list(reversed(R.src)), _turned(R.bwd), d_h[::-1, n:])
    return Parameters(**g)


def forward_backward(
    params: Parameters, pairs: Iterable[tuple[Sequence[int], Sequence[int]]], bos: int
) -> tuple[float, Parameters, list[Result]]:
    """A batch of (src, tgt) pairs: the SUM over its sentences of loss and gradient, and each sentence's result.

    The paper's objective is the mean over sentences: divide by the number of pairs.
    """
    loss = 0.0
    total = {name: np.zeros_like(array) for name, array in params.as_dict().items()}
    results: list[Result] = []
    for src, tgt in pairs:
        result = forward(params, src, tgt, bos)
        for name, array in backward(params, result).as_dict().items():
            total[name] += array
        loss += result.loss
        results.append(result)
    return loss, Parameters(**total), results


# --- the gated unit, shared by both encoders and the decoder ----------------------------------------------------------


class _Recurrent(NamedTuple):
    """The matrices (n, n) that act on the previous state: candidate, update gate, reset gate."""

    U: Array
    U_z: Array
    U_r: Array


class _Encoder(NamedTuple):
    """One direction of the encoder: W (n, m) and b (n,) of the candidate and the two gates, and the recurrent part."""

    W: Array
    W_z: Array
    W_r: Array
    b: Array
    b_z: Array
    b_r: Array
    recurrent: _Recurrent


class _Unit(NamedTuple):
    """One step of a gated unit, each (n,)."""

    z: Array
    r: Array
    candidate: Array
    state: Array


class _UnitGradient(NamedTuple):
    """Gradients, each (n,), of what went into the candidate's tanh and the gates' sigmoids, and of the old state."""

    a: Array
    a_z: Array
    a_r: Array
    previous: Array


def _gated_unit(a: Array, a_z: Array, a_r: Array, recurrent: _Recurrent, previous: Array) -> _Unit:
    """One step, A.2.1 and A.2.2; a, a_z, a_r are what does not depend on the previous state (input, context, bias)."""
    z = _sigmoid(a_z + recurrent.U_z @ previous)
    r = _sigmoid(a_r + recurrent.U_r @ previous)
    # The reset gate acts BEFORE the recurrent matrix: U [r * s], not r * (U s).
    candidate = np.tanh(a + recurrent.U @ (r * previous))
    return _Unit(z, r, candidate, (1.0 - z) * previous + z * candidate)


def _gated_unit_backward(d_state: Array, unit: _Unit, recurrent: _Recurrent, previous: Array) -> _UnitGradient:
    """Gradients of one step, given that of its state."""
    z, r, candidate, _ = unit
    d_a = d_state * z * (1.0 - candidate**2)
    d_reset = recurrent.U.T @ d_a  # of r * previous
    d_a_z = d_state * (candidate - previous) * z * (1.0 - z)
    d_a_r = d_reset * previous * r * (1.0 - r)
    d_previous = d_state * (1.0 - z) + d_reset * r + recurrent.U_z.T @ d_a_z + recurrent.U_r.T @ d_a_r
    return _UnitGradient(d_a, d_a_z, d_a_r, d_previous)


def _encoder_unit(p: Parameters, direction: str) -> _Encoder:
    """The parameters of one direction, `fwd` or `bwd`."""
    names = ("W", "W_z", "W_r", "b", "b_z", "b_r")
    recurrent = _Recurrent(*(getattr(p, f"{name}_{direction}") for name in _Recurrent._fields))
    return _Encoder(*(getattr(p, f"{name}_{direction}") for name in names), recurrent=recurrent)


def _encode(unit: _Encoder, inputs: Sequence[Array]) -> Gated:
    """Run one direction over embedded words, each (m,), in the order given, from the zero state (A.2.1)."""
    state = np.zeros(unit.b.shape)
    steps: list[_Unit] = []
    for Ex in inputs:
        step = _gated_unit(
            unit.W @ Ex + unit.b, unit.W_z @ Ex + unit.b_z, unit.W_r @ Ex + unit.b_r, unit.recurrent, state
        )
        state = step.state
        steps.append(step)
    return _stacked(steps)


def _encode_backward(
    p: Parameters, g: dict[str, Array], direction: str, words: list[int], states: Gated, d_states: Array
) -> None:
    """Add one direction's gradients to `g`; words, states and d_states (S, n) in the order in which it read."""
    unit = _encoder_unit(p, direction)
    d_state = np.zeros(d_states.shape[1])
    for i in reversed(range(len(words))):
        previous = states.state[i - 1] if i > 0 else np.zeros(d_states.shape[1])
        step = _Unit(states.z[i], states.r[i], states.candidate[i], states.state[i])
        d_step = _gated_unit_backward(d_state + d_states[i], step, unit.recurrent, previous)
        Ex = p.E_x[:, words[i]]
        for gate, W, d_a, state in (
            ("", unit.W, d_step.a, step.r * previous),
            ("_z", unit.W_z, d_step.a_z, previous),
            ("_r", unit.W_r, d_step.a_r, previous),
        ):
            g[f"W{gate}_{direction}"] += _outer(d_a, Ex)
            g[f"U{gate}_{direction}"] += _outer(d_a, state)
            g[f"b{gate}_{direction}"] += d_a
            g["E_x"][:, words[i]] += W.T @ d_a
        d_state = d_step.previous


def _stacked(steps: Sequence[_Unit]) -> Gated:
    """Steps (n,) as rows (S, n)."""
    z, r, candidate, state = (np.stack(rows) for rows in zip(*steps, strict=True))
    return Gated(z, r, candidate, state)


def _turned(states: Gated) -> Gated:
    """The same rows, last first."""
    return Gated(states.z[::-1], states.r[::-1], states.candidate[::-1], states.state[::-1])


# --- small functions --------------------------------------------------------------------------------------------------


def _sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), by tanh so that no exp overflows."""
    return 0.5 * (1.0 + np.tanh(0.5 * a))


def _log_softmax(a: Array) -> Array:
    """Of a vector; the largest entry is subtracted first so that no exp overflows."""
    shifted = a - np.max(a)
    return shifted - np.log(np.sum(np.exp(shifted)))


def _outer(a: Array, b: Array) -> Array:
    """(len(a), len(b)): the gradient of W, from that of W x and from x."""
    return a[:, None] * b


def _orthogonal(rng: np.random.Generator, n: int) -> Array:
    """A random orthogonal matrix (n, n), uniform: the signs of R's diagonal are what QR leaves arbitrary."""
    Q, R = np.linalg.qr(rng.normal(size=(n, n)))
    return Q * np.sign(np.diag(R))


def _check_ids(what: str, ids: Sequence[int], words: int) -> None:
    """NumPy would take a negative id for one counted from the end, and an empty sentence has no annotation to read."""
    if len(ids) == 0:
        raise ValueError(f"{what} is empty")
    for k in ids:
        if not 0 <= k < words:
            raise ValueError(f"{what} holds id {k}; the vocabulary has {words} words")
