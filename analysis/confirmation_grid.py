"""Where on the grid the best of a search differs from plain fusion: conditions and regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fusion_search.analysis.confirmation import COMPARED, TOP, compared
from fusion_search.analysis.paired import (
    PAIRED_COLUMNS,
    compare,
    condition_words,
    region_lines,
    region_means,
)
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.tables import FINISHED
from fusion_search.analysis.regions import axis_names


def compute_confirmation_grid(
    trials: pd.DataFrame, grid: pd.DataFrame, candidates: Sequence[Mapping[str, Any]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every comparison of a confirmation at each condition, and in each region.

    A seed's accuracy is the mean over its train pairs; without all of them it does not count.
    Every comparison is a family of its own: max-T and Holm are over its conditions or regions.

    Args:
        trials: the confirmation's ``trials`` table.
        grid: its ``grid`` table.
        candidates: as :func:`analysis.confirmation.read_candidates` returns them.

    Returns:
        One row per comparison and condition, and one per comparison and ``region``: ``label``,
        ``rank``, ``baseline``, ``baseline_depth``, the condition's SNRs or the region's name, and
        the columns of :func:`analysis.paired.compare` on candidate - baseline.
    """
    axes = axis_names(list(grid.columns))
    snrs, trained = ([f"{when}_{axis}_snr" for axis in axes] for when in ("test", "train"))
    accuracy = pd.Series(
        (grid["correct"] / grid["n"]).to_numpy(),
        pd.MultiIndex.from_frame(grid[[*snrs, "trial_id"]]),
    )
    cells = accuracy.unstack("trial_id").sort_index(ascending=False)  # condition x trial
    wanted = {trial for one in candidates for trial in one["trial_ids"]} & set(cells.columns)
    own = trials[(trials["status"] == FINISHED) & trials["trial_id"].isin(list(wanted))]
    conditions, regions = [], []  # of each train pair
    for _, part in own.groupby(trained):
        conditions.append(cells[part["trial_id"].to_list()])
        train = {axis: float(part[f"train_{axis}_snr"].iloc[0]) for axis in axes}
        regions.append(region_means(conditions[-1], train))
    seeds = own.set_index("trial_id")["seed"]
    return (
        _compare(conditions, seeds, candidates, snrs),
        _compare(regions, seeds, candidates, ["region"]),
    )


def _compare(
    pairs: Sequence[pd.DataFrame],
    seeds: pd.Series,
    candidates: Sequence[Mapping[str, Any]],
    places: Sequence[str],
) -> pd.DataFrame:
    """Every comparison at each place, from a table [place x trial] of each train pair."""
    tables = []
    for (one, other), names in compared(candidates) if pairs else ():
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
    """A candidate's mean over train pairs [place x seed]; NaN for a seed that lacks one of them."""
    parts = []
    for table in pairs:
        own = [trial for trial in table.columns if trial in candidate["trial_ids"]]
        parts.append(table[own].set_axis(seeds[own].to_list(), axis=1))
    mean: pd.DataFrame = sum(parts[1:], parts[0]) / len(parts)
    return mean


def of_the_best(table: pd.DataFrame, candidates: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows on the search's first against the plain networks, the latest fusion first."""
    ranks = [one["rank"] for one in candidates if one["role"] == TOP]
    own = table[table["rank"] == min(ranks)] if ranks else table.iloc[:0]
    return own.sort_values("baseline_depth", ascending=False, kind="stable")


def grid_lines(
    conditions: pd.DataFrame, regions: pd.DataFrame, candidates: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What regions and conditions say of the search's first, in lines to print."""
    lines = []
    best = of_the_best(regions, candidates)
    for baseline, part in best.groupby("baseline", sort=False):
        cells = of_the_best(conditions, candidates)
        cells = cells[cells["baseline"] == baseline]
        seeds = count_label(int(part["paired_seeds"].max()), "paired seed")
        lines.append(f"against {baseline}, {seeds}, {part['sign_flips'].iloc[0]}:")
        lines += region_lines(part)
        lines.append(f"  {condition_words(cells)}")
    return lines
