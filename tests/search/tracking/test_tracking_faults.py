"""MLflow's server goes away while a search runs: stopped, started again, or hanging."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
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
from tracking_servers import Server, running, wait_until

from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.tracking import tracker as tracking
from fusion_search.search.tracking.syncing import sync
from fusion_search.search.tracking.tracker import Tracker


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with running(tmp_path, f"sqlite:///{tmp_path}/server.db") as server:
        yield server


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.2)
    search = planned_search(open_storage(tmp_path), "small", trials=4)
    warnings: list[str] = []
    tracker = Tracker(search, server.uri, warnings.append)
    follow(tracker, search, 0)
    tracker.trial_started(start_row(3))
    wait_until(lambda: tracker.page is not None and not tracker._owed, "the first trial")

    server.stop()
    began = time.monotonic()
    follow(tracker, search, 1)
    wait_until(lambda: bool(warnings), "the sentence that MLflow is down")
    follow(tracker, search, 2)
    assert time.monotonic() - began < 60
    assert "it is tried again" in warnings[0]

    server.start()
    deadline = time.monotonic() + 120
    epoch = 0
    while tracker._owed:  # trials go on, and so it is tried again
        epoch += 1
        tracker.epoch_ended("t003", epoch_row(3, epoch))
        time.sleep(0.1)
        assert time.monotonic() < deadline, warnings
    parent, runs = runs_of(server.uri)
    assert parent.info.status == "RUNNING"
    assert {name: run.info.status for name, run in runs.items()} == {
        "t000": "FINISHED", "t001": "FINISHED", "t002": "FINISHED", "t003": "RUNNING",
    }  # fmt: skip

    record(search, end_row(3))
    tracker.trial_ended("t003")
    assert tracker.close(120)
    assert len(warnings) == 2
    assert "can be written again" in warnings[1]
    assert sync(search, server.uri).written == 0
    assert runs_of(server.uri)[0].info.status == "FINISHED"


@pytest.mark.slow
def test_a_server_that_hangs_at_the_end(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = planned_search(open_storage(tmp_path), "small")
    warnings: list[str] = []
    tracker = Tracker(search, server.uri, warnings.append)
    follow(tracker, search, 0)
    wait_until(lambda: tracker.page is not None and not tracker._owed, "the first trial")
    server.signal(signal.SIGSTOP)
    follow(tracker, search, 1)
    began = time.monotonic()
    assert not tracker.close(1)
    assert time.monotonic() - began < 5
    (sentence,) = warnings
    assert "is slow; 1 s were waited; runs of 1 trial are missing there" in sentence
    assert "`fusion-search sync-mlflow small --storage " in sentence
    assert "` writes the runs afterwards" in sentence
    server.signal(signal.SIGCONT)
    # The thread may have ended the write that hung, and no more.
    tracker._thread.join(120)
    assert not tracker._thread.is_alive()
    sync(search, server.uri)
    parent, runs = runs_of(server.uri)
    assert (parent.info.status, sorted(runs)) == ("FINISHED", ["t000", "t001"])
    assert (
        runs["t001"].data.metrics["epoch/train_loss"]
        == (epoch_row(1, EPOCHS_PER_TRIAL)["train_loss"])
    )
    assert len(warnings) == 1
