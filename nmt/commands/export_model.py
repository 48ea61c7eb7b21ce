"""`nmt export --to ctranslate2`: a model file as a folder that CTranslate2 runs, checked by translating with both."""

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nmt.batch import SPECIALS
from nmt.corpus.text import read_text
from nmt.durable import make_folder, publish_folder, refusals
from nmt.engines.ctranslate2 import OURS, SIDES, CTranslate2Translator, searchable
from nmt.engines.ctranslate2_spec import check_expressible, convert
from nmt.errors import ModelError, UsageError
from nmt.model_file import ModelFile, read_model
from nmt.search.penalty import length_divisor
from nmt.translation import Translation
from nmt.translator import Translator

PROMISE = 0.98
"""Share of lines that must be the same, in float32."""
_LINES = 100
_NEAR = 1e-3
"""Nats a piece by which float32 may differ."""
_SEED = 20

Say = Callable[[str], None]


@dataclass(frozen=True)
class Agreement:
    """How many of `lines` both engines translate alike, greedily and with a beam of `width`.

    chosen: of those that differ with the beam, how many CTranslate2 scores as we do: the model is the same, and the two
    searches, which end by other rules, chose differently.
    """

    lines: int
    greedy: int
    beam: int
    chosen: int
    width: int

    @property
    def holds(self) -> bool:
        """Whether both searches keep the promise, but for what they chose differently."""
        return min(self.greedy, self.beam + self.chosen) >= PROMISE * self.lines

    def __str__(self) -> str:
        """In words: 300 of 300 lines the same greedily, 299 with a beam of 5 and 1 chosen differently at the same
        log P.
        """
        told = f"{self.greedy:,} of {self.lines:,} lines the same greedily"
        if self.width > 1:
            told += f", {self.beam:,} with a beam of {self.width}"
        return told + (f" and {self.chosen:,} chosen differently at the same log P" if self.chosen else "")


def export_model(path: Path, out: Path, *, check: Path | None = None, say: Say = lambda line: None) -> Agreement:
    """Writes the model at `path` (a file or a run's folder) to the folder `out`, whole or not at all, for CTranslate2.

    Before it appears, lines are translated by both engines in float32, greedily and with the recipe's beam, ranked by
    log P / |y|^length_penalty on both sides: those of the file `check`, else 100 made of the vocabulary. `say` gets how
    many are the same. UsageError where `out` exists or the kind cannot be exported, ModelError where the model is
    damaged or fewer lines than PROMISE are the same, EnvironmentFault where the disk refuses.
    """
    if os.path.lexists(out):
        raise UsageError(f"{out} is there already", "move it away, or name another folder")
    m = read_model(path / "model.safetensors" if path.is_dir() else path)
    check_expressible(m.recipe)
    lines = sample_lines(m) if check is None else [line for line in read_text(check).lines if line.strip()]
    if not lines:
        raise UsageError(f"{check} has no line to check with", "name a file of source sentences")
    with refusals(out.parent, "be written"):
        make_folder(out.parent)
        # Named as durable names what is unfinished, so that it is never taken for a model.
        work = Path(tempfile.mkdtemp(prefix=f".tmp-{out.name}.work-", dir=out.parent))
    try:
        with refusals(out, "be written"):
            _write(m, work / "model")
        agreement = compare(m, work / "model", lines)
        say(f"checked: {agreement}")
        if not agreement.holds:
            raise ModelError(
                f"{path}: CTranslate2 does not say the same: {agreement}; {PROMISE:.0%} are promised",
                "nothing was written" + ("; name real sentences: --check FILE" if check is None else ""),
            )
        files = sorted((work / "model").iterdir())
        publish_folder(out, {file.name: _copier(file) for file in files})
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"exported: {out}")
    return agreement


def _copier(file: Path) -> Callable[[Path], None]:
    def copy(place: Path) -> None:
        shutil.copyfile(file, place)

    return copy


def _write(m: ModelFile, folder: Path) -> None:
    """CTranslate2's files, and ours beside them: both tokenizers, the recipe and the lineage."""
    convert(m, folder)
    for name, tokenizer in zip(SIDES, (m.src_tokenizer, m.tgt_tokenizer), strict=True):
        (folder / name).write_bytes(tokenizer.to_bytes())
    described = {"format": 1, "recipe": m.recipe.model_dump(mode="json"), "lineage": m.lineage}
    (folder / OURS).write_text(json.dumps(described, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def compare(m: ModelFile, folder: Path, lines: Sequence[str]) -> Agreement:
    """Both engines on a CPU in float32, the search ranked alike."""
    theirs = CTranslate2Translator.of_files(folder, "cpu")
    ours = Translator.of(m, device="cpu", precision="float32")
    ours.config = theirs.config = searchable(theirs.config)
    width = theirs.config.beam

    def both(beam: int) -> list[tuple[Translation, Translation]]:
        return list(zip(ours.translate(lines, beam=beam), theirs.translate(lines, beam=beam), strict=True))

    greedy = both(1)
    beam = both(width) if width > 1 else greedy
    differing = [one for one, other in beam if not _same(one, other)]
    return Agreement(
        lines=len(lines),
        greedy=sum(_same(one, other) for one, other in greedy),
        beam=len(lines) - len(differing),
        chosen=sum(_scores_alike(one, theirs) for one in differing) if width > 1 else 0,
        width=width,
    )


def _same(one: Translation, other: Translation) -> bool:
    """Whether the pieces are the same: in the text an unknown word may be copied, which needs our attention weights."""
    return one.hypotheses[0].pieces == other.hypotheses[0].pieces


def _scores_alike(found: Translation, theirs: CTranslate2Translator) -> bool:
    """Whether CTranslate2 gives our translation the log P that we give it."""
    best = found.hypotheses[0]
    length = len(best.pieces) + (not best.cut)
    if found.parts != 1 or not length:
        return False
    log_prob = theirs.log_prob(found.source, best)
    return log_prob is not None and abs(log_prob - best.score * length_divisor(theirs.config, length)) <= _NEAR * length


def sample_lines(m: ModelFile, count: int = _LINES) -> list[str]:
    """Lines of pieces drawn from the source vocabulary, always the same: they mean nothing, but use every part."""
    draw, tokenizer = random.Random(_SEED), m.src_tokenizer
    longest = min(20, max(1, m.recipe.corpus.max_len // 2))
    rows = [draw.choices(range(len(SPECIALS), tokenizer.n_ids), k=draw.randint(1, longest)) for _ in range(count)]
    return [line for line in tokenizer.decode(rows) if line.strip()] or [SPECIALS[1]]
