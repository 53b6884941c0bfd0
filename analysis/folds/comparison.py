"""Networks against one of them, over the folds in which both were trained.

Four tests of one difference, each with its own assumption:

- paired t-test over folds: the differences of folds are independent and normal. They are not
  independent, since folds share most of their train examples; it is here since papers report it.
- corrected resampled t-test over folds: they are normal, and any two are correlated by n_test /
  (n_test + n_train), as the shared train examples let expect.
- corrected repeated k-fold test over folds and seeds: the same of every single run; two runs of one
  fold count as no more alike than runs of two folds.
- sign-flip test over folds: a fold's difference might as well have had the opposite sign,
  independently of the other folds; nothing is assumed of its size.

The second gives the interval and decides; the others stand beside it. Where two networks were
trained in other folds (their data were split otherwise) nothing is paired, and the difference of
their two means is told by Welch's t-test, with variances that are corrected as those of the second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.conditions import at_train, folds_apart, train_conditions
from fusion_search.analysis.folds.runs import (
    FoldMeasure,
    by_fold,
    chosen_name,
    counted,
    fold_measures,
    labelled,
    runs,
    test_share,
    with_sizes,
)
from fusion_search.analysis.paired import HIGHER, LOWER, NOT_TOLD, compare
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import Search
from fusion_search.analysis.statistics import (
    SIGNIFICANCE,
    corrected_t_test,
    corrected_welch_test,
    holm,
    interval,
    paired_t_test,
    undecided,
)

BASELINE: Final = "baseline"
NOTHING: Final = "nothing to compare with"
NO_SIZES: Final = "not tested, sizes are not known"
VALUE_COLUMNS: Final = ["folds", "runs", "mean", "low", "high"]
TEST_COLUMNS: Final = [
    *("paired_folds", "paired_runs", "difference", "difference_low", "difference_high"),
    *("p_paired_t", "p_corrected_t", "p_corrected_holm", "p_repeated_t"),
    *("p_sign_flip", "p_max_t", "p_holm"),
    *("decision", "unpaired", "test_share"),
]
_NONE_APART: Final[Mapping[str, str]] = MappingProxyType({})


def compare_folds(
    values: pd.DataFrame,
    baseline: str,
    shares: Mapping[str, float],
    metric: MetricDescription,
    *,
    optimistic: bool = False,
    apart: Mapping[str, str] = _NONE_APART,
) -> pd.DataFrame:
    """What every network reached over folds, and its difference to one of them.

    Args:
        values: [label, run], as :func:`analysis.folds.runs.runs` gives them.
        baseline: the label that the others are compared with.
        shares: n_test / n_train of every label.
        metric: that the values are of.
        optimistic: of a fold's runs the best counts, not the mean.
        apart: of labels that share no fold with the baseline, why, in words.

    Returns:
        A row per label: ``folds`` and ``runs`` (how many), ``mean`` over folds and the ends ``low``
        and ``high`` of its 95 % t interval; of all but the baseline ``paired_folds`` and
        ``paired_runs`` (that both have), ``difference`` (mean over these folds) with the ends of
        its 95 % interval by the corrected resampled t-test, the two-sided p-values of the tests of
        this module, uncorrected for how many networks are compared, but ``p_corrected_holm`` of
        the corrected resampled t-test, and ``p_max_t`` and ``p_holm`` of the sign flips;
        ``decision`` by the corrected resampled t-test, as the interval is: higher, lower, either
        of them "not after Holm", not distinguishable, or why it cannot be decided; ``unpaired``,
        why nothing is paired. Then ``paired_folds`` is 0, the difference is that of the two means,
        interval and ``p_corrected_t`` are of :func:`analysis.statistics.corrected_welch_test`, and
        the other tests are not there.
    """
    folds = by_fold(values, metric, optimistic=optimistic)
    if optimistic:  # single runs were never tested against each other
        differences = by_fold_differences = _against(folds, baseline)
    else:
        differences = _against(values, baseline)
        by_fold_differences = by_fold(differences, metric)
    others = [one for one in values.index if one != baseline]
    flips = compare(by_fold_differences.loc[others], unit="fold")
    rows = []
    for label in values.index:
        own = folds.loc[label].dropna().to_numpy(dtype=float)
        mean, low, high = interval(own, share=metric.share, minimize=metric.sign < 0)
        row = {**counted(values.loc[label]), "mean": mean, "low": low, "high": high}
        if label != baseline:
            fold_differences = by_fold_differences.loc[label].dropna().to_numpy(dtype=float)
            run_differences = differences.loc[label].dropna().to_numpy(dtype=float)
            corrected = corrected_t_test(fold_differences, shares[label])
            if label in apart and baseline in folds.index:
                other = folds.loc[baseline].dropna().to_numpy(dtype=float)
                corrected = corrected_welch_test(own, other, (shares[label], shares[baseline]))
            row |= {
                "unpaired": apart.get(label),
                "paired_folds": len(fold_differences),
                "paired_runs": len(run_differences),
                "difference": corrected.mean,
                # An end beyond what a difference of shares can be is moved there.
                "difference_low": max(corrected.low, -1.0) if metric.share else corrected.low,
                "difference_high": min(corrected.high, 1.0) if metric.share else corrected.high,
                "p_paired_t": paired_t_test(fold_differences).p,
                "p_corrected_t": corrected.p,
                "p_repeated_t": corrected_t_test(run_differences, shares[label]).p,
                **flips.loc[label, ["p_sign_flip", "p_max_t", "p_holm"]],
            }
        rows.append({**row, "test_share": shares[label]})
    table = pd.DataFrame(rows, values.index, columns=[*VALUE_COLUMNS, *TEST_COLUMNS])
    table["p_corrected_holm"] = holm(table["p_corrected_t"].to_numpy(dtype=float))
    table["decision"] = [
        None if label == baseline else _decision(row, table["folds"].get(baseline, 0))
        for label, row in zip(table.index, rows_of(table), strict=True)
    ]
    return table


def _decision(row: Mapping[str, Any], baseline_folds: int) -> str:
    """By the test whose interval stands beside it."""
    folds = int(row["paired_folds"])
    if isinstance(row["unpaired"], str):
        folds = min(row["folds"], baseline_folds)
    if not folds:
        return NOTHING
    if few := undecided(folds, unit="fold"):
        return few
    if math.isnan(row["p_corrected_t"]):
        return NO_SIZES
    if row["p_corrected_t"] > SIGNIFICANCE:
        return NOT_TOLD
    way = HIGHER if row["difference"] > 0 else LOWER
    return way if row["p_corrected_holm"] <= SIGNIFICANCE else f"{way}, not after Holm"


def _against(values: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Differences to one row; NaN where either is, and everywhere without that row."""
    return values.sub(values.reindex([baseline]).iloc[0], axis=1)


