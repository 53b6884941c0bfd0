"""What each coupling is worth at each insertion point: tables of marginal effects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd

from fusion_search.analysis.records.samples import (
    CONCATENATION,
    NONE,
    PLACED,
    Objective,
    option_order,
    sample_table,
)
from fusion_search.analysis.records.tables import FINISHED, STOPPED

COUNTED: Final = ("MMTM", "any coupling")
"""What :func:`compute_count` counts."""

_COLUMNS: Final = [
    "part",
    "point",
    "option",
    "n",
    "mean",
    "mean_error",
    "n_without",
    "mean_without",
    "effect",
    "effect_error",
    "stopped",
]


def compute_placement(trials: pd.DataFrame, objective: Objective) -> pd.DataFrame:
    """Marginal effect of every coupling and connection at every insertion point.

    The effect of an option at point k is the mean objective of the finished samples that have
    exactly this option there, minus the mean of the finished samples with a fusion depth of at
    least k (the point exists) that have anything else there, nothing included. It is an average
    over whatever else the searcher chose with it, not a controlled comparison. ``effect_error``
    is the standard error of that difference, sqrt(s1^2 / n1 + s2^2 / n2). In the same way a
    fusion depth is set against all other depths, and a way to fuse against the other ways at
    depths of at least 1. Stopped samples have no objective: they are left out and counted. Since
    schedulers stop bad ones, an option with many stopped is worse than its effect says.

    Returns:
        One row per ``part`` (couplings, to_audio, to_image, fusion, fusion_depth), ``point`` (0
        for the last two) and ``option`` that some sample has: ``n``, ``mean`` and ``mean_error``
        (its standard error; NaN for n = 1) of the samples having it, ``n_without`` and
        ``mean_without`` of the others, ``effect``, ``effect_error`` (NaN where a side has none,
        or one for the error) and ``stopped`` (how many of those having it were stopped).
    """
    table = sample_table(trials, [objective])
    table = table[table["status"].isin([FINISHED, STOPPED])]
    value = table["value_0"]
    rows = []
    for part, point, option, having, possible in _options(table):
        with_it, without = value[having].dropna(), value[possible & ~having].dropna()
        rows.append(
            {
                "part": part,
                "point": point,
                "option": option,
                "n": len(with_it),
                "mean": with_it.mean(),
                "mean_error": with_it.sem(),
                "n_without": len(without),
                "mean_without": without.mean(),
                "effect": with_it.mean() - without.mean(),
                "effect_error": _difference_error(with_it, without),
                "stopped": int((table.loc[having, "status"] == STOPPED).sum()),
            }
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def _difference_error(one: pd.Series, other: pd.Series) -> float:
    """The standard error of the difference of two means; NaN when a side has less than two."""
    if min(len(one), len(other)) < 2:
        return math.nan
    return math.sqrt(one.var() / len(one) + other.var() / len(other))


def _options(table: pd.DataFrame) -> Iterator[tuple[str, int, str, pd.Series, pd.Series]]:
    """Part, point, option, which samples have it, and which could."""
    depth = table["fusion_depth"]
    for point in range(1, int(depth.max()) + 1 if len(table) else 1):
        possible = depth >= point
        for part in PLACED:
            there = table[part].map(
                lambda kinds, at=point: kinds[at - 1] if len(kinds) >= at else ""
            )
            for option in sorted(set(there) - {"", NONE}, key=option_order):
                yield part, point, option, there == option, possible
    fusion = table["fusion"] if "fusion" in table else pd.Series(CONCATENATION, table.index)
    fusion = fusion.fillna(CONCATENATION)
    for option in sorted(set(fusion[depth >= 1]), key=option_order):
        yield "fusion", 0, option, (fusion == option) & (depth >= 1), depth >= 1
    for number in sorted(set(depth)):
        yield "fusion_depth", 0, str(number), depth == number, depth >= 0


def compute_count(trials: pd.DataFrame, objective: Objective) -> pd.DataFrame:
    """The objective over the number of couplings (MMTM, arXiv:1911.08670, figure 6).

    Only finished samples with separate levels (fusion depth at least 1) count: without these
    there is no place for a coupling, and a count of 0 would mix in the fusion depth's own effect.

    Returns:
        Two rows per sample, one each for MMTM modules and for couplings of any kind (connections
        and the gate are not couplings): ``counted``, ``count``, ``trial_name``, ``value``, and of
        all samples with this count ``n``, ``mean`` and ``mean_error`` (NaN for n = 1).
    """
    table = sample_table(trials, [objective])
    table = table[(table["status"] == FINISHED) & (table["fusion_depth"] >= 1)]
    tables = []
    for counted in COUNTED:
        wanted = (lambda kind: kind == "mmtm") if counted == "MMTM" else (lambda kind: kind != NONE)
        counts = np.array([sum(map(wanted, kinds)) for kinds in table["couplings"]], dtype=int)
        part = pd.DataFrame(
            {
                "counted": counted,
                "count": counts,
                "trial_name": table["trial_name"].to_numpy(),
                "value": table["value_0"].to_numpy(dtype=float),
            }
        )
        groups = part.groupby("count")["value"]
        tables.append(
            part.assign(
                n=groups.transform("count"),
                mean=groups.transform("mean"),
                mean_error=groups.transform("sem"),
            )
        )
    return pd.concat(tables, ignore_index=True).sort_values(
        ["counted", "count"], ascending=[False, True], kind="stable", ignore_index=True
    )
