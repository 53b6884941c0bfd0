"""The MLflow runs of one search: a parent run, and a child run per trial, written from records.

MLflow is a view for people; the Parquet records are the truth. Everything here may be written
twice without a change: runs are found again by tags, equal metric points are one point in
MLflow's stores, and a trial's run is ended last, so one that has ended is whole and left alone.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
from pyarrow import fs

from fusion_search.analysis.records.failures import read_failure
from fusion_search.analysis.records.plain_data import parse_yaml, read_content
from fusion_search.analysis.records.samples import BestSample, choosing_objective, rows_of
from fusion_search.analysis.records.selection import dropped_words
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
from fusion_search.search.records.recorder import read_plan
from fusion_search.search.records.search_folder import (
    dropped_samples,
    dropped_trials,
    skipped_trials,
)
from fusion_search.search.tracking.client import log, log_file, open_client
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

ROLE_TAG: Final = "fusion_search.role"  # search or trial
SEARCH_TAG: Final = "fusion_search.search_id"
TRIAL_TAG: Final = "fusion_search.trial_id"
SCHEMA_TAG: Final = "fusion_search.schema"  # version of the tables that the run was written from
DROPPED_TAG: Final = "fusion_search.dropped_after"  # in how many folds a dropped sample ran
BEST_TAG: Final = "fusion_search.best"  # id of the trial whose grid the parent run shows
GRID_FILE: Final = "grid.csv"  # of a trial
FAILURE_FILE: Final = "failure.txt"  # of a failed one
BEST_FILE: Final = "best-grid.png"  # of the search
KEY: Final = ("schema_version", "search", "trial_id")
EPOCHS_SECONDS: Final = 2.0  # the curves of a running trial are written at most so often


@dataclass(kw_only=True)
class _Run:
    """What is known of a run in the store, so that the store is asked only once."""

    run_id: str
    start: int  # milliseconds since 1970, as MLflow counts
    files: str  # where its artifacts go
    status: str = "RUNNING"
    end: int | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: set[Point] = field(default_factory=set)  # of the curves, as far as written here
    waiting: list[Point] = field(default_factory=list)  # to be written with the next epochs
    written_at: float = -math.inf  # when the curves were written, on the monotonic clock


class SearchRuns:
    """The runs of one search, open for writing; experiment and parent run are made if missing.

    The experiment is named like the search's folder. Methods raise whatever MLflow raises when
    its store cannot be used.

    Args:
        search: the search's folder, with the specification in it.
        uri: MLflow's tracking URI.

    Attributes:
        description: of the search's task.

    Raises:
        ValueError: the experiment was deleted in MLflow, or what the search is of cannot be read.
    """

    def __init__(self, search: Storage, uri: str) -> None:
        self._search = search
        self.description = described(search)
        self._search_id = kept_identity(search).search_id
        self._name = search.root.rstrip("/").rpartition("/")[2]
        self._specification = read_content(search, SPECIFICATION_FILE)
        self._declared = parse_yaml(self._specification, search.named(SPECIFICATION_FILE))
        self._brief = not any(
            other in self._declared for other in ("searcher", "listed")
        )  # a sweep
        self._client = open_client(uri)
        self.experiment_id = self._open_experiment(_artifact_location(search, uri))
        self._runs = self._find_runs()  # by trial id; the parent's key is ""
        self._parent = self._open_parent()

    def start_search(self) -> None:
        """Show the search as running, also one that was interrupted and is resumed."""
        if self._parent.status != "RUNNING":
            self._client.update_run(self._parent.run_id, status="RUNNING")
            self._parent.status = "RUNNING"

    def start_trial(self, row: Row) -> None:
        """Show a trial as running.

        Args:
            row: trial_id, trial_name and started_at, and what is known of the specification
                columns of TRIALS.
        """
        self._log(self._open_trial(row), [], parameters=self._parameters(row))

    def log_epoch(self, trial_id: str, row: Row) -> None:
        """Add a row of EPOCHS to a started trial (unknown ones wait for their record).

        Short epochs wait for each other: a call costs the same for one as for many.
        """
        if (run := self._runs.get(trial_id)) is None:
            return
        run.waiting += epoch_points(row, self.description)
        if time.monotonic() >= run.written_at + EPOCHS_SECONDS:
            self._log(run, run.waiting)
            run.points.update(run.waiting)
            run.waiting, run.written_at = [], time.monotonic()

    def write_trial(self, row: Row) -> bool:
        """Write the whole run of one trial, unless it is there already.

        Args:
            row: the trial's row of TRIALS; its epochs and grid are read from the search's folder.

        Returns:
            Whether anything was written.
        """
        trial_id, end = row["trial_id"], trial_end(row)
        status = "FAILED" if row["status"] == FAILED else "FINISHED"
        tags = {**trial_tags(row, self.description), SCHEMA_TAG: str(SCHEMA_VERSION)}
        known = self._runs.get(trial_id)
        if (
            known is not None
            and (known.status, known.end) == (status, end)
            and known.tags.get(SCHEMA_TAG) == tags[SCHEMA_TAG]
        ):
            return False
        run = self._open_trial(row, tags)
        curves = [
            point
            for epochs in self._records("epochs", trial_id)
            for epoch in epochs.to_pylist()
            for point in epoch_points(epoch, self.description)
        ]
        points = [
            *(one for one in curves if one not in run.points),
            *result_points(row, self.description),
        ]
        self._log(run, points, tags, self._parameters(row))
        for grid in self._records("grid", trial_id):
            log_file(self._client, run.files, GRID_FILE, grid_csv(grid))
        if row["status"] == FAILED and (text := read_failure(self._search, trial_id)):
            log_file(self._client, run.files, FAILURE_FILE, text.encode())
        self._end(run, status, end)  # last: now it is whole
        return True

    def write_search(self, trials: pd.DataFrame) -> None:
        """Bring the parent run to the state of the records (the whole table TRIALS).

        When trials that were planned have no record, the search is shown as KILLED, that is
        interrupted, and so are those of them that were started; when all ended and none finished,
        as FAILED.
        """
        recorded = set(trials["trial_id"])
        planned = self._planned() - skipped_trials(self._search, trials) or recorded
        objective = choosing_objective(self._declared, self.description)
        best = BestSample(objective, rows_of(trials))
        dropped = dropped_words([one.folds for one in dropped_samples(self._search)])
        note = search_note(trials, len(planned), best, dropped)
        self._log(self._parent, [], {"mlflow.note.content": note})
        for trial_id in best.trial_ids[:1]:
            self._show_best(trials[trials["trial_id"] == trial_id])
        for trial_id, folds in dropped_trials(self._search).items():
            if trial_id in self._runs:
                self._log(self._runs[trial_id], [], {DROPPED_TAG: str(folds)})
        for trial_id, run in self._runs.items():
            if trial_id not in recorded and run.status == "RUNNING":
                self._end(run, "KILLED", None)
        names = ("started_at", "seconds", "ended_at")
        times = trials[list(names)].itertuples(index=False, name=None)
        end = max((trial_end(dict(zip(names, one, strict=True))) for one in times), default=None)
        ended = trials[trials["trial_id"].isin(planned)]
        self._end(self._parent, search_status(ended, len(planned)), end)

    def _show_best(self, trials: pd.DataFrame) -> None:
        """Draw the best trial's grid: a picture for every trial would cost 0.2 s each."""
        (best,) = rows_of(trials)
        if best["trial_id"] == self._parent.tags.get(BEST_TAG):
            return
        with contextlib.suppress(RecordError):  # said when the trial's own run was written
            for grid in self._records("grid", best["trial_id"]):
                picture = grid_picture(best, grid.to_pandas(), self.description)
                if picture is not None:
                    log_file(self._client, self._parent.files, BEST_FILE, picture)
                self._log(self._parent, [], {BEST_TAG: best["trial_id"]})

    def _open_experiment(self, artifact_location: str | None) -> str:
        existing = self._client.get_experiment_by_name(self._name)
        if existing is None:
            return str(self._client.create_experiment(self._name, artifact_location))
        if existing.lifecycle_stage != "active":
            raise ValueError(
                f"the MLflow experiment {self._name!r} was deleted; restore it in MLflow, or "
                "remove it for good with `mlflow gc`"
            )
        return str(existing.experiment_id)

    def _find_runs(self) -> dict[str, _Run]:
        runs: dict[str, _Run] = {}
        query, token = f"tags.`{SEARCH_TAG}` = '{self._search_id}'", None
        while True:
            page = self._client.search_runs([self.experiment_id], query, page_token=token)
            for found in page:
                runs[found.data.tags.get(TRIAL_TAG, "")] = _Run(
                    run_id=found.info.run_id,
                    start=found.info.start_time,
                    files=found.info.artifact_uri,
                    status=found.info.status,
                    end=found.info.end_time,
                    parameters=dict(found.data.params),
                    tags=dict(found.data.tags),
                )
            token = page.token
            if not token:
                return runs

    def _open_parent(self) -> _Run:
        run = self._runs.pop("", None)
        if run is None:
            trials = read_table(
                self._search, "trials", on_damage=lambda *_: None, description=self.description
            )
            start = datetime.now(UTC) if trials.empty else trials["started_at"].min()
            run = self._create_run(self._name, milliseconds(start), {ROLE_TAG: "search"})
        if run.tags.get(SCHEMA_TAG) != str(SCHEMA_VERSION):
            log_file(self._client, run.files, SPECIFICATION_FILE, self._specification)
            schema = {SCHEMA_TAG: str(SCHEMA_VERSION)}  # MLflow writes tags last
            self._log(run, [], schema, search_parameters(self._declared))
        return run

    def _open_trial(self, row: Row, tags: Mapping[str, str] | None = None) -> _Run:
        """The run of this attempt at a trial; what shows another attempt is deleted.

        A new one is made with ``tags``: there they cost the least.
        """
        trial_id, start = row["trial_id"], milliseconds(row["started_at"])
        parameters = self._parameters(row)
        run = self._runs.get(trial_id)
        if run is not None and (
            run.start != start
            or any(run.parameters.get(name, text) != text for name, text in parameters.items())
        ):
            self._client.delete_run(run.run_id)
            run = None
        if run is None:
            whose = {"mlflow.parentRunId": self._parent.run_id, TRIAL_TAG: trial_id}
            tags = {ROLE_TAG: "trial", **whose, **(tags or {})}
            run = self._create_run(row["trial_name"], start, tags)
            self._runs[trial_id] = run
        return run

    def _parameters(self, row: Row) -> dict[str, str]:
        return trial_parameters(row, self.description, brief=self._brief)

    def _create_run(self, name: str, start: int, tags: dict[str, str]) -> _Run:
        tags = {SEARCH_TAG: self._search_id, "mlflow.source.name": "fusion-search", **tags}
        run = self._client.create_run(self.experiment_id, start, tags, run_name=name)
        info = run.info
        return _Run(run_id=info.run_id, start=start, files=info.artifact_uri, tags=dict(tags))

    def _log(
        self,
        run: _Run,
        points: Sequence[Point],
        tags: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """All at once; parameters and tags that are there already are left out."""
        new_parameters, new_tags = (
            {name: text for name, text in (given or {}).items() if known.get(name) != text}
            for given, known in ((parameters, run.parameters), (tags, run.tags))
        )
        log(self._client, run.run_id, points, new_parameters, new_tags)
        run.parameters.update(new_parameters)
        run.tags.update(new_tags)

    def _end(self, run: _Run, status: str, end: int | None) -> None:
        """End a run at ``end`` milliseconds, not before its start.

        ``None`` is now, unless it has ended so before.
        """
        if end is None and run.status == status:
            return
        end = max(run.start, milliseconds(datetime.now(UTC)) if end is None else end)
        self._client.set_terminated(run.run_id, status, end)
        run.status, run.end = status, end

    def _records(self, table: str, trial_id: str) -> Iterator[pa.RecordBatch]:
        """A trial's rows of a table, without the key: one batch, none when it has none."""
        if self._search.exists(table, f"{trial_id}.parquet"):  # a failed trial may lack it
            columns = [name for name in self.description.schema(table).names if name not in KEY]
            yield from read_batches(self._search, table, columns, [trial_id], self.description)

    def _planned(self) -> set[str]:
        return {trial["trial_id"] for trial in read_plan(self._search)}


def _artifact_location(search: Storage, uri: str) -> str | None:
    """Where an experiment's files go: beside the records, or where a server wants them."""
    is_database = uri.split("://")[0].split("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")
    if not is_database or not isinstance(search.filesystem, fs.LocalFileSystem):
        return None
    folder = Path(search.root)
    return str(folder.parent / "mlflow-artifacts" / folder.name)
