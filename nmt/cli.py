"""The command line: what each command is called, what flags it has, and what becomes of errors.

A command is imported when it is called, so that `nmt --help` answers at once. No flag repeats a key of the recipe.
"""

import contextlib
import errno
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer
import typer.main

from nmt import cli_convert
from nmt.errors import EXIT_PIPE_CLOSED, EnvironmentFault, NmtError, SaidElsewhere, UsageError
from nmt.processes import several, speaks
from nmt.version import VERSION

EXIT_BUG = 1
EXIT_INTERRUPTED = 130
_SILENT_SECONDS = 2.0

# typer keeps its own copy of click and does not name this class; BadParameter is one.
_TyperUsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="nmt",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class Device(StrEnum):
    """Where a model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


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


@app.callback(invoke_without_command=False)
def _root(
    with_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where in the program an error came from.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=lambda on: _version(on))
    ] = False,
) -> None:
    """Neural machine translation: text to a trained translator, from one recipe.

    \b
    nmt train recipes/en-fr-bahdanau.yaml      train a model (and prepare its text first)
    nmt translate < input.txt > output.txt     translate with the newest model
    nmt translate < data/en-fr/test.en | nmt score data/en-fr/test.fr
    """


def _version(asked: bool) -> None:
    if asked:
        print(f"nmt {VERSION}")
        raise typer.Exit


@app.command()
def prepare(
    recipe: RecipePath,
    fetch: Annotated[bool, typer.Option("--fetch", help="Download the files that the recipe names.")] = False,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Processes that tokenise.")] = 1,
    overrides: Overrides = None,
) -> None:
    """Check, tokenise and store the text of a recipe. `nmt train` does it too, where it has not been done.

    \b
    nmt prepare recipes/multi30k.yaml --fetch --workers 4
    """
    from nmt.commands.prepare import prepare
    from nmt.console import Console
    from nmt.recipe_file import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    with Console() as console, console.transfers() as transfer:
        prepare(loaded, recipe, workers=workers, fetch=fetch, say=console.say, transfer=transfer)


@app.command()
def train(
    recipe: RecipePath,
    device: DeviceOption = Device.auto,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print parameters, memory and time; needs no data, trains nothing.")
    ] = False,
    check_kernels: Annotated[
        bool, typer.Option("--check-kernels", help="Compare fast forms with plain ones here, train nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a model, or go on with a run that was stopped. Everything goes to runs/NAME/.

    \b
    nmt train recipes/multi30k.yaml
    nmt train recipes/multi30k.yaml --set name=wide --set model.d_hidden=2000
    """
    from nmt.console import Console
    from nmt.recipe_file import load_recipe

    if as_json and not (dry_run or check_kernels):
        raise UsageError(
            "--json goes with --dry-run or --check-kernels", "a run's own log is JSON: runs/NAME/log.jsonl"
        )
    if dry_run and check_kernels:
        raise UsageError("--dry-run and --check-kernels are two things", "ask for one at a time")
    loaded = load_recipe(recipe, overrides or ())
    if dry_run or check_kernels:
        if dry_run:
            from nmt.commands.dry_run import dry_run as told_of
        else:
            from nmt.commands.check_kernels import check_kernels as told_of
        if not speaks():
            return
        told = told_of(loaded, device.value)
        print(told.as_json() if as_json else "\n".join(told.lines()))
        return
    from nmt.commands.train import train

    with Console() as console:
        train(loaded, recipe, device=device.value, reporter=console)


