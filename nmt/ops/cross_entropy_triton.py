"""The loss of a row of logits and its gradient in one Triton kernel: `Rows` of ops/cross_entropy.py on a GPU.

A program has a row. It reads it twice and writes it once: for the largest logit and the sum of exp, each thread for its
own columns, which meet at the end; then, from the GPU's cache, for the gradient. Torch's operations on float32 read and
write it about ten times. No atomics: every run gives the same bits. Imported only where it is chosen (ops/choose.py).

Loops end at a constant, the size of the vocabulary, of which a model has one.
"""

# pyright: reportArgumentType=false, reportOperatorIssue=false, reportCallIssue=false
# (inside a kernel it is Triton that says what the types are)

import torch
import triton
import triton.language as tl
from torch import Tensor

from nmt.ops.cross_entropy import NOTHING
from nmt.ops.linear import wide

_COLUMNS = 2048  # at a time: 8 for each thread
_WARPS = 8
_LEAST = tl.constexpr(-1e30)  # below any logit, and less itself it is 0, where -inf is not a number
_NOTHING = tl.constexpr(NOTHING)


@triton.jit
def _logits(at, bias, v, V: tl.constexpr, BIASED: tl.constexpr):
    """Logits of columns v (BLOCK,) in float32, -inf beyond the last."""
    x = tl.load(at + v, mask=v < V, other=-float("inf")).to(tl.float32)
    return x + tl.load(bias + v, mask=v < V, other=0.0).to(tl.float32) if BIASED else x


@triton.jit
def _rows_kernel(
    logits,  # (n, V): in their place the gradient is written
    bias,  # (V,), or anything where there is none
    targets,  # (n,) int64
    nll,  # (n,) float32, written: -log p(target)
    mean,  # (n,) float32, written: the mean of -log p over all ids
    even,  # smoothing / V
    at_target,  # 1 - smoothing
    V: tl.constexpr,
    BLOCK: tl.constexpr,
    BIASED: tl.constexpr,
):
    """A row, program_id(0)."""
    row = tl.program_id(0).to(tl.int64)
    at, target = logits + row * V, tl.load(targets + row)
    counts = target != _NOTHING
    most = tl.full((BLOCK,), _LEAST, tl.float32)
    total, added = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for start in range(0, V, BLOCK):
        v = start + tl.arange(0, BLOCK)
        x = _logits(at, bias, v, V, BIASED)
        more = tl.maximum(most, x)
        total = total * tl.exp(most - more) + tl.exp(x - more)
        added += tl.where(v < V, x, 0.0)
        most = more
    top = tl.max(most, axis=0)
    whole = tl.sum(total * tl.exp(most - top), axis=0)
    beyond_top = tl.log(whole)  # kept apart: beside a large logit it would be rounded away
    wanted = tl.load(at + tl.where(counts, target, 0)).to(tl.float32)
    if BIASED:
        wanted += tl.load(bias + tl.where(counts, target, 0)).to(tl.float32)
    tl.store(nll + row, tl.where(counts, top - wanted + beyond_top, 0.0))
    tl.store(mean + row, tl.where(counts, top - tl.sum(added, axis=0) / V + beyond_top, 0.0))
    share = 1.0 / whole
    for start in range(0, V, BLOCK):
        v = start + tl.arange(0, BLOCK)
        g = tl.exp(_logits(at, bias, v, V, BIASED) - top) * share - even
        g = tl.where(counts, g - tl.where(v == target, at_target, 0.0), 0.0)
        tl.store(at + v, g.to(logits.dtype.element_ty), mask=v < V)


class TritonRows:
    """`Rows`, for float32 and bfloat16."""

    def cross_entropy_(
        self, logits: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        """As in `Rows`; where a target is NOTHING both are 0, and so is the gradient."""
        assert logits.is_contiguous()
        n, V = logits.shape
        nll, mean = (torch.empty(n, dtype=torch.float32, device=logits.device) for _ in range(2))
        if n:
            _rows_kernel[(n,)](
                logits, logits if bias is None else bias, targets, nll, mean, smoothing / V, 1.0 - smoothing, V,
                min(_COLUMNS, triton.next_power_of_2(V)), bias is not None, num_warps=_WARPS,
            )  # fmt: skip
        return nll, mean

    def column_sums(self, g: Tensor) -> Tensor:
        """As in `Rows`."""
        return g.sum(dim=0, dtype=wide(g.dtype))
