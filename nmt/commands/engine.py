"""`nmt translate --engine ctranslate2`: an exported folder, or one that is made beside the model the first time."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from nmt.durable import clean_leftovers, remove_folder
from nmt.errors import EnvironmentFault, ModelError, UsageError
from nmt.translator import Translator

Say = Callable[[str], None]


def exported_translator(
    models: Sequence[Path], *, device: str, precision: str, workers: int | None, alignments: bool, say: Say
) -> Translator:
    """The translator of CTranslate2 for one folder of `nmt export`, or for one model file.

    A model file is exported to `NAME.ctranslate2-HASH` beside it, HASH being that of its bytes, unless that is there;
    those of other bytes go. UsageError for several models and for what the engine cannot tell, EnvironmentFault where
    CTranslate2 is not installed or nothing can be written beside the model.
    """
    if len(models) != 1:
        raise UsageError("--engine ctranslate2 takes one model", "leave out the others, or the engine")
    if alignments:
        raise UsageError(
            "--engine ctranslate2 does not say which words go with which", "leave out --alignments or the engine"
        )
    try:
        from nmt.commands.export_model import export_model
        from nmt.engines.ctranslate2 import CTranslate2Translator
    except ModuleNotFoundError as missing:
        if missing.name != "ctranslate2":
            raise
        raise EnvironmentFault("CTranslate2 is not installed", "pip install 'nmt[ctranslate2]'") from None
    model = models[0]
    if not model.exists() and model.parent.is_dir():
        model = model.parent  # an exported folder, and no run's
    if model.is_dir() and not (model / "model.safetensors").is_file():
        return CTranslate2Translator.open(model, device=device, precision=precision, workers=workers)
    file = model / "model.safetensors" if model.is_dir() else model
    folder = _cache(file)
    if not folder.exists():
        say(f"exporting to {folder}, this once")
        try:
            export_model(file, folder, say=say)
        except EnvironmentFault:
            if not folder.exists():  # else another process was faster
                raise
        _forget_others(folder, file)
    return CTranslate2Translator.open(folder, device=device, precision=precision, workers=workers)


def _cache(file: Path) -> Path:
    if not file.is_file():
        raise ModelError(f"{file} does not exist", "train a model: nmt train RECIPE; or name another file")
    with open(file, "rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    return file.parent / f"{file.stem}.ctranslate2-{digest[:12]}"


def _forget_others(folder: Path, file: Path) -> None:
    """Takes away what was exported from the model that stood here before."""
    clean_leftovers(file.parent)
    for other in file.parent.glob(f"{file.stem}.ctranslate2-*"):
        if other != folder and other.is_dir():
            remove_folder(other)
