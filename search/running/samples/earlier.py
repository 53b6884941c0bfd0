"""What the records of an earlier search tell the searcher of another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import FINISHED, read_rows
from fusion_search.datasets.conditions import ABSENT
from fusion_search.search.running.progress import warn_of_damage
from fusion_search.search.running.samples.observations import observation
from fusion_search.search.spaces.names import condition_text
from fusion_search.search.spaces.objectives import Objective
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.spaces.searchers.base import Observation
from fusion_search.search.spaces.space import Space
from fusion_search.search.trials.specification import TrialSpecification, parse_specification


def known_observations(
    space: Space,
    objectives: Sequence[Objective],
    storage: Storage,
    left_out: Counter[str] | None = None,
) -> list[Observation]:
    """What the records of an earlier search tell a searcher of this space.

    Only finished trials that lie in the space count, of the same task and data, tested on the same
    split in the folds of this space; where a sample stands for several trials, only those with all
    of them. Other fields that the space does not search may differ, such as the budget. Records
    that cannot be read are said, and left out.

    Args:
        space, objectives: of the searcher.
        storage: the earlier search's folder.
        left_out: counts why trials are left out, in words.
    """
    left_out = Counter() if left_out is None else left_out
    told = read_rows(storage, "trials", on_damage=warn_of_damage)
    rows = {row["trial_id"]: row for row in told if row["status"] == FINISHED}
    cells: dict[str, list[dict[str, Any]]] = {}
    for cell in read_rows(storage, "grid", on_damage=warn_of_damage):
        if not is_absent(cell):
            cells.setdefault(cell["trial_id"], []).append(cell)
    found: dict[str, tuple[Sample, dict[str, list[dict[str, Any]]]]] = {}
    for trial_id, row in rows.items():
        read = _read_sample(space, row)
        if isinstance(read, str):
            left_out[read] += 1
            continue
        sample, trial = read
        if trial_id not in cells:
            continue
        if any(row.get(one.name) is None for one in objectives if not one.is_quantile):
            continue
        values = [one.value(row, _column(cells[trial_id], one)) for one in objectives]
        _, seeds = found.setdefault(json.dumps(sample, sort_keys=True), (sample, {}))
        at = f"{condition_text(trial.train)} {trial.fold}"
        seeds.setdefault(at, []).append({**row, "objective_values": values})
    needed = (1 if space.choose else len(space.train)) * len(space.folds)
    metric = space.task.metrics[0]
    observations = []
    for sample, seeds in found.values():
        own = [row for rows in seeds.values() for row in rows]
        if len(seeds) == needed:
            observations.append(observation(sample, own, metric))
        else:
            left_out["whose sample lacks a fold or train condition of this search"] += len(own)
    return observations


def _read_sample(space: Space, row: Mapping[str, Any]) -> tuple[Sample, TrialSpecification] | str:
    """The sample and trial of a row; else, in words, why no trial of this space compares to it."""
    if row["task"] != space.name:
        return f"of the task {row['task']}"
    if json.loads(row["train"]).keys() != {axis.name for axis in space.task.axes}:
        return "with other axes"  # a table's, whose data say what its streams are
    trial = parse_specification(row["specification"], space.task)
    sample = space.sample_of(trial)
    if trial.fold not in space.folds:
        return f"of fold {trial.fold}, which this search does not have"
    if trial.evaluation.split != space.evaluation.split:
        return f"tested on the {trial.evaluation.split} split"
    if sample is None:
        return "outside this space, or trained at other conditions"
    if space.trials(sample)[0].data != trial.data:
        return "with other data settings"
    return sample, trial


def _column(cells: Sequence[Mapping[str, Any]], objective: Objective) -> list[float]:
    """A metric over the grid, where an objective needs it."""
    return [cell[objective.metric] for cell in cells] if objective.is_quantile else []


def is_absent(cell: Mapping[str, Any]) -> bool:
    """Whether a row of the grid is a condition in which an input is absent."""
    return any(value == ABSENT for name, value in cell.items() if name.startswith("test_"))
