"""How much of depth a gate lets pass, by class and condition, and examples of either end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from fusion_search.analysis.conditions import train_label
from fusion_search.analysis.figures.arrays import Array, draw_input
from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_title,
    drawn,
    new_figure,
    readable_ink,
)
from fusion_search.analysis.figures.probed.chosen import label_word
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import rows_of

_SCALE: Final = Normalize(0.0, 1.0)  # all that a weight can be, so that gates can be compared
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
    """Draw a map of the mean weight of depth, classes below each other, and examples below it.

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
    table = gates.pivot_table("mean", "class", tests, sort=False)
    height = 1.6 + 0.3 * len(table) + (2.6 if shown else 0)
    figure = new_figure(2.4 + max(0.75 * table.shape[1], 1.1 * len(shown), 4.0), height)
    above, *below = figure.subfigures(
        2 if shown else 1,
        1,
        height_ratios=[1.2 + 0.3 * len(table), 2.6][: 2 if shown else 1],
        squeeze=False,
    )[:, 0]
    _draw_map(above.subplots(), table, description)
    if shown:
        _draw_examples(
            below[0].subplots(2, len(shown), squeeze=False), shown, pictures, description
        )
    add_title(figure, title)
    note = "Mean over features and examples of how much of depth passes: 1 is depth alone."
    if shown:
        where = train_label(tuple(shown[0][one] for one in tests), description)
        note += (
            f" Below: colours and depth of the examples with the least and the most of it at "
            f"{where}; near is bright, white was not measured."
        )
    add_caption(figure, f"{caption} {note}".strip())
    return figure


def _draw_map(axes: Axes, table: pd.DataFrame, description: TaskDescription) -> None:
    values = table.to_numpy(dtype=float)
    image = axes.imshow(values, cmap="PuOr", norm=_SCALE, aspect="auto")
    conditions = table.columns.to_frame().itertuples(index=False, name=None)
    words = [train_label(one, description).replace(", ", "\n") for one in conditions]
    axes.set_xticks(range(len(words)), words, fontsize=7)
    axes.set_yticks(range(len(table)), list(table.index), fontsize=8)
    for row, column in np.ndindex(*values.shape):
        if np.isfinite(values[row, column]):
            axes.text(
                column,
                row,
                f"{values[row, column]:.2f}",
                color=readable_ink(float(values[row, column]), _SCALE, image.cmap),
                ha="center",
                va="center",
                fontsize=7,
            )
    bar = axes.figure.colorbar(image, ax=axes)
    bar.set_label("weight of depth", fontsize=8)
    bar.ax.tick_params(labelsize=7)


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
        which = "most" if row["trusts"] == "depth" else "least"
        panels[0, place].set_title(f"{which} depth: {row['depth']:.3f}\n{word}", fontsize=7)
        panels[1, place].imshow(np.where(depth == 0, np.nan, depth), cmap="viridis_r")
        panels[1, place].set_axis_off()
