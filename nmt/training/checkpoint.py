"""Checkpoints: folders `runs/<name>/checkpoints/update-<n>/` that appear whole or not at all.

Each holds weights.safetensors, optimizer.safetensors, state.json (everything else, small) and manifest.json (size and
sha256 of the three). Their bytes are a pure function of what is saved: no clock, host or process in them.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.optim import Optimizer

from nmt.durable import (
    clean_leftovers,
    describe,
    publish_folder,
    refusals,
    remove_folder,
    set_aside,
    sync_folder,
    verify_folder,
)
from nmt.errors import ModelError

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after `update` updates: tensors on the CPU, with their dtypes; state as JSON gives it back."""

    update: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def folder_of(run: Path, update: int) -> Path:
    """Where the checkpoint after `update` updates of the run in folder `run` lies."""
    return run / "checkpoints" / f"update-{update}"


def saved_updates(run: Path) -> list[int]:
    """The updates after which there is a checkpoint, whole or damaged, oldest first."""
    parent = run / "checkpoints"
    with refusals(parent, "be read"):
        names = [path.name for path in parent.iterdir()] if parent.is_dir() else []
    # The number decides what is newest, never a clock: clocks jump, and copying changes times.
    return sorted(int(found[1]) for name in names if (found := re.fullmatch(r"update-(0|[1-9][0-9]*)", name)))


