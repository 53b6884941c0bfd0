"""Fusion depths side by side: where and by how much initial-layer fusion wins or loses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from fusion_search.analysis.figures.drawing import (
    ACCURACY_COLOURS,
    DIFFERENCE_COLOURS,
    LARGEST_DIFFERENCE,
    add_caption,
    add_colour_bar,
    axis_label,
    beyond,
    difference_scale,
    dots_note,
    draw_map,
    draw_missing,
    drawn,
    new_figure,
    share_scale,
)
from fusion_search.analysis.paired import (
    PAIRED_COLUMNS,
    compare,
    condition_words,
    region_means,
)
from fusion_search.analysis.records.selection import (
    Search,
    TrainPair,
    at_train_pair,
    condition_columns,
    count_label,
    train_pairs,
)
from fusion_search.analysis.statistics import SIGNIFICANCE, TIE

INITIAL: Final = 0  # the fusion depth that the others are compared with
_PLACE: Final = ["train_audio_snr", "train_visual_snr", "fusion_depth"]
_REGION_COLUMNS: Final = [*_PLACE, "region", *PAIRED_COLUMNS]
_CLIPPED: Final = (
    f"Differences beyond {LARGEST_DIFFERENCE:g} either way have the colours of the ends."
)


def fusion_pairs(search: Search) -> list[TrainPair]:
    """The train pairs planned at more than one fusion depth."""
    return [
        pair
        for pair in train_pairs(search.planned)
        if at_train_pair(search.planned, pair)["fusion_depth"].nunique() > 1
    ]


def compute_fusion(search: Search, train_pair: TrainPair) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy of every fusion depth at one train pair, and its difference to initial fusion.

    Differences are late - initial, over the seeds that both depths have, tested over the
    conditions, and over the regions, of one depth.

    Args:
        search: its finished trials are used; narrow it to one modality first.
        train_pair: (audio SNR, visual SNR).

    Returns:
        One row per fusion depth and test condition: ``seeds`` (how many), ``accuracy`` (mean over
        them, 0..1) and the columns of :func:`analysis.paired.compare`; these say nothing at depth 0
        and without common seeds. And one row per late fusion depth with common seeds and
        ``region``, with the same columns.
    """
    grid = at_train_pair(search.read_grid(), train_pair)
    condition = condition_columns(grid)
    sums = grid.groupby(["fusion_depth", "seed", *condition])[["n", "correct"]].sum()
    accuracy = sums["correct"] / sums["n"]
    place = dict(zip(_PLACE, train_pair, strict=False))
    train = dict(zip(("audio", "visual"), train_pair, strict=True))
    # Depth -> condition x seed, only the seeds that this depth has; conditions descend.
    by_depth = {
        depth: accuracy.xs(depth, level="fusion_depth").unstack("seed").sort_index(ascending=False)
        for depth in grid["fusion_depth"].unique()
    }
    cells, regions = [], []
    for depth, late in sorted(by_depth.items()):
        seen = pd.DataFrame({"seeds": late.shape[1], "accuracy": late.mean(axis=1)})
        initial = by_depth.get(INITIAL, late.iloc[:, :0])
        common = late.columns.intersection(initial.columns)
        seeds = [] if depth == INITIAL else common.to_list()
        differences = late[seeds] - initial[seeds].reindex(late.index)
        tested = compare(differences)
        cells.append(seen.join(tested).reset_index().assign(**place, fusion_depth=depth))
        if len(seeds):
            told = compare(region_means(differences, train)).reset_index()
            regions.append(told.assign(**place, fusion_depth=depth))
    columns = [*_PLACE, *condition, "seeds", "accuracy", *PAIRED_COLUMNS]
    return _stack(cells, columns), _stack(regions, _REGION_COLUMNS)


def _stack(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns]


