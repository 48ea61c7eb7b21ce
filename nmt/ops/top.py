"""What search asks of logits: the largest of each row, and the logarithm of the sum of their exponentials."""

import torch
from torch import Tensor

from nmt.ops.native import native_for

Survey = tuple[Tensor, Tensor, Tensor]
"""The n largest of each row and where they stand (R, n), and the log of its sum of exp (R, 1)."""

_BLOCK = 64


def largest(logits: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The n largest of each row, largest first, and where they stand: logits (R, V) -> (R, n) float and int64.

    Which of equal ones is taken is not said, as for torch.topk. On a CPU that one sorts, in part, the whole row. Here
    the row is cut into blocks: the n largest can only lie in the n blocks with the largest maxima, so one fast pass and
    two small sorts are enough. Elsewhere, and for short rows, torch's own.
    """
    if (native := native_for(logits)) is not None:
        return native.largest(logits, n)
    R, V = logits.shape
    count = V // _BLOCK
    if logits.device.type != "cpu" or count < 2 * n:
        return logits.topk(n, dim=1)
    whole = count * _BLOCK
    blocks = logits[:, :whole].unflatten(1, (count, _BLOCK))
    chosen = blocks.amax(2).topk(n, dim=1, sorted=False).indices  # (R, n)
    first = torch.arange(R, device=logits.device)[:, None]
    within = blocks[first, chosen].view(R, n * _BLOCK)
    if whole < V:
        within = torch.cat([within, logits[:, whole:]], 1)
    values, at = within.topk(n, dim=1)
    block = chosen.gather(1, (at // _BLOCK).clamp(max=n - 1))
    return values, torch.where(at < n * _BLOCK, block * _BLOCK + at % _BLOCK, at - n * _BLOCK + whole)


def survey(logits: Tensor, n: int) -> Survey:
    """`largest` and `log_normalizer` of logits (R, V)."""
    if (native := native_for(logits)) is not None:
        return native.survey(logits, n)
    return *largest(logits, n), log_normalizer(logits)


def log_normalizer(logits: Tensor) -> Tensor:
    """log of the sum of exp over each row: (R, V) float -> (R, 1); not finite where a row has no finite sum.

    On a CPU by way of torch's log-softmax, whose largest entry is the largest logit less what is asked for: a single
    fused pass where torch.logsumexp makes four.
    """
    if (native := native_for(logits)) is not None:
        return native.log_normalizer(logits)
    if logits.device.type != "cpu":
        return logits.logsumexp(1, keepdim=True)
    return logits.amax(1, keepdim=True) - logits.log_softmax(1).amax(1, keepdim=True)
