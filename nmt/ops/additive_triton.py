"""Additive attention in fused Triton kernels: the function of `additive.attend` without B*Q*N*A numbers in memory.

tanh(query_i + keys_j) lives in registers alone: the forward sums it into a score at once, the backward takes it anew.
What is a matrix product, context and values, is left to one. Imported only where it is chosen (ops/choose.py).

In the forward the axis that is summed over comes first in a tile, so that a thread sums what it holds. In the backward
one program owns a block of keys of a sentence and a slice of A, for all queries, with a thread for each number of the
slice: nothing crosses between threads, no two programs add to one number, so there are no atomics and every run gives
the same bits.

Loops over queries end at a run-time number on a GPU, at a constant in the interpreter, which fails on others with NumPy
2.4. Loops over blocks of keys end at a constant: a kernel for every 32 positions.
"""

# pyright: reportArgumentType=false, reportOperatorIssue=false
# (inside a kernel it is Triton that says what the types are)

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from nmt.ops import additive
from nmt.ops.gradient import once
from nmt.ops.linear import wide

_KEYS = 32  # of a tile: most sentences have no more
_QUERIES = 16
_DEEP = 16  # of A, in a step of the forward: more of it where there are fewer queries
_SLICE = 128  # of A, in a program of the backward: a number for each thread of four warps
_FUSED = {"num_warps": 4, "enable_fp_fusion": True}


PLAIN, EXACT, ROUGH = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit
def _tanh(x, TANH: tl.constexpr):
    """tanh of float32. PLAIN: from the exponential, where there is no GPU. EXACT: the same in the GPU's own
    instructions, absolute error 2e-7, two of the special unit. ROUGH: one, relative error 2^-11.
    """
    if TANH == ROUGH:
        return tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)
    elif TANH == EXACT:
        e = tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x * 2.8853900817779268], dtype=tl.float32, is_pure=True, pack=1
        )  # exp(2x)
        inverse = tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [e + 1.0], dtype=tl.float32, is_pure=True, pack=1
        )
        return 1.0 - 2.0 * inverse
    else:
        return 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)


@triton.jit
def _scores(
    query,  # (BLOCK_Q,) pointers to rows of A
    keys,  # (BLOCK_N,) pointers to rows of A
    v,  # (A,)
    queries_there,  # (BLOCK_Q,) bool
    keys_there,  # (BLOCK_N,) bool
    A: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
    TANH: tl.constexpr,
):
    """v . tanh(query_i + keys_j): (BLOCK_Q, BLOCK_N)."""
    score = tl.zeros((BLOCK_Q, BLOCK_N), tl.float32)
    for start in range(0, A, BLOCK_A):
        a = start + tl.arange(0, BLOCK_A)
        inside = (a < A)[:, None]
        q = tl.load(query[None, :] + a[:, None], mask=inside & queries_there[None, :], other=0.0).to(tl.float32)
        k = tl.load(keys[None, :] + a[:, None], mask=inside & keys_there[None, :], other=0.0).to(tl.float32)
        share = tl.load(v + a, mask=a < A, other=0.0).to(tl.float32)
        score += tl.sum(_tanh(q[:, :, None] + k[:, None, :], TANH) * share[:, None, None], axis=0)
    return score


@triton.jit
def _weights_kernel(
    query,  # (B, Q, A)
    keys,  # (B, N, A)
    v,  # (A,)
    may,  # (B, Q or 1, N) uint8
    weights,  # (B, Q, N) float32, written
    n_queries,  # Q
    n_keys,  # N
    may_b,  # from one sentence to the next in `may`
    may_q,  # from one query to the next: N, or 0 where all share a row
    A: tl.constexpr,
    KEY_BLOCKS: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
    TANH: tl.constexpr,
):
    """The softmax over keys for BLOCK_Q queries of a sentence.

    With several blocks of keys the scores wait in `weights` while their maximum and sum are gathered.
    """
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    there = i < n_queries
    query += (b * n_queries + i) * A
    may += b * may_b + i * may_q
    weights += (b * n_queries + i) * n_keys
    score = tl.zeros((BLOCK_Q, BLOCK_N), tl.float32)
    most = tl.full((BLOCK_Q,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_Q,), tl.float32)  # of exp(score - most)
    for block in range(KEY_BLOCKS):
        j = block * BLOCK_N + tl.arange(0, BLOCK_N)
        real = j < n_keys
        both = there[:, None] & real[None, :]
        at = keys + (b * n_keys + j) * A
        score = _scores(query, at, v, there, real, A, BLOCK_A, BLOCK_Q, BLOCK_N, TANH)
        score = tl.where(tl.load(may[:, None] + j[None, :], mask=both, other=0) != 0, score, -float("inf"))
        before = most
        most = tl.maximum(before, tl.max(score, axis=1))
        base = tl.where(most == -float("inf"), 0.0, most)  # where no key has been seen so far
        total = total * tl.exp(before - base) + tl.sum(tl.exp(score - base[:, None]), axis=1)
        if KEY_BLOCKS > 1:
            tl.store(weights[:, None] + j[None, :], score, mask=both)
    if KEY_BLOCKS > 1:
        tl.debug_barrier()  # other threads wrote what is read now
    base = tl.where(most == -float("inf"), 0.0, most)
    total = tl.where(total == 0.0, 1.0, total)
    for block in range(KEY_BLOCKS):
        j = block * BLOCK_N + tl.arange(0, BLOCK_N)
        both = there[:, None] & (j < n_keys)[None, :]
        if KEY_BLOCKS > 1:
            score = tl.load(weights[:, None] + j[None, :], mask=both, other=0.0)
        tl.store(weights[:, None] + j[None, :], tl.exp(score - base[:, None]) / total[:, None], mask=both)


