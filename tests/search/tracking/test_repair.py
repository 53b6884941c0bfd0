"""What people and accidents do to MLflow's runs, and that a look at the records puts it right."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tracking_records import (
    DIGITS,
    EPOCHS_PER_TRIAL,
    SPECIFICATION,
    end_row,
    epoch_row,
    failed_row,
    follow,
    grid_rows,
    histories,
    planned_search,
    record,
    runs_of,
    start_row,
)
from tracking_servers import wait_until

from fusion_search.analysis.records.failures import write_failure
from fusion_search.analysis.records.storage import Storage
from fusion_search.search.tracking import client as tracking_client
from fusion_search.search.tracking import sqlite_file, syncing
from fusion_search.search.tracking.runs import SearchRuns
from fusion_search.search.tracking.syncing import SyncCounts, TrackingError, sync
from fusion_search.search.tracking.tracker import Tracker
from fusion_search.search.tracking.values import trial_parameters, trial_tags

# Of MLflow's own use of SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")

TRIALS = 9


def whole_row(number: int) -> dict[str, Any]:
    return {**end_row(number), "epochs_run": EPOCHS_PER_TRIAL}


def written(storage: Storage, uri: str, trials: int) -> tuple[Storage, Any, Any, dict[str, Any]]:
    """A search that is in MLflow: its folder, a client, the parent run, the trials' runs."""
    search = planned_search(storage, "small", trials)
    for number in range(trials):
        record(search, whole_row(number))
    assert sync(search, uri).written == trials
    return search, tracking_client.open_client(uri), *runs_of(uri)


def check(uri: str, numbers: Iterable[int], name: str = "small") -> None:
    """That MLflow's own client reads what was recorded, once each."""
    parent, runs = runs_of(uri, name)
    assert parent.info.status == "FINISHED"
    assert parent.data.params["network.levels"] == "2"
    files = Path(parent.info.artifact_uri)
    assert (files / "specification.yaml").read_text() == SPECIFICATION
    assert (files / "best-grid.png").stat().st_size > 1000
    assert sorted(runs) == [f"t{number:03}" for number in numbers]
    points = histories(uri, name)
    for number in numbers:
        row, run = end_row(number), runs[f"t{number:03}"]
        assert run.info.status == "FINISHED"
        assert run.info.start_time == int(row["started_at"].timestamp() * 1000)
        assert run.info.end_time == int(row["ended_at"].timestamp() * 1000)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["status"] == "finished"
        assert run.data.params["seed"] == str(number)
        for metric in ("validation_accuracy", "mean_accuracy"):
            assert run.data.metrics[metric] == row[metric]
        epochs = [epoch_row(number, epoch) for epoch in range(1, EPOCHS_PER_TRIAL + 1)]
        assert [
            (step, value) for step, _, value in points[f"t{number:03}", "epoch/train_loss"]
        ] == [(epoch["epoch"], epoch["train_loss"]) for epoch in epochs]
        grid = pd.read_csv(Path(run.info.artifact_uri) / "grid.csv")
        assert grid["accuracy"].tolist() == [one["accuracy"] for one in grid_rows(number)]


def twin(client: Any, run: Any, **tags: str) -> Any:
    """A second run that shows the same, as of two drivers, or of one deleted and restored."""
    info = run.info
    other = client.create_run(info.experiment_id, info.start_time, {**run.data.tags, **tags})
    for name, text in run.data.params.items():
        client.log_param(other.info.run_id, name, text)
    return other


def counted(counts: SyncCounts) -> tuple[int, int, int, int]:
    return counts.written, counts.unchanged, counts.restored, counts.removed


