"""Attention over packed rows in one tile: the function of `packed.attend` without weights in memory.

A row of up to 128 positions and a head are one program's work, and all its scores fit into registers: 128 x 128 of
them. So a softmax is taken at once, nothing is kept for the backward but the inputs, and that is one kernel too: scores
anew, five products, no atomics. Which key a query sees comes from segments, and what dropout zeroes from a hash of the
position and a seed, so that both ways agree. Imported only where it is chosen (ops/choose.py).
"""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportCallIssue=false
# (inside a kernel it is Triton that says what the types are)

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from nmt.ops import packed
from nmt.ops.gradient import once
from nmt.ops.packed import LONGEST

_QUERIES = 64  # of a program in the forward: more need more registers than there are
_LEVELS = 1 << 24  # a probability of dropout is rounded to one of them
_FUSED = {"enable_fp_fusion": True}


@triton.jit
def _rows(at, there, C: tl.constexpr, BLOCK_C: tl.constexpr):
    """Rows (BLOCK, BLOCK_C) of C numbers at pointers (BLOCK,), zeros where `there` (BLOCK,) is False."""
    c = tl.arange(0, BLOCK_C)
    return tl.load(at[:, None] + c[None, :], mask=there[:, None] & (c < C)[None, :], other=0.0)


@triton.jit
def _put(at, rows, there, C: tl.constexpr, BLOCK_C: tl.constexpr):
    """Writes rows (BLOCK, BLOCK_C) where `_rows` would read them, in the type of the memory."""
    c = tl.arange(0, BLOCK_C)
    tl.store(at[:, None] + c[None, :], rows.to(at.dtype.element_ty), mask=there[:, None] & (c < C)[None, :])


@triton.jit
def _weights(q, k, seen, sharpness):
    """The softmax of a tile: q (BLOCK_Q, C), k (BLOCK_N, C), seen (BLOCK_Q, BLOCK_N); a row that sees nothing is 0."""
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * sharpness
    scores = tl.where(seen, scores, -float("inf"))
    most = tl.max(scores, axis=1)
    e = tl.exp(scores - tl.where(most == -float("inf"), 0.0, most)[:, None])
    total = tl.sum(e, axis=1)
    return e * (1.0 / tl.where(total == 0.0, 1.0, total))[:, None]


@triton.jit
def _seen(query_segments, key_segments, i, j, n_queries, n_keys, CAUSAL: tl.constexpr):
    """packed.visible for queries i (BLOCK_Q,) and keys j (BLOCK_N,) of one row."""
    own = tl.load(query_segments + i, mask=i < n_queries, other=0)
    theirs = tl.load(key_segments + j, mask=j < n_keys, other=0)
    seen = (own[:, None] == theirs[None, :]) & (own != 0)[:, None]
    if CAUSAL:
        seen = seen & (i[:, None] >= j[None, :])
    return seen


@triton.jit
def _left(seed, program, i, j, n_queries, n_keys, zeroed):
    """True where dropout leaves a weight: a hash of its position and the seed is not below `zeroed` of 2^24.

    The mixing is that of a 32-bit integer hash of two multiplications (the constants are Wellons' "lowbias32"), with
    the seed's halves brought in before each.
    """
    drawn = tl.load(seed)
    at = ((program * n_queries + i)[:, None] * n_keys + j[None, :]).to(tl.uint32)
    x = at ^ (drawn & 0xFFFFFFFF).to(tl.uint32)
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = x ^ (drawn >> 32).to(tl.uint32)
    x = (x ^ (x >> 15)) * 0x846CA68B
    return ((x ^ (x >> 16)) >> 8).to(tl.int32) >= zeroed


