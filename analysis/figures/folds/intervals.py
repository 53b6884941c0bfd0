"""What networks reached over folds, as intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_title,
    draw_interval,
    drawn,
    label_rows,
    new_figure,
    value_axis,
    wrapped,
)
from fusion_search.analysis.folds.runs import FoldMeasure
from fusion_search.analysis.records.description import MetricDescription
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import range_label

PRINTED_COLOUR: Final = "tab:red"
_LABEL_WIDTH: Final = 3.0  # inches
_COLOUR: Final = "tab:blue"
_ACCURACY: Final = "accuracy"  # the metric of which guessing reaches 1 / classes


@drawn
def draw_folds(
    table: pd.DataFrame,
    measures: Sequence[FoldMeasure],
    metric: MetricDescription,
    *,
    classes: int | None = None,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw a panel per measure, with a row per network: its mean over folds and interval.

    A line is drawn at what guessing reaches, where values are accuracies of so many classes.

    Args:
        table: ``measure``, ``network``, ``folds``, ``mean``, ``low`` and ``high``, a row per
            network and measure; with ``paper``, a value that is printed elsewhere.
        measures: in the order of the panels.
        metric: that the values are of.
        classes: of the task; None where it has none.
        title: above the panels.
        caption: small text below; what is drawn is added to it.
    """
    names = list(dict.fromkeys(table["network"]))
    labels = [wrapped(name, _LABEL_WIDTH, 8) for name in names]
    more = sum(label.count("\n") for label in labels)
    figure = new_figure(
        _LABEL_WIDTH + 3.2 * len(measures), 1.9 + 0.36 * max(len(labels), 2) + 0.14 * more
    )
    # What is printed elsewhere is an optimistic score where there is a panel of these.
    printed_at = [one for one in measures if one.optimistic] or list(measures)
    panels = figure.subplots(1, len(measures), squeeze=False, sharex=True, sharey=True)[0]
    guessed = classes if metric.name == _ACCURACY else None
    for axes, measure in zip(panels, measures, strict=True):
        if guessed:
            axes.axvline(1 / guessed, color="black", linestyle=":", linewidth=1)
        for row in rows_of(table[table["measure"] == measure.column]):
            place = names.index(row["network"])
            draw_interval(axes, place, row["mean"], row["low"], row["high"], _COLOUR)
            if "paper" in row and not pd.isna(row["paper"]) and measure in printed_at:
                axes.plot([row["paper"]], [place], "x", color=PRINTED_COLOUR, markersize=7)
        axes.set_title(wrapped(measure.words, 3.0, 9), fontsize=9)
        label_rows(axes, labels)
        axes.set_xlabel(metric.label, fontsize=9)
        value_axis(axes.xaxis, metric)
    add_title(figure, title)
    printed = (
        " Red cross: the paper's." if "paper" in table and table["paper"].notna().any() else ""
    )
    drawn_rows = table[table["mean"].notna()]
    count = range_label(drawn_rows["folds"])
    noun = "fold" if count == "1" else "folds"
    # Said apart from how many folds the data were cut into, of which others may not have run.
    note = (
        f"Diamond: mean over folds; bar: 95 % t interval over the n = {count} {noun} that finished"
    )
    if ((drawn_rows["folds"] == 1) | (drawn_rows["low"] == drawn_rows["high"])).any():
        note += ", none of a single fold or of folds that agree"
    note += f".{printed}"
    if len(drawn_rows) < len(names) * len(measures):
        note += " No mark: no such value, as of the train condition where its SNRs are drawn."
    if guessed:
        note += f" Dotted: 1/{guessed}, what guessing among {guessed} classes reaches."
    add_caption(figure, f"{caption} {note}".strip())
    return figure
