"""A batch's gradients: operation by operation, or recorded as a CUDA graph and replayed.

What a GPU is given one operation at a time it waits for, where they are small: a recurrent model's pass over a batch is
thousands of them. Recorded it is one launch. But what was recorded is the same operations on the same memory, so a
batch is filled up to one of few shapes (batch.roomy) and put where the recording looks for it, along with what else
differs between batches. Everything random comes from the device's generator, which a replay asks anew.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from nmt.batch import Batch, Room, roomy
from nmt.errors import EnvironmentFault
from nmt.models.contract import Seq2Seq
from nmt.ops.graph import Record, Recorder, Work, why_not_recorded
from nmt.recipe import Recipe, TrainConfig
from nmt.training.loss import batch_loss

_KEPT = 256
"""Recordings that are kept, each of thousands of operations; an epoch of Multi30k has 51 shapes."""

_Shape = tuple[torch.Size, torch.Size, tuple[int, int], Room | None]


class Backward(Protocol):
    """Puts the gradients of a batch's loss into the parameters' `grad`, where nothing is before."""

    def shaped(self, batch: Batch) -> Batch:
        """The batch as it will be computed."""
        ...

    def __call__(self, batch: Batch, divisor: int, seed: int) -> Tensor:
        """batch: from `shaped`; divisor: of the summed loss; seed: of dropout -> the summed negative log-likelihood, on
        the device.
        """
        ...


class Eager:
    """`Backward`, operation by operation."""

    def __init__(self, model: Seq2Seq, train: TrainConfig, device: torch.device) -> None:
        self._model, self._train, self._device = model, train, device

    def shaped(self, batch: Batch) -> Batch:
        """The batch itself."""
        return batch

    def __call__(self, batch: Batch, divisor: int, seed: int) -> Tensor:
        """As in `Backward`."""
        torch.manual_seed(seed)
        sums = batch_loss(self._model, batch.to(self._device), self._train.label_smoothing, self._train.r_drop)
        (sums.smoothed / divisor).backward()
        return sums.nll.detach()


@dataclass(frozen=True)
class _Recording:
    """What is replayed, where it looks for its batch, and which parameters have a gradient after it."""

    replay: Work
    batch: Batch
    reached: list[bool]


class Recorded:
    """`Backward`, from recordings: one for each shape of batch, made when it comes for the second time."""

    def __init__(
        self,
        model: Seq2Seq,
        parameters: Sequence[nn.Parameter],
        train: TrainConfig,
        device: torch.device,
        record: Record,
        say: Callable[[str], None],
    ) -> None:
        """say: is told once if something cannot be recorded; from then on nothing is."""
        self._model, self._parameters, self._train, self._device = model, list(parameters), train, device
        self._record, self._say, self._recording = record, say, True
        self._in_parts = train.grad_parts > 1  # then the gradients of one outlast the next one's replay
        # What every recording reads or leaves behind: it stays where it is.
        self._grads = [torch.zeros_like(p) for p in self._parameters]
        self._divisor = torch.ones((), device=device)
        self._nll = torch.zeros((), dtype=torch.float64, device=device)
        self._seen = set[_Shape]()
        self._kept = OrderedDict[_Shape, _Recording]()

    def shaped(self, batch: Batch) -> Batch:
        """In one of few shapes."""
        return roomy(batch)

    def __call__(self, batch: Batch, divisor: int, seed: int) -> Tensor:
        """As in `Backward`."""
        batch = batch.to(self._device)
        self._divisor.fill_(divisor)
        found = self._found(batch)
        torch.manual_seed(seed)
        if found is None:
            reached = self._work(batch)
        else:
            found.batch.take(batch)
            found.replay()
            reached = found.reached
        for parameter, grad, there in zip(self._parameters, self._grads, reached, strict=True):
            parameter.grad = (grad.clone() if self._in_parts else grad) if there else None
        return self._nll.clone()

    def _work(self, batch: Batch) -> list[bool]:
        """Leaves the gradients in _grads and the likelihood in _nll; which parameters have a gradient."""
        sums = batch_loss(self._model, batch, self._train.label_smoothing, self._train.r_drop)
        grads = torch.autograd.grad(sums.smoothed / self._divisor, self._parameters, allow_unused=True)
        for mine, grad in zip(self._grads, grads, strict=True):
            if grad is not None:
                mine.copy_(grad)
        self._nll.copy_(sums.nll)
        return [grad is not None for grad in grads]

    def _found(self, batch: Batch) -> _Recording | None:
        """The recording for a batch of this shape, made now if this is the second; None where there is none."""
        shape = batch.src.shape, batch.tgt_in.shape, batch.longest, batch.room
        if (found := self._kept.get(shape)) is not None:
            self._kept.move_to_end(shape)
        elif shape not in self._seen:
            self._seen.add(shape)
        elif self._recording:
            found = self._recorded(batch)
            if found is not None:
                self._kept[shape] = found
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _recorded(self, batch: Batch) -> _Recording | None:
        """A recording that has a batch of its own; None where that fails, now and from now on."""
        own, reached = batch.copy(), list[list[bool]]()
        try:
            return _Recording(self._record(lambda: reached.append(self._work(own))), own, reached[-1])
        except RuntimeError as error:
            self._recording = False
            self._say(f"slower than it could be, without CUDA graphs: {why_not_recorded(error)}")
            return None


def check_graphs(recipe: Recipe, device: torch.device) -> None:
    """EnvironmentFault where compute.cuda_graphs asks for what the device does not have."""
    if recipe.compute.cuda_graphs and device.type != "cuda":
        raise EnvironmentFault("compute.cuda_graphs needs a CUDA device", "leave it out to train here")


def backward_of(
    recipe: Recipe,
    model: Seq2Seq,
    parameters: Sequence[nn.Parameter],
    device: torch.device,
    say: Callable[[str], None],
) -> Backward:
    """As compute.cuda_graphs asks, with the error of `check_graphs`. say: as for `Recorded`."""
    check_graphs(recipe, device)
    if not recipe.compute.cuda_graphs:
        return Eager(model, recipe.train, device)
    return Recorded(model, parameters, recipe.train, device, Recorder(device), say)
