"""`nmt train`: from a recipe to runs/<name>/model.safetensors, resuming where an earlier start left off."""

import hashlib
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nmt import durable
from nmt.commands.prepare import prepare
from nmt.corpus.shards import Prepared
from nmt.errors import DataError, EnvironmentFault, Stopped
from nmt.lock import lock
from nmt.metrics import Score, bleu, offline_tokenizer_for
from nmt.model_file import ModelFile, read_model, write_model
from nmt.models.build import build_model
from nmt.models.contract import Seq2Seq
from nmt.models.initialize import initialize
from nmt.models.meta import on_meta
from nmt.ops.choose import choose_device, training_dtype, translation_dtype
from nmt.processes import cores, place
from nmt.recipe import Recipe
from nmt.recipe_file import dump_recipe, load_recipe
from nmt.runs import now
from nmt.talk import Silence
from nmt.training import checkpoint
from nmt.training.agreement import hold_alike
from nmt.training.allocator import forget_shapes, keep_memory
from nmt.training.backward import check_graphs
from nmt.training.distributed import Group, join
from nmt.training.fitting import fitting_tokens
from nmt.training.forms import Forms, choose_forms, with_dtype
from nmt.training.progress import fixed_keys
from nmt.training.stopping import StopRequest
from nmt.training.trainer import Publish, Reporter, Trainer
from nmt.training.validation import translate
from nmt.version import VERSION


@dataclass(frozen=True)
class Trained:
    """What a training came to: its model file, why it ended, and the BLEU of validation and test text."""

    model: Path
    reason: str
    valid: Score
    test: Score | None


def train(
    recipe: Recipe,
    recipe_path: Path,
    *,
    device: str = "auto",
    reporter: Reporter,
    runs: Path = Path("runs"),
    stop: StopRequest | None = None,
) -> Trained:
    """Trains what the recipe describes and returns what came out; raises Stopped when a signal ended it early,
    saved.
    """
    target = _own_device(choose_device(device), place().local_rank)
    with join(target, recipe.train.grad_parts, recipe.compute.timeout_seconds) as group:
        return _train(
            recipe, recipe_path, target, reporter if group.first else Silence(), runs / recipe.name, stop, group
        )


