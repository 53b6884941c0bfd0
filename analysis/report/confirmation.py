"""The section of a report on the confirmation: means, differences, where on the grid they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.confirmation import (
    DECIDING,
    budget_words,
    compute_confirmation,
    confirmation_sentence,
    deciding_command,
    measure_of,
    measures,
    network_label,
    number_text,
    read_candidates,
    settings_words,
)
from fusion_search.analysis.confirmation_grid import compute_confirmation_grid, of_the_best
from fusion_search.analysis.figures.confirmation import draw_confirmation, draw_confirmation_grid
from fusion_search.analysis.paired import condition_words, within
from fusion_search.analysis.records.advice import go_on_command, read_options
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.samples import Objective, rows_of
from fusion_search.analysis.records.selection import AnalysisError, Search
from fusion_search.analysis.records.words.counts import best_label
from fusion_search.analysis.report import html
from fusion_search.analysis.report.sections import Commands, data_words, p_text
from fusion_search.analysis.statistics import CANNOT

_TEST_HEADINGS: Final = ("p", "max-T p", "Holm p", "by max-T")


def confirmation_section(
    search: Search,
    confirmation: Search | None,
    objective: Objective,
    commands: Commands,
    declared: Mapping[str, Any],
) -> list[str]:
    """The best of a search against plain fusion, with fresh seeds.

    Args:
        search: that is confirmed.
        confirmation: the search that does so; None where it has not begun.
        objective: of the search, its first.
        commands: that work on it.
        declared: what its specification says of its confirmation.
    """
    confirm = commands.get("confirm")
    if confirmation is None:
        return [_not_yet(search, declared, commands)]
    try:
        candidates = read_candidates(confirmation.storage)
    except AnalysisError as error:
        return [html.missing(f"{error}.", confirm)]
    description = confirmation.description
    known = measures(description, objective.metric)
    computed = {
        name: compute_confirmation(confirmation.trials, candidates, one)
        for name, one in known.items()
    }
    measure = measure_of(objective, description)
    table, comparisons = computed[measure.column]
    metric = measure.metric
    means = [rows_of(computed[one][0]) for one in known]
    rows = [
        [network_label(row), row["n"], *(_mean(one[number], metric) for one in means)]
        for number, row in enumerate(rows_of(table))
    ]
    decides = deciding_command(comparisons, search, confirmation)
    settings = settings_words(confirmation.trials, candidates)
    budget = budget_words(confirmation.trials, search.trials)
    splits = ", ".join(sorted(set(table["split"]) - {""}))
    measured = f"measured on the {splits} split" if splits else "not measured yet"
    differences = (
        ""
        if comparisons.empty
        else " Compare the differences below rather than the bars: seeds are paired."
    )
    unit = ", %" if metric.share else ""
    headings = ["network", "seeds", *(f"{one.words}{unit} (95 % CI)" for one in known.values())]
    pieces = [
        html.paragraph(confirmation_sentence(table, comparisons, measure), "lead"),
        *([html.missing(f"{DECIDING}:", decides)] if decides else []),
        html.table(headings, rows),
        html.picture(
            draw_confirmation(table, measure, caption=data_words(confirmation)),
            f"Each row is one network, trained again with fresh seeds and {measured}.{differences}",
        ),
        *(html.paragraph(one) for one in (budget, settings) if one),
        *_tests(("label", "baseline"), comparisons, ("network", "against"), metric),
        *_where_on_the_grid(confirmation, candidates, metric),
    ]
    if (table["finished"] < table["trials"]).any():
        storage = confirmation.storage.parent.location
        options = read_options(confirmation.storage)
        resume = go_on_command("resume", confirmation.name, description.task, storage, options)
        pieces.append(html.missing("Some of its trials are missing.", resume))
    return pieces


def _not_yet(search: Search, declared: Mapping[str, Any], commands: Commands) -> str:
    """That a confirmation has not begun; one that is declared begins when its search has ended."""
    if not declared.get("top"):
        return html.missing(
            "The best are not confirmed with fresh seeds yet.", commands.get("confirm")
        )
    of = best_label(declared["top"], declared["seeds"])
    if len(search.waiting):
        return html.missing(
            f"When its trials have ended, the search confirms {of}. Where it was interrupted:",
            commands.get("resume"),
        )
    return html.missing(
        f"The search confirms {of}, as soon as it has ended. Where that was interrupted:",
        commands.get("confirm"),
    )


def _where_on_the_grid(
    confirmation: Search, candidates: Sequence[Mapping[str, Any]], metric: MetricDescription
) -> list[str]:
    """The search's first against the plain networks, by region and at each condition."""
    description = confirmation.description
    if not description.axes:
        return []
    grid = confirmation.read_grids()
    if grid.empty:
        return [html.missing("No grid of the confirmation can be read.", None)]
    cells, regions = compute_confirmation_grid(
        confirmation.trials, grid, candidates, description, metric
    )
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
        *_tests(("baseline", "region"), regions, ("against", "region"), metric),
        *_maps(confirmation, cells, metric, " ".join(words)),
    ]


def _maps(
    confirmation: Search, cells: pd.DataFrame, metric: MetricDescription, words: str
) -> list[str]:
    """Of two axes; of one or many the words alone."""
    of = confirmation.description
    if len(of.axes) != 2:
        return [html.paragraph(words)]
    figure = draw_confirmation_grid(cells, of, metric, caption=data_words(confirmation))
    return [html.picture(figure, words)]


def _tests(
    names: Sequence[str], rows: pd.DataFrame, headings: Sequence[str], metric: MetricDescription
) -> list[str]:
    """A table of tests, each row named by its columns ``names``, and for what seeds are too few.

    Nothing where there is none.
    """
    if rows.empty:
        return []
    table = [
        [
            *(row[name] for name in names),
            row["paired_seeds"],
            _interval(row["difference"], *within((row["low"], row["high"]), metric), metric, "+"),
            p_text(row["p_sign_flip"]),
            p_text(row["p_max_t"]),
            p_text(row["p_holm"]),
            row["decision"],
        ]
        for row in rows_of(rows)
    ]
    difference = f"difference{', points' if metric.share else ''} (95 % CI)"
    open_for_holm = sorted({one for one in rows["decision_holm"] if one.startswith(CANNOT)})
    flips = ", ".join(sorted(set(rows["sign_flips"])))
    words = [f"Tested by {flips}." if flips else "", *(f"Holm {one}." for one in open_for_holm)]
    return [
        html.table([*headings, "paired seeds", difference, *_TEST_HEADINGS], table),
        html.paragraph(" ".join(words).strip()),
    ]


def _mean(row: Mapping[str, Any], metric: MetricDescription) -> str:
    return _interval(row["mean"], row["low"], row["high"], metric)


def _interval(
    mean: float, low: float, high: float, metric: MetricDescription, sign: str = ""
) -> str:
    """Of shares in per cent or points, with the interval where there is one."""
    if math.isnan(mean):
        return "-"
    middle, first, last = (number_text(one, metric, sign) for one in (mean, low, high))
    return middle if math.isnan(low) else f"{middle} ({first} to {last})"
