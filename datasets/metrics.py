"""Metrics as functions of the whole set: nothing is averaged over batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from fusion_search.datasets.batch import Batch, Tree

DIRECTIONS: Final = ("maximize", "minimize")
KEEPS: Final = ("sum", "all")


def mean(total: Tensor, n: int) -> float:
    """The mean of a statistic of each example, from its sum."""
    return float(total) / n


@dataclass(frozen=True)
class Metric:
    """How well a network did on a set of examples.

    Attributes:
        name: in YAML, records, MLflow and figures.
        of: (outputs, batch) -> statistics of each example, [B, ...].
        value: (statistics summed over the set, or all of them [n, ...]; n) -> the metric.
        keep: "sum", or "all" where a sum does not suffice (average precision, recall at k).
        direction: whether more or less is better.
        each_epoch: False for what is too dear to be counted after every epoch.
        share: whether it lies in 0 to 1, and is drawn on that scale.

    Raises:
        ValueError: a field is outside its range.
    """

    name: str
    of: Callable[[Tree, Batch], Tensor]
    value: Callable[[Tensor, int], float] = mean
    keep: str = "sum"
    direction: str = "maximize"
    each_epoch: bool = True
    share: bool = False

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"metric name is {self.name!r}; allowed: letters, digits and _")
        for field, allowed in (("keep", KEEPS), ("direction", DIRECTIONS)):
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(
                    f"{field} of metric {self.name} is {value!r}; allowed: {', '.join(allowed)}"
                )

    @property
    def is_mean(self) -> bool:
        """Whether the sum beside it gives it again: then records keep that, too."""
        return self.keep == "sum" and self.value is mean

    def score(self, value: float) -> float:
        """The greater, the better."""
        return value if self.direction == "maximize" else -value

    def better(self, one: float, other: float) -> bool:
        """Whether ``one`` is better."""
        return self.score(one) > self.score(other)


class Statistics:
    """What a metric has seen of a set so far."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.n = 0
        self._total: Tensor | None = None
        self._all: list[Tensor] = []

    def add(self, outputs: Tree, batch: Batch) -> None:
        """Add the examples of a batch.

        Raises:
            ValueError: the metric gave no statistics of each example.
        """
        one = self.metric.of(outputs, batch).detach()
        if one.dim() == 0 or len(one) != len(batch):
            raise ValueError(
                f"metric {self.metric.name} gave a tensor of shape {list(one.shape)}; allowed: "
                f"[{len(batch)}, ...], statistics of each example"
            )
        self.n += len(one)
        if self.metric.keep == "all":
            self._all.append(one.cpu())
        else:
            total = one.double().sum(0).cpu()
            self._total = total if self._total is None else self._total + total

    @property
    def total(self) -> Any:
        """The sum over the set: a float, or nested lists of them. Of ``keep="sum"`` only."""
        assert self._total is not None
        return self._total.tolist()

    def value(self) -> float:
        """The metric of all examples seen."""
        if self.metric.keep == "all":
            return float(self.metric.value(torch.cat(self._all), self.n))
        assert self._total is not None
        return float(self.metric.value(self._total, self.n))
