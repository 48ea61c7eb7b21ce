"""`nmt train`: from a recipe to runs/<name>/model.safetensors, resuming where an earlier start left off."""

import hashlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nmt import durable
from nmt.commands.prepare import prepare
from nmt.corpus.shards import Prepared
from nmt.errors import DataError, Stopped
from nmt.metrics import Score, bleu, offline_tokenizer_for
from nmt.model_file import ModelFile, read_model, write_model
from nmt.models.build import build_model
from nmt.models.initialize import initialize
from nmt.ops.choose import choose_device, choose_kernels, translation_dtype
from nmt.recipe import Recipe
from nmt.recipe_file import dump_recipe
from nmt.runs import now
from nmt.training.allocator import forget_shapes, keep_memory
from nmt.training.cost import on_meta
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
    keep_memory()
    forget_shapes()
    torch.set_num_threads(recipe.compute.threads or len(os.sched_getaffinity(0)))
    torch.use_deterministic_algorithms(recipe.compute.deterministic)
    target_device = choose_device(device)
    with on_meta():
        operations = build_model(recipe.model, *recipe.tokenizer.sizes).all_operations()
    choice = choose_kernels(recipe.compute.kernels, target_device, recipe.compute.dtype, operations)
    parent = None if recipe.train.init is None else recipe_path.parent / recipe.train.init
    origin = None if parent is None else read_model(parent)
    tokenizers = None if origin is None else (origin.src_tokenizer, origin.tgt_tokenizer)
    prepared = prepare(recipe, recipe_path, say=reporter.say, tokenizers=tokenizers)
    run = runs / recipe.name
    durable.make_folder(run)
    with durable.lock(run / ".lock"), stop or StopRequest() as request:
        for warning in durable.clean_leftovers(run):
            reporter.say(f"warning: {warning}")
        durable.probe(run)
        kept_recipe = dump_recipe(recipe)
        model = build_model(recipe.model, *(t.n_ids for t in prepared.tokenizers))
        torch.manual_seed(recipe.train.seed)
        initialize(model, recipe.model.initialization)
        model.use(choice.kernels)
        if origin is not None:
            _take_over(model, origin, parent)
        lineage = {
            "data": prepared.folder.name,
            "parent": None if parent is None else hashlib.sha256(parent.read_bytes()).hexdigest(),
            "nmt": VERSION,
            "torch": torch.__version__,
        }
        publish = _publisher(run / "model.safetensors", recipe, prepared, lineage)
        trainer = Trainer(recipe, model, prepared, run, target_device, reporter, publish)
        trainer.begin({**fixed_keys(recipe), "data": lineage["data"], "parent": lineage["parent"]})
        durable.write_file(run / "recipe.yaml", kept_recipe.encode())
        start = {
            "time": now(),
            "update": trainer.progress.update,
            "commit": _commit(),
            "versions": {"nmt": lineage["nmt"], "torch": torch.__version__, "python": platform.python_version()},
            "device": _device_name(target_device),
            "threads": torch.get_num_threads(),
            "dtype": recipe.compute.dtype,
            "kernels": {"asked": recipe.compute.kernels, **choice.forms},
            "seed": recipe.train.seed,
            "recipe_file": str(recipe_path),
            "recipe": hashlib.sha256(kept_recipe.encode()).hexdigest(),
            "data": lineage["data"],
            "parameters": sum(p.numel() for p in model.parameters()),
            "same_bytes": target_device.type == "cpu" or recipe.compute.deterministic,
        }
        trainer.log.write("start", **start)
        reporter.say(
            f"{recipe.name}: {recipe.model.kind}, {start['parameters']:,} parameters, {start['device']}, "
            f"{recipe.compute.dtype}, {start['threads']} threads"
            + (f"; going on from update {trainer.progress.update:,}" if trainer.progress.update else "")
        )
        reporter.say(str(choice))
        reason = trainer.run(request)
        reporter.live("")
        return _finish(trainer, recipe, prepared, run, reason, request)


def _finish(trainer: Trainer, recipe: Recipe, prepared: Prepared, run: Path, reason: str, stop: StopRequest) -> Trained:
    """Chooses between the best weights and their average, scores the test text, and says what to type next."""
    say, progress = trainer.reporter.say, trainer.progress
    assert progress.best is not None, "the last update is always validated"
    trainer.model.compute_dtype = getattr(torch, translation_dtype(trainer.device, recipe.compute.dtype))
    updates = [progress.best.update]
    weights = trainer.best_weights(updates)
    trainer.load_weights(weights)
    result = trainer.measure()
    _heed(stop)
    averaged = trainer.kept_candidates()
    if len(averaged) > 1:
        mean = trainer.best_weights(averaged)
        trainer.load_weights(mean)
        of_mean = trainer.measure()
        say(f"average of updates {', '.join(map(str, averaged))}: BLEU {of_mean.bleu.score:.2f}")
        _heed(stop)
        if of_mean.bleu.score >= result.bleu.score:
            updates, weights, result = averaged, mean, of_mean
        trainer.load_weights(weights)
    scores, test = {"validation": result.bleu}, None
    if prepared.test is not None:
        shard = prepared.test
        sources = [shard.src_ids(i) for i in range(len(shard))]
        translations = translate(trainer.model, sources, prepared.tokenizers[1], recipe.search)
        _heed(stop)
        tokenize = offline_tokenizer_for(recipe.corpus.tgt)
        test = scores["test"] = bleu(translations, [shard.tgt_lines()], tokenize=tokenize)
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


def _heed(stop: StopRequest) -> None:
    if stop.signal_number is not None:
        raise Stopped(
            "stopped before the final scores; all updates are done and saved",
            "the same command goes on from here",
            stop.signal_number,
        )


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
