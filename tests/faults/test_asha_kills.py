"""A search with ASHA whose driver is killed at any of its writes, without Ray's processes."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from fault_search import assert_equal_records
from in_place import KilledError, run_ray_trial
from odd_tasks import Amount, Sensors

from fusion_search.analysis.records.description import read_description
from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED, read_rows
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.dispatch import adapters, tuner
from fusion_search.search.dispatch.adapters import Driver
from fusion_search.search.dispatch.messages import proposed
from fusion_search.search.dispatch.schedulers import make_scheduler
from fusion_search.search.records.provenance import Provenance
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.running.progress import Progress
from fusion_search.search.running.run import Environment, write_specification
from fusion_search.search.running.samples.proposals import Proposals, read_proposals
from fusion_search.search.running.space_search import make_proposals, run_space
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.results import Epoch
from fusion_search.search.trials.specification import TrialSpecification

METRIC = "mean_absolute_error"
SAMPLES = 13  # of which TPE draws the first ten by chance
FOLDS, EPOCHS, RUNGS = 2, 3, (1, 2, 4)  # over all six epochs of a sample
FAILING = 5  # one trial in so many fails in its third epoch


class Silent(Progress):
    """Tells nobody."""

    def __init__(self) -> None: ...

    def started(self, row: Any) -> None: ...

    def epoch(self, trial_id: str, row: Any) -> None: ...

    def ended(self, row: Any) -> None: ...

    def say(self, text: str) -> None: ...


def declared(parent: Path, scheduler: str = "asha") -> SearchSpecification:
    population = scheduler == "pbt"
    return build_search(
        {
            "name": "test",
            "task": "odd_tasks:Sensors",
            "training": {"epochs": EPOCHS, "learning_rate": {"low": 0.001, "high": 0.03}},
            "placement": {"couplings": ["none"] if population else ["none", "gates"]},
            "folds": list(range(1 if population else FOLDS)),
            "searcher": {"name": "random" if population else "tpe", "samples": SAMPLES},
            "scheduler": {"name": scheduler, "reduction": 2},
            "mlflow": {"enabled": False},
            "storage": str(parent),
        }
    )


def go_on(search: SearchSpecification, opened: OpenedTask) -> bool:
    """Launch or resume, in the place of Ray: one worker; whether the search came to its end."""
    storage = open_storage(search.storage).below("test")
    assert search.space is not None
    try:
        proposals = make_proposals(search, storage)
        if storage.exists("planned.json"):
            proposals.restore(read_proposals(storage))
        else:
            write_specification(search, storage, opened, search.space.any_trial())
        origin = Provenance(git_commit="none")
        recorder = Recorder(storage, "test", read_description(storage), origin, search.objectives)
        driver = Driver(opened, recorder, Silent(), None, search.resources, "asha", proposals)
        scheduler = make_scheduler(search.scheduler, {}, driver.goes_on)
        while (one := proposals.next()) is not None:
            run_ray_trial(proposed(one), str(one.number), opened, recorder, driver, scheduler)
    except KilledError:
        return False
    assert proposals.complete
    return True


def made_up(
    trial: TrialSpecification,
    opened: OpenedTask,
    recorder: Recorder,
    *,
    sample: Any,
    on_start: Any,
    on_epoch: Any,
    **_: Any,
) -> Any:
    """In the place of ``execute``: a trial's reports and records, one of ten errors an epoch."""
    before = recorder.ended_row(trial)
    if before is not None and before["status"] == FINISHED:
        return before
    data = opened.data(trial.data, trial.fold)
    started = recorder.started(trial, data, datetime.now(UTC), sample)
    on_start(started)
    rows: list[Any] = []
    for number in range(1, EPOCHS + 1):
        if number == EPOCHS and crc32(trial.trial_id.encode()) % FAILING == 0:
            return recorder.failed(trial, "it fails", started, "", time.monotonic())
        error = crc32(f"{trial.trial_id} {number}".encode()) % 10 / 10
        told = {
            "train_loss": 1.0,
            "train": {METRIC: error},
            "validation_loss": error,
            "seconds": 1.0,
        }
        epoch = Epoch(
            epoch=number,
            examples_seen=24 * number,
            validation={METRIC: error},
            ended_at=datetime.now(UTC),
            **told,  # type: ignore[arg-type]
        )
        rows.append(epoch.row())
        on_epoch({"trial_id": trial.trial_id, **rows[-1]})
    best = min(row[f"validation_{METRIC}"] for row in rows)
    recorder._write_epochs(trial, rows)
    row = {
        **started,
        "status": FINISHED,
        "device": "cpu",
        "epochs_run": EPOCHS,
        f"validation_{METRIC}": best,
        f"mean_{METRIC}": best,
        f"train_condition_{METRIC}": best,
        "objective_values": [best],
        "ended_at": datetime.now(UTC),
        "seconds": 1.0,
    }
    recorder._end(trial, row)
    return row


@pytest.fixture(scope="module")
def opened() -> OpenedTask:
    return OpenedTask(Sensors(), Amount())


