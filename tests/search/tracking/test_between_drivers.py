"""What is done to MLflow between two drivers of a search: put right by the next one, and said."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from small_trials import small_configuration
from tracking_records import START, end_row, planned_search, record, runs_of, start_row
from tracking_servers import wait_until

from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import CANDIDATES_FILE, CONFIRMATION_SUFFIX
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.running import run
from fusion_search.search.tracking.client import open_client
from fusion_search.search.tracking.runs import SearchRuns
from fusion_search.search.tracking.syncing import sync
from fusion_search.search.tracking.tracker import Tracker

# Of MLflow's own use of SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

ENDED = ("t000", "t001")


@pytest.fixture
def search(storage: Storage, uri: str) -> Storage:
    """One that was interrupted after two of three trials, which are in MLflow."""
    search = planned_search(storage, "small", 3)
    for number in range(2):
        record(search, end_row(number))
    assert sync(search, uri).written == 2
    return search


def said(
    search: Storage, uri: str, ended: Iterable[str] = ENDED, confirmed: str | None = None
) -> list[str]:
    """What the next driver says, which runs nothing."""
    sentences: list[str] = []
    tracker = Tracker(search, uri, sentences.append, ended=ended, confirmed=confirmed)
    assert tracker.close(120)
    return sentences


def delete_database(storage: Storage) -> None:
    for file in Path(storage.path()).glob("mlflow.db*"):
        file.unlink()


def shown(uri: str) -> dict[str, str]:
    return {name: one.info.status for name, one in runs_of(uri)[1].items()}


BOTH = {"t000": "FINISHED", "t001": "FINISHED"}


def test_a_database_that_was_deleted_is_written_anew_and_that_is_said(
    storage: Storage, uri: str, search: Storage
) -> None:
    assert said(search, uri) == []  # all is there
    delete_database(storage)
    assert said(search, uri, confirmed="base") == [
        f"MLflow's file at {uri} was not there; the runs of 2 trials that ended before are "
        f"written; `fusion-search sync-mlflow base --storage {storage.location}` writes those of "
        "base"
    ]
    assert shown(uri) == BOTH
    assert said(search, uri, confirmed="base") == []


def test_an_address_that_knows_nothing_of_the_search_is_written_and_that_is_said(
    tmp_path: Path, search: Storage, empty_store: Path
) -> None:
    shutil.copy(empty_store, tmp_path / "other.db")
    other = f"sqlite:///{tmp_path}/other.db"
    assert said(search, other) == [
        f"MLflow at {other} had no run of this search; the runs of 2 trials that ended before are "
        "written"
    ]
    assert shown(other) == BOTH


def test_what_was_deleted_in_mlflow_is_restored_and_that_is_said(uri: str, search: Storage) -> None:
    client, experiment = open_client(uri), runs_of(uri)[0].info.experiment_id
    changed = f"MLflow at {uri} was changed meanwhile"
    client.delete_experiment(experiment)
    assert said(search, uri) == [f"{changed}: 1 run was restored, which had been deleted in MLflow"]
    client.delete_run(runs_of(uri)[1]["t001"].info.run_id)
    assert said(search, uri) == [f"{changed}: 1 run was restored, which had been deleted in MLflow"]
    assert shown(uri) == BOTH
    assert said(search, uri) == []


def test_what_workers_record_when_the_driver_no_longer_listens_is_nobodys_change(
    uri: str, search: Storage
) -> None:
    """After Ctrl-C one trial ends, and another was run again by a second worker."""
    sentences: list[str] = []
    tracker = Tracker(search, uri, sentences.append, ended=ENDED)
    wait_until(lambda: tracker.page is not None and not tracker._owed, "what ended before")
    record(search, {**end_row(1), "started_at": START + timedelta(hours=1)})
    record(search, end_row(2))
    assert tracker.close(120)
    assert sentences == []
    assert shown(uri) == {**BOTH, "t002": "FINISHED"}
    assert sync(search, uri).words == "MLflow shows 3 trials as recorded: no run had to be written"


def test_sync_mlflow_says_which_runs_it_ended(uri: str, search: Storage) -> None:
    """Of a search whose driver was killed."""
    runs = SearchRuns(search, uri)
    runs.start_search()
    runs.start_trial(start_row(2))
    words = "MLflow shows 2 trials as recorded: 2 runs were set from RUNNING to KILLED"
    assert sync(search, uri).words == words
    record(search, end_row(2))
    assert sync(search, uri).words == (
        "MLflow shows 3 trials as recorded: 1 run was written; 1 run was set from KILLED to "
        "FINISHED"
    )
    assert sync(search, uri).words == "MLflow shows 3 trials as recorded: no run had to be written"


def test_a_search_that_begins_says_nothing(storage: Storage, uri: str) -> None:
    assert said(planned_search(storage, "small", 1), uri, ended=()) == []


def test_sync_mlflow_says_that_nothing_was_there(uri: str, search: Storage, tmp_path: Path) -> None:
    assert sync(search, uri).words == "MLflow shows 2 trials as recorded: no run had to be written"
    other = sync(search, f"sqlite:///{tmp_path}/other.db").words
    assert other == (
        "MLflow shows 2 trials as recorded: 2 runs were written, for it had none of this search"
    )


def test_a_driver_tells_what_ended_before_and_what_it_confirms(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(run, "Tracker", lambda *_, **named: given.append(named))
    search = build_search(
        small_configuration(name=f"small{CONFIRMATION_SUFFIX}", storage=storage.location)
    )
    planned_search(storage, "small")
    own = planned_search(storage, search.name)
    own.write(b"[]", CANDIDATES_FILE)
    run.start_tracker(search, own, ["t001", "t000"], pytest.fail)
    assert given == [{"ended": ["t000", "t001"], "confirmed": "small"}]
