"""The layers of the package: what may import what, and what stands nowhere."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("nmt/**/*.py"))

# From the ground up: a group and the groups that it may import from, besides its own.
MAY_IMPORT = {
    "ground": set[str](),
    "ops": {"ground"},
    "batch": {"ground", "ops"},
    "layers": {"ground", "ops", "batch"},
    "models": {"ground", "ops", "batch", "layers"},
    "corpus": {"ground", "batch"},
    "metrics": {"ground", "corpus"},
    "model_file": {"ground", "batch", "models", "corpus"},
    "search": {"ground", "ops", "batch", "models"},
    "wording": {"ground", "batch", "models", "corpus", "search"},
    "scorer": {"wording", "ground", "batch", "models", "corpus", "search"},
    "translator": {
        "ground", "ops", "batch", "models", "corpus", "metrics", "model_file", "search", "wording", "scorer",
    },
    "training": {"ground", "ops", "batch", "layers", "models", "corpus", "metrics", "model_file", "search"},
    "engines": {
        "ground", "ops", "batch", "layers", "models", "corpus", "metrics", "model_file", "search", "wording",
        "translator",
    },
    "commands": {
        "ground", "ops", "batch", "layers", "models", "corpus", "metrics", "model_file", "search", "wording", "scorer",
        "translator", "training", "engines",
    },
    "console": {"ground"},
    "cli_options": {"ground"},
    "cli_errors": {"ground"},
    "cli_convert": {"ground", "commands", "console"},
    "cli": {"ground", "commands", "console", "cli_options", "cli_errors", "cli_convert"},
}  # fmt: skip

# Narrower than the groups: (who, what) pairs that may not be, by beginnings of module names.
NEVER = [
    ("nmt.ops", "nmt.recipe"),  # pure functions of tensors and numbers
    ("nmt.layers", "nmt.recipe"),  # built from plain numbers
    ("nmt.corpus", "nmt.commands"),
    ("nmt.metrics", "nmt.corpus.shards"),
    ("nmt.metrics", "nmt.corpus.batches"),
    ("nmt.recipe", "nmt.recipe_file"),
]

# What is in models/ besides the papers' own files.
NOT_A_PAPER = {"contract", "build", "meta", "initialize"}

# Third-party packages: where they may be imported; those not listed, in the groups below.
GROUND_PACKAGES = {"pydantic", "pydantic_core", "ruamel"}
ONLY_IN = {"rich": {"nmt.console"}, "typer": {"nmt.cli", "nmt.cli_options", "nmt.cli_convert"}}
WITHOUT_TORCH = {"ground", "console", "cli", "cli_options", "cli_errors", "cli_convert"}

# A command is imported when it is called. The others are too slow or too rarely used to load each time.
IMPORTS_IN_FUNCTIONS = {
    ("nmt.__main__", "nmt.cli"),
    ("nmt.__main__", "nmt.cli_errors"),  # after the working folder is out of the path
    ("nmt.cli_convert", "nmt.commands.import_model"),  # as every command in cli.py
    ("nmt.cli_convert", "nmt.commands.export_model"),
    ("nmt.cli_convert", "nmt.console"),
    ("nmt.cli_convert", "nmt.errors"),
    ("nmt.commands.engine", "nmt.commands.export_model"),  # CTranslate2 is an extra, and may not be there
    ("nmt.commands.engine", "nmt.engines.ctranslate2"),
    ("nmt.corpus.moses", "sacremoses"),  # 0.4 s, for one kind of vocabulary
    ("nmt.ops.choose", "nmt.ops.additive_triton"),  # Triton is never imported where nothing of it can run
    ("nmt.ops.choose", "nmt.ops.packed_triton"),
    ("nmt.ops.choose", "nmt.ops.cells_triton"),
    ("nmt.ops.choose", "nmt.ops.cross_entropy_triton"),
    ("nmt.commands.prepare", "nmt.corpus.fetch"),  # nothing that knows the network is loaded unless asked for
}

UNSAFE_MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.save", "os.system", "os.popen"}


def group_of(module: str) -> str:
    parts = module.split(".")
    if len(parts) > 1 and parts[1] in MAY_IMPORT:
        return parts[1]
    return "ground"


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


MODULES = {module_of(file) for file in FILES}


def imports(tree: ast.AST, inside_function: bool = False) -> Iterator[tuple[int, str, bool]]:
    """(line, module, whether inside a function); `from package import x` counts as package.x where that is a module."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, inside_function
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield node.lineno, whole if whole in MODULES else base, inside_function
        else:
            deeper = inside_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, deeper)


def complaints(module: str, source: str) -> list[str]:
    """What a module of the package may not do."""
    tree = ast.parse(source)
    found = [
        f"{line}: {what}" for line, name, inside in imports(tree) for what in import_complaints(module, name, inside)
    ]
    return found + [f"{line}: {what}" for line, what in other_complaints(tree)]


