"""Every public module, class, function and method says what it is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [file for file in sorted(ROOT.glob("nmt/**/*.py")) if file.name != "__init__.py"]


def undocumented(source: str) -> list[str]:
    """The public names without a docstring; the module's own name is `module`."""
    tree = ast.parse(source)
    return [*([] if ast.get_docstring(tree) else ["module"]), *_undocumented_in(tree, "")]


def _undocumented_in(scope: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    for node in _definitions(scope.body):
        if node.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        # An override says what it overrides says; overloads and setters are the same name again.
        if decorators & {"override", "overload"} or any(name.endswith(".setter") for name in decorators):
            continue
        docstring = ast.get_docstring(node)
        if not docstring or not docstring.strip():
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from _undocumented_in(node, f"{prefix}{node.name}.")


def _definitions(body: list[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Also those below an `if` or a `try` of the same scope."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "finalbody"):
                yield from _definitions(getattr(node, part, []))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_public_name_has_a_docstring(file: Path) -> None:
    assert undocumented(file.read_text()) == []


def test_the_check_sees_what_has_none() -> None:
    source = '''
class Documented:
    """Yes."""
    def __init__(self): ...
    def _own(self): ...
    def said(self):
        """Yes."""
        def inner(): ...
    def unsaid(self): ...
    @property
    def bare(self): ...
    class Inner: ...
    @override
    def forward(self): ...
class _Private:
    def method(self): ...
class Undocumented:
    x = 1
    """Not of the class."""
def function():
    "  "
async def later(): ...
if True:
    def conditional(): ...
def _hidden(): ...
'''
    assert undocumented(source) == [
        "module", "Documented.unsaid", "Documented.bare", "Documented.Inner", "Undocumented", "function", "later",
        "conditional",
    ]  # fmt: skip
    assert undocumented('"""A module."""\ndef f():\n    """Does."""') == []