def compute_folds(
    search: Search, baseline: str | None = None
) -> tuple[pd.DataFrame, list[FoldMeasure]]:
    """Every network of a search over its folds, against one of them.

    Args:
        search: its finished trials are used.
        baseline: the network that the others are compared with, by number or the beginning of its
            name; the plainest by default.

    Returns:
        A row per measure, train condition and network: ``measure`` (a column of ``trials``), the
        train columns, ``number`` and ``network`` (its name), ``baseline`` (the name of the other),
        ``parameters`` and the columns of :func:`compare_folds`; and the measures.

    Raises:
        AnalysisError: no network is named so.
    """
    description = search.description
    trials = with_sizes(search)
    titles = list(labelled(trials, description))
    against = chosen_name(titles, baseline or "1", "--baseline")
    measures = fold_measures(trials, description)
    tables = []
    for measure in measures:
        for condition in train_conditions(trials, description):
            own = labelled(at_train(trials, condition, description), description)
            part = pd.concat(own.values())
            labels = [label for label, one in own.items() for _ in range(len(one))]
            table = compare_folds(
                runs(part, labels, measure.column),
                against,
                {label: test_share(one) for label, one in own.items()},
                description.metric,
                optimistic=measure.optimistic,
                apart=_apart(own, against),
            )
            given: dict[str, Any] = {"measure": measure.column}
            given |= dict(zip(description.train_columns, condition, strict=True))
            given |= {"number": [titles.index(one) + 1 for one in table.index]}
            given |= {"network": table.index, BASELINE: against}
            given |= {"parameters": [_parameters(own[label]) for label in table.index]}
            tables.append(pd.DataFrame(given, table.index).join(table))
    return pd.concat(tables, ignore_index=True), measures


def _apart(trials: Mapping[str, pd.DataFrame], baseline: str) -> dict[str, str]:
    """Networks that were trained in other folds than one of them, and in which."""
    if baseline not in trials:
        return {}
    words = {label: folds_apart(own, trials[baseline]) for label, own in trials.items()}
    return {label: one for label, one in words.items() if one}


def _parameters(trials: pd.DataFrame) -> int | None:
    """Of a network's trials, which agree."""
    found = trials["parameters"].dropna()
    return int(found.iloc[0]) if len(found) else None
