"""Where on the grid the best of a search differs from plain fusion: conditions and regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.conditions import (
    pooled,
    tested_present,
    train_numbers,
)
from fusion_search.analysis.confirmation import COMPARED, TOP, compared
from fusion_search.analysis.paired import (
    PAIRED_COLUMNS,
    compare,
    condition_words,
    region_lines,
    region_means,
)
from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.tables import FINISHED

_REGION: Final = ("region",)


def compute_confirmation_grid(
    trials: pd.DataFrame,
    grid: pd.DataFrame,
    candidates: Sequence[Mapping[str, Any]],
    description: TaskDescription,
    metric: MetricDescription | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every comparison of a confirmation at each condition, and in each region.

    A seed's value is the mean over train conditions and folds; without all of them it does not
    count. Candidates of other folds are not compared.
    Every comparison is a family of its own: max-T and Holm are over its conditions or regions.

    Args:
        trials: the confirmation's ``trials`` table, as :class:`Search` holds it.
        grid: its ``grid`` table; a task without axes has nothing to compare here.
        candidates: as :func:`analysis.confirmation.read_candidates` returns them.
        description: of the search.
        metric: the one that chooses by default.

    Returns:
        One row per comparison and condition, and one per comparison and ``region``: ``label``,
        ``rank``, ``baseline``, ``baseline_place``, the condition's SNRs or the region's name, and
        the columns of :func:`analysis.paired.compare` on candidate - baseline.
    """
    metric = metric or description.metric
    snrs, train = list(description.test_columns), list(description.train_columns)
    grid = tested_present(grid, description)
    if not snrs or grid.empty:
        return _compare([], trials, candidates, snrs), _compare([], trials, candidates, _REGION)
    values = pooled(grid, [*snrs, "trial_id"], metric)
    cells = values.unstack("trial_id").sort_index(ascending=False)  # condition x trial
    wanted = {trial for one in candidates for trial in one["trial_ids"]} & set(cells.columns)
    own = trials[(trials["status"] == FINISHED) & trials["trial_id"].isin(list(wanted))]
    conditions, numbers = [], []  # of each train condition and fold
    # By the condition's text: what is drawn has no number, and groups leave out NaN.
    for _, part in own.groupby(["train", "fold"], sort=False):
        conditions.append(cells[part["trial_id"].to_list()])
        numbers.append(train_numbers(tuple(part[train].iloc[0])))
    regions = region_means(conditions, numbers, description)
    return (
        _compare(conditions, own, candidates, snrs),
        _compare(regions, own, candidates, _REGION),
    )


def _compare(
    pairs: Sequence[pd.DataFrame],
    trials: pd.DataFrame,
    candidates: Sequence[Mapping[str, Any]],
    places: Sequence[str],
) -> pd.DataFrame:
    """Every comparison at each place, from tables [place x trial] of a train condition and fold."""
    seeds = trials.set_index("trial_id")["seed"]
    tables = []
    for (one, other), names in compared(candidates, trials) if pairs else ():
        if names["unpaired"]:
            continue
        first, second = (_by_seed(pairs, seeds, candidates[number]) for number in (one, other))
        # Subtraction aligns the seeds; those of one side alone become NaN.
        differences = (first - second).dropna(axis=1, how="all").dropna(how="all")
        tables.append(compare(differences).reset_index().assign(**names))
    columns = [*COMPARED, *places, *PAIRED_COLUMNS]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns]


def _by_seed(
    pairs: Sequence[pd.DataFrame], seeds: pd.Series, candidate: Mapping[str, Any]
) -> pd.DataFrame:
    """A candidate's mean over the tables [place x seed]; NaN for a seed that lacks one."""
    parts = []
    for table in pairs:
        own = [trial for trial in table.columns if trial in candidate["trial_ids"]]
        parts.append(table[own].set_axis(seeds[own].to_list(), axis=1))
    mean: pd.DataFrame = sum(parts[1:], parts[0]) / len(parts)
    return mean


def of_the_best(table: pd.DataFrame, candidates: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows on the search's first against the plain networks, the last listed first."""
    ranks = [one["rank"] for one in candidates if one["role"] == TOP]
    own = table[table["rank"] == min(ranks)] if ranks else table.iloc[:0]
    return own.sort_values("baseline_place", ascending=False, kind="stable")


def grid_lines(
    conditions: pd.DataFrame,
    regions: pd.DataFrame,
    candidates: Sequence[Mapping[str, Any]],
    metric: MetricDescription,
) -> list[str]:
    """What regions and conditions say of the search's first, in lines to print."""
    lines = []
    best = of_the_best(regions, candidates)
    for baseline, part in best.groupby("baseline", sort=False):
        cells = of_the_best(conditions, candidates)
        cells = cells[cells["baseline"] == baseline]
        seeds = count_label(int(part["paired_seeds"].max()), "paired seed")
        lines.append(f"against {baseline}, {seeds}, {part['sign_flips'].iloc[0]}:")
        lines += region_lines(part, metric)
        lines.append(f"  {condition_words(cells)}")
    return lines
