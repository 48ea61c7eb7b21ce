"""Projection to the vocabulary and label-smoothed cross-entropy in one, a block of positions at a time.

The logits of all positions in float32 would be the largest tensor of an update. Here a block of them stays in the type
of the products, and a few rows at a time are widened, turned into the loss, and written back as their own gradient
while they are in cache; what is left are three products a block.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from nmt.ops.fused import fused_for
from nmt.ops.gradient import once
from nmt.ops.linear import product, wide

NOTHING = -1
"""The target of a position that counts for nothing."""
BLOCK, BLOCK_ON_GPU = 1 << 24, 1 << 27  # logits that exist at once: 32 MiB of bfloat16, and 256
CACHED, WIDE_ON_GPU = 1 << 19, 1 << 25  # logits widened at once: 2 MiB, which a core's own cache nearly holds, and 128


class Rows(Protocol):
    """Compiled functions that read a row of logits once and write it once."""

    def cross_entropy_(
        self, logits: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        """Of logits (n, V) plus bias (V,): -log p(target) and the mean of -log p over all ids, (n,) float32 each. In
        the logits' place: the gradient of (1 - smoothing) times the first plus smoothing times the second.
        """
        ...

    def column_sums(self, g: Tensor) -> Tensor:
        """Of g (n, V) over rows: (V,) float32."""
        ...


def projected_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float,
    gaps: bool = False,
    compiled: Rows | None = None,
) -> tuple[Tensor, Tensor]:
    """Sums over positions of the smoothed loss and of the plain negative log-likelihood, in nats.

    features (N, D), weight (V, D) and bias (V,) of their own type, targets (N,) int64 -> two scalars in float32.
    loss = (1 - smoothing) * -log p(target) + smoothing * mean over the vocabulary of -log p (Szegedy et al. 2016,
    section 7). Products run in the type of features, softmax and sums in float32. Only the first result has a gradient,
    and all its parts are computed on the way forward. gaps: some targets may be NOTHING. compiled: what takes rows of
    logits, gaps and all; without it ops/fused.py where that is in use and there are none, or torch.
    """
    if compiled is None and not gaps:
        compiled = fused_for(features)
    found = _ProjectedCrossEntropy.apply(features, weight, bias, targets, smoothing, gaps, compiled)
    return found  # pyright: ignore[reportReturnType]


class _ProjectedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        gaps: bool,
        compiled: Rows | None,
    ) -> tuple[Tensor, Tensor]:
        N, V = features.shape[0], weight.shape[0]
        state = wide(features.dtype)
        w = weight.to(features.dtype)
        with_grad = any(ctx.needs_input_grad)
        dfeatures = torch.empty_like(features)
        dweight = torch.zeros_like(weight, dtype=state) if with_grad else None
        dbias = torch.zeros(V, dtype=state, device=weight.device) if bias is not None else None
        sums = torch.zeros(2, dtype=state, device=features.device)  # of -log p(target), and of the mean of -log p
        rows = rows_of_block(features, V)
        for start in range(0, N, rows):
            part = features[start : start + rows]
            logits = product(part, w)  # (n, V), gradients of the loss after the next line
            wanted = targets[start : start + rows]
            if compiled is None:
                _to_gradients(logits, bias, wanted, smoothing, sums, dbias, gaps)
            else:
                sums += torch.stack([x.sum() for x in compiled.cross_entropy_(logits, bias, wanted, smoothing)])
                if dbias is not None:
                    dbias += compiled.column_sums(logits)
            if dweight is not None:
                dfeatures[start : start + rows] = product(logits, w.T)
                dweight.addmm_(logits.T, part) if part.dtype == state else dweight.add_(logits.T @ part)
        loss = (1 - smoothing) * sums[0] + smoothing * sums[1]
        ctx.save_for_backward(dfeatures, dweight, dbias)
        ctx.dtypes = weight.dtype, None if bias is None else bias.dtype
        nll = sums[0].clone()
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0]
        dfeatures, dweight, dbias = ctx.saved_tensors
        weight_dtype, bias_dtype = ctx.dtypes
        return (
            dfeatures * scale.to(dfeatures.dtype),
            (dweight * scale).to(weight_dtype),
            None if dbias is None else (dbias * scale).to(bias_dtype),
            *(None,) * 4,
        )


def rows_of_block(features: Tensor, V: int) -> int:
    """Positions whose logits of V ids exist at once. A GPU is filled by more of them, and starts each operation."""
    return max(1, (BLOCK if features.device.type == "cpu" else BLOCK_ON_GPU) // V)


def rows_at_once(logits: Tensor) -> int:
    """Of logits (n, V), how many rows are widened together."""
    return max(1, (CACHED if logits.device.type == "cpu" else WIDE_ON_GPU) // logits.shape[1])


def _to_gradients(
    logits: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float,
    sums: Tensor,
    dbias: Tensor | None,
    gaps: bool,
) -> None:
    """Adds the losses of logits (n, V) to `sums`, puts the loss's gradient in their place, and adds it up in dbias."""
    n, V = logits.shape
    rows = rows_at_once(logits)
    for start in range(0, n, rows):
        few, wanted = logits[start : start + rows], targets[start : start + rows, None]
        here = (wanted != NOTHING).to(sums.dtype) if gaps else None
        wanted = wanted.clamp(min=0) if gaps else wanted
        x = few.to(sums.dtype)
        if bias is not None:
            x += bias
        top, at_target, mean = x.amax(dim=-1), x.gather(1, wanted)[:, 0], x.mean(dim=-1)
        p = torch.softmax(x, dim=-1)
        # log of the softmax's divisor, from its largest probability: that is never below 1 / V, so its log is exact.
        log_z = top - p.amax(dim=-1).log()
        losses = torch.stack([log_z - at_target, log_z - mean])
        sums += (losses if here is None else losses * here[:, 0]).sum(dim=1)
        if smoothing:
            p -= smoothing / V
        p.scatter_add_(1, wanted, p.new_full((), smoothing - 1.0).expand(wanted.shape))
        if here is not None:
            p *= here
        if dbias is not None:
            dbias += p.sum(dim=0)
        few.copy_(p)
