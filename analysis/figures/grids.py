"""SNR grids: accuracy at every test condition, and the sheet of one map per train pair."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusion_search.analysis.figures.drawing import (
    ACCURACY_COLOURS,
    add_caption,
    add_colour_bar,
    axis_label,
    draw_map,
    draw_missing,
    drawn,
    new_figure,
    root_figure,
    share_scale,
)
from fusion_search.analysis.records.selection import (
    Search,
    TrainPair,
    at_train_pair,
    condition_columns,
    count_label,
    pair_label,
)


def compute_grid(grid: pd.DataFrame, trial_ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Accuracy 0..1 at every test condition, the mean over trials weighted by their examples.

    Args:
        grid: the ``grid`` table of a search.
        trial_ids: the trials to average; all in the table by default.

    Returns:
        Index ``test_audio_snr``, columns ``test_visual_snr`` (named as in ``grid``), both
        descending (original first). A condition without a record is NaN.
    """
    rows, columns = condition_columns(grid)
    if trial_ids is not None:
        grid = grid[grid["trial_id"].isin(list(trial_ids))]
    sums = grid.groupby([rows, columns])[["n", "correct"]].sum()
    accuracy = (sums["correct"] / sums["n"]).unstack(columns)
    return accuracy.sort_index(ascending=False).sort_index(axis=1, ascending=False)


@drawn
def draw_grid(
    accuracy: pd.DataFrame,
    *,
    train_pair: TrainPair | None = None,
    title: str = "",
    caption: str = "",
    axes: Axes | None = None,
) -> Figure:
    """Draw the map of one grid, values printed in the cells, with a colour bar from 0 to 1.

    Args:
        accuracy: as :func:`compute_grid` returns it.
        train_pair: (audio SNR, visual SNR), boxed in red.
        title: above the map.
        caption: small text below, only when the figure is made here.
        axes: where to draw; a new figure by default.

    Returns:
        The figure drawn on.
    """
    scale = share_scale()
    if axes is None:
        figure = new_figure(5.6, 5.2)
        axes = figure.add_subplot()
        if caption:
            add_caption(figure, caption)
    else:
        figure = root_figure(axes)
    draw_map(axes, accuracy, scale=scale, train_pair=train_pair, number_format=".2f", tick_size=8)
    axes.set_xlabel(axis_label(accuracy.columns.name), fontsize=9)
    axes.set_ylabel(axis_label(accuracy.index.name), fontsize=9)
    axes.set_title(title, fontsize=10)
    add_colour_bar(figure, [axes], scale, ACCURACY_COLOURS, "accuracy")
    return figure


def compute_sheet(search: Search, train_pairs: Sequence[TrainPair]) -> pd.DataFrame:
    """The grids of every fusion depth and train pair, as one long table.

    Args:
        search: its finished trials are used; narrow it to one modality first.
        train_pairs: (audio SNR, visual SNR) of the maps wanted; those without a finished trial
            are absent from the table.

    Returns:
        One row per fusion depth, train pair and test condition: ``seeds`` (how many), ``n``,
        ``correct`` (sums over seeds) and ``accuracy`` (0..1).
    """
    grid = search.read_grid()
    pairs = pd.MultiIndex.from_frame(grid[["train_audio_snr", "train_visual_snr"]])
    grid = grid[pairs.isin(list(train_pairs))]
    keys = ["fusion_depth", "train_audio_snr", "train_visual_snr", *condition_columns(grid)]
    groups = grid.groupby(keys)
    sheet = groups.agg(seeds=("seed", "nunique"), n=("n", "sum"), correct=("correct", "sum"))
    sheet["accuracy"] = sheet["correct"] / sheet["n"]
    return sheet.sort_index(ascending=[True] + [False] * 4).reset_index()


@drawn
def draw_sheet(
    sheet: pd.DataFrame,
    train_pairs: Sequence[TrainPair],
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw one map per train pair, all with colours from 0 to 1.

    Laid out as the paper's sheet: train audio SNR grows downwards, train visual SNR falls to the
    right. A train pair without records is an empty panel that says "missing"; where two SNRs of
    the sheet are no train pair, the place stays blank. A single pair is one large map with its
    values printed.

    Args:
        sheet: rows of :func:`compute_sheet` of one fusion depth.
        train_pairs: what was declared for this depth, and is wanted.
        title: above the sheet.
        caption: small text below it.
    """
    titles = {pair: _panel_title(sheet, pair) for pair in train_pairs}
    grids = {pair: compute_grid(at_train_pair(sheet, pair)) for pair in train_pairs}
    if len(train_pairs) == 1 and len(sheet):
        (pair,) = train_pairs
        heading = f"{title}\n{titles[pair]}"
        return draw_grid(grids[pair], train_pair=pair, title=heading, caption=caption)
    positions = _positions(train_pairs)
    rows = 1 + max(row for row, _ in positions.values())
    columns = 1 + max(column for _, column in positions.values())
    size = 2.35 if rows * columns > 4 else 3.0
    figure = new_figure(size * columns + 1.3, size * 1.06 * rows + 1.2)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat:
        axes.set_visible(False)
    maps = {positions[pair] for pair, grid in grids.items() if not grid.empty}
    scale = share_scale()
    for pair, (row, column) in positions.items():
        axes = panels[row, column]
        axes.set_visible(True)
        axes.set_title(titles[pair], fontsize=8)
        if grids[pair].empty:
            draw_missing(axes)
            continue
        draw_map(axes, grids[pair], scale=scale, train_pair=pair)
        # Read off the neighbour's labels only where there is such a neighbour.
        axes.tick_params(
            labelbottom=(row + 1, column) not in maps, labelleft=(row, column - 1) not in maps
        )
    figure.suptitle(title, fontsize=11)
    vertical, horizontal = condition_columns(sheet)
    figure.supxlabel(axis_label(horizontal), fontsize=9)
    figure.supylabel(axis_label(vertical), fontsize=9)
    add_colour_bar(figure, panels.flat, scale, ACCURACY_COLOURS, "accuracy")
    add_caption(figure, caption)
    return figure


def _positions(train_pairs: Sequence[TrainPair]) -> dict[TrainPair, tuple[int, int]]:
    """Row and column of each pair's panel."""
    audio_snrs = sorted({audio for audio, _ in train_pairs})
    visual_snrs = sorted({visual for _, visual in train_pairs}, reverse=True)
    return {(a, v): (audio_snrs.index(a), visual_snrs.index(v)) for a, v in train_pairs}


def _panel_title(sheet: pd.DataFrame, train_pair: TrainPair) -> str:
    seeds = at_train_pair(sheet, train_pair)["seeds"]
    count = "no trial" if seeds.empty else count_label(int(seeds.max()), "seed")
    return f"train {pair_label(train_pair)} ({count})"
