"""What a search costs beyond its trials' own work, against Ray Tune doing nothing.

Wall time per trial on as many workers at once as there are cores. Of our trials, real ones, the
smallest that train anything, what they spend on training and evaluation is taken off, so what is
left is dispatching, reporting, recording, and starting the workers. Ray is started before, once for
all sides. MLflow is imported and makes its SQLite database while the trials run; both are counted.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import read_table
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.dispatch.connection import connect
from fusion_search.search.dispatch.dispatcher import RayDispatcher
from fusion_search.search.records.planned import write_plan
from fusion_search.search.running.run import Environment, run, write_specification
from fusion_search.search.tasks.opened import OpenedTask
from tests.benchmarks.table import Measurement

FRESH, REUSED = "a fresh worker per trial", "Ray Tune, workers reused"
ON, OFF = "MLflow on", "MLflow off"
AIM_SECONDS, AIM_RATIO = 0.15, 6

_CONFIGURATION: dict[str, Any] = {
    "name": "overhead",
    "task": "digits",
    "data": {"source": "builtin", "frames": 24},
    "network": {"levels": 1, "fusion_depth": 1, "units": 1, "dense_units": 2},
    "train": [[2, 1]],
    "training": {
        "examples": 8,
        "epoch_examples": 8,
        "epochs": 2,
        "batch_size": 8,
        "device": "cpu",
    },
    "evaluation": {"validation_examples": 4, "test_examples": 2},
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


def ours(trials: int, folder: Path, *, mlflow: bool) -> tuple[float, float]:
    """Wall seconds per trial, and the seconds of its own work."""
    more = {"seeds": list(range(trials)), "mlflow": {"enabled": mlflow}, "storage": str(folder)}
    search = build_search({**_CONFIGURATION, **more})
    wanted = search.planned_trials()
    opened = OpenedTask(search.definition, wanted[0].data)
    storage = open_storage(folder).below(search.name)
    write_plan(storage, wanted, trials)
    write_specification(search, storage, opened, wanted[0])
    start = time.perf_counter()
    here = Environment(data_folder=None, dispatcher=RayDispatcher())
    run(search, storage, wanted, opened, here, planned=trials, remaining=trials, epochs=2)
    wall = time.perf_counter() - start
    records = read_table(storage, "trials")
    assert list(records["status"]) == ["finished"] * trials, records["reason"].tolist()
    own = float((records["train_seconds"] + records["evaluation_seconds"]).sum())
    return wall / trials, own / trials


def measure(trials: int = 60, rounds: int = 3) -> list[Measurement]:
    """Medians of several rounds, the sides in turns, as many trials on each."""
    walls: dict[str, list[float]] = {FRESH: [], REUSED: [], ON: [], OFF: []}
    owns = []
    search = build_search(_CONFIGURATION)
    with tempfile.TemporaryDirectory() as name, connect("local", search.resources):
        workers = int(ray.cluster_resources()["CPU"])
        for number in range(rounds):
            folder = Path(name) / str(number)
            for side, reuse in ((FRESH, False), (REUSED, True)):
                walls[side].append(bare(trials, folder / side, reuse_actors=reuse))
            for side in (ON, OFF):
                wall, own = ours(trials, folder / side, mlflow=side == ON)
                walls[side].append(wall)
                if side == OFF:
                    owns.append(own)
    # What MLflow's thread takes from the workers is overhead too: own work is that without it.
    own = statistics.median(owns)
    found = []
    for side in (ON, OFF):
        seconds = statistics.median(walls[side]) - own / workers
        reached = "reached" if seconds <= AIM_SECONDS else "MISSED"
        found += [
            Measurement(
                what=f"search overhead per trial, {side}",
                against=against,
                unit="s",
                baseline=statistics.median(walls[against]),
                ours=seconds,
                aim=AIM_RATIO if against == FRESH else None,
                note=f"{seconds * workers:.2f} s of a worker; own work {own:.2f} s; aim: at most "
                f"{AIM_SECONDS:g} s, {reached}",
            )
            for against in (FRESH, REUSED)
        ]
    return found
