"""Made-up records of a search, as a search writes them, and what MLflow shows of them."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from fusion_search.analysis.records.description import TASK_FILE, TaskDescription
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import SCHEMA_VERSION
from fusion_search.datasets.batch import Data, TensorData
from fusion_search.search.tasks.digits.task import Digits
from fusion_search.search.tracking.client import open_client
from fusion_search.search.tracking.run_store import ROLE_TAG, TRIAL_TAG
from fusion_search.search.tracking.tracker import Tracker
from fusion_search.search.trials.describe import describe

START = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
SNRS = [float("inf"), 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625]
EPOCHS_PER_TRIAL = 3
SPECIFICATION = """\
name: small
task: digits
network: {units: 4, levels: 2, fusion_depth: [0, 1]}
placement: {connections: {"image>audio": [none, cross]}}
train: [[0.5, 0.25]]
training: {examples: 60}
sweep:
  - {seeds: [0, 1]}
"""
_NONE = TensorData({}, torch.zeros(0))
DIGITS = describe(
    "digits",
    Digits(),
    Data(_NONE, _NONE, _NONE, classes=10, labels=tuple("0123456789")),
    ("image", "audio"),
)


def start_row(number: int) -> dict[str, Any]:
    return {
        "trial_id": f"t{number:03}",
        "trial_name": f"depth {number % 3}, audio 0.5, visual 0.25, seed {number}",
        "task": "digits",
        "streams": [],
        "placement": "{}",
        "end": "",
        "fusion_depth": number % 3,
        "levels": 2,
        "units": 4,
        "padding": True,
        "train_audio_snr": 0.5,
        "train_visual_snr": 0.25,
        "train": '{"audio_snr": 0.5, "visual_snr": 0.25}',
        "fold": 0,
        "seed": number,
        "examples": 60,
        "learning_rate": 0.001,
        "started_at": START + timedelta(minutes=number),
    }


def epoch_row(number: int, epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "examples_seen": 20 * epoch,
        "train_loss": 2.3 / epoch + number / 7,
        "train_accuracy": 0.1 * epoch,
        "validation_loss": 2.4 / epoch,
        "validation_accuracy": 0.1 * epoch + number / 97,
        "seconds": 2.0 * epoch,
        "ended_at": START + timedelta(minutes=number, seconds=2 * epoch, microseconds=700),
    }


def end_row(number: int) -> dict[str, Any]:
    return {
        **start_row(number),
        "status": "finished",
        "specification": json.dumps({"units": 4, "seed": number}),
        "parameters": 12_345,
        "best_epoch": 3,
        "validation_accuracy": 0.3 + number / 97,
        "train_condition_accuracy": 0.28,
        "mean_accuracy": 0.21,
        "ended_at": START + timedelta(minutes=number, seconds=10),
        "seconds": 10.0,
        "data_note": "made-up numbers of a test",
        "data_fingerprint": "0123456789abcdef",
        "git_commit": "c0ffee",
        "device": "cpu",
    }


def failed_row(number: int) -> dict[str, Any]:
    results = {"parameters", "best_epoch", "validation_accuracy"}
    row = {name: value for name, value in end_row(number).items() if name not in results}
    return {**row, "status": "failed", "reason": "the loss became NaN in epoch 1"}


def grid_rows(number: int) -> list[dict[str, Any]]:
    return [
        {
            "test_audio_snr": audio,
            "test_visual_snr": visual,
            "n": 50,
            "loss": 1.0,
            "accuracy": (7 * i + 3 * j + number) % 51 / 50,
            "accuracy_sum": float((7 * i + 3 * j + number) % 51),
        }
        for i, audio in enumerate(SNRS)
        for j, visual in enumerate(SNRS)
    ]


def record(
    search: Storage, row: dict[str, Any], epochs: int = EPOCHS_PER_TRIAL, grid: bool = True
) -> None:
    """Write the three tables of one digit trial as a search does."""
    number = int(row["trial_id"][1:])
    tables = {
        "trials": [row],
        "epochs": [epoch_row(number, epoch) for epoch in range(1, epochs + 1)],
        "grid": grid_rows(number) if grid else [],
    }
    write_tables(search, row["trial_id"], tables, DIGITS)


def write_tables(
    search: Storage, trial_id: str, tables: dict[str, list[dict[str, Any]]], of: TaskDescription
) -> None:
    key = {"schema_version": SCHEMA_VERSION, "search": "small", "trial_id": trial_id}
    for name, rows in tables.items():
        if rows:
            buffer = io.BytesIO()
            table = pa.Table.from_pylist([{**one, **key} for one in rows], of.schema(name))
            pq.write_table(table, buffer)
            search.write(buffer.getvalue(), name, f"{trial_id}.parquet")


def planned_search(
    storage: Storage, name: str, trials: int = 2, of: TaskDescription = DIGITS
) -> Storage:
    search = storage.below(name)
    search.write(of.to_json().encode(), TASK_FILE)
    search.write(SPECIFICATION.encode(), "specification.yaml")
    names = [f"t{number:03}" for number in range(trials)]
    planned = [{"trial_id": one, "trial_name": one} for one in names]
    plan = {"planned": trials, "trials": planned}
    search.write(json.dumps(plan).encode(), "planned.json")
    return search


def runs_of(uri: str, name: str = "small") -> tuple[Any, dict[str, Any]]:
    """The parent run and the trials' runs by trial id."""
    client = open_client(uri)
    experiment = client.get_experiment_by_name(name)
    runs, page = [], None
    while page is None or page.token:
        page = client.search_runs([experiment.experiment_id], page_token=page and page.token)
        runs += page
    parents = [run for run in runs if run.data.tags[ROLE_TAG] == "search"]
    trials = [run for run in runs if run.data.tags[ROLE_TAG] == "trial"]
    assert len(parents) == 1
    by_id = {run.data.tags[TRIAL_TAG]: run for run in trials}
    assert len(by_id) == len(trials)
    return parents[0], by_id


def histories(uri: str, name: str = "small") -> dict[tuple[str, str], list[tuple[int, int, float]]]:
    """Every metric point of every trial: (trial id, metric) -> (step, timestamp, value)."""
    client = open_client(uri)
    found = {}
    for trial_id, run in runs_of(uri, name)[1].items():
        for metric in run.data.metrics:
            points = client.get_metric_history(run.info.run_id, metric)
            found[trial_id, metric] = sorted((p.step, p.timestamp, p.value) for p in points)
    return found


def follow(tracker: Tracker, search: Storage, number: int) -> None:
    """Tell a tracker the life of one trial."""
    row = start_row(number)
    tracker.trial_started(row)
    for epoch in range(1, EPOCHS_PER_TRIAL + 1):
        tracker.epoch_ended(row["trial_id"], epoch_row(number, epoch))
    record(search, end_row(number))
    tracker.trial_ended(row["trial_id"])
