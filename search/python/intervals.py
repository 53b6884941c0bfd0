"""How sure a metric of a set of examples is: its 95 % interval over other such examples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

from fusion_search.datasets.metrics import Metric

CONFIDENCE: Final = 0.95
_BLOCK: Final = 1 << 24  # counts that are held at once

Interval = tuple[float, float, float]
"""A value, and where its 95 % interval begins and ends."""


@dataclass(frozen=True)
class Units:
    """What is drawn anew: examples, or groups of them, such as persons.

    Attributes:
        of: [n] int64, the unit of each example.
        count: of units.
        resamples: how often as many are drawn, with replacement.
        seed: of the draws.
    """

    of: Tensor
    count: int
    resamples: int
    seed: int

    def draws(self) -> Iterator[npt.NDArray[np.int64]]:
        """How often each unit is drawn, [some, units], of all resamples one after the other."""
        generator = np.random.default_rng(self.seed)
        left, most = self.resamples, max(1, _BLOCK // self.count)
        while left:
            some = min(left, most)
            yield generator.multinomial(self.count, [1 / self.count] * self.count, size=some)
            left -= some


def intervals(metrics: Sequence[tuple[Metric, Tensor]], units: Units) -> list[Interval]:
    """Of metrics, each with the statistics [n, ...] of the same examples.

    A share of examples has Wilson's interval, which has a width also where all are right or wrong;
    with groups it is taken there alone, as of so many groups. Everything else has the percentiles
    of the bootstrap (Efron and Tibshirani 1993, chapter 13), with the same draws for all: nothing
    is asked of a metric but its value on a set.
    """
    found: list[Interval] = []
    left = []
    for metric, one in metrics:
        value = _value(metric, one, len(one))
        low = high = math.nan
        if _is_share(metric, one) and (units.count == len(one) or value in (0.0, 1.0)):
            low, high = wilson(value, units.count)
        else:
            left.append(len(found))
        found.append((value, low, high))
    for place, ends in zip(left, _bootstrapped([metrics[one] for one in left], units), strict=True):
        found[place] = (found[place][0], *ends)
    return found


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of ``n`` (Wilson 1927)."""
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _is_share(metric: Metric, statistics: Tensor) -> bool:
    counted = metric.is_mean and statistics.dim() == 1
    return counted and bool(((statistics == 0) | (statistics == 1)).all())


def _value(metric: Metric, statistics: Tensor, n: int) -> float:
    given = statistics if metric.keep == "all" else statistics.double().sum(0)
    return float(metric.value(given, n))


def _bootstrapped(
    metrics: Sequence[tuple[Metric, Tensor]], units: Units
) -> list[tuple[float, float]]:
    """Percentiles of the metrics over the resamples; NaN of a single unit."""
    if units.count < 2 or not metrics:
        return [(math.nan, math.nan)] * len(metrics)
    sizes = torch.bincount(units.of, minlength=units.count)
    values: list[list[float]] = [[] for _ in metrics]
    for block in units.draws():
        counts = torch.from_numpy(block)  # [some, units]
        numbers = counts @ sizes
        for (metric, one), own in zip(metrics, values, strict=True):
            own += (_of_whole if metric.keep == "all" else _of_sums)(
                metric, one, units, counts, numbers
            )
    outside = 50 * (1 - CONFIDENCE)
    ends = [np.nanpercentile(own, [outside, 100 - outside]) for own in values]
    return [(float(low), float(high)) for low, high in ends]


def _of_sums(
    metric: Metric, statistics: Tensor, units: Units, counts: Tensor, numbers: Tensor
) -> list[float]:
    """A metric of the sums over each resample."""
    shape = statistics.shape[1:]
    flat = statistics.double().reshape(len(statistics), -1)
    sums = torch.zeros(units.count, flat.shape[1], dtype=flat.dtype).index_add(0, units.of, flat)
    totals = counts.double() @ sums
    if metric.is_mean:
        return (totals[:, 0] / numbers).tolist()
    pairs = zip(totals, numbers.tolist(), strict=True)
    return [float(metric.value(each.reshape(shape), n)) for each, n in pairs]


def _of_whole(
    metric: Metric, statistics: Tensor, units: Units, counts: Tensor, numbers: Tensor
) -> list[float]:
    """A metric of all examples of each resample."""
    pairs = zip(counts, numbers.tolist(), strict=True)
    return [
        float(metric.value(statistics.repeat_interleave(drawn[units.of], 0), n))
        for drawn, n in pairs
    ]
