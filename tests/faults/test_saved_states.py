"""A trial that is lost goes on from its last saved epoch, or says why it does not."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from fault_search import assert_equal_records
from small_recorder import small_recorder
from small_trials import small_trial

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.search.records.saved_states import (
    RUNNING,
    StateError,
    forget_ended,
    load_state,
)
from fusion_search.search.running.recorded_trial import execute
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.training import TrialTraining


def lose(
    trial: TrialSpecification, opened: OpenedTask, storage: Storage, epoch: int, **words: Any
) -> None:
    """Run a trial whose worker dies when this epoch has ended."""

    def die(row: dict[str, Any]) -> None:
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(
            trial,
            opened,
            small_recorder(storage, opened),
            on_epoch=die,
            **{"save_seconds": 0} | words,
        )


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "lost" / "test")


@pytest.mark.parametrize(
    "choice",
    [
        {"fusion_depth": 2},
        {"fusion_depth": 1, "couplings": ("mmtm",), "dropout": 0.3, "weight_decay": 0.1},
    ],
)
def test_a_lost_trial_leaves_the_records_of_an_undisturbed_one(
    storage: Storage, tmp_path: Path, small_opened: OpenedTask, choice: dict[str, Any]
) -> None:
    trial = small_trial(epochs=4, epoch_examples=40, test_examples=4, predictions=True, **choice)
    undisturbed = open_storage(tmp_path / "undisturbed" / "test")
    execute(trial, small_opened, small_recorder(undisturbed, small_opened))

    lose(trial, small_opened, storage, epoch=2)
    assert storage.names(RUNNING) == [f"{trial.trial_id}.pt"]
    lose(trial, small_opened, storage, epoch=3)  # and once more
    told: list[str] = []
    epochs: list[int] = []
    with patch.object(TrialTraining, "step", autospec=True, side_effect=TrialTraining.step) as step:
        execute(
            trial,
            small_opened,
            small_recorder(storage, small_opened),
            on_epoch=lambda row: epochs.append(row["epoch"]),
            say=told.append,
            save_seconds=0,
        )
    assert told == [f"{trial.trial_name}: goes on after epoch 3"]
    assert epochs == [1, 2, 3, 4]  # nobody who listens misses one
    assert step.call_count == 3  # 40 examples in batches of 16: only the last epoch was trained
    assert_equal_records(storage, undisturbed)
    assert np.all(np.diff(read_table(storage, "epochs")["seconds"]) > 0)
    assert storage.names(RUNNING) == []


def test_short_trials_save_nothing(storage: Storage, small_opened: OpenedTask) -> None:
    lose(small_trial(), small_opened, storage, epoch=2, save_seconds=60)
    assert storage.names(RUNNING) == []


def begins_again(
    trial: TrialSpecification, opened: OpenedTask, storage: Storage
) -> tuple[list[str], dict[str, Any]]:
    told: list[str] = []
    row = execute(trial, opened, small_recorder(storage, opened), say=told.append, save_seconds=0)
    return told, row


def test_a_state_that_cannot_be_used_is_named_and_left_alone(
    storage: Storage, small_opened: OpenedTask
) -> None:
    first, second = small_trial(), small_trial(seed=1)
    lose(first, small_opened, storage, epoch=1)
    good = storage.read(RUNNING, f"{first.trial_id}.pt")
    middle = len(good) // 2
    damaged = {"cut": good[:middle], "flipped": good[:middle] + bytes(99) + good[middle + 99 :]}
    for content in (*damaged.values(), b"", b"nonsense"):
        storage.remove("trials", f"{first.trial_id}.parquet")
        storage.write(content, RUNNING, f"{first.trial_id}.pt")
        told, row = begins_again(first, small_opened, storage)
        assert row["status"] == "finished"
        assert "its saved state is not used: it is damaged" in told[0]

    storage.write(good, RUNNING, f"{second.trial_id}.pt")
    told, row = begins_again(second, small_opened, storage)
    assert row["status"] == "finished"
    assert told == [
        f"{second.trial_name}: its saved state is not used: it belongs to another trial; it begins "
        "again"
    ]


def test_a_state_that_unpacks_to_more_than_it_is_is_named_and_not_used(
    storage: Storage, small_opened: OpenedTask
) -> None:
    trial, content = small_trial(), io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("state/data.pkl", bytes(8 << 20))
    storage.write(content.getvalue(), RUNNING, f"{trial.trial_id}.pt")
    told, row = begins_again(trial, small_opened, storage)
    assert row["status"] == "finished"
    assert told == [
        f"{trial.trial_name}: its saved state is not used: it is damaged: its parts unpack to more "
        "than the file holds; it begins again"
    ]


def test_a_state_that_is_no_file_is_named_and_not_read(
    tmp_path: Path, small_opened: OpenedTask
) -> None:
    trial = small_trial()
    (tmp_path / RUNNING).mkdir()
    os.mkfifo(tmp_path / RUNNING / f"{trial.trial_id}.pt")
    with pytest.raises(StateError, match="it is not a regular file"):
        load_state(open_storage(tmp_path), trial, small_opened.first.fingerprint)


def test_a_state_that_runs_code_is_not_loaded(
    storage: Storage, small_opened: OpenedTask, tmp_path: Path
) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    trial = small_trial()
    storage.filesystem.create_dir(storage.path(RUNNING))
    torch.save({"specification": Harmful()}, storage.path(RUNNING, f"{trial.trial_id}.pt"))
    told, row = begins_again(trial, small_opened, storage)
    assert "it is damaged: UnpicklingError" in told[0]
    assert row["status"] == "finished"
    assert not (tmp_path / "touched").exists()


def test_a_state_that_cannot_be_saved_costs_the_trial_nothing(
    storage: Storage, small_opened: OpenedTask
) -> None:
    storage.write(b"a file where the folder should be", RUNNING)
    told, row = begins_again(small_trial(), small_opened, storage)
    assert row["status"] == "finished"
    # Two epochs could not save it: said once.
    assert ["cannot be saved" in text for text in told] == [True]


def test_states_left_behind_by_ended_trials_are_removed(storage: Storage) -> None:
    for name in ("ended", "running"):
        storage.write(b"", RUNNING, f"{name}.pt")
    storage.write(b"", "trials", "ended.parquet")
    forget_ended(storage)
    assert storage.names(RUNNING) == ["running.pt"]


def test_memory_that_does_not_suffice_is_a_reason_with_a_remedy(
    storage: Storage, small_opened: OpenedTask
) -> None:
    _, row = begins_again(small_trial(units=10**6), small_opened, storage)
    assert row["status"] == "failed"
    assert row["reason"].startswith("out of memory (RuntimeError: ")
    assert "lower batch_size or the network's width" in row["reason"]
