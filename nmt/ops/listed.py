"""A product with some rows of a matrix alone, other ones for each sentence: the logits of a shortlist."""

import torch
from torch import Tensor

from nmt.ops.linear import linear
from nmt.ops.ready import ready_listed


def listed(x: Tensor, weight: Tensor, bias: Tensor | None, ids: Tensor, owners: Tensor) -> Tensor:
    """Row r of x (R, I) times the rows ids[owners[r]] of weight (V, I), plus bias (V,): (R, W), in the dtype of x.

    ids     (B, W) int64, from the first -1 of a row on there is nothing: -inf
    owners  (R,) int64, ascending

    Here all of the product is made and most of it thrown away. On a CPU its own rows are multiplied for each row of x
    (ops/native_listed.h), which for 64 sentences costs half of what their rows together do, and nothing to prepare.
    """
    if (made := ready_listed(x, weight, bias, ids, owners)) is not None:
        return made
    return chosen(linear(x, weight, bias), ids, owners)


def chosen(logits: Tensor, ids: Tensor, owners: Tensor) -> Tensor:
    """The entries ids[owners[r]] of each row r: logits (R, V) -> (R, W), -inf for -1."""
    own = ids[owners]
    return logits.gather(1, own.clamp(min=0)).masked_fill(own < 0, -torch.inf)
