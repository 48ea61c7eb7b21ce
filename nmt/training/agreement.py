"""What the processes of a training hold alike: the settings, the checkpoint they begin from, the batch, the weights."""

import hashlib
import signal
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nmt.corpus.batches import Indices
from nmt.errors import EnvironmentFault, TrainingStopped
from nmt.training import checkpoint
from nmt.training.distributed import Group
from nmt.training.progress import Counts


def hold_alike(group: Group, **what: str) -> None:
    """EnvironmentFault where a process has another recipe, text or version than the first one."""
    for rank, theirs in enumerate(group.gather(what)):
        odd = [name for name, value in theirs.items() if value != what[name]]
        if odd:
            raise EnvironmentFault(
                f"process {group.rank} and process {rank} have not the same {' and '.join(odd)}",
                "every machine needs the same recipe, text and versions",
            )


def latest_checkpoint(run: Path, say: Callable[[str], None], group: Group) -> checkpoint.Checkpoint | None:
    """The run's newest whole checkpoint, which the first process reads for all."""
    found = checkpoint.load_latest(run, say) if group.first else None
    if group.size == 1:
        return found
    update = group.from_first(lambda: found.update if found else None)
    if update is None:
        return None
    state = group.from_first(lambda: found.state if found else {})
    weights = group.tensors_from_first(lambda: found.weights if found else {})
    optimizer = group.tensors_from_first(lambda: found.optimizer if found else {})
    return checkpoint.Checkpoint(update, weights, optimizer, state)


@dataclass(frozen=True)
class Agreed:
    """What all processes know of an update: its counts, a checksum of its pairs, the signal that asked one to stop."""

    counts: Counts
    batch: int
    signal_number: int | None


def agree(group: Group, pairs: Indices, counts: Counts, signal_number: int | None) -> Agreed:
    """The counts added up; the signals seen by any; and the pairs must be the same everywhere."""
    batch = zlib.crc32(pairs.tobytes())
    said = [batch, signal_number == signal.SIGINT, signal_number == signal.SIGTERM, *counts.as_list()]
    batches, interrupted, terminated, *sums = group.total(said)
    assert batches == batch * group.size, "the processes are at different batches"
    asked = signal.SIGTERM if terminated else signal.SIGINT if interrupted else None
    return Agreed(Counts(*sums), batch, asked)


def refuse_other_weights(group: Group, update: int, weights: Mapping[str, Tensor]) -> None:
    """Stops when the processes no longer hold the same weights, as on machines that do not compute alike."""
    if group.size == 1:
        return
    digest = hashlib.sha256()
    for weight in weights.values():
        digest.update(weight.cpu().numpy().tobytes())
    found = group.gather(digest.hexdigest())
    odd = [str(rank) for rank, theirs in enumerate(found) if theirs != found[0]]
    if odd:
        raise TrainingStopped(
            f"update {update:,}: the weights of process {', '.join(odd)} are no longer those of process 0",
            "give all processes devices of one kind and the same versions; the last checkpoint is intact",
        )
