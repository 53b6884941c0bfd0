"""Sets of a grid's conditions, named before anyone looks at a result.

A test of a few named regions finds what a test of every condition is too cautious to find, but
only when results did not suggest the regions: this table is the whole choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Cells: TypeAlias = npt.NDArray[np.bool_]
_Rule: TypeAlias = Callable[[Cells, Cells], Cells]  # clean, trained [cells, axes] -> [cells]
_AxisRule: TypeAlias = Callable[[Cells, int], Cells]  # clean, axis -> [cells]

_OF_THE_GRID: Final[Mapping[str, _Rule]] = {
    "grid": lambda clean, trained: np.ones(len(clean), dtype=bool),
    "train condition": lambda clean, trained: np.all(trained, axis=1),
    "all noisy": lambda clean, trained: np.all(~clean, axis=1),
}
_OF_AN_AXIS: Final[Mapping[str, _AxisRule]] = {
    "{} clean": lambda clean, axis: clean[:, axis],
    "{} noisy": lambda clean, axis: ~clean[:, axis],
    "{} alone clean": lambda clean, axis: clean[:, axis] & (clean.sum(axis=1) == 1),
}
"""Clean are the larger half of an axis' SNRs, noisy the others; trained is the train SNR."""


def regions(
    conditions: npt.NDArray[np.float64], train: Sequence[float], axes: Sequence[str]
) -> dict[str, Cells]:
    """Name -> which cells belong to it [cells]; a region without a cell is left out.

    Args:
        conditions: SNRs [cells, axes]; infinity is no noise.
        train: the SNR of each axis in training.
        axes: their names.
    """
    clean = np.zeros(conditions.shape, dtype=bool)
    for axis in range(len(axes)):
        levels = np.unique(conditions[:, axis])
        clean[:, axis] = conditions[:, axis] >= levels[len(levels) // 2]
    trained = conditions == np.asarray(train)
    found = {name: rule(clean, trained) for name, rule in _OF_THE_GRID.items()}
    for axis, axis_name in enumerate(axes):
        for name, axis_rule in _OF_AN_AXIS.items():
            found[name.format(axis_name)] = axis_rule(clean, axis)
    return {name: cells for name, cells in found.items() if cells.any()}