def summarise_fusion(table: pd.DataFrame) -> pd.DataFrame:
    """At how many test conditions initial fusion wins, ties and loses, and by how much.

    Args:
        table: the conditions of :func:`compute_fusion`, of any number of train pairs.

    Returns:
        One row per train pair and late fusion depth that can be compared: ``paired_seeds``,
        ``conditions``, ``initial_wins``, ``ties``, ``initial_loses``; ``decisions``, in words how
        many of late - initial are told by max-T and by Holm, or how many seeds would tell;
        ``difference_mean``, ``_min`` and ``_max`` of late - initial.
    """
    rows = []
    compared = table[table["difference"].notna()]
    for key, part in compared.groupby(_PLACE, sort=False):
        difference = part["difference"]
        wins, loses = difference < -TIE, difference > TIE
        rows.append(
            {
                **dict(zip(_PLACE, key, strict=True)),
                "paired_seeds": part["paired_seeds"].iloc[0],
                "conditions": len(part),
                "initial_wins": wins.sum(),
                "ties": len(part) - wins.sum() - loses.sum(),
                "initial_loses": loses.sum(),
                "decisions": condition_words(part),
                "difference_mean": difference.mean(),
                "difference_min": difference.min(),
                "difference_max": difference.max(),
            }
        )
    return pd.DataFrame(rows)


@drawn
def draw_fusion(
    table: pd.DataFrame,
    train_pair: TrainPair,
    depth_names: Mapping[int, str],
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw accuracy maps, one per fusion depth, and below them the differences late - initial.

    Accuracies have colours from 0 to 1, differences from -0.4 to 0.4; what lies beyond is drawn in
    the colours of the ends, and the colour bar is pointed there.

    Args:
        table: the conditions that :func:`compute_fusion` returns.
        train_pair: (audio SNR, visual SNR), boxed in red.
        depth_names: the panels' fusion depths and titles; depths without records are drawn as
            empty panels that say "missing".
        title: above everything.
        caption: small text below; what the dots mean is added to it.
    """
    depths = sorted(depth_names)
    figure = new_figure(2.9 * len(depths) + 1.2, 7.4)
    panels = figure.subplots(2, len(depths), squeeze=False)
    accuracies = {depth: _pivot(table, depth, "accuracy") for depth in depths}
    differences = {depth: _pivot(table, depth, "difference") for depth in depths}
    scale, around_zero = share_scale(), difference_scale()
    extend = beyond(around_zero, differences.values())
    for column, depth in enumerate(depths):
        rows = table[table["fusion_depth"] == depth]
        seeds = "no trial" if rows.empty else count_label(int(rows["seeds"].iloc[0]), "seed")
        panels[0, column].set_title(f"{depth_names[depth]} ({seeds})", fontsize=9)
        _draw_panel(panels[0, column], accuracies[depth], scale, ACCURACY_COLOURS, train_pair)
        lower = panels[1, column]
        if depth == INITIAL:
            lower.set_visible(False)
            continue
        paired = 0 if rows.empty else int(rows["paired_seeds"].iloc[0])
        count = count_label(paired, "paired seed")
        lower.set_title(f"{depth_names[depth]} - initial ({count})", fontsize=7.5)
        marks = _pivot(table, depth, "p_max_t") <= SIGNIFICANCE
        _draw_panel(lower, differences[depth], around_zero, DIFFERENCE_COLOURS, train_pair, marks)
    figure.suptitle(title, fontsize=11)
    vertical, horizontal = condition_columns(table)
    figure.supxlabel(axis_label(horizontal), fontsize=9)
    figure.supylabel(axis_label(vertical), fontsize=9)
    add_colour_bar(figure, panels[0], scale, ACCURACY_COLOURS, "accuracy")
    add_colour_bar(
        figure, panels[1], around_zero, DIFFERENCE_COLOURS, "late - initial accuracy", extend
    )
    clipped = "" if extend == "neither" else f" {_CLIPPED}"
    note = f"{dots_note(table)} Blue: late fusion is better, red: initial.{clipped}"
    add_caption(figure, f"{caption} {note}".strip())
    return figure


def _draw_panel(
    axes: Axes,
    values: pd.DataFrame,
    scale: Normalize,
    colours: str,
    train_pair: TrainPair,
    marks: pd.DataFrame | None = None,
) -> None:
    if not values.notna().to_numpy().any():
        draw_missing(axes)
        return
    draw_map(axes, values, scale=scale, colours=colours, train_pair=train_pair, marks=marks)


def _pivot(table: pd.DataFrame, depth: int, column: str) -> pd.DataFrame:
    rows, columns = condition_columns(table)
    part = table[table["fusion_depth"] == depth].set_index([rows, columns])[column].astype(float)
    values = part.unstack(columns)
    return values.sort_index(ascending=False).sort_index(axis=1, ascending=False)
