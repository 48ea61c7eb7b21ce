"""Writes the tables of docs/performance.md from the results that are here: `python -m benchmarks.page`.

The page is written by hand but for what stands between `<!-- NAME -->` and `<!-- end -->`: there, NAME's table is put
in anew. A test holds the page to the results.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gpu import table as gpu_table
from benchmarks.peers import ratio
from benchmarks.systems import OURS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"
NOT_YET = "Not yet measured."
CLEAN = 0.15
"""Cores that other programs may keep busy during a run that counts as undisturbed."""

Result = dict[str, Any]


def main() -> None:
    """Writes the page anew."""
    PAGE.write_text(filled(PAGE.read_text(), RESULTS))


def filled(page: str, results: Path) -> str:
    """The page with every table made from the results in a folder."""

    def made(found: re.Match[str]) -> str:
        name = found[1]
        path = results / f"{name}.json"
        kind = next(kind for kind in TABLES if name == kind or name.startswith(f"{kind}-"))
        table = TABLES[kind](json.loads(path.read_text())) if path.exists() else NOT_YET
        return f"<!-- {name} -->\n{table}\n<!-- end -->"

    return re.sub(r"<!-- ([\w-]+) -->\n.*?<!-- end -->", made, page, flags=re.DOTALL)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table, the first one its head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def speed(result: Result) -> str:
    """Rates, the fastest first: median and range over rounds, and what ours are to each."""
    runs = [run for run in result["runs"] if run["tokens"]]
    if not runs:
        return NOT_YET
    systems = sorted(
        dict.fromkeys(run["system"] for run in runs),
        key=lambda name: -median(run["tokens_per_second"] for run in runs if run["system"] == name),
    )
    head = ["system", "target tokens/s", "rounds", *(f"{name} is" for name in OURS), "tokens an update", "padding"]
    rows = [[*head, "memory, MiB", "parameters", "version"]]
    for name in systems:
        own = [run for run in runs if run["system"] == name]
        rows.append(
            [
                name + ("*" if any(run["watched"]["other_cores"] > CLEAN for run in own) else ""),
                _spread([run["tokens_per_second"] for run in own]),
                str(len(own)),
                *(_times(runs, mine, name) for mine in OURS),
                _whole(own, "tokens_per_update"),
                _padding(own),
                f"{max(run['watched']['peak_mib'] + run['watched']['children_mib'] for run in own):,}",
                _millions(own),
                own[0]["version"],
            ]
        )
    return markdown(rows) + "\n\n" + _settings(result, runs)


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:,.0f}"
    return f"{median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def _times(runs: Sequence[Result], mine: str, other: str) -> str:
    if other in OURS:
        return ""
    spread = ratio(runs, mine, other)
    if spread is None:
        return ""
    return f"{spread.middle:.2f} times" + (f" ({spread.least:.2f} to {spread.most:.2f})" if spread.most else "")


def _whole(own: Sequence[Result], key: str) -> str:
    values = [run[key] for run in own if run[key] is not None]
    return f"{median(values):,.0f}" if values else ""


def _padding(own: Sequence[Result]) -> str:
    shares = [run["real_share"] for run in own if run["real_share"] is not None]
    return f"{1 - median(shares):.1%}" if shares else "not told"


def _millions(own: Sequence[Result]) -> str:
    values = [run["parameters"] for run in own if run["parameters"]]
    return f"{values[0] / 1e6:.2f} M" if values else "not told"


def _settings(result: Result, runs: Sequence[Result]) -> str:
    """The line under a table that says how it was measured."""
    s = result["settings"]
    products = [run["products"] for run in runs]
    starred = any(run["watched"]["other_cores"] > CLEAN for run in runs)
    return (
        f"{s['time']}, commit {s['commit']}, {s['processor']}, {s['threads']} threads, torch {s['torch']}; "
        f"{s['measure']:.0f} s of logged work after {s['warm_up']:.0f} s of warm-up; matrix products in float32 "
        f"{min(products):,.0f} to {max(products):,.0f} Gflop/s over the run; text sha256 {s['text']['sha256'][:12]}."
        + (f" Not installed: {', '.join(s['absent'])}." if s["absent"] else "")
        + (f" *: other programs kept more than {CLEAN} cores busy in one of its rounds." if starred else "")
    )


def loss(result: Result) -> str:
    """Validation losses, the lowest first."""
    rows = [row for row in result["losses"] if row["loss"] is not None]
    if not rows:
        return NOT_YET
    table = [["system", "validation loss, nats a token", "target tokens", "updates"]]
    for row in sorted(rows, key=lambda row: row["loss"]):
        table.append([row["system"], f"{row['loss']:.3f}", f"{row['tokens']:,.0f}", f"{row['updates']:,}"])
    s = result["settings"]
    return markdown(table) + f"\n\n{s['time']}, commit {s['commit']}, seed 1."


def variants(result: Result) -> str:
    """Our own variants, a row each."""
    keys = list(dict.fromkeys(key for row in result["rows"] for key in row["keys"]))
    table = [["recipe", *keys, "target tokens/s", "padding", "memory, MiB"]]
    for row in result["rows"]:
        share = "" if row["real_share"] is None else f"{1 - row['real_share']:.1%}"
        values = [row["keys"].get(key, "") for key in keys]
        memory = f"{row['watched']['peak_mib']:,}"
        table.append([row["task"], *values, f"{row['tokens_per_second']:,.0f}", share, memory])
    return markdown(table) + "\n\n" + _machine(result)


def limits(result: Result) -> str:
    """Our rates beside the machine's."""
    table = [["recipe", "type", "target tokens/s", "at the limit", "Gflop/s of the model", "of its products", "share"]]
    for row in result["rows"]:
        rates = [f"{row[key]:,.0f}" for key in ("tokens_per_second", "limit_tokens_per_second")]
        gflops = [f"{row[key]:,.0f}" for key in ("model_gflops", "products_gflops")]
        table.append([row["task"], row["dtype"], *rates, *gflops, f"{row['share']:.2f}"])
    return markdown(table) + "\n\n" + _machine(result)


