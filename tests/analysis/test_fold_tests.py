"""Tests over folds against SciPy, a worked example, and the level that they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fusion_search.analysis.statistics import corrected_t_test, paired_t_test, undecided


def test_the_paired_t_test_is_scipys() -> None:
    one, other = np.random.default_rng(0).normal(0.1, 1, (2, 10))
    found = paired_t_test(one - other)
    expected = stats.ttest_rel(one, other)
    assert (found.t, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    ends = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert found.mean == pytest.approx(np.mean(one) - np.mean(other))


def test_the_corrected_test_by_hand() -> None:
    # Mean 2.5, variance 5/3; (1/4 + 1/4) 5/3 = 5/6, t = 2.5 / sqrt(5/6) = 2.7386, and the 97.5 %
    # quantile of t with three degrees of freedom is 3.1824.
    found = corrected_t_test(np.array([1.0, 2.0, 3.0, 4.0]), 0.25)
    assert found.t == pytest.approx(2.7386, abs=1e-4)
    assert found.high - 2.5 == pytest.approx(3.1824 * math.sqrt(5 / 6), abs=1e-4)
    assert 2.5 - found.low == pytest.approx(found.high - 2.5)
    # The distribution function of t with three degrees of freedom has a closed form.
    x = found.t / math.sqrt(3)
    assert found.p == pytest.approx(1 - 2 / math.pi * (x / (1 + x * x) + math.atan(x)))


def test_ten_by_ten_folds_as_bouckaert_and_frank_have_it() -> None:
    # r = k = 10, n_test / n_train = 1/9: t = mean / sqrt((1/100 + 1/9) variance), 99 degrees.
    values = np.random.default_rng(1).normal(0.3, 1, 100)
    t = values.mean() / math.sqrt((0.01 + 1 / 9) * values.var(ddof=1))
    found = corrected_t_test(values, 1 / 9)
    assert (found.t, found.p) == pytest.approx((t, 2 * stats.t.sf(abs(t), 99)))


def test_the_corrected_test_keeps_its_level_where_train_examples_are_shared() -> None:
    """Differences that are correlated as it assumes, none of them an effect."""
    share, times = 1 / 7, 1500
    correlation = share / (1 + share)
    generator = np.random.default_rng(2)
    common, own = generator.normal(size=(times, 1)), generator.normal(size=(times, 10))
    values = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own
    corrected = np.mean([corrected_t_test(one, share).p <= 0.05 for one in values])
    paired = np.mean([paired_t_test(one).p <= 0.05 for one in values])
    error = math.sqrt(0.05 * 0.95 / times)
    assert corrected == pytest.approx(0.05, abs=3 * error)
    assert paired > 0.1  # what the correction is for


def test_what_tells_nothing_or_everything() -> None:
    assert math.isnan(paired_t_test(np.empty(0)).mean)
    one = paired_t_test(np.array([0.5]))
    assert one.mean == 0.5
    assert math.isnan(one.p)
    unknown = corrected_t_test(np.array([0.5, 0.6]), math.nan)
    assert unknown.mean == pytest.approx(0.55)
    assert math.isnan(unknown.low)
    same = paired_t_test(np.full(6, 0.1 + 0.2))
    assert (same.low, same.high, same.p) == pytest.approx((0.3, 0.3, 0.0))
    assert paired_t_test(np.zeros(6)).p == 1
    few = paired_t_test(np.full(5, 0.1 + 0.2))
    assert few.mean == pytest.approx(0.3)
    assert math.isnan(few.low)  # five that do not differ say nothing of a sixth
    assert undecided(5, unit="fold") == "cannot be decided with 5 folds; 6 would do"
