"""The command line of `nmt import`: what it is called and what flags it has.

A command is imported when it is called, as in cli.py.
"""

from pathlib import Path
from typing import Annotated

import typer


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