@triton.jit
def _forward_kernel(
    query,  # (B, H, Q, C), as all tensors here: rows of C numbers, whatever lies between rows, heads and positions
    keys,  # (B, G, N, C)
    values,  # (B, G, N, C)
    query_segments,  # (B, Q) int32
    key_segments,  # (B, N) int32
    seed,  # (1,) int64
    context,  # (B, H, Q, C), written
    query_b, query_h, query_q,
    keys_b, keys_g, keys_n,
    values_b, values_g, values_n,
    context_b, context_h, context_q,
    n_queries,  # Q
    n_keys,  # N
    sharpness,  # C^-0.5
    zeroed,  # of 2^24
    louder,  # what dropout leaves is multiplied by
    C: tl.constexpr,
    GROUP: tl.constexpr,  # H / G
    BLOCK_Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    CAUSAL: tl.constexpr,
    DROPS: tl.constexpr,
):  # fmt: skip
    """The context of BLOCK_Q queries of a row and head."""
    h, b = tl.program_id(1), tl.program_id(2).to(tl.int64)
    i, j = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_N)
    g = h // GROUP
    q = _rows(query + b * query_b + h * query_h + i * query_q, i < n_queries, C, BLOCK_C)
    k = _rows(keys + b * keys_b + g * keys_g + j * keys_n, j < n_keys, C, BLOCK_C)
    v = _rows(values + b * values_b + g * values_g + j * values_n, j < n_keys, C, BLOCK_C)
    seen = _seen(query_segments + b * n_queries, key_segments + b * n_keys, i, j, n_queries, n_keys, CAUSAL)
    weights = _weights(q, k, seen, sharpness)
    if DROPS:
        left = _left(seed, tl.program_id(2) * tl.num_programs(1) + h, i, j, n_queries, n_keys, zeroed)
        weights = tl.where(left, weights * louder, 0.0)
    found = tl.dot(weights.to(v.dtype), v, input_precision="ieee")
    _put(context + b * context_b + h * context_h + i * context_q, found, i < n_queries, C, BLOCK_C)


@triton.jit
def _backward_kernel(
    dcontext,  # (B, H, Q, C)
    query,  # (B, H, Q, C)
    keys,  # (B, G, N, C)
    values,  # (B, G, N, C)
    query_segments,  # (B, Q) int32
    key_segments,  # (B, N) int32
    seed,  # (1,) int64
    dquery,  # (B, H, Q, C), written
    dkeys,  # (B, H, N, C), written: the share of each head
    dvalues,  # (B, H, N, C), written: the share of each head
    dcontext_b, dcontext_h, dcontext_q,
    query_b, query_h, query_q,
    keys_b, keys_g, keys_n,
    values_b, values_g, values_n,
    dquery_b, dquery_h, dquery_q,
    dkeys_b, dkeys_h, dkeys_n,  # and of dvalues
    n_queries,
    n_keys,
    sharpness,
    zeroed,
    louder,
    C: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    CAUSAL: tl.constexpr,
    DROPS: tl.constexpr,
):  # fmt: skip
    """All gradients of a row and head."""
    h, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    i, j = tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_N)
    g = h // GROUP
    q = _rows(query + b * query_b + h * query_h + i * query_q, i < n_queries, C, BLOCK_C)
    k = _rows(keys + b * keys_b + g * keys_g + j * keys_n, j < n_keys, C, BLOCK_C)
    v = _rows(values + b * values_b + g * values_g + j * values_n, j < n_keys, C, BLOCK_C)
    dc = _rows(dcontext + b * dcontext_b + h * dcontext_h + i * dcontext_q, i < n_queries, C, BLOCK_C)
    seen = _seen(query_segments + b * n_queries, key_segments + b * n_keys, i, j, n_queries, n_keys, CAUSAL)
    weights = _weights(q, k, seen, sharpness)
    dweights = tl.dot(dc, tl.trans(v), input_precision="ieee")
    shares = weights
    if DROPS:
        left = _left(seed, tl.program_id(1) * tl.num_programs(0) + h, i, j, n_queries, n_keys, zeroed)
        shares = tl.where(left, weights * louder, 0.0)
        dweights = tl.where(left, dweights * louder, 0.0)
    dv = tl.dot(tl.trans(shares.to(v.dtype)), dc, input_precision="ieee")
    at = b * dkeys_b + h * dkeys_h + j * dkeys_n
    _put(dvalues + at, dv, j < n_keys, C, BLOCK_C)
    mean = tl.sum(weights * dweights, axis=1)
    dscores = (weights * (dweights - mean[:, None]) * sharpness).to(q.dtype)
    dq = tl.dot(dscores, k, input_precision="ieee")
    _put(dquery + b * dquery_b + h * dquery_h + i * dquery_q, dq, i < n_queries, C, BLOCK_C)
    dk = tl.dot(tl.trans(dscores), q, input_precision="ieee")
    _put(dkeys + at, dk, j < n_keys, C, BLOCK_C)


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    query_segments: Tensor,
    key_segments: Tensor,
    causal: bool = False,
    drop: float = 0.0,
) -> Tensor:
    """`packed.attend`: context (B, H, Q, C) in the dtype of values.

    query (B, H, Q, C), keys and values (B, G, N, C), segments (B, Q) and (B, N) int32. Rows of more than LONGEST
    positions, which hold a pair that is itself longer, go to `packed.attend`. Softmax and sums are float32,
    weights in the type of values before they meet them. A seed for dropout is drawn from the device's generator. For
    bfloat16: with float32 the backward has more numbers than a GPU has registers.
    """
    if max(*query.shape[2:], keys.shape[2]) > LONGEST:
        return packed.attend(query, keys, values, query_segments, key_segments, causal, drop)
    seed = torch.empty(1, dtype=torch.int64, device=query.device)
    if drop > 0.0:
        seed.random_()
    return attend_seeded(query, keys, values, query_segments, key_segments, causal, drop, seed)


