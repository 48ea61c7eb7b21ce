"""The pieces that each sentence's translation may have, where a search is not to look at the whole vocabulary.

Each sentence has a list of its own, so neighbours in a batch change nothing. Probabilities are those of the model among
the pieces of the list:

    P(y | ...) = exp(logit_y) / sum_{z in list} exp(logit_z)

A piece outside has none. They are a little larger than those of the full softmax, by what that gives to all the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt.batch import PAD
from nmt.models.contract import Seq2Seq
from nmt.ops.top import Survey, survey


@dataclass(frozen=True)
class Shortlist:
    """ids (B, W) int64: the pieces of each of B sentences, ascending, -1 on the right; n_ids: V, all pieces."""

    ids: Tensor
    n_ids: int

    @classmethod
    def of(cls, lists: Sequence[NDArray], n_ids: int, device: torch.device | str = "cpu") -> "Shortlist":
        """From the pieces of each sentence: ascending, no piece twice. EOS must be among them."""
        ids = torch.full((len(lists), max(map(len, lists), default=0)), -1)
        for row, pieces in zip(ids, lists, strict=True):
            row[: len(pieces)] = torch.from_numpy(pieces)
        return cls(ids.to(device), n_ids)

    def select(self, sentences: Tensor) -> "Shortlist":
        """Of the sentences (N,) int64."""
        return Shortlist(self.ids[sentences], self.n_ids)

    def survey(self, model: Seq2Seq, features: Tensor, rows: Tensor | None, K: int, n: int) -> Survey:
        """As `Seq2Seq.survey`, of the logits (N, W) of each row's list, with pieces for where they stand; the features
        (N, D) are of the hypotheses rows (N,), None for all, K a sentence.
        """
        owners = self._owners(features, rows, K)
        logits = model.project_listed(features, self.ids, owners).float()
        values, places, log_z = survey(logits, min(n, logits.shape[1]))
        pieces = self.ids.flatten()[places.add_(owners[:, None] * self.ids.shape[1])]
        return values, pieces.clamp_(min=PAD), log_z

    def logits(self, model: Seq2Seq, features: Tensor, K: int) -> Tensor:
        """(R, V), -inf for what is not on the list: of the features (R, D) of all hypotheses."""
        owners = self._owners(features, None, K)
        logits = model.project_listed(features, self.ids, owners).float()
        ids = self.ids[owners]
        whole = logits.new_full((len(logits), self.n_ids + 1), -torch.inf)  # the last place is for what is no piece
        return whole.scatter_(1, ids.where(ids >= 0, self.n_ids), logits)[:, : self.n_ids]

    def _owners(self, features: Tensor, rows: Tensor | None, K: int) -> Tensor:
        """The sentence of each row."""
        return (torch.arange(len(features), device=features.device) if rows is None else rows) // K
