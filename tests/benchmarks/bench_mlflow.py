"""MLflow per trial, against the same content logged call by call with MLflow's client.

A trial of a sweep has 7 parameters, 12 epochs of 4 curves, a dozen results, its tags and its grid.
Ours counts everything that ``sync`` does for it, reading the records included; the picture of the
best grid, once per search, is drawn before. The baseline sets every tag, parameter and metric
value in a call of its own and uploads the grid, and reads no records.
"""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from fusion_search.analysis.records.description import TASK_FILE
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import SCHEMA_VERSION, SPECIFICATION_FILE
from fusion_search.datasets.batch import Data, TensorData
from fusion_search.datasets.digits.data import DigitsSettings
from fusion_search.datasets.noise import TEST_SNRS
from fusion_search.search.tasks.digits.task import Digits, DigitsNetwork
from fusion_search.search.tracking.client import open_client
from fusion_search.search.tracking.syncing import sync
from fusion_search.search.tracking.values import (
    epoch_points,
    result_points,
    trial_parameters,
    trial_tags,
)
from fusion_search.search.trials.describe import describe
from fusion_search.search.trials.specification import TrialSpecification
from tests.benchmarks.table import Measurement

START = datetime(2026, 1, 1, tzinfo=UTC)
EPOCHS = 12
_NONE = TensorData({}, torch.zeros(0))
DIGITS = describe("digits", Digits(), Data(_NONE, _NONE, _NONE), ("image", "audio"))


def trial_row(number: int) -> dict[str, Any]:
    trial = TrialSpecification(
        task="digits",
        network=DigitsNetwork(),
        data=DigitsSettings(),
        train={"audio_snr": 0.5, "visual_snr": 0.25},
        seed=number,
    )
    numbers = {
        column.name: 0.5
        for column in DIGITS.columns
        if column.name.endswith(("accuracy", "seconds", "_per_example"))
    }
    return {
        **trial.columns(),
        **numbers,
        "schema_version": SCHEMA_VERSION,
        "search": "bench",
        "trial_id": trial.trial_id,
        "trial_name": trial.trial_name,
        "status": "finished",
        "parameters": 899_466,
        "best_epoch": EPOCHS,
        "specification": trial.to_json(),
        "started_at": START + timedelta(seconds=number),
        "ended_at": START + timedelta(seconds=number + 60),
        "data_note": "made-up numbers of a benchmark",
        "data_fingerprint": "0123456789abcdef",
        "git_commit": "c0ffee",
        "versions": json.dumps({"torch": "2.13.0"}),
        "host": "here",
        "device": "cpu",
        "validation_accuracy": 0.5 + number / 1e4,
    }


def epoch_rows(row: dict[str, Any]) -> list[dict[str, Any]]:
    names = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    return [
        {
            "epoch": epoch,
            "examples_seen": 60 * epoch,
            "seconds": float(epoch),
            **{name: 1 / (epoch + place) for place, name in enumerate(names, 1)},
            "ended_at": row["started_at"] + timedelta(seconds=epoch),
        }
        for epoch in range(1, EPOCHS + 1)
    ]


def grid_rows() -> list[dict[str, Any]]:
    return [
        {
            "test_audio_snr": audio,
            "test_visual_snr": visual,
            "n": 50,
            "loss": 1.0,
            "accuracy": 0.5,
            "accuracy_sum": 25.0,
        }
        for audio in TEST_SNRS
        for visual in TEST_SNRS
    ]


def write_records(search: Storage, rows: list[dict[str, Any]]) -> None:
    search.write(b"name: bench\ntask: digits\nnetwork: {units: 64}\n", SPECIFICATION_FILE)
    search.write(DIGITS.to_json().encode(), TASK_FILE)
    for row in rows:
        key = {"schema_version": SCHEMA_VERSION, "search": "bench", "trial_id": row["trial_id"]}
        tables = {"trials": [row], "epochs": epoch_rows(row), "grid": grid_rows()}
        for table, parts in tables.items():
            buffer = io.BytesIO()
            content = pa.Table.from_pylist([{**one, **key} for one in parts], DIGITS.schema(table))
            pq.write_table(content, buffer)
            search.write(buffer.getvalue(), table, f"{row['trial_id']}.parquet")


