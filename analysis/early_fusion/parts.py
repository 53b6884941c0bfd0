"""One part of a claim: what was found, and what the rule says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.paired import (
    HIGHER,
    LOWER,
    compare,
    difference_text,
    ends_text,
    p_words,
)
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.statistics import undecided
from fusion_search.analysis.verdicts import HELD, REFUTED, UNDECIDED

MARGIN: Final = 0.03  # of a share: what "at least as accurate" may lose
NOT_THERE: Final = "no seed has it yet"


@dataclass(frozen=True)
class Part:
    """What one part of a claim came to.

    Attributes:
        claim: its number.
        what: is claimed.
        verdict: held, refuted or undecided; empty of what is only described.
        seeds: that it rests on.
        numbers: in words.
        value, low, high, p: the difference or slope that decides, where one does.
    """

    claim: int
    what: str
    verdict: str
    seeds: int
    numbers: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


def judged(
    claim: int, what: str, row: Mapping[str, Any], metric: MetricDescription, more: str = ""
) -> Part:
    """A part that holds where something is told to be higher, and not where it is lower.

    Args:
        claim, what: it is.
        row: of :func:`analysis.paired.compare`.
        metric: that differences are of.
        more: said after the numbers.
    """
    said = {HIGHER: HELD, LOWER: REFUTED}.get(row["decision"], UNDECIDED)
    return Part(
        *(claim, what, said, int(row["paired_seeds"]), f"{numbers(row, metric)}{more}"),
        *(row["difference"], row["low"], row["high"], row["p_max_t"]),
    )


def numbers(row: Mapping[str, Any], metric: MetricDescription) -> str:
    """A difference with its interval, its p and how many seeds it is of."""
    seeds = int(row["paired_seeds"])
    if not seeds:
        return NOT_THERE
    said = with_ends(row["difference"], row["low"], row["high"], metric)
    if not math.isnan(row["p_max_t"]):
        said += f", max-T p {p_words(row['p_max_t'])}"
    return f"{said}, {undecided(seeds) or count_label(seeds, 'seed')}"


def with_ends(value: float, low: float, high: float, metric: MetricDescription) -> str:
    """A difference with the ends of its interval, where these are known."""
    said = difference_text(value, metric)
    return said if math.isnan(low) else f"{said} (95 % {ends_text(low, high, metric)})"


def compared(rows: dict[str, pd.Series]) -> dict[str, dict[str, Any]]:
    """Rows of differences by seed, tested together."""
    table = compare(pd.DataFrame(rows).T)
    return {str(name): dict(row) for name, row in table.iterrows()}


def everywhere(cells: pd.DataFrame, metric: MetricDescription) -> tuple[str, str, float, int]:
    """Whether no condition is lower by more than the margin.

    Args:
        cells: differences [conditions, seeds].
        metric: they are of.

    Returns:
        Held: every interval lies above minus the margin. Refuted: a condition is told to be lower,
        by max-T, by more than the margin. Then the numbers in words, the lowest end of an interval
        and how many seeds there are.
    """
    seeds = cells.shape[1]
    if not seeds:
        return UNDECIDED, NOT_THERE, math.nan, 0
    table = compare(cells)
    lowest = float(table["low"].min())
    lower = (table["decision"] == LOWER) & (table["difference"] < -MARGIN)
    verdict = UNDECIDED
    if not undecided(seeds):
        if lower.any():
            verdict = REFUTED
        elif not table["low"].isna().any() and lowest > -MARGIN:
            verdict = HELD
    above = int((table["difference"] >= 0).sum())
    said = f"at least as accurate at {above} of {len(table)} conditions"
    worst = difference_text(float(table["difference"].min()), metric)
    said += f", lowest difference {worst}"
    if not math.isnan(lowest):
        said += f", lowest end of an interval {difference_text(lowest, metric)}"
    if not undecided(seeds):
        told = [int((table["decision"] == way).sum()) for way in (HIGHER, LOWER)]
        said += f"; max-T tells {told[0]} higher, {told[1]} lower"
    return verdict, f"{said}; {undecided(seeds) or count_label(seeds, 'seed')}", lowest, seeds
