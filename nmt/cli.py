"""The command line: what each command is called and what becomes of it. cli_options.py has flags, cli_errors.py errors.

A command is imported when it is called, so that `nmt --help` answers at once. No flag repeats a key of the recipe.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
import typer.main

from nmt import cli_convert
from nmt import cli_options as options
from nmt.cli_errors import (
    EXIT_INTERRUPTED,
    discard_stdout,
    machine_fault,
    open_closed_streams,
    print_error,
    refuse,
    report_bug,
    usage_error,
)
from nmt.errors import EXIT_PIPE_CLOSED, EnvironmentFault, NmtError, UsageError
from nmt.processes import speaks
from nmt.version import VERSION

# typer keeps its own copy of click and does not name this class; BadParameter is one.
_TyperUsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="nmt",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


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
    recipe: options.RecipePath,
    fetch: options.Fetch = False,
    workers: options.Tokenisers = 1,
    lexicon: options.LexiconPath = None,
    overrides: options.Overrides = None,
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
        if lexicon is None:
            prepare(loaded, recipe, workers=workers, fetch=fetch, say=console.say, transfer=transfer)
            return
        from nmt.commands.lexicon import make_lexicon

        make_lexicon(loaded, recipe, lexicon, workers=workers, fetch=fetch, say=console.say, transfer=transfer)


@app.command()
def train(
    recipe: options.RecipePath,
    device: options.DeviceOption = options.Device.auto,
    overrides: options.Overrides = None,
    dry_run: options.DryRun = False,
    check_kernels: options.CheckKernels = False,
    as_json: options.Json = False,
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
    model: options.Models = None,
    info: options.Info = False,
    beam: options.Beam = None,
    n_best: options.NBest = 1,
    max_len: options.MaxLen = None,
    sample: options.Sample = False,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    prefix: options.Prefix = False,
    score_target: options.ScoreTarget = False,
    alignments: options.Alignments = False,
    as_json: options.JsonLines = False,
    device: options.DeviceOption = options.Device.auto,
    precision: options.PrecisionOption = None,
    batch: options.BatchSize = None,
    shortlist: options.ShortlistPath = None,
    workers: options.SearchWorkers = None,
    engine: cli_convert.EngineOption = cli_convert.Engine.nmt,
    skip: options.Skip = 0,
    overrides: options.SearchOverrides = None,
) -> None:
    """Translate standard input to standard output.

    Line n of the output translates line n of the input, always.

    \b
    nmt translate < input.txt > output.txt
    nmt translate --model runs/multi30k --beam 10 --json < input.txt
    nmt translate --sample --top-p 0.9 --n-best 4 < input.txt
    paste input.txt output.txt | nmt translate --score-target
    """
    from nmt.console import Console

    if info:
        from nmt.commands.info import info as told_of

        with Console() as console:
            print(told_of(model or [], as_json=as_json, say=console.say))
        return
    from nmt.commands.translate import translate

    with Console() as console:
        translate(
            model or [],
            beam=beam,
            n_best=n_best,
            alignments=alignments,
            as_json=as_json,
            device=device.value,
            precision=precision.value if precision else None,
            batch=batch,
            shortlist=shortlist,
            workers=workers,
            skip=skip,
            max_len=max_len,
            sample=sample,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            prefix=prefix,
            score_target=score_target,
            engine=engine.value,
            overrides=overrides or [],
            say=console.say,
            shows=console.passing,
        )


@app.command()
def score(
    ref: options.Reference = None,
    hyp: options.Hypotheses = None,
    more_refs: options.MoreReferences = None,
    tokenize: options.Tokenize = None,
    lowercase: options.Lowercase = False,
    lang: options.Language = None,
    force: options.Force = False,
    as_json: options.Json = False,
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


# --- running it ---


def run(args: Sequence[str]) -> int:
    """Runs one command line and gives its exit code (errors.py lists them); users' faults are printed on stderr.

    Our own faults are raised: the hook set here prints their traceback and asks to report them.
    """
    sys.excepthook = report_bug
    open_closed_streams()
    # Taken out here, so that it may stand anywhere; the option above is for the help.
    shows_traceback = "--traceback" in args
    try:
        code = _invoke([arg for arg in args if arg != "--traceback"])
        # What is still in the buffer can fail too: a full disk, a reader who left.
        sys.stdout.flush()
        return code
    except NmtError as error:
        return refuse(error, shows_traceback)
    except KeyboardInterrupt:
        discard_stdout()
        if speaks():
            print_error("error: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        discard_stdout()
        return EXIT_PIPE_CLOSED
    except MemoryError:
        fault = EnvironmentFault("there is not enough memory", "use smaller batches or a smaller model")
        fault.own = True
        return refuse(fault, shows_traceback)
    except OSError as error:
        fault = machine_fault(error)
        if fault is None:
            raise
        discard_stdout()
        fault.own = True
        return refuse(fault, shows_traceback)


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
        raise usage_error(error) from None
    return 0
