"""What the paper's Tables III to VI hold, from a search's records: one table, a row a variant."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.folds.comparison import TEST_COLUMNS, VALUE_COLUMNS, compare_folds
from fusion_search.analysis.folds.runs import (
    FoldMeasure,
    by_fold,
    fold_measures,
    runs_in_order,
    test_share,
    with_sizes,
)
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import AnalysisError, Search
from fusion_search.analysis.records.words.networks import placement_words, setting_words
from fusion_search.analysis.xflow.paper import BASELINE, VARIANTS, XFLOW, Printed
from fusion_search.analysis.xflow.variants import Group, groups

CHOSEN: Final = "XFlow, variant chosen on validation persons"
BEST: Final = "XFlow, best variant on the test persons"

_GIVEN: Final = [
    *("group", "data", "network", "measure", "optimistic", "variant", "placement", "chosen"),
]
_PRINTED: Final = ["parameters", "paper_parameters", "paper", "paper_p"]
COLUMNS: Final = [*_GIVEN, *_PRINTED, *VALUE_COLUMNS, *TEST_COLUMNS]


def compute_xflow(search: Search) -> tuple[pd.DataFrame, list[Group]]:
    """The variants of XFlow in a search beside the paper's numbers.

    Returns:
        A row per group, measure and variant: ``group`` (in words), ``data`` and ``network`` (as the
        paper calls them), ``measure`` (a column of ``trials``: at the train condition, with the
        epoch chosen on validation persons; optimistic, with the best test epoch), ``optimistic``,
        ``variant`` (of the paper, widened, ``CHOSEN`` of the first measure and ``BEST`` of the
        other), ``placement`` (a variant's network in the words of other figures), ``chosen``
        (which the last two are: of every fold, or of all), ``parameters``, ``paper_parameters``,
        ``paper`` (its accuracy, a share), ``paper_p`` (of XFlow against its baseline) and what
        :func:`analysis.folds.comparison.compare_folds` says, against the baseline; and the groups.

    Raises:
        AnalysisError: it has no variants of the paper that were tested at their train condition.
    """
    found = groups(search, with_sizes(search))
    wanted = f"train_condition_{search.description.metric.name}"
    rows = []
    for group in found:
        for measure in fold_measures(group.trials, search.description):
            if measure.column == wanted or measure.optimistic:
                rows.append(_group_rows(group, measure, search.description.metric))
    if not rows:
        raise AnalysisError(
            f"no trial of search {search.name} was tested at its train condition, which the "
            "paper's tables are of; let the grid have it, or see `draw folds` for "
            "the means over the grid"
        )
    return pd.concat(rows, ignore_index=True)[COLUMNS], found


def variant_runs(group: Group, column: str) -> pd.DataFrame:
    """A column of the group's trials, [variant, run], in the order of ``VARIANTS``."""
    return runs_in_order(group.trials, column, VARIANTS)


def chosen_on_validation(group: Group, metric: MetricDescription) -> pd.Series:
    """The variant of XFlow that validation persons choose, by fold; of equal ones the first.

    Of folds in which every variant of the group has finished, by the mean over the fold's runs.
    """
    seen = variant_runs(group, f"validation_{metric.name}")
    seen = by_fold(seen.loc[seen.index.isin(XFLOW)], metric).dropna(axis=1)
    return (metric.sign * seen).idxmax() if seen.size else pd.Series(dtype=object)


def with_chosen(group: Group, column: str, metric: MetricDescription) -> pd.DataFrame:
    """The values of ``variant_runs`` and those of ``CHOSEN``, which is each fold's own variant."""
    values = variant_runs(group, column)
    chosen = chosen_on_validation(group, metric)
    if chosen.empty:
        return values
    folds = values.columns.get_level_values("fold")
    own = [
        values.loc[chosen[fold]].iloc[place] if fold in chosen.index else math.nan
        for place, fold in enumerate(folds)
    ]
    return pd.concat([values, pd.DataFrame([own], [CHOSEN], values.columns)])


def _with_best(values: pd.DataFrame, metric: MetricDescription) -> tuple[pd.DataFrame, str]:
    """And those of ``BEST``: the variant of XFlow with the best mean over folds that all have."""
    folds = by_fold(values.loc[values.index.isin(XFLOW)], metric, optimistic=True).dropna(axis=1)
    if not folds.size:
        return values, ""
    best = str((metric.sign * folds.mean(axis=1)).idxmax())
    return pd.concat([values, values.loc[[best]].rename({best: BEST})]), best


def _group_rows(group: Group, measure: FoldMeasure, metric: MetricDescription) -> pd.DataFrame:
    if measure.optimistic:
        values, which = _with_best(variant_runs(group, measure.column), metric)
    else:
        values = with_chosen(group, measure.column, metric)
        counts = chosen_on_validation(group, metric).value_counts()
        which = ", ".join(f"{name} in {count}" for name, count in counts.items())
    shares = dict.fromkeys(values.index, test_share(group.trials))
    table = compare_folds(values, BASELINE, shares, metric, optimistic=measure.optimistic)
    first = group.trials.groupby("variant").first()
    parameters = first["parameters"]
    placements = {str(one["variant"]): _title(one) for one in rows_of(first.reset_index())}
    given: dict[str, Any] = {"group": group.words, "data": group.data, "network": group.network}
    given |= {"measure": measure.column, "optimistic": measure.optimistic}
    extra = [
        {
            "variant": name,
            "placement": placements.get(name),
            "chosen": which if name in (CHOSEN, BEST) else None,
            "parameters": parameters.get(name),
            **_printed(group.printed, name),
        }
        for name in table.index
    ]
    return pd.DataFrame(extra, table.index).assign(**given).join(table)


def _title(row: Mapping[str, Any]) -> str:
    """A variant's network in the words of every other figure."""
    widened = setting_words("widened", bool(row["widened"]))
    return ", ".join(filter(None, (placement_words(row), widened)))


def _printed(printed: Printed | None, name: str) -> dict[str, float | None]:
    """What the paper has beside a row."""
    if printed is None:
        return {"paper": None, "paper_p": None, "paper_parameters": None}
    is_xflow = name in (CHOSEN, BEST)
    known = {**printed.variants, BASELINE: printed.baseline, CHOSEN: printed.xflow}
    accuracy = (known | {BEST: printed.xflow}).get(name)
    return {
        "paper": None if accuracy is None else accuracy / 100,
        "paper_p": printed.p if is_xflow else None,
        "paper_parameters": printed.parameters if name == BASELINE else None,
    }
