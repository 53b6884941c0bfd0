"""The streams with what couples them at every site, coloured by what it is worth."""

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

from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_colour_bar,
    add_title,
    difference_colours,
    drawn,
    new_figure,
    value_axis,
)
from fusion_search.analysis.placement_effects import COUNTED
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import Objective, rows_of
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.words.networks import kind_words

_APART: Final = 3.0  # between the middles of two streams
_STREAM: Final = 0.28  # half a stream's height
_SLOT: Final = 0.42  # width of one coupling
_LEVEL: Final = 1.15  # width of a level's box
_GAP: Final = 0.22
_INCHES: Final = 0.98  # per unit
_NAMES: Final = 1.0  # width of the streams' names, with the beginning of their lines
_LETTER: Final = 0.105  # of such a name, in units
_SITE_LETTERS: Final = 11  # of a site's name, as many as its box holds in full size
_PARTS: Final = {
    "fusion_depth": "fusion depth d",
    "end": "how streams end",
    "streams": "streams",
}
_COUNT_LABELS: Final = dict(
    zip(COUNTED, ("number of MMTM modules", "number of couplings of any kind"), strict=True)
)


@drawn
def draw_placement(
    table: pd.DataFrame,
    objective: Objective,
    description: TaskDescription,
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw the streams, and between them every coupling at its site.

    Boxes are couplings, arrows are connections in their direction; the colour is the marginal
    effect. Below: the mean per layout setting and per way to end, with standard errors.

    Args:
        table: as ``placement_effects.compute_placement`` returns it.
        objective: whose values these are.
        description: of the search.
        title: above everything.
        caption: small text below; how to read the picture is added to it.
    """
    between = table[table["site"] != ""]
    slots = {site: rows_of(between[between["site"] == site]) for site in between["site"].unique()}
    widths = {site: max(len(found), 1) * _SLOT + 2 * _GAP for site, found in slots.items()}
    names = max(_NAMES, _LETTER * max(map(len, description.streams)) + 0.3)
    total = names + sum(_LEVEL + width for width in widths.values()) + 0.7
    streams = {name: _APART * at for at, name in enumerate(reversed(description.streams))}
    high = _APART * (len(streams) - 1)
    parts = list(dict.fromkeys(table.loc[table["site"] == "", "part"]))
    figure = new_figure(max(total * _INCHES + 0.9, 6.4), 1.2 + 1.1 * high + 2.5 * bool(parts))
    upper, lower = figure, figure
    if parts:
        ratios = [1.4 + 1.1 * high, 2.3]
        ((upper,), (lower,)) = figure.subfigures(2, 1, squeeze=False, height_ratios=ratios)
    axes = upper.add_subplot()
    # A single sample on one side can be far off; it must not wash out all other colours.
    factor, unit = (100, ", points") if objective.is_share else (1, "")
    told = between["effect_error"].notna() & (between["confounded_with"] == "")
    effects = factor * between["effect"].where(told).to_numpy(dtype=float)
    largest = float(np.nanmax(np.abs(effects), initial=0.0))
    scale = Normalize(-(largest or 1.0), largest or 1.0)
    colours = difference_colours(objective)
    _draw_inputs(axes, streams, names, total)
    place = names
    for site, found in slots.items():
        place = _draw_site(axes, place, site, streams)
        for number, row in enumerate(found):
            centre = place + _GAP + (number + 0.5) * _SLOT
            colour = mpl.colormaps[colours](float(scale(factor * row["effect"])))
            _draw_coupling(axes, centre, row, objective, colour, streams)
        place += widths[site]
    if not slots:
        axes.text(total / 2, high / 2, "nothing was tried between the streams", ha="center")
    axes.set_xlim(0, total)
    axes.set_ylim(-0.75, high + 0.55)
    axes.set_axis_off()
    if largest:
        add_colour_bar(upper, [axes], scale, colours, f"effect on {objective.label}{unit}")
    panels = lower.subplots(1, len(parts), sharey=True, squeeze=False)[0] if parts else []
    for panel, part in zip(panels, parts, strict=True):
        _draw_means(panel, table[table["part"] == part], objective, _PARTS.get(part, part))
    for panel in panels[:1]:
        panel.set_ylabel(objective.label, fontsize=8)
    add_title(figure, title)
    add_caption(figure, f"{caption} {_note(table, objective)}".strip())
    return figure


def _note(table: pd.DataFrame, objective: Objective) -> str:
    stopped = int(table["all_stopped"].max()) if len(table) else 0
    unit = "percentage points" if objective.is_share else objective.words
    return (
        "Boxes: couplings of the streams; arrows: connections. Printed and coloured (blue: "
        f"better, red: worse; the scale leaves out what has no error): {objective.words}, average "
        "of the finished samples that have it minus that of those that could and do not, in "
        f"{unit}, with its standard error, and n with it. Whatever else was chosen is averaged "
        "over; not told apart: from another choice, of which no value is common to these "
        "samples and the others. Below: averages with their standard errors. "
        f"Left out: {count_label(stopped, 'stopped sample')}."
    )


def _draw_inputs(axes: Axes, streams: Mapping[str, float], names: float, total: float) -> None:
    for name, height in streams.items():
        axes.annotate(
            "",
            (total - 0.05, height),
            (names - 0.28, height),
            arrowprops={"arrowstyle": "-|>", "color": "0.45", "linewidth": 1.6},
            zorder=1,
        )
        axes.text(0.05, height, name, fontsize=10, va="center", ha="left", weight="bold")


def _draw_site(axes: Axes, left: float, site: str, streams: Mapping[str, float]) -> float:
    """All streams' boxes of what lies before a site; returns where they end."""
    size = 9 * min(1.0, _SITE_LETTERS / len(site))
    for height in streams.values():
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
        middle = left + (_LEVEL - 0.1) / 2
        axes.text(middle, height, site, fontsize=size, ha="center", va="center", zorder=3)
    return left + _LEVEL


def _draw_coupling(
    axes: Axes,
    centre: float,
    row: Mapping[str, Any],
    objective: Objective,
    colour: Any,
    streams: Mapping[str, float],
) -> None:
    """A box over all streams (coupling), or an arrow from one to another, with its numbers."""
    half = _SLOT * 0.42
    source, arrow, target = str(row["part"]).partition(">")
    ends = [streams[source], streams[target]] if arrow else list(streams.values())
    # On the streams' lines: a coupling changes all, a connection reads one and changes the other.
    top, bottom = max(ends) - 0.06, min(ends) + 0.06
    if not arrow:
        shape = [(-half, bottom), (half, bottom), (half, top), (-half, top)]
    else:
        body, tip = half * 0.72, 0.3
        shape = [(-body, top), (-body, bottom + tip), (-half * 1.15, bottom + tip), (0, bottom)]
        shape += [(-x, y) for x, y in reversed(shape[:-1])]
        if streams[target] > streams[source]:
            shape = [(x, top + bottom - y) for x, y in shape]
    known = not math.isnan(row["effect"]) and not row["confounded_with"]
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
        f"{kind_words(str(row['option']))}  {effect_text(row, objective)}  n={row['n']}",
        rotation=90,
        fontsize=7.5,
        ha="center",
        va="center",
        color="white" if dark else "black",
        zorder=5,
    )


