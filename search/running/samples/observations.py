"""What a searcher learns of a sample from the rows of its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED
from fusion_search.datasets.metrics import Metric
from fusion_search.search.spaces.objectives import mean_values
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.spaces.searchers.base import Observation


def observation(
    sample: Sample,
    rows: Sequence[Mapping[str, Any]],
    metric: Metric,
    progress: tuple[int, float] | None = None,
) -> Observation:
    """What a searcher learns of a sample whose trials gave these rows of ``trials``.

    ``metric`` is the one that chooses.
    """
    states = {row["status"] for row in rows}
    if FAILED in states or not rows:
        return Observation(sample=sample, state=FAILED)
    if STOPPED in states:
        return Observation(
            sample=sample, state=STOPPED, progress=progress or progress_of(rows, metric)
        )
    values = mean_values([row["objective_values"] for row in rows])
    return Observation(sample=sample, state=FINISHED, values=values)


def progress_of(rows: Sequence[Mapping[str, Any]], metric: Metric) -> tuple[int, float] | None:
    """Epochs run and mean best score in validation so far, over a sample's trials."""
    if not any(row["status"] == STOPPED for row in rows):
        return None
    scores = [metric.score(row[f"validation_{metric.name}"]) for row in rows]
    return sum(row["epochs_run"] for row in rows), sum(scores) / len(scores)
