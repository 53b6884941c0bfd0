"""Sign flips against enumeration, SciPy and the level they promise; regions by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from fusion_search.analysis.paired import compare, condition_words, region_lines, region_means
from fusion_search.analysis.records.description import (
    AxisDescription,
    MetricDescription,
    TaskDescription,
)
from fusion_search.analysis.regions import regions
from fusion_search.analysis.statistics import (
    corrected_t_test,
    holm,
    interval,
    seeds_needed,
    sign_flips,
    undecided,
)


def naive_t(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.abs(stats.ttest_1samp(values, 0.0, axis=0).statistic)


def naive(
    differences: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """p of each cell, and by the largest |t|, from all 2^n sign vectors one by one."""
    observed = naive_t(differences)
    alone, jointly, count = 0.0 * observed, 0.0 * observed, 0
    for signs in itertools.product((1.0, -1.0), repeat=len(differences)):
        flipped = naive_t(differences * np.array(signs)[:, None])
        alone += flipped >= observed - 1e-9
        jointly += flipped.max() >= observed - 1e-9
        count += 1
    return alone / count, jointly / count


def naive_holm(p: npt.NDArray[np.float64]) -> list[float]:
    order = sorted(range(len(p)), key=lambda one: p[one])
    adjusted, highest = [0.0] * len(p), 0.0
    for place, one in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - place) * p[one]))
        adjusted[one] = highest
    return adjusted


@pytest.mark.parametrize("seeds", [6, 7, 9])
def test_sign_flips_are_those_of_all_sign_vectors(seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    shared = generator.normal(size=(seeds, 1))
    differences = shared + generator.normal(size=(seeds, 12)) + np.linspace(0, 3, 12)
    p, p_max_t = naive(differences)
    found = sign_flips(differences)
    np.testing.assert_allclose(found.p, p)
    np.testing.assert_allclose(found.p_max_t, p_max_t)
    np.testing.assert_allclose(found.p_holm, naive_holm(p))
    assert (found.p_max_t <= np.minimum(1, 12 * p)).all()
    assert found.flips == f"all {2**seeds} sign flips"


def test_one_cell_is_scipys_permutation_test() -> None:
    values = np.random.default_rng(1).normal(0.4, 1, 8)
    expected = stats.permutation_test(
        (values, np.zeros(8)),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    found = sign_flips(values[:, None])
    assert found.p[0] == found.p_max_t[0] == found.p_holm[0] == pytest.approx(expected)


def test_many_seeds_draw_their_flips_and_agree_with_all_of_them() -> None:
    values = np.random.default_rng(2).normal(0.35, 1, (17, 3))
    found = sign_flips(values)
    p, p_max_t = np.zeros((2, 3))
    signs = 1 - 2 * (np.arange(2**17)[:, None] >> np.arange(17) & 1)
    deviation = np.sqrt((17 - (signs @ values) ** 2 / (values**2).sum(0)) / 16)
    flipped = np.abs(signs @ values) / np.sqrt((values**2).sum(0)) / deviation
    for cell in range(3):
        p[cell] = (flipped[:, cell] >= flipped[0, cell] - 1e-9).mean()
        p_max_t[cell] = (flipped.max(axis=1) >= flipped[0, cell] - 1e-9).mean()
    np.testing.assert_allclose(found.p, p, atol=0.01)
    np.testing.assert_allclose(found.p_max_t, p_max_t, atol=0.01)
    assert found.flips == "32,768 sign flips drawn with seed 0"
    np.testing.assert_array_equal(sign_flips(values).p, found.p)


def test_the_level_is_kept_without_effects_and_effects_are_found() -> None:
    """A false cell anywhere in at most 5 % of grids; correlated, skewed cells, as in a grid."""
    generator = np.random.default_rng(3)
    grids, any_false, found = 600, 0, 0
    for _ in range(grids):
        shared, own = generator.exponential(size=(2, 8, 1)), generator.exponential(size=(2, 8, 100))
        first, second = shared + own
        any_false += bool((sign_flips(first - second).p_max_t <= 0.05).any())
        found += bool((sign_flips(first - second + 5).p_max_t <= 0.05).any())
    # The largest multiple of 2/2^8 that is at most 0.05 is 0.047; three standard errors above.
    assert 0.01 < any_false / grids <= 0.047 + 3 * math.sqrt(0.047 * 0.953 / grids)
    assert found / grids > 0.9


def test_equal_differences_zeros_and_rounding() -> None:
    same = np.full((6, 1), 0.1 + 0.2 - 0.25)
    nothing = np.full((6, 1), 1e-12) * np.array([[1], [-1], [1], [1], [1], [1]])
    found = sign_flips(np.hstack([same, nothing]))
    np.testing.assert_allclose(found.p, [2 / 64, 1])
    np.testing.assert_allclose(found.p_max_t, [2 / 64, 1])


def test_cells_with_few_seeds_are_not_told_and_do_not_hide_others() -> None:
    generator = np.random.default_rng(4)
    whole = generator.normal(3, 1, (6, 4))
    # Three equal differences: t is infinite in a quarter of all flips.
    few = np.vstack([np.full((3, 2), (1.0, 2.0)), np.full((3, 2), np.nan)])
    found = sign_flips(np.hstack([whole, few]))
    np.testing.assert_allclose(found.p_max_t[:4], naive(whole)[1])
    assert np.isnan(found.p_max_t[4:]).all()
    assert found.seeds.tolist() == [6, 6, 6, 6, 3, 3]
    assert found.p[4:].tolist() == [2 / 2**3] * 2
    empty = sign_flips(np.empty((0, 2)))
    assert np.isnan(empty.p).all()
    assert np.isnan(empty.p_holm).all()


def test_how_many_seeds_would_do() -> None:
    for comparisons in (1, 2, 9, 100, 900):
        needed = seeds_needed(comparisons)
        assert 2 / 2**needed <= 0.05 / comparisons < 2 / 2 ** (needed - 1)
    assert (seeds_needed(), seeds_needed(9), seeds_needed(100)) == (6, 9, 12)
    assert undecided(5) == "cannot be decided with 5 seeds; 6 would do"
    assert undecided(1) == "cannot be decided with 1 seed; 6 would do"
    assert undecided(6) == ""
    assert undecided(6, 100) == "cannot be decided with 6 seeds; 12 would do"
    # What the smallest p says: unanimous seeds are told from six on.
    for seeds in range(1, 9):
        told = sign_flips(np.linspace(1, 2, seeds)[:, None])
        assert (told.p[0] <= 0.05) == (not undecided(seeds))
        assert told.p[0] == pytest.approx(2 / 2**seeds)


def test_holm_is_the_naive_one() -> None:
    p = np.random.default_rng(5).uniform(size=40) ** 3
    np.testing.assert_allclose(holm(p), naive_holm(p))


SNRS = (math.inf, 8.0, 4.0, 1.0, 0.5)


def test_regions_by_hand() -> None:
    conditions = np.array(list(itertools.product(SNRS, (16.0, 2.0))))
    found = regions(conditions, [(4.0, 2.0)], ("sound", "picture"))
    named = {
        name: [(float(a), float(b)) for a, b in conditions[cells]]
        for name, (cells,) in found.items()
    }
    assert len(named["grid"]) == 10
    assert named["train condition"] == [(4.0, 2.0)]
    assert named["all noisy"] == [(1.0, 2.0), (0.5, 2.0)]
    # The middle one of an odd number of SNRs counts as clean.
    assert {a for a, _ in named["sound clean"]} == {math.inf, 8.0, 4.0}
    assert {a for a, _ in named["sound noisy"]} == {1.0, 0.5}
    assert {b for _, b in named["picture clean"]} == {16.0}
    assert named["sound alone clean"] == [(math.inf, 2.0), (8.0, 2.0), (4.0, 2.0)]
    assert named["picture alone clean"] == [(1.0, 16.0), (0.5, 16.0)]
    away = regions(conditions, [(3.0, 2.0)], ("sound", "picture"))
    assert set(named) - set(away) == {"train condition"}
    drawn = regions(conditions, [(4.0, 2.0), (4.0, math.nan)], ("sound", "picture"))
    assert list(drawn) == list(away)  # one of the train conditions is no cell


def test_equal_regions_are_one() -> None:
    one_axis = np.array([[math.inf], [1.0], [0.5], [0.25]])
    found = regions(one_axis, [(math.inf,)], ("sound",))
    assert {name: int(cells.sum()) for name, cells in found.items()} == {
        "grid": 4,
        "train condition": 1,
        "all noisy": 2,
        "sound clean": 2,
    }
    few = one_axis[:2]  # trained where the sound is clean, the region is that of the training
    assert list(regions(few, [(math.inf,)], ("sound",))) == ["grid", "train condition", "all noisy"]
    # Of two train conditions it is another region in one of them.
    both = regions(few, [(math.inf,), (1.0,)], ("sound",))
    assert list(both) == ["grid", "train condition", "all noisy", "sound clean"]


SHARE = MetricDescription("accuracy", share=True)
OF = TaskDescription(
    task="made up",
    streams=("a", "b"),
    axes=(AxisDescription("a_snr", "a", SNRS), AxisDescription("b_snr", "b", SNRS)),
    metrics=(SHARE,),
)


def made_up(seeds: int) -> pd.DataFrame:
    """Differences of two axes: 0.2 where the first is clean, nothing elsewhere, and noise."""
    index = pd.MultiIndex.from_product([SNRS, SNRS], names=["test_a_snr", "test_b_snr"])
    noise = np.random.default_rng(6).normal(0, 0.02, (len(index), seeds))
    effect = np.where(index.get_level_values(0) >= 4, 0.2, 0.0)
    return pd.DataFrame(effect[:, None] + noise, index=index)


def test_regions_are_means_and_their_test_is_over_regions() -> None:
    cells = made_up(6)
    (means,) = region_means([cells], [(0.5, 1.0)], OF)
    clean = [snr >= 4 for snr in cells.index.get_level_values("test_a_snr")]
    np.testing.assert_allclose(means.loc["a clean"], cells[clean].mean())
    np.testing.assert_allclose(means.loc["train condition"], cells.loc[(0.5, 1.0)])
    table = compare(means)
    np.testing.assert_allclose(table["p_max_t"], naive(means.to_numpy().T)[1])
    assert table["decision"]["a clean"] == table["decision"]["grid"] == "higher"
    assert table["decision"]["a noisy"] == "not distinguishable"
    assert compare(-means)["decision"]["a clean"] == "lower"
    test = stats.ttest_1samp(means.loc["grid"], 0.0).confidence_interval()
    assert table.loc["grid", ["low", "high"]].tolist() == pytest.approx([test.low, test.high])
    lines = region_lines(table.reset_index(), SHARE)
    assert lines[0].startswith("  grid                  +")
    assert lines[0].endswith(" points, higher (max-T p = 0.031)")
    assert lines[-1] == "  9 regions. Holm: cannot be decided with 6 seeds; 9 would do"
    error = region_lines(table.reset_index(), MetricDescription("error", "minimize"))
    assert "points" not in error[0]
    assert error[0].split()[1] == f"{table['difference']['grid']:+.3g},"
    (means,) = region_means([made_up(9)], [(0.5, 1.0)], OF)
    many = compare(means).reset_index()
    lines = region_lines(many, SHARE)
    assert len(lines) == 9
    assert lines[0].endswith("higher (max-T p = 0.004, Holm p = 0.035)")


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (
            5,
            "25 conditions. max-T: cannot be decided with 5 seeds; 6 would do. "
            "Holm: cannot be decided with 5 seeds; 10 would do",
        ),
        (
            6,
            "25 conditions. max-T: 15 higher, 0 lower. "
            "Holm: cannot be decided with 6 seeds; 10 would do",
        ),
        (12, "25 conditions. max-T: 15 higher, 0 lower. Holm: 15 higher, 0 lower"),
    ],
)
def test_single_conditions_say_what_can_be_told(seeds: int, words: str) -> None:
    table = compare(made_up(seeds))
    assert condition_words(table) == words
    assert (table["p_max_t"].isna()).all() == (seeds < 6)
    if seeds < 6:
        assert region_lines(table.assign(region=""), SHARE) == [
            "  25 regions: cannot be decided with 5 seeds; 6 would do"
        ]


@pytest.mark.parametrize(
    ("values", "share", "minimize", "ends"),
    [
        ([0.99, 0.90], True, False, (0.3732, 1.0)),  # Student's would end at 1.517
        ([0.01, 0.10], True, True, (0.0, 0.6268)),
        ([0.1, 0.9], False, True, (0.0, 5.5825)),  # an error is never negative
        ([-0.1, 0.9], False, True, (-5.9531, 6.7531)),  # a loss may be
        ([0.1, 0.9], False, False, (-4.5825, 5.5825)),
    ],
)
def test_intervals_end_where_what_they_are_of_ends(
    values: list[float], share: bool, minimize: bool, ends: tuple[float, float]
) -> None:
    known = np.array(values)
    _, low, high = interval(known, share=share, minimize=minimize)
    assert (low, high) == pytest.approx(ends, abs=1e-4)
    # Two values: t of one degree of freedom is tan(0.475 pi) = 12.706.
    half = np.tan(0.475 * np.pi) * abs(known[0] - known[1]) / 2
    assert interval(known)[1:] == pytest.approx((known.mean() - half, known.mean() + half))


def test_equal_differences_say_nothing_of_their_spread() -> None:
    test = corrected_t_test(np.array([0.026, 0.026]), 0.1)
    assert test.mean == pytest.approx(0.026)
    assert all(math.isnan(one) for one in (test.low, test.high, test.t, test.p))


def test_what_holm_cannot_decide_has_no_p_by_holm() -> None:
    """Of every cell: beside one with many seeds, six can be enough for two."""
    few = compare(pd.DataFrame([[0.1, 0.2], [0.3, 0.1]]))
    assert few["p_sign_flip"].tolist() == [0.5, 0.5]
    assert few["p_holm"].isna().all()
    assert few["decision_holm"].str.startswith("cannot be decided with 2 seeds; 7").all()
    values = np.linspace(0.1, 0.2, 10)
    mixed = compare(pd.DataFrame([values, [*values[:6], *[np.nan] * 4]]))
    assert mixed["p_holm"].tolist() == [2 * 2 / 2**10, 2 / 2**6]
    assert mixed["decision_holm"].tolist() == ["higher", "higher"]
    assert "Holm p = 0.031" in region_lines(mixed.assign(region=["a", "b"]), SHARE)[1]
    nothing = compare(pd.DataFrame(np.empty((0, 3))))
    assert nothing.empty