def growth(result: Result) -> str:
    """Rates by size of batch, a column for each recipe and type."""
    return _by_size(result) + "\n\nTarget tokens a second. " + _machine(result)


def attentions(result: Result) -> str:
    """Rates by length, a column for each attention and type."""
    told = "Source positions a second, forward and backward through two layers of the encoder. "
    return _by_size(result) + "\n\n" + told + _machine(result)


def _by_size(result: Result) -> str:
    rows = result["rows"]
    columns = list(dict.fromkeys((row["task"], row["dtype"]) for row in rows))
    sizes = list(dict.fromkeys((row["sentences"], row["length"]) for row in rows))
    rates = {(r["task"], r["dtype"], r["sentences"], r["length"]): r["tokens_per_second"] for r in rows}
    table = [["sentences", "pieces", *(f"{name}, {dtype}" for name, dtype in columns)]]
    for size in sizes:
        found = [rates.get((*column, *size)) for column in columns]
        table.append([*map(str, size), *("" if rate is None else f"{rate:,.0f}" for rate in found)])
    return markdown(table)


def loader(result: Result) -> str:
    """How fast batches are made, a row a layout."""
    first = ["layout", "loaded, tokens/s", "cut and loaded", "padding", "source and target tokens of an epoch"]
    table = [[*first, "shapes with `cuda_graphs`", "padding then"]]
    for row in result["rows"]:
        rates = [f"{row[key] / 1e6:.1f} M" for key in ("loaded_per_second", "cut_and_loaded_per_second")]
        size = f"{row['tokens']:,} in {row['batches']:,} batches"
        graphs = f"{row['shapes']:,}", f"{1 - row['roomy_share']:.1%}"
        table.append([row["layout"], *rates, f"{1 - row['real_share']:.1%}", size, *graphs])
    return markdown(table) + "\n\nOf one thread's CPU time. " + _machine(result)


def _machine(result: Result) -> str:
    s = result["settings"]
    return f"{s['time']}, commit {s['commit']}, {s['processor']}, {s['threads']} threads, torch {s['torch']}."


