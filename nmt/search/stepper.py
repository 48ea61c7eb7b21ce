"""What every way of searching does to a model: encode, step, follow what was chosen; and how results reach the host."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt.batch import BOS, EOS, PAD
from nmt.errors import ModelError, UsageError
from nmt.models.contract import Going, Seq2Seq, follow, select_rows
from nmt.ops.native import native_for
from nmt.ops.top import largest, log_normalizer
from nmt.recipe import SearchConfig
from nmt.search.groups import encode
from nmt.search.limits import Limits
from nmt.search.penalty import coverage
from nmt.search.shortlist import Shortlist

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Outlook:
    """What the model says of the next piece of every hypothesis.

    logits   (R, V) float32, with what `Limits` makes of them, -inf outside a shortlist; none (R, 0) where it is ordered
    log_z    (R, 1) float32, of the model's own logits (of a shortlist): logits - log_z are log-probabilities
    values   (R, n) float32 and ids (R, n) int64: the n best of each row of logits, best first, for n that was asked
             for; of hypotheses that do not live anything finite
    ordered  whether of equal logits the first are among them, first ones first; else any
    weights  (B, K, S) float32: attention, the mean of layers and heads, or None
    cover    (B, K) float32: the coverage term up to here, or None where its weight is 0
    """

    logits: Tensor
    log_z: Tensor
    values: Tensor
    ids: Tensor
    weights: Tensor | None
    cover: Tensor | None
    ordered: bool = False


@contextmanager
def at_rest(model: Seq2Seq) -> Iterator[None]:
    """A model that answers and does not learn: no dropout, no gradients, settled; as it was when this ends."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), model.settled():
            yield
    finally:
        model.train(was_training)


class Stepper:
    """A model on its way through a batch of B sentences with K hypotheses each, R = B * K."""

    def __init__(
        self,
        model: Seq2Seq,
        src: Tensor,
        config: SearchConfig,
        K: int,
        capacity: int,
        *,
        prefix: Tensor | None = None,
        shortlist: Shortlist | None = None,
        want_weights: bool = False,
    ) -> None:
        """Src (B, S) on the model's device; at most `capacity` steps will be taken. shortlist: of these sentences, with
        the pieces of their prefixes.
        """
        self.model, self.config, self.K = model, config, K
        self.B, self.want_weights = src.shape[0], want_weights
        self.memory = encode(model, src)
        self.state = model.start(self.memory, K, capacity)
        self.prev = torch.full((self.B * K,), BOS, dtype=torch.int64, device=src.device)
        self.limits = Limits(config, prefix)
        self.shortlist = shortlist
        self._attended: Tensor | None = None  # (B, K, S), summed over steps
        self.living: NDArray[np.bool_] | None = None
        """(B, K): at whose outlook anybody will look, None for all."""

    def step(self, n: int = 0) -> Outlook:
        """One position on, with the n best pieces of each hypothesis. UsageError where coverage is asked of a model
        without attention.
        """
        covering = self.config.coverage_penalty > 0.0
        step = self.model.step(self.prev, self.memory, self.state, self.want_weights or covering)
        self.state = step.state
        weights = None if step.weights is None else step.weights.float().mean((1, 2)).view(self.B, self.K, -1)
        cover = None
        if covering:
            if weights is None:
                raise no_attention()
            self._attended = weights if self._attended is None else self._attended + weights
            cover = coverage(self._attended, self.memory.keep, self.config.coverage_penalty)
        weights = weights if self.want_weights else None
        if n and self.limits.idle and native_for() is not None:
            return self._survey(step.features, n, weights, cover)
        if self.shortlist is None:
            logits = self.model.project(step.features).float()  # (R, V)
        else:
            logits = self.shortlist.logits(self.model, step.features, self.K)
        n = min(n, logits.shape[1])
        log_z = log_normalizer(logits)
        logits = self.limits.apply(logits, log_z)
        values, ids = largest(logits, n) if n else (logits[:, :0], self.prev[:, None][:, :0])
        return Outlook(logits, log_z, values, ids, weights, cover)

    def _survey(self, features: Tensor, n: int, weights: Tensor | None, cover: Tensor | None) -> Outlook:
        """Of the rows that live alone: the vocabulary is the widest of a step's products."""
        living, looked_at = self.living, None
        if living is not None and not living.all():
            rows = np.flatnonzero(living)
            if (size := round_up(len(rows))) < len(features):
                looked_at = torch.from_numpy(np.pad(rows, (0, size - len(rows)), mode="edge"))
        chosen = features if looked_at is None else features[looked_at]
        if self.shortlist is None:
            found = self.model.survey(chosen, n)
        else:
            found = self.shortlist.survey(self.model, chosen, looked_at, self.K, n)
        if looked_at is not None:
            values, ids, log_z = (_spread(part, looked_at, len(features)) for part in found)
        else:
            values, ids, log_z = found
        return Outlook(values[:, :0], log_z, values, ids, weights, cover, ordered=True)

    def follow(self, token: Tensor, going: Going, living: NDArray[np.bool_] | None = None) -> None:
        """Goes on with the pieces `token` (B', K) after the hypotheses that go on, of which these are `living`."""
        self.living = living
        rows = going.rows(self.K)
        if going.sentences is not None:
            self.memory = select_rows(self.memory, going.sentences)
            self.shortlist = self.shortlist and self.shortlist.select(going.sentences)
        self.state = follow(self.state, going, self.K)
        if rows is not None and self._attended is not None:
            self._attended = self._attended.flatten(0, 1)[rows].unflatten(0, (-1, self.K))
        self.B, self.prev = token.shape[0], token.reshape(-1)
        self.limits.follow(self.prev, rows, going.sentences)