@triton.jit
def _one_query_kernel(
    query,  # (B, A), query_b numbers from one to the next
    keys,  # (B, N, A)
    v,  # (A,)
    hide,  # (B, N) float32: 0, or -inf
    queries,  # (B, A), queries_b numbers from one to the next; written: the same again
    weights,  # (B, N) float32, written
    query_b,
    queries_b,
    n_keys,  # N
    A: tl.constexpr,
    KEY_BLOCKS: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_N: tl.constexpr,
    TANH: tl.constexpr,
):
    """The same for one query a sentence: keys are read along their rows, and a row is summed at the end."""
    b = tl.program_id(0).to(tl.int64)
    query += b * query_b
    queries += b * queries_b
    weights += b * n_keys
    most = tl.full((), -float("inf"), tl.float32)
    total = tl.zeros((), tl.float32)
    for block in range(KEY_BLOCKS):
        j = block * BLOCK_N + tl.arange(0, BLOCK_N)
        real = j < n_keys
        sums = tl.zeros((BLOCK_N, BLOCK_A), tl.float32)
        for start in range(0, A, BLOCK_A):
            a = start + tl.arange(0, BLOCK_A)
            q = tl.load(query + a, mask=a < A, other=0.0)
            if block == 0:
                tl.store(queries + a, q, mask=a < A)
            share = tl.load(v + a, mask=a < A, other=0.0).to(tl.float32)
            row = (b * n_keys + j)[:, None] * A + a[None, :]
            k = tl.load(keys + row, mask=real[:, None] & (a < A)[None, :], other=0.0)
            sums += _tanh(q.to(tl.float32)[None, :] + k.to(tl.float32), TANH) * share[None, :]
        score = tl.sum(sums, axis=1) + tl.load(hide + b * n_keys + j, mask=real, other=-float("inf"))
        before = most
        most = tl.maximum(before, tl.max(score, axis=0))
        base = tl.where(most == -float("inf"), 0.0, most)
        total = total * tl.exp(before - base) + tl.sum(tl.exp(score - base), axis=0)
        tl.store(weights + j, score, mask=real)
    tl.debug_barrier()
    base = tl.where(most == -float("inf"), 0.0, most)
    total = tl.where(total == 0.0, 1.0, total)
    for block in range(KEY_BLOCKS):
        j = block * BLOCK_N + tl.arange(0, BLOCK_N)
        score = tl.load(weights + j, mask=j < n_keys, other=0.0)
        tl.store(weights + j, tl.exp(score - base) / total, mask=j < n_keys)


