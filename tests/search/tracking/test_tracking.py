"""The MLflow view against the records it was written from, in real SQLite stores."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from odd_tasks import Amount, Sensors
from pyarrow import fs
from small_trials import small_configuration, small_trial
from tracking_records import (
    DIGITS,
    EPOCHS_PER_TRIAL,
    SPECIFICATION,
    START,
    end_row,
    epoch_row,
    failed_row,
    follow,
    histories,
    planned_search,
    record,
    runs_of,
    start_row,
    write_tables,
)

from fusion_search.analysis.records.failures import remove_failure, write_failure
from fusion_search.analysis.records.secrets import without_password
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.datasets.conditions import Range
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.running.run import start_tracker
from fusion_search.search.tracking import addresses
from fusion_search.search.tracking import client as tracking_client
from fusion_search.search.tracking import runs as tracking_runs
from fusion_search.search.tracking import tracker as tracking
from fusion_search.search.tracking.addresses import experiment_page, tracking_uri, ui_command
from fusion_search.search.tracking.syncing import TrackingError, sync
from fusion_search.search.tracking.tracker import Tracker
from fusion_search.search.tracking.values import epoch_points, trial_parameters
from fusion_search.search.trials.describe import describe

# Of MLflow's own use of SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")


@pytest.fixture
def storage(tmp_path: Path, empty_store: Path) -> Storage:
    folder = tmp_path / "my results"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return open_storage(folder)


@pytest.fixture
def search(storage: Storage) -> Storage:
    """A search of two trials that is planned and not begun."""
    return planned_search(storage, "small")


@pytest.fixture
def uri(storage: Storage) -> str:
    uri = tracking_uri(storage, None)
    assert uri is not None
    return uri


SENSORS = describe(
    "odd_tasks:Sensors", Sensors(), Sensors().open(Amount()), ("ecg", "motion", "heat")
)


def sensors_row(number: int) -> dict[str, Any]:
    return {
        "trial_id": f"t{number:03}", "trial_name": f"sensors {number}", "status": "finished",
        "task": "odd_tasks:Sensors", "streams": ["ecg", "heat"], "placement": "{}", "end": "",
        "train": "{}", "seed": number, "fold": 2, "width": 7, "dropout": 0.0, "size": 24,
        "started_at": START, "ended_at": START + timedelta(seconds=9), "seconds": 9.0,
        "data_note": "", "data_fingerprint": "", "device": "cpu",
    }  # fmt: skip


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that refuses connections, held so that nobody else opens it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def artifacts(run: Any) -> dict[str, Path]:
    return {path.name: path for path in Path(run.info.artifact_uri).glob("*")}


@pytest.mark.parametrize("name", ["no #1, 50% a;b", "100% \u00e9?uri=true&a%20b"])
def test_a_folder_of_any_name_holds_its_own_store(tmp_path: Path, name: str) -> None:
    storage = open_storage(tmp_path / name)
    uri = tracking_uri(storage, None)
    assert uri is not None
    search = planned_search(storage, "small", trials=1)
    tracker = Tracker(search, uri, pytest.fail)
    follow(tracker, search, 0)
    assert tracker.close(300)
    assert (tmp_path / name / "mlflow.db").is_file()
    assert [one.name for one in tmp_path.iterdir()] == [name]
    _, runs = runs_of(uri)
    assert runs["t000"].data.metrics["mean_accuracy"] == 0.21
    assert len(list((tmp_path / name / "mlflow-artifacts").rglob("grid.csv"))) == 1
    (listed,) = tracking_client.open_client(uri).list_artifacts(runs["t000"].info.run_id)
    assert listed.path == "grid.csv"


def test_tracking_is_off_where_no_address_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert addresses.sqlite_uri(os.fsdecode(b"/no text: \xff?")) is None
    monkeypatch.setattr(addresses, "sqlite_uri", lambda _: None)
    search = build_search(small_configuration(storage=str(tmp_path)))
    storage = planned_search(open_storage(search.storage), "small")
    said: list[str] = []
    assert start_tracker(search, storage, [], said.append) is None
    assert said == [addresses.TRACKING_OFF]
    assert [one.name for one in tmp_path.iterdir()] == ["small"]


@pytest.mark.parametrize("seconds", [10.0, 0.0])
def test_no_run_ends_before_its_start_when_the_clock_was_set_back(
    tmp_path: Path, seconds: float
) -> None:
    storage = open_storage(tmp_path)
    search = planned_search(storage, "small", trials=1)
    uri = tracking_uri(storage, None)
    assert uri is not None
    record(search, {**end_row(0), "ended_at": START - timedelta(hours=1), "seconds": seconds})
    assert sync(search, uri).written == 1
    parent, runs = runs_of(uri)
    info = runs["t000"].info
    assert info.end_time - info.start_time == 1000 * seconds
    assert parent.info.end_time >= parent.info.start_time
    assert sync(search, uri).written == 0


def test_sync_writes_what_the_records_say(search: Storage, uri: str) -> None:
    for number in (0, 1):
        record(search, end_row(number))
    counts = sync(search, uri)
    assert (counts.written, counts.unchanged) == (2, 0)

    parent, trials = runs_of(uri)
    assert parent.info.run_name == "small"
    assert parent.info.status == "FINISHED"
    assert parent.data.params["network.levels"] == "2"
    assert parent.data.params["network.fusion_depth"] == "[0, 1]"
    assert parent.data.params["train"] == "[[0.5, 0.25]]"
    assert parent.data.params["sweep.0.seeds"] == "[0, 1]"
    # MLflow takes no ">" in a name.
    assert parent.data.params["placement.connections.image to audio"] == "['none', 'cross']"
    assert artifacts(parent)["specification.yaml"].read_text() == SPECIFICATION
    assert "2 of 2 trials ended, 0 of them failed" in parent.data.tags["mlflow.note.content"]
    best = (
        "Best: audio 0.5, visual 0.25, chosen by validation accuracy 30.5 %, the mean "
        "over its 2 trials."
    )
    assert best in parent.data.tags["mlflow.note.content"]

    assert sorted(trials) == ["t000", "t001"]
    run, row = trials["t001"], read_table(search, "trials", ["t001"]).iloc[0]
    assert run.info.run_name == row["trial_name"]
    assert run.info.status == "FINISHED"
    assert run.info.start_time == int(row["started_at"].value // 10**6)
    assert run.info.end_time == int(row["ended_at"].value // 10**6)
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert run.data.tags["data_fingerprint"] == "0123456789abcdef"
    assert run.data.tags["status"] == "finished"
    assert "made-up numbers" in run.data.tags["data_note"]
    assert run.data.params == {
        "task": "digits", "fusion_depth": "1", "levels": "2", "units": "4", "fold": "0",
        "train_audio_snr": "0.5", "train_visual_snr": "0.25", "seed": "1", "examples": "60",
    }  # fmt: skip
    for name in ("parameters", "validation_accuracy", "train_condition_accuracy", "mean_accuracy"):
        assert run.data.metrics[name] == row[name]
    assert len(run.data.metrics) == 4 + 4 + 2  # results, curves, best epoch and seconds
    epochs = read_table(search, "epochs", ["t001"])
    assert histories(uri)["t001", "epoch/validation_accuracy"] == [
        (epoch, int(ended.value // 10**6), value)
        for epoch, ended, value in zip(
            epochs["epoch"], epochs["ended_at"], epochs["validation_accuracy"], strict=True
        )
    ]


def test_every_grid_is_a_table_and_the_best_a_picture(search: Storage, uri: str) -> None:
    for number in (0, 1):
        record(search, end_row(number))
    sync(search, uri)
    parent, trials = runs_of(uri)
    files = artifacts(trials["t000"])
    assert set(files) == {"grid.csv"}
    table = pd.read_csv(files["grid.csv"])
    expected = read_table(search, "grid", ["t000"])
    expected = expected.drop(columns=["schema_version", "search", "trial_id"])
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    np.testing.assert_allclose(table["accuracy"], expected["accuracy_sum"] / expected["n"])
    specification = trials["t000"].data.tags["fusion_search.specification"]
    assert json.loads(specification) == {"units": 4, "seed": 0}
    assert parent.data.tags["fusion_search.best"] == "t001"
    picture = image.imread(artifacts(parent)["best-grid.png"])
    assert picture.ndim == 3
    assert picture.std() > 0.1
    drawn = artifacts(parent)["best-grid.png"].stat().st_mtime_ns
    sync(search, uri)  # nothing is better: it is not drawn again
    assert artifacts(runs_of(uri)[0])["best-grid.png"].stat().st_mtime_ns == drawn


def test_less_error_is_better_and_without_axes_there_is_no_picture(
    storage: Storage, uri: str
) -> None:
    search = planned_search(storage, "small", of=SENSORS)
    for number, error in enumerate((0.25, 1 / 3)):
        row = sensors_row(number)
        epoch = {
            "epoch": 1, "examples_seen": 24, "train_loss": 2.0, "train_mean_absolute_error": 1.5,
            "validation_loss": 1.0, "validation_mean_absolute_error": error,
            "seconds": 1.0, "ended_at": row["ended_at"],
        }  # fmt: skip
        metric = {"mean_absolute_error": error, "mean_absolute_error_sum": 3 * error}
        grid = {"n": 3, "loss": 1.0, **metric}
        row |= {"validation_mean_absolute_error": error, "mean_mean_absolute_error": error}
        tables = {"trials": [row], "epochs": [epoch], "grid": [grid]}
        write_tables(search, row["trial_id"], tables, SENSORS)
    assert sync(search, uri).written == 2
    parent, trials = runs_of(uri)
    assert parent.data.tags["fusion_search.best"] == "t000"
    note = parent.data.tags["mlflow.note.content"]
    assert "Best trial: sensors 0, chosen by validation mean absolute error 0.25." in note
    assert set(artifacts(parent)) == {"specification.yaml"}
    run = trials["t001"]
    assert run.data.params == {
        "task": "odd_tasks:Sensors", "streams": "ecg, heat", "seed": "1", "fold": "2", "width": "7",
    }  # fmt: skip
    assert run.data.metrics == {
        "epoch/train_loss": 2.0, "epoch/train_mean_absolute_error": 1.5,
        "epoch/validation_loss": 1.0, "epoch/validation_mean_absolute_error": 1 / 3,
        "validation_mean_absolute_error": 1 / 3, "mean_mean_absolute_error": 1 / 3, "seconds": 9.0,
    }  # fmt: skip
    table = pd.read_csv(artifacts(run)["grid.csv"])
    assert list(table.columns) == ["n", "loss", "mean_absolute_error", "mean_absolute_error_sum"]
    assert table["mean_absolute_error"].tolist() == [1 / 3]


def test_a_sweeps_parameters_are_what_it_varies() -> None:
    fields: dict[str, object] = {
        "couplings": ("mmtm", "none"), "to_image": ("none", "cross"), "fusion": "gate_audio",
        "units": 64, "engine": "eager", "fold": 1,
    }  # fmt: skip
    trial = small_trial(**fields)
    row = {"trial_id": trial.trial_id, **trial.columns(), "device": "cpu"}
    brief = trial_parameters(row, DIGITS, brief=True)
    assert brief == {
        "task": "digits", "levels": "2", "fusion_depth": "2", "dense_units": "8", "gates": "eager",
        "placement": '{"level1": {"coupling": "mmtm"}, "level2": {"audio>image": "cross"}}',
        "end": "gate_audio", "train_audio_snr": "0.5", "train_visual_snr": "0.25", "fold": "1",
        "seed": "0", "source": "builtin", "frames": "24", "learning_rate": "0.005", "epochs": "2",
        "epoch_examples": "32", "batch_size": "16", "examples": "64", "validation_examples": "20",
        "test_examples": "12",
    }  # fmt: skip
    whole = trial_parameters(row, DIGITS)
    assert whole["units"] == "64"  # the default
    assert whole["weight_decay"] == "0.0"
    assert "device" not in whole
    drawn = replace(trial, train={"audio_snr": Range(0.5, 2.0), "visual_snr": 0.25})
    told = trial_parameters(drawn.columns(), DIGITS, brief=True)
    assert json.loads(told["train"])["audio_snr"] == {"low": 0.5, "high": 2.0}
    assert "train_audio_snr" not in told


def test_writing_twice_changes_nothing(search: Storage, uri: str) -> None:
    record(search, end_row(0))
    record(search, failed_row(1), epochs=1, grid=False)
    sync(search, uri)
    parent, trials = runs_of(uri)
    before = histories(uri)
    counts = sync(search, uri)
    assert (counts.written, counts.unchanged) == (0, 2)
    parent_again, trials_again = runs_of(uri)
    assert parent_again.to_dictionary() == parent.to_dictionary()
    assert {key: run.to_dictionary() for key, run in trials_again.items()} == {
        key: run.to_dictionary() for key, run in trials.items()
    }
    assert histories(uri) == before


def test_a_run_cut_half_way_is_completed(
    search: Storage, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (0, 1):
        record(search, end_row(number))

    def cut(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tracking_runs, "epoch_points", cut)  # after the run was made, and ended
        with pytest.raises(TrackingError, match="no space left"):
            sync(search, uri)
    cut_id = runs_of(uri)[1]["t000"].info.run_id
    assert sync(search, uri).written == 2
    run = runs_of(uri)[1]["t000"]
    assert run.info.run_id == cut_id
    assert run.info.status == "FINISHED"
    assert "grid.csv" in artifacts(run)
    assert all(len(points) <= EPOCHS_PER_TRIAL for points in histories(uri).values())


def test_runs_of_a_dropped_sample_say_after_how_many_folds(search: Storage, uri: str) -> None:
    record(search, end_row(0))
    record(search, end_row(1))
    plan = json.loads(search.read("planned.json"))
    samples: list[dict[str, Any]] = [{"width": 1}, {"width": 2}]
    plan["trials"] = [
        {"trial_id": f"t00{number}", "trial_name": "", "sample": samples[number % 2]}
        for number in range(4)
    ]
    decision = {"folds": 1, "value": 0.5, "better": 0, "of": 1, "kept": True, "sample": samples[0]}
    dropped = {**decision, "better": 1, "of": 2, "kept": False, "sample": samples[1]}
    plan["fold_rungs"] = [decision, dropped]
    search.write(json.dumps(plan).encode(), "planned.json")
    sync(search, uri)
    parent, runs = runs_of(uri)
    assert {name: run.data.tags.get(tracking_runs.DROPPED_TAG) for name, run in runs.items()} == {
        "t000": None,
        "t001": "1",
    }
    note = parent.data.tags["mlflow.note.content"]
    assert "2 of 3 trials ended" in note  # t003 is left out, t002 is waited for
    assert "Fold rungs: 1 sample dropped after 1 fold." in note
    assert parent.info.status == "KILLED"
    record(search, end_row(2))
    sync(search, uri)
    assert runs_of(uri)[0].info.status == "FINISHED"


def test_a_confirmation_shows_no_best(storage: Storage, search: Storage, uri: str) -> None:
    """It was chosen before, and is measured on the test split; its report compares."""
    own = planned_search(storage, "small-confirmation")
    own.write(b"[]", "candidates.json")
    for one in (search, own):
        for number in range(2):
            record(one, end_row(number))
        sync(one, uri)
    shown = [runs_of(uri, name)[0] for name in ("small", "small-confirmation")]
    notes = [one.data.tags["mlflow.note.content"] for one in shown]
    assert all("2 of 2 trials ended, 0 of them failed." in one for one in notes)
    assert ["Best" in one for one in notes] == [True, False]
    assert [tracking_runs.BEST_TAG in one.data.tags for one in shown] == [True, False]
    assert [tracking_runs.BEST_FILE in artifacts(one) for one in shown] == [True, False]


def test_a_failed_trial_says_why(search: Storage, uri: str) -> None:
    record(search, failed_row(0), epochs=0, grid=False)
    sync(search, uri)
    parent, trials = runs_of(uri)
    run = trials["t000"]
    assert run.info.status == "FAILED"
    assert run.data.tags["reason"] == "the loss became NaN in epoch 1"
    assert run.data.params["seed"] == "0"
    assert "validation_accuracy" not in run.data.metrics
    assert parent.info.status == "KILLED"  # t001 is planned and has no record
    assert artifacts(run) == {}


def test_a_failed_trial_shows_its_traceback_until_it_is_tried_again(
    search: Storage, uri: str
) -> None:
    for number in (0, 1):
        record(search, failed_row(number), epochs=0, grid=False)
    write_failure(search, {**failed_row(0), "host": "here"}, "Traceback\nError: \u20ac")
    sync(search, uri)
    parent, trials = runs_of(uri)
    assert parent.info.status == "FAILED"  # nothing came out of it
    file = artifacts(trials["t000"])["failure.txt"]
    assert file.read_text().endswith("Traceback\nError: \u20ac\n")
    assert artifacts(trials["t001"]) == {}
    again = {"started_at": START + timedelta(hours=1), "ended_at": START + timedelta(hours=2)}
    record(search, {**end_row(0), **again})
    remove_failure(search, "t000")
    sync(search, uri)
    parent, trials = runs_of(uri)
    assert parent.info.status == "FINISHED"  # t001 failed, but not all did
    assert list(artifacts(trials["t000"])) == ["grid.csv"]


def test_values_that_mlflow_cannot_keep_are_left_out(search: Storage, uri: str) -> None:
    record(
        search, {**end_row(0), "train_audio_snr": float("inf"), "train_condition_accuracy": None}
    )
    sync(search, uri)
    run = runs_of(uri)[1]["t000"]
    assert run.data.params["train_audio_snr"] == "inf"
    assert "train_condition_accuracy" not in run.data.metrics
    assert run.data.metrics["mean_accuracy"] == 0.21
    points = epoch_points({**epoch_row(0, 1), "validation_loss": float("nan")}, DIGITS)
    assert {one.name for one in points} == {
        *("epoch/train_loss", "epoch/train_accuracy", "epoch/validation_accuracy"),
    }


def test_live_and_afterwards_are_the_same(search: Storage, uri: str, tmp_path: Path) -> None:
    warnings: list[str] = []
    tracker = Tracker(search, uri, warnings.append)
    for number in (0, 1):
        follow(tracker, search, number)
    assert tracker.close(300)
    assert warnings == []
    assert tracker.page == sync(search, uri).page
    shutil.copytree(tmp_path / "my results", tmp_path / "copy")
    live = histories(uri)
    assert sync(search, uri).written == 0

    (tmp_path / "copy" / "mlflow.db").unlink()
    other = f"sqlite:///{tmp_path}/afterwards.db"
    sync(open_storage(tmp_path / "copy" / "small"), other)
    assert histories(other) == live
    for trial_id, run in runs_of(other)[1].items():
        assert run.data.params == runs_of(uri)[1][trial_id].data.params


def test_a_running_trial_is_seen(search: Storage, uri: str) -> None:
    """A search that is interrupted after the first epoch, and resumed."""
    runs = tracking_runs.SearchRuns(search, uri)
    runs.start_search()
    runs.start_trial(start_row(0))
    runs.log_epoch("t000", epoch_row(0, 1))
    parent, trials = runs_of(uri)
    assert (parent.info.status, trials["t000"].info.status) == ("RUNNING", "RUNNING")
    assert trials["t000"].data.params["seed"] == "0"
    assert trials["t000"].data.metrics["epoch/train_loss"] == epoch_row(0, 1)["train_loss"]

    runs.write_search(read_table(search, "trials"))
    parent, trials = runs_of(uri)
    assert (parent.info.status, trials["t000"].info.status) == ("KILLED", "KILLED")

    tracker = Tracker(search, uri, pytest.fail)
    later = {"started_at": START + timedelta(hours=1)}
    tracker.trial_started({**start_row(0), **later})
    record(search, {**end_row(0), **later, "ended_at": START + timedelta(hours=2)})
    record(search, end_row(1))
    tracker.trial_ended("t000")
    tracker.trial_ended("t001")
    assert tracker.close(300)
    parent, trials = runs_of(uri)
    assert parent.info.status == "FINISHED"
    assert trials["t000"].info.status == "FINISHED"
    assert len(histories(uri)["t000", "epoch/train_loss"]) == EPOCHS_PER_TRIAL


def test_two_searches_of_one_name_on_one_server(search: Storage, uri: str, tmp_path: Path) -> None:
    namesake = planned_search(open_storage(tmp_path / "elsewhere"), "small")
    for one in (search, namesake):
        record(one, end_row(0))
        assert sync(one, uri).written == 1
    client = tracking_client.open_client(uri)
    experiment = client.get_experiment_by_name("small")
    assert len(client.search_runs([experiment.experiment_id])) == 4
    assert sync(search, uri).unchanged == 1


def test_a_dead_server_costs_two_sentences(
    search: Storage, uri: str, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    dead = f"http://me:hunter2@127.0.0.1:{closed_port}"
    warnings: list[str] = []
    began = time.monotonic()
    tracker = Tracker(search, dead, warnings.append)
    for number in (0, 1):
        follow(tracker, search, number)
    assert time.monotonic() - began < 2  # milliseconds, and the writing of the records
    assert not tracker.close(30)
    follow(tracker, search, 1)
    assert not tracker.close(30)
    first, last = warnings
    assert "it is tried again" in first
    assert "fusion-search sync-mlflow small" in last
    assert "Connection refused" in first
    assert "Connection refused" not in last  # once is enough
    for warning in warnings:
        assert "trials and their records are not affected" in warning
        assert "hunter2" not in warning
    assert tracker.page is None
    confirmation = Tracker(search, dead, warnings.append)  # in the same process
    assert not confirmation.close(30)
    assert [one.partition("; ")[0] for one in warnings[2:]] == [last.partition("; ")[0]]
    with pytest.raises(TrackingError, match="cannot be written") as raised:
        sync(search, dead)
    assert "hunter2" not in str(raised.value)
    assert sync(search, uri).written == 2
    assert runs_of(uri)[0].info.status == "FINISHED"


def test_a_store_that_breaks_in_the_middle(
    search: Storage, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("disk I/O error")

    warnings: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(tracking_runs.SearchRuns, "write_trial", broken)
        tracker = Tracker(search, uri, warnings.append)
        for number in (0, 1):
            follow(tracker, search, number)
        assert not tracker.close(30)
    assert len(warnings) == 2
    assert "disk I/O error" in warnings[0]
    assert "was not written, as was said; runs of 2 trials are missing there" in warnings[1]
    assert sync(search, uri).written == 2
    assert len(histories(uri)["t000", "epoch/train_loss"]) == EPOCHS_PER_TRIAL


def test_what_is_out_of_date_when_its_turn_comes_is_not_written(
    search: Storage, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store slower than the trials catches up: a trial that has ended is written once, whole."""
    held, calls = threading.Event(), []
    start = tracking_runs.SearchRuns.start_search

    def slow(runs: tracking_runs.SearchRuns) -> None:
        held.wait()
        start(runs)

    def counted(*_: object) -> None:
        calls.append(1)

    monkeypatch.setattr(tracking_runs.SearchRuns, "start_search", slow)
    monkeypatch.setattr(tracking_runs.SearchRuns, "log_epoch", counted)
    tracker = Tracker(search, uri, pytest.fail)
    follow(tracker, search, 0)
    held.set()
    assert tracker.close(300)
    assert calls == []
    assert len(histories(uri)["t000", "epoch/train_loss"]) == EPOCHS_PER_TRIAL
    assert runs_of(uri)[1]["t000"].data.params["seed"] == "0"


