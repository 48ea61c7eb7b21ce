"""The arguments and flags of the commands: their names, their types and what help says of them.

Those of one command stand together, in the order in which help lists them.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Precision(StrEnum):
    """The type of matrix products in a search."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"


class Device(StrEnum):
    """Where a model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


# --- of several commands ----------------------------------------------------------------------------------------------

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Another value for a key of the recipe: --set train.lr=3e-4. May be repeated.",
        show_default=False,
    ),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="auto takes the GPU where there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# --- prepare ----------------------------------------------------------------------------------------------------------

Fetch = Annotated[bool, typer.Option("--fetch", help="Download the files that the recipe names.")]
Tokenisers = Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Processes that tokenise.")]
LexiconPath = Annotated[
    Path | None,
    typer.Option(
        "--lexicon",
        metavar="FILE",
        help="Write a lexicon of the training text too, for nmt translate --shortlist.",
        show_default=False,
    ),
]

# --- train ------------------------------------------------------------------------------------------------------------

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print parameters, memory and time; needs no data, trains nothing.")
]
CheckKernels = Annotated[
    bool, typer.Option("--check-kernels", help="Compare fast forms with plain ones here, train nothing.")
]

# --- translate --------------------------------------------------------------------------------------------------------

Models = Annotated[
    list[Path] | None,
    typer.Option(
        "--model",
        metavar="PATH",
        help="A model file or a run's folder; else $NMT_MODEL, else the newest run. Several make an ensemble.",
        show_default=False,
    ),
]
Info = Annotated[
    bool, typer.Option("--info", help="Print what the model is, and translate nothing; --json for programs.")
]
Beam = Annotated[
    int | None, typer.Option("--beam", metavar="N", min=1, help="Hypotheses kept; 1 is greedy.", show_default=False)
]
NBest = Annotated[int, typer.Option("--n-best", metavar="N", min=1, help="Translations of each line.")]
MaxLen = Annotated[
    str | None,
    typer.Option(
        "--max-len",
        metavar="FORMULA",
        help="Pieces of a translation, at most: 50, or 2x+10 by the x of its source.",
        show_default=False,
    ),
]
Sample = Annotated[
    bool, typer.Option("--sample", help="Draw translations at random; --n-best says how many of each line.")
]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", metavar="T", help="Below 1 draws likelier pieces.", show_default=False),
]
TopK = Annotated[
    int | None, typer.Option("--top-k", metavar="N", min=1, help="Draw from the N likeliest.", show_default=False)
]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", metavar="P", help="Draw from the likeliest that have P together.", show_default=False),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, help="Other samples; without it 0.", show_default=False),
]
Prefix = Annotated[bool, typer.Option("--prefix", help="Read SOURCE<TAB>BEGINNING: the translation begins as it says.")]
ScoreTarget = Annotated[
    bool,
    typer.Option("--score-target", help="Read SOURCE<TAB>TARGET: print score, log P and pieces of each TARGET."),
]
Alignments = Annotated[bool, typer.Option("--alignments", help="Say which words go with which.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print a JSON object for each line.")]
BatchSize = Annotated[
    int | None, typer.Option("--batch", metavar="N", min=1, help="Sentences at a time.", show_default=False)
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option("--precision", help="Of matrix products; without it float32 on a CPU.", show_default=False),
]
ShortlistPath = Annotated[
    Path | None,
    typer.Option(
        "--shortlist",
        metavar="FILE",
        help="A lexicon: only the target pieces that it has for a line's are looked at.",
        show_default=False,
    ),
]
SearchWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, help="Processes that search; without it one a core.", show_default=False
    ),
]
Skip = Annotated[
    int, typer.Option("--skip", metavar="N", min=0, help="Leave out N lines, to go on where an output stops.")
]
SearchOverrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Another value for a search key: --set search.length_penalty=1. May be repeated.",
        show_default=False,
    ),
]

# --- score ------------------------------------------------------------------------------------------------------------

Reference = Annotated[
    Path | None,
    typer.Argument(
        metavar="[REF]", help="The reference; the newest run's test text where none is named.", show_default=False
    ),
]
Hypotheses = Annotated[
    Path | None, typer.Argument(metavar="[HYP]", help="The translations; or standard input.", show_default=False)
]
MoreReferences = Annotated[
    list[Path] | None,
    typer.Option("--ref", metavar="FILE", help="Another reference. May be repeated.", show_default=False),
]
Tokenize = Annotated[
    str | None, typer.Option("--tokenize", metavar="NAME", help="sacreBLEU's tokeniser.", show_default=False)
]
Lowercase = Annotated[bool, typer.Option("--lowercase", help="Ignore case.")]
Language = Annotated[
    str | None,
    typer.Option(
        "--lang", metavar="TAG", help="Target language: picks the tokeniser of zh, ja, ko.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Score text that looks tokenised all the same.")]
