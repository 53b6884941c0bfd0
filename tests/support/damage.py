"""Damaged copies of files, and a search's folder with one file of every kind."""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from descriptions import digit_description, write_description
from flips import damaged as damaged
from flips import flipped as flipped

from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    SCHEMA_VERSION,
    SPECIFICATION_FILE,
    to_parquet,
)
from fusion_search.search.declaration.configuration import build_search, to_yaml
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.records.planned import write_plan
from fusion_search.search.records.provenance import Provenance
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.running.confirmation import Candidate, write_candidates
from fusion_search.search.running.samples.parts import Proposal
from fusion_search.search.running.samples.proposals import record_plan
from fusion_search.search.trials.specification import TrialSpecification

NAME = "damaged"
_LIFETIME = 2**31 - 1  # no process has this id


def fingerprint(folder: Path) -> dict[str, str]:
    """Of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sweep_folder(parent: Path) -> Storage:
    """A sweep of four trials, all ended (two failed, two stopped), with every text file."""
    search = declared(
        parent,
        network={"fusion_depth": [0, 1]},
        train=[[1, 0.5], [0.5, "original"]],
    )
    storage = written(parent, search)
    trials = search.planned_trials()
    write_plan(storage, trials, len(trials))
    write_candidates(storage, [Candidate("d=0, plain", "plain", None, tuple(trials), 0.5)])
    write_common(storage, trials)
    return storage


def space_folder(parent: Path) -> Storage:
    """The same for a search over a space, whose two proposals have ended."""
    search = declared(
        parent,
        network={"fusion_depth": [0, 1, 2]},
        placement={
            "couplings": ["none", "mmtm"],
            "connections": {"image>audio": {"level1": ["none", "cross"]}},
        },
        train=[[1, 0.5]],
        training={"epochs": 3, "learning_rate": {"low": 0.001, "high": 0.1}},
        searcher={"samples": 2},
    )
    assert search.space is not None
    samples: list[dict[str, Any]] = [
        {
            "fusion_depth": 1,
            "coupling_level1": "mmtm",
            "to_audio_from_image_level1": "none",
            "learning_rate": 0.01,
        },
        {"fusion_depth": 0, "learning_rate": 0.02},
    ]
    storage = written(parent, search)
    proposals = [Proposal(n, one, search.space.trials(one)) for n, one in enumerate(samples)]
    record_plan(storage, proposals, 2)
    write_common(storage, [trial for one in proposals for trial in one.trials])
    return storage


def declared(parent: Path, **fields: Any) -> SearchSpecification:
    """A search of digits, without MLflow."""
    own = {"name": NAME, "task": "digits", "storage": str(parent), "training": {"epochs": 3}}
    return build_search({**own, "mlflow": {"enabled": False}, **fields})


def written(parent: Path, search: SearchSpecification) -> Storage:
    """Its folder, with what it is and what its task is."""
    storage = open_storage(parent).below(NAME)
    storage.write(to_yaml(search).encode(), SPECIFICATION_FILE)
    write_description(storage)
    return storage


def write_common(storage: Storage, trials: list[TrialSpecification]) -> None:
    """Records of ended trials, a grid, predictions, and what a dead driver left."""
    origin = Provenance(git_commit="unknown")
    description = digit_description()
    recorder = Recorder(storage, NAME, description, origin)
    data: Any = SimpleNamespace(fingerprint="0" * 16, split_fingerprint="", note="made up")
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    epochs = [
        {
            "epoch": number,
            "examples_seen": 10 * number,
            "train_loss": 2.0,
            "train_accuracy": 0.2,
            "validation_loss": 2.0,
            "validation_accuracy": 0.1 * number,
            "seconds": float(number),
            "ended_at": moment,
        }
        for number in (1, 2)
    ]
    for number, trial in enumerate(trials):
        started = {**recorder.started(trial, data, moment), "device": "cpu"}
        if number % 2:
            recorder.failed(trial, "the loss became nan", started, "where it did", 0.0)
        else:
            recorder.stopped(trial, epochs, started, "stopped by asha", 0.0)
    chance = np.random.default_rng(0)
    key: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "search": NAME,
        "trial_id": trials[0].trial_id,
    }
    condition = {"test_audio_snr": 0.5, "test_visual_snr": 1.0}
    metric = {"accuracy": 0.75, "accuracy_sum": 150.0}
    grid = [{**key, **condition, "n": 200, "loss": 0.7, **metric}] * 3
    cells = [
        {**key, **condition, "number": number, "label": 3, "predicted": int(answer)}
        for number, answer in enumerate(chance.integers(0, 10, 200))
    ]
    shown = {"split": "test", "number": 0, "group": "", "label": 3}
    array = {"name": "input.image", "shape": [2], "values": [0.5, 0.25]}
    arrays = [{**key, **condition, **shown, **array}]
    for table, rows in (("grid", grid), ("predictions", cells), ("activations", arrays)):
        content = to_parquet(pa.Table.from_pylist(rows, schema=description.schema(table)))
        storage.write(content, table, f"{trials[0].trial_id}.parquet")
    now = datetime.now(UTC).isoformat()
    driver = {"host": platform.node(), "pid": _LIFETIME, "started_at": now, "running": {}}
    storage.write(json.dumps(driver).encode(), "driver.json")