def test_what_was_done_to_trials_runs_is_put_right(storage: Storage, uri: str) -> None:
    search, client, _, runs = written(storage, uri, TRIALS)
    ids = [runs[f"t{number:03}"].info.run_id for number in range(TRIALS)]
    client.delete_run(ids[0])
    twin(client, runs["t001"])
    client.set_tag(ids[2], "mlflow.parentRunId", "nobody's")
    client.delete_tag(ids[2], "status")
    client.delete_tag(ids[3], "fusion_search.trial_id")  # whose it is, nobody knows now
    client.delete_tag(ids[4], "fusion_search.role")
    client.update_run(ids[4], status="KILLED")
    client.log_metric(ids[5], "mean_accuracy", 0.99, step=7)  # MLflow takes nothing back
    with closing(sqlite3.connect(storage.path("mlflow.db"))) as database:
        for table in ("metrics", "latest_metrics"):
            here = f"DELETE FROM {table} WHERE run_uuid = ? AND key = ?"
            database.execute(here, (ids[6], "mean_accuracy"))
        one = "DELETE FROM metrics WHERE run_uuid = ? AND key LIKE 'epoch/%' AND step = 2"
        database.execute(one, (ids[7],))
        database.commit()
    (Path(runs["t007"].info.artifact_uri) / "grid.csv").unlink()
    client.set_tag(ids[8], "mlflow.note.content", "my favourite")
    client.set_tag(ids[8], "mlflow.runName", "the best")

    # t001's twin, what t003 was, and the one of t005 that shows another result.
    assert counted(sync(search, uri)) == (7, 2, 1, 3)
    check(uri, range(TRIALS))
    after = runs_of(uri)[1]
    assert after["t000"].info.run_id == ids[0]
    assert after["t008"].data.tags["mlflow.note.content"] == "my favourite"
    assert after["t008"].info.run_name == "the best"
    client.restore_run(ids[5])  # deleted by us
    assert counted(sync(search, uri)) == (0, TRIALS, 0, 1)
    assert counted(sync(search, uri)) == (0, TRIALS, 0, 0)
    check(uri, range(TRIALS))


def test_what_was_done_to_the_searchs_run_and_experiment_is_put_right(
    storage: Storage, uri: str
) -> None:
    search, client, parent, runs = written(storage, uri, 2)
    first, experiment = parent.info.run_id, parent.info.experiment_id
    client.delete_run(first)
    assert counted(sync(search, uri)) == (0, 2, 1, 0)
    assert runs_of(uri)[0].info.run_id == first
    other = twin(client, parent).info.run_id  # two, and the trials below either
    client.set_tag(runs["t001"].info.run_id, "mlflow.parentRunId", other)
    assert counted(sync(search, uri))[2:] == (0, 1)
    check(uri, range(2))
    shutil.rmtree(storage.path("mlflow-artifacts"))
    assert counted(sync(search, uri)) == (2, 0, 0, 0)
    check(uri, range(2))

    client.delete_experiment(experiment)
    assert sync(search, uri).restored == 1
    client.rename_experiment(experiment, "for the paper")
    client.create_experiment("small")
    assert counted(sync(search, uri)) == (0, 2, 0, 0)
    check(uri, range(2), "for the paper")


def test_a_file_of_a_failed_trial_comes_back(storage: Storage, uri: str) -> None:
    search = planned_search(storage, "small", 1)
    record(search, failed_row(0), epochs=0, grid=False)
    assert sync(search, uri).written == 1
    write_failure(search, {**failed_row(0), "host": "here"}, "Traceback\nError: x")
    assert sync(search, uri).written == 1
    file = Path(runs_of(uri)[1]["t000"].info.artifact_uri) / "failure.txt"
    assert file.read_text().endswith("Error: x\n")
    assert sync(search, uri).written == 0


def test_an_experiment_of_other_searches_is_not_restored(storage: Storage, uri: str) -> None:
    client = tracking_client.open_client(uri)
    client.delete_experiment(client.create_experiment("small"))
    search = planned_search(storage, "small", 1)
    with pytest.raises(TrackingError, match="'small' of other searches was deleted; restore it"):
        sync(search, uri)


def test_runs_of_trials_without_a_record_are_one_each(storage: Storage, uri: str) -> None:
    search = planned_search(storage, "small", 2)
    runs = SearchRuns(search, uri)
    runs.start_search()
    runs.start_trial(start_row(0))
    client, (_, begun) = tracking_client.open_client(uri), runs_of(uri)
    twin(client, begun["t000"])
    twin(client, begun["t000"], **{"fusion_search.trial_id": "t999"})  # of no trial
    assert counted(sync(search, uri)) == (0, 0, 0, 2)
    parent, there = runs_of(uri)
    assert list(there) == ["t000"]
    assert (parent.info.status, there["t000"].info.status) == ("KILLED", "KILLED")


