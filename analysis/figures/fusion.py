"""Fusion depths side by side: where and by how much initial-layer fusion wins or loses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
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
    draw_map,
    draw_missing,
    drawn,
    new_figure,
    share_scale,
)
from fusion_search.analysis.records.selection import (
    Search,
    TrainPair,
    at_train_pair,
    condition_columns,
    count_label,
    train_pairs,
)
from fusion_search.analysis.statistics import SIGNIFICANCE, TIE, holm, paired_p

INITIAL: Final = 0  # the fusion depth that the others are compared with
_IDENTITY: Final = ["train_audio_snr", "train_visual_snr", "fusion_depth"]
_CLIPPED: Final = (
    f"Differences beyond {LARGEST_DIFFERENCE:g} either way have the colours of the ends."
)
_VALUES: Final = ["seeds", "accuracy", "paired_seeds", "difference", "p", "p_holm"]


def fusion_pairs(search: Search) -> list[TrainPair]:
    """The train pairs planned at more than one fusion depth."""
    return [
        pair
        for pair in train_pairs(search.planned)
        if at_train_pair(search.planned, pair)["fusion_depth"].nunique() > 1
    ]


def compute_fusion(search: Search, train_pair: TrainPair) -> pd.DataFrame:
    """Accuracy of every fusion depth at one train pair, and its difference to initial fusion.

    Differences are late - initial, over the seeds that both depths have; ``p`` is of the paired
    t-test over these seeds, ``p_holm`` its Holm adjustment over the test conditions of one depth.

    Args:
        search: its finished trials are used; narrow it to one modality first.
        train_pair: (audio SNR, visual SNR).

    Returns:
        One row per fusion depth and test condition: ``seeds`` (how many), ``accuracy`` (mean over
        them, 0..1), ``paired_seeds``, ``difference``, ``p`` and ``p_holm``. The last three are
        NaN at depth 0 and without common seeds, the p-values also with a single one.
    """
    grid = at_train_pair(search.read_grid(), train_pair)
    condition = condition_columns(grid)
    sums = grid.groupby(["fusion_depth", "seed", *condition])[["n", "correct"]].sum()
    accuracy = sums["correct"] / sums["n"]
    # Depth -> condition x seed, only the seeds that this depth has.
    by_depth = {
        depth: accuracy.xs(depth, level="fusion_depth").unstack("seed")
        for depth in grid["fusion_depth"].unique()
    }
    tables = [
        _compare(by_depth[depth], by_depth.get(INITIAL) if depth != INITIAL else None)
        .sort_index(ascending=False)
        .reset_index()
        .assign(train_audio_snr=train_pair[0], train_visual_snr=train_pair[1], fusion_depth=depth)
        for depth in sorted(by_depth)
    ]
    columns = [*_IDENTITY, *condition, *_VALUES]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns]


def _compare(late: pd.DataFrame, initial: pd.DataFrame | None) -> pd.DataFrame:
    """One depth against initial fusion (None: nothing to compare); condition x seed each."""
    result = pd.DataFrame({"seeds": late.shape[1], "accuracy": late.mean(axis=1)})
    seeds = [] if initial is None else [seed for seed in late.columns if seed in initial.columns]
    result = result.assign(paired_seeds=len(seeds), difference=np.nan, p=np.nan, p_holm=np.nan)
    if initial is None or not seeds:
        return result
    differences = late[seeds] - initial[seeds].reindex(late.index)
    result["difference"] = differences.mean(axis=1)
    if len(seeds) > 1:
        result["p"] = paired_p(differences.to_numpy())
        result["p_holm"] = holm(result["p"].to_numpy())
    return result


def summarise_fusion(table: pd.DataFrame) -> pd.DataFrame:
    """At how many test conditions initial fusion wins, ties and loses, and by how much.

    Args:
        table: rows of :func:`compute_fusion`, of any number of train pairs.

    Returns:
        One row per train pair and late fusion depth that can be compared: ``paired_seeds``,
        ``conditions``, ``initial_wins``, ``ties``, ``initial_loses``; of these ``wins_significant``
        and ``losses_significant`` (p <= 0.05, not corrected) and ``wins_holm`` and ``losses_holm``
        (corrected); ``difference_mean``, ``_min`` and ``_max`` of late - initial.
    """
    rows = []
    compared = table[table["difference"].notna()]
    for key, part in compared.groupby(_IDENTITY, sort=False):
        difference = part["difference"]
        wins, loses = difference < -TIE, difference > TIE
        significant, holm_significant = part["p"] <= SIGNIFICANCE, part["p_holm"] <= SIGNIFICANCE
        rows.append(
            {
                **dict(zip(_IDENTITY, key, strict=True)),
                "paired_seeds": part["paired_seeds"].iloc[0],
                "conditions": len(part),
                "initial_wins": wins.sum(),
                "ties": len(part) - wins.sum() - loses.sum(),
                "initial_loses": loses.sum(),
                "wins_significant": (wins & significant).sum(),
                "losses_significant": (loses & significant).sum(),
                "wins_holm": (wins & holm_significant).sum(),
                "losses_holm": (loses & holm_significant).sum(),
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
        table: as :func:`compute_fusion` returns it.
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
        marks = _pivot(table, depth, "p") <= SIGNIFICANCE
        _draw_panel(lower, differences[depth], around_zero, DIFFERENCE_COLOURS, train_pair, marks)
    figure.suptitle(title, fontsize=11)
    vertical, horizontal = condition_columns(table)
    figure.supxlabel(axis_label(horizontal), fontsize=9)
    figure.supylabel(axis_label(vertical), fontsize=9)
    add_colour_bar(figure, panels[0], scale, ACCURACY_COLOURS, "accuracy")
    add_colour_bar(
        figure, panels[1], around_zero, DIFFERENCE_COLOURS, "late - initial accuracy", extend
    )
    clipped = "" if extend == "neither" else _CLIPPED
    add_caption(figure, f"{caption} {_marks_note(table)} {clipped}".strip())
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


def _marks_note(table: pd.DataFrame) -> str:
    if table["p"].notna().any():
        return (
            f"Dots: paired t-test over seeds, p <= {SIGNIFICANCE}, not corrected for the number "
            "of conditions (Holm-adjusted p in the CSV). Blue: late fusion is better, red: initial."
        )
    return (
        "No significance marks: they need two seeds common to both depths. "
        "Blue: late fusion is better, red: initial."
    )