def one_by_one(uri: str, folder: Path, rows: list[dict[str, Any]]) -> float:
    """Seconds per trial; files go below ``folder``, or where a server wants them."""
    client = open_client(uri)
    files = None if uri.startswith("http") else str(folder / "one by one")
    experiment = client.create_experiment("one by one", files)
    start = time.perf_counter()
    for row in rows:
        run = client.create_run(experiment, run_name=row["trial_name"]).info.run_id
        for name, text in trial_parameters(row, DIGITS, brief=True).items():
            client.log_param(run, name, text)
        points = [point for epoch in epoch_rows(row) for point in epoch_points(epoch, DIGITS)]
        for point in [*points, *result_points(row, DIGITS)]:
            client.log_metric(run, point.name, point.value, point.milliseconds, point.step)
        for name, text in trial_tags(row, DIGITS).items():
            client.set_tag(run, name, text)
        client.log_text(run, json.dumps(grid_rows()), "grid.json")
        client.set_terminated(run)
    return (time.perf_counter() - start) / len(rows)


def synced(uri: str, folder: Path, rows: list[dict[str, Any]]) -> float:
    """Seconds per trial; the experiment, the parent run and its picture are there before."""
    search = open_storage(folder / "bench")
    write_records(search, rows[-1:])
    sync(search, uri)
    write_records(search, rows)
    start = time.perf_counter()
    counts = sync(search, uri)
    seconds = time.perf_counter() - start
    assert counts.written == len(rows) - 1, counts
    return seconds / counts.written


def content(uri: str, experiment: str, row: dict[str, Any]) -> tuple[Any, ...]:
    """Parameters, last values, one whole curve and our own tags of a trial's run."""
    client = open_client(uri)
    number = client.get_experiment_by_name(experiment).experiment_id
    runs = client.search_runs([number], f"run_name = '{row['trial_name']}'")
    (run,) = runs
    curve = client.get_metric_history(run.info.run_id, "epoch/validation_loss")
    values = sorted((point.step, point.timestamp, point.value) for point in curve)
    tags = {name: run.data.tags.get(name) for name in trial_tags(row, DIGITS)}
    return run.data.params, run.data.metrics, values, tags


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """MLflow's own server on this machine, over SQLite, which passes the files through."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/server.db",
        "--artifacts-destination", str(folder / "files"),
    ]  # fmt: skip
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, cwd=folder
        )
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    if time.monotonic() > deadline or process.poll() is not None:
                        raise
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)
            process.wait()


def measure(trials: int = 40, plain_trials: int = 5, with_server: bool = True) -> list[Measurement]:
    rows = [trial_row(number) for number in range(trials + 1)]
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides = [("SQLite", f"sqlite:///{folder}/mlflow.db", 20)]
        with server(folder) if with_server else no_server() as uri:
            if uri:
                sides.append(("a server", uri, 150))
            for what, where, aim in sides:
                baseline = one_by_one(where, folder, rows[:plain_trials])
                ours = synced(where, folder / what, rows)
                assert content(where, "one by one", rows[0]) == content(where, "bench", rows[0])
                reached = "reached" if 1000 * ours <= aim else "MISSED"
                results.append(
                    Measurement(
                        what=f"MLflow run of a trial, {what}",
                        against="call by call",
                        unit="ms",
                        baseline=1000 * baseline,
                        ours=1000 * ours,
                        note=f"aim: at most {aim} ms; {reached}",
                    )
                )
    return results


@contextmanager
def no_server() -> Iterator[str]:
    yield ""
