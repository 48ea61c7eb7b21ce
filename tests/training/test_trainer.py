"""What the loop makes of a recipe, read off the log of real trainings."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from nmt.corpus import batches as batches_module
from nmt.corpus.batches import Batches, Sampling
from nmt.training.checkpoint import saved_updates
from nmt.training.progress import Progress
from nmt.training.trainer import Trainer
from tests.corpus.lengths import Doubling, news, shard
from tests.training.tiny import TRAIN, events, recipe, write
from tests.training.warm import Warm

PLATEAU = {"kind": "plateau", "patience": 1, "factor": 0.5}


def trained(warm: Warm, folder: Path, **train: Any) -> Path:
    """A folder in which every update was logged; the validation loss only rises and BLEU stays 0."""
    write(folder, recipe(train=train), hopeless=True)
    process = warm.start(folder, TRAIN, meddle=["log_every", 1])
    assert process.wait() == 0, process.stderr
    return folder


def rates(folder: Path) -> list[float]:
    return [event["lr"] for event in events(folder, "update")]


def test_halving_counts_the_epochs_of_the_corpus(warm: Warm, tmp_path: Path) -> None:
    """150 pairs, 30 a batch: update u begins after (u - 1) / 5 epochs."""
    schedule = {"kind": "halving", "from_epoch": 1, "every_epochs": 0.6}
    assert rates(trained(warm, tmp_path, lr=0.8, schedule=schedule)) == [*[0.8] * 5, *[0.4] * 3, *[0.2] * 3, 0.1]


def test_a_plateau_cuts_the_rate_when_the_validation_loss_rises(warm: Warm, tmp_path: Path) -> None:
    folder = trained(warm, tmp_path, lr=0.08, schedule=PLATEAU, validate_every=3)
    losses = [event["loss"] for event in events(folder, "validation")]
    assert min(losses[1:]) > losses[0]  # none came back to the first, so each one cuts
    assert rates(folder) == [*[0.08] * 6, *[0.04] * 3, *[0.02] * 3]


def test_a_switch_begins_with_its_own_rate_whatever_the_first_schedule_cut(warm: Warm, tmp_path: Path) -> None:
    switch = {"at_update": 8, "optimizer": {"kind": "sgd"}, "lr": 0.03, "schedule": PLATEAU}
    folder = trained(warm, tmp_path, lr=0.08, schedule=PLATEAU, validate_every=3, switch=switch)
    assert rates(folder) == [*[0.08] * 6, 0.04, *[0.03] * 5]


def test_patience_ends_the_training_and_the_end_is_saved(warm: Warm, tmp_path: Path) -> None:
    folder = trained(warm, tmp_path, patience=1)  # validated at 4 and 8, saved at 3, 6 and then
    assert [event["update"] for event in events(folder, "validation")] == [4, 8]
    assert saved_updates(folder / "runs" / "tiny") == [8]
    assert [(event["reason"], event["update"]) for event in events(folder, "end")] == [("patience", 8)]


def test_a_plateau_ends_the_training_below_its_rate_and_the_end_is_saved(warm: Warm, tmp_path: Path) -> None:
    """The loss rises from the first validation on: 0.08 is cut to 0.008 at update 4, to 0.0008 at update 6."""
    schedule = {"kind": "plateau", "patience": 1, "factor": 0.1, "after_first": "every", "end_below": 1e-3}
    folder = trained(warm, tmp_path, lr=0.08, schedule=schedule, validate_every=2, save_every=5)
    assert rates(folder) == [*[0.08] * 4, *[pytest.approx(0.008)] * 2]
    assert saved_updates(folder / "runs" / "tiny") == [6]
    assert [(event["reason"], event["update"]) for event in events(folder, "end")] == [("rate", 6)]


def test_the_average_of_the_best_is_taken_where_it_is_no_worse(warm: Warm, tmp_path: Path) -> None:
    """All BLEU are 0: the earliest are the best, and their mean is as good."""
    folder = trained(warm, tmp_path, validate_every=2, average={"of": "best", "count": 3})
    assert events(folder, "end")[0]["model_of_updates"] == [2, 4, 6]
    assert {path.name for path in (folder / "runs" / "tiny" / "best").iterdir()} == {"update-2", "update-4", "update-6"}


def test_the_average_of_the_last_is_of_the_last(warm: Warm, tmp_path: Path) -> None:
    folder = trained(warm, tmp_path, validate_every=2, average={"of": "last", "count": 3})
    assert events(folder, "end")[0]["model_of_updates"] == [8, 10, 12]


def test_an_update_event_says_what_happened_since_the_last(warm: Warm, tmp_path: Path) -> None:
    folder = trained(warm, tmp_path, lr=0.05)
    logged = events(folder, "update")
    assert [event["epoch"] for event in logged] == pytest.approx([u / 5 for u in range(1, 13)], abs=1e-3)
    words = sum(len(line.split()) + 1 for line in (folder / "train.bb").read_text().splitlines())
    assert logged[4]["tgt_tokens"] == words  # an epoch's real words, the end of each sentence included
    assert logged[9]["tgt_tokens"] == 2 * words
    assert all(0.6 < event["real_share"] <= 1 and event["loss"] > 0 and event["grad_norm"] > 0 for event in logged)
    fields = {"event", "update", "epoch", "seconds", "tgt_tokens", "loss", "lr", "grad_norm", "real_share"}
    assert fields <= logged[0].keys()


def stream(batches: Batches, progress: Progress, updates: int) -> list[tuple[float, list[int], list[list[int]]]]:
    """Of so many updates from there: epochs done, the pairs, and what the model reads."""
    trainer = Trainer.__new__(Trainer)
    trainer.batches, trainer.progress = batches, progress
    seen = []
    for pairs in islice(trainer._stream(), updates):
        pool = trainer.pool
        seen.append((trainer._epochs_done(), pool.pairs[pairs].tolist(), pool.load(pairs).src.tolist()))
        progress.batch += 1
    return seen


@pytest.mark.parametrize("layout", ["padded", "rows", "flat"])
@pytest.mark.parametrize("drawn", [False, True])
def test_batches_go_on_where_progress_stands(layout: Any, drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through pools and epochs, with pieces as prepared and drawn anew, in every layout."""
    monkeypatch.setattr(batches_module, "POOL", 50)

    def batches() -> Batches:
        words = Doubling(120)
        sampling = Sampling((words, words), 0.1) if drawn else None
        return Batches([shard(*news(120))], seed=2, tokens=300, layout=layout, sampling=sampling)

    assert batches().pools == (3 if drawn else 1)
    whole = stream(batches(), Progress(), 60)
    assert whole[-1][0] > 1.5
    assert [done for done, _, _ in whole] == sorted({done for done, _, _ in whole})
    for stop in (1, 7, 20, 33):
        progress = Progress()
        assert stream(batches(), progress, stop) == whole[:stop]
        resumed = Progress.from_state(progress.to_state())
        assert stream(batches(), resumed, 60 - stop) == whole[stop:]
