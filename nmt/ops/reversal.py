"""Reading the source backwards (Sutskever et al. 2014, section 3.3)."""

import torch
from torch import Tensor


def reversed_order(keep: Tensor) -> Tensor:
    """Where each position's word stands once a sentence is turned round: keep (B, S) bool -> (B, S) int64.

    Only real words are turned; the end of sentence, the last kept position of a row, stays last, and padding where it
    is: a b c </s> - becomes c b a </s> -. It is its own inverse, so the same indices put back what was computed of the
    turned sentence.
    """
    last = keep.sum(1, keepdim=True) - 1  # the place of </s>
    places = torch.arange(keep.shape[1], device=keep.device).expand_as(keep)
    return torch.where(places < last, last - 1 - places, places)
