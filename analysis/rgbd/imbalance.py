"""Whether the gate's gain over plain fusion grows with the imbalance of the two SNRs.

The paper's hypothesis: plain fusion, which it calls naive, is fine where both streams are equally
informative, and harmful where they are not, so that a gate should gain the more, the more unlike
the streams are. In every fold the gain (the gate's accuracy minus that of plain fusion, of the same
fold and seed) at all test conditions with two finite SNRs is fitted by a line, by least squares,
over the imbalance

    |log2(SNR of RGB / SNR of depth)|

Its slope is what the gain changes by when one of two equal SNRs is halved. The rule was written
before the numbers were known: growth is held where the 95 % interval of the mean slope over folds,
by the corrected resampled t-test, lies above 0; it is refuted where that lies below half a point;
else, and with fewer than six folds, it is undecided.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import pandas as pd

from fusion_search.analysis.conditions import distinct_folds
from fusion_search.analysis.folds.runs import test_share
from fusion_search.analysis.paired import compare, difference_text, ends_text, p_words
from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.rgbd.paper import GATES, PLAIN_FUSION
from fusion_search.analysis.rgbd.variants import Group
from fusion_search.analysis.statistics import corrected_t_test, undecided
from fusion_search.analysis.verdicts import HELD, REFUTED, UNDECIDED

AXES: Final = ("rgb_snr", "depth_snr")
MARGIN: Final = 0.005  # of a share: half a point
RULE: Final = (
    "Rule: the gate's gain grows with the imbalance where the 95 % interval of its mean slope over "
    "folds (corrected resampled t-test) lies above 0; it does not where that lies below half a "
    "point for each halving of one SNR; else, and with fewer than six folds, it is undecided. "
    "Slopes are over the test conditions with two finite SNRs."
)


def compute_gains(group: Group, grid: pd.DataFrame, description: TaskDescription) -> pd.DataFrame:
    """The gain of every gate at every test condition with two finite SNRs, fold by fold.

    Args:
        group: of the search.
        grid: the search's table ``grid``.
        description: of the search.

    Returns:
        A row per gate, imbalance, test condition and fold: ``variant``, ``imbalance`` (octaves),
        the test columns, ``fold`` (as :func:`analysis.conditions.distinct_folds` tells folds apart)
        and ``gain``, the mean over the fold's seeds; empty where there are no two such axes, or no
        pair of networks.
    """
    columns = [axis.test_column for axis in description.axes if axis.name in AXES]
    empty = pd.DataFrame(columns=["variant", "imbalance", *columns, "fold", "gain"])
    if len(columns) != len(AXES):
        return empty
    trials = group.trials.assign(fold=distinct_folds(group.trials))
    own = grid.merge(trials[["trial_id", "variant", "fold", "seed"]], on="trial_id")
    finite = np.isfinite(own[columns].to_numpy(dtype=float)).all(axis=1)
    own = own.loc[finite]
    values = own.groupby(["variant", *columns, "fold", "seed"])[description.metric.name].mean()
    tables = [empty]
    there = set(values.index.get_level_values("variant")) if len(values) else set()
    for gate in (one for one in GATES if {one, PLAIN_FUSION} <= there):
        gains = (values.loc[gate] - values.loc[PLAIN_FUSION]).dropna()
        gains = gains.groupby([*columns, "fold"]).mean().rename("gain").reset_index()
        ratio = gains[columns[0]] / gains[columns[1]]
        tables.append(gains.assign(variant=gate, imbalance=np.abs(np.log2(ratio))))
    found = pd.concat([one for one in tables if len(one)] or [empty], ignore_index=True)
    return found[list(empty.columns)]


def compute_imbalance(group: Group, gains: pd.DataFrame, metric: MetricDescription) -> pd.DataFrame:
    """The slope of every gate's gain over the imbalance, and whether it grows.

    Args:
        group: of the search.
        gains: as :func:`compute_gains` gives them.
        metric: that gains are of.

    Returns:
        A row per gate: ``group``, ``variant``, ``folds``, ``slope`` (the mean over folds, of a
        share for each octave) with the ends ``low`` and ``high`` of its 95 % interval and ``p`` by
        the corrected resampled t-test, ``decision`` of sign flips over folds, ``balanced`` (the
        mean gain that the lines have at equal SNRs), ``verdict`` and ``sentence``.
    """
    share = test_share(group.trials)
    rows = []
    for variant, own in gains.groupby("variant", sort=False):
        lines = {fold: _line(part) for fold, part in own.groupby("fold")}
        fitted = {fold: line for fold, line in lines.items() if line is not None}
        slopes = pd.Series({fold: line[0] for fold, line in fitted.items()}, dtype=float)
        test = corrected_t_test(np.array(list(slopes), dtype=np.float64), share)
        flips = compare(pd.DataFrame([slopes]), unit="fold") if len(slopes) else None
        row: dict[str, Any] = {"group": group.words, "variant": variant, "folds": len(slopes)}
        row |= {"slope": test.mean, "low": test.low, "high": test.high, "p": test.p}
        row["decision"] = None if flips is None else flips["decision"].iloc[0]
        row["balanced"] = float(np.mean([line[1] for line in fitted.values()] or [math.nan]))
        row["verdict"] = _verdict(row)
        rows.append({**row, "sentence": _sentence(row, metric)})
    return pd.DataFrame(rows)


def _line(gains: pd.DataFrame) -> tuple[float, float] | None:
    """Slope and value at 0 of the least-squares line; None where all imbalances are one."""
    if gains["imbalance"].nunique() < 2:
        return None
    slope, start = np.polyfit(gains["imbalance"].astype(float), gains["gain"].astype(float), 1)
    return float(slope), float(start)


def _verdict(row: dict[str, Any]) -> str:
    if undecided(row["folds"]) or math.isnan(row["low"]):
        return UNDECIDED
    if row["low"] > 0:
        return HELD
    return REFUTED if row["high"] < MARGIN else UNDECIDED


def _sentence(row: dict[str, Any], metric: MetricDescription) -> str:
    """The answer, in plain words."""
    said = {
        HELD: "grows with the imbalance of the two SNRs",
        REFUTED: "does not grow with the imbalance of the two SNRs",
        UNDECIDED: "cannot be told to grow with the imbalance of the two SNRs",
    }[row["verdict"]]
    slope = difference_text(row["slope"], metric, "+.2f")
    start = difference_text(row["balanced"], metric)
    told = f"{slope} for each halving of one SNR, from {start} at equal SNRs"
    if not math.isnan(row["low"]):
        ends = ends_text(row["low"], row["high"], metric, "+.2f", slope=True)
        told += f", 95 % interval {ends}, p {p_words(row['p'])}"
    few = undecided(row["folds"], unit="fold")
    counted = few or count_label(row["folds"], "fold")
    what = f"The gain of {row['variant']} over plain fusion"
    return f"{what} {said} ({told}; {counted}), {row['group']}."
