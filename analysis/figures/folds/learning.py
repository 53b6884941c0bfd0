"""Learning curves: metrics and loss of every split over the epochs, smoothed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fusion_search.analysis.conditions import at_train, train_conditions, train_label
from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_title,
    drawn,
    new_figure,
    value_axis,
    wrapped,
)
from fusion_search.analysis.folds.runs import chosen_name, labelled
from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.selection import AnalysisError, Search, range_label
from fusion_search.analysis.records.tables import read_table
from fusion_search.analysis.records.words.counts import count_label

MOST_NETWORKS: Final = 6  # beside each other
LOSS: Final = "loss"
SPLITS: Final = {"train": "tab:blue", "validation": "tab:orange", "test": "tab:green"}
_COLUMNS: Final = [
    "network",
    "quantity",
    "split",
    "epoch",
    "mean",
    "smoothed",
    "deviation",
    "trials",
]


def compute_learning(
    search: Search, wanted: Sequence[str] = (), fold: int | None = None, window: int = 5
) -> pd.DataFrame:
    """Values of every epoch: the mean over a network's trials, and its moving average.

    Args:
        search: its finished trials are used.
        wanted: networks, by number or the beginning of their names; all by default.
        fold: one; all by default.
        window: epochs of the moving average, in the middle of which an epoch lies; at either end it
            is of those that are there.

    Returns:
        A row per network, quantity (a metric's name, or "loss"), split (train, validation, and test
        where it was recorded) and epoch: ``mean`` over the trials, ``smoothed`` (mean over the
        trials of their moving averages), ``deviation`` (sample standard deviation of these; NaN of
        one trial) and ``trials`` (how many).

    Raises:
        AnalysisError: there is no such network or fold, there are too many networks, or no record
            of epochs.
    """
    description = search.description
    trials = trials_to_learn(search, wanted, fold)
    epochs = read_table(search.storage, "epochs", None, search.on_damage, description)
    found = [
        _curves(epochs[epochs["trial_id"].isin(list(own["trial_id"]))], description, window).assign(
            network=name
        )
        for name, own in trials.items()
    ]
    table = pd.concat(found, ignore_index=True)[_COLUMNS] if found else pd.DataFrame()
    if table.empty:
        raise AnalysisError(f"search {search.name} has no record of epochs of these networks")
    return table


def trials_to_learn(
    search: Search, wanted: Sequence[str] = (), fold: int | None = None
) -> dict[str, pd.DataFrame]:
    """The trials of each network that :func:`compute_learning` takes, by its name there.

    Args:
        search, wanted, fold: as of :func:`compute_learning`.

    Raises:
        AnalysisError: there is no such network or fold, or there are too many networks.
    """
    description = search.description
    titles = labelled(search.finished, description)
    named = _named(titles, description)
    names = {name: number for number, title in enumerate(titles, 1) for name in named[title]}
    chosen = [name for one in wanted for name in _chosen(one, named)] or [*names]
    folds = sorted(int(one) for one in search.finished["fold"].unique())
    if fold is not None and fold not in folds:
        there = ", ".join(map(str, folds))
        raise AnalysisError(f"--fold {fold} has no finished trial; finished are: {there}")
    by_name = {}
    for own in named.values():
        for name, trials in own.items():
            of_fold = trials if fold is None else trials[trials["fold"] == fold]
            if len(of_fold):
                by_name[name] = of_fold
    chosen = [one for one in dict.fromkeys(chosen) if one in by_name]
    if len(chosen) > MOST_NETWORKS:
        listing = command("draw", "folds", search.name, storage=search.storage.parent.location)
        raise AnalysisError(
            f"{len(chosen)} networks do not fit into a figure; choose up to {MOST_NETWORKS} with "
            f"--network, by the numbers that `{listing}` gives them"
        )
    return {name: by_name[name] for name in chosen}


def _named(
    titles: Mapping[str, pd.DataFrame], description: TaskDescription
) -> dict[str, dict[str, pd.DataFrame]]:
    """Of every network its trials, by its name with each train condition where there are several.

    Args:
        titles: every network's trials by its name.
        description: of the search.
    """
    conditions = train_conditions(pd.concat(titles.values()), description)
    found: dict[str, dict[str, pd.DataFrame]] = {title: {} for title in titles}
    for condition in conditions:
        at = f", trained at {train_label(condition, description)}" if len(conditions) > 1 else ""
        for title, trials in titles.items():
            own = at_train(trials, condition, description)
            if len(own):
                found[title][f"{title}{at}"] = own
    return found


def _chosen(wanted: str, named: Mapping[str, Mapping[str, pd.DataFrame]]) -> list[str]:
    """The names that are meant: one in full, or a network at all its train conditions."""
    if any(wanted in own for own in named.values()):
        return [wanted]
    return [*named[chosen_name([*named], wanted, "--network")]]


def _curves(epochs: pd.DataFrame, description: TaskDescription, window: int) -> pd.DataFrame:
    """Of one network's rows of ``epochs``."""
    parts = []
    quantities = [*(one.name for one in description.metrics if one.each_epoch), LOSS]
    for quantity in quantities:
        for split in SPLITS:
            column = f"{split}_{quantity}"
            if column not in epochs or epochs[column].isna().all():
                continue
            values = epochs.pivot(index="epoch", columns="trial_id", values=column).sort_index()
            values = values.dropna(axis=1, how="all")
            smooth = values.rolling(window, center=True, min_periods=1).mean().where(values.notna())
            parts.append(
                pd.DataFrame(
                    {
                        "epoch": values.index,
                        "mean": values.mean(axis=1),
                        "smoothed": smooth.mean(axis=1),
                        "deviation": smooth.std(axis=1),
                        "trials": values.notna().sum(axis=1),
                    }
                ).assign(quantity=quantity, split=split)
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COLUMNS)


