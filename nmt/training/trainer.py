"""The training loop: update, validate, save, and stop; resuming continues as if it had never stopped."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nmt.batch import Indices
from nmt.corpus.batches import Pool, batches_of
from nmt.corpus.shards import Prepared
from nmt.errors import ModelError, Stopped, TrainingStopped, UsageError
from nmt.metrics import Score
from nmt.models.contract import Seq2Seq
from nmt.recipe import Recipe
from nmt.recipe_optim import Plateau
from nmt.runs import now
from nmt.training import checkpoint, kept
from nmt.training.agreement import Agreed, agree, latest_checkpoint, refuse_other_weights
from nmt.training.backward import backward_of
from nmt.training.compiled import CompiledLayers
from nmt.training.distributed import Group
from nmt.training.events import EventLog
from nmt.training.gradients import PartGradients
from nmt.training.optim import PlateauState, at_update, learning_rate, step_if_finite
from nmt.training.progress import Counts, Progress, Step, Validated, Window, changed_keys, clock, spread
from nmt.training.sharding import Share
from nmt.training.stopping import StopRequest
from nmt.training.validation import Target, Validation, validate

LOG_EVERY = 50
READ_AT_ONCE = frozenset({"cpu"})
"""Devices of which a number can be read without waiting until they have done all that was asked of them."""
_CALMER = "lower train.lr or train.clip_norm, or use compute.dtype: float32; the last checkpoint is intact"


class Reporter(Protocol):
    """Where a training tells how it goes."""

    def say(self, line: str) -> None:
        """A line that stays."""
        ...

    def live(self, line: str) -> None:
        """A line that the next one replaces, where the terminal can do that; an empty one takes it away."""
        ...


class Publish(Protocol):
    """Writes the run's model.safetensors: weights, the updates they are the mean of, scores by name of the text."""

    def __call__(self, weights: dict[str, Tensor], updates: list[int], scores: dict[str, Score]) -> None:
        """Writes it, whole or not at all."""
        ...