@app.command()
def translate(
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            metavar="PATH",
            help="A model file or a run's folder; without it, the newest run. Repeated: they translate together.",
            show_default=False,
        ),
    ] = None,
    beam: Annotated[
        int | None, typer.Option("--beam", metavar="N", min=1, help="Hypotheses kept; 1 is greedy.", show_default=False)
    ] = None,
    n_best: Annotated[int, typer.Option("--n-best", metavar="N", min=1, help="Translations of each line.")] = 1,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw translations at random; --n-best says how many of each line.")
    ] = False,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", metavar="T", help="Below 1 draws likelier pieces.", show_default=False),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", metavar="N", min=1, help="Draw from the N likeliest.", show_default=False)
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", metavar="P", help="Draw from the likeliest that have P together.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", min=0, help="Other samples; without it 0.", show_default=False),
    ] = None,
    prefix: Annotated[
        bool, typer.Option("--prefix", help="Read SOURCE<TAB>BEGINNING: the translation begins as it says.")
    ] = False,
    alignments: Annotated[bool, typer.Option("--alignments", help="Say which words go with which.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each line.")] = False,
    device: DeviceOption = Device.auto,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", min=1, help="Sentences at a time.", show_default=False)
    ] = None,
    engine: cli_convert.EngineOption = cli_convert.Engine.nmt,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another value for a search key: --set search.length_penalty=1. May be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Translate standard input to standard output.

    Line n of the output translates line n of the input, always.

    \b
    nmt translate < input.txt > output.txt
    nmt translate --model runs/multi30k --beam 10 --json < input.txt
    nmt translate --sample --top-p 0.9 --n-best 4 < input.txt
    """
    from nmt.commands.translate import translate
    from nmt.console import Console

    with Console() as console:
        translate(
            model or [],
            beam=beam,
            n_best=n_best,
            alignments=alignments,
            as_json=as_json,
            device=device.value,
            batch=batch,
            sample=sample,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            prefix=prefix,
            engine=engine.value,
            overrides=overrides or [],
            say=console.say,
        )


@app.command()
def score(
    ref: Annotated[
        Path | None,
        typer.Argument(
            metavar="[REF]", help="The reference; the newest run's test text where none is named.", show_default=False
        ),
    ] = None,
    hyp: Annotated[
        Path | None, typer.Argument(metavar="[HYP]", help="The translations; or standard input.", show_default=False)
    ] = None,
    more_refs: Annotated[
        list[Path] | None,
        typer.Option("--ref", metavar="FILE", help="Another reference. May be repeated.", show_default=False),
    ] = None,
    tokenize: Annotated[
        str | None, typer.Option("--tokenize", metavar="NAME", help="sacreBLEU's tokeniser.", show_default=False)
    ] = None,
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Ignore case.")] = False,
    lang: Annotated[
        str | None,
        typer.Option(
            "--lang", metavar="TAG", help="Target language: picks the tokeniser of zh, ja, ko.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Score text that looks tokenised all the same.")] = False,
    as_json: Json = False,
) -> None:
    """Score translations: BLEU, chrF and TER.

    All three by sacreBLEU, with the signature that makes a score comparable.

    \b
    nmt score data/en-fr/test.fr output.txt
    nmt translate < data/en-fr/test.en | nmt score data/en-fr/test.fr
    """
    from nmt.commands.score import score, score_json, score_lines
    from nmt.console import Console

    first, *others = more_refs or [None]
    # `nmt score --ref A --ref B < output.txt` needs no order of its own.
    ref, more = (ref, more_refs or []) if ref is not None else (first, others)
    report = score(
        ref, hyp, more_refs=[*filter(None, more)], tokenize=tokenize, lang=lang, lowercase=lowercase, force=force
    )
    with Console() as console:
        for warning in report.warnings:
            console.say(f"warning: {warning}")
    print(score_json(report) if as_json else score_lines(report))


app.command("export")(cli_convert.export)
app.command("import")(cli_convert.import_)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes.

    Every key with its type, limits, default and meaning. Editors complete from it.

    \b
    nmt schema > recipe.schema.json
    # first line of a recipe: # yaml-language-server: $schema=recipe.schema.json
    """
    import json

    from nmt.recipe_file import recipe_schema

    print(json.dumps(recipe_schema(), indent=2, ensure_ascii=False))


# --- errors -----------------------------------------------------------------------------------------------------------


