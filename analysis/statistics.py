"""The tests and intervals that figures and sentences rest on."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

SIGNIFICANCE: Final = 0.05
CONFIDENCE: Final = 0.95
TIE: Final = 1e-9  # differences of means of counts are equal up to rounding


def paired_p(differences: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Two-sided p of the paired t-test over seeds, from differences [conditions, seeds].

    Where every seed has no difference at all, t is 0/0; p is then 1. The test cannot say anything
    either where all seeds differ by exactly the same amount; p is then NaN rather than the 0 of
    an infinite t, which small test sets would reach by chance.
    """
    spread = np.ptp(differences, axis=1)
    p = np.full(len(differences), np.nan)
    varied = spread > TIE
    p[varied] = stats.ttest_1samp(differences[varied], 0.0, axis=1).pvalue
    p[~varied & (np.abs(differences).max(axis=1) <= TIE)] = 1.0
    return p


def holm(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Holm's step-down adjustment of p-values [m]; NaN stays NaN and does not count."""
    adjusted = np.full_like(p, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted


def interval(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and its 95 % t interval [n]; NaN without values, the ends also for a single one."""
    if len(values) == 0:
        return math.nan, math.nan, math.nan
    mean = float(values.mean())
    if len(values) == 1:
        return mean, math.nan, math.nan
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values)
    return mean, mean - float(half), mean + float(half)
