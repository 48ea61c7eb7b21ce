"""R-Drop's loss: cross-entropy of two passes with different dropout, and how far their predictions are apart.

Liang et al., "R-Drop: Regularized Dropout for Neural Networks", NeurIPS 2021 (arXiv 2106.14448), equation 4. As in
ops/cross_entropy.py, a block of logits exists at a time and becomes its own gradient while it is in cache.
"""

from typing import Any

import torch
from torch import Tensor

from nmt.ops.cross_entropy import NOTHING, rows_at_once, rows_of_block
from nmt.ops.fused import fused_for
from nmt.ops.gradient import once
from nmt.ops.linear import product, wide


def r_drop_cross_entropy(
    first: Tensor,
    second: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float,
    alpha: float,
    gaps: bool = False,
) -> tuple[Tensor, Tensor]:
    """Sums over positions of R-Drop's loss and of the plain negative log-likelihood (mean of both passes), in nats.

    first, second (N, D): features of the same positions from two passes; weight (V, D) and bias (V,) of their own type;
    targets (N,) int64 -> two scalars in float32, of which only the first has a gradient.
    loss = (CE_1 + CE_2) / 2 + alpha / 4 * (KL(P_1 || P_2) + KL(P_2 || P_1)): half of the paper's equation 4, so that
    with alpha = 0 it is the mean of two cross-entropies. CE is label-smoothed as in ops/cross_entropy.py, KL is not.
    gaps: some targets may be NOTHING.
    """
    found = _RDrop.apply(first, second, weight, bias, targets, smoothing, alpha, gaps)
    return found  # pyright: ignore[reportReturnType]


class _RDrop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        second: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        alpha: float,
        gaps: bool,
    ) -> tuple[Tensor, Tensor]:
        N, V = first.shape[0], weight.shape[0]
        state = wide(first.dtype)
        w = weight.to(first.dtype)
        dfeatures = torch.empty_like(first), torch.empty_like(second)
        dweight = torch.zeros_like(weight, dtype=state)
        dbias = torch.zeros(V, dtype=state, device=weight.device)
        sums = torch.zeros(3, dtype=state, device=first.device)  # -log p(target), mean of -log p, both KL
        fused = None if gaps else fused_for(first, second)
        rows = max(1, rows_of_block(first, V) // 2)
        for start in range(0, N, rows):
            parts = first[start : start + rows], second[start : start + rows]
            logits = product(parts[0], w), product(parts[1], w)  # (n, V) each; their gradients after the next lines
            wanted = targets[start : start + rows]
            if fused is None:
                _to_gradients(logits, bias, wanted, smoothing, alpha, sums, dbias, gaps)
            else:
                sums += torch.stack([x.sum() for x in fused.r_drop_(*logits, bias, wanted, smoothing, alpha)])
                dbias += fused.column_sums(logits[0]) + fused.column_sums(logits[1])
            for part, gradient, out in zip(parts, logits, dfeatures, strict=True):
                out[start : start + rows] = product(gradient, w.T)
                dweight += gradient.T @ part
        loss = ((1 - smoothing) * sums[0] + smoothing * sums[1]) / 2 + alpha / 4 * sums[2]
        ctx.save_for_backward(*dfeatures, dweight, None if bias is None else dbias)
        ctx.dtypes = weight.dtype, None if bias is None else bias.dtype
        nll = sums[0] / 2
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0]
        dfirst, dsecond, dweight, dbias = ctx.saved_tensors
        weight_dtype, bias_dtype = ctx.dtypes
        return (
            dfirst * scale.to(dfirst.dtype),
            dsecond * scale.to(dsecond.dtype),
            (dweight * scale).to(weight_dtype),
            None if dbias is None else (dbias * scale).to(bias_dtype),
            *(None,) * 4,
        )


def _to_gradients(
    logits: tuple[Tensor, Tensor],
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float,
    alpha: float,
    sums: Tensor,
    dbias: Tensor,
    gaps: bool,
) -> None:
    """Adds the losses of both passes' logits (n, V) to `sums` and puts the loss's gradients in their place.

    With d = log P_1 - log P_2, the gradient of KL(P_1 || P_2) + KL(P_2 || P_1) in the logits of P_1 is
    P_1 (d - KL(P_1 || P_2)) + P_1 - P_2.
    """
    n, V = logits[0].shape
    rows = max(1, rows_at_once(logits[0]) // 2)
    for start in range(0, n, rows):
        few, wanted = [part[start : start + rows] for part in logits], targets[start : start + rows, None]
        here = (wanted != NOTHING).to(sums.dtype) if gaps else None
        wanted = wanted.clamp(min=0) if gaps else wanted
        wide_logits = [x.to(sums.dtype) if bias is None else x.to(sums.dtype) + bias for x in few]
        logs = [torch.log_softmax(x, dim=-1) for x in wide_logits]
        probabilities = [x.exp() for x in logs]
        apart = logs[0] - logs[1]  # d
        for i, sign in ((0, 1.0), (1, -1.0)):
            p, other = probabilities[i], probabilities[1 - i]
            divergence = sign * (p * apart).sum(dim=-1, keepdim=True)  # KL(P_i || P_other)
            losses = torch.cat([-logs[i].gather(1, wanted), -logs[i].mean(dim=-1, keepdim=True), divergence], dim=1)
            sums += (losses if here is None else losses * here).sum(dim=0)
            gradient = ((sign * apart - divergence) * p + p - other).mul_(alpha / 4)
            gradient += (p - smoothing / V) / 2
            gradient.scatter_add_(1, wanted, p.new_full((), (smoothing - 1.0) / 2).expand(wanted.shape))
            if here is not None:
                gradient *= here
            dbias += gradient.sum(dim=0)
            few[i].copy_(gradient)
