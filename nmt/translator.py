"""Lines in, translations out: one for each, in order, whatever the line holds. What Python users import.

    translator = Translator.load(Path("runs/multi30k/model.safetensors"))
    for found in translator.translate(open("input.txt", encoding="utf-8")):
        print(found.translation)

Lines are taken in windows; within a window sentences are sorted by length, so that a batch holds little padding.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Self

import torch

from nmt.batch import EOS, pad_rows
from nmt.corpus.lexicon import Lexicon, read_lexicon
from nmt.corpus.tokenizer import Tokenizer, Words
from nmt.errors import EnvironmentFault, UsageError
from nmt.model_file import ModelFile, build, check_vocabularies, read_model
from nmt.models.contract import Seq2Seq
from nmt.ops.choose import choose_device, translation_dtype, translation_kernels
from nmt.ops.ready import Precision, Ready, worth_readying
from nmt.recipe import SearchConfig
from nmt.scorer import Scorer
from nmt.search.beam import search
from nmt.search.dealing import deal
from nmt.search.device import DeviceSearch
from nmt.search.ensemble import Ensemble
from nmt.search.hypothesis import Hypothesis
from nmt.search.sampling import Sampling, sample
from nmt.search.shortlist import Shortlist
from nmt.translation import Candidate, Translation
from nmt.wording import Part, Wording, middle_cut, sound
from nmt.workers import Workers

WINDOW_LINES = 1024
WINDOW_CHARACTERS = 1 << 20
"""What a window holds at most (one line always fits): enough to find sentences of like length for many batches."""
_AT_ONCE = 163_840
"""Hypotheses that are searched at once on a CPU, times the width of the model's embeddings: 640 of 256, with half of
which a Transformer takes a fifth longer; of wide models fewer are enough, and take the same memory.
"""
_BATCH_TOKENS = 65_536
"""Source tokens times beam that are searched at once; with `batch` sentences at most."""


@dataclass(frozen=True)
class How:
    """How to search: `width` hypotheses a sentence."""

    config: SearchConfig
    n_best: int
    alignments: bool
    want_weights: bool
    batch: int
    sampling: Sampling | None

    @property
    def width(self) -> int:
        """Hypotheses of each sentence."""
        return self.n_best if self.sampling else self.config.beam


_Job = tuple[list[Part], How]
"""A batch and how to search it."""


class Translator:
    """A model with its tokenizers, ready to translate."""

    _on_device: DeviceSearch | None = None
    _at_once = _AT_ONCE // 256

    def __init__(
        self,
        model: Seq2Seq,
        src_tokenizer: Tokenizer,
        tgt_tokenizer: Tokenizer,
        config: SearchConfig,
        *,
        max_pieces: int = 100,
        tgt_language: str = "",
        ready: Ready | None = None,
        workers: int = 1,
        lexicon: Lexicon | None = None,
        on_device: bool | None = None,
    ) -> None:
        """`max_pieces` of a source sentence, end of sentence not counted; longer lines are translated in parts.

        ready: the model's matrices as the search uses them; workers: processes that search; lexicon: where shortlists
        come from. on_device: whether beam search stays on the device (search/device.py); None: on a GPU.
        """
        self.model, self.config, self.max_pieces = model.eval(), config, max_pieces
        self.src_tokenizer, self.tgt_tokenizer = src_tokenizer, tgt_tokenizer
        self.device = next(model.parameters()).device
        widths = [table.shape[1] for name, table in model.named_parameters() if name.endswith("src_embed.weight")]
        self._at_once = _AT_ONCE // max(widths, default=256)
        self._wording = Wording(src_tokenizer, tgt_tokenizer, tgt_language)
        self._ready, self._n_workers, self._lexicon = ready, workers, lexicon
        on_device = self.device.type == "cuda" if on_device is None else on_device
        self._on_device = DeviceSearch.on(self.model, self.device) if on_device else None
        self._workers: Workers[_Job, list[list[Candidate]]] | None = None

    @classmethod
    def load(
        cls,
        paths: Path | Sequence[Path],
        *,
        device: str = "auto",
        precision: Precision | None = None,
        workers: int = 1,
        shortlist: Path | None = None,
    ) -> Self:
        """The translator in a model file, or in several: an ensemble (search/ensemble.py) of any kinds of model.

        Lines longer than the recipe's corpus.max_len, which it never saw, go in parts. Of an ensemble the search
        section is that of the first file, and the least max_len counts.

        device     auto, cpu or cuda
        precision  of matrix products: float32, bfloat16, or on CPUs int8 (ops/ready.py); None is the recipe's
                   compute.dtype on a GPU and float32 elsewhere
        workers    processes that search, on a CPU: copies of this one with a thread each, made by the first window of
                   lines that is worth it
        shortlist  a lexicon of `nmt prepare --lexicon`: each line is translated with the target pieces that it lists
                   for the line's source pieces (and those of its prefix) alone, and scores are of the softmax over
                   these (search/shortlist.py); `score` goes without

        UsageError where vocabularies differ, ModelError for a file that is missing or damaged, EnvironmentFault for a
        device or a precision that is not there.
        """
        paths = [paths] if isinstance(paths, Path) else list(paths)
        if not paths:
            raise UsageError("no model was named", "name one: --model PATH")
        where = choose_device(device)
        first, *others = [read_model(path) for path in paths]
        for path, other in zip(paths[1:], others, strict=True):
            check_vocabularies(paths[0], first, path, other)
        models = [_built(m, where, precision) for m in (first, *others)]
        model = models[0] if len(models) == 1 else Ensemble(models)
        chosen: Precision = precision or "float32"
        lexicon = None if shortlist is None else read_lexicon(shortlist)
        if lexicon is not None and shortlist is not None:
            lexicon.check(shortlist, first.src_tokenizer, first.tgt_tokenizer)
        plain = any(m.recipe.compute.kernels == "plain" for m in (first, *others))
        return cls(
            model,
            first.src_tokenizer,
            first.tgt_tokenizer,
            first.recipe.search,
            max_pieces=max(1, min(m.recipe.corpus.max_len for m in (first, *others)) - 1),
            tgt_language=first.recipe.corpus.tgt,
            ready=Ready(model, chosen, plain) if worth_readying(where, chosen) else None,
            workers=workers if where.type == "cpu" else 1,
            lexicon=lexicon,
        )

    @property
    def why_plain(self) -> str:
        """On a CPU that could not have the compiled functions of ops/native.py, why that is; else empty."""
        return self._ready.why_plain if self._ready else ""

    @property
    def why_eager(self) -> str:
        """On a GPU where a step of the search could not be recorded as a CUDA graph, why that is; else empty."""
        return self._on_device.why_eager if self._on_device else ""

    @classmethod
    def of(cls, m: ModelFile, *, device: str = "auto", precision: Precision | None = None) -> "Translator":
        """The translator of a model file that was read already; the rest as for `load`."""
        return Translator(
            _built(m, choose_device(device), precision),
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
        window: int | None = None,
    ) -> Iterator[Translation]:
        """A translation for every line, in order; takes a window of lines before it gives the first of them.

        beam      hypotheses kept, None for the recipe's
        n_best    translations of each line, at most
        batch     sentences searched at once, at most; 1 makes every line's result independent of its neighbours to the
                  last bit, None is 32 to 512 by the beam and the model's width, and 256 on a GPU
        sampling  draws translations at random instead of searching for the best, n_best of each line: what is drawn
                  depends on the seed, the line, its number and nothing else
        prefixes  what each line's translation begins with, empty for nothing; it may go on within the last word. The
                  target tokenizer cuts it; where that normalises text, it is the given text that comes out, unless the
                  pieces after it change how it is written (detokenised words). Of a line translated in parts the first
                  begins with it
        window    lines taken at a time, None is 1,024 (fewer where they hold a million characters); 1 answers each line
                  before it asks for the next, and is slower by far
        Errors as for `search`, and EnvironmentFault where a single sentence exhausts the memory.
        """
        waiting, first_line = iter(lines), 1
        beginnings = None if prefixes is None else iter(prefixes)
        while lines_now := _window(waiting, window or WINDOW_LINES):
            yield from self.translate_window(
                lines_now,
                beam=beam,
                n_best=n_best,
                alignments=alignments,
                batch=batch,
                sampling=sampling,
                prefixes=None if beginnings is None else list(islice(beginnings, len(lines_now))),
                first_line=first_line,
            )
            first_line += len(lines_now)

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
        how = How(config, n_best, alignments, alignments or words, batch or 0, sampling)
        how = how if batch else replace(how, batch=self._sentences_at_once(how.width))
        beginnings = [sound(text).strip(" ") for text in prefixes or [""] * len(lines)]
        parts = [
            [self._placed(part, (number, j), prefix if j == 0 else "") for j, part in enumerate(self._parts(line))]
            for number, (line, prefix) in enumerate(zip(lines, beginnings, strict=True), first_line)
        ]
        units = [part for of_line in parts for part in of_line]
        say, candidates = self._wording, iter(self._candidates(units, how))
        joined = [
            say.joined(line, of_line, list(islice(candidates, len(of_line))), alignments, prefix)
            for line, of_line, prefix in zip(lines, parts, beginnings, strict=True)
        ]
        return joined if prefixes is None else [replace(x, prefix=p) for x, p in zip(joined, beginnings, strict=True)]

    def _sentences_at_once(self, width: int) -> int:
        """What `batch` is where nobody says: with so many hypotheses of each sentence."""
        return 256 if self.device.type == "cuda" else max(32, min(512, self._at_once // width))

    # --- before the search --------------------------------------------------------------------------------------------

    def _parts(self, line: str) -> list[Part]:
        """What the line is translated as: nothing where it is blank, one part, or several where it is too long."""
        text = sound(line)
        if not text or text.isspace():
            return []
        # A character is at least a piece in no tokenizer, but a line of a megabyte is not worth trying whole.
        if len(text) <= 50 * self.max_pieces:
            part = self._wording.part(text)
            if not part.ids:
                return []
            if len(part.ids) <= self.max_pieces or len(text) == 1:
                return [part]
        at = middle_cut(text)
        code = self.src_tokenizer.code(text)
        again = code if 4 * len(code) < len(text) else ""  # else the second part might be as long as the whole
        return [*self._parts(text[:at]), *self._parts(again + text[at:])]

    def _placed(self, part: Part, key: tuple[int, int], prefix: str) -> Part:
        ids = tuple(self.tgt_tokenizer.encode([prefix])[0]) if prefix else ()
        return replace(part, key=key, prefix=prefix, prefix_ids=ids)

    # --- the search ---------------------------------------------------------------------------------------------------

    def _candidates(self, units: list[Part], how: How) -> list[list[Candidate]]:
        """What is found for every unit, as text; longest first, so that a lack of memory shows at once."""
        lengths = [len(unit.ids) + 1 for unit in units]
        batches = deal(lengths, rows=how.batch, tokens=_BATCH_TOKENS // how.width, workers=self._n_workers)
        found: list[list[Candidate]] = [[] for _ in units]
        jobs = [([units[i] for i in rows], how) for rows in batches]
        for rows, bests in zip(batches, self._do(jobs), strict=True):
            for i, best in zip(rows, bests, strict=True):
                found[i] = best
        return found

    def _do(self, jobs: list[_Job]) -> list[list[list[Candidate]]]:
        """All batches, by several processes where there are several batches."""
        if self._n_workers < 2 or len(jobs) < 2:
            return [self._do_one(job) for job in jobs]
        if self._workers is None:
            self._workers = Workers(self._n_workers, self._do_one, lambda: torch.set_num_threads(1))
        return self._workers.map(jobs)

    def _do_one(self, job: _Job) -> list[list[Candidate]]:
        rows, how = job
        with self._in_use():
            found = self._search_rows(rows, how)
        return [self._wording.candidates(part, best, how.alignments) for part, best in zip(rows, found, strict=True)]

    def _in_use(self) -> AbstractContextManager[None]:
        """The model's matrices, where they were made ready."""
        return self._ready.using() if self._ready else nullcontext()

    def _search_rows(self, rows: list[Part], how: How) -> list[list[Hypothesis]]:
        """One batch, halved where the memory is too small for it: a line is never lost to its neighbours."""
        try:
            src = pad_rows([[*part.ids, EOS] for part in rows]).to(self.device)
            forced = any(part.prefix_ids for part in rows)
            prefix = pad_rows([part.prefix_ids for part in rows]).to(self.device) if forced else None
            n, own, weights = how.n_best, self._shortlist(rows), how.want_weights
            if how.sampling is None and self._on_device is not None:
                return self._on_device.search(
                    src, how.config, n_best=n, prefix=prefix, shortlist=own, want_weights=weights
                )
            if how.sampling is None:
                return search(self.model, src, how.config, n_best=n, prefix=prefix, shortlist=own, want_weights=weights)
            keys = [part.key for part in rows]
            return sample(
                *(self.model, src, how.config, how.sampling, keys),
                n=n,
                prefix=prefix,
                shortlist=own,
                want_weights=weights,
            )
        except (torch.OutOfMemoryError, MemoryError):
            if len(rows) == 1:
                kind, flag = ("beam", "--beam") if how.sampling is None else ("samples", "--n-best")
                what = f"a sentence of {len(rows[0].ids):,} pieces at {kind} {how.width} exhausts the memory"
                raise EnvironmentFault(what, f"use a smaller {flag}") from None
        middle = len(rows) // 2
        halves = (rows[:middle], rows[middle:])
        return [best for half in halves for best in self._search_rows(half, how)]

    def _shortlist(self, rows: list[Part]) -> Shortlist | None:
        """The pieces of each translation, where there is a lexicon to say which."""
        if self._lexicon is None:
            return None
        lists = [self._lexicon.shortlist(part.ids, part.prefix_ids) for part in rows]
        return Shortlist.of(lists, self._lexicon.n_tgt, self.device)

    # --- given translations -------------------------------------------------------------------------------------------

    def score(
        self, pairs: Iterable[tuple[str, str]], *, alignments: bool = False, batch: int | None = None
    ) -> Iterator[Translation]:
        """What the model thinks of given translations: for every (source, target) that target with its score, in order.

        Score, log-probabilities and alignment are those that a search gives where it writes these pieces; the target
        tokenizer cuts the target as it cuts a reference in training, so a translation that the model itself cut in
        another way scores otherwise. A pair is scored whole, however long: beyond the length that the model has learned
        its numbers mean little, and beyond 5,000 pieces a side the score is nan. Two blank texts score 0. batch: pairs
        scored at once, at most; None is 64, and 256 on a GPU. Takes 1,024 pairs before it gives the first. Errors as
        for `search`, and EnvironmentFault where a single pair exhausts the memory.
        """
        waiting = iter(pairs)
        while window := list(islice(waiting, WINDOW_LINES)):
            yield from self.score_window(window, alignments=alignments, batch=batch)

    def score_window(
        self, pairs: Sequence[tuple[str, str]], *, alignments: bool = False, batch: int | None = None
    ) -> list[Translation]:
        """As `score`, for pairs that are all there."""
        batch = batch or (256 if self.device.type == "cuda" else 64)
        scorer = Scorer(self.model, self._wording, self.tgt_tokenizer, self.config, self._in_use)
        return scorer.score(pairs, alignments, batch)


def _built(m: ModelFile, device: torch.device, precision: Precision | None) -> Seq2Seq:
    """The model of a file on the device, with the precision and the kernels that it translates with."""
    chosen = precision or translation_dtype(device, m.recipe.compute.dtype)
    dtype = "float32" if chosen == "int8" else chosen  # of everything but the products
    compute = m.recipe.compute.model_copy(update={"dtype": dtype})
    model = build(replace(m, recipe=m.recipe.model_copy(update={"compute": compute})), device)
    model.use(translation_kernels(compute.kernels, device, dtype, model.all_operations()))
    return model


def _window(lines: Iterator[str], n_lines: int) -> list[str]:
    """The next lines, as many as a window of n_lines holds."""
    window: list[str] = []
    n_characters = 0
    for line in lines:
        window.append(line)
        n_characters += len(line)
        if len(window) >= n_lines or n_characters >= WINDOW_CHARACTERS:
            break
    return window
