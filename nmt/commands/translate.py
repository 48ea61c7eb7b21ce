"""`nmt translate`: standard input to standard output, one line out for every line in, in order, whatever the bytes.

A thread reads lines into a queue of bounded size; a window closes when it is full or when no more input is there, and
its translations are written at once. So a line typed into a pipe is answered before the next one comes, and a file of
millions of lines is translated in large batches in constant memory.
"""

import json
import math
import re
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from nmt.commands.engine import exported_translator
from nmt.commands.lines import Inbox, Signals, read, unbuffered, write
from nmt.corpus.text import LineReport
from nmt.errors import DataError, UsageError
from nmt.recipe import SearchConfig
from nmt.runs import newest_run
from nmt.search.sampling import Sampling
from nmt.translation import Candidate, Translation
from nmt.translator import Translator

_SHOWN = 5
# JSON need not escape these, and many programs end a line there; they can only stand within strings.
_LINE_ENDS = re.compile("[\x7f\x85\u2028\u2029]")


def translate(
    models: Sequence[Path] = (),
    *,
    beam: int | None = None,
    n_best: int = 1,
    alignments: bool = False,
    as_json: bool = False,
    device: str = "auto",
    batch: int | None = None,
    sample: bool = False,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    prefix: bool = False,
    engine: str = "nmt",
    overrides: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> None:
    """Translates stdin to stdout (the process's own by default) with a model file or a run's folder, or the newest run.

    Several models translate together, as an ensemble (`Translator.load`). `engine` is nmt or ctranslate2
    (commands/engine.py).
    `overrides` are `search.KEY=VALUE`. `say` gets what is not a result: the name of a model that was picked, lines that
    were cut or split. Output and errors as for `translate_stream`; also UsageError, ModelError and EnvironmentFault
    before anything is read.
    """
    sampling = sampling_of(sample, beam=beam, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    paths = [path / "model.safetensors" if path.is_dir() else path for path in models]
    if not paths:
        run = newest_run(Path("runs"))
        say(f"model: {run}")
        paths = [run / "model.safetensors"]
    if engine == "ctranslate2":
        if sample or prefix:
            flag = "--sample" if sample else "--prefix"
            raise UsageError(f"--engine ctranslate2 goes without {flag}", f"leave out {flag} or the engine")
        translator = exported_translator(models or paths, device=device, alignments=alignments, say=say)
    else:
        translator = Translator.load(paths, device=device)
    translator.config = overridden(translator.config, overrides)
    if engine == "ctranslate2" and translator.config.length_formula == "gnmt":
        say("CTranslate2 has no length_formula gnmt: it ranks by average, with the same length_penalty")
    translate_stream(
        stdin or sys.stdin.buffer,
        stdout or sys.stdout.buffer,
        translator,
        beam=beam,
        n_best=n_best,
        alignments=alignments,
        as_json=as_json,
        batch=batch,
        sampling=sampling,
        prefix=prefix,
        say=say,
    )


def sampling_of(
    sample: bool,
    *,
    beam: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Sampling | None:
    """What the flags of `nmt translate` ask for; None for a search. UsageError where they do not go together."""
    asked = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    given = {name: value for name, value in asked.items() if value is not None}
    if not sample:
        if given:
            flag = next(iter(given)).replace("_", "-")
            raise UsageError(f"--{flag} says how to draw translations at random", "add --sample, or leave it out")
        return None
    if beam is not None:
        raise UsageError(
            "--sample draws translations at random, --beam searches for the best", "choose one; --n-best counts samples"
        )
    return Sampling(**given)


def overridden(config: SearchConfig, overrides: Sequence[str]) -> SearchConfig:
    """The search section changed by `search.KEY=VALUE`, in their order; UsageError for what it cannot be."""
    values = config.model_dump()
    for override in overrides:
        key, equals, text = override.partition("=")
        section, _, name = key.strip().partition(".")
        if not equals or section != "search" or name not in values:
            raise UsageError(
                f"--set {override}: only the search can be changed in a trained model",
                f"use one of {', '.join(f'search.{name}' for name in values)}",
            )
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text.strip()
    try:
        return SearchConfig.model_validate(values)
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"--set search.{where}: {first['msg'].lower()}, not {first['input']!r}") from None


def translate_stream(
    source: BinaryIO,
    sink: BinaryIO,
    translator: Translator,
    *,
    beam: int | None = None,
    n_best: int = 1,
    alignments: bool = False,
    as_json: bool = False,
    batch: int | None = None,
    sampling: Sampling | None = None,
    prefix: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Writes to `sink` a line for every line of `source`, in order; an empty line for an empty one.

    With `prefix` an input line is a source, a tab and what its translation begins with (further tabs count as spaces);
    no tab, no prefix.

    By default a line is the translation. With `alignments` a tab follows (a translation holds none) and `source-target`
    pairs as in Pharaoh, `0-0 1-2`, which count the pieces that the model saw and wrote, from 0; words where the
    vocabulary is of words. With `sampling` translations are drawn, `n_best` of a line. With `as_json`, and whenever
    `n_best` is above 1, it is a JSON object (`record` has its keys). Written in whole lines: whatever stops it,
    complete lines that are a true beginning of the output are there.

    Raises, after everything was written, DataError with the numbers of the lines that were no text (they were
    translated with U+FFFD in the place of what could not be read). Raises, when it can go no further: DataError and
    EnvironmentFault of the reader, EnvironmentFault where the sink refuses (full), BrokenPipeError where its reader is
    gone, KeyboardInterrupt, Stopped on SIGTERM, and what the search raises.
    """
    as_json = as_json or n_best > 1

    notes = _Notes()

    def translated(window: Sequence[str]) -> list[Translation]:
        cut = [text.partition("\t") for text in window] if prefix else [(text, "", "") for text in window]
        return translator.translate_window(
            [text for text, _, _ in cut],
            beam=beam,
            n_best=n_best,
            alignments=alignments or as_json,
            batch=batch,
            sampling=sampling,
            prefixes=[beginning.replace("\t", " ") for _, _, beginning in cut] if prefix else None,
            first_line=notes.n_lines + 1,
        )

    translated([])  # what is wrong with the settings shows before anything is read
    report = LineReport("standard input")
    inbox = Inbox()
    reader = threading.Thread(target=read, args=(unbuffered(source), report, inbox, prefix), daemon=True)
    raw = unbuffered(sink)
    try:
        with Signals() as signals:
            reader.start()
            while window := inbox.window():
                found = translated(window)
                lines = [record(one, n_best) if as_json else line(one, alignments) for one in found]
                with signals.held_back():
                    write(raw, "".join(f"{text}\n" for text in lines).encode())
                notes.take(found)
    finally:
        inbox.abandon()
    notes.tell(say)
    if inbox.fault is not None:
        raise inbox.fault
    assert inbox.complete, "the reading thread died"
    if report.bad:
        raise DataError(
            "\n".join(report.describe_bad()), "these lines were translated with U+FFFD where they could not be read"
        )


def line(found: Translation, alignments: bool) -> str:
    """The plain output for a line, without its end; without attention the part after the tab stays empty."""
    if not alignments:
        return found.translation
    return f"{found.translation}\t{' '.join(f'{s}-{t}' for s, t in found.alignment or ())}"


def record(found: Translation, n_best: int = 1) -> str:
    """The JSON object for a line, on one line.

    source, source_pieces, parts; of the best translation: translation, score, pieces, alignment (pairs [source piece,
    target piece], null without attention), cut, unknown (`Candidate` says what they mean); with n_best above 1 also
    `hypotheses`, a list of objects with these six keys, best first.
    """
    values: dict[str, Any] = {"source": found.source, "source_pieces": found.pieces, "parts": found.parts}
    values |= _values(found.hypotheses[0])
    if n_best > 1:
        values["hypotheses"] = [_values(candidate) for candidate in found.hypotheses]
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    return _LINE_ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _values(candidate: Candidate) -> dict[str, Any]:
    return {
        "translation": candidate.translation,
        "score": candidate.score if math.isfinite(candidate.score) else None,
        "pieces": candidate.pieces,
        "alignment": candidate.alignment,
        "cut": candidate.cut,
        "unknown": candidate.unknown,
    }


@dataclass
class _Notes:
    """What people should know of the lines that passed: how many there were of a kind, and the first of them."""

    n_lines: int = 0
    kinds: dict[str, list[int]] = field(default_factory=dict)

    def take(self, found: Sequence[Translation]) -> None:
        for one in found:
            self.n_lines += 1
            if one.parts > 1:
                self._count("longer than the model has learned, translated in parts")
            if one.cut:
                self._count("cut at the greatest length: the model found no end")

    def _count(self, kind: str) -> None:
        numbers = self.kinds.setdefault(kind, [0])
        numbers[0] += 1
        if numbers[0] <= _SHOWN:
            numbers.append(self.n_lines)

    def tell(self, say: Callable[[str], None]) -> None:
        for kind, (count, *first) in self.kinds.items():
            more = ", ..." if count > len(first) else ""
            say(f"{count:,} line{'s' if count > 1 else ''} {kind}: {', '.join(map(str, first))}{more}")
