"""One driver of several: a search whose trials end as fast as their records can be written."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tracking_records import end_row, follow, planned_search, record

from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.tracking.syncing import sync
from fusion_search.search.tracking.tracker import Tracker


@dataclass
class Driven:
    name: str
    warnings: list[str]
    complete: bool
    following: float  # seconds that telling the tracker took, the records' writing included
    seconds: float  # until everything was in MLflow


def drive(folder: str, name: str, uri: str, trials: int) -> Driven:
    search = planned_search(open_storage(folder), name, trials)
    warnings: list[str] = []
    began = time.perf_counter()
    tracker = Tracker(search, uri, warnings.append)
    for number in range(trials):
        follow(tracker, search, number)
    following = time.perf_counter() - began
    complete = tracker.close(300)
    return Driven(name, warnings, complete, following, time.perf_counter() - began)


def synced(folder: str, name: str, uri: str, trials: int) -> Driven:
    """The same by ``sync-mlflow``."""
    search = planned_search(open_storage(folder), name, trials)
    for number in range(trials):
        record(search, end_row(number))
    began = time.perf_counter()
    complete = sync(search, uri).written == trials
    return Driven(name, [], complete, 0.0, time.perf_counter() - began)
