"""What the records hold after a trial, however it ends."""

from __future__ import annotations

import json
import pickle
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from descriptions import digit_description
from small_recorder import small_recorder
from small_trials import changed, small_trial

from fusion_search.analysis.records.failures import (
    read_failure,
    remove_outlived_failures,
    where_failed,
)
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    SCHEMA_VERSION,
    read_table,
    recorded_trials,
)
from fusion_search.models.early_fusion import EarlyFusionNetwork
from fusion_search.search.dispatch import messages
from fusion_search.search.records import provenance
from fusion_search.search.records import recorder as recording
from fusion_search.search.records.provenance import PACKAGES
from fusion_search.search.running import recorded_trial
from fusion_search.search.running.recorded_trial import execute, execute_pack
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.results import Epoch
from fusion_search.search.trials.specification import parse_specification
from fusion_search.search.trials.training import TrialTraining
from fusion_search.search.trials.trial import TrialResult, run_trial


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "results" / "test")


def test_a_finished_trial_is_recorded_whole(storage: Storage, small_opened: OpenedTask) -> None:
    trial = small_trial(predictions=True)
    starts, epochs = [], []
    row = execute(
        trial,
        small_opened,
        small_recorder(storage, small_opened),
        on_start=starts.append,
        on_epoch=epochs.append,
    )
    expected = run_trial(trial, small_opened)
    assert expected.grid is not None
    trials, grid = read_table(storage, "trials"), read_table(storage, "grid")
    record = trials.iloc[0]
    assert record["status"] == "finished"
    assert pd.isna(record["reason"])
    assert parse_specification(record["specification"], Digits()) == trial
    assert record["parameters"] == expected.parameters
    assert record["mean_accuracy"] == pytest.approx(expected.grid.mean("accuracy"))
    # Audio 0.5 is the seventh SNR of the grid, visual 0.25 the eighth.
    at_pair = expected.grid.values("accuracy")[6 * 10 + 7]
    assert record["train_condition_accuracy"] == pytest.approx(at_pair)
    assert record["data_fingerprint"] == small_opened.first.fingerprint
    assert "NOT MNIST" in record["data_note"]
    assert set(json.loads(record["versions"])) == {"python", *PACKAGES}
    assert record["schema_version"] == SCHEMA_VERSION
    # A sweep has neither samples nor objectives, nobody changed its hyperparameters, and no epoch
    # was tested.
    absent = {"reason", "changes", "objective_values", "optimistic_epoch", "optimistic_accuracy"}
    assert set(row) == set(digit_description().schema("trials").names) - absent
    assert starts[0]["started_at"] == row["started_at"]

    assert len(grid) == 100
    assert (grid["n"] == 12).all()
    cells = {
        (a, v): c for a, v, c in grid[["test_audio_snr", "test_visual_snr", "accuracy_sum"]].values
    }
    assert cells == {
        tuple(one.condition.values()): one.sums["accuracy"] for one in expected.grid.evaluations
    }

    table = read_table(storage, "epochs")
    assert table["validation_accuracy"].tolist() == [one["validation_accuracy"] for one in epochs]

    predictions = read_table(storage, "predictions")
    right = predictions["label"] == predictions["predicted"]
    counted = right.groupby([predictions["test_audio_snr"], predictions["test_visual_snr"]]).sum()
    assert counted.to_dict() == cells


@pytest.mark.parametrize("threads", [1, 2])
def test_every_record_tells_with_what_was_computed_however_the_trial_ends(
    storage: Storage, small_opened: OpenedTask, threads: int
) -> None:
    writer = small_recorder(storage, small_opened, cpus_per_trial=2.5)
    finished, failing, stopped = small_trial(), small_trial(learning_rate=1e30), small_trial(seed=1)
    packed = [small_trial(seed=2), small_trial(seed=3, learning_rate=1e30)]
    starts: list[dict[str, object]] = []
    epochs: list[dict[str, object]] = []
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for one in (finished, failing):
            execute(one, small_opened, writer, on_start=starts.append, on_epoch=epochs.append)
        execute_pack(packed, small_opened, writer)
        # As the driver does with a trial that the scheduler stops, in a process of its own.
        torch.set_num_threads(3 - threads)
        writer.stopped(stopped, epochs[:1], {**starts[0], "trial_id": stopped.trial_id}, "why", 0.0)
    finally:
        torch.set_num_threads(before)
    table = read_table(storage, "trials")
    assert set(table["status"]) == {"finished", "failed", "stopped"}
    assert len(table) == 5
    assert (table["threads"] == threads).all()
    assert (table["cpus_per_trial"] == 2.5).all()
    assert (table["engine"] == "eager").all()


