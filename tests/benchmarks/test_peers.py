"""Ratios, contenders, our own log, and the tables of the page."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ours, page
from benchmarks.peers import Run, Spread, contenders, ratio, ratios
from benchmarks.quality import Reached, first
from benchmarks.watch import Sample, Watched

WATCHED = Watched(code=-15, stopped=True, seconds=50.0, peak_mib=900, children_mib=100, cores=1.9, other_cores=0.05)


def a_run(number: int, system: str, rate: float, **changed: Any) -> Run:
    values: dict[str, Any] = {
        "round": number,
        "system": system,
        "version": "1.0",
        "batch": 4096,
        "tokens_per_second": rate,
        "seconds": 20.0,
        "tokens": 20 * rate,
        "tokens_per_update": 4050.0,
        "real_share": 0.95,
        "parameters": 7_600_000,
        "products": 150.0,
        "watched": WATCHED,
    }
    return Run(**{**values, **changed})


RUNS = [
    a_run(1, "nmt float32", 3000),
    a_run(1, "nmt bfloat16", 6000),
    a_run(1, "slow", 1000, real_share=None, parameters=None),
    a_run(1, "fast", 2000),
    a_run(1, "middling", 1500),
    a_run(2, "nmt float32", 2400),
    a_run(2, "nmt bfloat16", 6600),
    a_run(2, "fast", 2400),
    a_run(3, "nmt float32", 3300),
    a_run(3, "fast", 2200),
]


def rows() -> list[dict[str, Any]]:
    return json.loads(json.dumps([run.__dict__ | {"watched": WATCHED.__dict__} for run in RUNS]))


def test_a_ratio_is_of_the_same_round() -> None:
    assert ratio(rows(), "nmt float32", "fast") == Spread(1.5, 1.0, 1.5)
    assert ratio(rows(), "nmt bfloat16", "fast") == Spread((3.0 + 2.75) / 2, 2.75, 3.0)
    assert ratio(rows(), "nmt float32", "slow") == Spread(3.0, 3.0, 3.0)
    assert ratio(rows(), "nmt float32", "nobody") is None


def test_a_run_without_a_rate_has_no_ratio() -> None:
    assert (
        ratio([{"round": 1, "system": n, "tokens_per_second": r} for n, r in (("a", 5.0), ("b", 0.0))], "a", "b")
        is None
    )


def test_the_ratios_are_told_with_their_spread() -> None:
    assert "nmt float32 / fast = 1.50 (1.00 to 1.50)" in ratios(rows()).splitlines()
    assert len(ratios(rows()).splitlines()) == 6


def test_later_rounds_have_the_fastest_that_are_not_ours() -> None:
    assert contenders(RUNS[:5], 2) == ["fast", "middling"]


def test_our_log_is_read_line_by_line_as_it_grows() -> None:
    events = [
        {"event": "start", "parameters": 7, "threads": 2},
        {"event": "update", "update": 5, "tgt_tokens": 20000, "tgt_tokens_per_second": 2000.0, "real_share": 0.9},
        {"event": "update", "update": 10, "tgt_tokens": 41000, "tgt_tokens_per_second": 3000.0, "real_share": 0.8},
        {"event": "validation", "update": 10, "loss": 2.0, "bleu": 31.5, "seconds": 30.0},
    ]
    text = "".join(json.dumps(event) + "\n" for event in events)
    log = ours.read_log(text + '{"event": "upd')
    assert log.samples == [Sample(20000, 10.0), Sample(21000, 7.0)]
    assert (log.tokens_per_update, log.parameters) == (4100.0, 7)
    assert log.real_share == pytest.approx(0.85)
    assert log.validations == [ours.Validated(tokens=41000, seconds=30.0, loss=2.0, bleu=31.5)]
    assert ours.read_log("").samples == []


SETTINGS = {
    "time": "2026-01-31 12:00 UTC",
    "commit": "abc",
    "processor": "a processor",
    "threads": 2,
    "torch": "2",
    "measure": 24.0,
    "warm_up": 12.0,
    "text": {"sha256": "0123456789abcdef"},
    "absent": ["Sockeye"],
}


def test_a_table_has_a_row_a_system_the_fastest_first() -> None:
    table = page.speed({"settings": SETTINGS, "runs": rows()}).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in table[2:7]] == [
        "nmt bfloat16", "nmt float32", "fast", "middling", "slow",
    ]  # fmt: skip
    cells = [cell.strip() for cell in table[4].strip("|").split("|")]
    assert cells == [
        *("fast", "2,200 (2,000 to 2,400)", "3", "1.50 times (1.00 to 1.50)", "2.88 times (2.75 to 3.00)", "4,050"),
        *("5.0%", "1,000", "7.60 M", "1.0"),
    ]
    assert "not told" in table[6]
    assert "commit abc" in table[-1]
    assert "Not installed: Sockeye." in table[-1]
    assert "*" not in "".join(table)


def test_a_disturbed_run_is_marked() -> None:
    disturbed = rows()
    disturbed[3]["watched"]["other_cores"] = 0.4
    table = page.speed({"settings": SETTINGS, "runs": disturbed})
    assert "| fast* |" in table
    assert "*: other programs kept more than 0.15 cores busy" in table


def test_a_page_gets_the_tables_whose_results_are_there(tmp_path: Path) -> None:
    text = (
        "# Title\n<!-- peers-speed-transformer -->\nold\n<!-- end -->\nwords\n<!-- peers-loss-gru -->\n<!-- end -->\n"
    )
    (tmp_path / "peers-speed-transformer.json").write_text(json.dumps({"settings": SETTINGS, "runs": rows()}))
    made = page.filled(text, tmp_path)
    assert "\nold\n" not in made
    assert "| fast |" in made
    assert f"<!-- peers-loss-gru -->\n{page.NOT_YET}\n<!-- end -->\n" in made
    assert made.startswith("# Title\n<!-- peers-speed-transformer -->\n| system |")
    assert page.filled(made, tmp_path) == made


def test_losses_are_listed_the_lowest_first() -> None:
    losses = [
        {"system": name, "loss": loss, "tokens": 400_123.0, "updates": 100}
        for name, loss in (("b", 3.5), ("a", 3.25), ("never", None))
    ]
    table = page.loss({"settings": SETTINGS, "losses": losses}).splitlines()
    assert table[2:4] == ["| a | 3.250 | 400,123 | 100 |", "| b | 3.500 | 400,123 | 100 |"]
    assert page.loss({"settings": SETTINGS, "losses": losses[2:]}) == page.NOT_YET


def test_our_variants_have_a_column_for_each_key_that_changes() -> None:
    rows = [
        {"task": "gru", "keys": {"compute.dtype": dtype}, "tokens_per_second": 1000.0, "real_share": 0.9, "watched": w}
        for dtype, w in (("float32", WATCHED.__dict__), ("bfloat16", WATCHED.__dict__))
    ]
    table = page.variants({"settings": SETTINGS, "rows": rows}).splitlines()
    assert table[0] == "| recipe | compute.dtype | target tokens/s | padding | memory, MiB |"
    assert table[3] == "| gru | bfloat16 | 1,000 | 10.0% | 900 |"


def test_what_passes_bring_is_listed_the_most_first() -> None:
    row = {"recipe": "a", "dtype": "float32", "plain": 2000.4, "compiled": 2500.0, "times": 1.251}
    row |= {"quarter": 1.2, "three_quarters": 1.3}
    table = page.gains({"settings": SETTINGS, "rows": [row, {**row, "recipe": "b", "times": 1.4}]}).splitlines()
    assert table[2] == "| b | float32 | 2,000 | 2,500 | 1.40 | 1.20 to 1.30 |"
    assert table[3] == "| a | float32 | 2,000 | 2,500 | 1.25 | 1.20 to 1.30 |"


def test_the_share_of_the_limit_stands_in_its_table() -> None:
    row = {"task": "gru", "dtype": "float32", "tokens_per_second": 3000.0, "limit_tokens_per_second": 4000.0}
    row |= {"model_gflops": 120.4, "products_gflops": 160.0, "share": 0.7525}
    table = page.limits({"settings": SETTINGS, "rows": [row]}).splitlines()
    assert table[2] == "| gru | float32 | 3,000 | 4,000 | 120 | 160 | 0.75 |"


def test_the_loader_has_a_row_a_layout() -> None:
    row = {"layout": "rows", "tokens": 949590, "batches": 130, "real_share": 0.9714}
    row |= {"loaded_per_second": 24506942, "cut_and_loaded_per_second": 18140886, "shapes": 12, "roomy_share": 0.919}
    table = page.loader({"settings": SETTINGS, "rows": [row]}).splitlines()
    assert table[2] == "| rows | 24.5 M | 18.1 M | 2.9% | 949,590 in 130 batches | 12 | 8.1% |"


def test_growth_has_a_row_a_size_and_leaves_gaps() -> None:
    rows = [
        {"task": "gru", "dtype": dtype, "sentences": sentences, "length": 30, "tokens_per_second": rate}
        for dtype, sentences, rate in (("float32", 1, 100.0), ("float32", 4, 300.0), ("bfloat16", 4, 500.0))
    ]
    table = page.growth({"settings": SETTINGS, "rows": rows}).splitlines()
    assert table[2:4] == ["| 1 | 30 | 100 |  |", "| 4 | 30 | 300 | 500 |"]


def test_minutes_to_quality_are_listed_the_fastest_first() -> None:
    reached = [{"updates": 100, "seconds": 60.0, "bleu": 40.0}, {"updates": 200, "seconds": 120.0, "bleu": 50.5}]
    common = {"version": "1", "settings": "s", "other_cores": 0.0}
    courses = [
        {"system": "never", "seconds": None, "reached": reached[:1], **common},
        {"system": "nmt", "seconds": 120.0, "reached": reached, **common},
    ]
    table = page.quality({"settings": {**SETTINGS, "target": 50.0}, "courses": courses}).splitlines()
    assert table[0].startswith("| system | minutes to BLEU 50 |")
    assert table[2:4] == ["| nmt | 2.0 | 200 | 50.50 | s | 1 |", "| never | not by 1.0 |  | 40.00 | s | 1 |"]


def test_the_first_that_is_at_the_mark_counts() -> None:
    reached = [Reached(100, 10.0, 49.9), Reached(200, 20.0, 50.0), Reached(300, 30.0, 55.0)]
    assert first(reached, 50.0) == 20.0
    assert first(reached, 60.0) is None


def test_the_page_of_this_repository_is_what_its_results_make() -> None:
    text = page.PAGE.read_text()
    assert page.filled(text, page.RESULTS) == text, "python -m benchmarks.page"


def test_the_table_of_translation_has_both_engines_and_their_ratio_by_round() -> None:
    def run(engine: str, precision: str, seconds: list[float], bleu: float | None) -> dict[str, object]:
        setting = {"engine": engine, "precision": precision, "beam": 5, "batch": 64}
        whole = [second + 2 for second in seconds]
        rate = 1000 / seconds[1]
        return {"setting": setting, "seconds": seconds, "whole": whole, "sentences_per_second": rate, "bleu": bleu}

    runs = [
        run("nmt", "float32", [4.0, 5.0, 6.0], 51.0),
        run("ctranslate2", "float32", [8.0, 5.0, 9.0], None),
        run("nmt", "int8", [1.0, 1.0, 1.0], 50.0),
    ]
    settings = {**SETTINGS, "sentences": 1000, "rounds": 3}
    made = page.translating({"settings": settings, "runs": runs, "first_line_seconds": [2.0, 3.0, 2.5]}).splitlines()
    assert made[2] == "| float32 | 5 | nmt | 200 | 51.00 | 64 | 7.00 |  |"
    assert made[3] == "| float32 | 5 | ctranslate2 | 200 |  | 64 | 10.00 | 1.50 times (1.00 to 2.00) |"
    assert made[4] == "| int8 | 5 | nmt | 1,000 | 50.00 | 64 | 3.00 |  |"
    assert made[-1].startswith("First line 2.50 s after the start")


def test_the_table_of_recurrent_models_has_each_of_ours_beside_each_of_theirs() -> None:
    def run(system: str, rates: list[float]) -> dict[str, object]:
        setting = {"batch": 64, "processes": 2, "threads": 1}
        own = {"model": "additive", "beam": 5, "system": system, "setting": setting, "parameters": 2_000_000}
        return {**own, "sentences_per_second": rates, "commit": "abc"}

    runs = [run("nmt int8", [40.0, 60.0]), run("OpenNMT-py int8", [20.0, 20.0]), run("nmt float32", [20.0, 30.0])]
    made = page.recurrent({"settings": {**SETTINGS, "rounds": 2, "version": "3"}, "runs": runs}).splitlines()
    assert made[0].endswith("| nmt float32 is | nmt int8 is |")
    assert made[2].endswith("| 2, 1 thread each |  |  |")
    assert made[3].endswith("| 1.25 times (1.00 to 1.50) | 2.50 times (2.00 to 3.00) |")


def test_the_table_of_what_does_not_vary_has_a_row_for_each_model_and_search() -> None:
    def run(kind: str, beside: str, different: int, gap: float) -> dict[str, object]:
        own = {"kind": kind, "precision": "int8", "beam": 5, "lines": 1000, "beside": beside}
        return {**own, "different": different, "near_ties": different, "largest_gap": gap}

    runs = [run(kind, beside, n, n / 1e6) for kind in ("a", "b") for n, beside in enumerate(("order", "one"))]
    made = page.invariance({"settings": {**SETTINGS, "updates": 200}, "runs": runs}).splitlines()
    assert made[0] == "| kind | precision | beam | lines | order | one | near-ties | largest gap |"
    assert made[2:4] == [f"| {kind} | int8 | 5 | 1,000 | 0 | 1 | 1 | 1.0e-06 |" for kind in "ab"]


def test_lines_and_shortlists_have_their_rates() -> None:
    row = {"precision": "int8", "beam": 1, "lines": 4000, "start": 2.0, "seconds": 6.0, "peak_mib": 300}
    made = page.growing({"settings": SETTINGS, "runs": [{**row, "children_mib": 1000}]}).splitlines()
    assert made[2] == "| int8 | 1 | 4,000 | 6.0 | 1,000 | 300 + 1,000 |"
    bleu = {"without": 50.0, "with": 49.9}
    run = {
        "precision": "int8",
        "beam": 5,
        "seconds": {"without": [2.0, 3.0, 4.0], "with": [2.0, 2.0, 2.0]},
        "bleu": bleu,
    }
    settings = {**SETTINGS, "sentences": 1000, "rounds": 3}
    assert page.shortlists({"settings": settings, "runs": [run]}).splitlines()[2] == (
        "| int8 | 5 | 1.50 (1.00 to 2.00) | 50.00 | 49.90 |"
    )
