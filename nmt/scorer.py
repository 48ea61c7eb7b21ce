"""What a model thinks of given pairs, batch by batch: `Translator.score` without its door."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from math import nan

import torch

from nmt.batch import padded_batch
from nmt.corpus.tokenizer import Tokenizer
from nmt.errors import EnvironmentFault
from nmt.models.contract import Seq2Seq
from nmt.recipe import SearchConfig
from nmt.search.hypothesis import Hypothesis
from nmt.search.scoring import score
from nmt.translation import Candidate, Translation
from nmt.wording import Part, Wording, sound

SCORED_PIECES = 5_000
"""Pieces of a side of a pair, at most, for its score to be worth the memory."""
_SCORED_TOKENS = 16_384
"""Target positions that are scored at once."""

_Pair = tuple[Part, list[int]]
"""A source, and the ids of its given translation without EOS."""


class Scorer:
    """A model and its wording, as a Translator has them."""

    def __init__(
        self,
        model: Seq2Seq,
        wording: Wording,
        tgt_tokenizer: Tokenizer,
        config: SearchConfig,
        in_use: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """in_use: what the model's products are made with while it works."""
        self.model, self.config, self.tgt_tokenizer = model, config, tgt_tokenizer
        self.device = next(model.parameters()).device
        self._wording, self._in_use = wording, in_use

    def score(self, pairs: Sequence[tuple[str, str]], alignments: bool, batch: int) -> list[Translation]:
        """A translation for every (source, target): that target with its score, nan where it is too long for one."""
        found = [self._unscored(source, target) for source, target in pairs]
        # Empty targets are scored too: what the model thinks of saying nothing.
        sides = {i: side for i, pair in enumerate(pairs) if (side := self._sides(*pair)) is not None}
        order = sorted(sides, key=lambda i: -_width(sides[i]))
        while order:
            n_rows = max(1, min(batch, _SCORED_TOKENS // _width(sides[order[0]])))
            rows, order = order[:n_rows], order[n_rows:]
            scored = self._score_rows([sides[i] for i in rows], alignments)
            for i, hypothesis in zip(rows, scored, strict=True):
                part = sides[i][0]
                candidate = replace(self._wording.candidate(part, hypothesis, alignments), translation=pairs[i][1])
                found[i] = Translation(pairs[i][0], tuple(self._wording.src_pieces(part)), (candidate,), 1)
        return found

    def _sides(self, source: str, target: str) -> _Pair | None:
        """Both in their pieces; None where there is nothing to score, or too much."""
        texts = sound(source), sound(target)
        if not any(text.strip() for text in texts) or max(map(len, texts)) > 50 * SCORED_PIECES:
            return None
        pair = self._wording.part(texts[0]), self.tgt_tokenizer.encode(texts[1:])[0]
        return None if _width(pair) > SCORED_PIECES + 1 else pair

    def _unscored(self, source: str, target: str) -> Translation:
        value = nan if source.strip() or target.strip() else 0.0
        return Translation(source, (), (Candidate(target, value, value),), 0)

    def _score_rows(self, rows: list[_Pair], alignments: bool) -> list[Hypothesis]:
        """One batch, halved where the memory is too small for it."""
        try:
            pairs = padded_batch([part.ids for part, _ in rows], [tgt for _, tgt in rows]).to(self.device)
            with self._in_use():
                return score(self.model, pairs, self.config, want_weights=alignments)
        except (torch.OutOfMemoryError, MemoryError):
            if len(rows) == 1:
                what = f"a pair of {len(rows[0][0].ids):,} and {len(rows[0][1]):,} pieces exhausts the memory"
                raise EnvironmentFault(what, "leave this pair out, or use --device cpu") from None
        middle = len(rows) // 2
        return [found for half in (rows[:middle], rows[middle:]) for found in self._score_rows(half, alignments)]


def _width(pair: _Pair) -> int:
    """Positions that the longer side takes, its end counted."""
    return max(len(pair[0].ids), len(pair[1])) + 1
