"""`nmt translate`: standard input to standard output, one line out for every line in, in order, whatever the bytes.

A thread reads lines into a queue of bounded size; a window closes when it is full or when no more input is there, and
its translations are written at once. So a line typed into a pipe is answered before the next one comes, and a file of
millions of lines is translated in large batches in constant memory.
"""

import json
import re
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from math import isnan, nan
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from nmt.commands.engine import exported_translator
from nmt.commands.lines import Inbox, Signals, length_of, on_terminal, read, unbuffered, write
from nmt.commands.output import Notes, line, record, score_line
from nmt.corpus.text import BadLine, LineReport
from nmt.errors import DataError, UsageError
from nmt.ops.ready import Precision
from nmt.processes import cores
from nmt.recipe import SearchConfig
from nmt.runs import models_to_use
from nmt.scorer import SCORED_PIECES
from nmt.search.sampling import Sampling
from nmt.talk import Progress, Silence
from nmt.training.allocator import keep_memory
from nmt.translation import Candidate, Translation
from nmt.translator import Translator
from nmt.workers import can_fork

_LONGEST = 9_999

Shows = Callable[[str, int | None, str], AbstractContextManager[Progress]]
"""How work of a known size is shown: its description, its size, and what it counts."""


def translate(
    models: Sequence[Path] = (),
    *,
    beam: int | None = None,
    n_best: int = 1,
    alignments: bool = False,
    as_json: bool = False,
    device: str = "auto",
    precision: Precision | None = None,
    batch: int | None = None,
    workers: int | None = None,
    sample: bool = False,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    prefix: bool = False,
    score_target: bool = False,
    max_len: str | None = None,
    shortlist: Path | None = None,
    skip: int = 0,
    engine: str = "nmt",
    overrides: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
    shows: Shows | None = None,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> None:
    """Translates stdin to stdout (the process's own by default) with model files or runs' folders, or what
    `models_to_use` finds.

    Several models translate together, as an ensemble (`Translator.load`, which says what precisions there are).
    `workers` None is one for each core, on a CPU. `max_len` is a formula for `with_max_len`,
    `shortlist` a lexicon.
    `engine` is nmt or ctranslate2 (commands/engine.py).
    `overrides` are `search.KEY=VALUE`. `say` gets what is not a result: the name of a model that was picked, lines that
    were cut or split. `shows` makes a bar of (what is done, lines in all, their name), which is used where the input
    has a length and the output goes elsewhere than to a terminal. Output and errors as for `translate_stream`; also
    UsageError, ModelError and EnvironmentFault before anything is read.
    """
    if score_target:
        check_scoring(beam=beam, n_best=n_best, sample=sample, prefix=prefix, max_len=max_len, shortlist=shortlist)
    if max_len is not None:
        with_max_len(SearchConfig(), max_len)  # what is wrong with it shows before a model is read
    sampling = sampling_of(sample, beam=beam, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    keep_memory()
    paths = models_to_use(models, say)
    if engine == "ctranslate2":
        asked = {"--sample": sample, "--prefix": prefix, "--score-target": score_target, "--shortlist": shortlist}
        for flag in (flag for flag, on in asked.items() if on):
            raise UsageError(f"--engine ctranslate2 goes without {flag}", f"leave out {flag} or the engine")
        translator = exported_translator(
            paths, device=device, precision=precision or "float32", workers=workers, alignments=alignments, say=say
        )
    else:
        workers = workers or (cores() if can_fork() else 1)
        translator = Translator.load(paths, device=device, precision=precision, workers=workers, shortlist=shortlist)
        if translator.why_plain:
            say(f"slower than it could be, without compiled functions: {translator.why_plain}")
    translator.config = overridden(translator.config, overrides)
    if engine == "ctranslate2" and translator.config.length_formula == "gnmt":
        say("CTranslate2 has no length_formula gnmt: it ranks by average, with the same length_penalty")
    if max_len is not None:
        translator.config = with_max_len(translator.config, max_len)
    source, sink = stdin or sys.stdin.buffer, stdout or sys.stdout.buffer
    n_lines = None if shows is None or on_terminal(sink) else length_of(source)
    shows = Silence().progress if shows is None or n_lines is None else shows
    with shows("score" if score_target else "translate", max(0, (n_lines or 0) - skip), "lines") as progress:
        translate_stream(
            source,
            sink,
            translator,
            beam=beam,
            n_best=n_best,
            alignments=alignments,
            as_json=as_json,
            batch=batch,
            sampling=sampling,
            prefix=prefix,
            score_target=score_target,
            skip=skip,
            say=say,
            progress=progress,
        )


def check_scoring(**asked: object) -> None:
    """UsageError where a flag that says how to translate stands beside --score-target; `n_best` 1 says nothing."""
    for name, value in asked.items():
        if value and (name, value) != ("n_best", 1):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"--score-target scores the translations that it is given, {flag} says how to make them",
                f"leave out one of the two: {flag} or --score-target",
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


def with_max_len(config: SearchConfig, formula: str) -> SearchConfig:
    """The search section with a greatest length as people write it: 50 pieces, or 2x+10 by the x pieces of the source.

    UsageError for what is no such formula, and for lengths of no piece or of more than 9,999 (a source piece each).
    """
    text = "".join(formula.split()).lower()
    numbers = re.fullmatch(r"(?:([0-9]*\.?[0-9]+)?\*?(x))?(?:(?(2)\+)([0-9]+))?", _x_first(text))
    if not text or numbers is None:
        raise UsageError(
            f"--max-len {formula}: this is no length",
            "write pieces as a number, 50, or by the pieces x of the source: 2x+10",
        )
    ratio = float(numbers[1] or 1) if numbers[2] else 0.0
    extra = int(numbers[3] or 0)
    if ratio + extra == 0 or max(ratio, extra) > _LONGEST:
        raise UsageError(f"--max-len {formula}: it must be between 1 and {_LONGEST:,} pieces", "write it like 2x+10")
    return config.model_copy(update={"max_len_ratio": ratio, "max_len_extra": extra})


def _x_first(formula: str) -> str:
    """10+2x as 2x+10."""
    first, plus, second = formula.partition("+")
    return f"{second}+{first}" if plus and second.endswith("x") and first.isdecimal() else formula


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
    score_target: bool = False,
    skip: int = 0,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> None:
    """Writes to `sink` a line for every line of `source` after the first `skip`, in order; an empty line for an empty
    one.

    With `prefix` an input line is a source, a tab and what its translation begins with (further tabs count as spaces);
    no tab, no prefix. With `score_target` it is a source, a tab and its translation, which is not translated but
    scored (`Translator.score`, `score_line`); an empty line comes out for what cannot be scored.

    By default a line is the translation. With `alignments` a tab follows (a translation holds none) and `source-target`
    pairs as in Pharaoh, `0-0 1-2`, which count the pieces that the model saw and wrote, from 0; words where the
    vocabulary is of words. With `sampling` translations are drawn, `n_best` of a line. With `as_json`, and whenever
    `n_best` is above 1, it is a JSON object (`record` has its keys). Written in whole lines: whatever stops it,
    complete lines that are a true beginning of the output are there, so that as many lines skipped give the rest. Lines
    keep their numbers then, and with them their samples.

    Raises, after everything was written, DataError with the numbers of the lines that were no text (they were
    translated with U+FFFD in the place of what could not be read) and of those that could not be scored, or where there
    were less than `skip` lines. Raises, when it can go no further: DataError and EnvironmentFault of the reader,
    EnvironmentFault where the sink refuses (full), BrokenPipeError where its reader is gone, KeyboardInterrupt, Stopped
    on SIGTERM, and what the search raises.
    """
    as_json = as_json or n_best > 1

    notes, unscored = Notes(skip, given=score_target, aligned=alignments), LineReport("standard input")

    def translated(window: Sequence[str]) -> list[Translation]:
        if score_target:
            return scored(window, translator, unscored, notes.n_lines + 1, alignments=alignments, batch=batch)
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

    def written(one: Translation) -> str:
        if as_json:
            return record(one, n_best)
        return score_line(one, alignments) if score_target else line(one, alignments)

    translated([])  # what is wrong with the settings shows before anything is read
    report = LineReport("standard input")
    inbox = Inbox()
    reading = (unbuffered(source), report, inbox, prefix or score_target, skip)
    reader = threading.Thread(target=read, args=reading, daemon=True)
    raw = unbuffered(sink)
    try:
        with Signals() as signals:
            reader.start()
            while window := inbox.window():
                found = translated(window)
                with signals.held_back():
                    write(raw, "".join(f"{written(one)}\n" for one in found).encode())
                notes.take(found)
                if progress is not None:
                    progress.advance(len(found))
    finally:
        inbox.abandon()
    notes.tell(say)
    if translator.why_eager:
        say(f"slower than it could be, without CUDA graphs: {translator.why_eager}")
    if inbox.fault is not None:
        raise inbox.fault
    assert inbox.complete, "the reading thread died"
    if report.lines < skip:
        raise DataError(
            f"standard input has {report.lines:,} line{'' if report.lines == 1 else 's'}, less than --skip {skip} says",
            "is this the input of the output so far?",
        )
    if report.bad or unscored.bad:
        raise _bad_lines(report, unscored)


def scored(
    window: Sequence[str],
    translator: Translator,
    unscored: LineReport,
    first_line: int,
    *,
    alignments: bool = False,
    batch: int | None = None,
) -> list[Translation]:
    """The lines `SOURCE<TAB>TARGET` (further tabs count as spaces) from number `first_line` on, scored; the lines that
    cannot be go into the report `unscored`, and have the score nan.
    """
    cut = [text.partition("\t") for text in window]
    pairs = [(source, target.replace("\t", " ")) for source, tab, target in cut if tab]
    found = iter(translator.score_window(pairs, alignments=alignments, batch=batch))
    lines = [next(found) if tab else Translation(source, (), (Candidate("", nan, nan),), 0) for source, tab, _ in cut]
    for number, (one, (_, tab, _)) in enumerate(zip(lines, cut, strict=True), first_line):
        if isnan(one.score):
            why = f"a side has more than {SCORED_PIECES:,} pieces" if tab else "no tab between source and target"
            unscored.add_bad(BadLine(number, 1, why))
    return lines


def _bad_lines(report: LineReport, unscored: LineReport) -> DataError:
    """What to raise for lines that were no text, and for lines that could not be scored."""
    hints = []
    if report.bad:
        which, what = ("lines that are no text", "scored") if unscored.bad else ("these lines", "translated")
        hints.append(f"{which} were {what} with U+FFFD where they could not be read")
    if unscored.bad:
        hints.append("lines without a score are empty; with --score-target each line is SOURCE<TAB>TARGET")
    return DataError("\n".join([*report.describe_bad(), *unscored.describe_bad()]), "\n".join(hints))