@triton.jit
def _gradients_kernel(
    dscores,  # (B, Q, KEY_BLOCKS * BLOCK_N) float32, 0 beyond N
    query,  # (B, Q, A)
    keys,  # (B, N, A)
    v,  # (A,)
    dquery,  # (KEY_BLOCKS, B, Q, A) float32, written: the share of each block of keys
    dkeys,  # (B, N, A), written
    dv,  # (KEY_BLOCKS, B, A) float32, written: the share of each
    n_queries,  # Q
    n_keys,  # N
    A: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_N: tl.constexpr,
    WANT_DQUERY: tl.constexpr,
    TANH: tl.constexpr,
):
    """`additive.score_gradients` for a block of keys of a sentence and a slice of A."""
    b = tl.program_id(2).to(tl.int64)
    block, n_blocks = tl.program_id(1), tl.num_programs(1)
    a = tl.program_id(0) * BLOCK_A + tl.arange(0, BLOCK_A)
    j = block * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = a < A
    both = (j < n_keys)[:, None] & inside[None, :]
    share = tl.load(v + a, mask=inside, other=0.0).to(tl.float32)
    row = (b * n_keys + j)[:, None] * A + a[None, :]
    k = tl.load(keys + row, mask=both, other=0.0).to(tl.float32)
    own = b + block * tl.num_programs(2).to(tl.int64)
    query += b * n_queries * A + a
    dquery += own * n_queries * A + a
    dscores += b * n_queries * (n_blocks * BLOCK_N) + j
    # The axis of one in front keeps all keys of a column in one thread.
    sum_k = tl.zeros((BLOCK_N, BLOCK_A), tl.float32)
    sum_v = tl.zeros((1, BLOCK_N, BLOCK_A), tl.float32)
    for i in range(n_queries):
        q = tl.load(query + i * A, mask=inside, other=0.0).to(tl.float32)
        d = tl.load(dscores + i * (n_blocks * BLOCK_N))
        t = _tanh(q[None, None, :] + k[None, :, :], TANH)
        g = d[None, :, None] * (1.0 - t * t)
        sum_k += tl.sum(g, axis=0)
        sum_v += d[None, :, None] * t
        if WANT_DQUERY:
            tl.store(dquery + i * A, tl.sum(tl.sum(g, axis=0), axis=0) * share, mask=inside)
    tl.store(dkeys + row, sum_k * share[None, :], mask=both)
    tl.store(dv + own * A + a, tl.sum(tl.sum(sum_v, axis=0), axis=0), mask=inside)


@triton.jit
def _one_gradient_kernel(
    weights,  # (B, N) float32
    dweights,  # (B, N) float32
    query,  # (B, A), query_b numbers from one to the next
    keys,  # (B, N, A)
    v,  # (A,)
    dscores,  # (B, N) float32, scores_b numbers from one to the next, written
    dquery,  # (B, A), written
    query_b,
    scores_b,
    n_keys,  # N
    A: tl.constexpr,
    KEY_BLOCKS: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_N: tl.constexpr,
    TANH: tl.constexpr,
):
    """Backward of softmax and score by the one query of a sentence, for a slice of A: the loop of a recurrence needs no
    more, and leaves keys and v to `_gradients_kernel` after it.
    """
    b = tl.program_id(1).to(tl.int64)
    a = tl.program_id(0) * BLOCK_A + tl.arange(0, BLOCK_A)
    inside = a < A
    q = tl.load(query + b * query_b + a, mask=inside, other=0.0).to(tl.float32)
    mean = tl.zeros((), tl.float32)  # of dweights, under the weights
    for block in range(KEY_BLOCKS):
        j = block * BLOCK_N + tl.arange(0, BLOCK_N)
        real = j < n_keys
        w = tl.load(weights + b * n_keys + j, mask=real, other=0.0)
        mean += tl.sum(w * tl.load(dweights + b * n_keys + j, mask=real, other=0.0), axis=0)
    sum_q = tl.zeros((BLOCK_A,), tl.float32)
    for block in range(KEY_BLOCKS):
        j = block * BLOCK_N + tl.arange(0, BLOCK_N)
        real = j < n_keys
        w = tl.load(weights + b * n_keys + j, mask=real, other=0.0)
        d = w * (tl.load(dweights + b * n_keys + j, mask=real, other=0.0) - mean)
        k = tl.load(
            keys + (b * n_keys + j)[:, None] * A + a[None, :], mask=real[:, None] & inside[None, :], other=0.0
        ).to(tl.float32)
        t = _tanh(q[None, :] + k, TANH)
        sum_q += tl.sum(d[:, None] * (1.0 - t * t), axis=0)
        if tl.program_id(0) == 0:
            tl.store(dscores + b * scores_b + j, d, mask=real)
    share = tl.load(v + a, mask=inside, other=0.0).to(tl.float32)
    tl.store(dquery + b * A + a, sum_q * share, mask=inside)


