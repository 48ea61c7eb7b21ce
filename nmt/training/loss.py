"""The training loss of a batch: which positions count, and what they are divided by."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.batch import PAD, Batch
from nmt.models.contract import Seq2Seq
from nmt.ops import cells, fused
from nmt.ops.cross_entropy import NOTHING, projected_cross_entropy
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
    real, targets = _wanted(batch)
    gaps = batch.room is not None
    passes, steps = (model.kernels.passes, model.kernels.cells) if torch.is_grad_enabled() else (None, None)
    with fused.using(passes), cells.using(steps):
        features = model(batch.twice() if r_drop else batch)  # (B, T, D), or (2B, T, D)
        features = features.reshape(-1, features.shape[-1])
        weight, bias = model.projection.weight, model.projection.bias
        if not r_drop:
            few = features.index_select(0, real)
            return LossSums(*projected_cross_entropy(few, weight, bias, targets, smoothing, gaps, model.kernels.rows))
        first, second = (half.index_select(0, real) for half in features.chunk(2))
        return LossSums(*r_drop_cross_entropy(first, second, weight, bias, targets, smoothing, r_drop, gaps))


def _wanted(batch: Batch) -> tuple[Tensor, Tensor]:
    """The target positions with something to predict, counted through all rows, and what that is; where the batch has
    room for more, the first position again, and NOTHING. Neither asks the device for a number.
    """
    there, targets = (batch.tgt_out != PAD).flatten(), batch.tgt_out.flatten()
    if batch.room is None:
        real = torch.nonzero_static(there, size=batch.tgt_tokens)[:, 0]
        return real, targets.index_select(0, real)
    real = torch.nonzero_static(there, size=batch.room.tgt_tokens, fill_value=0)[:, 0]
    beyond = torch.arange(len(real), device=real.device) >= there.sum()
    return real, targets.index_select(0, real).masked_fill(beyond, NOTHING)
