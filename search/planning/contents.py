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
from typing import Final

import torch
from pyarrow import fs

from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import SPECIFICATION_FILE
from fusion_search.datasets.digits.data import DigitData
from fusion_search.models.early_fusion import EarlyFusionNetwork, count_parameters
from fusion_search.search.declaration.configuration import to_plain, to_yaml
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.planning.units import Unit, alike
from fusion_search.search.records.provenance import provenance
from fusion_search.search.records.recorder import Recorder, write_plan
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.tasks.evaluation import Evaluation
from fusion_search.search.tracking.values import (
    epoch_points,
    result_points,
    search_parameters,
    trial_parameters,
    trial_tags,
)
from fusion_search.search.trials.results import Epoch, Grid
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.trial import TrialResult

# What search/tracking/runs.py sets beside trial_tags: role, search, trial, parent, source, complete
# and the name; of the search: role, search, source, complete, name, note and best.
_TRIAL_RUN_TAGS: Final = 7
_SEARCH_RUN_TAGS: Final = 7

# Seen on searches of 3 to 60 trials. MLflow's empty database, 1 MB for all searches of a storage
# folder, comes on top.
_RAY_BYTES: Final = 15_000
_RAY_TRIAL_BYTES: Final = 23_000
_ROW_BYTES: Final = 264
_PICTURE_BYTES: Final = 60_000  # the best grid of the search
_CONDITION_BYTES: Final = 45  # a line of grid.csv


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
    """Weighs what is written, and keeps nothing."""

    sizes: Counter[str] = field(default_factory=Counter)

    def write(self, content: bytes, *parts: str) -> None:
        """Count the bytes under the first part of the name."""
        self.sizes[parts[0]] += len(content)


def search_contents(
    search: SearchSpecification, units: Sequence[Unit], data: DigitData
) -> Contents:
    """What a search leaves when all its trials finish.

    Ray's state and MLflow's database are rough: so many bytes per trial, and per row.

    Args:
        search, data: the search and its examples.
        units: all it dispatches.
    """
    trials = [trial for unit in units for trial in unit.trials]
    samples = search.space is not None
    brief = not samples and not search.listed  # as search/tracking/runs.py has it
    storage = _Scales("nowhere", fs.LocalFileSystem(), "/nowhere")
    text = to_yaml(search)
    storage.write(text.encode(), SPECIFICATION_FILE)
    write_plan(storage, trials, {one.trial_id: {} for one in trials} if samples else None)
    rows = Counter(
        runs=1, parameters=len(search_parameters(to_plain(search))), tags=_SEARCH_RUN_TAGS
    )
    objectives = search.objectives if samples else ()
    recorder = Recorder(
        storage,
        search.name,
        data.fingerprint,
        data.note,
        provenance(),
        objectives,
        search.resources.cpus_per_trial,
    )
    total = Contents(storage.sizes.copy(), rows)
    for trial, count in _counts(trials).items():
        total += _trial_contents(trial, recorder, storage, brief).times(count)
    total.sizes["ray"] = _RAY_BYTES + _RAY_TRIAL_BYTES * len(units)
    if search.mlflow.enabled:
        total.sizes["mlflow.db"] = _ROW_BYTES * total.rows.total()
        lines = sum(len(trial.test_conditions) for trial in trials)
        total.sizes["mlflow-artifacts"] = _PICTURE_BYTES + _CONDITION_BYTES * lines
    else:
        total.rows.clear()
    return total


def _counts(trials: Iterable[TrialSpecification]) -> Counter[TrialSpecification]:
    """One trial for all that leave equally much, with their number."""
    first: dict[tuple[TrialSpecification, bool], TrialSpecification] = {}
    counts: Counter[TrialSpecification] = Counter()
    for trial in trials:
        # Off the grid there is no accuracy at the train pair.
        on_grid = trial.train_pair in trial.test_conditions
        counts[first.setdefault((alike(trial), on_grid), trial)] += 1
    return counts


def _trial_contents(
    trial: TrialSpecification, recorder: Recorder, storage: _Scales, brief: bool
) -> Contents:
    storage.sizes.clear()
    result = _result(trial)
    sample: Sample | None = {} if recorder.objectives else None
    started = {**recorder.started(trial, datetime.now(UTC), sample), "threads": 1}
    row = recorder.finished(trial, result, started, time.monotonic())
    # As MLflow is given it: what has gone through JSON or a table has lists.
    row = {name: list(one) if isinstance(one, tuple) else one for name, one in row.items()}
    points = [point for epoch in result.epochs for point in epoch_points(epoch.row())]
    rows = Counter(
        runs=1,
        parameters=len(trial_parameters(row, brief)),
        metrics=len(points) + len(result_points(row)),
        tags=len(trial_tags(row)) + _TRIAL_RUN_TAGS,
    )
    return Contents(storage.sizes.copy(), rows)


def _result(trial: TrialSpecification) -> TrialResult:
    """Made up: random numbers, which take as much room as real ones."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> float:
        return float(torch.rand((), generator=generator, dtype=torch.float64))

    network = EarlyFusionNetwork(trial.network)
    result = TrialResult(
        device=trial.device,
        metric=trial.trial.task.metrics[0],
        engine="compiled",
        parameters=count_parameters(network),
        multiply_accumulates=1,
        milliseconds_per_example=draw(),
        train_seconds=draw(),
        evaluation_seconds=draw(),
        data_seconds=draw(),
        peak_memory_bytes=1,
    )
    for number in range(1, trial.epochs + 1):
        epoch = Epoch(
            epoch=number,
            examples_seen=number * trial.epoch_examples,
            train_loss=draw(),
            train={"accuracy": draw()},
            validation_loss=draw(),
            validation={"accuracy": draw()},
            seconds=draw(),
            ended_at=datetime.now(UTC),
        )
        result.keep(epoch, network)
    count = trial.test_examples
    conditions = trial.trial.test_conditions()
    correct = torch.randint(count + 1, (len(conditions),), generator=generator).tolist()
    cells = [
        Evaluation(one, count, count * draw(), {"accuracy": right / count}, {"accuracy": right})
        for one, right in zip(conditions, correct, strict=True)
    ]
    kept = tuple(torch.randint(most, (count,), generator=generator) for most in (10**6, 10, 10))
    result.grid = Grid(cells, [kept] * len(cells) if trial.predictions else [])  # type: ignore[list-item]
    return result