def attend(query: Tensor, keys: Tensor, values: Tensor, v: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """`additive.attend`: context (B, Q, D) in the dtype of values and weights (B, Q, N) float32.

    query (B, Q, A), keys (B, N, A), values (B, N, D), v (A,), keep (B, N) bool. Between score and weights everything is
    float32; with bfloat16 on a GPU tanh has the precision of bfloat16, 2^-11.
    """
    weights = align(query, keys, v, keep[:, None])
    return weights.to(values.dtype) @ values, weights


def align(query: Tensor, keys: Tensor, v: Tensor, may: Tensor) -> Tensor:
    """`additive.align`: (B, Q, N) float32 for `may` (B, Q or 1, N) bool; a query without a key has weights 0."""
    return _Align.apply(query, keys, v, may)  # pyright: ignore[reportReturnType]


class _Align(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, v: Tensor, may: Tensor) -> Tensor:
        query, keys, v, may = query.contiguous(), keys.contiguous(), v.contiguous(), may.contiguous().view(torch.uint8)
        (B, Q, A), N = query.shape, keys.shape[1]
        weights = query.new_empty((B, Q, N), dtype=wide(keys.dtype))
        rows = min(_QUERIES, triton.next_power_of_2(Q))
        _weights_kernel[(triton.cdiv(Q, rows), B)](
            query, keys, v, may, weights, Q, N, may.stride(0), 0 if may.shape[1] == 1 else N, A, _blocks(N),
            _DEEP * _QUERIES // rows, rows, _KEYS, _tanh_of(keys), **_FUSED,
        )  # fmt: skip
        ctx.save_for_backward(query, keys, v, weights)
        return weights

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, keys, v, weights = ctx.saved_tensors
        dscores = _room_for_scores(query, keys)
        dscores[..., : keys.shape[1]] = additive.softmax_gradient(weights, grads[0])
        return *_gradients(dscores, query, keys, v, ctx.needs_input_grad[0]), None


class Steps(additive.Steps):
    """Keeps the queries, T*B*A numbers, and takes tanh anew on the way back."""

    def __init__(self, keys: Tensor, v: Tensor, T: int, kept: Tensor | None = None) -> None:
        self.keys, self.v = keys.contiguous(), v.contiguous()
        if kept is None:
            self.kept = keys.new_empty((keys.shape[0], T, keys.shape[2]))  # the queries
        else:
            self.kept, self.dscores = kept, _room_for_scores(kept, keys)

    def look(self, t: int, query: Tensor, hide: Tensor, out: Tensor) -> Tensor:
        """As in additive.Steps, in one kernel."""
        (B, N, A), kept = self.keys.shape, self.kept[:, t]
        assert query.stride(1) == 1
        _one_query_kernel[(B,)](
            query, self.keys, self.v, hide, kept, out, query.stride(0), kept.stride(0), N, A, _blocks(N), _SLICE, _KEYS,
            _tanh_of(self.keys), **_FUSED,
        )  # fmt: skip
        return out

    def look_backward(self, t: int, weights: Tensor, dweights: Tensor) -> Tensor:
        """As in additive.Steps, in one kernel: softmax and query alone, the rest is `gradients`'."""
        (B, N, A), query, dscores = self.keys.shape, self.kept[:, t], self.dscores[:, t]
        dquery = self.keys.new_empty((B, A))
        _one_gradient_kernel[(triton.cdiv(A, _SLICE), B)](
            weights, dweights.contiguous(), query, self.keys, self.v, dscores, dquery, query.stride(0),
            dscores.stride(0), N, A, _blocks(N), _SLICE, _KEYS, _tanh_of(self.keys), **_FUSED,
        )  # fmt: skip
        return dquery

    def gradients(self) -> tuple[Tensor, Tensor]:
        """As in additive.Steps."""
        _, dkeys, dv = _gradients(self.dscores, self.kept, self.keys, self.v, want_dquery=False)
        return dkeys, dv


def _gradients(
    dscores: Tensor, query: Tensor, keys: Tensor, v: Tensor, want_dquery: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Of query, keys and v, in their types; dscores as `_room_for_scores` makes room for them."""
    (B, Q, A), N, blocks = query.shape, keys.shape[1], _blocks(keys.shape[1])
    dquery = dscores.new_empty((blocks, B, Q, A) if want_dquery else 0)
    dkeys, dv = torch.empty_like(keys), dscores.new_empty((blocks, B, A))
    _gradients_kernel[(triton.cdiv(A, _SLICE), blocks, B)](
        dscores, query, keys, v, dquery, dkeys, dv, _bound(Q, query), N, A, _SLICE, _KEYS, want_dquery, _tanh_of(query),
        **_FUSED,
    )  # fmt: skip
    return dquery.sum(0).to(query.dtype) if want_dquery else None, dkeys, dv.sum((0, 1)).to(v.dtype)


def _blocks(n_keys: int) -> int:
    return triton.cdiv(n_keys, _KEYS)


def _room_for_scores(query: Tensor, keys: Tensor) -> Tensor:
    """(B, Q, N rounded up to whole blocks) float32, zeros: rows begin where a GPU can read four numbers at once."""
    B, Q, _ = query.shape
    return query.new_zeros((B, Q, _blocks(keys.shape[1]) * _KEYS), dtype=wide(keys.dtype))


def _bound(n: int, tensor: Tensor) -> Any:
    """The end of a loop: see the top of the file."""
    return n if tensor.is_cuda else tl.constexpr(n)


def _tanh_of(tensor: Tensor) -> int:
    """Which `_tanh` these inputs want: float32 products come with a tanh of float32."""
    if not tensor.is_cuda:
        return PLAIN.value
    return EXACT.value if tensor.dtype == torch.float32 else ROUGH.value
