"""How much a network depends on each input: a few numbers beside the figure.

After Barnum, Talukder and Yue, who read their maps by eye: what depends on one input alone hardly
changes along the other's test SNR.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from fusion_search.analysis.conditions import train_numbers
from fusion_search.analysis.records.description import (
    ABSENT,
    AxisDescription,
    MetricDescription,
    TaskDescription,
)
from fusion_search.analysis.records.selection import network_columns

_Values = npt.NDArray[np.float64]


def compute_dependence(
    sheet: pd.DataFrame, description: TaskDescription, metric: MetricDescription | None = None
) -> pd.DataFrame:
    """The numbers of every train condition of a sheet.

    With A the metric at test SNRs i, j, ... of the axes, all seeds together, and a, v, ... the
    train SNRs. Each is NaN where the grid lacks the condition, or the train SNR is drawn.

    - ``train_condition_<metric>``: A[a, v]. ``mean_<metric>``: the mean of A.
    - ``<axis>_range``: the mean over the other axes of (max over i of A[i, j] - min over i of
      A[i, j]): how far the metric moves when only this SNR does.
    - ``<axis>_lost``: A[lowest i, v], this input drowned in noise and the others as in training.
      ``<axis>_absent``: A[absent, v], where some trial was tested so.
    - Means of A over regions that the train condition divides the others into:
      ``<metric>_at_or_above`` (i >= a, j >= v), ``<metric>_<axis>_below`` (i < a, j >= v), with
      two axes or more ``<metric>_both_below`` or ``_all_below`` (i < a, j < v); and
      ``worst_at_or_above``, the worst A of the first.

    Args:
        sheet: as ``figures.grids.compute_sheet`` returns it. Its axes give the names:
            speech_snr gives ``speech_range``.
        description: of the search.
        metric: the one that chooses by default.

    Returns:
        One row per network and train condition, in the order of ``sheet``: the columns that tell
        them, ``seeds`` (how many) and the numbers above.
    """
    metric = metric or description.metric
    keys = [*network_columns(description), *description.train_columns]
    absent = {one for one in description.axes if (sheet[one.test_column] == ABSENT).any()}
    rows = []
    for _, part in sheet.groupby(keys, sort=False, dropna=False):
        identity = {key: part[key].iloc[0] for key in keys}
        train = train_numbers(tuple(identity[one] for one in description.train_columns))
        numbers = _numbers(part, np.array(train), description, metric, absent)
        rows.append({**identity, "seeds": part["seeds"].max(), **numbers})
    return pd.DataFrame(rows)


def _numbers(
    part: pd.DataFrame,
    train: _Values,
    description: TaskDescription,
    metric: MetricDescription,
    absent: set[AxisDescription],
) -> dict[str, float]:
    """Of one network at one train condition."""
    tested = part[list(description.test_columns)].to_numpy(dtype=float)  # [conditions, axes]
    values = part[metric.name].to_numpy(dtype=float)
    there = (tested != ABSENT).all(axis=1)
    lowest = tested[there].min(axis=0, initial=np.inf)
    above = tested >= train
    below = tested < train
    found = {
        f"train_condition_{metric.name}": _mean(values[there & (tested == train).all(axis=1)]),
        f"mean_{metric.name}": _mean(values[there]),
    }
    names = [axis.short.replace(" ", "_") for axis in description.axes]
    others = [np.delete(np.arange(len(names)), number) for number in range(len(names))]
    for number, name in enumerate(names):
        found[f"{name}_range"] = _range(part[there], description, number, metric)
    for number, name in enumerate(names):
        as_trained = (tested[:, others[number]] == train[others[number]]).all(axis=1)
        at_lowest = there & (tested[:, number] == lowest[number])
        found[f"{name}_lost"] = _mean(values[at_lowest & as_trained])
        if description.axes[number] in absent:
            without = tested[:, number] == ABSENT
            found[f"{name}_absent"] = _mean(values[without & as_trained])
    at_or_above = values[there & above.all(axis=1)]
    found[f"{metric.name}_at_or_above"] = _mean(at_or_above)
    for number, name in enumerate(names):
        alone = below[:, number] & above[:, others[number]].all(axis=1)
        found[f"{metric.name}_{name}_below"] = _mean(values[there & alone])
    if len(names) > 1:
        word = "both" if len(names) == 2 else "all"
        found[f"{metric.name}_{word}_below"] = _mean(values[there & below.all(axis=1)])
    worst = at_or_above.min if metric.sign > 0 else at_or_above.max
    found["worst_at_or_above"] = worst() if len(at_or_above) else np.nan
    return found


def spread(cells: pd.DataFrame, others: Sequence[str]) -> pd.Series:
    """How far values move along one axis, the mean over the conditions of the others, by column.

    Args:
        cells: [test conditions, columns].
        others: the index levels of the other axes.
    """
    groups = cells.groupby(level=list(others))
    return (groups.max() - groups.min()).mean()


def _range(
    part: pd.DataFrame, description: TaskDescription, number: int, metric: MetricDescription
) -> float:
    """Along an axis, the mean over the conditions of the others."""
    others = [one for one in description.test_columns if one != description.test_columns[number]]
    if not others:
        return float(part[metric.name].max() - part[metric.name].min())
    return float(spread(part.set_index(others)[[metric.name]], others).iloc[0])


def _mean(values: _Values) -> float:
    return float(values.mean()) if len(values) else np.nan
