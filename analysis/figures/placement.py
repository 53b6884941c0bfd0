"""The network's levels with what couples them, coloured by what it is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon
from matplotlib.ticker import PercentFormatter

from fusion_search.analysis.figures.drawing import (
    DIFFERENCE_COLOURS,
    add_caption,
    add_colour_bar,
    drawn,
    new_figure,
)
from fusion_search.analysis.figures.placement_effects import COUNTED
from fusion_search.analysis.records.samples import (
    KIND_WORDS,
    PLACED,
    Objective,
    connection_words,
    rows_of,
)
from fusion_search.analysis.records.selection import count_label

_IMAGE: Final = 3.0  # height of the image stream's middle
_AUDIO: Final = 0.0
_STREAM: Final = 0.28  # half a stream's height
_SLOT: Final = 0.42  # width of one coupling
_LEVEL: Final = 1.15  # width of a level's box
_GAP: Final = 0.22
_INCHES: Final = 0.98  # per unit
_COUNT_LABELS: Final = dict(
    zip(COUNTED, ("number of MMTM modules", "number of couplings of any kind"), strict=True)
)


@drawn
def draw_placement(
    table: pd.DataFrame, objective: Objective, levels: int, *, title: str = "", caption: str = ""
) -> Figure:
    """Draw the levels of both streams, and between them every coupling at its insertion point.

    Boxes are couplings, arrows are connections in their direction; the colour is the marginal
    effect. Below: the mean per fusion depth and per way to fuse, with standard errors.

    Args:
        table: as ``placement.compute_placement`` returns it.
        objective: whose values these are.
        levels: of the deepest network.
        title: above everything.
        caption: small text below; how to read the picture is added to it.
    """
    between = table[table["part"].isin(PLACED)]
    slots = {point: rows_of(between[between["point"] == point]) for point in range(1, levels + 1)}
    widths = {point: max(len(found), 1) * _SLOT + 2 * _GAP for point, found in slots.items()}
    total = 1.0 + sum(_LEVEL + width for width in widths.values()) + 0.7
    figure = new_figure(max(total * _INCHES + 0.9, 6.4), 7.0)
    ((upper,), (lower,)) = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.75, 1])
    axes = upper.add_subplot()
    # A single sample on one side can be far off; it must not wash out all other colours.
    factor, unit = (100, ", points") if objective.is_accuracy else (1, "")
    effects = factor * between["effect"].where(between["effect_error"].notna()).to_numpy(
        dtype=float
    )
    largest = float(np.nanmax(np.abs(effects), initial=0.0))
    scale = Normalize(-(largest or 1.0), largest or 1.0)
    # Blue is always the better side.
    colours = DIFFERENCE_COLOURS if objective.sign > 0 else f"{DIFFERENCE_COLOURS}_r"
    place = _draw_input(axes, total)
    for point, found in slots.items():
        place = _draw_level(axes, place, point)
        if not found:
            axes.text(
                place + widths[point] / 2,
                1.5,
                "nothing\ntried",
                fontsize=7,
                ha="center",
                color="0.5",
            )
        for number, row in enumerate(found):
            centre = place + _GAP + (number + 0.5) * _SLOT
            colour = mpl.colormaps[colours](float(scale(factor * row["effect"])))
            _draw_coupling(axes, centre, row, objective, colour)
        axes.text(
            place + widths[point] / 2,
            _AUDIO - 0.62,
            f"insertion point {point}",
            fontsize=7.5,
            ha="center",
            color="0.35",
        )
        place += widths[point]
    axes.set_xlim(0, total)
    axes.set_ylim(-0.75, _IMAGE + 0.55)
    axes.set_axis_off()
    if largest:
        add_colour_bar(figure, [axes], scale, colours, f"effect on {objective.words}{unit}")
    depth_axes, fusion_axes = lower.subplots(1, 2, sharey=True)
    _draw_means(depth_axes, table[table["part"] == "fusion_depth"], objective, "fusion depth d")
    _draw_means(fusion_axes, table[table["part"] == "fusion"], objective, "how streams fuse, d > 0")
    depth_axes.set_ylabel(objective.words, fontsize=8)
    figure.suptitle(title, fontsize=11)
    add_caption(figure, f"{caption} {_note(table, objective)}".strip())
    return figure


def _note(table: pd.DataFrame, objective: Objective) -> str:
    stopped = int(table.loc[table["part"] == "fusion_depth", "stopped"].sum())
    unit = "percentage points" if objective.is_accuracy else objective.words
    return (
        "Boxes: couplings of both streams; arrows: connections. Printed and coloured (blue: "
        f"better, red: worse; the scale leaves out what has no error): {objective.words}, average "
        "of the finished samples that have it minus that of those that could and do not, in "
        f"{unit}, with its standard error, and n with it. Whatever else was chosen is averaged "
        "over. Below: averages with their standard errors. "
        f"Left out: {count_label(stopped, 'stopped sample')}."
    )


def _draw_input(axes: Axes, total: float) -> float:
    for height, name in ((_IMAGE, "image"), (_AUDIO, "audio")):
        axes.annotate(
            "",
            (total - 0.05, height),
            (0.72, height),
            arrowprops={"arrowstyle": "-|>", "color": "0.45", "linewidth": 1.6},
            zorder=1,
        )
        axes.text(0.05, height, name, fontsize=10, va="center", ha="left", weight="bold")
    return 1.0


def _draw_level(axes: Axes, left: float, level: int) -> float:
    """Both streams' boxes of one level; returns where they end."""
    for height in (_IMAGE, _AUDIO):
        axes.add_patch(
            FancyBboxPatch(
                (left, height - _STREAM),
                _LEVEL - 0.1,
                2 * _STREAM,
                boxstyle="round,pad=0,rounding_size=0.07",
                facecolor="0.93",
                edgecolor="0.35",
                zorder=2,
            )
        )
        axes.text(
            left + (_LEVEL - 0.1) / 2,
            height,
            f"level {level}",
            fontsize=9,
            ha="center",
            va="center",
            zorder=3,
        )
    return left + _LEVEL


