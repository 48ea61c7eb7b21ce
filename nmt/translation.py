"""What becomes of a line: its translations, and what is known of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One translation of a line.

    pieces        what the model wrote, as the target tokenizer cuts it
    score         log P / length + coverage, as SearchConfig words it; of a line translated in parts, the mean of
                  theirs; nan: a given translation that could not be scored
    log_prob      log P itself, natural logarithm, each end of sentence counted; of a line in parts, the sum of theirs
    token_scores  of each piece its log-probability, after the source and the pieces before it; together they are
                  log_prob without what the end of sentence (of each part) counts
    alignment     (source piece, target piece) from 0 on, for each target piece the source piece that got most attention
                  (the mean of layers and heads; end of sentence left out); None where not asked for, or without
                  attention
    cut           the search reached the greatest length before it ended
    looped        the same pieces stand several times in a row, which the source does not explain (loops.py)
    unknown       pieces the vocabulary lacks; each is replaced by the source word with most attention where words are
                  the pieces
    """

    translation: str
    score: float
    log_prob: float = 0.0
    pieces: tuple[str, ...] = ()
    token_scores: tuple[float, ...] = ()
    alignment: tuple[tuple[int, int], ...] | None = None
    cut: bool = False
    looped: bool = False
    unknown: int = 0


@dataclass(frozen=True)
class Translation:
    """What became of a line.

    pieces      the line as the source tokenizer cuts it: what the model saw
    hypotheses  at least one, best first (samples in the order of their numbers); of an empty or blank line the empty
                translation (or its prefix) with score 0; of a pair that was scored the translation that was given
    parts       1; more where the line was too long and translated in parts; 0 where there was nothing to translate
    prefix      what the translation had to begin with; None where none was asked for
    """

    source: str
    pieces: tuple[str, ...]
    hypotheses: tuple[Candidate, ...]
    parts: int
    prefix: str | None = None

    @property
    def translation(self) -> str:
        """The first translation, the best one, without any line break."""
        return self.hypotheses[0].translation

    @property
    def score(self) -> float:
        """The score of the best translation."""
        return self.hypotheses[0].score

    @property
    def log_prob(self) -> float:
        """The log-probability of the best translation."""
        return self.hypotheses[0].log_prob

    @property
    def alignment(self) -> tuple[tuple[int, int], ...] | None:
        """The alignment of the best translation."""
        return self.hypotheses[0].alignment

    @property
    def cut(self) -> bool:
        """Whether the best translation reached the greatest length before it ended."""
        return self.hypotheses[0].cut

    @property
    def looped(self) -> bool:
        """Whether the best translation repeats itself without end."""
        return self.hypotheses[0].looped

    @property
    def unknown(self) -> int:
        """Pieces of the best translation that the vocabulary lacks."""
        return self.hypotheses[0].unknown
