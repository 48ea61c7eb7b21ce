"""The command line of `nmt export` and `nmt import`, and the flag for another engine.

A command is imported when it is called, as in cli.py.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What a model can be exported to."""

    ctranslate2 = "ctranslate2"


class Engine(StrEnum):
    """What searches for translations."""

    nmt = "nmt"
    ctranslate2 = "ctranslate2"


EngineOption = Annotated[
    Engine, typer.Option("--engine", help="ctranslate2 runs what nmt export made, or makes it beside the model.")
]


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file or a run's folder.", show_default=False)],
    to: Annotated[Format, typer.Option("--to", help="The format.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="The folder to make.", show_default=False)],
    check: Annotated[
        Path | None,
        typer.Option(
            "--check",
            metavar="FILE",
            help="Source sentences that both translate; else nonsense of the vocabulary.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a model for another program, and check that it says the same.

    CTranslate2 takes kind transformer. Both translate the same lines; 98 of 100 must be equal.

    \b
    nmt export --to ctranslate2 runs/multi30k -o multi30k-ct2 --check test.en
    nmt translate --engine ctranslate2 --model multi30k-ct2 < input.txt
    """
    from nmt.console import Console
    from nmt.errors import EnvironmentFault

    try:
        from nmt.commands.export_model import export_model
    except ModuleNotFoundError as missing:
        if missing.name != "ctranslate2":
            raise
        raise EnvironmentFault("CTranslate2 is not installed", "pip install 'nmt[ctranslate2]'") from None
    assert to is Format.ctranslate2
    with Console() as console:
        export_model(model, out, check=check, say=console.say)


def import_(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="A Marian folder of Hugging Face, as OPUS-MT has.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The model file to write.", show_default=False)
    ],
    src: Annotated[
        str | None, typer.Option("--src", metavar="TAG", help="The source language, where the folder does not say it.")
    ] = None,
    tgt: Annotated[str | None, typer.Option("--tgt", metavar="TAG", help="The target language, likewise.")] = None,
) -> None:
    """Make a model file of a Hugging Face Marian folder.

    Its weights, both sentencepiece models and the numbering of pieces; nothing is downloaded, no pickle is opened.

    \b
    nmt import opus-mt-en-fr -o en-fr.safetensors
    nmt translate --model en-fr.safetensors < input.txt
    """
    from nmt.commands.import_model import import_model
    from nmt.console import Console

    with Console() as console:
        import_model(folder, out, src=src, tgt=tgt, say=console.say)
