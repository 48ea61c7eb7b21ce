"""What turns a log-probability into a score that hypotheses of different lengths can be ranked by."""

import torch
from torch import Tensor

from nmt.recipe import SearchConfig


def length_divisor(config: SearchConfig, length: int) -> float:
    """What divides log P(y|x) for |y| = length >= 1, EOS counted; at least 1 and never falling with length.

    gnmt: ((5 + |y|) / 6)^length_penalty (Wu et al. 2016, arXiv:1609.08144v2, equation 14); average:
    |y|^length_penalty; none: 1.
    """
    match config.length_formula:
        case "gnmt":
            return ((5.0 + length) / 6.0) ** config.length_penalty
        case "average":
            return float(length) ** config.length_penalty
        case "none":
            return 1.0


def coverage(attention: Tensor, keep: Tensor, weight: float) -> Tensor:
    """weight * sum_i log(min(sum_j p_ij, 1)) over the source positions i of `keep`: (B, K), float32, at most 0.

    attention  (B, K, S): attention weights already summed over the target positions j
    keep       (B, S) bool
    Wu et al. 2016, equation 14 (cp is added, not subtracted). We leave the paper in one point: a source position that
    nothing looked at counts as the smallest normal float32 (log = -87.3), not as minus infinity, which would end all
    comparison.
    """
    seen = attention.float().clamp(min=torch.finfo(torch.float32).tiny, max=1.0)
    return weight * seen.log().masked_fill(~keep[:, None, :], 0.0).sum(-1)
