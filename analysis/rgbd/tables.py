"""What every variant reached over folds, beside the paper, and what random folds flatter by."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.folds.comparison import TEST_COLUMNS, VALUE_COLUMNS, compare_folds
from fusion_search.analysis.folds.runs import (
    by_fold,
    fold_measures,
    runs_in_order,
    test_share,
    with_sizes,
)
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.selection import Search
from fusion_search.analysis.rgbd.paper import PLAIN_FUSION, VARIANTS
from fusion_search.analysis.rgbd.variants import RANDOM, Group, groups
from fusion_search.analysis.statistics import corrected_welch_test

_GIVEN: Final = ["group", "data", "fold_by", "measure", "variant", "parameters", "paper"]
COLUMNS: Final = [*_GIVEN, *VALUE_COLUMNS, *TEST_COLUMNS]


def compute_rgbd(search: Search) -> tuple[pd.DataFrame, list[Group]]:
    """The variants of a search beside the paper's numbers.

    Returns:
        A row per group, measure and variant: ``group`` (in words), ``data``, ``fold_by``,
        ``measure`` (a column of ``trials``), ``variant``, ``parameters``, ``paper`` (its accuracy,
        a share) and what :func:`analysis.folds.comparison.compare_folds` says, against plain
        fusion; and the groups.

    Raises:
        AnalysisError: it has no variants of the paper.
    """
    found = groups(search, with_sizes(search))
    metric = search.description.metric
    tables = []
    for group in found:
        for measure in fold_measures(group.trials, search.description):
            if measure.optimistic:
                continue
            values = variant_runs(group, measure.column)
            shares = dict.fromkeys(values.index, test_share(group.trials))
            table = compare_folds(values, PLAIN_FUSION, shares, metric)
            parameters = group.trials.groupby("variant")["parameters"].first()
            given: dict[str, Any] = {"group": group.words, "data": group.data}
            given |= {"fold_by": group.fold_by, "measure": measure.column}
            given |= {"variant": table.index, "parameters": list(parameters.loc[table.index])}
            printed = measure.column.startswith("train_condition_")
            given |= {"paper": [_paper(group, one, printed) for one in table.index]}
            tables.append(pd.DataFrame(given, table.index).join(table))
    return pd.concat(tables, ignore_index=True)[COLUMNS], found


def variant_runs(group: Group, column: str) -> pd.DataFrame:
    """A column of the group's trials, [variant, run], in the order of ``VARIANTS``."""
    return runs_in_order(group.trials, column, VARIANTS)


def _paper(group: Group, name: str, printed: bool) -> float:
    return group.printed.get(name, math.nan) if printed else math.nan


def compute_flattery(found: Sequence[Group], metric: MetricDescription) -> pd.DataFrame:
    """How much higher random folds are than folds by instance, of groups that are else equal.

    The folds of both are other ones, so that nothing is paired: the interval is that of
    :func:`analysis.statistics.corrected_welch_test`.

    Returns:
        A row per pair of groups and variant: ``random``, ``instance`` (the groups' words),
        ``of`` (what both are), ``variant``, ``mean_random``, ``mean_instance``, ``folds`` (the
        fewer), ``difference``,
        ``difference_low`` and ``difference_high``, NaN with fewer than two folds.
    """
    column = f"train_condition_{metric.name}"
    rows = []
    for one, other in itertools.product(found, found):
        same = (one.data, one.rest) == (other.data, other.rest)
        if not same or one.fold_by != RANDOM or other.fold_by == RANDOM:
            continue
        values = [by_fold(variant_runs(group, column), metric) for group in (one, other)]
        for name in (each for each in values[0].index if each in values[1].index):
            parts = [table.loc[name].dropna().to_numpy(dtype=float) for table in values]
            shares = (test_share(one.trials), test_share(other.trials))
            test = corrected_welch_test(parts[0], parts[1], shares)
            means = [float(part.mean()) if len(part) else math.nan for part in parts]
            rows.append(
                {
                    **{"random": one.words, "instance": other.words},
                    **{"of": f"{one.data}, {one.rest}", "variant": name},
                    **{"mean_random": means[0], "mean_instance": means[1]},
                    **{"folds": min(map(len, parts)), "difference": test.mean},
                    **{"difference_low": test.low, "difference_high": test.high},
                }
            )
    return pd.DataFrame(rows)
