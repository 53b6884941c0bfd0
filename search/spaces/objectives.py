"""What a search optimises: numbers of a finished trial, each with a direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

MAXIMIZE: Final = "maximize"
MINIMIZE: Final = "minimize"
DIRECTIONS: Final = (MAXIMIZE, MINIMIZE)
QUANTILE: Final = "quantile_accuracy"

OBJECTIVES: Final = {
    "train_pair_accuracy": MAXIMIZE,  # at the train condition
    "mean_accuracy": MAXIMIZE,  # over the grid: robust accuracy
    "worst_accuracy": MAXIMIZE,  # the worst test condition
    QUANTILE: MAXIMIZE,  # a quantile over the test conditions
    "parameters": MINIMIZE,
    "multiply_accumulates": MINIMIZE,  # per example
    "milliseconds_per_example": MINIMIZE,  # measured on the trial's machine
}
"""Name -> its usual direction. All but the quantile are columns of the ``trials`` table."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One objective.

    Attributes:
        name: one of ``OBJECTIVES``.
        direction: maximize or minimize; "" takes the usual one.
        quantile: for quantile_accuracy, 0 (the worst condition) to 1.

    Raises:
        ValueError: a field is outside its range.
    """

    name: str
    direction: str = ""
    quantile: float = 0.1

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise ValueError(f"name is {self.name!r}; allowed: {', '.join(OBJECTIVES)}")
        if not self.direction:
            object.__setattr__(self, "direction", OBJECTIVES[self.name])
        if self.direction not in DIRECTIONS:
            raise ValueError(f"direction is {self.direction!r}; allowed: {', '.join(DIRECTIONS)}")
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"quantile is {self.quantile}; allowed: 0 to 1")

    def value(self, row: Mapping[str, Any], accuracies: Sequence[float]) -> float:
        """Of a trial's row in ``trials`` and its accuracies at the test conditions.

        A quantile lies between two conditions by linear interpolation.
        """
        if self.name == QUANTILE:
            return float(np.quantile(np.asarray(accuracies), self.quantile))
        return float(row[self.name])


def mean_values(values: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Of several trials of one sample [trials][objectives], objective by objective."""
    return tuple(float(one) for one in np.mean(np.asarray(values, dtype=float), axis=0))
