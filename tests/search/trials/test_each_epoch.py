"""Testing after every epoch: curves and optimistic scores that choose nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from small_recorder import small_recorder
from small_trials import changed, small_trial

from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.search.running.recorded_trial import execute
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.settings import (
    EvaluationSettings,
    TrainingSettings,
    make_optimizer,
)
from fusion_search.search.trials.trial import run_trial

ASKED = changed(small_trial(), epochs=4, learning_rate=0.02, each_epoch=True)


def test_every_epoch_is_tested_and_the_best_by_the_test_split_is_told(
    tmp_path: Path, small_opened: OpenedTask
) -> None:
    storage = open_storage(str(tmp_path)).below("test")
    row = execute(ASKED, small_opened, small_recorder(storage, small_opened))
    table = read_table(storage, "epochs", [ASKED.trial_id])
    epochs = {one["epoch"]: one for one in table.to_dict("records")}
    assert len(epochs) == 4
    # The grid has the train condition among others: the same examples under the same noise.
    chosen = epochs[row["best_epoch"]]
    assert chosen["test_accuracy"] == row["train_condition_accuracy"]
    scores = [one["test_accuracy"] for one in epochs.values()]
    assert len(set(scores)) > 1
    assert row["optimistic_accuracy"] == max(scores)
    best = [one for one in epochs.values() if one["test_accuracy"] == max(scores)]
    lowest = min(best, key=lambda one: one["test_loss"])
    assert row["optimistic_epoch"] == lowest["epoch"]


def test_nothing_else_depends_on_it(small_opened: OpenedTask) -> None:
    asked = run_trial(ASKED, small_opened)
    plain = run_trial(changed(ASKED, each_epoch=False), small_opened)
    assert [one.test_loss for one in plain.epochs] == [None] * 4
    bare = [
        replace(one, seconds=0.0, ended_at=datetime.min, test_loss=None, test={})
        for result in (asked, plain)
        for one in result.epochs
    ]
    assert bare[:4] == bare[4:]
    assert asked.best is not None
    assert plain.best is not None
    assert asked.best.epoch == plain.best.epoch
    for name, value in plain.state.items():
        assert torch.equal(asked.state[name], value)


def test_a_trial_that_is_stopped_tells_it_of_the_epochs_it_had(
    tmp_path: Path, small_opened: OpenedTask
) -> None:
    recorder = small_recorder(open_storage(str(tmp_path)).below("test"), small_opened)
    started = recorder.started(ASKED, small_opened.first, datetime.now(UTC))
    epochs = [one.row() for one in run_trial(ASKED, small_opened).epochs[:2]]
    for one, score in zip(epochs, (0.75, 0.5), strict=True):
        one["test_accuracy"] = score
    row = recorder.stopped(ASKED, epochs, started, "asha", time.monotonic())
    assert (row["optimistic_epoch"], row["optimistic_accuracy"]) == (1, 0.75)
    for one in epochs:
        one["test_loss"] = None
    row = recorder.stopped(ASKED, epochs, started, "asha", time.monotonic())
    assert "optimistic_epoch" not in row


def test_a_choice_that_is_validated_every_epoch_anyway_is_refused() -> None:
    with pytest.raises(ValueError, match="each_epoch is true with split validation"):
        EvaluationSettings(split="validation", each_epoch=True)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_epsilon_is_the_optimisers(name: str) -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(network.weight)
    settings = TrainingSettings(optimizer=name, learning_rate=0.1, adam_epsilon=3.0)  # type: ignore[arg-type]
    optimizer = make_optimizer(network, settings)
    network(torch.ones(1, 1)).backward()
    optimizer.step()
    # The first step is rate times gradient / (its size + epsilon).
    assert network.weight.item() == pytest.approx(1 - 0.1 / (1 + 3.0), abs=1e-6)
    with pytest.raises(ValueError, match="adam_epsilon is 0"):
        TrainingSettings(adam_epsilon=0)
