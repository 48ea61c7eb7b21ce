"""Lines in, translations out: one for each, in order, whatever the line holds. What Python users import.

    translator = Translator.load(Path("runs/multi30k/model.safetensors"))
    for found in translator.translate(open("input.txt", encoding="utf-8")):
        print(found.translation)

Lines are taken in windows; within a window sentences are sorted by length, so that a batch holds little padding.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, Self

import torch

from nmt.batch import EOS, SPECIALS, UNK, pad_rows
from nmt.corpus.tokenizer import Tokenizer, Words, split_words
from nmt.errors import EnvironmentFault, UsageError
from nmt.model_file import ModelFile, build, read_model
from nmt.models.contract import Seq2Seq
from nmt.ops.choose import choose_device, translation_dtype, translation_kernels
from nmt.recipe import SearchConfig
from nmt.search.beam import search
from nmt.search.ensemble import Ensemble
from nmt.search.hypothesis import Hypothesis
from nmt.search.sampling import Sampling, sample
from nmt.translation import Candidate, Translation

WINDOW_LINES = 1024
WINDOW_CHARACTERS = 1 << 20
"""What a window holds at most (one line always fits): enough to find sentences of like length for many batches."""
_BATCH_TOKENS = 65_536
"""Source tokens times beam that are searched at once; with `batch` sentences at most."""

# Whatever some program takes for the end of a line, or cannot stand in a line, becomes a space in a translation.
_BREAKS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
_SURROGATES = re.compile("[\ud800-\udfff]")
# Where a line that is too long is cut: after the end of a sentence, else a clause, else a word; the first that occurs.
_CUTS = tuple(map(re.compile, (r"[.!?…][\"'”»)]*\s+|[。！？]", r"[,;:–—]\s+|[，；：、]", r"\s+")))
_UNSPACED = {"zh", "ja", "th", "lo", "km", "my"}
"""Languages whose sentences stand side by side without a space."""


@dataclass(frozen=True)
class _Part:
    """A line, or a part of a long one: text, ids without EOS, the words behind the ids where words are pieces, the
    numbers of line and part, by which samples are drawn, and the beginning its translation must have, as text and ids.
    """

    text: str
    ids: list[int]
    words: list[str] | None
    key: tuple[int, int] = (0, 0)
    prefix: str = ""
    prefix_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class _How:
    """How to search: `width` hypotheses a sentence."""

    config: SearchConfig
    n_best: int
    want_weights: bool
    batch: int
    sampling: Sampling | None

    @property
    def width(self) -> int:
        return self.n_best if self.sampling else self.config.beam


class Translator:
    """A model with its tokenizers, ready to translate."""

    def __init__(
        self,
        model: Seq2Seq,
        src_tokenizer: Tokenizer,
        tgt_tokenizer: Tokenizer,
        config: SearchConfig,
        *,
        max_pieces: int = 100,
        tgt_language: str = "",
    ) -> None:
        """`max_pieces` of a source sentence, end of sentence not counted; longer lines are translated in parts."""
        self.model, self.config, self.max_pieces = model.eval(), config, max_pieces
        self.src_tokenizer, self.tgt_tokenizer = src_tokenizer, tgt_tokenizer
        self.device = next(model.parameters()).device
        self._space = space_between(tgt_language)

    @classmethod
    def load(
        cls,
        paths: Path | Sequence[Path],
        *,
        device: str = "auto",
        dtype: Literal["float32", "bfloat16"] | None = None,
    ) -> Self:
        """The translator in a model file, or in several: an ensemble (search/ensemble.py) of any kinds of model.

        Lines longer than the recipe's corpus.max_len, which it never saw, go in parts. Of an ensemble the search
        section is that of the first file, and the least max_len counts. `device` is auto, cpu or cuda; `dtype` None is
        the recipe's compute.dtype on a GPU and float32 elsewhere. UsageError where the vocabularies of several differ,
        ModelError for a file that is missing or damaged, EnvironmentFault for a device that is not there.
        """
        paths = [paths] if isinstance(paths, Path) else list(paths)
        if not paths:
            raise UsageError("no model was named", "name one: --model PATH")
        where = choose_device(device)
        first, *others = [read_model(path) for path in paths]
        for path, other in zip(paths[1:], others, strict=True):
            _check_vocabularies(paths[0], first, path, other)
        models = [_ready(m, where, dtype) for m in (first, *others)]
        return cls(
            models[0] if len(models) == 1 else Ensemble(models),
            first.src_tokenizer,
            first.tgt_tokenizer,
            first.recipe.search,
            max_pieces=max(1, min(m.recipe.corpus.max_len for m in (first, *others)) - 1),
            tgt_language=first.recipe.corpus.tgt,
        )

    @classmethod
    def of(
        cls, m: ModelFile, *, device: str = "auto", dtype: Literal["float32", "bfloat16"] | None = None
    ) -> "Translator":
        """The translator of a model file that was read already; the rest as for `load`."""
        return Translator(
            _ready(m, choose_device(device), dtype),
            m.src_tokenizer,
            m.tgt_tokenizer,
            m.recipe.search,
            max_pieces=max(1, m.recipe.corpus.max_len - 1),
            tgt_language=m.recipe.corpus.tgt,
        )

    def translate(
        self,
        lines: Iterable[str],
        *,
        beam: int | None = None,
        n_best: int = 1,
        alignments: bool = False,
        batch: int | None = None,
        sampling: Sampling | None = None,
        prefixes: Iterable[str] | None = None,
    ) -> Iterator[Translation]:
        """A translation for every line, in order; takes 1,024 lines (or a million characters) before it gives the
        first.

        beam      hypotheses kept, None for the recipe's
        n_best    translations of each line, at most
        batch     sentences searched at once, at most; 1 makes every line's result independent of its neighbours to the
                  last bit, None is 64, and 256 on a GPU
        sampling  draws translations at random instead of searching for the best, n_best of each line: what is drawn
                  depends on the seed, the line, its number and nothing else
        prefixes  what each line's translation begins with, empty for nothing; it may go on within the last word. The
                  target tokenizer cuts it; where that normalises text, it is the given text that comes out, unless the
                  pieces after it change how it is written (detokenised words). Of a line translated in parts the first
                  begins with it
        Errors as for `search`, and EnvironmentFault where a single sentence exhausts the memory.
        """
        waiting, first_line = iter(lines), 1
        beginnings = None if prefixes is None else iter(prefixes)
        while window := _window(waiting):
            yield from self.translate_window(
                window,
                beam=beam,
                n_best=n_best,
                alignments=alignments,
                batch=batch,
                sampling=sampling,
                prefixes=None if beginnings is None else list(islice(beginnings, len(window))),
                first_line=first_line,
            )
            first_line += len(window)

    def translate_window(
        self,
        lines: Sequence[str],
        *,
        beam: int | None = None,
        n_best: int = 1,
        alignments: bool = False,
        batch: int | None = None,
        sampling: Sampling | None = None,
        prefixes: Sequence[str] | None = None,
        first_line: int = 1,
    ) -> list[Translation]:
        """As `translate`, for lines that are all there, in one window that begins at line number `first_line`."""
        config = self.config if beam is None else self.config.model_copy(update={"beam": beam})
        if sampling is None and n_best > config.beam:
            what = f"{n_best} translations of each line need a beam of {n_best}, not {config.beam}"
            raise UsageError(what, "raise --beam")
        words = isinstance(self.tgt_tokenizer, Words)
        batch = batch or (256 if self.device.type == "cuda" else 64)
        how = _How(config, n_best, alignments or words, batch, sampling)
        beginnings = [_SURROGATES.sub("\ufffd", text).strip(" ") for text in prefixes or [""] * len(lines)]
        parts = [
            [self._placed(part, (number, j), prefix if j == 0 else "") for j, part in enumerate(self._parts(line))]
            for number, (line, prefix) in enumerate(zip(lines, beginnings, strict=True), first_line)
        ]
        units = [part for of_line in parts for part in of_line]
        found = self._search(units, how)
        candidates = iter([self._candidates(unit, best, alignments) for unit, best in zip(units, found, strict=True)])
        return [
            self._joined(line, of_line, list(islice(candidates, len(of_line))), alignments, prefix)
            for line, of_line, prefix in zip(lines, parts, beginnings, strict=True)
        ]

    # --- before the search --------------------------------------------------------------------------------------------

    def _parts(self, line: str) -> list[_Part]:
        """What the line is translated as: nothing where it is blank, one part, or several where it is too long."""
        text = _SURROGATES.sub("\ufffd", line)
        if not text or text.isspace():
            return []
        # A character is at least a piece in no tokenizer, but a line of a megabyte is not worth trying whole.
        if len(text) <= 50 * self.max_pieces:
            part = self._encoded(text)
            if not part.ids:
                return []
            if len(part.ids) <= self.max_pieces or len(text) == 1:
                return [part]
        at = _middle_cut(text)
        code = self.src_tokenizer.code(text)
        again = code if 4 * len(code) < len(text) else ""  # else the second part might be as long as the whole
        return [*self._parts(text[:at]), *self._parts(again + text[at:])]

    def _encoded(self, text: str) -> _Part:
        tokenizer = self.src_tokenizer
        words = split_words(text, tokenizer.moses) if isinstance(tokenizer, Words) else None
        return _Part(text, tokenizer.encode([text])[0], words)

    def _placed(self, part: _Part, key: tuple[int, int], prefix: str) -> _Part:
        ids = tuple(self.tgt_tokenizer.encode([prefix])[0]) if prefix else ()
        return replace(part, key=key, prefix=prefix, prefix_ids=ids)

    # --- the search ---------------------------------------------------------------------------------------------------

    def _search(self, units: list[_Part], how: _How) -> list[list[Hypothesis]]:
        """The hypotheses of every unit; longest first, so that a lack of memory shows at once."""
        order = sorted(range(len(units)), key=lambda i: -len(units[i].ids))
        found: list[list[Hypothesis]] = [[] for _ in units]
        while order:
            n_tokens = (len(units[order[0]].ids) + 1) * how.width
            n_rows = max(1, min(how.batch, _BATCH_TOKENS // n_tokens))
            rows, order = order[:n_rows], order[n_rows:]
            bests = self._search_rows([units[i] for i in rows], how)
            for i, best in zip(rows, bests, strict=True):
                found[i] = best
        return found

    def _search_rows(self, rows: list[_Part], how: _How) -> list[list[Hypothesis]]:
        """One batch, halved where the memory is too small for it: a line is never lost to its neighbours."""
        try:
            src = pad_rows([[*part.ids, EOS] for part in rows]).to(self.device)
            forced = any(part.prefix_ids for part in rows)
            prefix = pad_rows([part.prefix_ids for part in rows]).to(self.device) if forced else None
            n, weights = how.n_best, how.want_weights
            if how.sampling is None:
                return search(self.model, src, how.config, n_best=n, prefix=prefix, want_weights=weights)
            keys = [part.key for part in rows]
            return sample(self.model, src, how.config, how.sampling, keys, n=n, prefix=prefix, want_weights=weights)
        except (torch.OutOfMemoryError, MemoryError):
            if len(rows) == 1:
                kind, flag = ("beam", "--beam") if how.sampling is None else ("samples", "--n-best")
                what = f"a sentence of {len(rows[0].ids):,} pieces at {kind} {how.width} exhausts the memory"
                raise EnvironmentFault(what, f"use a smaller {flag}") from None
        middle = len(rows) // 2
        halves = (rows[:middle], rows[middle:])
        return [best for half in halves for best in self._search_rows(half, how)]

    # --- after the search ---------------------------------------------------------------------------------------------

    def _candidates(self, part: _Part, hypotheses: list[Hypothesis], alignments: bool) -> list[Candidate]:
        return [self._candidate(part, hypothesis, alignments) for hypothesis in hypotheses]

    def _candidate(self, part: _Part, hypothesis: Hypothesis, alignments: bool) -> Candidate:
        ids = hypothesis.ids
        pieces = self.tgt_tokenizer.pieces(ids)
        looked: list[int] | None = None
        if hypothesis.alignment is not None:
            looked = hypothesis.alignment[: len(ids), : len(part.ids)].argmax(1).tolist()
        unknown = ids.count(UNK)
        written = list(pieces)
        if unknown and looked is not None and part.words is not None and isinstance(self.tgt_tokenizer, Words):
            # Luong et al. 2015b (arXiv:1410.8206), without their dictionary: the word itself is copied.
            for t in range(len(part.prefix_ids), len(ids)):
                written[t] = part.words[looked[t]] if ids[t] == UNK else pieces[t]
        text = self.tgt_tokenizer.join(written) if unknown else self.tgt_tokenizer.decode([ids])[0]
        head = self.tgt_tokenizer.decode([part.prefix_ids])[0] if part.prefix_ids else ""
        if head and text.startswith(head):
            text = part.prefix + text[len(head) :]
        return Candidate(
            translation=_BREAKS.sub(" ", _SURROGATES.sub("\ufffd", text)),
            score=hypothesis.score,
            pieces=tuple(pieces),
            alignment=tuple((s, t) for t, s in enumerate(looked)) if alignments and looked is not None else None,
            cut=not hypothesis.ended,
            unknown=unknown,
        )

    def _joined(
        self, line: str, parts: list[_Part], found: list[list[Candidate]], alignments: bool, prefix: str
    ) -> Translation:
        """The translation of a line from those of its parts; the n-th best of it is made of the n-th best of each."""
        pieces = tuple(piece for part in parts for piece in self._src_pieces(part))
        if not parts:
            return Translation(
                line, (), (Candidate(_BREAKS.sub(" ", prefix), 0.0, alignment=() if alignments else None),), 0
            )
        if len(parts) == 1:
            return Translation(line, pieces, tuple(found[0]), 1)
        rows = [self._join(parts, row) for row in zip(*found, strict=False)]
        return Translation(line, pieces, tuple(rows), len(parts))

    def _join(self, parts: list[_Part], row: Sequence[Candidate]) -> Candidate:
        alignment: list[tuple[int, int]] | None = []
        n_src = n_tgt = 0
        for part, candidate in zip(parts, row, strict=True):
            if candidate.alignment is None:
                alignment = None
                break
            alignment += [(n_src + s, n_tgt + t) for s, t in candidate.alignment]
            n_src, n_tgt = n_src + len(part.ids), n_tgt + len(candidate.pieces)
        return Candidate(
            translation=self._space.join(text for candidate in row if (text := candidate.translation.strip(" "))),
            score=sum(candidate.score for candidate in row) / len(row),
            pieces=tuple(piece for candidate in row for piece in candidate.pieces),
            alignment=None if alignment is None else tuple(alignment),
            cut=any(candidate.cut for candidate in row),
            unknown=sum(candidate.unknown for candidate in row),
        )

    def _src_pieces(self, part: _Part) -> list[str]:
        """The part's pieces, with the words themselves where the vocabulary lacks them."""
        pieces = self.src_tokenizer.pieces(part.ids)
        if part.words is None:
            return pieces
        return [word if piece == SPECIALS[UNK] else piece for piece, word in zip(pieces, part.words, strict=True)]


