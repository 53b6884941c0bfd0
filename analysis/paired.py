"""Paired differences as tables: what each cell or region shows, and whether that can be told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.regions import regions
from fusion_search.analysis.statistics import (
    CANNOT,
    SIGNIFICANCE,
    interval,
    sign_flips,
    undecided,
)

HIGHER: Final = "higher"
LOWER: Final = "lower"
NOT_TOLD: Final = "not distinguishable"
PAIRED_COLUMNS: Final = [
    *("paired_seeds", "difference", "low", "high"),
    *("p_sign_flip", "p_max_t", "p_holm", "decision", "decision_holm", "sign_flips"),
]


def compare(differences: pd.DataFrame, unit: str = "seed") -> pd.DataFrame:
    """The sign-flip test of every row, adjusted over the rows by max-T and, beside it, by Holm.

    Args:
        differences: one row per cell, region or comparison, one column per seed, NaN where a seed
            lacks it.
        unit: what a column is, where that is no seed.

    Returns:
        The same index with ``paired_seeds``, ``difference`` (mean) and its 95 % t interval
        ``low``, ``high``; ``p_sign_flip``, ``p_max_t`` and ``p_holm`` as
        :func:`analysis.statistics.sign_flips` gives them, but ``p_holm`` NaN where seeds are too
        few to decide by it; ``decision`` by max-T and ``decision_holm``: higher, lower, not
        distinguishable, or that it cannot be decided with so many seeds, and how many would do;
        ``sign_flips``, how many were counted.
    """
    values = differences.to_numpy(dtype=float)
    values = values[:, np.isfinite(values).any(axis=0)]  # flips of what none has say nothing
    test = sign_flips(values.T)
    ends = np.array([interval(row[np.isfinite(row)]) for row in values]).reshape(-1, 3)
    compared = max(int((test.seeds > 0).sum()), 1)
    table = pd.DataFrame(ends, index=differences.index, columns=["difference", "low", "high"])
    table = table.assign(
        paired_seeds=test.seeds,
        p_sign_flip=test.p,
        p_max_t=test.p_max_t,
        p_holm=test.p_holm,
        sign_flips=test.flips,
    )
    rows = rows_of(table)
    table["decision"] = [_decision(row, "p_max_t", 1, unit) for row in rows]
    by_holm = [_decision(row, "p_holm", compared, unit) for row in rows]
    table["decision_holm"] = by_holm
    # As p_max_t is: what could not have been at most 0.05 is no p to be read.
    table.loc[[one.startswith(CANNOT) for one in by_holm], "p_holm"] = math.nan
    return table[PAIRED_COLUMNS]


def _decision(row: Mapping[str, Any], column: str, comparisons: int, unit: str) -> str:
    if row[column] <= SIGNIFICANCE:
        return HIGHER if row["difference"] > 0 else LOWER
    return undecided(row["paired_seeds"], comparisons, unit) or NOT_TOLD


def region_means(
    tables: Sequence[pd.DataFrame], trains: Sequence[Sequence[float]], description: TaskDescription
) -> list[pd.DataFrame]:
    """Every region's mean over its cells, of one train condition after the other.

    Args:
        tables: of each train condition one row per test condition, its SNRs in the index levels
            ``test_<axis>``, any columns; the same rows in all.
        trains: of each train condition the SNR on every axis; NaN where it is drawn.
        description: of the search.

    Returns:
        As many tables: one row per region that all have, in the order declared, same columns; NaN
        where a cell of the region is.
    """
    if not tables:
        return []
    conditions = tables[0].index.to_frame()[list(description.test_columns)]
    names = [axis.short for axis in description.axes]
    members = regions(conditions.to_numpy(dtype=float), trains, names)
    found = []
    for number, cells in enumerate(tables):
        means = {name: cells[own[number]].mean(skipna=False) for name, own in members.items()}
        found.append(pd.DataFrame(means, index=cells.columns).T.rename_axis("region"))
    return found


def p_words(p: float) -> str:
    """A p-value in a sentence."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def p_values(row: Mapping[str, Any], comparisons: int) -> str:
    """The adjusted p-values of a row that can be decided."""
    for_holm = undecided(row["paired_seeds"], comparisons) if math.isnan(row["p_holm"]) else ""
    beside = f"Holm {for_holm}" if for_holm else f"Holm p {p_words(row['p_holm'])}"
    return f"max-T p {p_words(row['p_max_t'])}, {beside}"


def condition_words(cells: pd.DataFrame) -> str:
    """Of one comparison's rows: how many are told, or how many seeds would tell them."""
    seeds = int(cells["paired_seeds"].max())
    said = []
    for way, column, comparisons in (
        ("max-T", "decision", 1),
        ("Holm", "decision_holm", len(cells)),
    ):
        higher, lower = ((cells[column] == one).sum() for one in (HIGHER, LOWER))
        words = undecided(seeds, comparisons) or f"{higher} higher, {lower} lower"
        said.append(f"{way}: {words}")
    return f"{count_label(len(cells), 'condition')}. {'. '.join(said)}"


def difference_text(value: float, metric: MetricDescription, style: str = "+.1f") -> str:
    """A difference of values, of shares in percentage points."""
    return f"{100 * value:{style}} points" if metric.share else f"{value:{style[:-3]}.3g}"


def within(ends: tuple[float, float], metric: MetricDescription) -> tuple[float, float]:
    """The ends of a difference's interval, no further than a difference can be: of shares 1.

    Of two or three seeds Student's t goes far beyond, which says nothing of such a difference; the
    tables as CSV keep the ends as computed.
    """
    low, high = np.clip(ends, -1, 1) if metric.share else ends
    return float(low), float(high)


def ends_text(
    low: float,
    high: float,
    metric: MetricDescription,
    style: str = "+.1f",
    *,
    slope: bool = False,
) -> str:
    """The ends of a difference's interval, ``within`` what it can be: "-0.3 to +2.7".

    A ``slope`` of differences has no such bounds.
    """
    bounds = (low, high) if slope else within((low, high), metric)
    ends = (difference_text(one, metric, style).removesuffix(" points") for one in bounds)
    return " to ".join(ends)


def region_lines(table: pd.DataFrame, metric: MetricDescription) -> list[str]:
    """What the regions of one comparison say, in lines to print."""
    count = count_label(len(table), "region")
    if table["p_max_t"].isna().all():
        return [f"  {count}: {table['decision'].iloc[0]}"]
    for_holm = undecided(int(table["paired_seeds"].max()), len(table))
    lines = []
    for row in rows_of(table):
        words = str(row["decision"])
        if not math.isnan(row["p_max_t"]):
            holm = "" if math.isnan(row["p_holm"]) else f", Holm p {p_words(row['p_holm'])}"
            words += f" (max-T p {p_words(row['p_max_t'])}{holm})"
        difference = difference_text(row["difference"], metric, "+6.1f")
        lines.append(f"  {row['region']:20} {difference}, {words}")
    return [*lines, f"  {count}. Holm: {for_holm}"] if for_holm else lines
