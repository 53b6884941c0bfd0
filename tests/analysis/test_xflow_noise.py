"""Whether residuals alone are best under noise: the rule, and what is missing for an answer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from xflow_records import TESTED, TRAINED, xflow_description

from fusion_search.analysis.statistics import holm
from fusion_search.analysis.verdicts import HELD, UNDECIDED
from fusion_search.analysis.xflow.noise import (
    CLEAN,
    NOT_HELD,
    PARTS,
    REGIONS,
    compute_noise,
    with_regions,
)
from fusion_search.analysis.xflow.paper import BASELINE, BOTH, CROSS, RESIDUAL
from fusion_search.analysis.xflow.variants import Group

METRIC = xflow_description().metric
IMAGES, COEFFICIENTS, ALL = REGIONS
LEVELS = {BASELINE: 0.4, CROSS: 0.45, BOTH: 0.6, RESIDUAL: 0.6}

Accuracy = Callable[[str, str, int], float]
"""Of a variant in a region and fold."""


def level(variant: str, region: str, fold: int) -> float:
    """What differs by the fold, a little also between variants."""
    return LEVELS[variant] + 0.02 * fold + 0.003 * ((fold * len(variant) + len(region)) % 3)


def judged(
    folds: int, accuracy: Accuracy = level, variants: Sequence[str] = tuple(LEVELS)
) -> pd.DataFrame:
    rows = [
        {"trial_id": f"{name}{fold}", "variant": name, "fold": fold, "seed": 0}
        | {CLEAN: 0.8, **{region: accuracy(name, region, fold) for region in REGIONS}}
        for name, fold in itertools.product(variants, range(folds))
    ]
    trials = pd.DataFrame(rows).assign(varied_seeds="{}", n_test=TESTED, n_train=TRAINED)
    return compute_noise(group_of(trials), METRIC)


def group_of(trials: pd.DataFrame) -> Group:
    return Group("AVletters", "CNN x MLP", "CNN x MLP on AVletters", None, trials)


def differences(region: str, other: str, folds: int) -> np.ndarray:
    return np.array(
        [level(RESIDUAL, region, fold) - level(other, region, fold) for fold in range(folds)]
    )


def test_held_where_all_differences_lie_above_their_bounds() -> None:
    table = judged(7)
    assert list(table["part"]) == [HELD] * 9
    assert table["sentence"].unique().tolist() == [
        "Residual connections alone are still best under noise, CNN x MLP on AVletters: held (all "
        "9 differences lie above their bounds, 7 folds)."
    ]
    p = []
    for region, part in itertools.product(REGIONS, PARTS):
        own = differences(region, part.other, 7) - part.bound
        error = own.std(ddof=1) * np.sqrt(1 / 7 + TESTED / TRAINED)
        p.append(2 * stats.t.sf(abs(own.mean()) / error, 6))
    assert list(table["p_holm"]) == pytest.approx(list(holm(np.array(p))))
    # Of all 2^7 sign vectors only the observed one and its opposite reach so far.
    assert table["p_max_t"].max() == pytest.approx(2 / 2**7)


@pytest.mark.parametrize("folds", [1, 2, 3, 5])
@pytest.mark.parametrize("better", [0.3, -0.3])
def test_few_folds_decide_nothing_however_large_the_difference(folds: int, better: float) -> None:
    def accuracy(variant: str, region: str, fold: int) -> float:
        return 0.5 + better * (variant == RESIDUAL) + 0.01 * fold

    table = judged(folds, accuracy)
    assert set(table["part"]) == {UNDECIDED}
    assert table[["p_holm", "p_holm_below", "p_max_t"]].isna().all(axis=None)
    counted = "1 fold" if folds == 1 else f"{folds} folds"
    assert table["sentence"][0].endswith(
        f": undecided ({IMAGES}, {RESIDUAL} and {BASELINE} were both tested in {counted}; 6 would "
        "do)."
    )


def test_one_region_in_which_another_is_better_refutes() -> None:
    def accuracy(variant: str, region: str, fold: int) -> float:
        return level(variant, region, fold) + 0.1 * (variant == BOTH and region == ALL)

    table = judged(8, accuracy).set_index(["region", "other"])
    assert table.loc[(ALL, BOTH), "part"] == "refuted"
    assert (table["part"] == HELD).sum() == 8
    assert set(table["verdict"]) == {NOT_HELD}
    assert f": not held ({ALL}, {RESIDUAL} minus {BOTH}: -10." in table["sentence"].iloc[0]
    assert "; 8 folds)." in table["sentence"].iloc[0]


def test_all_alike_is_not_best_but_as_good_as_both() -> None:
    table = judged(10, lambda variant, region, fold: 0.1 + 0.01 * fold)
    by_other = table.groupby("other")["part"].unique()
    assert list(by_other[BOTH]) == [HELD]
    assert list(by_other[BASELINE]) == ["refuted"]


def test_what_cannot_be_told_says_of_how_many_differences() -> None:
    def accuracy(variant: str, region: str, fold: int) -> float:
        wide = 0.1 * (-1) ** fold * (variant == RESIDUAL and region == COEFFICIENTS)
        return level(variant, region, fold) + wide

    table = judged(10, accuracy)
    open_ones = int((table["part"] == UNDECIDED).sum())
    assert 0 < open_ones < 4
    assert (
        f": undecided ({open_ones} of 9 differences over 10 folds are too near"
        in (table["sentence"][0])
    )


def test_a_variant_or_a_region_that_is_not_there_is_named() -> None:
    table = judged(6, variants=[BASELINE, RESIDUAL])
    assert table["sentence"][0].endswith(f"undecided (not there: {CROSS}, {BOTH}).")
    table = judged(6, variants=[BASELINE])
    assert table["sentence"][0].endswith(f"undecided (not there: {RESIDUAL}, {CROSS}, {BOTH}).")


def test_regions_are_of_finite_signals_without_what_is_absent() -> None:
    snrs = (np.inf, 4.0, 2.0, -np.inf)
    grid = pd.DataFrame(
        {"trial_id": "one", "test_audio_snr": audio, "test_visual_snr": visual}
        for audio, visual in itertools.product(snrs, snrs)
    ).assign(accuracy=np.arange(16.0))
    trials = pd.DataFrame({"trial_id": ["one", "other", "without"]})
    found = with_regions(group_of(trials.iloc[:1]), grid, xflow_description()).trials
    expected = {CLEAN: 0, IMAGES: 1.5, COEFFICIENTS: 6, ALL: 7.5}
    assert found[[*expected]].iloc[0].to_dict() == expected
    # A condition at which another was tested is missed.
    other = grid.assign(trial_id="other", test_audio_snr=grid["test_audio_snr"].replace(4.0, 3.0))
    found = with_regions(group_of(trials), pd.concat([grid, other]), xflow_description()).trials
    assert found[CLEAN].tolist()[:2] == [0, 0]
    assert found[ALL].isna().all()
    assert found.iloc[2][[*expected]].isna().all()
