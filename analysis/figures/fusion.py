"""Fusion depths side by side: where and by how much initial-layer fusion wins or loses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from fusion_search.analysis.conditions import (
    COUNTS,
    REPETITION,
    TrainCondition,
    at_train,
    by_seed,
    matrix,
    network_title,
    networks,
    of_network,
    repeated,
    settings_sentence,
    tested_present,
    train_conditions,
    train_numbers,
)
from fusion_search.analysis.figures.drawing import (
    LARGEST_DIFFERENCE,
    add_caption,
    add_colour_bar,
    add_title,
    axis_label,
    beyond,
    difference_colours,
    difference_scale,
    dots_note,
    draw_map,
    draw_missing,
    drawn,
    new_figure,
    value_colours,
    value_scale,
)
from fusion_search.analysis.paired import (
    PAIRED_COLUMNS,
    compare,
    condition_words,
    region_means,
)
from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.selection import (
    DEPTH,
    VARIED_SETTINGS,
    AnalysisError,
    Search,
    count_label,
    depth_name,
    network_columns,
)
from fusion_search.analysis.records.words.networks import placement_words, varied_words
from fusion_search.analysis.statistics import SIGNIFICANCE, TIE

INITIAL: Final = 0  # the fusion depth that the others are compared with
_CLIPPED: Final = (
    f"Differences beyond {LARGEST_DIFFERENCE:g} either way have the colours of the ends."
)


def comparable(search: Search) -> tuple[list[tuple[dict[str, Any], Search]], list[str]]:
    """Searches with a network for each fusion depth, and what is left out.

    Where every depth has a single network, as after a confirmation, these are compared whatever
    else they differ in. Else networks are that are alike but for their depth.

    Args:
        search: of whole networks.

    Returns:
        What each search's networks have in common and others have not, with the search; and, in
        words, the networks that have no like of another depth.

    Raises:
        AnalysisError: the networks have no fusion depth.
    """
    _check_depth(search.description)
    every = networks(search.planned, search.description)
    if len({one[DEPTH] for one in every}) == len(every):
        return [({}, search)], []
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    common = [one for one in network_columns(search.description) if one != DEPTH]
    for network in every:
        alike.setdefault(tuple(network[one] for one in common), []).append(network)
    told = [one for one in common if len({network[one] for network in every}) > 1]
    kept, left_out = [], []
    for key, own in alike.items():
        if len(own) == 1:
            left_out.append(network_title(own[0]))
            continue
        shared = {name: one for name, one in zip(common, key, strict=True) if name in told}
        kept.append((shared, search.only(of_network(search.planned, shared)["trial_id"])))
    return kept, left_out


def shared_words(shared: Mapping[str, Any], description: TaskDescription) -> str:
    """What :func:`comparable` says of a search's networks, in words."""
    words = [f"{one} {shared[one]}" for one in description.layout_fields if one in shared]
    if {"placement", "placement_options", "end"} & shared.keys():
        words.append(placement_words({**shared, "streams": ""}))
    return ", ".join(filter(None, (*words, varied_words(shared.get(VARIED_SETTINGS)))))


def differing_words(search: Search) -> str:
    """In which settings networks of different fusion depths differ, too; empty where in none."""
    every = networks(search.planned, search.description)
    told = {depth_name(one[DEPTH], one.get("levels", 0)): one[VARIED_SETTINGS] for one in every}
    return settings_sentence("depths", told)


def fusion_conditions(search: Search) -> list[TrainCondition]:
    """The train conditions planned at more than one fusion depth.

    Raises:
        AnalysisError: the networks have no fusion depth.
    """
    _check_depth(search.description)
    return [
        one
        for one in train_conditions(search.planned, search.description)
        if at_train(search.planned, one, search.description)[DEPTH].nunique() > 1
    ]


def _check_depth(description: TaskDescription) -> None:
    if DEPTH not in description.layout_fields:
        raise AnalysisError(f"networks of {description.task} have no fusion depth to compare")


