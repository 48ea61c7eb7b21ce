"""What a recipe would take, without building anything."""

import json
import time
from pathlib import Path

import pytest
import torch

from nmt.commands.dry_run import LENGTH, Plan, dry_run
from nmt.recipe import Recipe
from nmt.recipe_file import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
MAIN = RECIPES / "en-fr-bahdanau.yaml"


def bahdanau_parameters(m: int, n: int, n_prime: int, l: int, K_x: int, K_y: int) -> int:  # noqa: E741
    """Counted by hand from the paper's appendix A, with the biases that B.1 sets to zero."""
    embeddings = m * K_x + m * K_y
    encoder = 2 * 3 * (m * n + n * n + n)
    initial_state = n * n + n
    alignment = n_prime * n + n_prime * 2 * n + n_prime + n_prime
    decoder = 3 * (m * n + n * n + 2 * n * n + n)
    readout = 2 * l * (n + m + 2 * n) + 2 * l
    output = K_y * l + K_y
    return embeddings + encoder + initial_state + alignment + decoder + readout + output


def main_job(*overrides: str) -> Recipe:
    return load_recipe(MAIN, overrides)


def test_the_papers_sizes_give_the_papers_parameters() -> None:
    plan = dry_run(load_recipe(RECIPES / "papers" / "bahdanau2015-en-fr.yaml"))
    assert plan.parameters == bahdanau_parameters(620, 1000, 1000, 500, 30_004, 30_004) == 80_449_964


def test_ties_are_counted_once() -> None:
    free = bahdanau_parameters(128, 256, 128, 128, 3000, 3000)
    assert dry_run(main_job("model.tied_output=false")).parameters == free
    assert dry_run(main_job()).parameters == free - 3000 * 128
    assert dry_run(main_job("model.tied_embeddings=true")).parameters == free - 2 * 3000 * 128


def test_each_side_has_its_own_ids() -> None:
    plan = dry_run(main_job("tokenizer={joint: false, vocab: {src: 500, tgt: 400}}", "model.tied_output=false"))
    assert (plan.src_vocab, plan.tgt_vocab) == (500, 400)
    assert plan.parameters == bahdanau_parameters(128, 256, 128, 128, 500, 400)


@pytest.mark.parametrize(
    ("optimizer", "slots"),
    [
        ("{kind: adam}", 2),
        ("{kind: adadelta}", 2),
        ("{kind: sgd}", 0),
        ("{kind: sgd, momentum: 0.9}", 1),
    ],
)
def test_memory_is_four_bytes_for_each_number_that_training_keeps(optimizer: str, slots: int) -> None:
    plan = dry_run(main_job(f"train.optimizer={optimizer}"))
    assert plan.memory.weights == plan.memory.gradients == 4 * plan.parameters
    assert plan.memory.optimizer == 4 * slots * plan.parameters


def test_memory_is_that_of_the_larger_of_two_optimisers() -> None:
    switch = "train.switch={at_update: 9, optimizer: {kind: adam}, lr: 0.5}"
    assert dry_run(main_job("train.optimizer={kind: sgd}", switch)).memory.optimizer > 0


