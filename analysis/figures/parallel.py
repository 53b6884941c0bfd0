"""Parallel coordinates: every sample as one line through its choices."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_colour_bar,
    add_title,
    drawn,
    new_figure,
    value_colours,
)
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import (
    Objective,
    option_order,
    parse_sample,
    sample_table,
    site_of_choice,
)
from fusion_search.analysis.records.tables import FINISHED, STOPPED
from fusion_search.analysis.records.words.networks import site_order

ABSENT_LANE: Final = -0.16  # below the axes, whose values lie from 0 to 1
_OWN: Final = ("trial_name", "status", "value")
_MOST_AXES: Final = 14  # beside each other
_SLOT: Final = 1.15  # inches between two axes
_HEADING_CHARACTERS: Final = 16
_OPTION_CHARACTERS: Final = 17
_SPREAD: Final = 0.03  # lines with the same choice lie side by side


class _Line(NamedTuple):
    """How the sample of a row is drawn."""

    row: int
    shift: float
    colour: tuple[float, ...]
    width: float
    alpha: float


def compute_parallel(
    trials: pd.DataFrame, objective: Objective, description: TaskDescription
) -> pd.DataFrame:
    """The choices of every sample that finished or was stopped.

    Returns:
        One row per sample: ``trial_name``, ``status``, ``value`` (NaN when stopped) and a column
        per parameter, None where the sample does not have it; empty without samples (a sweep).
    """
    table = sample_table(trials, [objective])
    table = table[table["status"].isin([FINISHED, STOPPED])]
    choices = [parse_sample(text) for text in table["sample"]] if "sample" in table else []
    every = dict.fromkeys(name for one in choices for name in one)
    names = sorted(every, key=lambda name: _place(name, description))
    if not names:
        return pd.DataFrame(columns=list(_OWN))
    columns = {
        name: pd.Series([one.get(name) for one in choices], index=table.index, dtype=object)
        for name in names
    }
    own = {
        "trial_name": table["trial_name"],
        "status": table["status"],
        "value": table["value_0"],
    }
    return pd.DataFrame({**own, **columns}).reset_index(drop=True)


def _place(name: str, description: TaskDescription) -> tuple[int, list[tuple[str, int]], str]:
    """Streams and layout first, then the sites in order, how streams end, the rest as asked."""
    for field in ("streams", *description.layout_fields):
        if name.startswith(field):
            return (0, [], "")
    site = site_of_choice(name, description)
    if site is not None:
        return (1, site_order(site), name)
    return (2, [], "") if name == "end" else (3, [], "")


@drawn
def draw_parallel(
    table: pd.DataFrame, objective: Objective, *, title: str = "", caption: str = ""
) -> Figure:
    """Draw one line per sample, coloured by the objective; stopped samples are thin and grey.

    Args:
        table: as :func:`compute_parallel` returns it.
        objective: the colour.
        title: above the axes.
        caption: small text below; how to read the lines is added to it.
    """
    names = [name for name in table.columns if name not in _OWN]
    parts = [names[start : start + _MOST_AXES] for start in range(0, len(names), _MOST_AXES)]
    widest = max(map(len, parts))
    figure = new_figure(max(5.0, _SLOT * widest + 1.6), 0.6 + 4.0 * len(parts))
    panels = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    scale, lines = _lines(table, objective)
    for axes, own in zip(panels, parts, strict=True):
        _draw_part(axes, table[own], lines, widest)
    add_title(figure, title)
    colours = value_colours(objective)
    add_colour_bar(figure, panels, scale, colours, objective.label)
    note = (
        "One line per sample through its choices, coloured by the objective, the best on top; "
        "thin and grey: stopped early. Absent: the choice has no meaning for that sample."
    )
    add_caption(figure, f"{caption} {note}".strip())
    return figure


def _lines(table: pd.DataFrame, objective: Objective) -> tuple[Normalize, list[_Line]]:
    """The scale of the colours, and how each sample is drawn: the best last, on top."""
    finished = (table["status"] == FINISHED).to_numpy()
    values = table["value"].astype(float)
    scale = Normalize(float(values.min()), float(values.max())) if finished.any() else Normalize()
    order = (objective.sign * values).fillna(-math.inf).to_numpy().argsort(kind="stable")
    colours = mpl.colormaps[value_colours(objective)]
    shifts = np.linspace(-_SPREAD, _SPREAD, len(table)) if len(table) > 1 else np.zeros(1)
    return scale, [
        _Line(
            int(row),
            float(shifts[row]),
            colours(scale(values.iloc[row])) if finished[row] else (0.6, 0.6, 0.6, 1.0),
            1.5 if finished[row] else 0.5,
            0.85 if finished[row] else 0.5,
        )
        for row in order
    ]


def _draw_part(axes: Axes, table: pd.DataFrame, lines: Sequence[_Line], widest: int) -> None:
    """Draw some of the parameters, as wide as the most that stand beside each other."""
    names = list(table.columns)
    heights = np.column_stack(
        [_draw_axis(axes, number, table[name]) for number, name in enumerate(names)]
    )
    # A single axis has nowhere to lead to: its lines are strokes across it.
    places = np.arange(len(names)) if len(names) > 1 else np.array([-0.12, 0.12])
    segments = [
        np.column_stack([places, np.broadcast_to(heights[one.row] + one.shift, places.shape)])
        for one in lines
    ]
    collection = LineCollection(
        segments,
        colors=[one.colour for one in lines],
        linewidths=[one.width for one in lines],
        alpha=[one.alpha for one in lines],
        zorder=2,
    )
    axes.add_collection(collection)
    if table.isna().to_numpy().any():
        axes.axhline(ABSENT_LANE, color="0.85", linewidth=8, zorder=0)
        axes.text(-0.45, ABSENT_LANE, "absent", fontsize=7, color="0.4", va="center", ha="right")
    axes.set_xlim(-0.4, max(widest, 2) - 0.45)
    axes.set_ylim(ABSENT_LANE - 0.08, 1.08)
    axes.set_yticks([])
    axes.set_xticks(range(len(names)), [_heading(name) for name in names], fontsize=7.5)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_axis(axes: Axes, number: int, column: pd.Series) -> np.ndarray[Any, Any]:
    """Draw one parameter's axis; returns the height of every sample on it."""
    present = column[column.notna()]
    axes.plot([number, number], [0, 1], color="0.35", linewidth=0.8, zorder=1)
    numeric = all(isinstance(one, int | float) and not isinstance(one, bool) for one in present)
    drawn_from_range = len(set(present)) > 5 or any(isinstance(one, float) for one in present)
    options = sorted(dict.fromkeys(present), key=option_order)
    if numeric and drawn_from_range and len(options) > 1:
        low, high = float(options[0]), float(options[-1])
        logarithmic = low > 0 and high / low >= 20
        span = (math.log(low), math.log(high)) if logarithmic else (low, high)
        ticks = [low, math.sqrt(low * high) if logarithmic else (low + high) / 2, high]

        def height(value: Any) -> float:
            position = math.log(value) if logarithmic else float(value)
            return (position - span[0]) / (span[1] - span[0])

        labels = [(height(tick), f"{tick:.3g}") for tick in ticks]
    else:
        last = max(len(options) - 1, 1)

        def height(value: Any) -> float:
            return options.index(value) / last

        labels = [(height(one), _option(str(one))) for one in options]
    for place, text in labels:
        axes.text(
            number + 0.04,
            place,
            text,
            fontsize=6.5,
            va="center",
            zorder=3,
            linespacing=0.9,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
        )
    return np.array([ABSENT_LANE if pd.isna(one) else height(one) for one in column])


def _heading(name: str) -> str:
    """A parameter's name on lines that leave its neighbours their place."""
    return textwrap.fill(name.replace("_", " "), _HEADING_CHARACTERS)


def _option(text: str) -> str:
    """Beside its axis: what is somebody's own by its class, on lines that end before the next."""
    words = text.rpartition(":")[2].replace("_", " ")
    return textwrap.fill(words, _OPTION_CHARACTERS)
