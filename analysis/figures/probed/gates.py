"""The weight of depth in a gate, by condition and class, and examples of either end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusion_search.analysis.conditions import train_label
from fusion_search.analysis.figures.arrays import Array, draw_input
from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_title,
    drawn,
    label_rows,
    new_figure,
)
from fusion_search.analysis.figures.probed.chosen import label_word
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import rows_of

_TALLEST: Final = 12.0  # inches of the classes, where they have room at that
Pictures = Mapping[tuple[str, int], tuple[Array, Array]]


def pictures_of(activations: pd.DataFrame, examples: pd.DataFrame) -> Pictures:
    """Colours [3, H, W] and depth [H, W] of examples, where the probe kept them as images.

    Args:
        activations: of a trial, each array in its shape.
        examples: with ``split`` and ``number``.
    """
    found: dict[tuple[str, int], tuple[Array, Array]] = {}
    for row in rows_of(examples):
        same = (activations["split"] == row["split"]) & (activations["number"] == row["number"])
        own = activations[same].drop_duplicates("name").set_index("name")["values"]
        rgb, depth = own.get("input.rgb"), own.get("input.depth.values")
        if rgb is not None and rgb.ndim == 3 and depth is not None:
            found[row["split"], row["number"]] = (rgb, depth[0])
    return found


@drawn
def draw_gates(
    gates: pd.DataFrame,
    examples: pd.DataFrame,
    pictures: Pictures,
    description: TaskDescription,
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw the distribution of the weight of depth by condition and by class, and examples below.

    Args:
        gates: as :func:`analysis.rgbd.gates.compute_gates` gives it.
        examples: as :func:`analysis.rgbd.gates.extreme_examples` gives them.
        pictures: of these examples.
        description: of the search.
        title: above everything.
        caption: small text below; what is drawn is added to it.
    """
    shown = [row for row in rows_of(examples) if (row["split"], row["number"]) in pictures]
    tests = list(description.test_columns)
    met = gates[tests].itertuples(index=False, name=None)
    told = gates.assign(condition=[train_label(one, description) for one in met])
    several = told["condition"].nunique()
    classes = told.loc[told["label"] >= 0, "class"].nunique()
    tall = max(0.3 * classes, min(classes * (0.15 + 0.1 * several), _TALLEST), 0.35 * several)
    figure = new_figure(max(9.0, 2.4 + 1.1 * len(shown)), 1.8 + tall + (2.6 if shown else 0))
    above, *below = figure.subfigures(
        2 if shown else 1, 1, height_ratios=[1.4 + tall, 2.6][: 2 if shown else 1], squeeze=False
    )[:, 0]
    _draw_distributions(above.subplots(1, 2), told)
    if shown:
        _draw_examples(
            below[0].subplots(2, len(shown), squeeze=False), shown, pictures, description
        )
    add_title(figure, title)
    note = (
        "Weight of depth: how much of depth passes, of all features of all examples; 1 is depth "
        "alone, 0 colours alone. Dot: median; bar: 10 to 90 %; tick: mean. "
        "Each condition has one colour at either side."
    )
    if shown:
        where = train_label(tuple(shown[0][one] for one in tests), description)
        note += (
            f" Below: colours and depth of the examples with the least and the most depth at "
            f"{where}; near is bright, white was not measured."
        )
    add_caption(figure, f"{caption} {note}".strip())
    return figure


def _draw_distributions(panels: Any, told: pd.DataFrame) -> None:
    """By condition at the left, by class at the right, conditions in the same colours."""
    left, right = panels
    conditions = list(told["condition"].unique())
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(conditions)))
    label_rows(left, [one.replace(", ", "\n") for one in conditions])
    classes = list(told.loc[told["label"] >= 0, "class"].unique())
    label_rows(right, classes)
    for row in rows_of(told):
        number = conditions.index(row["condition"])
        if row["label"] < 0:
            axes, place = left, float(number)
        else:
            within = (number + 0.5) / len(conditions) - 0.5
            axes, place = right, classes.index(row["class"]) + 0.7 * within
        _draw_distribution(axes, place, row, colours[number])
    for axes, heading in ((left, "by test condition, all classes"), (right, "by class")):
        axes.set_xlim(0.0, 1.0)  # all that a weight can be, so that gates can be compared
        axes.axvline(0.5, color="0.6", linestyle=":", linewidth=1)
        axes.set_xlabel("weight of depth", fontsize=9)
        axes.set_title(heading, fontsize=9)


def _draw_distribution(axes: Axes, place: float, row: Mapping[str, Any], colour: Any) -> None:
    axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2)
    axes.plot(row["median"], place, "o", color=colour, markersize=4)
    axes.plot(row["mean"], place, "|", color="black", markersize=7)


def _draw_examples(
    panels: Any,
    shown: Sequence[Mapping[str, Any]],
    pictures: Pictures,
    description: TaskDescription,
) -> None:
    for place, row in enumerate(shown):
        rgb, depth = pictures[row["split"], row["number"]]
        draw_input(panels[0, place], rgb, 1.0)
        word = label_word(int(row["label"]), description)
        panels[0, place].set_title(f"{row['which']}: {row['depth']:.3f}\n{word}", fontsize=7)
        panels[1, place].imshow(np.where(depth == 0, np.nan, depth), cmap="viridis_r")
        panels[1, place].set_axis_off()