def test_activations_are_those_of_a_part_and_time_is_of_the_whole_batch() -> None:
    whole, half = dry_run(main_job("train.batch_tokens=2000")), dry_run(main_job("train.batch_tokens=1000"))
    parts = dry_run(main_job("train.batch_tokens=2000", "train.grad_parts=2"))
    assert (whole.sentences, whole.length) == (2000 // LENGTH, LENGTH)
    assert parts.memory.activations == half.memory.activations < whole.memory.activations
    assert parts.time.flops == whole.time.flops == 2 * half.time.flops
    assert "40 sentences of 25 pieces" in "\n".join(parts.lines())


def test_a_layout_of_rows_is_planned_with_its_rows() -> None:
    def plan(*more: str) -> Plan:
        return dry_run(load_recipe(RECIPES / "en-fr-transformer.yaml", ["train.batch_tokens=2000", *more]))

    padded, flat = plan(), plan("train.layout=flat")
    rows = plan("train.layout=rows", "train.row_tokens=60")  # two sentences of 25, ten positions of padding
    assert flat.time.flops == padded.time.flops < rows.time.flops < 1.5 * padded.time.flops
    assert padded.memory.activations < flat.memory.activations < rows.memory.activations < 3 * padded.memory.activations
    assert "80 sentences of 25 pieces a side leave for" in "\n".join(padded.lines())
    assert "80 sentences of 25 pieces a side in rows of 60 leave for" in "\n".join(rows.lines())
    assert "80 sentences of 25 pieces a side in one row leave for" in "\n".join(flat.lines())
    assert [(p.layout, p.row_tokens) for p in (padded, rows, flat)] == [("padded", None), ("rows", 60), ("flat", None)]


def test_r_drop_is_twice_the_work() -> None:
    once, twice = dry_run(main_job()), dry_run(main_job("train.r_drop=5"))
    assert twice.time.flops == 2 * once.time.flops
    assert twice.time.tgt_tokens == once.time.tgt_tokens
    assert twice.memory.activations > 1.8 * once.memory.activations


def test_time_is_that_of_all_updates_at_the_measured_rate() -> None:
    took = dry_run(main_job("train.updates=77")).time
    assert took.device == "cpu"
    assert took.seconds == pytest.approx(77 * took.flops / took.rate)
    assert took.tgt_tokens == 1500 // LENGTH * LENGTH


def test_short_sentences_are_no_longer_than_the_corpus_allows() -> None:
    plan = dry_run(main_job("corpus.max_len=10", "train={batch_sentences: 7, updates: 5}"))
    assert (plan.sentences, plan.length) == (7, 10)


def test_bfloat16_halves_most_of_what_is_kept() -> None:
    half = dry_run(main_job("compute.dtype=bfloat16")).memory.activations
    assert half < dry_run(main_job("compute.dtype=float32")).memory.activations


def test_people_see_the_sum_of_each_part() -> None:
    lines = dry_run(main_job()).lines()
    assert lines[0] == "en-fr-bahdanau: bahdanau, 3,000 source ids, 3,000 target ids"
    assert [line.split() for line in lines if line.startswith("  encoder") or line.startswith("  U_a")] == [
        ["encoder", "591,360"],
        ["U_a", "128", "x", "512", "+", "128", "65,664"],
    ]
    assert any(line.split() == ["forward_gru.U_zr", "512", "x", "256"] for line in lines)
    (total,) = [line for line in lines if "parameters in all" in line]
    assert total.split()[-1] == "2,445,240"
    shown = [int(line.split()[-1].replace(",", "")) for line in lines[1 : lines.index(total)] if line[2] != " "]
    assert sum(shown) == 2_445_240
    assert sum(line.startswith(("memory: ", "time: ")) for line in lines) == 2


def test_layers_of_one_shape_share_a_line() -> None:
    lines = dry_run(main_job("model={kind: transformer}")).lines()
    assert any(line.split() == ["*.attention.qkv.weight", "6", "of", "1,536", "x", "512"] for line in lines)


def test_the_json_has_every_parameter() -> None:
    plan = dry_run(main_job())
    told = json.loads(plan.as_json())
    assert {part["name"]: part["parameters"] for part in told["parts"]}["U_a.weight"] == 128 * 512
    assert sum(part["parameters"] for part in told["parts"]) == told["parameters"] == plan.parameters
    assert told["memory"]["weights"] == 4 * plan.parameters
    assert told["time"]["flops"] == plan.time.flops


def test_threads_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    dry_run(main_job("compute.threads=2"))
    assert torch.get_num_threads() == before


def test_it_is_quick_for_large_models_too() -> None:
    started = time.process_time()
    dry_run(load_recipe(RECIPES / "papers" / "bahdanau2015-en-fr.yaml"))
    assert time.process_time() - started < 3
