"""What a search costs beyond its trials' own work, against Ray Tune doing nothing.

Wall time per trial on as many workers at once as there are cores. Of our trials, real ones, the
smallest that train anything, what they spend on training and evaluation is taken off, so what is
left is dispatching, reporting, recording, and starting the workers. Ray is started before, once for
all sides. MLflow is imported and makes its SQLite database while the trials run; both are counted.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from analysis.storage import open_storage
from analysis.tables import read_table
from datasets.digits import load_digits
from search.configuration import build_search
from search.ray_cluster import connect
from search.running import run
from tests.benchmarks.table import Measurement

_CONFIGURATION: dict[str, Any] = {
    "name": "overhead",
    "trials": {
        "data_source": "builtin",
        "frames": 24,
        "levels": 1,
        "units": 1,
        "dense_units": 2,
        "examples": 8,
        "epoch_examples": 8,
        "epochs": 2,
        "batch_size": 8,
        "validation_examples": 4,
        "test_examples": 2,
        "device": "cpu",
    },
    "resources": {"cpus_per_trial": 1},
}


def nothing(config: dict[str, Any]) -> None:
    """A trainable that only needs PyTorch."""
    tune.report({"threads": torch.get_num_threads()})


def bare(trials: int, folder: Path, *, reuse_actors: bool) -> float:
    """Wall seconds per trial of Ray Tune alone."""
    start = time.perf_counter()
    tune.Tuner(
        tune.with_resources(nothing, {"cpu": 1}),
        param_space={"number": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(reuse_actors=reuse_actors),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    ).fit()
    return (time.perf_counter() - start) / trials


def ours(trials: int, folder: Path, workers: int, *, mlflow: bool) -> tuple[float, float]:
    """Wall seconds per trial beyond its own work, and the seconds of this work."""
    seeds = list(range(trials))
    sweep = [{"fusion_depths": [1], "train_pairs": [[2, 1]], "seeds": seeds}]
    search = build_search(
        {**_CONFIGURATION, "sweep": sweep, "mlflow": {"enabled": mlflow}, "storage": str(folder)}
    )
    search = replace(search, name=f"mlflow-{mlflow}")
    wanted = search.planned_trials()
    data = load_digits(wanted[0].data)
    storage = open_storage(folder).below(search.name)
    storage.write(b"name: overhead\n", "specification.yaml")
    start = time.perf_counter()
    run(search, storage, wanted, data, planned=trials, remaining=trials, epochs=2)
    wall = time.perf_counter() - start
    records = read_table(storage, "trials")
    assert list(records["status"]) == ["finished"] * trials, records["reason"].tolist()
    own = float((records["train_seconds"] + records["evaluation_seconds"]).sum())
    return (wall - own / workers) / trials, own / trials


def measure(trials: int = 100) -> list[Measurement]:
    search = build_search(_CONFIGURATION)
    with (
        tempfile.TemporaryDirectory() as name,
        connect("local", search.resources, open_storage(name)),
    ):
        folder = Path(name)
        workers = int(ray.cluster_resources()["CPU"])
        sides = {
            "a fresh worker per trial": bare(
                max(2, trials // 5), folder / "bare", reuse_actors=False
            ),
            "Ray Tune, workers reused": bare(trials, folder / "reused", reuse_actors=True),
        }
        results = []
        for mlflow in (True, False):
            seconds, own = ours(trials, folder / "ours", workers, mlflow=mlflow)
            for against, baseline in sides.items():
                fresh = against == "a fresh worker per trial"
                reached = "reached" if seconds <= 0.15 else "MISSED"
                results.append(
                    Measurement(
                        what=f"search overhead per trial, MLflow {'on' if mlflow else 'off'}",
                        against=against,
                        unit="s",
                        baseline=baseline,
                        ours=seconds,
                        aim=6 if fresh and mlflow else None,
                        note=f"own work {own:.2f} s; aim: at most 0.15 s, {reached}",
                    )
                )
    return results
