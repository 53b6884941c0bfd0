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
    COUNTS,
    REPETITION,
    network_title,
    networks,
    of_network,
    pooled,
    repeated,
    train_order,
)
from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_title,
    axis_label,
    draw_interval,
    drawn,
    new_figure,
    row_figure,
    value_axis,
    wrapped,
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
_PANEL_WIDTH: Final = 4.4  # inches
_LABEL_WIDTH: Final = 3.4
_SPREAD: Final = ("deviation", "lowest", "highest", "low", "high")
_FEWEST: Final = 5  # seeds; an interval of fewer is wider than the figure, and says little
_MOST_LEVEL: Final = 8  # SNRs whose labels stand beside each other
_APART: Final = 0.07  # between lines, so that bars do not hide each other


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
        without axis), ``seeds``, ``folds`` and ``trials`` (how many), the metric (mean over seeds,
        each the mean over its trials, which share examples), ``deviation`` (sample standard
        deviation over seeds; NaN for one), ``lowest`` and ``highest`` single trial, and ``low`` and
        ``high`` of the 95 % t interval over seeds, within what the metric can be.
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
        values = pooled(part, [*keys, *REPETITION], metric).reset_index()
        groups: list[tuple[Any, pd.DataFrame]] = list(
            values.groupby(keys, dropna=False, sort=False)
        )
        for key, group in sorted(groups, key=lambda one: (train_order(one[0][1]), -one[0][2])):
            rows.append({**network, **dict(zip(keys, key, strict=True)), **_spread(group, metric)})
    columns = [*network_columns(description), *keys, *COUNTS, metric.name, *_SPREAD]
    return pd.DataFrame(rows, columns=columns)


def _spread(trials: pd.DataFrame, metric: MetricDescription) -> dict[str, Any]:
    """Mean and spread of a value per trial."""
    each = trials[metric.name]
    seeds = trials.groupby("seed")[metric.name].mean()
    mean, low, high = interval(
        seeds.to_numpy(dtype=float), share=metric.share, minimize=metric.sign < 0
    )
    return {
        metric.name: mean,
        "low": low,
        "high": high,
        "lowest": each.min(),
        "highest": each.max(),
        "deviation": seeds.std(),
        "seeds": len(seeds),
        "folds": trials["fold"].nunique(),
        "trials": len(trials),
    }


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

    Bars are 95 % t intervals, or of few seeds go from the lowest to the highest trial; a ring marks
    the train SNR; what is measured with the input absent stands beside the line.

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
    figure = new_figure(_PANEL_WIDTH * columns + 0.4, 3.9 * rows + 0.3)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    axis_of = {axis.name: axis for axis in description.axes}
    for number, axes in enumerate(panels.flat):
        axes.set_visible(number < len(found))
    for axes, network in zip(panels.flat, found, strict=False):
        part = of_network(table, network)
        size = 10 if len(found) < 5 else 8
        axes.set_title(wrapped(network_title(network), _PANEL_WIDTH - 0.6, size), fontsize=size)
        _draw_lines(axes, part, metric, _ends(table))
        if _is_chance(description, metric):
            axes.axhline(1 / description.classes, color="0.6", linestyle=":", linewidth=1)
        axes.set_xlabel(axis_label(axis_of[part["axis"].iloc[0]]), fontsize=9)
    for axes in panels[:, 0]:
        axes.set_ylabel(metric.label, fontsize=9)
        value_axis(axes.yaxis, metric)
    if metric.share:
        panels[0, 0].set_ylim(0, 1.02)
    add_title(figure, title)
    spread = f"Bars: {_bar_words(table, metric)}. " if _is_repeated(table) else ""
    chance = " Dotted: chance." if _is_chance(description, metric) else ""
    note = f"{caption} {spread}Ring: test SNR = train SNR.{chance}"
    add_caption(figure, note.strip())
    return figure


def _is_repeated(table: pd.DataFrame) -> bool:
    return bool((table["trials"] > 1).any())


def _are_few(table: pd.DataFrame) -> bool:
    return bool(table["seeds"].min() < _FEWEST)


def _bar_words(table: pd.DataFrame, metric: MetricDescription) -> str:
    """What bars reach to, and over what."""
    if _are_few(table):
        return (
            f"lowest and highest of the trials ({repeated(table)}; with fewer than {_FEWEST} "
            "seeds, no interval)"
        )
    seeds, folds, trials = (int(table[one].max()) for one in COUNTS)
    several = f"{folds} folds" if folds > 1 else "its trials" if trials > seeds else ""
    each = f", each the mean over {several}" if several else ""
    return f"95 % t interval over n = {seeds} seeds{each}"


def _ends(table: pd.DataFrame) -> tuple[str, str]:
    return ("lowest", "highest") if _are_few(table) else ("low", "high")


def _is_chance(description: TaskDescription, metric: MetricDescription) -> bool:
    return metric.name == "accuracy" and description.classes > 0


def _draw_lines(
    axes: Axes, part: pd.DataFrame, metric: MetricDescription, ends: tuple[str, str]
) -> None:
    test_snrs = sorted(part["test_snr"].unique(), reverse=True)
    lines: list[Any] = list(part.groupby("train_snr", sort=False))
    # Yellow, an end of the colours, is too faint for a line.
    colours = mpl.colormaps["viridis"].resampled(256)
    for number, (train, line) in enumerate(lines):
        colour = colours(0.88 * number / max(len(lines) - 1, 1))
        label = f"{snr_label(train)} ({repeated(line)})"
        shift = _APART * (number - (len(lines) - 1) / 2)
        for there, style in ((line["test_snr"] != ABSENT, "-"), (line["test_snr"] == ABSENT, "")):
            own = line[there]
            if own.empty:
                continue
            values = own[metric.name]
            reach = [(values - own[ends[0]]).fillna(0.0), (own[ends[1]] - values).fillna(0.0)]
            axes.errorbar(
                [test_snrs.index(snr) + shift for snr in own["test_snr"]],
                values,
                yerr=reach if line["trials"].max() > 1 else None,
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
            [test_snrs.index(snr) + shift for snr in at_train["test_snr"]],
            at_train[metric.name],
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor=colour,
            linestyle="none",
        )
    axes.set_xticks(range(len(test_snrs)), [snr_label(snr) for snr in test_snrs])
    axes.tick_params(labelsize=8)
    if len(test_snrs) > _MOST_LEVEL:
        axes.tick_params(axis="x", rotation=90)
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
    labels = [
        wrapped(f"{network_title(row)} ({repeated(pd.DataFrame([row]))})", _LABEL_WIDTH, 8)
        for row in rows_of(ordered)
    ]
    figure, axes = row_figure(labels)
    for place, row in enumerate(rows_of(ordered)):
        low, high = (row[one] for one in _ends(ordered))
        draw_interval(axes, place, row[metric.name], low, high, "tab:blue")
    value_axis(axes.xaxis, metric)
    axes.set_xlabel(metric.label, fontsize=9)
    axes.set_title(title, fontsize=10)
    bars = f"; bars: {_bar_words(ordered, metric)}" if _is_repeated(ordered) else ""
    note = f"Diamond: mean{bars}."
    add_caption(figure, f"{caption} {note}".strip())
    return figure