def save(
    run: Path,
    update: int,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    state: Mapping[str, Any],
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Saves a checkpoint and returns its folder; when it returns, the checkpoint survives a power cut.

    A checkpoint is never written over. One with the same bytes is kept. A damaged one of that update is removed, and
    one that is whole but different is renamed to `update-<n>.aside-1`; `say` is told. `state` is JSON with string
    keys (a tuple comes back as a list). Tensors that share memory are stored once a name. EnvironmentFault where the
    disk refuses: the checkpoints that were there stay, and nothing half-written is left.
    Holds the bytes of all files in memory until they are written.
    """
    files = {
        WEIGHTS: _tensor_bytes(weights),
        OPTIMIZER: _tensor_bytes(optimizer),
        STATE: _json_bytes({"format": FORMAT, "update": update, "state": _plain(state, "state")}),
    }
    final = folder_of(run, update)
    for warning in clean_leftovers(final.parent):
        say(f"warning: {warning}")
    if final.exists():
        try:
            found = verify_folder(final)["files"]
        except ModelError as damage:
            say(f"warning: {damage.what}; it is replaced")
            if remove_folder(final) is not None and final.exists():
                say(f"warning: {final}: kept as {set_aside(final).name}")
        else:
            if found == {name: describe(data) for name, data in files.items()}:
                with refusals(final, "be written"):
                    sync_folder(final.parent)  # a kill may have come between its rename and this
                return final
            say(f"warning: {final}: is there already with other contents, kept as {set_aside(final).name}")
    publish_folder(final, files)
    return final


def load(path: Path) -> Checkpoint:
    """The checkpoint in folder `path`, after checking every byte; ModelError that names every damage."""
    listed = verify_folder(path)["files"]
    absent = [name for name in (WEIGHTS, OPTIMIZER, STATE) if name not in listed]
    if absent:
        raise ModelError(f"{path}: not a checkpoint: it has no {', '.join(absent)}")
    with refusals(path, "be read"):
        data = {name: (path / name).read_bytes() for name in (WEIGHTS, OPTIMIZER, STATE)}
    try:
        found = json.loads(data[STATE])
        version, update, state = found["format"], found["update"], found["state"]
        weights, optimizer = safetensors.torch.load(data[WEIGHTS]), safetensors.torch.load(data[OPTIMIZER])
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise ModelError(f"{path}: not a checkpoint of ours: {error}") from error
    if version != FORMAT or type(update) is not int or type(state) is not dict:
        raise ModelError(f"{path}: {STATE} has format {version}, this program knows {FORMAT}")
    named = re.fullmatch(r"update-([0-9]+)", path.name)
    if named and int(named[1]) != update:
        raise ModelError(f"{path}: holds update {update}, so this is not its name")
    return Checkpoint(update, weights, optimizer, state)


def load_latest(run: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint of the run that is whole; None when the run has none.

    Each damaged one that is newer is named through `say`, with the number of updates that are lost. ModelError when
    there are checkpoints but none is whole: training from the start again, unasked, would bury what happened.
    """
    updates = saved_updates(run)
    damages: list[str] = []
    for update in reversed(updates):
        try:
            checkpoint = load(folder_of(run, update))
        except ModelError as damage:
            damages.append(damage.what)
            continue
        for damage in damages:
            say(f"warning: {damage}")
        if damages:
            lost = updates[-1] - update
            say(f"warning: going on from update {update} instead of {updates[-1]}: {lost:,} updates are lost")
        return checkpoint
    if not updates:
        return None
    place = run / "checkpoints"
    raise ModelError("\n".join([f"{place}: no checkpoint can be used", *damages]), _none_left_hint(place))


def _none_left_hint(place: Path) -> str:
    return f"put a copy of one back, or move {place} away to train from the start"


def prune(run: Path, keep: Collection[int]) -> list[str]:
    """Removes the run's checkpoints that are not in `keep`, oldest first; one line for each that could not be removed.

    The newest that is whole always stays, whatever `keep` says; when none is whole, all stay. Call it after saving.
    Reads the newest checkpoint through when there is something to remove.
    """
    others = [update for update in saved_updates(run) if update not in keep]
    if not others:
        return []
    newest = _newest_whole(run)
    if newest is None:
        return [f"{run / 'checkpoints'}: nothing removed: no checkpoint there is whole"]
    warnings = [remove_folder(folder_of(run, update)) for update in others if update != newest]
    return [*(text for text in warnings if text is not None), *clean_leftovers(run / "checkpoints")]


def save_weights(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Keeps weights alone, as the best ones are kept: a folder with weights.safetensors, whole or not at all.

    What lies there already is replaced unless it is the same: after a resume, the same update writes the same bytes.
    """
    data = _tensor_bytes(weights)
    if folder.exists():
        try:
            if verify_folder(folder)["files"] == {WEIGHTS: describe(data)}:
                return
        except ModelError:
            pass  # half of it is as good as nothing: it is written again
        if remove_folder(folder) is not None and folder.exists():
            set_aside(folder)
    publish_folder(folder, {WEIGHTS: data})


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The weights in a folder that `save_weights` made, verified; ModelError when it is damaged."""
    verify_folder(folder)
    try:
        return safetensors.torch.load((folder / WEIGHTS).read_bytes())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{folder}: not weights of ours: {error}") from error


def prune_weights(parent: Path, keep: Collection[int]) -> list[str]:
    """Removes the folders `update-<n>` of `save_weights` whose number is not in `keep`; a line for each that would not
    go.
    """
    names = sorted(path.name for path in parent.iterdir()) if parent.is_dir() else []
    found = [(name, int(name.removeprefix("update-"))) for name in names if re.fullmatch(r"update-[0-9]+", name)]
    warnings = [remove_folder(parent / name) for name, update in found if update not in keep]
    return [*(text for text in warnings if text is not None), *clean_leftovers(parent)]


def _newest_whole(run: Path) -> int | None:
    for update in reversed(saved_updates(run)):
        try:
            verify_folder(folder_of(run, update))
        except ModelError:
            continue
        return update
    return None


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The tensors in safetensors' format, which forbids sharing: those that share memory (ties) are copied."""
    ready: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        if tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        ready[name] = tensor
    return safetensors.torch.save(ready)


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()


def _plain(value: Any, place: str) -> Any:
    # json would turn the key 1 into "1" without a word, and resuming would not find it again.
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place}: key {key!r} is not a string")
        return {key: _plain(inner, f"{place}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, f"{place}[{i}]") for i, inner in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{place}: {type(value).__name__} does not go into JSON")


# Which implementation computes the update is a matter of this machine, which matrices are Muon's one of the model: not
# of the state.
_HOW = ("foreach", "fused", "capturable", "differentiable", "hidden")


def flatten_optimizer(optimizer: Optimizer, names: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimiser's state as tensors and JSON, by name of the parameter, for restore_optimizer.

    `names` are the parameters' names in the order in which the optimiser has them, group after group. A parameter
    without state (SGD, or one that had no gradient yet) has none afterwards either. Tensors keep dtype and value;
    they are not copied.
    """
    named = _named(optimizer, names)
    tensors: dict[str, Tensor] = {}
    groups: list[dict[str, Any]] = []
    state: dict[str, dict[str, Any]] = {}
    for i, group in enumerate(optimizer.param_groups):
        kept: dict[str, Any] = {}
        for key, value in group.items():
            if key != "params" and key not in _HOW:
                kept[key] = _put(tensors, f"group/{i}/{key}", value)
        groups.append({"names": [named[param] for param in group["params"]], "options": kept})
        for param in group["params"]:
            if optimizer.state.get(param):
                name = named[param]
                state[name] = {
                    key: _put(tensors, f"state/{name}/{key}", value) for key, value in optimizer.state[param].items()
                }
    return tensors, {"kind": type(optimizer).__name__, "groups": groups, "state": state}


def restore_optimizer(
    optimizer: Optimizer, names: Sequence[str], tensors: Mapping[str, Tensor], described: Mapping[str, Any]
) -> None:
    """Gives a fresh optimiser the state that flatten_optimizer took: from here on both do the same.

    Options (rates, betas) come from the checkpoint; which implementation runs (foreach, fused) stays as the fresh one
    has it. The optimiser's own load_state_dict is not used: it casts moments to the dtype of their parameter.
    ModelError when kind, parameters or shapes differ, or a tensor is missing or left over; the optimiser is unchanged
    then.
    """
    named = _named(optimizer, names)
    hint = "the recipe's optimizer and model must be those the checkpoint was made with"
    kind = type(optimizer).__name__
    if described.get("kind") != kind:
        raise ModelError(f"the checkpoint's optimizer is {described.get('kind')}, not {kind}", hint)
    groups: list[dict[str, Any]] = described["groups"]
    theirs = [set(group["names"]) for group in groups]
    ours = [{named[param] for param in group["params"]} for group in optimizer.param_groups]
    if theirs != ours:
        differing = sorted(set().union(*theirs) ^ set().union(*ours))
        what = f"differs for {', '.join(differing[:5])}" if differing else "groups the parameters otherwise"
        raise ModelError(f"the checkpoint's optimizer {what}", hint)

    taken: set[str] = set()
    options = [{key: _take(tensors, taken, value, hint) for key, value in group["options"].items()} for group in groups]
    state: dict[Tensor, dict[str, Any]] = {}
    for group in optimizer.param_groups:
        for param in group["params"]:
            name = named[param]
            entries = {
                key: _take(tensors, taken, value, hint) for key, value in described["state"].get(name, {}).items()
            }
            for key, value in entries.items():
                if isinstance(value, Tensor):
                    if value.dim() > 0 and value.shape != param.shape:
                        shapes = f"{tuple(value.shape)}, not {tuple(param.shape)}"
                        raise ModelError(f"the checkpoint's optimizer has {key} of {name} as {shapes}", hint)
                    # The count of updates lives on the CPU, unless the implementation reads it on the device.
                    on_cpu = key == "step" and not (group.get("fused") or group.get("capturable"))
                    entries[key] = value.to("cpu" if on_cpu else param.device)
            if entries:
                state[param] = entries
    if taken != tensors.keys():
        raise ModelError(f"the checkpoint's optimizer has {sorted(tensors.keys() - taken)[0]} too many", hint)

    optimizer.state.clear()
    optimizer.state.update(state)
    for group, kept in zip(optimizer.param_groups, options, strict=True):
        for key, value in kept.items():
            # JSON knows no tuples; the betas are one.
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value


def _named(optimizer: Optimizer, names: Sequence[str]) -> dict[Tensor, str]:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    assert len(set(names)) == len(names) == len(params), f"{len(params)} parameters, {len(names)} names"
    return dict(zip(params, names, strict=True))


def _put(tensors: dict[str, Tensor], name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    return {"value": _plain(value, name)}


def _take(tensors: Mapping[str, Tensor], taken: set[str], entry: Mapping[str, Any], hint: str) -> Any:
    if "tensor" not in entry:
        return entry["value"]
    name = entry["tensor"]
    if name not in tensors:
        raise ModelError(f"the checkpoint's optimizer lacks {name}", hint)
    taken.add(name)
    # A copy: the optimiser works in place, and a checkpoint in memory must stay as it was read.
    return tensors[name].clone(memory_format=torch.contiguous_format)
