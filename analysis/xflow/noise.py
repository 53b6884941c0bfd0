"""Whether residual connections alone are still best under noise, which the paper did not ask.

The rule was written before the numbers were known. Regions are sets of test conditions, each judged
by the mean over its conditions: images alone noisy, coefficients alone noisy, both noisy, at
whatever finite SNRs were tested. Best takes the bounds of claims (a) and (b): residuals only minus
baseline and minus crosses only are above 0, minus both kinds above -2 points. That is three
differences in each of three regions, epochs chosen on validation persons, every fold the mean over
its seeds.

A difference is held where it lies above its bound, and the corrected resampled t-test over folds
tells it from that bound with p <= 0.05 after Holm over all differences; otherwise it is refuted
where the same tells it to lie below the bound + 2 points; else, and always with fewer than six
folds, it is undecided. The answer is held when all differences are, not held when one is refuted,
else undecided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd

from fusion_search.analysis.folds.runs import by_fold, test_share
from fusion_search.analysis.folds.text import (
    DASH,
    difference_words,
    markdown_table,
    p_text,
    value_text,
)
from fusion_search.analysis.paired import compare
from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.statistics import (
    SIGNIFICANCE,
    corrected_t_test,
    holm,
    interval,
    seeds_needed,
    undecided,
)
from fusion_search.analysis.verdicts import HELD, REFUTED, UNDECIDED, whole
from fusion_search.analysis.xflow.claims import MARGIN, Part
from fusion_search.analysis.xflow.paper import BASELINE, BOTH, CROSS, RESIDUAL
from fusion_search.analysis.xflow.tables import variant_runs
from fusion_search.analysis.xflow.variants import Group

CLEAN: Final = "no noise"
REGIONS: Final[Mapping[str, Mapping[str, bool]]] = {
    "images alone noisy": {"visual_snr": True, "audio_snr": False},
    "coefficients alone noisy": {"visual_snr": False, "audio_snr": True},
    "both noisy": {"visual_snr": True, "audio_snr": True},
}
"""By axis, whether its SNR is finite; where not, it is infinite. Absent inputs are in none."""

_AXES: Final = {"visual_snr", "audio_snr"}
_ENOUGH: Final = seeds_needed()  # folds
PARTS: Final = (Part(RESIDUAL, BASELINE), Part(RESIDUAL, CROSS), Part(RESIDUAL, BOTH, -MARGIN))
NOT_HELD: Final = "not held"
NOISE_RULE: Final = (
    "Rule of best under noise: in each region, by the mean over its conditions, residuals only "
    f"minus baseline and minus crosses only lie above 0, minus both above {-100 * MARGIN:g} "
    "points. A difference is held where the corrected resampled t-test over folds tells that it "
    "lies above its bound (p <= 0.05 after Holm over all differences), else refuted where the same "
    f"tells that it lies below the bound + {100 * MARGIN:g} points, else undecided; with fewer "
    "than six folds it is undecided. The answer is held when all are, not held when one is refuted."
)


def with_regions(group: Group, grid: pd.DataFrame, description: TaskDescription) -> Group:
    """The group, its trials with a column per region: the mean over its conditions.

    NaN where a trial lacks one of the conditions that others of the group were tested at.

    Args:
        group: of the search.
        grid: the search's table ``grid``.
        description: of the search.
    """
    own = grid[grid["trial_id"].isin(list(group.trials["trial_id"]))]
    keys = [*description.test_columns, "trial_id"]
    cells = own.groupby(keys)[description.metric.name].mean().unstack("trial_id")
    snrs = cells.index.to_frame(index=False)
    means = {}
    for region, noisy in {CLEAN: dict.fromkeys(_AXES, False), **REGIONS}.items():
        there = np.full(len(snrs), {one.name for one in description.axes} == _AXES)
        for axis in description.axes:
            values = snrs[axis.test_column].to_numpy(dtype=float)
            there &= np.isfinite(values) if noisy.get(axis.name) else np.isposinf(values)
        mean = cells[there].mean(skipna=False)
        means[region] = group.trials["trial_id"].map(mean).astype(float)
    return replace(group, trials=group.trials.assign(**means))


def compute_noise(group: Group, metric: MetricDescription) -> pd.DataFrame:
    """Every difference of the rule, from one group of trials.

    Args:
        group: as :func:`with_regions` gives it.
        metric: that the values are of.

    Returns:
        A row per region and part: ``group``, ``region``, ``one``, ``other``, ``bound``, ``folds``
        (that both have), ``difference``, ``difference_low``, ``difference_high`` (95 % interval of
        the corrected resampled t-test), ``p_holm`` (of that test against the bound, by Holm over
        the rows) and ``p_holm_below`` (against the bound + 2 points), ``p_max_t`` (of sign flips
        over folds against the bound, over the rows together), ``part`` (its verdict), ``missing``
        (which of the two is not there), ``verdict`` (the answer's) and ``sentence``. p-values are
        NaN with fewer than six folds.
    """
    share = test_share(group.trials)
    rows, differences = [], []
    for region in REGIONS:
        values = by_fold(variant_runs(group, region), metric)
        for part in PARTS:
            both = values.reindex([part.one, part.other]).dropna(axis=1)
            differences.append(both.iloc[0] - both.iloc[1])
            test = corrected_t_test(differences[-1].to_numpy(dtype=float), share)
            row: dict[str, Any] = {
                "group": group.words,
                "region": region,
                "one": part.one,
                "other": part.other,
            }
            row |= {"bound": part.bound, "folds": both.shape[1], "difference": test.mean}
            row |= {"difference_low": test.low, "difference_high": test.high}
            missing = [one for one in (part.one, part.other) if one not in values.index]
            rows.append({**row, "missing": ", ".join(missing)})
    table = pd.DataFrame(rows)
    over = [one - bound for one, bound in zip(differences, table["bound"], strict=True)]
    table["p_holm"] = _holm(over, share)
    table["p_holm_below"] = _holm([one - MARGIN for one in over], share)
    table["p_max_t"] = compare(pd.DataFrame(over, index=table.index), unit="fold")["p_max_t"]
    table["part"] = [_verdict(row) for row in rows_of(table)]
    said = _answer(list(table["part"]))
    return table.assign(verdict=said, sentence=_sentence(group, table, said, metric))


def _holm(differences: Sequence[pd.Series], share: float) -> pd.Series:
    """p of the corrected resampled t-test against 0 of each, by Holm over all that can be told."""
    p = [
        math.nan if undecided(len(one)) else corrected_t_test(one.to_numpy(dtype=float), share).p
        for one in differences
    ]
    return pd.Series(holm(np.array(p)))


def _verdict(row: Mapping[str, Any]) -> str:
    if row["p_holm"] <= SIGNIFICANCE and row["difference"] > row["bound"]:
        return HELD
    below = row["difference"] < row["bound"] + MARGIN
    return REFUTED if row["p_holm_below"] <= SIGNIFICANCE and below else UNDECIDED


def _answer(verdicts: Sequence[str]) -> str:
    said = whole(verdicts)
    return NOT_HELD if said == REFUTED else said


def _sentence(group: Group, table: pd.DataFrame, said: str, metric: MetricDescription) -> str:
    """The answer, with what it rests on, or what is missing for one."""
    why = {HELD: _held, NOT_HELD: _refuted, UNDECIDED: _missing}[said](table, metric)
    return f"Residual connections alone are still best under noise, {group.words}: {said} ({why})."


def _held(table: pd.DataFrame, _metric: MetricDescription) -> str:
    lie = f"all {len(table)} differences lie above their bounds"
    if len(table) == 1:
        lie = "the one difference lies above its bound"
    return f"{lie}, {_folds(table)}"


def _refuted(table: pd.DataFrame, metric: MetricDescription) -> str:
    told = [
        f"{row['region']}, {row['one']} minus {row['other']}: {difference_words(row, metric)}"
        for row in rows_of(table[table["part"] == REFUTED])
    ]
    return f"{'; '.join(told)}; {_folds(table)}"


def _folds(table: pd.DataFrame) -> str:
    return count_label(int(table["folds"].min()), "fold")


def _missing(table: pd.DataFrame, _metric: MetricDescription) -> str:
    absent = dict.fromkeys(name for one in table["missing"] for name in one.split(", ") if name)
    if absent:
        return f"not there: {', '.join(absent)}"
    fewest = min(rows_of(table), key=lambda row: int(row["folds"]))
    folds = int(fewest["folds"])
    if undecided(folds):
        pair = f"{fewest['one']} and {fewest['other']} were both tested"
        return f"{fewest['region']}, {pair} in {count_label(folds, 'fold')}; {_ENOUGH} would do"
    if table["difference_low"].isna().any():
        return "how many examples the trials were trained on is not known"
    open_ones = int((table["part"] == UNDECIDED).sum())
    return (
        f"{open_ones} of {len(table)} differences over {_folds(table)} are too near to their "
        "bounds to be told; more seeds in every fold would tell smaller ones"
    )


def noise_sections(group: Group, table: pd.DataFrame, metric: MetricDescription) -> list[str]:
    """What each network reaches in each region, the differences and the answer, as Markdown.

    Args:
        group: as :func:`with_regions` gives it.
        table: of this group, as :func:`compute_noise` gives it.
        metric: that the values are of.
    """
    means = {one: by_fold(variant_runs(group, one), metric) for one in (CLEAN, *REGIONS)}
    cells = [
        [name, *(_mean(values.loc[name], metric) for values in means.values())]
        for name in means[CLEAN].index
    ]
    told = [
        [
            *(row["region"], row["other"], str(row["folds"]), difference_words(row, metric)),
            *(p_text(row["p_holm"]), p_text(row["p_holm_below"]), p_text(row["p_max_t"])),
            row["part"],
        ]
        for row in rows_of(table)
    ]
    header = [
        "region",
        f"{RESIDUAL} minus",
        "folds",
        "difference",
        "p Holm, held",
        "p Holm, refuted",
        "p sign flips",
        "decision",
    ]
    return [
        markdown_table(["network", *means], cells),
        markdown_table(header, told),
        str(table["sentence"].iloc[0]),
    ]


def _mean(values: pd.Series, metric: MetricDescription) -> str:
    """Over the folds that are there."""
    mean, low, high = interval(values.dropna().to_numpy(dtype=float), share=metric.share)
    return (
        DASH if math.isnan(mean) else value_text({"mean": mean, "low": low, "high": high}, metric)
    )