def gains(result: Result) -> str:
    """What compiled passes bring, by recipe."""
    table = [["recipe", "type", "plain, target tokens/s", "compiled", "times as fast", "half of the batches"]]
    for row in sorted(result["rows"], key=lambda row: -row["times"]):
        rates = f"{row['plain']:,.0f}", f"{row['compiled']:,.0f}"
        middle = f"{row['quarter']:.2f} to {row['three_quarters']:.2f}"
        table.append([row["recipe"], row["dtype"], *rates, f"{row['times']:.2f}", middle])
    return markdown(table) + "\n\n" + _machine(result)


def quality(result: Result) -> str:
    """Minutes to the mark, the fastest first."""
    target = f"{result['settings']['target']:g}"
    table = [["system", f"minutes to BLEU {target}", "updates", "best BLEU seen", "settings", "version"]]
    for course in sorted(result["courses"], key=lambda c: c["seconds"] or float("inf")):
        at = next((one["updates"] for one in course["reached"] if one["seconds"] == course["seconds"]), None)
        last = f"not by {course['reached'][-1]['seconds'] / 60:.1f}" if course["reached"] else "not reached"
        minutes = f"{course['seconds'] / 60:.1f}" if course["seconds"] else last
        best = max((one["bleu"] for one in course["reached"]), default=0.0)
        told = [course["settings"], course["version"]]
        table.append([course["system"], minutes, f"{at:,}" if at else "", f"{best:.2f}", *told])
    return markdown(table) + "\n\n" + _machine(result)


def on_gpu(result: Result) -> str:
    """What the GPU's measurement printed."""
    s = result["settings"]
    return gpu_table(result["figures"]) + f"\n\n{s['time']}, commit {s['commit']}, torch {s['torch']}."


def translating(result: Result) -> str:
    """Sentences a second of both engines, and what ours is to the other, round by round."""
    runs = result["runs"]
    rows = [["precision", "beam", "engine", "sentences/s", "BLEU", "at once", "whole program, s", "nmt is"]]
    for run in runs:
        setting = run["setting"]
        same = {key: setting[key] for key in ("precision", "beam")}
        ours = next(r for r in runs if {**same, "engine": "nmt"}.items() <= r["setting"].items())
        times = [theirs / mine for theirs, mine in zip(run["seconds"], ours["seconds"], strict=True)]
        is_ours = setting["engine"] == "nmt"
        rows.append(
            [
                setting["precision"],
                str(setting["beam"]),
                setting["engine"],
                f"{run['sentences_per_second']:,.0f}",
                "" if run["bleu"] is None else f"{run['bleu']:.2f}",
                str(setting["batch"]),
                f"{median(run['whole']):.2f}",
                "" if is_ours else f"{median(times):.2f} times ({min(times):.2f} to {max(times):.2f})",
            ]
        )
    first = f"First line {median(result['first_line_seconds']):.2f} s after the start of `nmt translate`. "
    made = result["settings"]
    return (
        markdown(rows)
        + f"\n\n{first}{made['time']}, commit {made['commit']}, {made['processor']}, {made['sentences']:,} sentences, "
        + f"{made['rounds']} rounds, torch {made['torch']}."
    )


def recurrent(result: Result) -> str:
    """Sentences a second of our recurrent models and of the other program's, and their ratio round by round."""
    variants = sorted({run["system"] for run in result["runs"] if run["system"].startswith("nmt ")})
    head = ["attention", "beam", "program", "sentences/s", "parameters", "at once", "processes"]
    rows = [[*head, *(f"{variant} is" for variant in variants)]]
    for run in result["runs"]:
        own = {key: run[key] for key in ("model", "beam")}
        ratios = []
        for variant in variants:
            ours = next(r for r in result["runs"] if {**own, "system": variant}.items() <= r.items())
            both = zip(ours["sentences_per_second"], run["sentences_per_second"], strict=True)
            times = [mine / theirs for mine, theirs in both]
            told = f"{median(times):.2f} times ({min(times):.2f} to {max(times):.2f})"
            ratios.append("" if run["system"] in variants else told)
        setting = run["setting"]
        rows.append(
            [
                run["model"],
                str(run["beam"]),
                run["system"],
                _spread(run["sentences_per_second"]),
                _millions([run]),
                str(setting["batch"]),
                f"{setting['processes']}, {setting['threads']} thread{'s' * (setting['threads'] > 1)} each",
                *ratios,
            ]
        )
    made, commits = result["settings"], ", ".join(dict.fromkeys(run["commit"] for run in result["runs"]))
    return markdown(rows) + (
        f"\n\n{made['time']}, commit {commits}, {made['processor']}, {made['rounds']} rounds, torch "
        f"{made['torch']}; OpenNMT-py {made['version']}."
    )


