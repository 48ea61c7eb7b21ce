"""`nmt translate --info`: what a model is, from the header of its file, without its weights and without torch."""

import json
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

from nmt.model_header import Header, read_header
from nmt.runs import models_to_use


def info(models: Sequence[Path] = (), *, as_json: bool = False, say: Callable[[str], None] = lambda line: None) -> str:
    """What each model is that `models_to_use` finds: lines for people, or with `as_json` a JSON object a line.

    Raises ModelError and EnvironmentFault as `read_header` does.
    """
    told = [(path, facts(path, read_header(path))) for path in models_to_use(models, say)]
    if as_json:
        return "\n".join(json.dumps(found, ensure_ascii=False) for _, found in told)
    return "\n\n".join("\n".join(_lines(path, found)) for path, found in told)


def facts(path: Path, header: Header) -> dict[str, Any]:
    """The keys of the JSON object.

    file, size       its path and bytes
    name             of the run that trained it
    src, tgt         languages, as the recipe names them
    kind, model      the kind of model, and the model section of its recipe
    parameters       tied ones once; `dtype`: how the file holds them
    src_vocab, tgt_vocab, tokenizer   ids of each side, and the tokenizer section
    max_pieces       of a source sentence: longer lines are translated in parts
    search           the search section: what `nmt translate` does by itself
    updates          that trained the weights; several: the weights are their mean
    scores           by name of the text, with their signatures
    lineage          versions and commit of the program, hash of the data, `parent`: sha256 of the model that training
                     began with; `init`: its name in the recipe
    format, needs    of the file, and the first nmt that reads it
    """
    recipe, lineage = header.recipe, dict(header.metadata.lineage)
    weights = {name: entry for name, entry in header.tensors.items() if not name.startswith("tokenizer.")}
    src = weights.get("src_embed.weight")
    tgt = weights.get("tgt_embed.weight", src)  # tied embeddings stand under the first name
    return {
        "file": str(path),
        "size": header.size,
        "name": recipe.name,
        "src": recipe.corpus.src,
        "tgt": recipe.corpus.tgt,
        "kind": recipe.model.kind,
        "model": recipe.model.model_dump(mode="json"),
        "parameters": sum(prod(shape) for _, shape in weights.values()),
        "dtype": " ".join(sorted({dtype for dtype, _ in weights.values()})),
        "src_vocab": src[1][0] if src else None,
        "tgt_vocab": tgt[1][0] if tgt else None,
        "tokenizer": recipe.tokenizer.model_dump(mode="json"),
        "max_pieces": max(1, recipe.corpus.max_len - 1),
        "search": recipe.search.model_dump(mode="json"),
        "updates": lineage.pop("updates", []),
        "scores": lineage.pop("scores", {}),
        "lineage": {**lineage, "init": recipe.train.init},
        "format": header.metadata.format,
        "needs": header.metadata.needs,
    }


def _lines(path: Path, found: dict[str, Any]) -> list[str]:
    """The same for people."""
    lineage = found["lineage"]
    rows = [
        ("translates", f"{found['src']} to {found['tgt']}"),
        ("kind", f"{found['kind']}, {found['parameters']:,} parameters ({found['dtype']}, {_size(found['size'])})"),
        (
            "vocabulary",
            f"{_ids(found['src_vocab'])} source ids, {_ids(found['tgt_vocab'])} target ids: {_pieces(found)}",
        ),
        ("longest", f"{found['max_pieces']:,} source pieces; longer lines are translated in parts"),
        ("search", ", ".join(f"{name} {value}" for name, value in found["search"].items())),
        ("run", f"{found['name']}{_updates(found['updates'])}"),
        ("began with", _parent(lineage)),
        ("data", str(lineage.get("data") or "unknown")),
        *((f"{name} score", _score(score)) for name, score in found["scores"].items()),
        ("written by", ", ".join(_program(lineage))),
        ("format", f"{found['format']}, for nmt {found['needs']} and later"),
    ]
    width = max(len(name) for name, _ in rows)
    return [str(path), *(f"  {name:<{width}}  {text}" for name, text in rows)]


def _ids(n: int | None) -> str:
    return "unknown" if n is None else f"{n:,}"


def _pieces(found: dict[str, Any]) -> str:
    return f"{found['tokenizer']['kind']}{', one vocabulary' if found['tokenizer']['joint'] else ''}"


def _updates(updates: list[int]) -> str:
    named = ", ".join(f"{n:,}" for n in updates)
    return "" if not updates else f", update {named}" if len(updates) == 1 else f", mean of updates {named}"


def _parent(lineage: dict[str, Any]) -> str:
    parent = lineage.get("parent")
    return f"{lineage['init']} (sha256 {str(parent)[:12]})" if parent else "random weights"


def _score(score: Any) -> str:
    if isinstance(score, dict) and isinstance(score.get("BLEU"), int | float):
        return f"BLEU {score['BLEU']:.2f} ({score.get('signature')})"
    return json.dumps(score)


def _program(lineage: dict[str, Any]) -> list[str]:
    named = [f"{name} {lineage[name]}" for name in ("nmt", "torch") if lineage.get(name)]
    commit = lineage.get("commit")
    return [*named, f"commit {str(commit)[:12]}" if commit else "an unknown commit"]


def _size(n: int) -> str:
    return f"{n / 1e6:,.1f} MB" if n >= 1e6 else f"{n / 1e3:,.1f} kB"
