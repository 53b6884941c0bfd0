"""Whether what a network gives changes over time when its input does.

Of every example the lengths (L2 norms) of the changes from one step to the next are taken, of the
array and of its input, and their rank correlation (Spearman's) over the steps. The null: the input
shifted in time against the array, round and round, by 1 to T - 2 steps drawn for each example; it
keeps how either changes by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from fusion_search.analysis.figures.arrays import Array
from fusion_search.analysis.figures.probed.chosen import DRAWS, HALF, by_unit, verdict
from fusion_search.analysis.records.selection import AnalysisError
from fusion_search.analysis.statistics import TIE, interval

_FEWEST: Final = 4  # changes


def changes(values: Array) -> Array:
    """Lengths of the changes of a sequence [T, ...] from step to step, [T - 1]."""
    steps = np.diff(values, axis=0)
    lengths: Array = np.sqrt(np.square(steps).sum(axis=tuple(range(1, steps.ndim))))
    return lengths


def channel_changes(values: Array) -> Array:
    """The same of every channel of [T, C, ...] by itself, [T - 1, C]."""
    steps = np.diff(values, axis=0)
    lengths: Array = np.sqrt(np.square(steps).sum(axis=tuple(range(2, steps.ndim))))
    return lengths


def shifted_correlations(one: Array, other: Array, shifts: int | None = None) -> Array:
    """Rank correlations of [n] with [n] shifted in a circle, [shifts]; NaN of constants.

    Args:
        one, other: of one length.
        shifts: how many, from 0 on; all n where that is not said.
    """
    count = len(one) if shifts is None else shifts
    ranks = [rankdata(each) for each in (one, other)]
    first, second = (each - each.mean() for each in ranks)
    scale = np.sqrt((first @ first) * (second @ second))
    if scale < TIE:
        return np.full(count, np.nan)
    found: Array = np.array([first @ np.roll(second, by) for by in range(count)]) / scale
    return found


def correlation(one: Array, other: Array) -> float:
    """The rank correlation of [n] with [n]; NaN of constants."""
    return float(shifted_correlations(one, other, shifts=1)[0])


def compute_following(
    examples: pd.DataFrame, arrays: Sequence[Array], inputs: Sequence[Array]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of each example, and of all: how the changes of an array follow those of its input.

    Args:
        examples: [N] rows with split, number, group and label.
        arrays: of each [T, C, ...].
        inputs: of each [T, ...], of the same steps.

    Returns:
        [N] rows with the correlation and those of shifted time, on average; and one row with the
        mean, its interval, the p, and how many channels follow by themselves.

    Raises:
        AnalysisError: no example changes often enough.
    """
    found, shifted, channels = [], [], []
    for values, given in zip(arrays, inputs, strict=True):
        by_shift = np.full(_FEWEST, np.nan)
        source = changes(given)
        if len(source) >= _FEWEST:
            by_shift = shifted_correlations(changes(values), source)
        found.append(by_shift[0])
        shifted.append(by_shift[1:])
        own = channel_changes(values)
        if len(source) >= _FEWEST:
            channels.append([correlation(one, source) for one in own.T])
    correlations = np.array(found)
    there = np.isfinite(correlations)
    if not there.any():
        raise AnalysisError(
            f"no probed example has {_FEWEST} changes over time that differ; probe longer ones"
        )
    told = examples.assign(
        steps=[len(one) for one in arrays],
        correlation=correlations,
        shifted=[one.mean() for one in shifted],
    )
    kept = [one for one, is_there in zip(shifted, there, strict=True) if is_there]
    summary = _summary(correlations[there], kept, list(told.loc[there, "group"]))
    each = _means(np.array(channels))
    summary |= {"channels": len(each), "channels_following": int((each > HALF).sum())}
    return told, pd.DataFrame([summary])


def _summary(
    correlations: Array, shifted: Sequence[Array], groups: Sequence[str]
) -> dict[str, Any]:
    units, of = by_unit(correlations, groups)
    mean, low, high = interval(units)
    chance = np.random.default_rng(0)
    drawn = np.stack([chance.choice(one, DRAWS) for one in shifted])  # [N, draws]
    by_chance = by_unit(drawn, groups)[0].mean(axis=0)
    p = float(1 + (by_chance >= mean - TIE).sum()) / (1 + DRAWS)
    return {
        "examples": len(correlations),
        "units": len(units),
        "of": of,
        "correlation": mean,
        "low": low,
        "high": high,
        "shifted": float(by_chance.mean()),
        "p": p,
        "verdict": verdict(low, high, p, len(units)),
    }


def _means(correlations: Array) -> Array:
    """Over examples, [N, C] to [C]; a channel that never changes does not follow."""
    there = np.isfinite(correlations)
    counts = there.sum(axis=0)
    sums = np.where(there, correlations, 0.0).sum(axis=0)
    means: Array = np.where(counts > 0, sums / np.maximum(counts, 1), -1.0)
    return means