def _draw_coupling(
    axes: Axes, centre: float, row: Mapping[str, Any], objective: Objective, colour: Any
) -> None:
    """A box (coupling), or an arrow down (to audio) or up (to image), with its numbers."""
    half = _SLOT * 0.42
    # On the streams' lines: a coupling changes both, a connection reads one and changes the other.
    top, bottom = _IMAGE - 0.06, _AUDIO + 0.06
    if row["part"] == "couplings":
        shape = [(-half, bottom), (half, bottom), (half, top), (-half, top)]
    else:
        body, tip = half * 0.72, 0.3
        shape = [(-body, top), (-body, bottom + tip), (-half * 1.15, bottom + tip), (0, bottom)]
        shape += [(-x, y) for x, y in reversed(shape[:-1])]
        if row["part"] == "to_image":
            shape = [(x, top + bottom - y) for x, y in shape]
    known = not math.isnan(row["effect"])
    axes.add_patch(
        Polygon(
            [(centre + x, y) for x, y in shape],
            facecolor=colour if known else "white",
            edgecolor="0.3",
            linewidth=0.8,
            zorder=4,
        )
    )
    red, green, blue = colour[:3]
    dark = known and 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.45
    axes.text(
        centre,
        (top + bottom) / 2,
        f"{_name(row)}  {effect_text(row, objective)}  n={row['n']}",
        rotation=90,
        fontsize=7.5,
        ha="center",
        va="center",
        color="white" if dark else "black",
        zorder=5,
    )


def _name(row: Mapping[str, Any]) -> str:
    if row["part"] == "couplings":
        return KIND_WORDS.get(str(row["option"]), str(row["option"]))
    return connection_words(row["option"])


def effect_text(row: Mapping[str, Any], objective: Objective) -> str:
    """An effect with its standard error, accuracies in percentage points."""
    factor, digits = (100, ".1f") if objective.is_accuracy else (1, ".3g")
    effect, error = factor * row["effect"], factor * row["effect_error"]
    if math.isnan(effect):
        return "no comparison"
    return f"{effect:+{digits}}" + ("" if math.isnan(error) else f" ± {error:{digits}}")


def _draw_means(axes: Axes, rows: pd.DataFrame, objective: Objective, label: str) -> None:
    # An option of which none finished has no mean; its place stays empty and says n=0.
    places = np.arange(len(rows))
    axes.errorbar(
        places,
        rows["mean"],
        yerr=rows["mean_error"].fillna(0.0),
        fmt="o",
        color="0.25",
        markersize=5,
        capsize=3,
    )
    names = [KIND_WORDS.get(option, option) for option in rows["option"]]
    counts = [f"{name}\nn={n}" for name, n in zip(names, rows["n"], strict=True)]
    axes.set_xticks(places, counts, fontsize=7.5)
    axes.set_xlim(-0.6, max(len(rows) - 0.4, 0.6))
    axes.margins(y=0.2)
    axes.tick_params(axis="y", labelsize=7.5)
    if objective.is_accuracy:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    axes.grid(axis="y", alpha=0.25)
    axes.set_title(label, fontsize=8.5)


@drawn
def draw_count(
    table: pd.DataFrame, objective: Objective, *, title: str = "", caption: str = ""
) -> Figure:
    """Draw the objective over the number of MMTM modules, and of couplings of any kind.

    Args:
        table: as ``placement.compute_count`` returns it.
        objective: whose values these are.
        title: above the panels.
        caption: small text below; what the marks mean is added to it.
    """
    figure = new_figure(7.6, 4.0)
    panels = figure.subplots(1, len(COUNTED), sharey=True)
    generator = np.random.default_rng(0)
    for axes, counted in zip(panels, COUNTED, strict=True):
        part = table[table["counted"] == counted]
        shifts = generator.uniform(-0.12, 0.12, len(part))
        axes.plot(part["count"] + shifts, part["value"], "o", color="0.65", markersize=3.5)
        means = part.drop_duplicates("count")
        axes.errorbar(
            means["count"],
            means["mean"],
            yerr=means["mean_error"].fillna(0.0),
            fmt="o-",
            color="tab:blue",
            capsize=3,
            linewidth=1.4,
        )
        ticks = [f"{row['count']}\nn={row['n']}" for row in rows_of(means)]
        axes.set_xticks(means["count"].to_list(), ticks)
        axes.set_xlabel(_COUNT_LABELS[counted], fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.margins(x=0.15)
    if objective.is_accuracy:
        panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    panels[0].set_ylabel(objective.words, fontsize=9)
    figure.suptitle(title, fontsize=11)
    note = (
        "Grey: finished samples with separate levels (fusion depth 1 or more), spread sideways; "
        "blue: their mean and its standard error."
    )
    add_caption(figure, f"{caption} {note}".strip())
    return figure
