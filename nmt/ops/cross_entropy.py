"""Projection to the vocabulary and label-smoothed cross-entropy in one, a chunk of positions at a time.

The logits of all positions together would be the largest tensor of an update. A chunk of them is turned into the loss
and, in place, into its own gradient, so that only one chunk exists at a time and it stays in cache.
"""

from typing import Any

import torch
from torch import Tensor

from nmt.ops.linear import wide

CHUNK = 1 << 21  # logits at once: 8 MiB of float32, which fits the second and third level caches of a core


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
        dbias = torch.zeros(V, dtype=state, device=weight.device) if with_grad and bias is not None else None
        loss = torch.zeros((), dtype=state, device=features.device)
        nll = torch.zeros((), dtype=state, device=features.device)
        rows = max(1, CHUNK // V)
        for start in range(0, N, rows):
            part, wanted = features[start : start + rows], targets[start : start + rows, None]
            logits = (part @ w.T).to(state)  # (n, V)
            if bias is not None:
                logits += bias
            log_z = torch.logsumexp(logits, dim=-1)
            chunk_nll = (log_z - logits.gather(1, wanted)[:, 0]).sum()
            nll += chunk_nll
            loss += (1 - smoothing) * chunk_nll
            if smoothing:
                loss += smoothing * (log_z - logits.mean(dim=-1)).sum()
            if with_grad:
                p = logits.sub_(log_z[:, None]).exp_()
                if smoothing:
                    p -= smoothing / V
                p.scatter_add_(1, wanted, p.new_full((), smoothing - 1.0).expand(wanted.shape))
                if dbias is not None:
                    dbias += p.sum(dim=0)
                p = p.to(features.dtype)
                torch.mm(p, w, out=dfeatures[start : start + rows])
                assert dweight is not None
                dweight += p.T @ part
        ctx.save_for_backward(dfeatures, dweight, dbias)
        ctx.dtypes = weight.dtype, None if bias is None else bias.dtype
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
