"""docs/recipes.md, written from the headers of the recipes: `python -m tests.recipes.listing` writes it anew."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
PAGE = ROOT / "docs" / "recipes.md"

INTRO = """\
# Recipes

What each recipe of this repository trains, from the first sentence of its header; `python -m tests.recipes.listing`
writes this page, and a test holds it to the recipes. [results.md](results.md) has what was measured. What a recipe
would take, without any of its text:

```sh
nmt train recipes/papers/transformer2017-base-en-de.yaml --dry-run
```
"""

FOLDERS = {
    ".": """\
## The small corpus

Every kind of model on `data/en-fr`, whose text is in this repository: minutes on two cores.
""",
    "rnn": """\
## One recurrent model, one key changed

`kind: rnn` on the small corpus: everything but the attention is equal.
""",
    "multi30k": """\
## Multi30k

29,000 captions, to German and to French: one text, vocabulary and number of updates for all kinds, and about as many
parameters, so that they compare. `nmt prepare RECIPE --fetch` downloads the text.
""",
    "tatoeba": """\
## Tatoeba

160,000 short sentences of everyday talk, to French; again one budget for all kinds.
""",
    "papers": """\
## Papers

The sizes and settings of the papers in full. They are built and their parameters counted, not trained: the headers have
what the papers report, and where we differ.
""",
}


def paths() -> list[Path]:
    """Every recipe of the repository."""
    return sorted(RECIPES.rglob("*.yaml"))


def header(path: Path) -> list[str]:
    """The paragraphs of a recipe's header, each on one line."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return [" ".join(paragraph.split("\n")) for paragraph in "\n".join(lines).split("\n\n")]


def stated_parameters(path: Path) -> int | None:
    """The number of parameters that the header states."""
    found = re.search(r"([\d,]+) parameters\b", " ".join(header(path)))
    return int(found[1].replace(",", "")) if found else None


def table(folder: str) -> list[str]:
    """The table of the recipes of a folder."""
    rows = ["| recipe | what it is | parameters |", "|---|---|---|"]
    for path in paths():
        if path.parent == RECIPES / folder:
            name, count = path.relative_to(RECIPES).as_posix(), stated_parameters(path) or 0
            first = re.split(r"\.(?= |$)", header(path)[0])[0]
            rows.append(f"| [{name}](../recipes/{name}) | {first} | {count / 1e6:.1f} M |")
    return rows


def page() -> str:
    """The whole page."""
    parts = [INTRO]
    for folder, intro in FOLDERS.items():
        if len(rows := table(folder)) > 2:
            parts.append(intro + "\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
