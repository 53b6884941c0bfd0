"""The plain evaluation loop: every metric at every condition, as functions of the whole set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fusion_search.datasets.batch import Batch, Tree
from fusion_search.datasets.metrics import Metric, Statistics
from fusion_search.search.tasks.base import Answer, Condition, Task, TaskError


@dataclass
class Evaluation:
    """A network's metrics at one condition.

    Attributes:
        condition: axis -> SNR.
        n: examples.
        loss: their mean.
        metrics: name -> value.
        sums: name -> sum over the examples, of the metrics that are means.
    """

    condition: Condition
    n: int
    loss: float
    metrics: dict[str, float] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)


def example_losses(task: Task, outputs: Tree, batch: Batch) -> Tensor:
    """The loss of each example, [B] float64; a task that gives their mean gives it to each.

    Raises:
        TaskError: the loss has another shape.
    """
    loss = task.loss(outputs, batch)
    if loss.shape not in ((), (len(batch),)):
        raise TaskError(
            f"loss gave a tensor of shape {list(loss.shape)}; allowed: [] or [{len(batch)}]"
        )
    return loss.double().expand(len(batch))


class _Tally:
    def __init__(self, condition: Condition, metrics: Sequence[Metric]) -> None:
        self.condition = condition
        self.n, self.loss = 0, 0.0
        self.statistics = [Statistics(metric) for metric in metrics]

    def add(self, task: Task, outputs: Tree, batch: Batch) -> None:
        self.n += len(batch)
        self.loss += float(example_losses(task, outputs, batch).sum())
        for one in self.statistics:
            one.add(outputs, batch)

    def result(self) -> Evaluation:
        return Evaluation(
            condition=self.condition,
            n=self.n,
            loss=self.loss / self.n,
            metrics={one.metric.name: one.value() for one in self.statistics},
            sums={one.metric.name: one.total for one in self.statistics if one.metric.is_mean},
        )


def evaluate(
    task: Task, answers: Iterable[Answer], *, metrics: Sequence[Metric] | None = None
) -> list[Evaluation]:
    """Judge the answers of ``Task.answers``, condition by condition in the order they came.

    Args:
        task: whose loss is counted.
        answers: of a network on a split.
        metrics: those to count; None for all of the task's.
    """
    tallies: dict[tuple[tuple[str, float], ...], _Tally] = {}
    wanted = task.metrics if metrics is None else metrics
    with torch.inference_mode():
        for condition, outputs, batch in answers:
            key = tuple(sorted(condition.items()))
            if key not in tallies:
                tallies[key] = _Tally(condition, wanted)
            tallies[key].add(task, outputs, batch)
    return [one.result() for one in tallies.values()]


def each_epoch(metrics: Sequence[Metric]) -> list[Metric]:
    """Those that are counted after every epoch; the first, which chooses, always is."""
    return [one for number, one in enumerate(metrics) if one.each_epoch or number == 0]


def as_float(outputs: Any) -> Any:
    """Outputs of mixed precision in float32, for losses and metrics."""

    def whole(one: Any) -> Any:
        half = isinstance(one, Tensor) and one.is_floating_point() and one.dtype != torch.float64
        return one.float() if half else one

    return torch.utils._pytree.tree_map(whole, outputs)