def import_complaints(module: str, name: str, inside_function: bool) -> Iterator[str]:
    group, top = group_of(module), name.split(".")[0]
    if name.startswith("."):
        yield f"{name} is imported relatively"
    if inside_function and module != "nmt.cli" and (module, name) not in IMPORTS_IN_FUNCTIONS:
        yield f"{name} is imported inside a function"
    if top in UNSAFE_MODULES:
        yield f"{top} runs code from files"
    if module not in ONLY_IN.get(top, {module}):
        yield f"{top} belongs to {', '.join(sorted(ONLY_IN[top]))}"
    if top == "torch" and group in WITHOUT_TORCH:
        yield f"{group} must do without torch"
    elif group == "ground" and top not in {*sys.stdlib_module_names, *GROUND_PACKAGES, *ONLY_IN, "nmt"}:
        yield f"{top} is not for the ground"
    if top != "nmt" or module == "nmt.__main__":
        return
    other = group_of(name)
    if other != group and other not in MAY_IMPORT[group]:
        yield f"{group} may not import {name}"
    for who, what in NEVER:
        if f"{module}.".startswith(f"{who}.") and f"{name}.".startswith(f"{what}."):
            yield f"{module} may not import {name}"
    is_paper = other == "models" and name.split(".")[-1] not in NOT_A_PAPER
    if is_paper and module not in ("nmt.models.build", name):
        yield f"only models/build.py may import {name}"


def other_complaints(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in UNSAFE_CALLS:
                yield node.lineno, f"{called} is called"
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    yield node.lineno, "allow_pickle"
                if keyword.arg == "shell" and ast.unparse(keyword.value) != "False":
                    yield node.lineno, "a shell is called"
        elif isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            raises_again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            if caught in ("everything", "Exception", "BaseException") and not raises_again:
                yield node.lineno, f"catches {caught}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_down(file: Path) -> None:
    assert complaints(module_of(file), file.read_text()) == []


def test_init_files_are_empty() -> None:
    for file in FILES:
        assert file.name != "__init__.py" or file.read_text() == "", file


def test_no_file_is_for_odds_and_ends() -> None:
    assert not {file.stem for file in FILES} & {"utils", "util", "helpers", "helper", "common", "misc"}


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("nmt.recipe", "import torch", "ground must do without torch"),
        ("nmt.recipe", "from torch import nn", "ground must do without torch"),
        ("nmt.cli", "def f():\n import torch.nn", "cli must do without torch"),
        ("nmt.durable", "import numpy", "numpy is not for the ground"),
        ("nmt.ops.masks", "from nmt.recipe import Recipe", "nmt.ops.masks may not import nmt.recipe"),
        ("nmt.ops.masks", "from nmt.batch import Batch", "ops may not import nmt.batch"),
        ("nmt.layers.x", "import nmt.models.contract", "layers may not import nmt.models.contract"),
        ("nmt.models.luong", "from nmt.models.bahdanau import Bahdanau", "only models/build.py may import"),
        ("nmt.models.luong", "from nmt.models import bahdanau", "only models/build.py may import"),
        ("nmt.training.x", "from nmt.models.bahdanau import Bahdanau", "only models/build.py may import"),
        ("nmt.models.luong", "from nmt.corpus import text", "models may not import nmt.corpus.text"),
        ("nmt.corpus.text", "from nmt.models import build", "corpus may not import nmt.models.build"),
        ("nmt.search.beam", "from nmt.corpus.text import x", "search may not import nmt.corpus.text"),
        ("nmt.translator", "from nmt.training.loss import x", "translator may not import nmt.training.loss"),
        ("nmt.training.x", "from nmt.translator import x", "training may not import nmt.translator"),
        ("nmt.training.x", "from nmt.commands.train import x", "training may not import nmt.commands.train"),
        ("nmt.commands.x", "from nmt.console import Console", "commands may not import nmt.console"),
        ("nmt.commands.x", "from rich.text import Text", "rich belongs to nmt.console"),
        ("nmt.commands.x", "import typer", "typer belongs to nmt.cli"),
        ("nmt.commands.x", "def f():\n from nmt.recipe import Recipe", "nmt.recipe is imported inside a function"),
        ("nmt.commands.x", "f = lambda: __import__('os')", "__import__ is called"),
        ("nmt.commands.x", "from . import y", ". is imported relatively"),
        ("nmt.training.x", "import pickle", "pickle runs code from files"),
        ("nmt.training.x", "torch.load(path, weights_only=True)", "torch.load is called"),
        ("nmt.training.x", "eval('1')", "eval is called"),
        ("nmt.corpus.x", "np.load(path, allow_pickle=True)", "allow_pickle"),
        ("nmt.corpus.x", "subprocess.run(x, shell=True)", "a shell is called"),
        ("nmt.corpus.x", "try:\n a\nexcept Exception:\n pass", "catches Exception"),
        ("nmt.corpus.x", "try:\n a\nexcept:\n pass", "catches everything"),
        ("nmt.corpus.x", "try:\n a\nexcept BaseException as e:\n raise X from e", "catches BaseException"),
    ],
)
def test_the_check_sees(module: str, source: str, said: str) -> None:
    [found] = complaints(module, source)
    assert said in found


def test_the_check_lets_through() -> None:
    assert (
        complaints("nmt.models.build", "from nmt.models.bahdanau import Bahdanau\nfrom nmt.recipe import ModelConfig")
        == []
    )
    assert complaints("nmt.corpus.x", "try:\n a\nexcept BaseException:\n b\n raise") == []
    assert complaints("nmt.training.x", "model.eval()\nsafetensors.torch.load(data)\nre.compile('x')") == []
    assert complaints("nmt.cli", "def f():\n from nmt.commands.train import train") == []
