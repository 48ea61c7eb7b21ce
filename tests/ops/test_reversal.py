"""Turning sentences round."""

import torch

from nmt.batch import pad_rows
from nmt.ops.reversal import reversed_order


def test_words_are_turned_round_and_the_end_and_padding_stay() -> None:
    src = pad_rows([[5, 6, 7, 8], [9], [], [4, 5]], eos=True)
    order = reversed_order(src != 0)
    wanted = [[8, 7, 6, 5, 3], [9, 3, 0, 0, 0], [3, 0, 0, 0, 0], [5, 4, 3, 0, 0]]
    assert src.gather(1, order).tolist() == wanted
    assert torch.equal(src.gather(1, order).gather(1, order), src)
