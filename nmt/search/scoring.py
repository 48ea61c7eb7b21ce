"""What a model thinks of translations that are given: their log-probabilities, and the score that search would give."""

import numpy as np
import torch
from torch import Tensor

from nmt.batch import PAD, Batch
from nmt.models.contract import Going, Seq2Seq
from nmt.recipe import SearchConfig
from nmt.search.hypothesis import Hypothesis
from nmt.search.penalty import length_divisor
from nmt.search.stepper import Stepper, at_rest, count_source, not_finite

_LOGITS = 1 << 24
"""Logits that are held at once, so that a batch of long targets does not need all of its positions times V."""


def score(model: Seq2Seq, batch: Batch, config: SearchConfig, *, want_weights: bool = False) -> list[Hypothesis]:
    """The hypothesis that each pair of a padded batch on the model's device is: B of them, all `ended`.

    Their score, log-probabilities and alignment are those that `search` gives where it finds these very pieces: EOS is
    counted, log P is of the full softmax in float32, with search.repetition_penalty it is what the pieces count;
    search.no_repeat_ngram and the limits on lengths forbid nothing here. The model is put in evaluation mode for the
    time.

    All positions go through the model at once, in its `forward`; step by step, as in a search, where attention is
    needed (for `want_weights` or the coverage penalty), where pieces are penalised, and where a model has no other way.

    Raises UsageError where coverage is asked of a model without attention, ModelError where the logits are not finite.
    """
    if batch.sentences == 0:
        return []
    parallel = type(model).forward is not Seq2Seq.forward
    plain = config.coverage_penalty == 0.0 and config.repetition_penalty == 1.0 and not want_weights
    with at_rest(model):
        if plain and parallel:
            log_probs, cover, weights = _at_once(model, batch), None, None
        else:
            log_probs, cover, weights = _step_by_step(model, batch, config, want_weights)
    _, widths = count_source(batch.src)
    table = log_probs.cpu().numpy()
    covers = None if cover is None else cover.cpu().numpy()
    looked = None if weights is None else weights.cpu()
    found = []
    for i, ids in enumerate(batch.tgt_out.tolist()):
        n = len(ids) - ids.count(PAD)
        values = table[i, :n]
        if np.isnan(values).any():
            raise not_finite(int(np.isnan(values).argmax()) + 1)
        total = float(values.sum(dtype=np.float64) / length_divisor(config, n))
        total += float(covers[i, n - 1]) if covers is not None else 0.0
        alignment = None if looked is None else looked[i, :n, : int(widths[i])]
        found.append(Hypothesis(ids[: n - 1], total, values.tolist(), True, alignment))
    return found


def _at_once(model: Seq2Seq, batch: Batch) -> Tensor:
    """Log-probabilities (B, T) of tgt_out, by the model's forward; 0 where there is PAD."""
    real = (batch.tgt_out != PAD).flatten().nonzero()[:, 0]
    pieces = batch.tgt_out.flatten()[real]
    features = model(batch)  # (B, T, D)
    features = features.reshape(-1, features.shape[-1])
    found = torch.zeros(batch.tgt_out.numel(), device=pieces.device)
    at, n_rows = 0, 1  # the first piece alone: it tells how many logits there are
    while at < len(real):
        rows, wanted = real[at : at + n_rows], pieces[at : at + n_rows]
        logits = model.project(features[rows]).float()
        found[rows] = _log_probs(logits, logits.logsumexp(1, keepdim=True), wanted)
        at, n_rows = at + n_rows, max(1, _LOGITS // logits.shape[1])
    return found.view_as(batch.tgt_out)


def _step_by_step(
    model: Seq2Seq, batch: Batch, config: SearchConfig, want_weights: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The same by steps, with the coverage term (B, T) up to each position and attention (B, T, S), where there are."""
    T = batch.tgt_out.shape[1]
    stepper = Stepper(model, batch.src, config, 1, T, prefix=batch.tgt_out, want_weights=want_weights)
    log_probs, covers, weights = [], [], []
    for piece in batch.tgt_out.unbind(1):
        outlook = stepper.step()
        log_probs.append(_log_probs(outlook.logits, outlook.log_z, piece))
        if outlook.cover is not None:
            covers.append(outlook.cover[:, 0])
        if outlook.weights is not None:
            weights.append(outlook.weights[:, 0])
        stepper.follow(piece[:, None], Going())
    return (
        torch.stack(log_probs, 1),
        torch.stack(covers, 1) if covers else None,
        torch.stack(weights, 1) if weights else None,
    )


def _log_probs(logits: Tensor, log_z: Tensor, pieces: Tensor) -> Tensor:
    """Of each row's own piece (R,), from logits (R, V) and log_z (R, 1); nan where the logits are not finite."""
    found = (logits.gather(1, pieces[:, None]) - log_z).clamp(max=0.0)
    return found.masked_fill(~log_z.isfinite(), torch.nan)[:, 0]