def attend_seeded(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    query_segments: Tensor,
    key_segments: Tensor,
    causal: bool,
    drop: float,
    seed: Tensor,
) -> Tensor:
    """`attend` with dropout's seed (1,) int64 given."""
    assert max(*query.shape[2:], keys.shape[2]) <= LONGEST, "one tile holds no more"
    return _Attend.apply(  # pyright: ignore[reportReturnType]
        query, keys, values, query_segments.contiguous(), key_segments.contiguous(), causal, drop, seed
    )


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        query_segments: Tensor,
        key_segments: Tensor,
        causal: bool,
        drop: float,
        seed: Tensor,
    ) -> Tensor:
        query, keys, values = _dense_rows(query), _dense_rows(keys), _dense_rows(values)
        (B, H, Q, _), context = query.shape, _by_position(query, values.dtype)
        sizes = _sizes(query, keys, causal, drop)
        sizes["BLOCK_Q"] = min(sizes["BLOCK_Q"], _QUERIES)
        _forward_kernel[(triton.cdiv(Q, sizes["BLOCK_Q"]), H, B)](
            query, keys, values, query_segments, key_segments, seed, context, *query.stride()[:3], *keys.stride()[:3],
            *values.stride()[:3], *context.stride()[:3], **sizes, num_warps=4, **_FUSED,
        )  # fmt: skip
        ctx.save_for_backward(query, keys, values, query_segments, key_segments, seed)
        ctx.causal, ctx.drop = causal, drop
        return context

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, keys, values, query_segments, key_segments, seed = ctx.saved_tensors
        dcontext, (B, H, _, _), G = _dense_rows(grads[0]), query.shape, keys.shape[1]
        dquery = _by_position(query, query.dtype)
        dkeys, dvalues = (_by_position(keys, keys.dtype, H) for _ in range(2))
        _backward_kernel[(H, B)](
            dcontext, query, keys, values, query_segments, key_segments, seed, dquery, dkeys, dvalues,
            *dcontext.stride()[:3], *query.stride()[:3], *keys.stride()[:3], *values.stride()[:3], *dquery.stride()[:3],
            *dkeys.stride()[:3], **_sizes(query, keys, ctx.causal, ctx.drop), num_warps=8, **_FUSED,
        )  # fmt: skip
        if G < H:  # heads that share keys and values
            dkeys, dvalues = (d.unflatten(1, (G, -1)).sum(dim=2) for d in (dkeys, dvalues))
        return dquery, dkeys, dvalues, None, None, None, None, None


def _sizes(query: Tensor, keys: Tensor, causal: bool, drop: float) -> dict[str, Any]:
    """The kernels' numbers and constants."""
    (_, H, Q, C), (_, G, N, _) = query.shape, keys.shape
    zeroed = min(round(drop * _LEVELS), _LEVELS - 1)
    return {
        "n_queries": Q,
        "n_keys": N,
        "sharpness": C**-0.5,
        "zeroed": zeroed,
        "louder": _LEVELS / (_LEVELS - zeroed),
        "C": C,
        "GROUP": H // G,
        "BLOCK_Q": _block(Q),
        "BLOCK_N": _block(N),
        "BLOCK_C": _block(C),
        "CAUSAL": causal,
        "DROPS": zeroed > 0,
    }


def _block(n: int) -> int:
    """The least power of two that holds n and that a product can have."""
    return max(16, triton.next_power_of_2(n))


def _dense_rows(x: Tensor) -> Tensor:
    """x with numbers of the last axis side by side, whatever lies between rows."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _by_position(like: Tensor, dtype: torch.dtype, heads: int | None = None) -> Tensor:
    """Room for (B, H, Q, C) that lies in memory as (B, Q, H, C), which the projection after it wants."""
    B, H, Q, C = like.shape
    return like.new_empty((B, Q, heads or H, C), dtype=dtype).transpose(1, 2)
