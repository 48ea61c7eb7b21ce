"""What tests change inside a training process: faults injected, and restored fields left out (the negative controls).

Each is a context manager, called by name in the process that `warm.py` forks.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from nmt import durable
from nmt.errors import EnvironmentFault
from nmt.training import backward, checkpoint, trainer
from nmt.training.distributed import Group
from nmt.training.loss import LossSums
from nmt.training.optim import PlateauState
from nmt.training.progress import Progress


def nothing() -> nullcontext[None]:
    """No change."""
    return nullcontext()


def without_libraries() -> Any:
    """Nothing is compiled."""
    return patch.dict(os.environ, NMT_NATIVE="0")


def traced_alone() -> Any:
    """torch.compile takes layers for graphs, and makes no code of them."""
    compiled = torch.compile
    return patch.object(
        torch, "compile", lambda call, **asked: compiled(call, backend="eager", dynamic=asked["dynamic"])
    )


def log_every(updates: int) -> Any:
    """Logs more often than a real training."""
    return patch.object(trainer, "LOG_EVERY", updates)


@contextmanager
def count_failpoints(path: str) -> Iterator[None]:
    """Writes to a file how often each failpoint was passed."""
    yield
    Path(path).write_text(json.dumps(durable._passed))


def _restoring(change: Callable[[checkpoint.Checkpoint], None]) -> Any:
    """Resumes from a checkpoint that was changed after it was read."""
    load = checkpoint.load_latest

    def changed(run: Path, say: Callable[[str], None]) -> checkpoint.Checkpoint | None:
        found = load(run, say)
        assert found is not None, "there is nothing to leave out of"
        change(found)
        return found

    return patch.object(checkpoint, "load_latest", changed)


def leave_out_progress(field: str) -> Any:
    """Resumes with one field of the progress as a fresh run has it."""

    def change(found: checkpoint.Checkpoint) -> None:
        fresh = Progress().to_state()[field]
        assert found.state["progress"][field] != fresh, f"{field} is as in a fresh run: leaving it out shows nothing"
        found.state["progress"][field] = fresh

    return _restoring(change)


def leave_out_plateau(field: str) -> Any:
    """Resumes with one field of the plateau as a fresh run has it."""

    def change(found: checkpoint.Checkpoint) -> None:
        fresh = {**Progress(plateau=PlateauState()).to_state()["plateau"]}[field]
        assert found.state["progress"]["plateau"][field] != fresh, f"{field} is as in a fresh run"
        found.state["progress"]["plateau"][field] = fresh

    return _restoring(change)


def leave_out_optimizer(tensor: str) -> Any:
    """Resumes with one tensor of the optimiser as a fresh run has it: zero."""

    def change(found: checkpoint.Checkpoint) -> None:
        assert found.optimizer[tensor].any(), f"{tensor} is zero anyway"
        found.optimizer[tensor].zero_()

    return _restoring(change)


def leave_out_weight(name: str) -> Any:
    """Resumes with one parameter as the fresh model has it."""
    load = trainer.Trainer.load_weights

    def without(self: trainer.Trainer, weights: dict[str, Tensor]) -> None:
        own = dict(self.model.named_parameters())[name].detach().clone()
        load(self, {**weights, name: own})

    return patch.object(trainer.Trainer, "load_weights", without)


def leave_out_dropout_counter() -> Any:
    """Seeds dropout by the updates since this start, as a counter would do that was not restored."""
    seed, first = trainer._seed, []

    def counted_anew(train_seed: int, update: int, part: int) -> int:
        first[:] = first or [update]
        return seed(train_seed, update - first[0] + 1, part)

    return patch.object(trainer, "_seed", counted_anew)


def read_late() -> Any:
    """How updates went is read as on a GPU: when something is logged, validated or saved."""
    return patch.object(trainer, "READ_AT_ONCE", frozenset())


def break_gradients(updates: list[int], what: str, late: bool = False) -> Any:
    """Makes the loss's gradient (`what` "gradient") or the loss too ("loss") not finite in the given updates; with
    `late` that is read late as well.
    """
    gradients = trainer.Trainer._gradients

    def broken(self: trainer.Trainer, pairs: Any, update: int) -> Any:
        nll, batch = gradients(self, pairs, update)
        if update in updates:
            grad = self.parameters[0].grad
            assert grad is not None
            grad.view(-1)[0] = float("inf" if what == "infinite gradient" else "nan")
            nll = nll * float("nan") if what == "loss" else nll
        return nll, batch

    stack = ExitStack()
    stack.enter_context(patch.object(trainer.Trainer, "_gradients", broken))
    if late:
        stack.enter_context(read_late())
    return stack


def break_weights(update: int) -> Any:
    """Makes the optimiser leave a weight that is not finite at an update whose gradient was fine, as an overflow
    does.
    """
    take = trainer.Trainer._update

    def broken(self: trainer.Trainer, *args: Any) -> None:
        take(self, *args)
        if self.progress.update == update:
            with torch.no_grad():
                nn.Parameter.view(self.parameters[0], -1)[0] = float("inf")

    return patch.object(trainer.Trainer, "_update", broken)


def kill_when_saved(update: int) -> Any:
    """SIGKILL as soon as the checkpoint of an update is on disk."""
    save = checkpoint.save

    def saved(run: Path, at: int, *args: Any) -> Path:
        folder = save(run, at, *args)
        if at == update:
            os.kill(os.getpid(), signal.SIGKILL)
        return folder

    return patch.object(checkpoint, "save", saved)


def interrupt_measuring() -> Any:
    """SIGTERM to itself while the final weights are being scored."""
    measure = trainer.Trainer.measure

    def struck(self: trainer.Trainer) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return measure(self)

    return patch.object(trainer.Trainer, "measure", struck)


def hang_at(update: int) -> Any:
    """Sleeps long enough at an update to be struck there, and says so in a file."""
    take = trainer.Trainer._update

    def slow(self: trainer.Trainer, *args: Any) -> None:
        if self.progress.update + 1 == update:
            Path("hanging").touch()
            end = time.monotonic() + 60
            while time.monotonic() < end and not Path("go").exists():
                time.sleep(0.01)
        take(self, *args)

    return patch.object(trainer.Trainer, "_update", slow)


def die_at(update: int) -> Any:
    """SIGKILL to itself before an update."""
    return _before(update, lambda: os.kill(os.getpid(), signal.SIGKILL))


def stop_at(update: int) -> Any:
    """SIGSTOP to itself before an update: everything in the process stands still."""
    return _before(update, lambda: os.kill(os.getpid(), signal.SIGSTOP))


def signal_at(update: int, number: int) -> Any:
    """A signal to itself before an update."""
    return _before(update, lambda: os.kill(os.getpid(), number))


def raise_at(update: int) -> Any:
    """A fault of this process alone before an update."""

    def fault() -> None:
        raise EnvironmentFault("there is not enough memory", "use smaller batches")

    return _before(update, fault)


def _before(update: int, act: Callable[[], None]) -> Any:
    take = trainer.Trainer._update

    def struck(self: trainer.Trainer, *args: Any) -> None:
        if self.progress.update + 1 == update:
            act()
        take(self, *args)

    return patch.object(trainer.Trainer, "_update", struck)


def break_part(update: int) -> Any:
    """Makes the loss of the parts that this process has of an update not finite, once."""
    loss, take, at = backward.batch_loss, trainer.Trainer._update, [0]

    def noted(self: trainer.Trainer, *args: Any) -> None:
        at.append(self.progress.update + 1)
        take(self, *args)

    def broken(*args: Any) -> LossSums:
        sums = loss(*args)
        if at.count(update) != 1 or at[-1] != update:
            return sums
        return LossSums(sums.smoothed * float("nan"), sums.nll * float("nan"))

    stack = ExitStack()
    stack.enter_context(patch.object(backward, "batch_loss", broken))
    stack.enter_context(patch.object(trainer.Trainer, "_update", noted))
    return stack


def change_weight(update: int) -> Any:
    """Leaves a weight other than it should be after an update, as hardware that computes otherwise does."""
    take = trainer.Trainer._update

    def drifting(self: trainer.Trainer, *args: Any) -> None:
        take(self, *args)
        if self.progress.update == update:
            with torch.no_grad():
                nn.Parameter.view(self.parameters[0], -1)[0] += 2**-20

    return patch.object(trainer.Trainer, "_update", drifting)


def seed_by_process() -> Any:
    """Numbers the parts of each process from 0 for dropout: the sum then depends on who has which part."""
    seed, share = trainer._seed, Group.share
    first = [0]

    def shared(self: Group, n: int, rank: int | None = None) -> range:
        found = share(self, n, rank)
        if rank is None:
            first[0] = found.start
        return found

    stack = ExitStack()
    stack.enter_context(patch.object(Group, "share", shared))
    stack.enter_context(
        patch.object(trainer, "_seed", lambda train_seed, update, part: seed(train_seed, update, part - first[0]))
    )
    return stack


def count_states(path: str) -> Any:
    """Writes to a file at the end of each update of how many parameters this process keeps an optimiser's state."""
    take = trainer.Trainer._update

    def counted(self: trainer.Trainer, *args: Any) -> None:
        take(self, *args)
        Path(f"{path}.{self.group.rank}").write_text(str(len(self.optimizer.state)))

    return patch.object(trainer.Trainer, "_update", counted)
