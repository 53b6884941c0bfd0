"""The MLflow view of a search, written live while it runs.

Nothing that happens to MLflow reaches a trial: ``Tracker`` works in a thread of its own, and says
when MLflow cannot be written. What is missing is written when it is back, or by ``sync``.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.secrets import without_password
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import RecordError, read_rows
from fusion_search.search.records.lease import LeaseLostError
from fusion_search.search.tracking.addresses import experiment_page
from fusion_search.search.tracking.runs import SearchRuns
from fusion_search.search.tracking.sqlite_file import (
    close_store,
    was_replaced,
    will_be_made,
)
from fusion_search.search.tracking.syncing import SyncCounts, own_records, run_words, write_all
from fusion_search.search.tracking.trouble import trouble
from fusion_search.search.tracking.values import Row, milliseconds

RETRY_SECONDS: Final = 10.0  # after MLflow failed; doubled each time
LONGEST_RETRY_SECONDS: Final = 300.0
_told: Final[dict[str, str]] = {}
"""Tracking URI -> why it cannot be written, as this process has said: once is enough."""


class Tracker:
    """Writes a search's runs to MLflow while it runs, in a daemon thread.

    No method raises, and only ``close`` waits. While MLflow is down or broken, trials that end are
    remembered, and it is tried again, at first after ``RETRY_SECONDS``, then ever more rarely.
    ``warn`` is called (from the thread or from ``close``) with one sentence when MLflow fails, one
    when it is back, and one at the end if runs are missing.

    Args:
        search: the search's folder, with the specification in it.
        uri: MLflow's tracking URI.
        warn: takes the sentences.
        ended: ids of the trials that ended before, whose runs an earlier driver may not have
            written, or somebody may have deleted since.
        confirmed: name of the search that this one confirms, if it does.

    Attributes:
        page: where to see the runs; ``None`` until the experiment is open, and while it cannot be.
    """

    def __init__(
        self,
        search: Storage,
        uri: str,
        warn: Callable[[str], None],
        *,
        ended: Iterable[str] = (),
        confirmed: str | None = None,
    ) -> None:
        self._search = search
        self._uri = uri
        self._warn = warn
        self._jobs: queue.SimpleQueue[Callable[[SearchRuns], None] | None] = queue.SimpleQueue()
        self._running: dict[str, Row] = {}  # what is known of started trials
        self._owed = dict.fromkeys(ended)  # ended trials that are not written yet, in order
        self._tried: dict[str, int] = {}  # trial id -> start of its attempt, as MLflow has it
        self._before = len(self._owed)
        self._confirmed = confirmed
        self._runs: SearchRuns | None = None
        self._wait = RETRY_SECONDS
        self._retry_at = -math.inf  # on the monotonic clock
        self._problem = ""  # why MLflow cannot be written; empty when it can
        self._complete = self._closed = False
        self._replaced = was_replaced(uri)  # before this search: nobody's news
        self._told_anew = False
        self._lock = threading.Lock()  # of what is said: nothing after close
        self.page: str | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow-tracker", daemon=True)
        self._jobs.put(lambda runs: None)  # opens the experiment, and writes what is owed
        self._thread.start()

    def trial_started(self, row: Row) -> None:
        """Show a trial as running.

        Args:
            row: trial_id, trial_name and started_at (the one that the record will hold: another
                is another attempt, which replaces this run), and what is known of the
                specification columns of TRIALS.
        """
        trial_id = row["trial_id"]
        self._running[trial_id] = row
        # Left out when the trial has ended by then: its whole run is written. Epochs too.
        self._add(
            lambda runs: runs.start_trial(row) if self._running.get(trial_id) is row else None
        )

    def epoch_ended(self, trial_id: str, row: Row) -> None:
        """Add a row of EPOCHS (with the record's epoch and ended_at) to a started trial."""
        self._add(lambda runs: runs.log_epoch(trial_id, row) if trial_id in self._running else None)

    def trial_ended(self, trial_id: str) -> None:
        """Write the whole run of a trial whose records are in the storage."""
        self._running.pop(trial_id, None)
        self._owed[trial_id] = None
        self._add(self._write_owed)

    def close(self, timeout_seconds: float, unreadable: str = "") -> bool:
        """Write what is left and the state of the search, waiting at most so long.

        Args:
            timeout_seconds: how long.
            unreadable: why the records, which are what is left to write, cannot be read.

        Returns:
            Whether everything was written.
        """
        self._jobs.put(None)
        self._thread.join(timeout_seconds)
        with self._lock:
            if self._closed:
                return self._complete
            self._closed = True
        if not self._complete:
            where = without_password(self._uri)
            slow = unreadable or f"MLflow at {where} is slow; {timeout_seconds:g} s were waited"
            name = self._search.root.rstrip("/").rpartition("/")[2]
            sync = command("sync-mlflow", name, storage=self._search.parent.location)
            owed = len(self._owed)
            missing = f"runs of {count_label(owed, 'trial')} are" if owed else "something may be"
            problem = slow if self._thread.is_alive() else self._problem
            lacks = f"{problem}; {missing} missing there"
            if problem == _told.get(self._uri):  # once is enough
                lacks = f"MLflow at {where} was not written, as was said; {missing} missing there"
            self._warn(
                f"{lacks}, trials and their records are not affected, and `{sync}` writes the runs "
                "afterwards"
            )
        return self._complete

    def _add(self, job: Callable[[SearchRuns], None]) -> None:
        if not self._closed:
            self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._closed:
            if monotonic() >= self._retry_at:
                self._try(job)
        if not self._closed:
            self._complete = self._try(self._finish)

    def _try(self, job: Callable[[SearchRuns], None]) -> bool:
        """Do a job, after all that is owed; whether that went well."""
        try:
            self._search.assure()
            self._see_replacement()
            if self._runs is None:
                self._runs = self._opened()
            self._write_owed(self._runs)
            job(self._runs)
        except LeaseLostError:  # its runs are written by whoever drives it now
            with self._lock:
                self._closed = True
            return False
        except Exception as error:
            if self._see_replacement():  # that is why
                return self._try(job)
            self._fail(trouble(self._uri, error))
            return False
        if _told.pop(self._uri, None):
            self._say(f"MLflow at {without_password(self._uri)} can be written again")
        self._problem, self._wait = "", RETRY_SECONDS
        return True

    def _see_replacement(self) -> bool:
        """Whether MLflow's file is gone that was there at the last look; says so."""
        before, self._replaced = self._replaced, was_replaced(self._uri)
        if before or not self._replaced:
            return False
        where = without_password(self._uri)
        self._say(f"MLflow's file at {where} was deleted or replaced; it is written anew")
        self._told_anew = True
        self._runs = None
        return True

    def _opened(self) -> SearchRuns:
        """The runs as the store has them now, with the running trials among them."""
        missing = will_be_made(self._uri)
        runs = SearchRuns(self._search, self._uri)
        self._tell_anew(self._before if runs.found_none else 0, missing=missing)
        self.page = experiment_page(self._uri, runs.experiment_id)
        runs.start_search()
        for row in list(self._running.values()):
            runs.start_trial(row)
        return runs

    def _tell_anew(self, trials: int, *, missing: bool) -> None:
        """Say once that what earlier drivers wrote is not there: it was deleted, or lies elsewhere.

        Or they were killed before they wrote any of it, so it is not said to have been there.

        Args:
            trials: of how many, that ended before, no run is there.
            missing: whether there was no SQLite file.
        """
        confirmed = self._confirmed if missing else None
        if self._told_anew or not (trials or confirmed):
            return
        self._told_anew = True
        where = without_password(self._uri)
        words = [
            f"MLflow's file at {where} was not there"
            if missing
            else f"MLflow at {where} had no run of this search"
        ]
        if trials:
            words.append(
                f"the runs of {count_label(trials, 'trial')} that ended before are written"
            )
        if confirmed:
            sync = command("sync-mlflow", confirmed, storage=self._search.parent.location)
            words.append(f"`{sync}` writes those of {confirmed}")
        self._say("; ".join(words))

    def _write_owed(self, runs: SearchRuns) -> None:
        for trial_id in list(self._owed):
            if self._closed:
                return
            try:
                for row in read_rows(self._search, "trials", [trial_id], None, runs.description):
                    # Before it is: what cannot be read of it is said once, not at the end again.
                    self._tried[trial_id] = milliseconds(row["started_at"])
                    runs.write_trial(row)
            except RecordError as error:  # the others' runs are written
                self._say(f"MLflow lacks the run of trial {trial_id}: {error}")
            self._owed.pop(trial_id, None)

    def _finish(self, live: SearchRuns) -> None:
        """Look at all that is there once more: somebody may have deleted some of it meanwhile."""
        # What cannot be read was said when its trial was written, or before.
        trials, _strays = own_records(self._search, lambda *_: None)
        # Nobody's change: a worker recorded these when a driver that ends no longer listened.
        for trial_id, start in zip(trials["trial_id"], trials["started_at"], strict=True):
            if self._tried.get(trial_id) != milliseconds(start):
                self._owed[trial_id] = None
        self._write_owed(live)
        counts = SyncCounts()
        write_all(SearchRuns(self._search, self._uri), trials, counts)
        close_store(self._uri)
        counts.restored += live.restored  # what had been deleted since an earlier driver
        if counts.written or counts.repaired:
            written = f"{run_words(counts.written)} written again" if counts.written else ""
            done = "; ".join(filter(None, (written, counts.repaired)))
            self._say(f"MLflow at {without_password(self._uri)} was changed meanwhile: {done}")

    def _fail(self, problem: str) -> None:
        self._runs = self.page = None  # what the store holds now is not known
        if not self._problem and self._uri not in _told:
            _told[self._uri] = problem
            self._say(
                f"{problem}; trials and their records are not affected, and it is tried again"
            )
        self._problem = problem
        self._retry_at = monotonic() + self._wait
        self._wait = min(2 * self._wait, LONGEST_RETRY_SECONDS)

    def _say(self, sentence: str) -> None:
        with self._lock:
            if not self._closed:
                self._warn(sentence)
