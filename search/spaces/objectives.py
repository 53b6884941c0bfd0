"""What a search optimises: numbers of a finished trial, each with a direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fusion_search.datasets.metrics import DIRECTIONS, Metric

MAXIMIZE: Final = "maximize"
MINIMIZE: Final = "minimize"
QUANTILE: Final = "quantile"

OVER: Final = {
    "train_condition": "at the train condition",
    "mean": "over the test conditions: robustness",
    "worst": "the worst test condition",
    QUANTILE: "a quantile over the test conditions",
}
"""What stands before a metric's name in an objective's. All but the quantile are columns of the
``trials`` table."""

COSTS: Final = ("parameters", "multiply_accumulates", "milliseconds_per_example")
"""Less is better: of the network; per example; per example, measured on the trial's machine."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One objective.

    Attributes:
        name: a column of ``trials``, such as mean_accuracy or parameters, or quantile_accuracy.
        direction: maximize or minimize; "" for the metric's own (less, for a cost).
        quantile: of a quantile, 0 (the worst condition) to 1.

    Raises:
        ValueError: a field is outside its range.
    """

    name: str
    direction: str = ""
    quantile: float = 0.1

    def __post_init__(self) -> None:
        if self.direction not in ("", *DIRECTIONS):
            raise ValueError(f"direction is {self.direction!r}; allowed: {', '.join(DIRECTIONS)}")
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"quantile is {self.quantile}; allowed: 0 to 1")

    @property
    def metric(self) -> str:
        """Of a quantile: whose."""
        return self.name.removeprefix(f"{QUANTILE}_")

    @property
    def is_quantile(self) -> bool:
        """Whether it is no column, but made of the grid."""
        return self.name != self.metric

    def value(self, row: Mapping[str, Any], values: Sequence[float]) -> float:
        """Of a trial's row in ``trials`` and its metric at the test conditions.

        A quantile lies between two conditions by linear interpolation.
        """
        if not self.is_quantile:
            return float(row[self.name])
        worst_first = self.direction == MAXIMIZE
        share = self.quantile if worst_first else 1 - self.quantile
        return float(np.quantile(np.asarray(values), share))


def objective_names(metrics: Sequence[Metric]) -> dict[str, str]:
    """Every objective that trials with these metrics have, with its usual direction."""
    found = {f"{over}_{one.name}": one.direction for one in metrics for over in OVER}
    return {**found, **dict.fromkeys(COSTS, MINIMIZE)}


def with_direction(objective: Objective, metrics: Sequence[Metric]) -> Objective:
    """The objective with its usual direction where it has none.

    Raises:
        ValueError: trials with these metrics have no such number.
    """
    names = objective_names(metrics)
    if objective.name not in names:
        raise ValueError(f"name is {objective.name!r}; allowed: {', '.join(names)}")
    return replace(objective, direction=objective.direction or names[objective.name])


def mean_values(values: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Of several trials of one sample [trials][objectives], objective by objective."""
    return tuple(float(one) for one in np.mean(np.asarray(values, dtype=float), axis=0))
