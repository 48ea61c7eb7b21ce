"""What `nmt translate` writes of a line: text, scores or JSON; and what it tells of all of them at the end."""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nmt.translation import Candidate, Translation

_SHOWN = 5
# JSON need not escape these, and many programs end a line there; they can only stand within strings.
_LINE_ENDS = re.compile("[\x7f\x85\u2028\u2029]")


def line(found: Translation, alignments: bool) -> str:
    """The plain output for a line, without its end; without attention the part after the tab stays empty."""
    return f"{found.translation}\t{_pharaoh(found)}" if alignments else found.translation


def score_line(found: Translation, alignments: bool) -> str:
    """The plain output for a pair that was scored: score, log P and how many pieces that is the product of, each end of
    sentence counted, with tabs between them (and before the alignment); nothing where there is no score.
    """
    best = found.hypotheses[0]
    if math.isnan(best.score):
        return ""
    counted = len(best.pieces) + found.parts
    fields = [f"{_rounded(best.score):.6f}", f"{_rounded(best.log_prob):.6f}", str(counted)]
    return "\t".join([*fields, _pharaoh(found)] if alignments else fields)


def _pharaoh(found: Translation) -> str:
    return " ".join(f"{s}-{t}" for s, t in found.alignment or ())


def record(found: Translation, n_best: int = 1) -> str:
    """The JSON object for a line, on one line.

    source         the line (with --prefix and --score-target what stands before its tab)
    source_pieces  how the model saw it
    parts          in how many parts it was translated: 1, 0 where there was nothing to translate
    prefix         only with --prefix: what the translation had to begin with
    and of the best translation, or the one that was given:
    translation, score, log_prob, pieces, token_scores, alignment (pairs [source piece, target piece], null without
    attention), cut, looped, unknown: `Candidate` says what they mean
    hypotheses     only with n_best above 1: a list of objects with these nine keys, best first

    A number that is none (a probability of 0, a pair that could not be scored) is null. token_scores and log_prob have
    six decimals.
    """
    values: dict[str, Any] = {"source": found.source, "source_pieces": found.pieces, "parts": found.parts}
    if found.prefix is not None:
        values["prefix"] = found.prefix
    values |= _values(found.hypotheses[0])
    if n_best > 1:
        values["hypotheses"] = [_values(candidate) for candidate in found.hypotheses]
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    return _LINE_ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _values(candidate: Candidate) -> dict[str, Any]:
    return {
        "translation": candidate.translation,
        "score": _number(candidate.score),
        "log_prob": _number(_rounded(candidate.log_prob)),
        "pieces": candidate.pieces,
        "token_scores": [_number(_rounded(one)) for one in candidate.token_scores],
        "alignment": candidate.alignment,
        "cut": candidate.cut,
        "looped": candidate.looped,
        "unknown": candidate.unknown,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _rounded(value: float) -> float:
    return round(value, 6) + 0.0  # -0.0 becomes 0.0


@dataclass
class Notes:
    """What people should know of the lines that passed: how many there were of a kind, and the first of them.

    n_lines  lines that have passed, those that were skipped counted
    given    the translations were given, so that nothing is to be said of them
    aligned  alignments were asked for
    """

    n_lines: int = 0
    given: bool = False
    aligned: bool = False
    kinds: dict[str, list[int]] = field(default_factory=dict)
    attends: bool = False
    writes: bool = False

    def take(self, found: Sequence[Translation]) -> None:
        """These are the next lines."""
        for one in found:
            self.n_lines += 1
            self.attends |= one.alignment is not None and one.parts > 0
            self.writes |= one.parts > 0
            if one.parts > 1:
                self._count("longer than the model has learned, translated in parts")
            if one.cut:
                self._count("cut at the greatest length: the model found no end")
            if one.looped and not self.given:
                self._count("with the same words over and over (--set search.no_repeat_ngram=4 forbids that)")

    def _count(self, kind: str) -> None:
        numbers = self.kinds.setdefault(kind, [0])
        numbers[0] += 1
        if numbers[0] <= _SHOWN:
            numbers.append(self.n_lines)

    def tell(self, say: Callable[[str], None]) -> None:
        """A line for each kind, and one where there could be no alignments."""
        if self.aligned and self.writes and not self.attends:
            say("this model has no attention, so there are no alignments")
        for kind, (count, *first) in self.kinds.items():
            more = ", ..." if count > len(first) else ""
            say(f"{count:,} line{'s' if count > 1 else ''} {kind}: {', '.join(map(str, first))}{more}")
