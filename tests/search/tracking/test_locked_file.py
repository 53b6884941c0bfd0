"""Another program holds MLflow's SQLite file: said in a sentence, and nothing recorded is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from damage import fingerprint
from sqlalchemy import event
from sqlalchemy.engine import Engine
from tracking_records import (
    EPOCHS_PER_TRIAL,
    end_row,
    epoch_row,
    follow,
    planned_search,
    record,
    runs_of,
    start_row,
)
from tracking_servers import wait_until

from fusion_search.analysis.records.storage import Storage
from fusion_search.search.records.identity import kept_identity
from fusion_search.search.tracking import tracker as tracking
from fusion_search.search.tracking.syncing import TrackingError, sync
from fusion_search.search.tracking.tracker import Tracker

# Of MLflow's own use of SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")


@pytest.fixture
def waits() -> Iterator[list[str]]:
    """MLflow waits 20 s for a locked file, each time; here a hundredth. What it asked for."""
    asked: list[str] = []

    def shorten(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        if "busy_timeout" in statement:
            asked.append(statement)
            statement = "PRAGMA busy_timeout = 200"
        return statement, parameters

    event.listen(Engine, "before_cursor_execute", shorten, retval=True)
    yield asked
    event.remove(Engine, "before_cursor_execute", shorten)


def planned(storage: Storage, trials: int) -> Storage:
    search = planned_search(storage, "small", trials)
    kept_identity(search)
    return search


@contextmanager
def locked(storage: Storage) -> Iterator[None]:
    with closing(sqlite3.connect(storage.path("mlflow.db"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def written(uri: str) -> dict[str, str]:
    """Trials' runs and their state, once their results are there."""
    runs = runs_of(uri)[1]
    assert all("mean_accuracy" in run.data.metrics for run in runs.values())
    return {name: run.info.status for name, run in runs.items()}


def test_a_locked_file_is_one_sentence_of_sync_and_written_afterwards(
    storage: Storage, uri: str, waits: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    search = planned(storage, 2)
    for number in range(2):
        record(search, {**end_row(number), "epochs_run": EPOCHS_PER_TRIAL})
    before = fingerprint(Path(search.path()))
    with locked(storage), pytest.raises(TrackingError) as raised:
        sync(search, uri)
    assert str(raised.value) == (
        f"MLflow at {uri} cannot be written (OperationalError: database is locked); another "
        "program holds it; 0 of 2 trials are there"
    )
    output = capfd.readouterr()
    assert output.out + output.err == ""  # no traceback of MLflow's own
    assert waits
    assert set(waits) == {"PRAGMA busy_timeout = 20000;"}  # as docs/mlflow.md has it
    assert fingerprint(Path(search.path())) == before
    assert sync(search, uri).written == 2
    assert written(uri) == {"t000": "FINISHED", "t001": "FINISHED"}


def test_a_file_that_is_locked_while_a_search_runs_costs_it_nothing(
    storage: Storage,
    uri: str,
    waits: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.0)
    search = planned(storage, 3)
    said: list[str] = []
    tracker = Tracker(search, uri, said.append)
    follow(tracker, search, 0)
    wait_until(lambda: tracker.page is not None and not tracker._owed, "the first trial")
    with locked(storage):
        follow(tracker, search, 1)
        wait_until(lambda: bool(said), "the sentence")
        tracker.trial_started(start_row(2))
        tracker.epoch_ended("t002", epoch_row(2, 1))
    record(search, end_row(2))
    tracker.trial_ended("t002")
    assert tracker.close(120)
    assert said == [
        f"MLflow at {uri} cannot be written (OperationalError: database is locked); another "
        "program holds it; trials and their records are not affected, and it is tried again",
        f"MLflow at {uri} can be written again",
    ]
    assert written(uri) == dict.fromkeys(("t000", "t001", "t002"), "FINISHED")
    output = capfd.readouterr()
    assert output.out + output.err == ""
    assert sync(search, uri).written == 0


def test_a_file_that_is_locked_to_the_end_leaves_its_runs_to_sync(
    storage: Storage, uri: str, waits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = planned(storage, 1)
    said: list[str] = []
    with locked(storage):
        tracker = Tracker(search, uri, said.append)
        follow(tracker, search, 0)
        before = fingerprint(Path(search.path()))
        assert not tracker.close(120)
    problem = (
        f"MLflow at {uri} cannot be written (OperationalError: database is locked); another "
        "program holds it; "
    )
    again = f"fusion-search sync-mlflow small --storage {storage.location}"
    assert said == [
        f"{problem}trials and their records are not affected, and it is tried again",
        f"MLflow at {uri} was not written, as was said; runs of 1 trial are missing there, trials "
        f"and their records are not affected, and `{again}` writes the runs afterwards",
    ]
    assert fingerprint(Path(search.path())) == before
    assert sync(search, uri).written == 1
    assert written(uri) == {"t000": "FINISHED"}