class Trainer:
    """Trains a model on prepared data in a run folder; `run` returns when there is nothing left to do.

    Everything random is a function of (seed, update, part): dropout is seeded before each part of each update and the
    batches of an epoch are a function of (seed, epoch), so a checkpoint needs no generator's state. Every process of a
    group holds the same weights and steps alike; the first one alone writes.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Seq2Seq,
        prepared: Prepared,
        run: Path,
        device: torch.device,
        reporter: Reporter,
        publish: Publish,
        group: Group,
    ) -> None:
        self.recipe, self.model, self.prepared, self.folder = recipe, model.to(device), prepared, run
        self.device, self.reporter, self.publish, self.group = device, reporter, publish, group
        self.model.compute_dtype = getattr(torch, recipe.compute.dtype)
        # Tied parameters appear once, under their first name.
        self.names, self.parameters = map(list, zip(*self.model.named_parameters(), strict=True))
        self.batches = batches_of(recipe.train, prepared)
        self.pool: Pool  # that the update under way takes its pairs from
        self.progress = Progress()
        self.log = EventLog(run / "log.jsonl" if group.first else None, reporter.say)
        self.layers = CompiledLayers(recipe.compute.compile, self.model, self.batches.layout)
        self.backward = backward_of(recipe, self.model, self.parameters, device, reporter.say)
        self.share = Share(self.names, self.parameters, group, recipe.compute.shard_optimizer)
        self.optimizer = self._fresh_optimizer()
        self.rate = 0.0  # of the last update
        self.window = Window(0.0)
        self.unread: list[Step] = []  # updates of which the host does not know yet how they went
        self.saved_at = 0  # the update that is on disk
        self.agreed: Agreed | None = None  # of the last update
        self.stop = StopRequest()
        self.started = time.monotonic()
        self.fixed: dict[str, Any] = {}

    def run(self, stop: StopRequest) -> str:
        """Updates until the recipe's number, its patience or its least rate: returns which. Stopped by a signal."""
        train, progress, self.stop = self.recipe.train, self.progress, stop
        self.window = Window(time.monotonic())
        for pairs in self._stream():
            if train.patience is not None and progress.waited >= train.patience:
                self._save_if_new()
                return "patience"
            if progress.plateau.ended(*at_update(train, max(progress.update, 1))[1:3]):
                self._save_if_new()
                return "rate"
            if progress.update >= train.updates:
                return "updates"
            asked = stop.signal_number
            if self.group.size > 1:  # not one that only this process knows of
                asked = self.agreed.signal_number if self.agreed else None
            if asked is not None:
                self._save_if_new()
                self.group.meet()
                raise Stopped(
                    f"stopped at update {progress.update:,} of {train.updates:,}; it is saved",
                    "the same command goes on from here",
                    asked,
                )
            self._update(pairs)
            self._tell_of_compiling()
            last = progress.update == train.updates
            if progress.update % LOG_EVERY == 0 or last:
                self._log_update()
                self.window = Window(time.monotonic())
            paused = time.monotonic()
            if progress.update % train.validate_every == 0 or last:
                self._validate()
            if progress.update % (train.save_every or train.validate_every) == 0 or last:
                self._save_if_new()
            self.window.started += time.monotonic() - paused  # tokens a second are those of training
        raise AssertionError("the stream of batches never ends")

    def _stream(self) -> Iterator[Indices]:
        """Batches from where progress stands, for ever: whoever uses one up moves progress.batch on. A pair goes by its
        place in the pool under way.
        """
        while True:
            progress = self.progress
            self.pool = self.batches.pool(progress.epoch, progress.pool)
            while progress.batch < len(self.pool.batches):
                yield self.pool.batches[progress.batch]
            progress.pool, progress.batch = progress.pool + 1, 0
            if progress.pool == self.batches.pools:
                progress.epoch, progress.pool = progress.epoch + 1, 0

    def _update(self, pairs: Indices) -> None:
        """One optimiser step on these pairs, which changes nothing where the loss or the gradient is not finite."""
        train, update = self.recipe.train, self.progress.update + 1
        optimizer_config, lr, schedule, before = at_update(train, update)
        if train.switch is not None and update == train.switch.at_update:
            self.optimizer = self.share.optimizer(optimizer_config, self.model, lr)
            self.progress.plateau = PlateauState()
        rate = learning_rate(schedule, lr, update - before, self._epochs_done(), self.progress.plateau)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        nll, counts = self._gradients(pairs, update)
        norm = self._clip()
        deferred = step_if_finite(self.optimizer, nll, norm)
        self.share.spread()
        for parameter in self.parameters:
            parameter.grad = None
        self.progress.update, self.progress.batch, self.rate = update, self.progress.batch + 1, rate
        self.unread.append(Step(update, self.pool.pairs[pairs], counts, nll, norm))
        if not deferred or self.device.type in READ_AT_ONCE:
            self._read_steps()

    def _tell_of_compiling(self) -> None:
        """What the update just made took of that, if anything; it is no part of the rate of training."""
        if (seconds := self.layers.seconds()) > 0:
            self.window.started += seconds
            self.log.write("compiled", update=self.progress.update, seconds=round(seconds, 1))
            self.reporter.say(f"layers: compiled at update {self.progress.update:,} in {seconds:.0f} s")

    def _gradients(self, pairs: Indices, update: int) -> tuple[Tensor, Counts]:
        """Gradients of the update's loss in the parameters; its summed negative log-likelihood, and what it counts."""
        train = self.recipe.train
        self.model.train()
        cut = self.pool.cut(pairs, train.grad_parts)
        divisor = int(self.pool.tgt.lengths[pairs].sum()) if train.loss_per == "token" else len(pairs)
        mine = self.group.share(len(cut))
        parts = [self.backward.shaped(self.pool.load(cut[number], train.grad_parts)) for number in mine]
        total = PartGradients(self.parameters, len(cut), self.group) if train.grad_parts > 1 else None
        nll = torch.zeros(len(cut), dtype=torch.float64, device=self.device)
        for number, part in zip(mine, parts, strict=True):
            nll[number] = self.backward(part, divisor, _seed(train.seed, update, number))
            if total is not None:
                total.take(number)
        if total is not None:
            total.finish()
        self.agreed = agree(self.group, self.pool.pairs[pairs], Counts.of(parts), self.stop.signal_number)
        return self.group.fill(nll).sum(), self.agreed.counts

    def _clip(self) -> Tensor:
        """The gradient's norm, as it was."""
        limit = self.recipe.train.clip_norm
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        if limit is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, limit, norm)
        return norm

    def _read_steps(self) -> None:
        """Learns how the updates since the last time went, all at once; stops after too many useless ones in a row."""
        if not self.unread:
            return
        values = torch.stack([torch.stack((step.nll, step.norm.double())) for step in self.unread]).tolist()
        steps, self.unread = self.unread, []
        for step, (nll, norm) in zip(steps, values, strict=True):
            if math.isfinite(nll) and math.isfinite(norm):
                self.progress.skipped_in_a_row = 0
                self.progress.tgt_tokens += step.counts.tgt_tokens
                self.window.add(step.counts, nll, norm)
            else:
                self._skipped(step, nll, norm)

    def _skipped(self, step: Step, nll: float, norm: float) -> None:
        progress, pairs = self.progress, step.pairs
        progress.skipped_in_a_row += 1
        self.log.write("skipped", update=step.update, nll=repr(nll), grad_norm=repr(norm), pairs=pairs[:20].tolist())
        if progress.skipped_in_a_row > self.recipe.train.max_skipped:
            lines = ", ".join(str(i + 1) for i in pairs[:5])
            raise TrainingStopped(
                f"update {step.update:,}: {progress.skipped_in_a_row} batches in a row had a loss or gradient that is "
                f"not finite (loss {nll}, gradient norm {norm}; the last one holds training pairs {lines}, ...)",
                _CALMER,
            )

    def _epochs_done(self) -> float:
        """Passes done before the next update, with their fraction."""
        progress = self.progress
        of_pool = progress.batch / max(1, len(self.pool.batches))
        return progress.epoch + (progress.pool + of_pool) / self.batches.pools

    def _log_update(self) -> None:
        self._read_steps()
        progress, train, window = self.progress, self.recipe.train, self.window
        seconds = time.monotonic() - window.started
        rate = window.tgt_tokens / max(seconds, 1e-9)
        loss, share = window.nll / max(window.tgt_tokens, 1), window.real / max(window.positions, 1)
        self.log.write(
            "update",
            update=progress.update,
            epoch=round(self._epochs_done(), 3),
            seconds=round(time.monotonic() - self.started, 3),
            tgt_tokens=progress.tgt_tokens,
            loss=round(loss, 5),
            lr=self.rate,
            grad_norm=round(window.grad_norm / max(window.updates, 1), 4),
            real_share=round(share, 4),
            tgt_tokens_per_second=round(rate, 1),
            batch=f"{self.agreed.batch:08x}" if self.agreed else None,
        )
        eta = (train.updates - progress.update) * seconds / max(window.updates, 1)
        self.reporter.live(
            f"update {progress.update:,}/{train.updates:,} · epoch {self._epochs_done():.1f} · loss {loss:.3f} · "
            f"{rate:,.0f} target tokens/s · padding {1 - share:.0%} · {clock(eta)} left"
        )

    def _validate(self) -> None:
        recipe, progress, shard = self.recipe, self.progress, self.prepared.valid
        self._read_steps()
        self._refuse_broken_weights()
        try:
            result = self._measure(recipe.train.validate_sentences)
        except ModelError as error:  # finite weights can have logits that are not
            raise TrainingStopped(f"validation at update {progress.update:,}: {error.what}", _CALMER) from error
        before = progress.best
        progress.validated.append(Validated(progress.update, result.bleu.score, result.loss))
        better = progress.best != before
        progress.waited = 0 if better else progress.waited + 1
        _, _, schedule, _ = at_update(recipe.train, progress.update)
        if isinstance(schedule, Plateau):
            progress.plateau.observe(result.loss, schedule)
        if self.group.first and progress.update in kept.wanted(recipe.train.average, progress):
            kept.keep(self.folder, progress.update, self._weights())
        if self.group.first and better:
            self.publish(self._weights(), [progress.update], {"validation": result.bleu})
        self.log.write(
            "validation",
            update=progress.update,
            loss=round(result.loss, 5),
            bleu=round(result.bleu.score, 3),
            signature=result.bleu.signature,
            seconds=round(time.monotonic() - self.started, 3),
        )
        self.reporter.say(
            f"validation at update {progress.update:,}: loss {result.loss:.4f}, BLEU {result.bleu.score:.2f}"
            + (" (best so far)" if better else f" (best {progress.best.bleu:.2f})" if progress.best else "")
        )
        for i in spread(len(result.translations), recipe.train.samples):
            self.reporter.say(f"  source       {shard.src_lines()[i]}")
            self.reporter.say(f"  translation  {result.translations[i]}")
            self.reporter.say(f"  reference    {shard.tgt_lines()[i]}")

    def _measure(self, sentences: int | None) -> Validation:
        tokens = self.recipe.train.tokens or 2000
        target = Target(self.prepared.tokenizers[1], self.recipe.corpus.tgt)
        with self.layers.as_written():
            return validate(self.model, self.prepared.valid, target, self.recipe.search, tokens, sentences, self.group)

    def begin(self, fixed: dict[str, Any]) -> dict[str, Any]:
        """Takes up the run's newest checkpoint, if there is one; `fixed` is what a resumed run must share with it.

        Gives the event of the last start that led there, empty where there is none.
        """
        self.fixed = fixed
        found = latest_checkpoint(self.folder, self.reporter.say, self.group)
        if found is None:
            self.log.cut_back(0)
            return {}
        if changes := changed_keys(found.state["fixed"], fixed):
            listed = "".join(f"\n{line}" for line in changes)
            raise UsageError(
                f"{self.folder} was trained with other settings up to update {found.update:,}:{listed}",
                "put them back to go on, or give this training another name: --set name=...",
            )
        self.progress = Progress.from_state(found.state["progress"])
        self.saved_at = found.update
        self.load_weights(found.weights)
        optimizer_config, lr, _, _ = at_update(self.recipe.train, max(self.progress.update, 1))
        self.optimizer = self.share.optimizer(optimizer_config, self.model, lr)
        self.share.restore(self.optimizer, found.optimizer, found.state["optimizer"])
        logged = self.log.cut_back(found.update)
        if not any(event.get("event") == "saved" and event.get("update") == found.update for event in logged):
            self.log.write("saved", update=found.update, time=now())  # a kill came between saving and saying so
        return next((event for event in reversed(logged) if event.get("event") == "start"), {})

    def kept_weights(self, updates: list[int]) -> dict[str, Tensor]:
        """The mean of the weights kept from these validations, read by the first process."""
        return self.group.tensors_from_first(lambda: kept.mean_weights(self.folder, updates))

    def candidates(self) -> list[int]:
        """The updates that the recipe's average can be made of, as the first process finds them."""
        average, say = self.recipe.train.average, self.reporter.say
        return self.group.from_first(lambda: kept.candidates_here(self.folder, average, self.progress, say))

    def measure(self) -> Validation:
        """Validation of the model as it stands, on all sentences."""
        return self._measure(None)

    def _save_if_new(self) -> None:
        progress = self.progress
        if progress.update == self.saved_at:
            return
        self._read_steps()
        self._refuse_broken_weights()
        refuse_other_weights(self.group, progress.update, self._weights())
        self.saved_at = progress.update
        tensors, rest = self.share.flatten(self.optimizer)
        if not self.group.first:
            return
        state = {"progress": progress.to_state(), "optimizer": rest, "fixed": self.fixed}
        checkpoint.save(self.folder, progress.update, self._weights(), tensors, state, self.reporter.say)
        self.log.write("saved", update=progress.update, time=now())
        newest = sorted(checkpoint.saved_updates(self.folder))[-self.recipe.train.keep :]
        for warning in (
            *checkpoint.prune(self.folder, newest),
            *kept.prune(self.folder, kept.wanted(self.recipe.train.average, progress)),
        ):
            self.reporter.say(f"warning: {warning}")

    def _refuse_broken_weights(self) -> None:
        """Stops before anything is written when a step from a finite gradient has overflowed a weight."""
        for name, weight in self._weights().items():
            if not bool(torch.isfinite(weight).all()):
                raise TrainingStopped(
                    f"update {self.progress.update:,}: {name} is no longer finite",
                    "lower train.lr or train.clip_norm; the last checkpoint is intact",
                )

    def _weights(self) -> dict[str, Tensor]:
        return {n: p.detach() for n, p in zip(self.names, self.parameters, strict=True)}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Puts weights of these names into the model."""
        if weights.keys() != set(self.names):
            odd = sorted(weights.keys() ^ set(self.names))
            raise ModelError(
                f"{self.folder}: the checkpoint's weights are not those of this recipe: {', '.join(odd[:5])}"
            )
        with torch.no_grad():
            for name, parameter in zip(self.names, self.parameters, strict=True):
                parameter.copy_(weights[name])

    def _fresh_optimizer(self) -> torch.optim.Optimizer:
        optimizer_config, lr, _, _ = at_update(self.recipe.train, 1)
        return self.share.optimizer(optimizer_config, self.model, lr)


def _seed(seed: int, update: int, part: int) -> int:
    return int(np.random.SeedSequence([seed, update, part]).generate_state(1, np.uint64)[0] >> 1)