def effect_text(row: Mapping[str, Any], objective: Objective) -> str:
    """An effect with its standard error, shares in percentage points; in words where it is none."""
    if row["confounded_with"]:
        return "not told apart"
    factor, digits = (100, ".1f") if objective.is_share else (1, ".3g")
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
    names = [kind_words(option) for option in rows["option"]]
    counts = [f"{name}\nn={n}" for name, n in zip(names, rows["n"], strict=True)]
    axes.set_xticks(places, counts, fontsize=7.5)
    axes.set_xlim(-0.6, max(len(rows) - 0.4, 0.6))
    axes.margins(y=0.2)
    axes.tick_params(axis="y", labelsize=7.5)
    value_axis(axes.yaxis, objective)
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
    there = [one for one in COUNTED if one in set(table["counted"])]
    panels = figure.subplots(1, len(there), sharey=True, squeeze=False)[0]
    generator = np.random.default_rng(0)
    for axes, counted in zip(panels, there, strict=True):
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
    value_axis(panels[0].yaxis, objective)
    panels[0].set_ylabel(objective.label, fontsize=9)
    add_title(figure, title)
    note = (
        "Grey: finished samples whose networks have sites, spread sideways; "
        "blue: their mean and its standard error."
    )
    add_caption(figure, f"{caption} {note}".strip())
    return figure
