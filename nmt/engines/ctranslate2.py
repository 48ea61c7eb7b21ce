"""Translation by CTranslate2 instead of our own search: the same windows, parts and lines around it.

Its hypotheses are ranked by log P / |y|^length_penalty, |y| counting the end of sentence: length_formula `average`;
`none` is an exponent of 0, and `gnmt` it does not have. Its beam stays as wide as it was until as many hypotheses have
ended, where ours narrows as they end, so that with a beam a few lines of a hundred may differ.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import torch

from nmt.batch import BOS, EOS, PAD, SPECIALS
from nmt.corpus.tokenizer import Tokenizer, from_bytes
from nmt.durable import MANIFEST, refusals, verify_folder
from nmt.engines.ctranslate2_spec import n_positions, names
from nmt.errors import EnvironmentFault, ModelError, UsageError
from nmt.ops.choose import choose_device
from nmt.processes import cores
from nmt.recipe import Recipe, SearchConfig
from nmt.search.hypothesis import Hypothesis
from nmt.search.stepper import length_limits
from nmt.translation import Candidate
from nmt.translator import How, Translator
from nmt.wording import Part, Wording

OURS = "nmt.json"
"""The file in an exported folder that holds the recipe and the lineage."""
SIDES = ("src.tokenizer", "tgt.tokenizer")
_AGAIN = "export the model again: nmt export --to ctranslate2"


def searchable(config: SearchConfig) -> SearchConfig:
    """The search section as CTranslate2 can do it: `gnmt` becomes `average`, with the same exponent.

    UsageError for what it cannot do.
    """
    odd = {
        "coverage_penalty": config.coverage_penalty > 0.0,
        "repetition_penalty": config.repetition_penalty > 1.0,
        "min_len_ratio": config.min_len_ratio > 0.0,
    }
    for name, asked in odd.items():
        if asked:
            raise UsageError(
                f"search.{name}: CTranslate2 has no {name.replace('_', ' ')} by our formula",
                f"add --set search.{name}={int(name == 'repetition_penalty')}, or leave out --engine ctranslate2",
            )
    return config if config.length_formula == "none" else config.model_copy(update={"length_formula": "average"})


class CTranslate2Translator(Translator):
    """An exported folder, ready to translate; what CTranslate2 does not tell (alignments) is None."""

    def __init__(
        self,
        engine: ctranslate2.Translator,
        recipe: Recipe,
        src_tokenizer: Tokenizer,
        tgt_tokenizer: Tokenizer,
    ) -> None:
        # Not the base class's own, which is about a torch model: there is none here.
        self.engine, self.config = engine, recipe.search
        self.max_pieces = max(1, recipe.corpus.max_len - 1)
        self.src_tokenizer, self.tgt_tokenizer = src_tokenizer, tgt_tokenizer
        self.device = torch.device(engine.device)
        self._wording = Wording(src_tokenizer, tgt_tokenizer, recipe.corpus.tgt)
        self._src_names, tgt_names = names(src_tokenizer), names(tgt_tokenizer)
        self._tgt_ids = {name: i for i, name in enumerate(tgt_names)}
        self._most = n_positions(recipe) - 1

    @classmethod
    def open(
        cls, folder: Path, *, device: str = "auto", precision: str = "float32", workers: int | None = None
    ) -> "CTranslate2Translator":
        """The translator in a folder that `nmt export --to ctranslate2` made.

        On a CPU `workers` threads search, None for one a core. ModelError for a folder that is
        damaged or none of ours, EnvironmentFault for a device that is not there.
        """
        where = choose_device(device)
        if not (folder / MANIFEST).is_file() or not (folder / OURS).is_file():
            raise ModelError(f"{folder} is no folder that nmt export made", "make one: nmt export --to ctranslate2")
        verify_folder(folder, ModelError, _AGAIN)
        return cls.of_files(folder, where.type, precision, workers)

    @classmethod
    def of_files(
        cls, folder: Path, device: str, precision: str = "float32", workers: int | None = None
    ) -> "CTranslate2Translator":
        """The same without looking whether the folder is whole."""
        with refusals(folder, "be read"):
            described = json.loads((folder / OURS).read_bytes())
            src, tgt = (from_bytes((folder / name).read_bytes()) for name in SIDES)
        recipe = Recipe.model_validate_json(json.dumps(described["recipe"]))
        try:
            engine = ctranslate2.Translator(
                str(folder),
                device=device,
                compute_type=precision,
                inter_threads=(workers or cores()) if device == "cpu" else 1,
                intra_threads=1,
            )
        except (RuntimeError, ValueError) as fault:  # what CTranslate2 says to a damaged file, and to a type it lacks
            raise ModelError(f"{folder}: CTranslate2 cannot load it: {fault}", _AGAIN) from fault
        return cls(engine, recipe, src, tgt)

    def _candidates(self, units: list[Part], how: How) -> list[list[Candidate]]:
        """Sentences of one length go together: each has the greatest length of its own, and there is no padding."""
        if how.sampling is not None or any(part.prefix_ids for part in units):
            what = "--engine ctranslate2 goes without --sample and --prefix"
            raise UsageError(what, "leave one of them out")
        config = searchable(how.config)
        order = sorted(range(len(units)), key=lambda i: -len(units[i].ids))
        waiting: list[tuple[list[int], list[Any]]] = []
        for n_pieces, group in groupby(order, key=lambda i: len(units[i].ids)):
            rows = list(group)
            for at in range(0, len(rows), how.batch):
                some = rows[at : at + how.batch]
                waiting.append((some, self._start([units[i].ids for i in some], n_pieces, config, how)))
        found: list[list[Candidate]] = [[] for _ in units]
        for rows, results in waiting:
            for i, result in zip(rows, self._finish(results), strict=True):
                hypotheses = [self._hypothesis(*one) for one in result]
                found[i] = self._wording.candidates(units[i], hypotheses, how.alignments)
        return found

    def _start(self, rows: Sequence[Sequence[int]], n_pieces: int, config: SearchConfig, how: How) -> list[Any]:
        """Sentences of n_pieces each, on their way."""
        _, longest = length_limits(config, np.array([n_pieces]), np.array([0]))
        return self.engine.translate_batch(
            [[self._src_names[i] for i in row] for row in rows],
            asynchronous=True,
            beam_size=config.beam,
            num_hypotheses=how.n_best,
            length_penalty=0.0 if config.length_formula == "none" else config.length_penalty,
            no_repeat_ngram_size=config.no_repeat_ngram,
            suppress_sequences=[[SPECIALS[PAD]], [SPECIALS[BOS]]],
            max_input_length=0,
            min_decoding_length=0,
            max_decoding_length=min(int(longest[0]), self._most),
            return_scores=True,
            return_end_token=True,
        )

    def _finish(self, results: list[Any]) -> Iterator[list[tuple[list[str], float]]]:
        """Of each sentence its hypotheses, as pieces with the end of sentence and a score."""
        for waiting in results:
            try:
                result = waiting.result()
            except RuntimeError as fault:  # its one error: no memory, as a rule
                raise EnvironmentFault(f"CTranslate2: {fault}", "use a smaller --batch or --beam") from fault
            yield list(zip(result.hypotheses, result.scores, strict=True))

    def log_prob(self, line: str, found: Candidate) -> float | None:
        """Log P of a translation of a line that is one part; None where a piece has no name of its own here."""
        if not set(found.pieces) <= self._tgt_ids.keys():
            return None
        source = [self._src_names[i] for i in self.src_tokenizer.encode([line])[0]]
        [scored] = self.engine.score_batch([source], [list(found.pieces)], max_input_length=0)
        return sum(scored.log_probs[: len(found.pieces) + (not found.cut)])

    def _hypothesis(self, pieces: list[str], score: float) -> Hypothesis:
        ended = pieces[-1:] == [SPECIALS[EOS]]
        ids = [self._tgt_ids[piece] for piece in (pieces[:-1] if ended else pieces)]
        return Hypothesis(ids, score, [], ended, None)
