"""One trial of any task: one network, trained at one condition, in one fold, with one seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fusion_search.datasets.conditions import ABSENT, ORIGINAL, Axis, TrainCondition, absent, grid
from fusion_search.models.layout import Placement
from fusion_search.search.tasks.base import Condition, Task
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings


@dataclass(frozen=True, kw_only=True)
class TaskTrial:
    """All there is to know of a trial.

    Attributes:
        task: what is fused.
        network, data: settings of the task's types.
        placement: what couples the streams, and which there are.
        train: axis -> train condition; axes that are not named train at ORIGINAL.
        fold, seed: the seed is that of the initial weights, drawn examples and noise.
        training: optimiser, schedule and budget.
        evaluation: what it is tested on.
        specification: text that a saved state of this trial belongs to.

    Raises:
        ValueError: a field is outside its range.
    """

    task: Task
    network: Any
    data: Any
    placement: Placement = field(default_factory=Placement)
    train: Mapping[str, TrainCondition] = field(default_factory=dict)
    fold: int = 0
    seed: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    specification: str = ""

    def __post_init__(self) -> None:
        names = [axis.name for axis in self.task.axes]
        for name in self.train:
            if name not in names:
                allowed = ", ".join(names) or "none, for the task has no axis"
                raise ValueError(f"train names axis {name!r}; allowed: {allowed}")
        everywhere = {name: self.train.get(name, ORIGINAL) for name in names}
        object.__setattr__(self, "train", everywhere)

    def test_conditions(self) -> list[Condition]:
        """The grid; axes on streams that the network does not have stay at ORIGINAL."""
        there = [axis for axis in self.task.axes if self._has(axis)]
        rest = {axis.name: ORIGINAL for axis in self.task.axes if not self._has(axis)}
        order = [axis.name for axis in self.task.axes]
        return [{name: {**one, **rest}[name] for name in order} for one in grid(there)]

    def absent_conditions(self) -> list[list[Condition]]:
        """Where one input is absent, input by input; none where the trial is not to test that."""
        if not self.evaluation.absent:
            return []
        order = [axis.name for axis in self.task.axes]
        there = [axis for axis in self.task.axes if self._has(axis)]
        rest = {axis.name: ORIGINAL for axis in self.task.axes if not self._has(axis)}
        found: dict[str, list[Condition]] = {}
        for one in absent(there):
            missing = next(name for name, snr in one.items() if snr == ABSENT)
            whole = {**one, **rest}
            found.setdefault(missing, []).append({name: whole[name] for name in order})
        return list(found.values())

    def _has(self, axis: Axis) -> bool:
        stream = axis.input.partition(".")[0]
        return not self.placement.streams or stream in self.placement.streams