def round_up(n: int) -> int:
    """The next number with four binary digits and zeros after them, so that few numbers of rows occur: for one that it
    has not met oneDNN writes the instructions of a product anew, which takes as long as the product itself.
    """
    step = 1 << max(0, n.bit_length() - 4)
    return -(-n // step) * step


def _spread(part: Tensor, rows: Tensor, R: int) -> Tensor:
    """What is known of some rows in their places among R; 0 elsewhere."""
    return part.new_zeros((R, part.shape[1])).index_copy_(0, rows, part)


def count_source(src: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pieces without and tokens with EOS of each source sentence, on the host: (B,) each, in one transfer."""
    keep = src != PAD
    counts = torch.stack([(keep & (src != EOS)).sum(1), keep.sum(1)]).cpu().numpy()
    return counts[0], counts[1]


def count_prefix(prefix: Tensor | None, n_sentences: int) -> NDArray[np.int64]:
    """Pieces of each sentence's prefix, on the host: (B,)."""
    return np.zeros(n_sentences, dtype=np.int64) if prefix is None else (prefix != PAD).sum(1).cpu().numpy()


def length_limits(
    config: SearchConfig, n_pieces: NDArray[np.int64], n_prefix: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The least number of pieces before an EOS, and the greatest |y|, of each sentence: (B,) each.

    The least gives way to the greatest, and the greatest leaves room for a piece or EOS after the prefix.
    """
    longest = np.floor(config.max_len_ratio * n_pieces + config.max_len_extra)
    max_len = np.maximum(longest, n_prefix + 1).astype(np.int64)
    shortest = np.ceil(config.min_len_ratio * n_pieces).astype(np.int64)
    return np.minimum(shortest, max_len - 1), max_len


def to_host(columns: list[Tensor]) -> list[NDArray]:
    """Tensors (B, ...) on the host in one transfer: floats as float32, all else as whole numbers, each (B, n)."""
    if all(column.is_cpu for column in columns):
        return [column.reshape(column.shape[0], -1).numpy() for column in columns]
    parts = [bits(column.reshape(column.shape[0], -1)) for column in columns]
    table: Ints = torch.cat(parts, 1).cpu().numpy()
    found, at = [], 0
    for column, part in zip(columns, parts, strict=True):
        cut = table[:, at : at + part.shape[1]]
        found.append(cut.view(np.float32) if column.is_floating_point() else cut)
        at += part.shape[1]
    return found


def bits(tensor: Tensor) -> Tensor:
    """As int32: the bits of float32, other numbers as they are."""
    return tensor.contiguous().view(torch.int32) if tensor.is_floating_point() else tensor.to(torch.int32)


def no_attention() -> UsageError:
    """What to raise where coverage is asked of a model without attention."""
    return UsageError(
        "search.coverage_penalty is above 0, but this model has no attention to measure coverage by",
        "set search.coverage_penalty to 0",
    )


def not_finite(t: int) -> ModelError:
    """What to raise where the logits at target position t are no numbers."""
    return ModelError(
        f"the model's logits at target position {t} are not finite",
        "the weights are damaged or training diverged: use an earlier checkpoint",
    )
