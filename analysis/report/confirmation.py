"""The section of a report on the confirmation: means, differences, where on the grid they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.confirmation import (
    METRICS,
    compute_confirmation,
    confirmation_sentence,
    read_candidates,
)
from fusion_search.analysis.confirmation_grid import compute_confirmation_grid, of_the_best
from fusion_search.analysis.figures.confirmation import draw_confirmation, draw_confirmation_grid
from fusion_search.analysis.paired import condition_words
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.samples import Objective, rows_of
from fusion_search.analysis.records.selection import AnalysisError, Search
from fusion_search.analysis.records.tables import read_table
from fusion_search.analysis.report import html
from fusion_search.analysis.report.sections import Commands, data_words, p_text
from fusion_search.analysis.statistics import CANNOT

_TEST_HEADINGS: Final = (
    *("paired seeds", "difference, points (95 % CI)"),
    *("p", "max-T p", "Holm p", "by max-T"),
)


def confirmation_section(
    confirmation: Search | None, objective: Objective, commands: Commands
) -> list[str]:
    """The best against plain fusion, with fresh seeds."""
    confirm = commands.get("confirm")
    if confirmation is None:
        return [html.missing("The best are not confirmed with fresh seeds yet.", confirm)]
    try:
        candidates = read_candidates(confirmation.storage)
    except AnalysisError as error:
        return [html.missing(f"{error}.", confirm)]
    metric = objective.name if objective.name in METRICS else "mean_accuracy"
    computed = {one: compute_confirmation(confirmation.trials, candidates, one) for one in METRICS}
    table, comparisons = computed[metric]
    means = [computed[one][0][["mean", "low", "high"]] for one in METRICS]
    rows = [
        [row["label"], row["n"], *(_interval(*one.iloc[number]) for one in means)]
        for number, row in enumerate(rows_of(table))
    ]
    headings = ["network", "seeds", *(one.replace("_", " ") + ", % (95 % CI)" for one in METRICS)]
    pieces = [
        html.paragraph(confirmation_sentence(table, comparisons, metric), "lead"),
        html.table(headings, rows),
        html.picture(
            draw_confirmation(table, metric, caption=data_words(confirmation)),
            "Each row is one network, trained again with fresh seeds and measured on the split "
            "named above. Compare the differences below rather than the bars: seeds are paired.",
        ),
        *_tests(("label", "baseline"), comparisons, ("network", "against")),
        *_where_on_the_grid(confirmation, candidates),
    ]
    if (table["finished"] < table["trials"]).any():
        storage = confirmation.storage.parent.location
        resume = command("resume", confirmation.name, storage=storage)
        pieces.append(html.missing("Some of its trials are missing.", resume))
    return pieces


def _where_on_the_grid(confirmation: Search, candidates: Sequence[Mapping[str, Any]]) -> list[str]:
    """The search's first against the plain networks, by region and at each condition."""
    grid = read_table(confirmation.storage, "grid", on_damage=confirmation.on_damage)
    if grid.empty:
        return [html.missing("No grid of the confirmation can be read.", None)]
    cells, regions = compute_confirmation_grid(confirmation.trials, grid, candidates)
    cells, regions = of_the_best(cells, candidates), of_the_best(regions, candidates)
    if cells.empty:
        return []
    words = [
        f"Against {baseline}: {condition_words(part)}."
        for baseline, part in cells.groupby("baseline", sort=False)
    ]
    return [
        html.paragraph(
            "Where the search's first differs: in regions of the grid that were named before "
            "anyone looked, and at single conditions. Every comparison is a family of its own."
        ),
        *_tests(("baseline", "region"), regions, ("against", "region")),
        html.picture(
            draw_confirmation_grid(cells, caption=data_words(confirmation)), " ".join(words)
        ),
    ]


def _tests(names: Sequence[str], rows: pd.DataFrame, headings: Sequence[str]) -> list[str]:
    """A table of tests, each row named by its columns ``names``, and for what seeds are too few."""
    table = [
        [
            *(row[name] for name in names),
            row["paired_seeds"],
            _interval(row["difference"], row["low"], row["high"], "+.1f"),
            p_text(row["p_sign_flip"]),
            p_text(row["p_max_t"]),
            "-" if row["decision_holm"].startswith(CANNOT) else p_text(row["p_holm"]),
            row["decision"],
        ]
        for row in rows_of(rows)
    ]
    open_for_holm = sorted({one for one in rows["decision_holm"] if one.startswith(CANNOT)})
    flips = ", ".join(sorted(set(rows["sign_flips"])))
    words = [f"Tested by {flips}." if flips else "", *(f"Holm {one}." for one in open_for_holm)]
    return [
        html.table([*headings, *_TEST_HEADINGS], table),
        html.paragraph(" ".join(words).strip()),
    ]


def _interval(mean: float, low: float, high: float, style: str = ".1f") -> str:
    """In percentage points, with the interval where there is one."""
    if math.isnan(mean):
        return "-"
    ends = "" if math.isnan(low) else f" ({100 * low:{style}} to {100 * high:{style}})"
    return f"{100 * mean:{style}}{ends}"
