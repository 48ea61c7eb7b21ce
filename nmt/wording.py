"""Lines to pieces and hypotheses to text: what stands on both sides of the search."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from nmt.batch import SPECIALS, UNK
from nmt.corpus.tokenizer import Tokenizer, Words, split_words
from nmt.loops import looped
from nmt.search.hypothesis import Hypothesis
from nmt.translation import Candidate, Translation

# Whatever some program takes for the end of a line, or cannot stand in a line, becomes a space in a translation.
_BREAKS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_UNSPACED = {"zh", "ja", "th", "lo", "km", "my"}
"""Languages whose sentences stand side by side without a space."""


# Where a line that is too long is cut: after the end of a sentence, else a clause, else a word; the first that occurs.
_CUTS = tuple(map(re.compile, (r"[.!?…][\"'”»)]*\s+|[。！？]", r"[,;:–—]\s+|[，；：、]", r"\s+")))


def sound(text: str) -> str:
    """The text with U+FFFD in the place of each half of a surrogate pair, which no encoder takes."""
    return _SURROGATES.sub("\ufffd", text)


@dataclass(frozen=True)
class Part:
    """A line, or a part of a long one: text, ids without EOS, the words behind the ids where words are pieces, the
    numbers of line and part, by which samples are drawn, and the beginning its translation must have, as text and ids.
    """

    text: str
    ids: list[int]
    words: list[str] | None
    key: tuple[int, int] = (0, 0)
    prefix: str = ""
    prefix_ids: tuple[int, ...] = ()


class Wording:
    """The tokenizers of a model, and how parts of a line become one line again."""

    def __init__(self, src_tokenizer: Tokenizer, tgt_tokenizer: Tokenizer, tgt_language: str) -> None:
        self.src_tokenizer, self.tgt_tokenizer = src_tokenizer, tgt_tokenizer
        self.space = "" if re.split("[-_]", tgt_language)[0].lower() in _UNSPACED else " "

    def part(self, text: str) -> Part:
        """A source text in its pieces."""
        tokenizer = self.src_tokenizer
        words = split_words(text, tokenizer.moses) if isinstance(tokenizer, Words) else None
        return Part(text, tokenizer.encode([text])[0], words)

    def candidates(self, part: Part, hypotheses: list[Hypothesis], alignments: bool) -> list[Candidate]:
        """What the search found for a part, as text, in the same order."""
        return [self.candidate(part, hypothesis, alignments) for hypothesis in hypotheses]

    def candidate(self, part: Part, hypothesis: Hypothesis, alignments: bool) -> Candidate:
        """A hypothesis as text; its alignment where asked for."""
        ids = hypothesis.ids
        pieces = self.tgt_tokenizer.pieces(ids)
        looked: list[int] | None = None
        if hypothesis.alignment is not None:
            looked = hypothesis.alignment[: len(ids), : len(part.ids)].argmax(1).tolist() if part.ids else []
        unknown = ids.count(UNK)
        written = list(pieces)
        if unknown and looked and part.words is not None and isinstance(self.tgt_tokenizer, Words):
            # Luong et al. 2015b (arXiv:1410.8206), without their dictionary: the word itself is copied.
            for t in range(len(part.prefix_ids), len(ids)):
                written[t] = part.words[looked[t]] if ids[t] == UNK else pieces[t]
        text = self.tgt_tokenizer.join(written) if unknown else self.tgt_tokenizer.decode([ids])[0]
        head = self.tgt_tokenizer.decode([part.prefix_ids])[0] if part.prefix_ids else ""
        if head and text.startswith(head):
            text = part.prefix + text[len(head) :]
        log_probs = hypothesis.token_log_probs
        return Candidate(
            translation=_BREAKS.sub(" ", sound(text)),
            score=hypothesis.score,
            log_prob=math.fsum(log_probs) if log_probs else -math.inf,
            pieces=tuple(pieces),
            token_scores=tuple(log_probs[: len(ids)]),
            alignment=tuple((s, t) for t, s in enumerate(looked)) if alignments and looked is not None else None,
            cut=not hypothesis.ended,
            looped=looped(ids, part.ids),
            unknown=unknown,
        )

    def joined(
        self, line: str, parts: list[Part], found: list[list[Candidate]], alignments: bool, prefix: str
    ) -> Translation:
        """The translation of a line from those of its parts; the n-th best of it is made of the n-th best of each."""
        pieces = tuple(piece for part in parts for piece in self.src_pieces(part))
        if not parts:
            nothing = Candidate(_BREAKS.sub(" ", prefix), 0.0, alignment=() if alignments else None)
            return Translation(line, (), (nothing,), 0)
        if len(parts) == 1:
            return Translation(line, pieces, tuple(found[0]), 1)
        rows = [self._join(parts, row) for row in zip(*found, strict=False)]
        return Translation(line, pieces, tuple(rows), len(parts))

    def _join(self, parts: list[Part], row: Sequence[Candidate]) -> Candidate:
        alignment: list[tuple[int, int]] | None = []
        n_src = n_tgt = 0
        for part, candidate in zip(parts, row, strict=True):
            if candidate.alignment is None:
                alignment = None
                break
            alignment += [(n_src + s, n_tgt + t) for s, t in candidate.alignment]
            n_src, n_tgt = n_src + len(part.ids), n_tgt + len(candidate.pieces)
        return Candidate(
            translation=self.space.join(text for candidate in row if (text := candidate.translation.strip(" "))),
            score=sum(candidate.score for candidate in row) / len(row),
            log_prob=math.fsum(candidate.log_prob for candidate in row),
            pieces=tuple(piece for candidate in row for piece in candidate.pieces),
            token_scores=tuple(one for candidate in row for one in candidate.token_scores),
            alignment=None if alignment is None else tuple(alignment),
            cut=any(candidate.cut for candidate in row),
            looped=any(candidate.looped for candidate in row),
            unknown=sum(candidate.unknown for candidate in row),
        )

    def src_pieces(self, part: Part) -> list[str]:
        """The part's pieces, with the words themselves where the vocabulary lacks them."""
        pieces = self.src_tokenizer.pieces(part.ids)
        if part.words is None:
            return pieces
        return [word if piece == SPECIALS[UNK] else piece for piece, word in zip(pieces, part.words, strict=True)]


def middle_cut(text: str) -> int:
    """Where a text of two characters or more is best cut in two: at the mark nearest to its middle."""
    middle = len(text) // 2
    for cut in _CUTS:
        # Only the middle half is searched: each part has three quarters at most, so few cuts are enough.
        ends = [match.end() for match in cut.finditer(text, len(text) // 4, len(text) - len(text) // 4)]
        if ends := [at for at in ends if at < len(text)]:
            return min(ends, key=lambda at: abs(at - middle))
    return middle
