"""The plain evaluation loop: every metric at every condition, as functions of the whole set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fusion_search.datasets.batch import Batch, Tree
from fusion_search.datasets.conditions import TrainCondition
from fusion_search.datasets.metrics import Metric, Statistics
from fusion_search.search.tasks.base import Answer, Condition, Task, TaskError


@dataclass
class Evaluation:
    """A network's metrics at one condition.

    Attributes:
        condition: axis -> SNR, or what it is drawn from.
        n: examples.
        loss_sum: of the examples' losses.
        metrics: name -> value.
        sums: name -> sum over the examples, of the metrics that are means.
    """

    condition: Condition
    n: int
    loss_sum: float
    metrics: dict[str, float] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """The mean over the examples."""
        return self.loss_sum / self.n


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
            loss_sum=self.loss,
            metrics={one.metric.name: one.value() for one in self.statistics},
            sums={one.metric.name: one.total for one in self.statistics if one.metric.is_mean},
        )


def evaluate(
    task: Task,
    answers: Iterable[Answer],
    conditions: Sequence[Condition],
    *,
    metrics: Sequence[Metric] | None = None,
) -> list[Evaluation]:
    """Judge the answers of ``Task.answers``.

    Args:
        task: whose loss is counted.
        answers: of a network on a split, in any order.
        conditions: those asked for, in the order of the result.
        metrics: those to count; None for all of the task's.

    Raises:
        TaskError: there was no answer at a condition, or one at a condition not asked for.
    """
    wanted = task.metrics if metrics is None else metrics
    tallies = {_key(one): _Tally(one, wanted) for one in conditions}
    with torch.inference_mode():
        for condition, outputs, batch, _ in answers:
            tally = tallies.get(_key(condition))
            if tally is None:
                raise TaskError(
                    f"answers gave condition {dict(condition)}, which was not asked for"
                )
            tally.add(task, outputs, batch)
    for one in tallies.values():
        if not one.n:
            raise TaskError(f"answers gave nothing at condition {dict(one.condition)}")
    return [one.result() for one in tallies.values()]


def _key(condition: Condition) -> tuple[tuple[str, TrainCondition], ...]:
    return tuple(sorted(condition.items(), key=lambda one: one[0]))


def each_epoch(metrics: Sequence[Metric]) -> list[Metric]:
    """Those that are counted after every epoch; the first, which chooses, always is."""
    return [one for number, one in enumerate(metrics) if one.each_epoch or number == 0]
