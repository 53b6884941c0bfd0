"""The tests and intervals that figures and sentences rest on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

SIGNIFICANCE: Final = 0.05
CONFIDENCE: Final = 0.95
TIE: Final = 1e-9  # differences of means of counts are equal up to rounding
CANNOT: Final = "cannot be decided"
EXACT_SEEDS: Final = 16  # up to so many, all flips are counted; beyond, as many are drawn

_DRAWN: Final = 2 ** (EXACT_SEEDS - 1)
_BLOCKS: Final = 16  # flips go through in so many parts, which bounds memory
_ROUNDING: Final = 1e-6  # relative, between values of t that count as equal

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SignFlips:
    """What a sign-flip test says of every cell; arrays [cells].

    Attributes:
        seeds: how many have a difference.
        p: of each cell by itself, two-sided; NaN without seeds.
        p_max_t: adjusted by the largest |t| over cells; NaN where ``seeds`` are too few to decide.
        p_holm: ``p`` adjusted by Holm over the cells that have seeds.
        flips: how many were counted, in words.
    """

    seeds: npt.NDArray[np.int64]
    p: Values
    p_max_t: Values
    p_holm: Values
    flips: str


def sign_flips(differences: Values) -> SignFlips:
    """The two-sided sign-flip test of paired differences, single-step max-T over cells.

    Under the null hypothesis a seed's differences may as well have the opposite sign, all cells of
    a seed together (Westfall and Young 1993, section 2.3; Nichols and Holmes 2002). Nothing is
    assumed of their distribution but that symmetry. A cell with too few seeds to be decided alone
    is left out of the maximum, where its large t by chance would hide the others.

    Args:
        differences: [seeds, cells]; NaN where a seed lacks a cell.
    """
    known = np.isfinite(differences)
    seeds = known.sum(axis=0)
    values = np.where(known & (np.abs(differences) > TIE), differences, 0.0)
    signs, flips = _signs(len(values))
    family = seeds >= seeds_needed()
    least = _absolute_t(values.sum(axis=0), values, seeds) * (1 - _ROUNDING)
    alone, jointly = np.zeros((2, len(seeds)))
    for block in np.array_split(signs, _BLOCKS):
        flipped = _absolute_t(
            np.matmul(block, values, dtype=float), values, seeds
        )  # [flips, cells]
        alone += (flipped >= least).sum(axis=0)
        largest = flipped[:, family].max(axis=1, initial=0.0)
        jointly += (largest[:, None] >= least).sum(axis=0)
    p = np.where(seeds > 0, alone / len(signs), np.nan)
    p_max_t = np.where(family, jointly / len(signs), np.nan)
    return SignFlips(seeds, p, p_max_t, holm(p), flips)


def _signs(seeds: int) -> tuple[npt.NDArray[np.int8], str]:
    """Sign vectors [flips, seeds], the first as observed; |t| is the same for the opposite ones."""
    if seeds <= EXACT_SEEDS:
        numbers = np.arange(2 ** max(seeds - 1, 0))[:, None]
        signs = 1 - 2 * (numbers >> np.arange(seeds) & 1)
        return signs.astype(np.int8), f"all {2**seeds:,} sign flips"
    drawn = np.random.default_rng(0).integers(0, 2, (_DRAWN, seeds), dtype=np.int8) * 2 - 1
    drawn[0] = 1
    return drawn, f"{_DRAWN:,} sign flips drawn with seed 0"


def _absolute_t(sums: Values, values: Values, seeds: npt.NDArray[np.int64]) -> Values:
    """|t| of sums [..., cells]; infinite where all seeds differ by the same, 0 for no difference.

    The squares of ``values`` [seeds, cells] are the same whatever their signs.
    """
    squares = np.square(values).sum(axis=0)
    share = np.square(sums) / np.where(squares > 0, squares * seeds, 1.0)  # 0 to 1
    rest = 1 - share
    with np.errstate(divide="ignore"):
        t: Values = np.sqrt(share * np.maximum(seeds - 1, 1) / np.where(rest > TIE, rest, 0.0))
    return t


def seeds_needed(comparisons: int = 1) -> int:
    """The fewest seeds whose sign-flip p can be at most 0.05, by Holm over ``comparisons``.

    The smallest two-sided p of n signs is 2 / 2^n.
    """
    seeds = 1
    while 2.0 ** (1 - seeds) * comparisons > SIGNIFICANCE:
        seeds += 1
    return seeds


def undecided(seeds: int, comparisons: int = 1, unit: str = "seed") -> str:
    """What is said instead of a p that could not have been at most 0.05; empty where it could.

    Args:
        seeds: how many differences there are.
        comparisons: that are told together.
        unit: what each difference is of.
    """
    needed = seeds_needed(comparisons)
    if seeds >= needed:
        return ""
    noun = unit if seeds == 1 else f"{unit}s"
    return f"{CANNOT} with {seeds} {noun}; {needed} would do"


def holm(p: Values) -> Values:
    """Holm's step-down adjustment of p-values [m]; NaN stays NaN and does not count."""
    adjusted = np.full_like(p, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted


class MeanTest(NamedTuple):
    """A mean, the ends of its 95 % interval, and a two-sided test against 0; NaN where unknown."""

    mean: float
    low: float
    high: float
    t: float
    p: float


def paired_t_test(differences: Values) -> MeanTest:
    """The paired t-test of differences [n], n - 1 degrees of freedom; the mean alone for n < 2.

    Assumes that the differences are independent and normal.
    """
    return _t_test(differences, 1 / max(len(differences), 1))


def corrected_t_test(differences: Values, test_share: float) -> MeanTest:
    """The corrected resampled t-test of differences [n] that were trained on overlapping examples.

    t = mean / sqrt((1 / n + n_test / n_train) s^2) with n - 1 degrees of freedom, where s^2 is the
    sample variance (Nadeau and Bengio 2003). Of r repetitions of k folds, n = k r, it is the
    corrected repeated k-fold test (Bouckaert and Frank 2004). Assumes that the
    differences are normal, and that any two are correlated by n_test / (n_test + n_train).

    Args:
        differences: of one run each.
        test_share: n_test / n_train; NaN where that is not known, and so the test.
    """
    return _t_test(differences, 1 / max(len(differences), 1) + test_share)


def corrected_welch_test(one: Values, other: Values, test_shares: tuple[float, float]) -> MeanTest:
    """The difference of two means over folds that nothing pairs, by Welch's t-test.

    The variance of each mean is (1 / n + n_test / n_train) s^2 over its n values, as of
    :func:`corrected_t_test`, since its folds share train examples; degrees of freedom are Welch's.

    Args:
        one, other: of one run each; fewer than two, or none that differ, give the mean alone.
        test_shares: n_test / n_train of either.
    """
    mean = float(one.mean() - other.mean()) if len(one) and len(other) else math.nan
    if min(len(one), len(other)) < 2 or any(map(math.isnan, test_shares)):
        return MeanTest(mean, *(math.nan,) * 4)
    variances = [
        (1 / len(values) + share) * float(values.var(ddof=1))
        for values, share in zip((one, other), test_shares, strict=True)
    ]
    total = sum(variances)
    if total <= TIE**2:  # a few values that do not differ say nothing, as of one sample
        if undecided(min(len(one), len(other))):
            return MeanTest(mean, *(math.nan,) * 4)
        same = abs(mean) <= TIE
        return MeanTest(
            mean, mean, mean, 0.0 if same else math.copysign(math.inf, mean), float(same)
        )
    freedom = total**2 / sum(
        own**2 / (len(values) - 1) for own, values in zip(variances, (one, other), strict=True)
    )
    t = mean / math.sqrt(total)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(total)
    p = float(2 * stats.t.sf(abs(t), freedom))
    return MeanTest(mean, mean - half, mean + half, t, p)


def _t_test(values: Values, factor: float) -> MeanTest:
    """A t-test whose mean has ``factor`` times the variance of its values [n].

    A few values that do not differ say nothing of how far others would: the mean alone.
    """
    mean = float(values.mean()) if len(values) else math.nan
    if len(values) < 2 or math.isnan(factor):
        return MeanTest(mean, *(math.nan,) * 4)
    spread = float(values.std(ddof=1))
    if spread <= TIE and undecided(len(values)):
        return MeanTest(mean, *(math.nan,) * 4)
    error = math.sqrt(factor) * (spread if spread > TIE else 0.0)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    same = math.copysign(math.inf, mean) if abs(mean) > TIE else 0.0
    t = mean / error if error > 0 else same
    p = float(2 * stats.t.sf(abs(t), len(values) - 1))
    return MeanTest(mean, mean - half, mean + half, t, p)


def interval(
    values: Values, *, share: bool = False, minimize: bool = False
) -> tuple[float, float, float]:
    """Mean and its 95 % t interval [n]; NaN without values, the ends also for a single one.

    An end beyond what a value can be is moved there, which loses nothing that the mean can be: 0 to
    1 of a share, 0 or more of an error, which is what is to be minimised and nowhere negative.

    Args:
        values: of independent repetitions.
        share: values lie in 0 to 1.
        minimize: less is better.
    """
    if len(values) == 0:
        return math.nan, math.nan, math.nan
    mean = float(values.mean())
    if len(values) == 1:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
    is_error = minimize and float(values.min()) >= 0
    lowest = 0.0 if share or is_error else -math.inf
    return mean, max(lowest, mean - half), min(1.0 if share else math.inf, mean + half)
