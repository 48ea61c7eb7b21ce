"""nmt score: BLEU, chrF and TER of translations against references, with sacreBLEU's figures and signatures."""

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from nmt.corpus.pairs import find_files
from nmt.corpus.text import LineReport, bad_text_error, open_text, scan_lines
from nmt.errors import DataError, UsageError
from nmt.metrics import Score, check_tokenizer, corpus_scores, tokenizer_for
from nmt.recipe_file import load_recipe
from nmt.runs import newest_run, recipe_file_of

# Where subword-nmt joins (also cut off at the end of a line), and sentencepiece's sign for a space.
_SUBWORDS = re.compile("@@(?= |$)|\u2581")

# Scripts of languages that 13a cannot split into words, and what to name instead. Japanese mixes its own signs with
# Chinese ones, so a share of kana decides before a share of Chinese characters does.
_SCRIPTS = (
    ("Japanese", re.compile("[\u3040-\u30ff]"), 0.2, "--lang ja (or --tokenize char)"),
    ("Chinese", re.compile("[\u3400-\u4dbf\u4e00-\u9fff]"), 0.3, "--lang zh"),
    ("Korean", re.compile("[\uac00-\ud7a3]"), 0.3, "--lang ko (or --tokenize char)"),
    ("Thai, Lao, Khmer or Burmese", re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]"), 0.3, "--tokenize char"),
)
_SCRIPT_LINES = 1000


@dataclass(frozen=True)
class Input:
    """A file that was scored: its name as given, the sha256 of its bytes, and its number of lines."""

    name: str
    sha256: str
    lines: int


@dataclass(frozen=True)
class Report:
    """What `score` found: the figures under BLEU, chrF and TER, what they were made from, and what looks odd in it."""

    scores: dict[str, Score]
    hyp: Input
    refs: tuple[Input, ...]
    warnings: tuple[str, ...]


def score(
    ref: Path | None = None,
    hyp: Path | BinaryIO | None = None,
    *,
    more_refs: Sequence[Path] = (),
    tokenize: str | None = None,
    lang: str | None = None,
    lowercase: bool = False,
    force: bool = False,
    runs: Path = Path("runs"),
) -> Report:
    """BLEU, chrF and TER of the hypotheses, line by line against one or more references.

    ref        file of references; None for the target side of the test text of the newest run in `runs`.
    hyp        file of hypotheses, or an open binary stream; None for standard input. Any of them may be gzip.
    more_refs  further references, each with as many lines.
    tokenize   one of metrics.TOKENIZERS; None for what sacreBLEU prescribes for the language.
    lang       target language, as a tag; None for the newest run's where its reference is used, else unknown (13a).
    lowercase  ignore case in BLEU and chrF too.
    force      score text that still is in subwords.

    Raises DataError for unequal numbers of lines (before anything is scored), no lines, text that is not UTF-8 or still
    in subwords; UsageError, ModelError or EnvironmentFault for what is named and not there. Opens no socket.
    """
    if ref is None:
        ref, language = _newest_reference(runs)
        lang = lang or language
    if tokenize is None and lang is not None:
        tokenize = tokenizer_for(lang)
    tokenize = check_tokenizer(tokenize)

    reader = _Reader()
    ref_texts = [reader.read(path) for path in (ref, *more_refs)]
    hyps = reader.read(sys.stdin.buffer if hyp is None else hyp)
    reader.refuse_bad_text()
    inputs = reader.inputs
    for other in inputs[:-1]:
        if other.lines != inputs[-1].lines:
            raise DataError(
                f"{inputs[-1].name} has {inputs[-1].lines:,} lines, {other.name} {other.lines:,}: "
                "line n of one must answer line n of the other",
                "nothing was scored; look for a lost or an extra line break, or for another test set",
            )
    if not hyps:
        raise DataError(f"{inputs[-1].name} has no lines to score", "did the translation fail?")
    if not force:
        for text, source in zip([*ref_texts, hyps], inputs, strict=True):
            _refuse_subwords(text, source.name)
    warnings = (
        *_separators(reader.reports),
        *_empty(hyps, inputs[-1].name),
        *_tokenized(hyps, inputs[-1].name),
        *_wrong_tokenizer(ref_texts[0], inputs[0].name, tokenize),
    )
    return Report(corpus_scores(hyps, ref_texts, tokenize, lowercase), inputs[-1], tuple(inputs[:-1]), warnings)


def score_lines(report: Report, decimals: int = 2) -> str:
    """The figures as sacreBLEU's own command prints them (`-f text -w DECIMALS`): NAME|SIGNATURE = SCORE DETAILS."""
    names = [f"{score.name}|{score.signature}" for score in report.scores.values()]
    width = max(map(len, names))
    figures = [f"{score.score:.{decimals}f} {score.details}".rstrip() for score in report.scores.values()]
    return "\n".join(f"{name:>{width}} = {figure}" for name, figure in zip(names, figures, strict=True))