def test_who_syncs_does_not_end_a_search_that_another_runs(
    storage: Storage, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = planned_search(storage, "small", 2)
    runs = SearchRuns(search, uri)
    runs.start_search()
    runs.start_trial(start_row(1))
    record(search, whole_row(0))
    with monkeypatch.context() as patch:
        patch.setattr(syncing, "read_driver", lambda _: {"pid": 1})
        patch.setattr(syncing, "is_this_process", lambda _: False)
        assert sync(search, uri).written == 1
    parent, there = runs_of(uri)
    assert {name: run.info.status for name, run in there.items()} == {
        "t000": "FINISHED",
        "t001": "RUNNING",
    }
    assert parent.info.status == "RUNNING"
    sync(search, uri)  # it was killed
    assert runs_of(uri)[0].info.status == runs_of(uri)[1]["t001"].info.status == "KILLED"


def test_a_database_that_is_deleted_while_a_search_runs(storage: Storage, uri: str) -> None:
    search = planned_search(storage, "small", 3)
    said: list[str] = []
    tracker = Tracker(search, uri, said.append)
    follow(tracker, search, 0)
    wait_until(lambda: tracker.page is not None and not tracker._owed, "the first trial")
    for file in Path(storage.path()).glob("mlflow.db*"):
        file.unlink()
    follow(tracker, search, 1)
    wait_until(lambda: not tracker._owed, "the second")
    follow(tracker, search, 2)
    assert tracker.close(120)
    assert len(said) == 2
    assert "was deleted or replaced; it is written anew" in said[0]
    assert "was changed meanwhile: 1 run was written again" in said[1]
    check(uri, range(3))
    assert Path(storage.path("mlflow.db")).is_file()
    assert sync(search, uri).written == 0


def test_runs_that_are_deleted_while_a_search_runs(storage: Storage, uri: str) -> None:
    search = planned_search(storage, "small", 2)
    said: list[str] = []
    tracker = Tracker(search, uri, said.append)
    follow(tracker, search, 0)
    wait_until(lambda: tracker.page is not None and not tracker._owed, "the first trial")
    client, (parent, runs) = tracking_client.open_client(uri), runs_of(uri)
    for run in (parent, runs["t000"]):
        client.delete_run(run.info.run_id)
    follow(tracker, search, 1)
    assert tracker.close(120)
    assert "changed meanwhile: 1 run was written again; 2 runs were restored, which" in said[-1]
    check(uri, range(2))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("damaged", ("is not a database", "move it away and all is written anew")),
        ("older", ("out-of-date database schema", "`mlflow db upgrade`")),
        ("read-only", ("readonly database", "make the file and its folder writable")),
    ],
)
def test_what_cannot_be_put_right_is_said_in_a_sentence(
    storage: Storage, uri: str, harm: str, words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    search, path = planned_search(storage, "small", 1), storage.path("mlflow.db")
    record(search, whole_row(0))
    if harm == "damaged":
        Path(path).write_bytes(b"no database " * 1000)
    elif harm == "older":
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
            database.commit()
    else:
        uri = f"sqlite:///file:{path}?mode=ro&uri=true"
    with pytest.raises(TrackingError) as raised:
        sync(search, uri)
    sentence = str(raised.value)
    assert sentence.startswith(f"MLflow at {uri} cannot be written (")
    assert sentence.endswith("; 0 of 1 trial are there")
    assert all(one in sentence for one in words)
    output = capfd.readouterr()
    assert output.out + output.err == ""  # no traceback of MLflow's own
    assert not Path(storage.path("file:")).exists()


def test_a_process_that_hangs_while_it_makes_the_tables_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "_LOCK_SECONDS", 0.1)
    monkeypatch.setattr(sqlite_file, "_is_local", lambda _: True)
    other = sqlite_file.prepared(f"sqlite:///{tmp_path}/mlflow.db")
    with other, pytest.raises(TimeoutError, match=f"another process holds {tmp_path}"):
        sqlite_file.prepared(f"sqlite:///{tmp_path}/mlflow.db").__enter__()


def test_texts_are_as_long_as_mlflow_keeps_them() -> None:
    row = {**end_row(0), "placement": "p" * 9000, "specification": "s" * 9000}
    assert len(trial_parameters(row, DIGITS)["placement"]) == 6000
    assert len(trial_tags(row, DIGITS)["fusion_search.specification"]) == 8000