def space_between(language: str) -> str:
    """What stands between two sentences of a language."""
    return "" if re.split("[-_]", language)[0].lower() in _UNSPACED else " "


def _ready(m: ModelFile, device: torch.device, dtype: Literal["float32", "bfloat16"] | None) -> Seq2Seq:
    """The model of a file on the device, with the precision and the kernels that it translates with."""
    chosen = dtype or translation_dtype(device, m.recipe.compute.dtype)
    compute = m.recipe.compute.model_copy(update={"dtype": chosen})
    model = build(replace(m, recipe=m.recipe.model_copy(update={"compute": compute})), device)
    model.use(translation_kernels(compute.kernels, device, chosen, model.all_operations()))
    return model


def _check_vocabularies(path: Path, first: ModelFile, other_path: Path, other: ModelFile) -> None:
    """Raises UsageError where two files cut text differently, or number its pieces differently."""
    differing = [
        side
        for side, one, two in (
            ("source", first.src_tokenizer, other.src_tokenizer),
            ("target", first.tgt_tokenizer, other.tgt_tokenizer),
        )
        if one.to_bytes() != two.to_bytes()
    ]
    if differing:
        raise UsageError(
            f"{other_path}: its {' and '.join(differing)} vocabulary is not that of {path}",
            "the models of an ensemble are trained with the same corpus and tokenizer sections",
        )


def _window(lines: Iterator[str]) -> list[str]:
    """The next lines, as many as a window holds."""
    window: list[str] = []
    n_characters = 0
    for line in lines:
        window.append(line)
        n_characters += len(line)
        if len(window) >= WINDOW_LINES or n_characters >= WINDOW_CHARACTERS:
            break
    return window


def _middle_cut(text: str) -> int:
    """Where a text of two characters or more is best cut in two: at the mark nearest to its middle."""
    middle = len(text) // 2
    for cut in _CUTS:
        # Only the middle half is searched: each part has three quarters at most, so few cuts are enough.
        ends = [match.end() for match in cut.finditer(text, len(text) // 4, len(text) - len(text) // 4)]
        if ends := [at for at in ends if at < len(text)]:
            return min(ends, key=lambda at: abs(at - middle))
    return middle