def compute_fusion(
    search: Search, condition: TrainCondition, metric: MetricDescription | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A metric of every fusion depth at one train condition, and its difference to initial fusion.

    Differences are late - initial, over the seeds that both depths have whole, in all folds,
    tested over the conditions, and over the regions, of one depth.

    Args:
        search: its finished trials are used; of whole networks, one for each depth, as
            :func:`comparable` gives it.
        condition: of training.
        metric: the one that chooses by default.

    Returns:
        One row per fusion depth and test condition: ``seeds`` and ``folds`` (how many), ``trials``
        (of these seeds), the metric (mean over seeds) and the columns of
        :func:`analysis.paired.compare`; these say nothing at depth 0 and without common seeds. And
        one row per late fusion depth with common seeds and ``region``, with the same columns.

    Raises:
        AnalysisError: the networks have no fusion depth, or nothing can be read.
    """
    description = search.description
    _check_depth(description)
    metric = metric or description.metric
    grid = tested_present(at_train(search.read_grid(), condition, description), description)
    tests = list(description.test_columns)
    values = by_seed(grid, [DEPTH, *tests], metric)
    place = dict(zip(description.train_columns, condition, strict=True))
    # Depth -> condition x seed, only the seeds that this depth has; conditions descend.
    by_depth = {
        depth: part.droplevel(DEPTH).dropna(axis=1, how="all").sort_index(ascending=False)
        for depth, part in ((one, values.loc[[one]]) for one in grid[DEPTH].unique())
    }
    each = grid[[DEPTH, *REPETITION]].drop_duplicates()
    cells, regions = [], []
    for depth, late in sorted(by_depth.items()):
        own = each[(each[DEPTH] == depth) & each["seed"].isin(late.columns.to_list())]
        counts = {"seeds": late.shape[1], "folds": own["fold"].nunique(), "trials": len(own)}
        seen = pd.DataFrame({**counts, metric.name: late.mean(axis=1)})
        initial = by_depth.get(INITIAL, late.iloc[:, :0])
        common = late.columns.intersection(initial.columns)
        seeds = [] if depth == INITIAL else common.to_list()
        differences = late[seeds] - initial[seeds].reindex(late.index)
        here = {**place, DEPTH: depth}
        cells.append(seen.join(compare(differences)).reset_index().assign(**here))
        if len(seeds):
            (means,) = region_means([differences], [train_numbers(condition)], description)
            regions.append(compare(means).reset_index().assign(**here))
    where = [*description.train_columns, DEPTH]
    columns = [*where, *tests, *COUNTS, metric.name, *PAIRED_COLUMNS]
    return _stack(cells, columns), _stack(regions, [*where, "region", *PAIRED_COLUMNS])


def _stack(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns]


def summarise_fusion(
    table: pd.DataFrame, description: TaskDescription, metric: MetricDescription | None = None
) -> pd.DataFrame:
    """At how many test conditions initial fusion wins, ties and loses, and by how much.

    Args:
        table: the conditions of :func:`compute_fusion`, of any number of train conditions.
        description: of the search.
        metric: the one that chooses by default.

    Returns:
        One row per train condition and late fusion depth that can be compared: ``paired_seeds``,
        ``conditions``, ``initial_wins``, ``ties``, ``initial_loses``; ``decisions``, in words how
        many of late - initial are told by max-T and by Holm, or how many seeds would tell;
        ``difference_mean``, ``_min`` and ``_max`` of late - initial.
    """
    sign = (metric or description.metric).sign
    place = [*description.train_columns, DEPTH]
    rows = []
    compared = table[table["difference"].notna()]
    for key, part in compared.groupby(place, sort=False):
        difference = part["difference"]
        wins, loses = sign * difference < -TIE, sign * difference > TIE
        rows.append(
            {
                **dict(zip(place, key, strict=True)),
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
    condition: TrainCondition,
    depth_names: Mapping[int, str],
    description: TaskDescription,
    metric: MetricDescription | None = None,
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw maps of two axes, one per fusion depth, and below them the differences late - initial.

    Shares have colours from 0 to 1, their differences from -0.4 to 0.4; what lies beyond is drawn
    in the colours of the ends, and the colour bar is pointed there.

    Args:
        table: the conditions that :func:`compute_fusion` returns.
        condition: of training, boxed in red.
        depth_names: the panels' fusion depths and titles; depths without records are drawn as
            empty panels that say "missing".
        description: of the search.
        metric: the one that chooses by default.
        title: above everything.
        caption: small text below; what the dots mean is added to it.
    """
    metric = metric or description.metric
    depths = sorted(depth_names)
    figure = new_figure(2.9 * len(depths) + 1.2, 7.4)
    panels = figure.subplots(2, len(depths), squeeze=False)
    tests = list(description.test_columns)

    def maps(column: str) -> dict[int, pd.DataFrame]:
        parts = {depth: table[table[DEPTH] == depth].set_index(tests) for depth in depths}
        return {depth: matrix(part[column].astype(float)) for depth, part in parts.items()}

    values, differences, p = maps(metric.name), maps("difference"), maps("p_max_t")
    colours, around = value_colours(metric), difference_colours(metric)
    scale = value_scale(metric, values.values())
    around_zero = difference_scale(metric, differences.values())
    extend = beyond(around_zero, differences.values())
    for column, depth in enumerate(depths):
        rows = table[table[DEPTH] == depth]
        panels[0, column].set_title(f"{depth_names[depth]} ({repeated(rows)})", fontsize=9)
        _draw_panel(panels[0, column], values[depth], scale, colours, condition)
        lower = panels[1, column]
        if depth == INITIAL:
            lower.set_visible(False)
            continue
        paired = 0 if rows.empty else int(rows["paired_seeds"].iloc[0])
        count = count_label(paired, "paired seed")
        lower.set_title(f"{depth_names[depth]} - initial ({count})", fontsize=7.5)
        marks = p[depth] <= SIGNIFICANCE
        _draw_panel(lower, differences[depth], around_zero, around, condition, marks)
    add_title(figure, title)
    vertical, horizontal = map(axis_label, description.axes)
    figure.supxlabel(horizontal, fontsize=9)
    figure.supylabel(vertical, fontsize=9)
    add_colour_bar(figure, panels[0], scale, colours, metric.label)
    words = f"late - initial {metric.words}"
    add_colour_bar(figure, panels[1], around_zero, around, words, extend)
    clipped = "" if extend == "neither" else f" {_CLIPPED}"
    colour = f"Blue: late fusion is better, red: initial.{clipped}"
    note = f"{dots_note(table)}{_each_words(table)} {colour}"
    add_caption(figure, f"{caption} {note}".strip())
    return figure


def _each_words(table: pd.DataFrame) -> str:
    """What a seed's value is, where it is no single trial's."""
    if not (table["trials"] > table["seeds"]).any():
        return ""
    folds = int(table["folds"].max())
    over = f"{folds} folds" if folds > 1 else "its trials"
    return f" n: seeds, each the mean over {over}, the same at both depths."


def _draw_panel(
    axes: Axes,
    values: pd.DataFrame,
    scale: Normalize,
    colours: str,
    condition: TrainCondition,
    marks: pd.DataFrame | None = None,
) -> None:
    if not values.notna().to_numpy().any():
        draw_missing(axes)
        return
    draw_map(axes, values, scale=scale, colours=colours, train=condition, marks=marks)
