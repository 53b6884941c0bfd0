"""The MLflow runs of one search: a parent run, and a child run per trial, written from records.

MLflow is a view for people; the Parquet records are the truth. Everything here may be written
twice without a change: runs are found again by tags, equal metric points are one point in
MLflow's stores, and a trial's run is ended last. A run that shows all that its record says is left
alone; what lacks something, was deleted or is there twice is put right.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
from pyarrow import fs

from fusion_search.analysis.records.failures import read_failure
from fusion_search.analysis.records.samples import choosing_objective, rows_of
from fusion_search.analysis.records.selection import dropped_words
from fusion_search.analysis.records.selection.best import BestSample, has_best, planned_trials
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import (
    FAILED,
    SCHEMA_VERSION,
    SPECIFICATION_FILE,
    RecordError,
    described,
    read_batches,
    read_table,
)
from fusion_search.search.records.identity import kept_identity
from fusion_search.search.records.planned import read_plan
from fusion_search.search.records.search_folder import (
    dropped_samples,
    dropped_trials,
    read_declared,
    skipped_trials,
)
from fusion_search.search.tracking.run_store import (
    NOTE_TAG,
    PARENT_TAG,
    ROLE_TAG,
    TRIAL_TAG,
    RunStore,
    StoredRun,
)
from fusion_search.search.tracking.trouble import UnreadableSearchError
from fusion_search.search.tracking.values import (
    Point,
    Row,
    epoch_points,
    grid_csv,
    grid_picture,
    milliseconds,
    result_points,
    search_note,
    search_parameters,
    search_status,
    trial_end,
    trial_parameters,
    trial_tags,
)

SCHEMA_TAG: Final = "fusion_search.schema"  # version of the tables that the run was written from
DROPPED_TAG: Final = "fusion_search.dropped_after"  # in how many folds a dropped sample ran
BEST_TAG: Final = "fusion_search.best"  # id of the trial whose grid the parent run shows
GRID_FILE: Final = "grid.csv"  # of a trial
FAILURE_FILE: Final = "failure.txt"  # of a failed one
BEST_FILE: Final = "best-grid.png"  # of the search
KEY: Final = ("schema_version", "search", "trial_id")
EPOCHS_SECONDS: Final = 2.0  # the curves of a running trial are written at most so often
_CURVE: Final = "epoch/train_loss"  # of every trial that was trained


class SearchRuns:
    """The runs of one search, open for writing; experiment and parent run are made if missing.

    The experiment is named like the search's folder. Methods raise whatever MLflow raises when
    its store cannot be used.

    Args:
        search: the search's folder, with the specification in it.
        uri: MLflow's tracking URI.
        closely: look at every run's files and curves, also where each look costs a call.

    Attributes:
        description: of the search's task.
        found_none: whether the store had no run of this search.
        settled: status before and after -> of how many runs that were there ``write_search`` has
            changed it: the search's, and those of trials without a record.

    Raises:
        UnfitStoreError: the experiment was deleted in MLflow.
        UnreadableSearchError: what the search is of cannot be read.
    """

    def __init__(self, search: Storage, uri: str, *, closely: bool = False) -> None:
        self._search = search
        self._name = search.root.rstrip("/").rpartition("/")[2]
        with _reading():
            self.description = described(search)
            self._specification, self._declared = read_declared(search)
            search_id = kept_identity(search).search_id
        self._brief = not any(
            other in self._declared for other in ("searcher", "listed")
        )  # a sweep
        self._closely = closely
        self._store = RunStore(uri, self._name, search_id, _artifact_location(search, uri))
        self.experiment_id = self._store.experiment_id
        self.settled = Counter[tuple[str, str]]()
        self._runs: dict[str, list[StoredRun]] = {}  # by trial id, deleted ones too
        parents = []
        for run in self._store.runs():
            if run.trial_id is None:
                parents.append(run)
            else:
                self._runs.setdefault(run.trial_id, []).append(run)
        self.found_none = not parents and not self._runs
        self._had_parent = bool(parents)
        self._parent = self._open_parent(parents)

    @property
    def restored(self) -> int:
        """How many deleted runs were restored, the experiment counted as one."""
        return self._store.restored

    @property
    def removed(self) -> int:
        """How many runs were deleted: of no trial, of an earlier attempt, or there twice."""
        return self._store.removed

    def start_search(self) -> None:
        """Show the search as running, also one that was interrupted and is resumed."""
        self._store.resume(self._parent)

    def start_trial(self, row: Row) -> None:
        """Show a trial as running.

        Args:
            row: trial_id, trial_name and started_at, and what is known of the specification
                columns of TRIALS.
        """
        tags = self._whose(row["trial_id"])
        run = self._attempt(row, []) or self._create_trial(row, tags)
        self._store.log(run, [], tags, self._parameters(row))

    def log_epoch(self, trial_id: str, row: Row) -> None:
        """Add a row of EPOCHS to a started trial (unknown ones wait for their record).

        Short epochs wait for each other: a call costs the same for one as for many.
        """
        if (run := self._shown(trial_id)) is None:
            return
        run.waiting += epoch_points(row, self.description)
        if time.monotonic() >= run.written_at + EPOCHS_SECONDS:
            self._store.log(run, run.waiting)
            run.points.update(run.waiting)
            run.waiting, run.written_at = [], time.monotonic()

    def write_trial(self, row: Row) -> bool:
        """Write the whole run of one trial, unless it is there already.

        Args:
            row: the trial's row of TRIALS; its epochs and grid are read from the search's folder.

        Returns:
            Whether anything was written, or restored.
        """
        trial_id, end = row["trial_id"], trial_end(row)
        status = "FAILED" if row["status"] == FAILED else "FINISHED"
        tags = {**trial_tags(row, self.description), **self._whose(trial_id)}
        tags[SCHEMA_TAG] = str(SCHEMA_VERSION)
        results = result_points(row, self.description)
        restored = self.restored
        run = self._attempt(row, results)
        if run is None:
            run = self._create_trial(row, tags)
        else:
            if NOTE_TAG in run.tags or not tags[NOTE_TAG]:  # it may be somebody's own by now
                del tags[NOTE_TAG]
            if (run.status, run.end) == (status, end) and self._is_whole(run, row, tags, results):
                return self.restored > restored
        points = [one for one in self._curves(trial_id) if one not in run.points]
        self._store.log(run, [*points, *results], tags, self._parameters(row))
        for grid in self._records("grid", trial_id):
            self._store.write_file(run, GRID_FILE, grid_csv(grid))
        if row["status"] == FAILED and (text := read_failure(self._search, trial_id)):
            self._store.write_file(run, FAILURE_FILE, text.encode())
        self._store.end(run, status, end)  # last: now it is whole
        return True

    def write_search(self, trials: pd.DataFrame, *, running: bool = False) -> None:
        """Bring the parent run to the state of the records (the whole table TRIALS).

        When trials that were planned have no record, the search is shown as KILLED, that is
        interrupted, and so are those of them that were started; when all ended and none finished,
        as FAILED. While it is ``running``, it and they are shown as that.
        """
        before = self._parent.status
        self._write_search(trials, running)
        if self._had_parent and before != self._parent.status:
            self.settled[before, self._parent.status] += 1

    def _write_search(self, trials: pd.DataFrame, running: bool) -> None:
        recorded = set(trials["trial_id"])
        with _reading():
            plan = read_plan(self._search)
            everything = {trial["trial_id"] for trial in plan.rows}
            planned = everything - skipped_trials(plan, trials) or recorded
        best = None
        if has_best(self._name, self._search.parent.location):
            objective = choosing_objective(self._declared, self.description)
            best = BestSample(objective, rows_of(trials), planned_trials(plan.rows))
        dropped = dropped_words([one.folds for one in dropped_samples(plan)])
        note = search_note(trials, len(planned), best, dropped)
        self._store.log(self._parent, [], {NOTE_TAG: note})
        for trial_id in best.trial_ids[:1] if best is not None else ():
            self._show_best(trials[trials["trial_id"] == trial_id])
        for trial_id, folds in dropped_trials(plan).items():
            if (run := self._shown(trial_id)) is not None:
                self._store.log(run, [], {DROPPED_TAG: str(folds)})
        for trial_id in self._runs.keys() - recorded:
            if trial_id in everything or (trial_id and not everything):
                self._settle(trial_id, running)
            else:
                self._store.remove(self._runs[trial_id])
        if running:
            self.start_search()
            return
        names = ("started_at", "seconds", "ended_at")
        times = trials[list(names)].itertuples(index=False, name=None)
        end = max((trial_end(dict(zip(names, one, strict=True))) for one in times), default=None)
        ended = trials[trials["trial_id"].isin(planned)]
        self._store.end(self._parent, search_status(ended, len(planned)), end)

    def _settle(self, trial_id: str, running: bool) -> None:
        """One run of a trial without a record: the newest."""
        there = [one for one in self._runs[trial_id] if not one.deleted]
        there.sort(key=lambda one: one.start)
        self._store.remove(there[:-1])
        for run in there[-1:]:
            self._store.log(run, [], self._whose(trial_id))
            if run.status == "RUNNING" and not running:
                self.settled[run.status, "KILLED"] += 1
                self._store.end(run, "KILLED", None)

    def _show_best(self, trials: pd.DataFrame) -> None:
        """Draw the best trial's grid: a picture for every trial would cost 0.2 s each."""
        (best,) = rows_of(trials)
        drawn = best["trial_id"] == self._parent.tags.get(BEST_TAG)
        if drawn and (
            len(self.description.axes) != 2 or self._store.has_file(self._parent, BEST_FILE)
        ):
            return
        with contextlib.suppress(RecordError):  # said when the trial's own run was written
            for grid in self._records("grid", best["trial_id"]):
                picture = grid_picture(best, grid.to_pandas(), self.description)
                if picture is not None:
                    self._store.write_file(self._parent, BEST_FILE, picture)
                self._store.log(self._parent, [], {BEST_TAG: best["trial_id"]})

    def _open_parent(self, found: Sequence[StoredRun]) -> StoredRun:
        run = self._store.choose(found)
        if run is None:
            trials = read_table(
                self._search, "trials", on_damage=lambda *_: None, description=self.description
            )
            start = datetime.now(UTC) if trials.empty else trials["started_at"].min()
            run = self._store.create(self._name, milliseconds(start), {ROLE_TAG: "search"})
        schema = {ROLE_TAG: "search", SCHEMA_TAG: str(SCHEMA_VERSION)}
        parameters = search_parameters(self._declared)
        new = {name: text for name, text in parameters.items() if name not in run.parameters}
        if (
            new
            or run.tags.get(SCHEMA_TAG) != schema[SCHEMA_TAG]
            or not self._store.has_file(run, SPECIFICATION_FILE)
        ):
            self._store.write_file(run, SPECIFICATION_FILE, self._specification)
        self._store.log(run, [], schema, new)  # MLflow writes tags last
        return run

    def _shown(self, trial_id: str) -> StoredRun | None:
        """The run of a trial that people see."""
        return next((one for one in self._runs.get(trial_id, ()) if not one.deleted), None)

    def _attempt(self, row: Row, results: Sequence[Point]) -> StoredRun | None:
        """The run of this attempt at a trial, restored if need be; other runs of it are deleted.

        What shows other parameters or results cannot be put right: MLflow changes none.
        """
        start, parameters = milliseconds(row["started_at"]), self._parameters(row)

        def shows(run: StoredRun) -> bool:
            return (
                run.start == start
                and all(run.parameters.get(name, text) == text for name, text in parameters.items())
                and all(run.metrics.get(one.name, one.value) == one.value for one in results)
            )

        found = self._runs.get(row["trial_id"], [])
        self._store.remove([one for one in found if not shows(one)])
        run = self._store.choose([one for one in found if shows(one)])
        self._runs[row["trial_id"]] = [run] if run is not None else []
        return run

    def _create_trial(self, row: Row, tags: Mapping[str, str]) -> StoredRun:
        """A new run with its tags: there they cost the least."""
        run = self._store.create(row["trial_name"], milliseconds(row["started_at"]), tags)
        self._runs[row["trial_id"]] = [run]
        return run

    def _whose(self, trial_id: str) -> dict[str, str]:
        return {ROLE_TAG: "trial", PARENT_TAG: self._parent.run_id, TRIAL_TAG: trial_id}

    def _is_whole(
        self, run: StoredRun, row: Row, tags: Mapping[str, str], results: Sequence[Point]
    ) -> bool:
        """Whether a run that has ended shows all that the record says."""
        return (
            tags.items() <= run.tags.items()
            and self._parameters(row).items() <= run.parameters.items()
            and all(one.name in run.metrics for one in results)
            and (
                not (self._closely or self._store.has_local_files(run)) or self._has_files(run, row)
            )
            and (not self._closely or self._has_curves(run, row))
        )

    def _has_files(self, run: StoredRun, row: Row) -> bool:
        trial_id = row["trial_id"]
        return (
            self._store.has_file(run, GRID_FILE)
            or not self._search.exists("grid", f"{trial_id}.parquet")
        ) and (
            row["status"] != FAILED
            or self._store.has_file(run, FAILURE_FILE)
            or not read_failure(self._search, trial_id)
        )

    def _has_curves(self, run: StoredRun, row: Row) -> bool:
        epochs = row.get("epochs_run")
        if pd.isna(epochs):
            return True
        there = self._store.epochs(run, _CURVE)
        return there >= epochs or there == sum(  # an endless loss has no point
            one.name == _CURVE for one in self._curves(row["trial_id"])
        )

    def _curves(self, trial_id: str) -> Iterator[Point]:
        for epochs in self._records("epochs", trial_id):
            for epoch in epochs.to_pylist():
                yield from epoch_points(epoch, self.description)

    def _parameters(self, row: Row) -> dict[str, str]:
        return trial_parameters(row, self.description, brief=self._brief)

    def _records(self, table: str, trial_id: str) -> Iterator[pa.RecordBatch]:
        """A trial's rows of a table, without the key: one batch, none when it has none."""
        if self._search.exists(table, f"{trial_id}.parquet"):  # a failed trial may lack it
            columns = [name for name in self.description.schema(table).names if name not in KEY]
            yield from read_batches(self._search, table, columns, [trial_id], self.description)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """What is wrong with the search's own files is no trouble of MLflow's."""
    try:
        yield
    except ValueError as error:
        raise UnreadableSearchError(str(error)) from error


def _artifact_location(search: Storage, uri: str) -> str | None:
    """Where an experiment's files go: beside the records, or where a server wants them."""
    is_database = uri.split("://")[0].split("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")
    if not is_database or not isinstance(search.filesystem, fs.LocalFileSystem):
        return None
    folder = Path(search.root)
    location = folder.parent / "mlflow-artifacts" / folder.name
    # MLflow takes "%20" in a path for a space, too.
    return str(location) if unquote(str(location)) == str(location) else location.as_uri()