def run(args: Sequence[str]) -> int:
    """Runs one command line and gives its exit code (errors.py lists them); users' faults are printed on stderr.

    Our own faults are raised: the hook set here prints their traceback and asks to report them.
    """
    sys.excepthook = _report_bug
    _open_closed_streams()
    # Taken out here, so that it may stand anywhere; the option above is for the help.
    shows_traceback = "--traceback" in args
    try:
        code = _invoke([arg for arg in args if arg != "--traceback"])
        # What is still in the buffer can fail too: a full disk, a reader who left.
        sys.stdout.flush()
        return code
    except NmtError as error:
        return _refuse(error, shows_traceback)
    except KeyboardInterrupt:
        _discard_stdout()
        if speaks():
            _print("error: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return EXIT_PIPE_CLOSED
    except MemoryError:
        fault = EnvironmentFault("there is not enough memory", "use smaller batches or a smaller model")
        fault.own = True
        return _refuse(fault, shows_traceback)
    except OSError as error:
        fault = _machine_fault(error)
        if fault is None:
            raise
        _discard_stdout()
        fault.own = True
        return _refuse(fault, shows_traceback)


def _invoke(args: list[str]) -> int:
    command = typer.main.get_command(app)
    if "_NMT_COMPLETE" in os.environ:
        command.main(args, prog_name="nmt", standalone_mode=False)
    try:
        # Not command.main(), which turns a closed pipe into exit code 1 and an interrupt into an error of its own.
        with command.make_context("nmt", args or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except _TyperUsageError as error:
        raise _usage_error(error) from None
    return 0


def _usage_error(error: Exception) -> UsageError:
    """typer's usage errors in our form."""
    context = getattr(error, "ctx", None)
    hint = f"see: {context.command_path if context else 'nmt'} --help"
    message = str(getattr(error, "format_message", error.__str__)()).strip()
    near = getattr(error, "possibilities", None)
    if near:
        message, hint = message.partition(" (")[0], f"did you mean: {near[0]}"
    elif " Did you mean " in message:
        message, _, rest = message.partition(" Did you mean ")
        hint = f"did you mean: {rest.rstrip('?').replace(chr(39), '')}"
    for theirs, ours in _OUR_WORDS.items():
        message = re.sub(theirs, ours, message)
    return UsageError(message.rstrip("."), hint)


# typer checks values through pydantic, and passes on what that says.
_OUR_WORDS = {
    r"^Invalid value for '([^']*)': ": r"\1: ",
    r": Value error, (.*) is not one of (.*?)\.*$": r" must be one of \2, not \1",
    r": Input should be a valid integer.*": " must be a whole number",
    r": Input should be (greater than|less than) or equal to (\S+)$": r" must be \1 or equal to \2",
    r"greater than or equal to": "at least",
    r"less than or equal to": "at most",
    r"^No such": "no such",
    r"^Missing argument '([^']*)'": r"\1 is missing",
    r"^Got unexpected extra argument\(?s?\)? \((.*)\)": r"one argument too many: \1",
    r"^Option '([^']*)' (.*)": r"\1 \2",
}


def _machine_fault(error: OSError) -> EnvironmentFault | None:
    """The machine's refusals that no command foresaw; None for what must be our own fault."""
    hints = {
        errno.ENOSPC: "make room and run the same command again",
        errno.EDQUOT: "make room in your quota and run the same command again",
        errno.EFBIG: "raise the limit on file sizes: ulimit -f",
        errno.EROFS: "write somewhere else",
        errno.EACCES: "",
        errno.EPERM: "",
        errno.EIO: "the disk or the terminal may be gone",
        errno.EMFILE: "raise the limit on open files: ulimit -n",
        errno.ENOMEM: "use smaller batches or a smaller model",
    }
    if error.errno not in hints:
        return None
    place = f"{error.filename}: " if error.filename else ""
    return EnvironmentFault(f"{place}{(error.strerror or str(error)).lower()}", hints[error.errno])


def _refuse(error: NmtError, shows_traceback: bool) -> int:
    if isinstance(error, SaidElsewhere) or not (error.own or speaks()):
        # torchrun ends all when one ends: the one that speaks must not be ended before it has.
        time.sleep(_SILENT_SECONDS)
        return error.exit_code
    # Results so far come first, where the two share a terminal; if they cannot be written, the error still can.
    try:
        sys.stdout.flush()
    except OSError:
        _discard_stdout()
    if shows_traceback:
        with contextlib.suppress(OSError):
            traceback.print_exception(error)
    _print(str(error))
    return error.exit_code


def _print(line: str) -> None:
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)


def _report_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    with contextlib.suppress(OSError):
        traceback.print_exception(kind, error, trace)
    _print("error: this is a fault of nmt, not yours: please report it, with the lines above")
    leave(EXIT_BUG)


def leave(code: int) -> None:
    """Ends one of several processes at once where the training has failed; otherwise Python ends as usual.

    As usual it would wait for threads of torch that wait for processes that are gone.
    """
    if code and several():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _discard_stdout() -> None:
    """Points standard output at nothing, or Python would try to write the rest once more as it ends, and complain."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _open_closed_streams() -> None:
    """Gives 0, 1 and 2 something where the shell closed them (`>&-`): the next file opened would become one of them."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 (lives as long as the process)
    if sys.stdout is None:
        # A pipe that nobody reads: the first result finds out, as with any reader who left.
        reader, writer = os.pipe()
        os.close(reader)
        if writer != 1:
            os.dup2(writer, 1)
            os.close(writer)
        sys.stdout = open(1, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
