"""What a trial gives: its epochs, and its metrics over the grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import torch
from torch import Tensor

from fusion_search.datasets.batch import Batch
from fusion_search.datasets.metrics import Metric, Statistics
from fusion_search.search.tasks.base import Condition
from fusion_search.search.tasks.evaluation import Evaluation, each_epoch


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one epoch gave.

    Attributes:
        epoch: from 1 on.
        examples_seen: since the trial began.
        train_loss, train: means and metrics over the epoch's training examples.
        validation_loss, validation: at the train condition, after the epoch.
        test_loss, test: likewise, of the test split, where ``evaluation.each_epoch`` asked for it.
        seconds: since the trial began.
        ended_at: when.
    """

    epoch: int
    examples_seen: int
    train_loss: float
    train: Mapping[str, float]
    validation_loss: float
    validation: Mapping[str, float]
    seconds: float
    ended_at: datetime
    test_loss: float | None = None
    test: Mapping[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """As columns of the ``epochs`` table, a metric's with its split before its name."""
        return {
            "epoch": self.epoch,
            "examples_seen": self.examples_seen,
            "train_loss": self.train_loss,
            **{f"train_{name}": value for name, value in self.train.items()},
            "validation_loss": self.validation_loss,
            **{f"validation_{name}": value for name, value in self.validation.items()},
            "test_loss": self.test_loss,
            **{f"test_{name}": value for name, value in self.test.items()},
            "seconds": self.seconds,
            "ended_at": self.ended_at,
        }


@dataclass(frozen=True)
class Grid:
    """A network's metrics at every condition.

    Attributes:
        evaluations: in the order of the conditions.
        predictions: of each, if kept: (numbers [N], targets [N], predicted [N]).
        absent: the same where one input is absent; outside every mean.
    """

    evaluations: list[Evaluation]
    predictions: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    absent: list[Evaluation] = field(default_factory=list)

    def values(self, metric: str) -> list[float]:
        """A metric at every condition."""
        return [one.metrics[metric] for one in self.evaluations]

    def mean(self, metric: str) -> float:
        """Of a metric over the conditions."""
        return sum(self.values(metric)) / len(self.evaluations)

    def at(self, condition: Condition, metric: str) -> float | None:
        """A metric at one condition; None when it was not tested."""
        found = (one.metrics[metric] for one in self.evaluations if one.condition == condition)
        return next(found, None)


class Tally:
    """Loss and metrics over the training examples of an epoch."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.n, self.loss = 0, 0.0
        self._statistics = [Statistics(one) for one in each_epoch(metrics)]

    def add(self, loss: float, outputs: Any, batch: Batch) -> None:
        """Add a batch and its mean loss."""
        self.n += len(batch)
        self.loss += loss * len(batch)
        with torch.inference_mode():
            for one in self._statistics:
                one.add(outputs, batch)

    def values(self) -> dict[str, float]:
        """Every metric counted after an epoch."""
        return {one.metric.name: one.value() for one in self._statistics}
