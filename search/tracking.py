"""The MLflow view of a search: written live while it runs, or afterwards from its records.

Nothing that happens to MLflow reaches a trial: ``Tracker`` works in a thread of its own, says
once that MLflow cannot be written, and ``sync`` writes the runs later.
"""

from __future__ import annotations

import queue
import re
import shlex
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
from pyarrow import fs

from analysis.secrets import without_password
from analysis.storage import Storage
from analysis.tables import read_table
from search.tracking_runs import SearchRuns
from search.tracking_values import Row

TRACKING_OFF: Final = (
    "MLflow tracking is off: the storage is remote and no tracking URI is set; the records are "
    "complete without it"
)

UI_ADDRESS: Final = "http://127.0.0.1:5000"
_REASON_LENGTH: Final = 200


class TrackingError(RuntimeError):
    """MLflow's store could not be written; the message is one sentence without secrets."""


def tracking_uri(storage: Storage, uri: str | None) -> str | None:
    """MLflow's tracking URI: the one that was set, else SQLite in a local storage folder.

    Returns:
        ``None`` when tracking is off (remote storage, nothing set): say ``TRACKING_OFF``.
    """
    if uri:
        return uri
    if not isinstance(storage.filesystem, fs.LocalFileSystem):
        return None
    return f"sqlite:///{storage.path('mlflow.db')}"


def ui_command(uri: str) -> str | None:
    """The command that shows the runs on ``UI_ADDRESS``; ``None`` when a server shows them."""
    if uri.startswith(("http://", "https://")):
        return None
    program = Path(sys.executable).with_name("mlflow")
    words = [str(program) if program.exists() else "mlflow", "ui", "--port", "5000"]
    return shlex.join([*words, "--backend-store-uri", without_password(uri)])


def experiment_page(uri: str, experiment_id: str) -> str:
    """The address of an experiment's list of runs, in the browser."""
    server = re.sub(r"//[^/]*@", "//", uri) if uri.startswith(("http://", "https://")) else ""
    # Without the type, MLflow opens an experiment on its pages for language-model traces.
    page = f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    return (server or UI_ADDRESS).rstrip("/") + page


@dataclass(frozen=True, kw_only=True)
class SyncCounts:
    """How many trials' runs were written, and how many were there already."""

    written: int
    unchanged: int
    page: str  # where to see them


def sync(search: Storage, uri: str) -> SyncCounts:
    """Write all runs of a search from its records; a second time changes nothing.

    Raises:
        ValueError: a record is damaged, or the experiment was deleted in MLflow.
        TrackingError: MLflow's store cannot be written.
    """
    trials = read_table(search, "trials")
    try:
        runs = SearchRuns(search, uri)
        written = sum(runs.write_trial(row) for row in _rows(trials))
        runs.write_search(trials)
    except ValueError:
        raise
    except Exception as error:
        raise TrackingError(_sentence(uri, error)) from error
    return SyncCounts(
        written=written,
        unchanged=len(trials) - written,
        page=experiment_page(uri, runs.experiment_id),
    )


class Tracker:
    """Writes a search's runs to MLflow while it runs, in a daemon thread.

    No method raises, and only ``close`` waits. When MLflow is down, slow or broken, ``warn`` is
    called once (from the thread or from ``close``) with a sentence, and nothing more is written.

    Args:
        search: the search's folder, with the specification in it.
        uri: MLflow's tracking URI.
        warn: takes the sentence.

    Attributes:
        page: where to see the runs; ``None`` until the experiment is open.
    """

    def __init__(self, search: Storage, uri: str, warn: Callable[[str], None]) -> None:
        self._search = search
        self._uri = uri
        self._warn = warn
        self._jobs: queue.SimpleQueue[Callable[[SearchRuns], object] | None] = queue.SimpleQueue()
        self._ended: set[str] = set()  # what is still waiting to be shown of these is out of date
        self._lock = threading.Lock()
        self._given_up = False
        self.page: str | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow-tracker", daemon=True)
        self._jobs.put(lambda runs: runs.start_search())
        self._thread.start()

    def trial_started(self, row: Row) -> None:
        """Show a trial as running.

        Args:
            row: trial_id, trial_name and started_at (the one that the record will hold: another
                is another attempt, which replaces this run), and what is known of the
                specification columns of TRIALS.
        """
        self._ended.discard(row["trial_id"])
        self._add_live(row["trial_id"], lambda runs: runs.start_trial(row))

    def epoch_ended(self, trial_id: str, row: Row) -> None:
        """Add a row of EPOCHS (with the record's epoch and ended_at) to a started trial."""
        self._add_live(trial_id, lambda runs: runs.log_epoch(trial_id, row))

    def trial_ended(self, trial_id: str) -> None:
        """Write the whole run of a trial whose records are in the storage."""
        self._ended.add(trial_id)
        self._add(
            lambda runs: [
                runs.write_trial(row)
                for row in _rows(read_table(self._search, "trials", [trial_id]))
            ]
        )

    def close(self, timeout_seconds: float) -> bool:
        """Write what is left and the state of the search, waiting at most so long.

        Returns:
            Whether everything was written.
        """
        self._add(lambda runs: runs.write_search(read_table(self._search, "trials")))
        self._jobs.put(None)
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            where = without_password(self._uri)
            self._give_up(
                f"MLflow at {where} is slow: runs are missing after waiting {timeout_seconds:g} s"
            )
        return not self._given_up

    def _add_live(self, trial_id: str, job: Callable[[SearchRuns], object]) -> None:
        """A job that is left out when the trial has ended by then: its whole run is written."""
        self._add(lambda runs: None if trial_id in self._ended else job(runs))

    def _add(self, job: Callable[[SearchRuns], object]) -> None:
        if not self._given_up:
            self._jobs.put(job)

    def _work(self) -> None:
        try:
            runs = SearchRuns(self._search, self._uri)
            self.page = experiment_page(self._uri, runs.experiment_id)
            while (job := self._jobs.get()) is not None and not self._given_up:
                job(runs)
        except Exception as error:
            self._give_up(_sentence(self._uri, error))

    def _give_up(self, sentence: str) -> None:
        with self._lock:
            first, self._given_up = not self._given_up, True
        if first:
            name = self._search.root.rstrip("/").rpartition("/")[2]
            self._warn(
                f"{sentence}; trials and their records are not affected, and `python -m search "
                f"sync-mlflow {shlex.quote(name)}` writes the runs afterwards"
            )


def _rows(trials: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in trials.to_dict("records")]


def _sentence(uri: str, error: Exception) -> str:
    cause: BaseException = error  # what MLflow wraps: "Connection refused", not its long story
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    reason = " ".join(f"{type(cause).__name__}: {cause}".split())
    reason = textwrap.shorten(without_password(reason), _REASON_LENGTH, placeholder=" …")
    return f"MLflow at {without_password(uri)} cannot be written ({reason})"
