"""What a search will leave: bytes of its records, rows in MLflow.

One trial of each kind is recorded with made-up results, by the code that records real ones, into a
storage that only counts.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import torch
from pyarrow import fs

from fusion_search.analysis.records.description import TASK_FILE
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import SPECIFICATION_FILE, parse_parquet
from fusion_search.search.declaration.configuration import to_plain, to_yaml
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.planning.units import Unit, alike
from fusion_search.search.records.planned import write_plan
from fusion_search.search.records.provenance import machine_columns, provenance
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.tasks.base import Condition
from fusion_search.search.tasks.evaluation import Evaluation, each_epoch
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.tracking.runs import KEY
from fusion_search.search.tracking.values import (
    epoch_points,
    grid_csv,
    result_points,
    search_parameters,
    trial_parameters,
    trial_tags,
)
from fusion_search.search.trials.cost import count_parameters
from fusion_search.search.trials.describe import describe
from fusion_search.search.trials.results import Epoch, Grid
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.trial import TrialResult, device_name

# What search/tracking/runs.py sets beside trial_tags: role, search, trial, parent, source, complete
# and the name; of the search: role, search, source, complete, name, note and best.
_TRIAL_RUN_TAGS: Final = 7
_SEARCH_RUN_TAGS: Final = 7

# Seen on searches of 3 to 60 trials. MLflow's empty database, 1 MB for all searches of a storage
# folder, comes on top.
_ARTIFACTS: Final = "mlflow-artifacts"
_RAY_BYTES: Final = 15_000
_RAY_TRIAL_BYTES: Final = 23_000
_ROW_BYTES: Final = 264
_PICTURE_BYTES: Final = 60_000  # the best grid of the search, where it can be drawn as a map


@dataclass(frozen=True)
class Contents:
    """What is left, of a trial or of a search.

    Attributes:
        sizes: bytes by table, checkpoints and other files of the search's folder.
        rows: in MLflow: runs, parameters, metric values and tags.
    """

    sizes: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Contents) -> Contents:
        """Both together."""
        return Contents(self.sizes + other.sizes, self.rows + other.rows)

    def times(self, count: int) -> Contents:
        """So often."""
        return Contents(
            *(
                Counter({name: count * value for name, value in one.items()})
                for one in (self.sizes, self.rows)
            )
        )


@dataclass(frozen=True)
class _Scales(Storage):
    """Weighs what is written, and the grid as MLflow gets it; keeps nothing."""

    sizes: Counter[str] = field(default_factory=Counter)

    def write(self, content: bytes, *parts: str) -> None:
        """Count the bytes under the first part of the name."""
        self.sizes[parts[0]] += len(content)
        if parts[0] == "grid":
            grid = parse_parquet(content).drop_columns(list(KEY))
            self.sizes[_ARTIFACTS] += len(grid_csv(grid))


def search_contents(
    search: SearchSpecification, units: Sequence[Unit], opened: OpenedTask
) -> Contents:
    """What a search leaves when all its trials finish.

    Ray's state and MLflow's database are rough: so many bytes per trial, and per row.

    Args:
        search, opened: the search, and its task with its data.
        units: all it dispatches.
    """
    trials = [trial for unit in units for trial in unit.trials]
    samples = search.space is not None
    brief = not samples and not search.listed  # as search/tracking/runs.py has it
    storage = _Scales("nowhere", fs.LocalFileSystem(), "/nowhere")
    layout = search.definition.layout(trials[0].network, lambda: opened.first)
    description = describe(search.task, search.definition, opened.first, layout.streams)
    storage.write(description.to_json().encode(), TASK_FILE)
    storage.write(to_yaml(search).encode(), SPECIFICATION_FILE)
    sampled: dict[str, Sample] = {one.trial_id: {} for one in trials}
    write_plan(storage, trials, len(trials), sampled if samples else None)
    rows = Counter(
        runs=1, parameters=len(search_parameters(to_plain(search))), tags=_SEARCH_RUN_TAGS
    )
    recorder = Recorder(
        storage,
        search.name,
        description,
        provenance(),
        search.objectives if samples else (),
        search.resources.cpus_per_trial,
    )
    total = Contents(storage.sizes.copy(), rows)
    for trial, count in _counts(trials, opened).items():
        total += _trial_contents(trial, opened, recorder, storage, brief).times(count)
    total.sizes["ray"] = _RAY_BYTES + _RAY_TRIAL_BYTES * len(units)
    if search.mlflow.enabled:
        total.sizes["mlflow.db"] = _ROW_BYTES * total.rows.total()
        total.sizes[_ARTIFACTS] += _PICTURE_BYTES * (len(description.axes) == 2)
    else:
        total.rows.clear()
        del total.sizes[_ARTIFACTS]
    return total


def _counts(
    trials: Iterable[TrialSpecification], opened: OpenedTask
) -> Counter[TrialSpecification]:
    """One trial for all that leave equally much, with their number."""
    first: dict[tuple[Any, ...], TrialSpecification] = {}
    counts: Counter[TrialSpecification] = Counter()
    tested: dict[tuple[str, ...], list[Condition]] = {}
    for trial in trials:
        streams = trial.placement.streams
        if streams not in tested:
            tested[streams] = trial.for_task(opened.task).test_conditions()
        # Off the grid there is no metric at the train condition. Of that, each axis that has a
        # number is a parameter.
        on_grid = trial.train in tested[streams]
        numbers = tuple(one is None for one in trial.train_columns().values())
        counts[first.setdefault((alike(trial), on_grid, numbers), trial)] += 1
    return counts


def _trial_contents(
    trial: TrialSpecification,
    opened: OpenedTask,
    recorder: Recorder,
    storage: _Scales,
    brief: bool,
) -> Contents:
    storage.sizes.clear()
    of = recorder.description
    result = _result(trial, opened)
    sample: Sample | None = {} if recorder.objectives else None
    data = opened.data(trial.data, trial.fold)
    started = {
        **recorder.started(trial, data, datetime.now(UTC), sample),
        **machine_columns(),
        "threads": 1,
        "device_name": device_name("cpu"),
    }
    row = recorder.finished(trial, result, started, time.monotonic())
    points = [point for epoch in result.epochs for point in epoch_points(epoch.row(), of)]
    rows = Counter(
        runs=1,
        parameters=len(trial_parameters(row, of, brief=brief)),
        metrics=len(points) + len(result_points(row, of)),
        tags=len(trial_tags(row, of)) + _TRIAL_RUN_TAGS,
    )
    return Contents(storage.sizes.copy(), rows)


def _result(trial: TrialSpecification, opened: OpenedTask) -> TrialResult:
    """Made up: random numbers, which take as much room as real ones."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> float:
        return float(torch.rand((), generator=generator, dtype=torch.float64))

    task, data = opened.task, opened.data(trial.data, trial.fold)
    network = task.build(trial.network, data, trial.placement)
    result = TrialResult(
        device=trial.training.device,
        metric=task.metrics[0],
        engine="compiled",
        parameters=count_parameters(network),
        multiply_accumulates=1,
        milliseconds_per_example=draw(),
        train_seconds=draw(),
        evaluation_seconds=draw(),
        data_seconds=draw(),
        peak_memory_bytes=1,
    )
    metrics, tested = each_epoch(task.metrics), trial.evaluation.each_epoch
    for number in range(1, trial.training.epochs + 1):
        epoch = Epoch(
            epoch=number,
            examples_seen=number,
            train_loss=draw(),
            train={one.name: draw() for one in metrics},
            validation_loss=draw(),
            validation={one.name: draw() for one in metrics},
            seconds=draw(),
            ended_at=datetime.now(UTC),
            test_loss=draw() if tested else None,
            test={one.name: draw() for one in metrics if tested},
        )
        result.keep(epoch, network)
    split = data.split(trial.evaluation.split)
    count = trial.evaluation.test_examples or len(split)  # type: ignore[arg-type]
    cells = []
    for condition in trial.for_task(task).test_conditions():
        # Of such a share a sum over the examples counts them.
        sums = {
            one.name: float(round(count * draw())) if one.share else count * draw()
            for one in task.metrics
            if one.is_mean
        }
        values = {
            one.name: sums[one.name] / count if one.is_mean else draw() for one in task.metrics
        }
        cells.append(Evaluation(condition, count, count * draw(), values, sums))
    most = (10**6, max(2, data.classes), max(2, data.classes))
    kept = tuple(torch.randint(one, (count,), generator=generator) for one in most)
    predictions = [kept] * len(cells) if trial.evaluation.predictions else []
    result.grid = Grid(cells, predictions)  # type: ignore[arg-type]
    return result