def invariance(result: Result) -> str:
    """How many lines came out otherwise by what was changed, and how many of these were near-ties."""
    runs, beside = result["runs"], dict.fromkeys(run["beside"] for run in result["runs"])
    rows = [["kind", "precision", "beam", "lines", *beside, "near-ties", "largest gap"]]
    for told in dict.fromkeys((run["kind"], run["precision"], run["beam"], run["lines"]) for run in runs):
        own = [r for r in runs if (r["kind"], r["precision"], r["beam"], r["lines"]) == told]
        different = [next(r["different"] for r in own if r["beside"] == name) for name in beside]
        gap = max(r["largest_gap"] for r in own)
        near = sum(r["near_ties"] for r in own)
        rows.append([*map(str, (*told[:3], f"{told[3]:,}", *different, near)), f"{gap:.1e}" if gap else ""])
    made = result["settings"]
    return markdown(rows) + (
        f"\n\n{made['time']}, commit {made['commit']}, {made['processor']}, torch {made['torch']}; recipes after "
        f"{made['updates']} updates."
    )


def growing(result: Result) -> str:
    """Seconds and memory of the whole program by the number of lines."""
    rows = [["precision", "beam", "lines", "seconds", "lines/s without the start", "memory, MiB"]]
    for run in result["runs"]:
        rate = run["lines"] / (run["seconds"] - run["start"])
        memory = f"{run['peak_mib']:,} + {run['children_mib']:,}"
        rows.append(
            [run["precision"], str(run["beam"]), f"{run['lines']:,}", f"{run['seconds']:.1f}", f"{rate:,.0f}", memory]
        )
    made = result["settings"]
    return markdown(rows) + (
        f"\n\nMemory: the most of the first process, and the private memory of its two workers. {made['time']}, commit "
        f"{made['commit']}, {made['processor']}, torch {made['torch']}."
    )


def shortlists(result: Result) -> str:
    """What a shortlist brings, round by round, and what it does to BLEU."""
    rows = [["precision", "beam", "times as fast", "BLEU without", "BLEU with"]]
    for run in result["runs"]:
        seconds, bleu = run["seconds"], run["bleu"]
        times = [a / b for a, b in zip(seconds["without"], seconds["with"], strict=True)]
        told = f"{median(times):.2f} ({min(times):.2f} to {max(times):.2f})"
        rows.append([run["precision"], str(run["beam"]), told, f"{bleu['without']:.2f}", f"{bleu['with']:.2f}"])
    made = result["settings"]
    return markdown(rows) + (
        f"\n\n{made['time']}, commit {made['commit']}, {made['processor']}, {made['sentences']:,} sentences, one "
        f"thread, {made['rounds']} rounds, torch {made['torch']}."
    )


TABLES: dict[str, Callable[[Result], str]] = {
    "translate": translating,
    "recurrent": recurrent,
    "growth-translate": growing,
    "shortlists": shortlists,
    "invariance": invariance,
    "peers-speed": speed,
    "peers-loss": loss,
    "passes": gains,
    "train-variants": variants,
    "train-limit": limits,
    "train-growth": growth,
    "train-attention": attentions,
    "train-loader": loader,
    "quality": quality,
    "gpu": on_gpu,
}
"""How the table of a file of results is made, by the beginning of the file's name."""


if __name__ == "__main__":
    main()
