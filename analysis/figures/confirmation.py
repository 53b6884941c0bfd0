"""The best of a search beside plain fusion, trained again with fresh seeds."""

from __future__ import annotations

import textwrap
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from fusion_search.analysis.conditions import matrix
from fusion_search.analysis.confirmation import TOP, Measure, network_label
from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_colour_bar,
    add_title,
    axis_label,
    beyond,
    difference_colours,
    difference_scale,
    dots_note,
    draw_interval,
    draw_map,
    drawn,
    new_figure,
    row_figure,
    value_axis,
)
from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.statistics import SIGNIFICANCE

_LABEL_CHARACTERS: Final = 60


@drawn
def draw_confirmation(
    table: pd.DataFrame, measure: Measure, *, title: str = "", caption: str = ""
) -> Figure:
    """Draw every candidate's mean and interval, and its single seeds as dots.

    Args:
        table: the candidates, as :func:`analysis.confirmation.compute_confirmation` returns them.
        measure: what the values are.
        title: above the candidates.
        caption: small text below; what bars and dots mean is added to it.
    """
    ranks = [f"{row['rank']:.0f}. " if row["role"] == TOP else "" for row in rows_of(table)]
    labels = [
        textwrap.fill(f"{rank}{network_label(row)} (n={row['n']})", _LABEL_CHARACTERS)
        for rank, row in zip(ranks, rows_of(table), strict=True)
    ]
    figure, axes = row_figure(labels)
    for place, row in enumerate(rows_of(table)):
        colour = "tab:blue" if row["role"] == TOP else "0.4"
        axes.plot(row["values"], [place] * row["n"], "o", color=colour, markersize=4, alpha=0.45)
        if row["n"] == 0:
            axes.text(0.02, place, "missing", transform=axes.get_yaxis_transform(), fontsize=8)
            continue
        draw_interval(axes, place, row["mean"], row["low"], row["high"], colour)
    value_axis(axes.xaxis, measure.metric)
    axes.set_xlabel(f"{measure.words} ({measure.metric.better_words})", fontsize=9)
    axes.set_title(title, fontsize=10)
    note = (
        "Diamond and bar: mean over n seeds and its 95 % t interval; dots: single "
        "seeds, each the mean over its folds and train conditions. "
        "Blue: the best of the search, by its ranking; grey: plain networks."
    )
    add_caption(figure, f"{caption} {note}".strip())
    return figure


@drawn
def draw_confirmation_grid(
    table: pd.DataFrame,
    description: TaskDescription,
    metric: MetricDescription | None = None,
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw the differences to every plain network at each test condition, one map per network.

    Args:
        table: of one candidate, the conditions that
            :func:`analysis.confirmation_grid.compute_confirmation_grid` returns, of two axes.
        description: of the search.
        metric: the one that chooses by default.
        title: above the maps.
        caption: small text below; what colours and dots mean is added to it.
    """
    parts = {name: table[table["baseline"] == name] for name in table["baseline"].unique()}
    figure = new_figure(2.9 * len(parts) + 1.2, 4.1)
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    metric = metric or description.metric
    tests = list(description.test_columns)
    scale, colours = difference_scale(metric, [table["difference"]]), difference_colours(metric)
    for axes, (baseline, part) in zip(panels, parts.items(), strict=True):
        cells = part.set_index(tests)
        difference, p = (matrix(cells[name].astype(float)) for name in ("difference", "p_max_t"))
        seeds = count_label(int(part["paired_seeds"].max()), "paired seed")
        axes.set_title(f"minus {baseline} ({seeds})", fontsize=7.5)
        draw_map(
            axes,
            difference,
            scale=scale,
            colours=colours,
            marks=p <= SIGNIFICANCE,
        )
    add_title(figure, title)
    vertical, horizontal = map(axis_label, description.axes)
    figure.supxlabel(horizontal, fontsize=9)
    figure.supylabel(vertical, fontsize=9)
    extend = beyond(scale, [table[["difference"]]])
    add_colour_bar(figure, panels, scale, colours, f"difference of {metric.words}", extend)
    note = f"Blue: the best of the search is better, red: the plain network. {dots_note(table)}"
    add_caption(figure, f"{caption} {note}".strip())
    return figure
