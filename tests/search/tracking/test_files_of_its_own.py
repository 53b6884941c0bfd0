"""A search's own file is damaged, or MLflow's deleted, before its runs are written."""

from __future__ import annotations

from pathlib import Path

import pytest
from tracking_records import end_row, planned_search, record

from fusion_search.analysis.records.storage import Storage
from fusion_search.search.records.identity import IDENTITY_FILE
from fusion_search.search.tracking import runs as tracked
from fusion_search.search.tracking.syncing import sync
from fusion_search.search.tracking.tracker import Tracker

# Of MLflow's own use of SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        (IDENTITY_FILE, "put a copy back, or delete it: the search then gets another id"),
        ("specification.yaml", "mend it, put a copy back, or delete it and launch the search"),
    ],
)
def test_a_damaged_file_of_the_search_is_not_blamed_on_mlflow(
    storage: Storage, uri: str, name: str, remedy: str
) -> None:
    search, said = planned_search(storage, "small", 1), list[str]()
    search.write(b"7", name)
    with pytest.raises(ValueError, match="is damaged") as raised:
        sync(search, uri)
    assert str(raised.value).startswith(search.named(name))
    assert remedy in str(raised.value)
    tracker = Tracker(search, uri, said.append)
    assert not tracker.close(60)
    assert said[0].startswith(f"MLflow at {uri} lacks this search: {search.named(name)} is damaged")
    assert remedy in said[0]
    assert not any("cannot be written" in one for one in said)


def test_a_database_that_is_deleted_before_the_first_run_was_written(
    storage: Storage, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search, said = planned_search(storage, "small", 1), list[str]()
    record(search, end_row(0))
    opened = tracked.RunStore

    def deleted(*words: str) -> object:
        opened(*words)
        monkeypatch.setattr(tracked, "RunStore", opened)
        Path(storage.path("mlflow.db")).unlink()
        raise RuntimeError("no such table: experiments")

    monkeypatch.setattr(tracked, "RunStore", deleted)
    tracker = Tracker(search, uri, said.append)
    tracker.trial_ended("t000")
    assert tracker.close(120)
    assert said == [f"MLflow's file at {uri} was deleted or replaced; it is written anew"]
    assert sync(search, uri).unchanged == 1