def test_a_slow_store_does_not_hold_the_search(
    search: Storage, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(tracking, "SearchRuns", lambda *_: answer.wait())
    warnings: list[str] = []
    tracker = Tracker(search, uri, warnings.append)
    began = time.monotonic()
    follow(tracker, search, 0)
    assert not tracker.close(0.2)
    assert time.monotonic() - began < 2
    (warning,) = warnings
    assert "slow" in warning
    answer.set()  # what then goes wrong in the thread is not said again
    tracker._thread.join(10)
    assert not tracker._thread.is_alive()
    assert len(warnings) == 1


def test_where_runs_go() -> None:
    local = open_storage("/tmp/my results")
    remote = Storage("s3://b/results", fs.SubTreeFileSystem("/b", fs.LocalFileSystem()), "results")
    assert tracking_uri(local, None) == "sqlite:////tmp/my results/mlflow.db"
    assert tracking_uri(local, "http://server:5000") == "http://server:5000"
    assert tracking_uri(remote, None) is None
    assert tracking_uri(remote, "http://server:5000") == "http://server:5000"
    command = ui_command("sqlite:////tmp/my results/mlflow.db")
    assert command is not None
    assert command.endswith("--backend-store-uri 'sqlite:////tmp/my results/mlflow.db'")
    assert "mlflow ui --port 5000" in command
    assert ui_command("http://me:hunter2@server:80") is None
    page = "/#/experiments/7/runs?workflowType=machine_learning"
    assert experiment_page("http://me:hunter2@server:80/", "7") == f"http://server:80{page}"
    assert experiment_page("sqlite:////tmp/a@b.db", "7") == f"http://127.0.0.1:5000{page}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg2://me:p@ss:w@db:5432/x", "postgresql+psycopg2://me:***@db:5432/x"),
        ("failed at https://me:hunter2@host/api?x=1", "failed at https://me:***@host/api?x=1"),
        ("https://:token@host", "https://:***@host"),
        ("mysql://db/x?user=me&password=hunter2", "mysql://db/x?user=me&password=***"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("sqlite:////tmp/a:b@c/mlflow.db", "sqlite:////tmp/a:b@c/mlflow.db"),
    ],
)
def test_passwords_are_hidden(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_what_was_missed_is_written_when_the_store_is_back(
    search: Storage, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails three times: at opening, at a trial, and while it catches up."""
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.0)
    failures = iter([True, False, True, False, True])
    said: list[str] = []
    opened, written = tracking_runs.SearchRuns.start_search, tracking_runs.SearchRuns.write_trial

    def fail_or(do: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if next(failures, False):
                raise ConnectionError("gone")
            return do(*arguments)

        return call

    monkeypatch.setattr(tracking_runs.SearchRuns, "start_search", fail_or(opened))
    monkeypatch.setattr(tracking_runs.SearchRuns, "write_trial", fail_or(written))
    tracker = Tracker(search, uri, said.append)
    for number in (0, 1):
        follow(tracker, search, number)
    assert tracker.close(300)
    assert next(failures, None) is None  # all of them came
    assert "gone" in said[0]
    assert "can be written again" in said[-1]
    live = histories(uri)
    assert len(live["t001", "epoch/train_loss"]) == EPOCHS_PER_TRIAL
    assert sync(search, uri).written == 0


def test_a_store_that_stays_down_is_tried_ever_more_rarely(
    search: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, tries = [0.0], []

    def refused(*_: object) -> None:
        tries.append(now[0])
        raise ConnectionError("refused")

    monkeypatch.setattr(tracking, "SearchRuns", refused)
    monkeypatch.setattr(tracking, "monotonic", lambda: now[0])
    said: list[str] = []
    tracker = Tracker(search, "http://127.0.0.1:9", said.append)
    for second in range(1000):
        while not tracker._jobs.empty():
            time.sleep(0.0001)
        now[0] = float(second)
        tracker.epoch_ended("t000", epoch_row(0, 1))
    assert not tracker.close(60)
    assert len(said) == 2
    *while_running, _at_the_end = tries
    assert 5 <= len(while_running) <= 9
    waits = np.diff(while_running)
    assert (waits[1:] >= waits[:-1]).all()
    assert waits.max() <= tracking.LONGEST_RETRY_SECONDS + 1


def test_runs_beyond_a_page_of_a_thousand_are_found_again(search: Storage, uri: str) -> None:
    """MLflow gives at most 1,000 runs a page by default."""
    runs = tracking_runs.SearchRuns(search, uri)
    pages = []
    answer = runs._store._client.search_runs
    runs._store._client.search_runs = lambda *words, **named: (
        pages.append(1) or answer(*words, max_results=2, **named)
    )
    for number in range(5):
        runs.start_trial(start_row(number))
    found = [one.trial_id or "" for one in runs._store.runs()]
    assert sorted(found) == ["", *(f"t{number:03}" for number in range(5))]
    assert len(pages) == 3
