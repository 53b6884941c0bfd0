"""A search's runs in MLflow, written from its records, or put right."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import OnDamage, RecordError, recorded_trials
from fusion_search.search.records.driver_file import is_this_process, read_driver
from fusion_search.search.records.planned import read_plan
from fusion_search.search.records.search_folder import planned_ids, read_records
from fusion_search.search.tracking.addresses import experiment_page
from fusion_search.search.tracking.runs import SearchRuns
from fusion_search.search.tracking.sqlite_file import close_store
from fusion_search.search.tracking.trouble import UnreadableSearchError, trouble
from fusion_search.search.tracking.values import Row


class TrackingError(OSError):
    """MLflow's store could not be written; the message is one sentence without secrets."""


@dataclass(kw_only=True)
class SyncCounts:
    """What was found in MLflow, and what was put right."""

    written: int = 0  # runs of trials that lacked something, or were not there
    unchanged: int = 0
    anew: bool = False  # MLflow had no run of the search
    restored: int = 0  # runs that were deleted in MLflow
    removed: int = 0  # runs of no trial, of an earlier attempt, or there twice
    settled: dict[tuple[str, str], int] = field(default_factory=dict)  # as of SearchRuns
    page: str = ""  # where to see them
    damaged: dict[str, str] = field(default_factory=dict)  # trial id -> on its unreadable record
    strays: list[str] = field(default_factory=list)  # ids of records that are of none of its trials

    @property
    def words(self) -> str:
        """What MLflow has of the search now, and what was done for that."""
        shown = count_label(self.written + self.unchanged, "trial")
        why = ", for it had none of this search" if self.anew else ""
        words = [f"{run_words(self.written)} written{why}"] if self.written else []
        for (before, after), count in sorted(self.settled.items()):
            words.append(f"{run_words(count)} set from {before} to {after}")
        words = [one for one in (*words, self.repaired) if one] or ["no run had to be written"]
        return f"MLflow shows {shown} as recorded: {'; '.join(words)}"

    @property
    def repaired(self) -> str:
        """What was restored and deleted, in words; empty when nothing was."""
        words = []
        if self.restored:
            words.append(f"{run_words(self.restored)} restored, which had been deleted in MLflow")
        if self.removed:
            words.append(
                f"{run_words(self.removed)} deleted there, which showed a trial twice or none"
            )
        return "; ".join(words)


def run_words(count: int) -> str:
    """So many runs "was" or "were", whatever follows."""
    return f"{count_label(count, 'run')} {'was' if count == 1 else 'were'}"


def sync(search: Storage, uri: str) -> SyncCounts:
    """Write all runs of a search from its records; a second time changes nothing.

    Raises:
        ValueError: what the search is of cannot be read.
        TrackingError: MLflow's store cannot be written.
    """
    counts = SyncCounts()
    trials, counts.strays = own_records(search, counts.damaged.__setitem__)
    driver = read_driver(search)
    running = driver is not None and not is_this_process(driver)
    try:
        runs = SearchRuns(search, uri, closely=True)
        counts.anew = runs.found_none
        write_all(runs, trials, counts, running=running)
        close_store(uri)
    except (UnreadableSearchError, RecordError):
        raise
    except Exception as error:
        done = counts.written + counts.unchanged
        raise TrackingError(
            f"{trouble(uri, error)}; {done} of {count_label(len(trials), 'trial')} are there"
        ) from error
    counts.page = experiment_page(uri, runs.experiment_id)
    return counts


def write_all(
    runs: SearchRuns, trials: pd.DataFrame, counts: SyncCounts, *, running: bool = False
) -> None:
    """Put right what the store has of a search, counting as it goes."""
    for row in _rows(trials):
        try:
            written = runs.write_trial(row)
        except RecordError as error:
            counts.damaged[row["trial_id"]] = str(error)
        else:
            counts.written += written
            counts.unchanged += not written
    runs.write_search(trials, running=running)
    counts.restored, counts.removed = runs.restored, runs.removed
    counts.settled = runs.settled


def own_records(search: Storage, on_damage: OnDamage) -> tuple[pd.DataFrame, list[str]]:
    """As :func:`read_records`; all are the search's while it has no list of planned trials."""
    planned = planned_ids(search, read_plan(search)) or recorded_trials(search)
    return read_records(search, planned, on_damage)


def _rows(trials: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in trials.to_dict("records")]
