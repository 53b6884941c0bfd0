"""The runs of one search in MLflow's store, as they are there: found, made, put right, deleted.

What is written is known by tags: the experiment by the search's id, a run by that and its trial's.
So it is found again when somebody renamed, deleted or restored it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from fusion_search.search.tracking.client import (
    file_names,
    find_experiments,
    find_runs,
    is_deleted,
    is_local,
    log,
    log_file,
    open_client,
)
from fusion_search.search.tracking.trouble import NO_SERVER, UnfitStoreError
from fusion_search.search.tracking.values import Point, milliseconds

ROLE_TAG: Final = "fusion_search.role"  # search or trial
SEARCH_TAG: Final = "fusion_search.search_id"
TRIAL_TAG: Final = "fusion_search.trial_id"
PARENT_TAG: Final = "mlflow.parentRunId"
NOTE_TAG: Final = "mlflow.note.content"  # the page shows it, and offers it to be edited


@dataclass(kw_only=True)
class StoredRun:
    """What is known of a run in the store, so that the store is asked only once."""

    run_id: str
    start: int  # milliseconds since 1970, as MLflow counts
    files: str  # where its artifacts go
    status: str = "RUNNING"
    end: int | None = None
    deleted: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)  # the last value of each
    tags: dict[str, str] = field(default_factory=dict)
    points: set[Point] = field(default_factory=set)  # of the curves, as far as written here
    waiting: list[Point] = field(default_factory=list)  # to be written with the next epochs
    written_at: float = -math.inf  # when the curves were written, on the monotonic clock

    @property
    def trial_id(self) -> str | None:
        """Whose it is; empty of a trial's that does not say so, None of the search's own."""
        of_trial = self.tags.get(ROLE_TAG) == "trial" or PARENT_TAG in self.tags
        return self.tags.get(TRIAL_TAG, "" if of_trial else None)


class RunStore:
    """The experiment of a search, opened or made. Methods raise whatever MLflow raises.

    Args:
        uri: MLflow's tracking URI.
        name: of the search, and of a new experiment.
        search_id: what tells this search from another of its name.
        artifact_location: of a new experiment; None leaves it to MLflow.

    Attributes:
        experiment_id: MLflow's.
        restored, removed: how many runs were restored, and deleted, since others showed the same.

    Raises:
        UnfitStoreError: something else answers at this address, or an experiment of this name, and
            of other searches, was deleted in MLflow.
    """

    def __init__(self, uri: str, name: str, search_id: str, artifact_location: str | None) -> None:
        self._client = open_client(uri)
        self._search_id = search_id
        self.restored = self.removed = 0
        self.experiment_id = self._open_experiment(name, artifact_location)

    def runs(self) -> list[StoredRun]:
        """All of the search, deleted ones too."""
        query = f"tags.`{SEARCH_TAG}` = '{self._search_id}'"
        return [_stored(one) for one in find_runs(self._client, self.experiment_id, query)]

    def create(self, name: str, start: int, tags: Mapping[str, str]) -> StoredRun:
        """A new run, that has begun at ``start`` milliseconds since 1970."""
        tags = {SEARCH_TAG: self._search_id, "mlflow.source.name": "fusion-search", **tags}
        info = self._client.create_run(self.experiment_id, start, tags, run_name=name).info
        return StoredRun(run_id=info.run_id, start=start, files=info.artifact_uri, tags=tags)

    def choose(self, found: Sequence[StoredRun]) -> StoredRun | None:
        """Of runs that show the same, the one that stays, restored if need be; others go."""
        ordered = sorted(found, key=lambda one: (one.deleted, one.end is None, one.run_id))
        self.remove(ordered[1:])
        for run in ordered[:1]:
            if run.deleted:
                self._client.restore_run(run.run_id)
                run.deleted = False
                self.restored += 1
            return run
        return None

    def remove(self, runs: Sequence[StoredRun]) -> None:
        """Delete what is not deleted yet. MLflow keeps it, and can restore it, until ``gc``."""
        for run in runs:
            if not run.deleted:
                self._client.delete_run(run.run_id)
                run.deleted = True
                self.removed += 1

    def log(
        self,
        run: StoredRun,
        points: Sequence[Point],
        tags: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """All at once; parameters and tags that are there already are left out."""
        new_parameters, new_tags = (
            {name: text for name, text in (given or {}).items() if known.get(name) != text}
            for given, known in ((parameters, run.parameters), (tags, run.tags))
        )
        if points or new_parameters or new_tags:
            log(self._client, run.run_id, points, new_parameters, new_tags)
        run.parameters.update(new_parameters)
        run.tags.update(new_tags)
        run.metrics.update((one.name, one.value) for one in points)

    def resume(self, run: StoredRun) -> None:
        """Show a run as running."""
        if run.status != "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"

    def end(self, run: StoredRun, status: str, end: int | None) -> None:
        """End a run at ``end`` milliseconds, not before its start.

        ``None`` is now, unless it has ended so before.
        """
        if end is None and run.status == status:
            return
        end = max(run.start, milliseconds(datetime.now(UTC)) if end is None else end)
        if (run.status, run.end) != (status, end):
            self._client.set_terminated(run.run_id, status, end)
            run.status, run.end = status, end

    def write_file(self, run: StoredRun, name: str, content: bytes) -> None:
        """Store one file of a run."""
        log_file(self._client, run.files, name, content)

    def has_file(self, run: StoredRun, name: str) -> bool:
        """Whether a run has a file."""
        return name in file_names(self._client, run.files)

    def has_local_files(self, run: StoredRun) -> bool:
        """Whether looking at a run's files costs nothing."""
        return is_local(run.files)

    def epochs(self, run: StoredRun, metric: str) -> int:
        """How many epochs a curve has."""
        return len({one.step for one in self._client.get_metric_history(run.run_id, metric)})

    def _open_experiment(self, name: str, artifact_location: str | None) -> str:
        # By a tag, for it may have been renamed; a copy of a search has its id, and another name.
        tag = f"{SEARCH_TAG}.{self._search_id}"
        for own in find_experiments(self._client, f"tags.`{tag}` = '{name}'")[:1]:
            if is_deleted(own):
                self._client.restore_experiment(own.experiment_id)
                self.restored += 1
            return str(own.experiment_id)
        existing = self._client.get_experiment_by_name(name)
        if existing is None:
            return str(self._client.create_experiment(name, artifact_location, tags={tag: name}))
        if not existing.experiment_id:  # MLflow's client takes any mapping for an experiment
            raise UnfitStoreError(NO_SERVER)
        if is_deleted(existing):
            raise UnfitStoreError(
                f"the experiment {name!r} of other searches was deleted; restore it in MLflow, or "
                "remove it for good with `mlflow gc`"
            )
        self._client.set_experiment_tag(existing.experiment_id, tag, name)
        return str(existing.experiment_id)


def _stored(found: Any) -> StoredRun:
    info, data = found.info, found.data
    return StoredRun(
        run_id=info.run_id,
        start=info.start_time,
        files=info.artifact_uri,
        status=info.status,
        end=info.end_time,
        deleted=is_deleted(info),
        parameters=dict(data.params),
        metrics=dict(data.metrics),
        tags=dict(data.tags),
    )
