"""What claims came to: a row each, by what decides it."""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_title,
    draw_interval,
    drawn,
    row_figure,
    value_axis,
    wrapped,
)
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import AnalysisError
from fusion_search.analysis.verdicts import HELD, REFUTED, UNDECIDED

_COLOURS: Final = {HELD: "tab:green", REFUTED: "tab:red", UNDECIDED: "tab:gray"}
_LABEL_WIDTH: Final = 3.6  # inches


@drawn
def draw_claims(
    table: pd.DataFrame, metric: MetricDescription, *, title: str = "", caption: str = ""
) -> Figure:
    """Draw the value that decides each part of a claim, with its interval, coloured by verdict.

    Args:
        table: ``claim``, ``what``, ``verdict``, ``seeds``, ``value``, ``low``, ``high``; parts
            without a value are left out, and counted below.
        metric: that the values are differences of.
        title: above the rows.
        caption: small text below; what is drawn is added to it.

    Raises:
        AnalysisError: no part has a value yet.
    """
    judged = table[table["verdict"] != ""]
    shown = judged[judged["value"].notna()]
    if shown.empty:
        raise AnalysisError("no judged claim has a number of its own yet")
    rows = rows_of(shown)
    labels = [wrapped(f"{row['claim']}. {row['what']}", _LABEL_WIDTH, 8) for row in rows]
    figure, axes = row_figure(labels)
    axes.axvline(0, color="black", linewidth=0.8)
    for place, row in enumerate(rows):
        draw_interval(axes, place, row["value"], row["low"], row["high"], _COLOURS[row["verdict"]])
        axes.annotate(
            f"{row['verdict']}, n = {row['seeds']}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            fontsize=7,
            va="center",
        )
    axes.set_xlabel(f"difference of {metric.words}, above 0 as claimed", fontsize=9)
    value_axis(axes.xaxis, metric)
    add_title(figure, title)
    counts = ", ".join(f"{(judged['verdict'] == one).sum()} {one}" for one in _COLOURS)
    left_out = len(judged) - len(shown)
    without = f" Without a number of their own, not drawn: {left_out}." if left_out else ""
    note = f"Bar: 95 % t interval over n seeds. Parts of claims: {counts}.{without}"
    add_caption(figure, f"{caption} {note}".strip())
    return figure
