"""Projection to the vocabulary and label-smoothed cross-entropy in one, a block of positions at a time.

The logits of all positions in float32 would be the largest tensor of an update. Here a block of them stays in the type
of the products, and a few rows at a time are widened, turned into the loss, and written back as their own gradient
while they are in cache; what is left are three products a block.
"""

from typing import Any

import torch
from torch import Tensor

from nmt.ops.fused import Fused, fused_for
from nmt.ops.linear import product, wide

BLOCK = 1 << 24  # logits that exist at once: 32 MiB of bfloat16
CACHED = 1 << 19  # logits widened at once: 2 MiB of float32, which a core's own cache nearly holds


def projected_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Sums over positions of the smoothed loss and of the plain negative log-likelihood, in nats.

    features (N, D), weight (V, D) and bias (V,) of their own type, targets (N,) int64 -> two scalars in float32.
    loss = (1 - smoothing) * -log p(target) + smoothing * mean over the vocabulary of -log p (Szegedy et al. 2016,
    section 7). Products run in the type of features, softmax and sums in float32. Only the first result has a gradient,
    and all its parts are computed on the way forward.
    """
    return _ProjectedCrossEntropy.apply(features, weight, bias, targets, smoothing)  # pyright: ignore[reportReturnType]


class _ProjectedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        N, V = features.shape[0], weight.shape[0]
        state = wide(features.dtype)
        w = weight.to(features.dtype)
        with_grad = any(ctx.needs_input_grad)
        dfeatures = torch.empty_like(features)
        dweight = torch.zeros_like(weight, dtype=state) if with_grad else None
        dbias = torch.zeros(V, dtype=state, device=weight.device) if bias is not None else None
        sums = torch.zeros(2, dtype=state, device=features.device)  # of -log p(target), and of the mean of -log p
        fused = fused_for(features)
        rows = max(1, BLOCK // V)
        for start in range(0, N, rows):
            part = features[start : start + rows]
            logits = product(part, w)  # (n, V), gradients of the loss after the next line
            wanted = targets[start : start + rows]
            if fused is None:
                _to_gradients(logits, bias, wanted, smoothing, sums, dbias)
            else:
                _to_gradients_at_once(fused, logits, bias, wanted, smoothing, sums, dbias)
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
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0]
        dfeatures, dweight, dbias = ctx.saved_tensors
        weight_dtype, bias_dtype = ctx.dtypes
        return (
            dfeatures * scale.to(dfeatures.dtype),
            (dweight * scale).to(weight_dtype),
            None if dbias is None else (dbias * scale).to(bias_dtype),
            None,
            None,
        )


def _to_gradients(
    logits: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float, sums: Tensor, dbias: Tensor | None
) -> None:
    """Adds the losses of logits (n, V) to `sums`, puts the loss's gradient in their place, and adds it up in dbias."""
    n, V = logits.shape
    rows = max(1, CACHED // V)
    for start in range(0, n, rows):
        few, wanted = logits[start : start + rows], targets[start : start + rows, None]
        x = few.to(sums.dtype)
        if bias is not None:
            x += bias
        top, at_target, mean = x.amax(dim=-1), x.gather(1, wanted)[:, 0], x.mean(dim=-1)
        p = torch.softmax(x, dim=-1)
        # log of the softmax's divisor, from its largest probability: that is never below 1 / V, so its log is exact.
        log_z = top - p.amax(dim=-1).log()
        sums[0] += (log_z - at_target).sum()
        sums[1] += (log_z - mean).sum()
        if smoothing:
            p -= smoothing / V
        p.scatter_add_(1, wanted, p.new_full((), smoothing - 1.0).expand(wanted.shape))
        if dbias is not None:
            dbias += p.sum(dim=0)
        few.copy_(p)


def _to_gradients_at_once(
    fused: Fused,
    logits: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float,
    sums: Tensor,
    dbias: Tensor | None,
) -> None:
    """The same, compiled: a row is read once and written once."""
    nll, mean = fused.cross_entropy_(logits, bias, targets, smoothing)
    sums[0] += nll.sum()
    sums[1] += mean.sum()
    if dbias is not None:
        dbias += fused.column_sums(logits)
