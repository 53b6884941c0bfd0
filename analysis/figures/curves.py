"""Networks whose conditions vary along one axis, as curves, and those without any, as intervals.

Such are all networks of a task with one axis or none, and of other tasks those of some streams.
"""

from __future__ import annotations

import math
from typing import Any, Final

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusion_search.analysis.conditions import (
    network_title,
    networks,
    of_network,
    pooled,
    repeated,
    train_order,
)
from fusion_search.analysis.figures.drawing import (
    add_caption,
    axis_label,
    drawn,
    new_figure,
    percent_axis,
)
from fusion_search.analysis.records.description import (
    ABSENT,
    AxisDescription,
    MetricDescription,
    TaskDescription,
)
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import (
    Search,
    network_columns,
    snr_label,
)
from fusion_search.analysis.statistics import interval

_MOST_COLUMNS: Final = 4  # of panels
_SPREAD: Final = ("deviation", "low", "high")


def axes_of(streams: str, description: TaskDescription) -> list[AxisDescription]:
    """The axes that matter to a network of these streams, all of them where it is empty."""
    there = streams.split("+") if streams else description.streams
    return [axis for axis in description.axes if axis.input.partition(".")[0] in there]


def compute_curves(search: Search, metric: MetricDescription | None = None) -> pd.DataFrame:
    """A metric along the one axis that matters to a network, or without any.

    Args:
        search: its finished trials are used; networks of several axes are left out.
        metric: the one that chooses by default.

    Returns:
        One row per network, train condition and test SNR: the columns of
        :func:`analysis.records.selection.network_columns`, ``axis`` (its name, empty without),
        ``train_snr`` (in words where it is drawn), ``test_snr`` (descending, absent last; NaN
        without axis), ``seeds`` and ``folds`` (how many), the metric (mean over all of these
        trials), ``deviation`` (sample standard deviation; NaN for one), and ``low`` and ``high``
        of the 95 % t interval over them.
    """
    description = search.description
    metric = metric or description.metric
    grid = search.read_grid()
    keys = ["axis", "train_snr", "test_snr"]
    rows: list[dict[str, Any]] = []
    for network in networks(grid, description):
        axes = axes_of(network["streams"], description)
        if len(axes) > 1:
            continue
        part = of_network(grid, network)
        along: dict[str, Any] = {"axis": "", "train_snr": math.nan, "test_snr": math.nan}
        for axis in axes:
            train, test = part[axis.train_column], part[axis.test_column]
            along = {"axis": axis.name, "train_snr": train, "test_snr": test}
        part = part.assign(**along)
        values = pooled(part, [*keys, "fold", "seed"], metric).reset_index()
        groups: list[tuple[Any, pd.DataFrame]] = list(
            values.groupby(keys, dropna=False, sort=False)
        )
        for key, group in sorted(groups, key=lambda one: (train_order(one[0][1]), -one[0][2])):
            own = group[metric.name].to_numpy(dtype=float)
            numbers = dict(zip((metric.name, "low", "high"), interval(own), strict=True))
            spread = {"deviation": group[metric.name].std()}
            spread |= {"seeds": group["seed"].nunique(), "folds": group["fold"].nunique()}
            rows.append({**network, **dict(zip(keys, key, strict=True)), **numbers, **spread})
    columns = [*network_columns(description), *keys, "seeds", "folds", metric.name, *_SPREAD]
    return pd.DataFrame(rows, columns=columns)


