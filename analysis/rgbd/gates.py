"""What a gate does: the weight of depth, by class and SNR, and the examples at either end."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.rgbd.paper import BY_DEPTH

GATE: Final = "gate"
"""The array of a probe: G, how much of the stream passes that it is made from."""

LEAST: Final = "least depth"
MOST: Final = "most depth"
"""Which examples are told of: either may pass more of depth than half."""

_QUANTILES: Final = {"low": 0.1, "median": 0.5, "high": 0.9}
_COLUMNS: Final = ["split", "number", "group", "label"]


def depth_weights(
    activations: pd.DataFrame, variant: str, description: TaskDescription
) -> pd.DataFrame:
    """How much of depth passes of every probed example: G of a gate by depth, 1 - G of one by RGB.

    Args:
        activations: of one trial, each array in its shape.
        variant: of the trial, one of ``GATES``.
        description: of the search.

    Returns:
        A row per example and condition: the test columns, ``split``, ``number``, ``group``,
        ``label``, ``weights`` (the array [features]) and ``depth``, their mean: 1 is depth
        alone, 0 RGB alone. Empty where the probe kept no gate.
    """
    own = activations[activations["name"] == GATE]
    passed = [
        one.reshape(-1) if variant == BY_DEPTH else 1 - one.reshape(-1) for one in own["values"]
    ]
    weights = pd.Series(passed, own.index, dtype=object)
    means = [float(one.mean()) for one in passed]
    found = own[[*description.test_columns, *_COLUMNS]]
    return found.assign(weights=weights, depth=means).reset_index(drop=True)


def compute_gates(weights: pd.DataFrame, description: TaskDescription) -> pd.DataFrame:
    """The distribution of the weight of depth, by condition and class.

    Args:
        weights: as :func:`depth_weights` gives them.
        description: of the search.

    Returns:
        A row per condition and class, and one of all classes (``label`` -1): the test columns,
        ``label``, ``class`` (in words), ``examples``, ``mean`` over examples and features, ``low``,
        ``median`` and ``high`` (10, 50 and 90 % of all features of all examples).
    """
    tests = list(description.test_columns)
    rows = []
    for condition, part in weights.groupby(tests, sort=False):
        for label, own in [(-1, part), *part.groupby("label")]:
            values = np.concatenate(list(own["weights"]))
            named = "all" if label < 0 else description.labels[int(label)]
            row = {**dict(zip(tests, condition, strict=True)), "label": int(label), "class": named}
            row |= {"examples": len(own), "mean": float(values.mean())}
            quantiles = {name: float(np.quantile(values, at)) for name, at in _QUANTILES.items()}
            rows.append({**row, **quantiles})
    return pd.DataFrame(rows)


def extreme_examples(
    weights: pd.DataFrame, description: TaskDescription, count: int
) -> pd.DataFrame:
    """The examples with the least and the most weight of depth, where it was probed first.

    Returns:
        At most ``count`` rows of either, the least depth first: the rows of ``weights`` without the
        arrays, and ``which``: ``LEAST`` or ``MOST``.
    """
    tests = list(description.test_columns)
    first = (weights[tests] == weights[tests].iloc[0]).all(axis=1)
    ordered = weights[first].drop(columns="weights").sort_values("depth", kind="stable")
    count = min(count, len(ordered) // 2)
    ends = [ordered.head(count).assign(which=LEAST), ordered.tail(count).assign(which=MOST)]
    return pd.concat(ends, ignore_index=True)