def _train(
    recipe: Recipe,
    recipe_path: Path,
    device: torch.device,
    reporter: Reporter,
    run: Path,
    stop: StopRequest | None,
    group: Group,
) -> Trained:
    keep_memory()
    forget_shapes()
    torch.set_num_threads(recipe.compute.threads or max(1, cores() // group.local_size))
    torch.use_deterministic_algorithms(recipe.compute.deterministic)
    dtype, tokens = group.from_first(lambda: _left_open(recipe, run, device))
    recipe = with_dtype(recipe, dtype)
    check_graphs(recipe, device)
    with on_meta():
        forms = choose_forms(recipe, build_model(recipe.model, *recipe.tokenizer.sizes), device)
    parent = None if recipe.train.init is None else recipe_path.parent / recipe.train.init
    origin = None if parent is None else read_model(parent)
    tokenizers = None if origin is None else (origin.src_tokenizer, origin.tgt_tokenizer)
    prepared = group.in_turn(lambda: prepare(recipe, recipe_path, say=reporter.say, tokenizers=tokenizers))
    kept_recipe = dump_recipe(recipe)
    versions = {"nmt": VERSION, "torch": torch.__version__, "python": platform.python_version()}
    alike = {"recipe": _sha256(kept_recipe.encode()), "layout": forms.layout, "text": prepared.folder.name}
    hold_alike(group, **alike, versions=str(versions), kernels=str(forms.choice.forms))
    with _sole_writer(run, reporter) if group.first else nullcontext(), stop or StopRequest(group.size > 1) as request:
        model = build_model(recipe.model, *(t.n_ids for t in prepared.tokenizers))
        torch.manual_seed(recipe.train.seed)
        initialize(model, recipe.model.initialization)
        model.use(forms.choice.kernels)
        if origin is not None:
            _take_over(model, origin, parent)
        if recipe.train.batch_tokens == "auto":
            recipe = _with_what_fits(recipe, forms, model, prepared, tokens, device, reporter, group)
            kept_recipe = dump_recipe(recipe)
        settled = forms.settle(recipe)
        lineage = {
            "data": prepared.folder.name,
            "parent": None if parent is None else _sha256(parent.read_bytes()),
            "nmt": VERSION,
            "torch": torch.__version__,
            "commit": _commit(),
        }
        publish = _publisher(run / "model.safetensors", recipe, prepared, lineage)
        trainer = Trainer(settled, model, prepared, run, device, reporter, publish, group)
        fixed = {**fixed_keys(settled), "data": lineage["data"], "parent": lineage["parent"]}
        earlier = trainer.begin(fixed).get("kernels", forms.choice.forms)
        if group.first:
            durable.write_file(run / "recipe.yaml", kept_recipe.encode())
        start = {
            "time": now(),
            "update": trainer.progress.update,
            "commit": _commit(),
            "versions": versions,
            "device": _device_name(device),
            "processes": group.size,
            "threads": torch.get_num_threads(),
            "dtype": recipe.compute.dtype,
            "layout": forms.layout,
            "kernels": {"asked": recipe.compute.kernels, **forms.choice.forms},
            "seed": recipe.train.seed,
            "recipe_file": str(recipe_path),
            "recipe": _sha256(kept_recipe.encode()),
            "data": lineage["data"],
            "parameters": sum(p.numel() for p in model.parameters()),
            "compile": recipe.compute.compile,
            "same_bytes": recipe.compute.compile == "off" and (device.type == "cpu" or recipe.compute.deterministic),
        }
        trainer.log.write("start", **start)
        reporter.say(
            f"{recipe.name}: {recipe.model.kind}, {start['parameters']:,} parameters, {start['device']}, "
            f"{recipe.compute.dtype}, {f'{group.size} processes with ' if group.size > 1 else ''}"
            f"{start['threads']} threads"
            + (f"; going on from update {trainer.progress.update:,}" if trainer.progress.update else "")
        )
        for line in forms.lines():
            reporter.say(line)
        for name, form in forms.choice.forms.items():
            if (then := earlier.get(name, "plain")) != form:
                reporter.say(
                    f"warning: so far {name} was {then}: from here on results are as good, but not byte for byte those "
                    "of an unbroken run"
                )
        reason = trainer.run(request)
        reporter.live("")
        return _finish(trainer, recipe, prepared, run, reason, request)


def _with_what_fits(
    recipe: Recipe,
    forms: Forms,
    model: Seq2Seq,
    prepared: Prepared,
    found: int | None,
    device: torch.device,
    reporter: Reporter,
    group: Group,
) -> Recipe:
    """The recipe with a number for batch_tokens: the one that the run began with, or what fits into memory."""
    if found is None:
        reporter.say("train.batch_tokens: auto: trying what fits into memory")
        found = fitting_tokens(forms.settle(recipe), model, prepared, device, group)
        reporter.say(f"train.batch_tokens: {found:,} fit")
    train = recipe.train.model_copy(update={"batch_tokens": found})
    return recipe.model_copy(update={"train": train})


def _left_open(recipe: Recipe, run: Path, device: torch.device) -> tuple[str, int | None]:
    """compute.dtype and train.batch_tokens where the recipe says auto: those that the run began with; else the type
    that is fast here, and None.
    """
    asked = recipe.compute.dtype
    if "auto" in (asked, recipe.train.batch_tokens) and checkpoint.saved_updates(run):
        began = load_recipe(run / "recipe.yaml")
        return began.compute.dtype if asked == "auto" else asked, began.train.tokens
    return training_dtype(asked, device), None


def _finish(trainer: Trainer, recipe: Recipe, prepared: Prepared, run: Path, reason: str, stop: StopRequest) -> Trained:
    """Chooses between the best weights and their average, scores the test text, and says what to type next."""
    say, progress = trainer.reporter.say, trainer.progress
    assert progress.best is not None, "the last update is always validated"
    trainer.model.compute_dtype = getattr(torch, translation_dtype(trainer.device, recipe.compute.dtype))
    updates = [progress.best.update]
    weights = trainer.kept_weights(updates)
    trainer.load_weights(weights)
    result = trainer.measure()
    _heed(stop, trainer.group)
    averaged = trainer.candidates()
    if len(averaged) > 1:
        mean = trainer.kept_weights(averaged)
        trainer.load_weights(mean)
        of_mean = trainer.measure()
        say(f"average of updates {', '.join(map(str, averaged))}: BLEU {of_mean.bleu.score:.2f}")
        _heed(stop, trainer.group)
        if of_mean.bleu.score >= result.bleu.score:
            updates, weights, result = averaged, mean, of_mean
        trainer.load_weights(weights)
    scores, test = {"validation": result.bleu}, None
    if prepared.test is not None:
        shard = prepared.test
        sources = [shard.src_ids(i) for i in range(len(shard))]
        translations = translate(trainer.model, sources, prepared.tokenizers[1], recipe.search, trainer.group)
        _heed(stop, trainer.group)
        tokenize = offline_tokenizer_for(recipe.corpus.tgt)
        test = scores["test"] = bleu(translations, [shard.tgt_lines()], tokenize=tokenize)
    if trainer.group.first:
        trainer.publish(weights, updates, scores)
    why = {
        "updates": f"all {recipe.train.updates:,} updates are done",
        "patience": "BLEU has stopped rising",
        "rate": "the learning rate has come to its end",
    }[reason]
    trainer.log.write(
        "end",
        reason=reason,
        update=progress.update,
        time=now(),
        model_of_updates=updates,
        scores={name: {"score": round(s.score, 3), "signature": s.signature} for name, s in scores.items()},
    )
    model = run / "model.safetensors"
    say(f"{why}; the model is {model}")
    for name, score in scores.items():
        say(f"{name} BLEU {score.score:.2f}  {score.signature}")
    say(f"next: nmt translate --model {model} < input.txt")
    return Trained(model, reason, result.bleu, test)


def _heed(stop: StopRequest, group: Group) -> None:
    asked = max(group.gather(stop.signal_number or 0))
    if asked:
        raise Stopped(
            "stopped before the final scores; all updates are done and saved",
            "the same command goes on from here",
            asked,
        )


@contextmanager
def _sole_writer(run: Path, reporter: Reporter) -> Iterator[None]:
    """The run's folder, for this process alone, once it is seen that it can be written."""
    durable.make_folder(run)
    with lock(run / ".lock"):
        for warning in durable.clean_leftovers(run):
            reporter.say(f"warning: {warning}")
        durable.probe(run)
        yield


def _own_device(device: torch.device, local_rank: int) -> torch.device:
    """Each process of a machine has a GPU of its own."""
    if device.type != "cuda" or place().size == 1:
        return device
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise EnvironmentFault(
            f"process {local_rank} of this machine has no GPU: there are {count}", f"use --nproc-per-node {count}"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _publisher(path: Path, recipe: Recipe, prepared: Prepared, lineage: dict[str, object]) -> Publish:
    def publish(weights: dict[str, Tensor], updates: list[int], scores: dict[str, Score]) -> None:
        told = {name: {"BLEU": s.score, "signature": s.signature} for name, s in scores.items()}
        src, tgt = prepared.tokenizers
        write_model(path, ModelFile(recipe, weights, src, tgt, {**lineage, "updates": updates, "scores": told}))

    return publish


def _take_over(model: torch.nn.Module, origin: ModelFile, parent: Path | None) -> None:
    """Weights of the model to continue from; it must have the shape that this recipe describes."""
    own = {name: tuple(p.shape) for name, p in model.named_parameters()}
    theirs = {name: tuple(w.shape) for name, w in origin.weights.items()}
    if own != theirs:
        odd = sorted(k for k in own.keys() | theirs.keys() if own.get(k) != theirs.get(k))
        raise DataError(
            f"train.init: {parent} is not a model of this recipe's shape; {len(odd)} tensors differ, first {odd[0]}",
            "use the model section of the recipe that it was trained with",
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(origin.weights[name])


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}"


def _commit() -> str | None:
    """The commit of this source tree, when it runs from a checkout."""
    git = Path(__file__).parents[2] / ".git"
    head = git / "HEAD"
    if not head.is_file():
        return None
    value = head.read_text().strip()
    if not value.startswith("ref: "):
        return value
    ref = git / value.removeprefix("ref: ")
    return ref.read_text().strip() if ref.is_file() else None