@drawn
def draw_learning(
    table: pd.DataFrame,
    description: TaskDescription,
    window: int,
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw a column of panels per network: its metrics, then the loss, over the epochs.

    Args:
        table: as :func:`compute_learning` returns it.
        description: of the search.
        window: as given to it.
        title: above the panels.
        caption: small text below; what lines and bands mean is added to it.
    """
    names = list(dict.fromkeys(table["network"]))
    quantities = list(dict.fromkeys(table["quantity"]))
    width = 3.0 if len(names) > 2 else 4.2
    figure = new_figure(width * len(names) + 1.2, 2.5 * len(quantities) + 0.9)
    panels = figure.subplots(len(quantities), len(names), squeeze=False, sharex=True, sharey="row")
    for row, quantity in enumerate(quantities):
        metric = next((one for one in description.metrics if one.name == quantity), None)
        for axes, name in zip(panels[row], names, strict=True):
            own = table[(table["network"] == name) & (table["quantity"] == quantity)]
            _draw_panel(axes, own, metric)
            if row == 0:
                axes.set_title(wrapped(name, width - 0.4, 8), fontsize=8)
        if metric is not None:
            value_axis(panels[row, 0].yaxis, metric)
        panels[row, 0].set_ylabel(LOSS if metric is None else metric.words, fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("epoch", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # A network may have been tested where another was not.
    lines = {str(line.get_label()): line for axes in panels[0] for line in axes.lines}
    told = [one for one in SPLITS if one in lines]
    figure.legend([lines[one] for one in told], told, loc="outside right upper", fontsize=8)
    add_title(figure, title)
    add_caption(figure, f"{caption} {_note(table, window)}".strip())
    return figure


def _draw_panel(axes: Axes, table: pd.DataFrame, metric: MetricDescription | None) -> None:
    # No band reaches where no value can be, nor below 0 where none is.
    lowest = 0.0 if table["mean"].min() >= 0 else -math.inf
    highest = 1.0 if metric is not None and metric.share else math.inf
    for split, colour in SPLITS.items():
        own = table[table["split"] == split]
        if own.empty:
            continue
        axes.plot(own["epoch"], own["mean"], color=colour, linewidth=0.7, alpha=0.35)
        axes.plot(own["epoch"], own["smoothed"], color=colour, linewidth=1.6, label=split)
        if own["trials"].max() > 1:
            low, high = (own["smoothed"] + sign * own["deviation"] for sign in (-1, 1))
            low, high = low.clip(lowest, highest), high.clip(lowest, highest)
            axes.fill_between(own["epoch"], low, high, color=colour, alpha=0.15, linewidth=0)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)


def _note(table: pd.DataFrame, window: int) -> str:
    thin, band = "one trial", ""
    if table["trials"].max() > 1:
        thin = f"mean over {range_label(table['trials'])} trials"
        band = (
            " Band: a standard deviation over trials either way, of the moving averages; it ends "
            "where values do."
        )
    return (
        f"Thin: {thin}; thick: its moving average over {count_label(window, 'epoch')}.{band} "
        "Train values are of the network as it is trained, with dropout and while it changes."
    )
