"""A recorder of digit trials, and what it records, described beside the records."""

from __future__ import annotations

from collections.abc import Sequence

from fusion_search.analysis.records.description import TASK_FILE
from fusion_search.analysis.records.storage import Storage
from fusion_search.search.records.provenance import provenance
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.spaces.objectives import Objective
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.describe import describe


def small_recorder(
    storage: Storage,
    opened: OpenedTask,
    objectives: Sequence[Objective] = (),
    cpus_per_trial: float | None = None,
) -> Recorder:
    """Of the search "test", whose folder is given."""
    description = describe("digits", opened.task, opened.first, ("image", "audio"))
    storage.write(description.to_json().encode(), TASK_FILE)
    return Recorder(storage, "test", description, provenance(), objectives, cpus_per_trial)
