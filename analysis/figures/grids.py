"""Grids of two axes: a metric at every test condition, and a sheet of maps by train condition.

Rows are the first axis, columns the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from fusion_search.analysis.conditions import (
    TrainCondition,
    at_train,
    matrix,
    pooled,
    repeated,
    train_label,
)
from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_colour_bar,
    add_title,
    axis_label,
    cell_format,
    draw_map,
    draw_missing,
    drawn,
    new_figure,
    root_figure,
    value_colours,
    value_scale,
    wrapped,
)
from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.selection import Search, network_columns


def compute_grid(
    grid: pd.DataFrame,
    description: TaskDescription,
    metric: MetricDescription,
    trial_ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """A metric at every test condition, over trials as :func:`analysis.conditions.pooled` does it.

    Args:
        grid: the ``grid`` table of a search with two axes.
        description: of the search.
        metric: which one.
        trial_ids: the trials to average; all in the table by default.

    Returns:
        Index: test SNRs of the first axis; columns: of the second; both descending (original
        first, absent last). A condition without a record is NaN.
    """
    if trial_ids is not None:
        grid = grid[grid["trial_id"].isin(list(trial_ids))]
    return matrix(pooled(grid, description.test_columns, metric))


@drawn
def draw_grid(
    table: pd.DataFrame,
    description: TaskDescription,
    metric: MetricDescription,
    *,
    train: TrainCondition | None = None,
    scale: Normalize | None = None,
    title: str = "",
    caption: str = "",
    axes: Axes | None = None,
) -> Figure:
    """Draw the map of one grid, values printed in the cells, with a colour bar.

    Args:
        table: as :func:`compute_grid` returns it.
        description: of the search.
        metric: that is drawn.
        train: where it was trained, boxed in red.
        scale: values at the ends of the colours; by default as
            :func:`analysis.figures.drawing.value_scale` says.
        title: above the map.
        caption: small text below, only when the figure is made here.
        axes: where to draw; a new figure by default.

    Returns:
        The figure drawn on.
    """
    if axes is None:
        figure = new_figure(5.6, 5.2)
        axes = figure.add_subplot()
        if caption:
            add_caption(figure, caption)
    else:
        figure = root_figure(axes)
    scale = scale or value_scale(metric, [table])
    colours = value_colours(metric)
    draw_map(
        axes,
        table,
        scale=scale,
        colours=colours,
        train=train,
        number_format=cell_format(metric),
        tick_size=8,
    )
    vertical, horizontal = map(axis_label, description.axes)
    axes.set_xlabel(horizontal, fontsize=9)
    axes.set_ylabel(vertical, fontsize=9)
    # Over the axes, which the colour bar leaves less than the figure's width.
    width = figure.get_size_inches()[0] - 1.2
    lines = [wrapped(line, width, 10) for line in title.split("\n")]
    axes.set_title("\n".join(lines), fontsize=10)
    add_colour_bar(figure, [axes], scale, colours, metric.label)
    return figure


def compute_sheet(
    search: Search, wanted: Sequence[TrainCondition], metric: MetricDescription | None = None
) -> pd.DataFrame:
    """The grids of every network and train condition, as one long table.

    Args:
        search: its finished trials are used.
        wanted: the train conditions; those without a finished trial are absent from the table.
        metric: the one that chooses by default.

    Returns:
        One row per network, train condition and test condition: the columns of
        :func:`analysis.records.selection.network_columns`, ``train_<axis>``, ``test_<axis>``,
        ``seeds``, ``folds`` and ``trials`` (how many), ``n``, for a mean its ``_sum``, and the
        metric.
        Conditions in which an input is absent are there, too.
    """
    description = search.description
    metric = metric or description.metric
    grid = search.read_grid()
    network, train = network_columns(description), list(description.train_columns)
    keys = [*network, *train, *description.test_columns]
    parts = [at_train(grid, one, description).assign(place=i) for i, one in enumerate(wanted)]
    grid = pd.concat([grid.iloc[:0].assign(place=0), *parts])
    groups = grid.groupby(["place", *keys], sort=False, dropna=False)
    columns = {
        "seeds": ("seed", "nunique"),
        "folds": ("fold", "nunique"),
        "trials": ("trial_id", "nunique"),
        "n": ("n", "sum"),
    }
    if metric.is_mean:
        columns[f"{metric.name}_sum"] = (f"{metric.name}_sum", "sum")
    sheet = groups.agg(**columns)
    sheet = sheet.join(pooled(grid, ["place", *keys], metric)).reset_index()
    order = [*network, "place", *description.test_columns]
    ascending = [True] * (len(network) + 1) + [False] * len(description.axes)
    sheet = sheet.sort_values(order, ascending=ascending, kind="stable", ignore_index=True)
    return sheet.drop(columns="place")


@drawn
def draw_sheet(
    sheet: pd.DataFrame,
    conditions: Sequence[TrainCondition],
    description: TaskDescription,
    metric: MetricDescription,
    *,
    scale: Normalize | None = None,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw one map per train condition, all with the same colours.

    Laid out as the paper's sheet: the first axis' train SNR grows downwards, the second's falls to
    the right. A train condition without records is an empty panel that says "missing"; where two
    SNRs of the sheet are no train condition, the place stays blank; were half of the places or more
    to stay so, the maps follow each other row by row. A single one is one large map with its values
    printed.

    Args:
        sheet: rows of :func:`compute_sheet` of one network.
        conditions: what was declared for this network, and is wanted.
        description: of the search.
        metric: that is drawn.
        scale: values at the ends of the colours; by default as
            :func:`analysis.figures.drawing.value_scale` says.
        title: above the sheet.
        caption: small text below it.
    """
    parts = {one: at_train(sheet, one, description) for one in conditions}
    titles = {one: _panel_title(part, one, description) for one, part in parts.items()}
    grids = {one: compute_grid(part, description, metric) for one, part in parts.items()}
    scale = scale or value_scale(metric, grids.values())
    if len(conditions) == 1 and len(sheet):
        (one,) = conditions
        heading = f"{title}\n{titles[one]}"
        return draw_grid(
            grids[one],
            description,
            metric,
            train=one,
            scale=scale,
            title=heading,
            caption=caption,
        )
    positions = _positions(conditions)
    rows = 1 + max(row for row, _ in positions.values())
    columns = 1 + max(column for _, column in positions.values())
    size = 2.35 if rows * columns > 4 else 3.0
    figure = new_figure(size * columns + 1.3, size * 1.06 * rows + 1.2)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat:
        axes.set_visible(False)
    maps = {positions[one] for one, grid in grids.items() if not grid.empty}
    colours = value_colours(metric)
    for one, (row, column) in positions.items():
        axes = panels[row, column]
        axes.set_visible(True)
        axes.set_title(wrapped(titles[one], 1.15 * size, 8), fontsize=8)
        if grids[one].empty:
            draw_missing(axes)
            continue
        draw_map(axes, grids[one], scale=scale, colours=colours, train=one)
        # Read off the neighbour's labels only where there is such a neighbour.
        axes.tick_params(
            labelbottom=(row + 1, column) not in maps, labelleft=(row, column - 1) not in maps
        )
    add_title(figure, title)
    vertical, horizontal = map(axis_label, description.axes)
    figure.supxlabel(horizontal, fontsize=9)
    figure.supylabel(vertical, fontsize=9)
    add_colour_bar(figure, panels.flat, scale, colours, metric.label)
    add_caption(figure, caption)
    return figure


def _positions(conditions: Sequence[TrainCondition]) -> dict[TrainCondition, tuple[int, int]]:
    """Row and column of each panel."""

    def order(value: float | str) -> tuple[int, float, str]:
        return (1, 0.0, value) if isinstance(value, str) else (0, value, "")

    first = sorted({one for one, _ in conditions}, key=order)
    second = sorted({two for _, two in conditions}, key=order, reverse=True)
    places: dict[TrainCondition, tuple[int, int]] = {
        (one, two): (first.index(one), second.index(two)) for one, two in conditions
    }
    if 2 * len(places) > len(first) * len(second):
        return places
    columns = math.ceil(math.sqrt(len(places)))
    in_order = sorted(places, key=lambda one: places[one])
    return {one: divmod(number, columns) for number, one in enumerate(in_order)}


def _panel_title(part: pd.DataFrame, train: TrainCondition, description: TaskDescription) -> str:
    return f"train {train_label(train, description)} ({repeated(part)})"