@drawn
def draw_curves(
    table: pd.DataFrame,
    description: TaskDescription,
    metric: MetricDescription | None = None,
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw a panel for each network with an axis, one line per train condition.

    Bars are 95 % t intervals; a ring marks the train SNR; what is measured with the input absent
    stands beside the line.

    Args:
        table: rows of :func:`compute_curves` that have an axis.
        description: of the search.
        metric: the one that chooses by default.
        title: above the panels.
        caption: small text below; what bars and rings mean is added to it.
    """
    metric = metric or description.metric
    found = networks(table, description)
    columns = min(len(found), _MOST_COLUMNS)
    rows = math.ceil(len(found) / columns)
    figure = new_figure(4.4 * columns + 0.4, 3.9 * rows + 0.3)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    axis_of = {axis.name: axis for axis in description.axes}
    for number, axes in enumerate(panels.flat):
        axes.set_visible(number < len(found))
    for axes, network in zip(panels.flat, found, strict=False):
        part = of_network(table, network)
        axes.set_title(network_title(network), fontsize=10 if len(found) < 5 else 8)
        _draw_lines(axes, part, metric)
        if _is_chance(description, metric):
            axes.axhline(1 / description.classes, color="0.6", linestyle=":", linewidth=1)
        axes.set_xlabel(axis_label(axis_of[part["axis"].iloc[0]]), fontsize=9)
    for axes in panels[:, 0]:
        axes.set_ylabel(metric.words, fontsize=9)
    if metric.share:
        panels[0, 0].set_ylim(0, 1.02)
    figure.suptitle(title, fontsize=11)
    several = table["seeds"] * table["folds"] > 1
    spread = f"Bars: 95 % t interval over {_over(table)}. " if several.any() else ""
    chance = " Dotted: chance." if _is_chance(description, metric) else ""
    note = f"{caption} {spread}Ring: test SNR = train SNR.{chance}"
    add_caption(figure, note.strip())
    return figure


def _over(table: pd.DataFrame) -> str:
    return "seeds and folds" if (table["folds"] > 1).any() else "seeds"


def _is_chance(description: TaskDescription, metric: MetricDescription) -> bool:
    return metric.name == "accuracy" and description.classes > 0


def _draw_lines(axes: Axes, part: pd.DataFrame, metric: MetricDescription) -> None:
    test_snrs = sorted(part["test_snr"].unique(), reverse=True)
    lines: list[Any] = list(part.groupby("train_snr", sort=False))
    # Yellow, an end of the colours, is too faint for a line.
    colours = mpl.colormaps["viridis"].resampled(256)
    for number, (train, line) in enumerate(lines):
        colour = colours(0.88 * number / max(len(lines) - 1, 1))
        seeds, folds = int(line["seeds"].max()), int(line["folds"].max())
        label = f"{snr_label(train)} ({repeated(seeds, folds)})"
        for there, style in ((line["test_snr"] != ABSENT, "-"), (line["test_snr"] == ABSENT, "")):
            own = line[there]
            if own.empty:
                continue
            half = (own["high"] - own[metric.name]).fillna(0.0)
            axes.errorbar(
                [test_snrs.index(snr) for snr in own["test_snr"]],
                own[metric.name],
                yerr=half if seeds * folds > 1 else None,
                color=colour,
                marker="o" if style else "s",
                markersize=3 if style else 5,
                linestyle=style,
                linewidth=1.4,
                elinewidth=0.8,
                capsize=2,
                label=label,
            )
            label = "_"
        at_train = line[line["test_snr"] == train]
        axes.plot(
            [test_snrs.index(snr) for snr in at_train["test_snr"]],
            at_train[metric.name],
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor=colour,
            linestyle="none",
        )
    axes.set_xticks(range(len(test_snrs)), [snr_label(snr) for snr in test_snrs])
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.legend(title="train SNR", fontsize=8, title_fontsize=8, loc="best")


@drawn
def draw_intervals(
    table: pd.DataFrame,
    description: TaskDescription,
    metric: MetricDescription | None = None,
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw every network's mean and interval, the best on top.

    Args:
        table: rows of :func:`compute_curves` that have no axis.
        description: of the search.
        metric: the one that chooses by default.
        title: above the intervals.
        caption: small text below; what bars mean is added to it.
    """
    metric = metric or description.metric
    ordered = table.sort_values(metric.name, ascending=metric.sign < 0, kind="stable")
    figure = new_figure(8.2, 1.7 + 0.42 * max(len(ordered), 2))
    axes = figure.add_subplot()
    labels = []
    for place, row in enumerate(rows_of(ordered)):
        labels.append(f"{network_title(row)} ({repeated(row['seeds'], row['folds'])})")
        half = 0.0 if math.isnan(row["high"]) else row["high"] - row[metric.name]
        axes.errorbar(
            row[metric.name], place, xerr=half, fmt="D", color="tab:blue", capsize=4, markersize=6
        )
    axes.set_yticks(range(len(ordered)), labels)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    percent_axis(axes.xaxis, metric)
    better = "more" if metric.sign > 0 else "less"
    axes.set_xlabel(f"{metric.words} ({better} is better)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", alpha=0.25)
    axes.set_title(title, fontsize=10)
    note = f"Diamond and bar: mean over {_over(ordered)} and its 95 % t interval."
    add_caption(figure, f"{caption} {note}".strip())
    return figure