def score_json(report: Report) -> str:
    """One line of JSON: {"BLEU": {"score", "signature", ...}, "chrF", "TER", "hypotheses", "references", "warnings"}.

    Scores are not rounded. "hypotheses" and each of "references" hold "file", "sha256" and "lines".
    """
    out: dict[str, Any] = {}
    for key, score in report.scores.items():
        out[key] = {"score": score.score, "signature": score.signature}
        if score.details:
            out[key]["details"] = score.details
    files = [{"file": each.name, "sha256": each.sha256, "lines": each.lines} for each in (report.hyp, *report.refs)]
    out |= {"hypotheses": files[0], "references": files[1:], "warnings": list(report.warnings)}
    return json.dumps(out, ensure_ascii=False)


def _newest_reference(runs: Path) -> tuple[Path, str]:
    """The target side of the test text of the newest run, and its language."""
    hint = "name the reference: nmt score REF [HYP]"
    run = newest_run(runs)
    corpus = load_recipe(run / "recipe.yaml").corpus
    if corpus.test is None:
        raise UsageError(f"{run}/recipe.yaml names no corpus.test to score against", hint)
    # The run's own copy of the recipe lies elsewhere: its file names start from where the recipe lay.
    files = find_files(corpus, recipe_file_of(run))
    assert files.test is not None
    return files.test.tgt, corpus.tgt


class _Hashed:
    """A stream that hashes what passes."""

    def __init__(self, stream: BinaryIO) -> None:
        # read1 where there is one: a reader of a pipe should get what has come.
        self._read = getattr(stream, "read1", stream.read)
        self.sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._read(size) or b""
        self.sha256.update(data)
        return data


class _Reader:
    """Reads files by the line rule of corpus/text.py; remembers what they were, and tells bad text of all at once."""

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self.reports: list[LineReport] = []

    def read(self, source: Path | BinaryIO) -> list[str]:
        """The lines of a file or an open stream."""
        if not isinstance(source, Path):
            return self._read(source, "standard input")
        with open_text(source) as stream:
            return self._read(stream, str(source))

    def _read(self, stream: BinaryIO, name: str) -> list[str]:
        report = LineReport(name)
        hashed = _Hashed(stream)
        lines = [line for line, _ in scan_lines(cast(BinaryIO, hashed), report)]
        self.reports.append(report)
        self.inputs.append(Input(name, hashed.sha256.hexdigest(), len(lines)))
        return lines

    def refuse_bad_text(self) -> None:
        """DataError where any line of any file is not text."""
        bad = [report for report in self.reports if report.bad]
        if bad:
            raise bad_text_error(bad, "scores need clean text (for Latin-1: iconv -f latin1 -t utf-8)")


def _refuse_subwords(lines: Sequence[str], name: str) -> None:
    found = [(number, mark[0]) for number, line in enumerate(lines, 1) if (mark := _SUBWORDS.search(line))]
    if found:
        number, mark = found[0]
        raise DataError(
            f'{name}:{number}: "{mark}" is left of a subword ({len(found):,} of {len(lines):,} lines have such)',
            "scores of subwords compare with nothing: join them to words first, or insist with --force",
        )


def _separators(reports: Sequence[LineReport]) -> list[str]:
    return [
        f"{report.name}: {report.separators:,} tabs or other separators inside lines count as spaces"
        for report in reports
        if report.separators
    ]


def _empty(hyps: Sequence[str], name: str) -> list[str]:
    n = sum(1 for line in hyps if not line.strip())
    if n == len(hyps):
        return [f"{name}: all {n:,} lines are empty"]
    return [f"{name}: {n:,} of {len(hyps):,} lines are empty"] if n else []


def _tokenized(hyps: Sequence[str], name: str) -> list[str]:
    # sacreBLEU's own rule and its own number.
    n = sum(1 for line in hyps if line.rstrip().endswith(" ."))
    if n < 100:
        return []
    return [f'{name}: {n:,} lines end in " .": it seems to be tokenised still, and its scores compare with nothing']


def _wrong_tokenizer(ref: Sequence[str], name: str, tokenize: str) -> list[str]:
    if tokenize not in ("13a", "intl"):
        return []
    text = "".join("".join(ref[:_SCRIPT_LINES]).split())
    for language, script, share, advice in _SCRIPTS:
        if len(script.findall(text)) > share * len(text):
            return [f"{name}: this looks like {language}, which {tokenize} does not split into words: give {advice}"]
    return []
