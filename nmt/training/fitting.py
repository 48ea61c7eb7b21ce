"""`train.batch_tokens: auto`: the largest batch that the memory at hand holds, found before the first update.

The worst that can come is tried, and thrown away: the batches with the most source positions, target positions and
rows, forward and backward; the loss of the widest validation batch, and a search for the longest validation sentences.
Nothing of it stays: no weight moves, and every update seeds its own dropout.
"""

import math
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nmt.batch import Batch, roomy
from nmt.corpus.batches import Pool, batches_of, in_order
from nmt.corpus.shards import Prepared
from nmt.errors import EnvironmentFault
from nmt.models.contract import Seq2Seq
from nmt.recipe import Recipe, TrainConfig
from nmt.training.distributed import Group
from nmt.training.loss import batch_loss
from nmt.training.optim import slots
from nmt.training.validation import SEARCHED_ROWS, translate

MOST = {"cpu": 4096, "cuda": 65_536}
"""Tokens that auto does not exceed: a CPU computes no faster with more, and a GPU is filled by fewer."""
_GRID = 256
_SHARE = 0.9
"""Of the memory that is free: other batches may be a little worse, and allocators waste some."""
_FLOAT = 4


def planned_tokens(train: TrainConfig, device: torch.device) -> int:
    """batch_tokens, or what auto can find at most; 0 where the recipe counts sentences."""
    return MOST[device.type] if train.batch_tokens == "auto" else train.batch_tokens or 0


def fitting_tokens(recipe: Recipe, model: Seq2Seq, prepared: Prepared, device: torch.device, group: Group) -> int:
    """The largest multiple of 256 target tokens that fits on every process; EnvironmentFault where none does."""
    model.compute_dtype = getattr(torch, recipe.compute.dtype)
    model.to(device)
    memory = _Memory(device, group.local_size)
    room = memory.room - _standing_bytes(recipe, model, group.size)
    if recipe.compute.cuda_graphs:  # recordings have memory of their own, beside that of what runs once
        room //= 2

    def measure(tokens: int) -> int | None:
        return memory.peak(lambda: _worst_update(recipe, model, prepared, tokens, device))

    searched = memory.peak(lambda: _worst_search(recipe, model, prepared))
    found = None if searched is None else largest(measure, room, MOST[device.type])
    fits = min(group.gather(found or 0))
    if not fits:
        what = "validation's search" if searched is None else f"an update of {_GRID} target tokens"
        raise EnvironmentFault(
            f"train.batch_tokens: auto: {what} does not fit into the {memory.free / 2**30:.1f} GiB that are free",
            "make the model smaller, raise train.grad_parts or lower search.beam or corpus.max_len",
        )
    return fits


def largest(measure: Callable[[int], int | None], room: int, most: int) -> int | None:
    """The largest multiple of 256 up to `most` for which `measure` gives at most `room` bytes, nearly: None for none.

    measure(tokens) tries it: the bytes in use then, or None where they could not be had. After 256 and 512 nothing is
    tried that would take more than `room` if bytes went on growing as they did, so that memory is not filled up to see
    how much there is.
    """

    def fits(tokens: int) -> int | None:
        taken = measure(tokens)
        return None if taken is None or taken > room else taken

    tokens = _GRID
    if (taken := fits(tokens)) is None:
        return None
    before: tuple[int, int] | None = None
    while tokens < most:
        if before is None:
            ceiling = 2 * tokens
        else:
            slope = max(1.0, (taken - before[1]) / (tokens - before[0]))
            ceiling = min(2 * tokens, tokens + math.floor((room - taken) / slope))
        following = min(ceiling, most) // _GRID * _GRID
        if following <= tokens or (more := fits(following)) is None:
            break
        before, (tokens, taken) = (tokens, taken), (following, more)
    return tokens


class _Memory:
    """What tensors may take of a device, and what they have taken: on a CPU that is what the process has."""

    def __init__(self, device: torch.device, sharing: int) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.empty_cache()
            self.free = torch.cuda.mem_get_info(device)[0]
            held = torch.cuda.memory_reserved(device)
        else:
            self.free, held = _available() // sharing, _resident_peak()
        self.room = held + int(_SHARE * self.free)

    def peak(self, work: Callable[[], None]) -> int | None:
        """The most bytes in use so far, this work included; None where it could not have what it needs."""
        if self._device.type != "cuda":
            work()
            return _resident_peak()
        torch.cuda.reset_peak_memory_stats(self._device)
        try:
            work()
            return torch.cuda.max_memory_reserved(self._device)
        except torch.cuda.OutOfMemoryError:
            return None
        finally:
            torch.cuda.empty_cache()


def _standing_bytes(recipe: Recipe, model: Seq2Seq, processes: int) -> int:
    """What stays from update to update and is not there yet when a batch is tried: the optimiser, sums of parts."""
    train, numbers = recipe.train, sum(p.numel() for p in model.parameters())
    optimizers = [train.optimizer, *([train.switch.optimizer] if train.switch else [])]
    sums = 0 if train.grad_parts == 1 else 1 + math.ceil(math.log2(train.grad_parts))
    sharing = processes if recipe.compute.shard_optimizer else 1
    return _FLOAT * (numbers * max(map(slots, optimizers)) // sharing + numbers * sums)


def _worst_update(recipe: Recipe, model: Seq2Seq, prepared: Prepared, tokens: int, device: torch.device) -> None:
    train = recipe.train
    pool = batches_of(train, prepared, tokens).pool(0)
    model.train()
    try:
        for batch in _worst(pool, train.grad_parts):
            batch = roomy(batch) if recipe.compute.cuda_graphs else batch
            batch_loss(model, batch.to(device), train.label_smoothing, train.r_drop).smoothed.backward()
        with torch.inference_mode():
            model.eval()
            widest = max((batch for _, batch in in_order(prepared.valid, tokens)), key=lambda batch: batch.positions)
            batch_loss(model, widest.to(device), 0.0)
    finally:
        for parameter in model.parameters():
            parameter.grad = None


def _worst(pool: Pool, parts: int) -> list[Batch]:
    """The batches, or parts of them, with the most source positions, the most target positions and the most rows."""
    src, tgt = pool.src.lengths, pool.tgt.lengths
    found = [part for places in pool.batches for part in pool.cut(places, parts)]
    # Of flat batches, which are all as wide, it is taking their sentences apart that differs.
    sizes = [(len(p) * int(src[p].max()), len(p) * int(tgt[p].max()), len(p)) for p in found]
    if pool.layout == "rows":
        counts, (wide, deep) = [len(np.unique(pool.rows[p])) for p in found], pool.widths
        sizes = [
            (n * max(wide, int(src[p].max())), n * max(deep, int(tgt[p].max())), n)
            for n, p in zip(counts, found, strict=True)
        ]
    chosen = {max(range(len(found)), key=lambda i: sizes[i][side]) for side in range(3)}
    return [pool.load(found[i], parts) for i in sorted(chosen)]


def _worst_search(recipe: Recipe, model: Seq2Seq, prepared: Prepared) -> None:
    valid, beam = prepared.valid, recipe.search.beam
    longest = sorted((valid.src_ids(i) for i in range(len(valid))), key=len)[-max(1, SEARCHED_ROWS // beam) :]
    translate(model, longest, prepared.tokenizers[1], recipe.search, Group())


def _available() -> int:
    """Bytes of main memory that a process can still have, as the system and its control group say."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        found.append(int(fields["MemAvailable"].split()[0]) * 1024)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()) != "max":
        found.append(max(0, int(most) - int(used.read_text())))
    return min(found)


def _resident_peak() -> int:
    """The most main memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
