"""The training loss of a batch: which positions count, and what they are divided by."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.batch import PAD, Batch
from nmt.models.contract import Seq2Seq
from nmt.ops.cross_entropy import projected_cross_entropy
from nmt.ops.fused import using
from nmt.ops.r_drop import r_drop_cross_entropy


@dataclass(frozen=True)
class LossSums:
    """Sums over a batch's real target positions, in nats: `smoothed` has the gradient, `nll` is the plain one for the
    log.
    """

    smoothed: Tensor
    nll: Tensor


def batch_loss(model: Seq2Seq, batch: Batch, smoothing: float, r_drop: float = 0.0) -> LossSums:
    """Forward, then loss over the real target positions only: padding is dropped before it meets the vocabulary.

    With r_drop above 0 (alpha of Liang et al. 2021) the batch goes through the model twice, side by side.
    """
    # How many there are is known: a GPU need not be asked, and waited for.
    real = torch.nonzero_static((batch.tgt_out != PAD).flatten(), size=batch.tgt_tokens)[:, 0]
    targets = batch.tgt_out.flatten().index_select(0, real)
    with using(model.kernels.passes if torch.is_grad_enabled() else None):
        features = model(batch.twice() if r_drop else batch)  # (B, T, D), or (2B, T, D)
        features = features.reshape(-1, features.shape[-1])
        weight, bias = model.projection.weight, model.projection.bias
        if not r_drop:
            return LossSums(*projected_cross_entropy(features.index_select(0, real), weight, bias, targets, smoothing))
        first, second = (half.index_select(0, real) for half in features.chunk(2))
        return LossSums(*r_drop_cross_entropy(first, second, weight, bias, targets, smoothing, r_drop))
