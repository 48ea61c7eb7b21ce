"""The training loss of a batch: which positions count, and what they are divided by."""

from dataclasses import dataclass

from torch import Tensor

from nmt.batch import PAD, Batch
from nmt.models.contract import Seq2Seq
from nmt.ops.cross_entropy import projected_cross_entropy


@dataclass(frozen=True)
class LossSums:
    """Sums over a batch's real target positions, in nats: `smoothed` has the gradient, `nll` is the plain one for the
    log.
    """

    smoothed: Tensor
    nll: Tensor


def batch_loss(model: Seq2Seq, batch: Batch, smoothing: float) -> LossSums:
    """Forward, then loss over the real target positions only: padding is dropped before it meets the vocabulary."""
    features = model(batch)  # (B, T, D)
    real = (batch.tgt_out != PAD).flatten().nonzero()[:, 0]
    features = features.reshape(-1, features.shape[-1]).index_select(0, real)
    targets = batch.tgt_out.flatten().index_select(0, real)
    smoothed, nll = projected_cross_entropy(
        features, model.projection.weight, model.projection.bias, targets, smoothing
    )
    return LossSums(smoothed, nll)
