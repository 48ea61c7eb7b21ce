"""Additive attention written out: the definition that faster forms are compared with."""

import torch
from torch import Tensor

from nmt.ops.linear import wide


def score(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    """score_ij = v . tanh(query_i + keys_j): Bahdanau et al., ICLR 2015, appendix A.1.2, with W_a s and U_a h taken
    before.

    query (B, Q, A), keys (B, N, A), v (A,) -> (B, Q, N) in float32. Holds B*Q*N*A numbers at once.
    """
    return torch.tanh(query[:, :, None] + keys[:, None]).matmul(v.to(keys.dtype)).to(wide(keys.dtype))


def weigh(scores: Tensor, keep: Tensor) -> Tensor:
    """Softmax over the keys that may be seen, in float32: scores (B, Q, N), keep (B, N) bool -> weights (B, Q, N).

    At least one key of every row must be kept.
    """
    return scores.masked_fill(~keep[:, None], float("-inf")).softmax(dim=-1)


def attend(query: Tensor, keys: Tensor, values: Tensor, v: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Context and weights: c_i = sum_j weights_ij values_j (Bahdanau et al. 2015, equations 5 and 6).

    query (B, Q, A), keys (B, N, A), values (B, N, D), v (A,), keep (B, N) bool
    -> context (B, Q, D) in the dtype of values, weights (B, Q, N) float32.
    """
    weights = weigh(score(query, keys, v), keep)
    return weights.to(values.dtype) @ values, weights