@pytest.fixture(scope="module", autouse=True)
def patch() -> Iterator[pytest.MonkeyPatch]:
    """For all tests of this file: nothing is trained."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuner, "execute", made_up)
        yield patch
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, opened: OpenedTask, patch: pytest.MonkeyPatch
) -> Storage:
    """What a search leaves that nobody kills."""
    folder = tmp_path_factory.mktemp("whole")
    assert go_on(declared(folder), opened)
    return open_storage(folder / "test")


def assert_equal(one: Storage, other: Storage) -> None:
    for name in ("planned.json", "asha.json"):
        assert one.read(name) == other.read(name)
    assert_equal_records(one, other)
    assert one.names("running") == other.names("running") == []


def test_every_epoch_at_a_rung_is_decided_once_and_only_the_decided_are_stopped(
    undisturbed: Storage,
) -> None:
    """Counted anew from the records: what a search without kills leaves is right in itself."""
    rows: dict[str, list[str]] = {}
    for row in read_rows(undisturbed, "trials"):
        rows.setdefault(row["sample"], []).append(row["status"])
    kept: dict[str, list[tuple[int, bool]]] = {}
    for one in json.loads(undisturbed.read("asha.json")):
        kept.setdefault(one["sample_id"], []).append((one["epochs"], one["kept"]))
    assert len(rows) == len(kept) == SAMPLES
    last = []
    for made in kept.values():
        assert [epochs for epochs, _ in made] == list(RUNGS[: len(made)])
        assert all(goes_on for _, goes_on in made[:-1])
        last.append(made[-1])
    stopped = [own for own in rows.values() if STOPPED in own]
    failed = [own for own in rows.values() if FAILED in own]
    finished = [own for own in rows.values() if set(own) == {FINISHED}]
    assert min(map(len, (stopped, failed, finished))) > 0
    assert sum(not goes_on for _, goes_on in last) == len(stopped)
    in_first_fold = sum(len(own) == 1 for own in failed)
    assert last.count((2, True)) == in_first_fold
    assert last.count((4, True)) == len(finished) + len(failed) - in_first_fold


def test_a_search_that_is_killed_again_and_again_decides_as_one_that_never_was(
    tmp_path: Path,
    opened: OpenedTask,
    undisturbed: Storage,
    patch: pytest.MonkeyPatch,
) -> None:
    chance = np.random.default_rng(0)
    write = Storage.write
    left = 0

    def killed(self: Storage, content: bytes, *names: str) -> None:
        nonlocal left
        left -= 1
        if left > 0 or chance.random() < 0.5:  # else it dies before it has written
            write(self, content, *names)
        if left <= 0:
            raise KilledError

    search, kills = declared(tmp_path), 0
    with patch.context() as here:
        here.setattr(Storage, "write", killed)
        while (left := 1 + int(chance.integers(14))) and not go_on(search, opened):
            kills += 1
            assert kills < 100
    assert kills > 8
    assert_equal(open_storage(tmp_path / "test"), undisturbed)


def test_nothing_follows_from_a_decision_that_cannot_be_written(
    tmp_path: Path, opened: OpenedTask, undisturbed: Storage, patch: pytest.MonkeyPatch
) -> None:
    write = Storage.write
    stop = next(
        number
        for number, one in enumerate(json.loads(undisturbed.read("asha.json")))
        if not one["kept"]
    )

    def full(self: Storage, content: bytes, *names: str) -> None:
        if names == ("asha.json",) and len(json.loads(content)) == stop + 1:
            raise StorageError("the disk is full")
        write(self, content, *names)

    search, storage = declared(tmp_path), open_storage(tmp_path / "test")
    with patch.context() as here:
        # Ray takes note of the interrupt, and ends when this step is over.
        here.setattr(
            adapters, "signal", SimpleNamespace(raise_signal=lambda number: None, SIGINT=2)
        )
        here.setattr(Storage, "write", full)
        assert not go_on(search, opened)
    assert STOPPED not in {row["status"] for row in read_rows(storage, "trials")}
    assert len(json.loads(storage.read("asha.json"))) == stop
    assert go_on(search, opened)
    assert_equal(storage, undisturbed)


class Nobody:
    """In the place of Ray: runs nothing."""

    def connected(self, resources: object) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def run_trials(self, trials: Any, *_: Any) -> None:
        assert isinstance(trials, Proposals)


@pytest.mark.parametrize(
    ("scheduler", "sentence"),
    [
        ("median", "scheduler median begins anew: no trial is set against those that ended before"),
        ("pbt", "scheduler pbt begins anew: trials that had not ended begin again"),
        ("asha", ""),
    ],
)
def test_a_resume_says_what_its_scheduler_has_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scheduler: str, sentence: str
) -> None:
    search, storage = declared(tmp_path, scheduler), open_storage(tmp_path / "test")
    environment = Environment(data_folder=None, dispatcher=Nobody())
    run_space(search, storage, environment, begin=True, failed_too=False)
    assert "anew" not in capsys.readouterr().out
    run_space(search, storage, environment, begin=False, failed_too=False)
    printed = capsys.readouterr().out
    assert sentence in printed
    assert ("anew" in printed) == bool(sentence)
