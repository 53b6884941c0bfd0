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
    conditions: npt.NDArray[np.float64], trains: Sequence[Sequence[float]], axes: Sequence[str]
) -> dict[str, Cells]:
    """Name -> which cells belong to it in each train condition [train conditions, cells].

    A region that has no cell in one of them is left out, and so is one whose cells are those of a
    region before it: tested twice, it would make every test of the family more cautious.

    Args:
        conditions: SNRs [cells, axes]; infinity is no noise.
        trains: of every train condition the SNR of each axis.
        axes: their names.
    """
    clean = np.zeros(conditions.shape, dtype=bool)
    for axis in range(len(axes)):
        levels = np.unique(conditions[:, axis])
        clean[:, axis] = conditions[:, axis] >= levels[len(levels) // 2]
    trained = [conditions == np.asarray(train) for train in trains]
    named = {
        name: np.array([rule(clean, one) for one in trained]) for name, rule in _OF_THE_GRID.items()
    }
    for axis, axis_name in enumerate(axes):
        for name, axis_rule in _OF_AN_AXIS.items():
            named[name.format(axis_name)] = np.array([axis_rule(clean, axis) for _ in trained])
    found: dict[str, Cells] = {}
    for name, cells in named.items():
        if cells.any(axis=1).all() and not any(
            np.array_equal(cells, one) for one in found.values()
        ):
            found[name] = cells
    return found
