"""Running ``python -m search`` as a user does, and looking at what it left."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow

from analysis.storage import Storage

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def search_process(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "search", *words]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} never came:\n{''.join(seen)}")


def run(*words: str) -> tuple[int, str]:
    with search_process(*words) as process:
        output, _ = process.communicate(timeout=300)
        return process.returncode, output


def records(storage: Storage) -> dict[str, bytes]:
    return {name: storage.read("trials", name) for name in storage.names("trials")}


def child_runs(folder: Path, name: str = "results/mlflow.db") -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/{name}")
    experiment = client.get_experiment_by_name("test")
    runs = client.search_runs([experiment.experiment_id])
    return [one for one in runs if "mlflow.parentRunId" in one.data.tags]
