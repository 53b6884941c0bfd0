"""A recorder of trials, and what it records, described beside the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fusion_search.analysis.records.description import TASK_FILE
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.search.records.planned import write_plan
from fusion_search.search.records.provenance import provenance
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.running.recorded_trial import execute
from fusion_search.search.spaces.objectives import Objective
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.describe import describe
from fusion_search.search.trials.specification import TrialSpecification


def small_recorder(
    storage: Storage,
    opened: OpenedTask,
    objectives: Sequence[Objective] = (),
    cpus_per_trial: float | None = None,
) -> Recorder:
    """Of digit trials of the search "test", whose folder is given."""
    description = describe("digits", opened.task, opened.first, ("image", "audio"))
    storage.write(description.to_json().encode(), TASK_FILE)
    return Recorder(storage, "test", description, provenance(), objectives, cpus_per_trial)


def one_recorded(folder: Path, trial: TrialSpecification, opened: OpenedTask) -> Storage:
    """The search "one" of one trial, of any task, that has run."""
    storage = open_storage(folder).below("one")
    streams = opened.task.layout(trial.network, lambda: opened.first).streams
    description = describe(trial.task, opened.task, opened.first, streams)
    storage.write(description.to_json().encode(), TASK_FILE)
    write_plan(storage, [trial], 1)
    execute(trial, opened, Recorder(storage, "one", description, provenance()))
    return storage