@pytest.mark.parametrize("count", [1, 2])
def test_a_record_has_the_versions_and_the_processor_of_who_ran_the_trial(
    storage: Storage, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The recorder is the driver's, and travels; the versions there are other ones."""
    driver = small_recorder(storage, small_opened)
    monkeypatch.setattr(provenance, "version", lambda package: f"1.0+{package}")
    monkeypatch.setattr(provenance.platform, "python_version", lambda: "3.99.1")
    monkeypatch.setattr(provenance.platform, "node", lambda: "worker")
    trials = [small_trial(seed=seed) for seed in range(count)]
    if count == 1:
        execute(trials[0], small_opened, pickle.loads(pickle.dumps(driver)))
    else:
        execute_pack(trials, small_opened, pickle.loads(pickle.dumps(driver)))
    table = read_table(storage, "trials")
    assert len(table) == count
    for row in table.to_dict("records"):
        assert row["host"] == "worker"
        there = {one: f"1.0+{one}" for one in PACKAGES}
        assert json.loads(row["versions"]) == {"python": "3.99.1", **there}
        product, _, instructions = row["device_name"].rpartition(", ")
        assert f": {product}\n" in Path("/proc/cpuinfo").read_text()
        assert instructions == torch.backends.cpu.get_cpu_capability()
    # Of a trial whose worker died before it told of itself, the driver does not guess.
    lost = driver.started(small_trial(seed=9), small_opened.first, datetime.now(UTC))
    assert lost.keys().isdisjoint({"host", "versions", "device_name", "threads"})


@pytest.mark.parametrize("count", [1, 2])
def test_sys_exit_in_a_trial_is_its_failure(
    storage: Storage, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def leave(*_: object) -> None:
        sys.exit("no licence")

    monkeypatch.setattr(EarlyFusionNetwork, "forward", leave)
    monkeypatch.setattr("fusion_search.models.packed.PackedNetwork.forward", leave)
    trials = [small_trial(seed=seed) for seed in range(count)]
    rows: list[dict[str, object]] = []
    if count == 1:
        rows.append(execute(trials[0], small_opened, small_recorder(storage, small_opened)))
    else:
        execute_pack(
            trials, small_opened, small_recorder(storage, small_opened), on_end=rows.append
        )
    assert [row["reason"] for row in rows] == ["SystemExit: no licence"] * count
    for trial in trials:
        text = read_failure(storage, trial.trial_id)
        assert text is not None
        assert 'sys.exit("no licence")' in text


def test_sys_exit_in_a_packs_grid_fails_its_trial_alone(
    storage: Storage, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = TrialResult.finish

    def finish_or_leave(result: TrialResult, run: TrialTraining) -> None:
        if run.trial.seed == 0:
            sys.exit(3)
        finish(result, run)

    monkeypatch.setattr(TrialResult, "finish", finish_or_leave)
    rows: list[dict[str, object]] = []
    pack = [small_trial(seed=seed) for seed in range(2)]
    execute_pack(pack, small_opened, small_recorder(storage, small_opened), on_end=rows.append)
    assert [row.get("reason") for row in rows] == ["SystemExit: 3", None]


def test_the_end_of_a_trial_that_a_scheduler_stopped_is_no_failure(
    storage: Storage, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray ends its thread by ``sys.exit`` in what reports an epoch."""
    monkeypatch.setattr(messages.tune, "report", lambda content: sys.exit(0))
    report = messages.reporter()
    with pytest.raises(messages.StoppedEarly):
        execute(
            small_trial(),
            small_opened,
            small_recorder(storage, small_opened),
            on_epoch=lambda row: report("epoch", row),
        )
    assert not storage.exists("trials")


def test_a_trial_that_diverges_in_a_pack_leaves_what_a_lone_one_does(
    storage: Storage, small_opened: OpenedTask
) -> None:
    failing = small_trial(learning_rate=1e30)
    alone = storage.below("alone")
    execute(failing, small_opened, small_recorder(alone, small_opened))
    execute_pack(
        [failing, small_trial(seed=1)], small_opened, small_recorder(storage, small_opened)
    )
    texts = [read_failure(one, failing.trial_id) or "" for one in (alone, storage)]
    # The trial, when and where it ended, why; then the traceback, down to what raised.
    for text in texts:
        assert "\nTraceback (most recent call last):\n" in text
        assert where_failed(text).startswith('File "')
    reasons = [re.sub(r"ended: .*", "", text).partition("Traceback")[0] for text in texts]
    assert reasons[0] == reasons[1]


def test_a_train_pair_outside_the_grid_has_no_test_accuracy(
    storage: Storage, small_opened: OpenedTask
) -> None:
    trial = small_trial(train_audio_snr=3.0)
    row = execute(trial, small_opened, small_recorder(storage, small_opened))
    assert row["train_condition_accuracy"] is None
    record = read_table(storage, "trials").iloc[0]
    assert record["status"] == "finished"
    assert pd.isna(record["train_condition_accuracy"])
    assert 0 <= record["mean_accuracy"] <= 1


def test_the_checkpoint_gives_the_network_back(storage: Storage, small_opened: OpenedTask) -> None:
    trial = small_trial()
    execute(trial, small_opened, small_recorder(storage, small_opened))
    path = storage.path("checkpoints", f"{trial.trial_id}.pt")
    checkpoint = torch.load(path, weights_only=True)
    known = parse_specification(checkpoint["specification"], Digits())
    assert known == trial
    network = Digits().build(known.network, small_opened.first, known.placement)
    network.load_state_dict(checkpoint["state"])


def test_every_column_of_the_schema_is_filled(storage: Storage, small_opened: OpenedTask) -> None:
    trial = changed(small_trial(), each_epoch=True)
    execute(trial, small_opened, small_recorder(storage, small_opened))
    for table in ("trials", "epochs", "grid"):
        frame: pd.DataFrame = read_table(storage, table)
        empty = [name for name in frame.columns if frame[name].isna().all()]
        # Of a failed trial, where asked for, of a search by Ray, of one over a space, of examples
        # with names, of a user.
        others = [
            "reason",
            "coupling_weight_decay",
            "cpus_per_trial",
            "sample",
            "changes",
            "objective_values",
            "split_fingerprint",
            "code_fingerprint",
        ]
        assert empty == (others if table == "trials" else [])


def test_a_folder_of_records_is_one_dataset_for_pyarrow(
    storage: Storage, small_opened: OpenedTask
) -> None:
    for seed in (0, 1):
        execute(small_trial(seed=seed), small_opened, small_recorder(storage, small_opened))
    table = pq.read_table(storage.path("grid"))
    assert table.num_rows == 200
    assert table.schema.equals(digit_description().schema("grid"))


def test_a_failed_trial_is_recorded_with_its_reason(
    storage: Storage, small_opened: OpenedTask
) -> None:
    trial = small_trial(learning_rate=1e30)
    execute(trial, small_opened, small_recorder(storage, small_opened))
    record = read_table(storage, "trials").iloc[0]
    assert record["status"] == "failed"
    assert "lower learning_rate" in record["reason"]
    assert parse_specification(record["specification"], Digits()) == trial
    assert read_table(storage, "grid").empty


def test_a_trial_that_raises_leaves_its_whole_traceback_until_it_finishes(
    storage: Storage, small_opened: OpenedTask
) -> None:
    trial = small_trial()

    def broken(row: dict[str, object]) -> None:
        raise TypeError(f"'method' object, see https://me:hunter2@host, {storage.location}")

    def broken_otherwise(row: dict[str, object]) -> None:
        raise ZeroDivisionError

    row = execute(trial, small_opened, small_recorder(storage, small_opened), on_epoch=broken)
    assert row["reason"].startswith("TypeError: 'method' object, see https://me:***@host")
    text = read_failure(storage, trial.trial_id)
    assert text is not None
    for part in ("Traceback (most recent call last)", "run_trial(", __file__, "in broken\n"):
        assert part in text
    assert text.endswith(f"TypeError: {row['reason'].removeprefix('TypeError: ')}\n")
    assert "hunter2" not in text
    execute(trial, small_opened, small_recorder(storage, small_opened), on_epoch=broken_otherwise)
    text = read_failure(storage, trial.trial_id)
    assert text is not None
    assert text.endswith("ZeroDivisionError\n")
    assert "TypeError" not in text
    remove_outlived_failures(storage)
    assert storage.names("failures") == [f"{trial.trial_id}.txt"]
    storage.write(b"its trial is under way", "failures", "running.txt")
    execute(trial, small_opened, small_recorder(storage, small_opened))
    remove_outlived_failures(storage)
    assert storage.names("failures") == ["running.txt"]


def test_an_interrupted_trial_has_not_ended(storage: Storage, small_opened: OpenedTask) -> None:
    def interrupt(row: dict[str, object]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(
            small_trial(), small_opened, small_recorder(storage, small_opened), on_epoch=interrupt
        )
    assert recorded_trials(storage) == set()


def test_records_can_live_at_a_uri(tmp_path: Path, small_opened: OpenedTask) -> None:
    storage = open_storage(f"file://{tmp_path}/remote").below("test")
    trial = small_trial()
    execute(trial, small_opened, small_recorder(storage, small_opened))
    assert recorded_trials(storage) == {trial.trial_id}
    assert len(read_table(storage, "grid", [trial.trial_id])) == 100


def test_epoch_rows_are_the_columns_of_the_table() -> None:
    epoch = Epoch(
        epoch=1,
        examples_seen=32,
        train_loss=1.0,
        train={"accuracy": 0.5},
        validation_loss=2.0,
        validation={"accuracy": 0.25},
        seconds=3.0,
        ended_at=datetime.now(UTC),
        test_loss=2.5,
        test={"accuracy": 0.125},
    )
    columns = {*epoch.row()} | {"schema_version", "search", "trial_id"}
    assert columns == set(digit_description().schema("epochs").names)
    assert epoch.row()["train_accuracy"] == 0.5
    assert epoch.row()["validation_accuracy"] == 0.25


class SetBack(datetime):
    """A clock that is an hour earlier every time it is looked at."""

    looks = 0

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        cls.looks += 1
        return datetime(2026, 10, 25, 12, tzinfo=UTC) - cls.looks * timedelta(hours=1)


@pytest.mark.parametrize("end", ["finished", "failed", "packed", "stopped"])
def test_a_clock_that_is_set_back_makes_no_duration_negative(
    end: str, storage: Storage, small_opened: OpenedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, began = small_trial(), time.monotonic()
    monkeypatch.setattr(recorded_trial, "datetime", SetBack)
    monkeypatch.setattr(recording, "datetime", SetBack)
    scribe = small_recorder(storage, small_opened)
    if end == "failed":
        monkeypatch.setattr(recorded_trial, "run_trial", lambda *_, **__: 1 / 0)
    if end == "packed":
        execute_pack([trial], small_opened, scribe)
    elif end == "stopped":
        epoch = {"epoch": 1, "validation_accuracy": 0.5, "validation_loss": 1.0, "seconds": 0.1}
        scribe.stopped(
            trial, [epoch], scribe.started(trial, small_opened.first, SetBack.now()), "asha", began
        )
    else:
        execute(trial, small_opened, scribe)
    row = read_table(storage, "trials").iloc[0]
    assert row["ended_at"] < row["started_at"]  # times are those of the clock on the wall
    assert 0 < row["seconds"] <= time.monotonic() - began
