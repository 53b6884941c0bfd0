"""The course of a search: what it found when, at what cost, and what mattered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fusion_search.analysis.figures.drawing import (
    add_caption,
    add_title,
    drawn,
    new_figure,
    value_axis,
)
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import (
    MULTIPLY_ACCUMULATES,
    Objective,
    mean_objective,
    rows_of,
    sample_table,
)
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED
from fusion_search.analysis.records.words.networks import placement_words

BEST_COLOUR: Final = "tab:blue"
FRONT_COLOUR: Final = "tab:red"
_MARKS: Final = {STOPPED: ("|", "0.45"), FAILED: ("x", "tab:red")}


def compute_history(trials: pd.DataFrame, objective: Objective) -> pd.DataFrame:
    """The best value so far, over the samples in the order they ended.

    Returns:
        One row per ended sample: ``number`` (from 1), ``trial_name``, ``status``, ``seconds`` and
        ``cumulative_seconds`` (of trials, whether or not they ran at the same time), ``value``
        (NaN unless finished), ``best`` (so far; NaN before the first finished one).
    """
    table = sample_table(trials, [objective])
    table = table[table["status"].isin([FINISHED, STOPPED, FAILED])].reset_index(drop=True)
    value = table["value_0"]
    best = (objective.sign * value).cummax().ffill() * objective.sign
    return pd.DataFrame(
        {
            "number": np.arange(1, len(table) + 1),
            "trial_name": table["trial_name"],
            "status": table["status"],
            "seconds": table["seconds"],
            "cumulative_seconds": table["seconds"].fillna(0.0).cumsum(),
            "value": value,
            "best": best,
        }
    )


@drawn
def draw_history(
    table: pd.DataFrame, objective: Objective, *, title: str = "", caption: str = ""
) -> Figure:
    """Draw the best value so far over the number of samples, and over compute.

    Args:
        table: as :func:`compute_history` returns it.
        objective: whose values these are.
        title: above the panels.
        caption: small text below; what the marks mean is added to it.
    """
    figure = new_figure(9.2, 3.9)
    panels = figure.subplots(1, 2, sharey=True)
    hours = table["cumulative_seconds"] / 3600
    unit, divisor = ("hours", 1.0) if len(hours) and hours.iloc[-1] >= 1 else ("minutes", 1 / 60)
    for axes, places, label in (
        (panels[0], table["number"].astype(float), "samples that ended"),
        (panels[1], hours / divisor, f"compute, {unit} of trials"),
    ):
        axes.step(places, table["best"], where="post", color=BEST_COLOUR, label="best so far")
        done = table["status"] == FINISHED
        axes.plot(
            places[done], table.loc[done, "value"], "o", markersize=3.5, color="0.3", label=FINISHED
        )
        for status, (marker, colour) in _MARKS.items():
            at = places[table["status"] == status]
            if len(at):
                # At the bottom of the panel: these have no value.
                axes.plot(
                    at,
                    np.full(len(at), 0.03),
                    marker,
                    color=colour,
                    markersize=6,
                    transform=axes.get_xaxis_transform(),
                    label=status,
                )
        axes.set_xlabel(label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.margins(y=0.12)
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    value_axis(panels[0].yaxis, objective)
    panels[0].set_ylabel(objective.label, fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    counts = [f"{one} ({(table['status'] == one).sum()})" for one in names[1:]]
    figure.legend(handles, [names[0], *counts], loc="outside right upper", fontsize=8)
    add_title(figure, title)
    note = "Marks at the bottom: stopped early by the scheduler, or failed; they have no value."
    add_caption(figure, f"{caption} {note}".strip())
    return figure


def compute_pareto(
    trials: pd.DataFrame, objectives: Sequence[Objective], description: TaskDescription
) -> pd.DataFrame:
    """The finished samples, and which of them no other beats in every objective.

    Args:
        trials: the ``trials`` table.
        objectives: two or more; a single one is set against multiply-accumulates (those, against
            the mean of the metric that chooses).
        description: of the search.

    Returns:
        One row per finished sample: ``trial_id``, ``trial_name``, ``placement`` (in words), a
        column per objective and ``front`` (no other is at least as good in all and better in one),
        sorted by the first objective, best first.
    """
    objectives = pareto_objectives(objectives, description)
    table = sample_table(trials, objectives)
    table = table[table["status"] == FINISHED]
    values = table[[f"value_{number}" for number in range(len(objectives))]]
    known = values.notna().all(axis=1)
    table, values = table[known], values[known]
    signs = np.array([one.sign for one in objectives])
    result = pd.DataFrame(
        {
            "trial_id": table["trial_id"],
            "trial_name": table["trial_name"],
            "placement": [placement_words(row) for row in rows_of(table)],
            **{one.name: values[f"value_{number}"] for number, one in enumerate(objectives)},
            "front": _front(values.to_numpy(dtype=float) * signs),
        }
    )
    first = objectives[0]
    return result.sort_values(
        first.name, ascending=first.sign < 0, kind="stable", ignore_index=True
    )


def pareto_objectives(
    objectives: Sequence[Objective], description: TaskDescription
) -> tuple[Objective, ...]:
    """At least two: see :func:`compute_pareto`."""
    if len(objectives) > 1:
        return tuple(objectives)
    other = MULTIPLY_ACCUMULATES
    if objectives[0].name == other.name:
        other = mean_objective(description)
    return (objectives[0], other)


def _front(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which rows of ``values`` [samples, objectives], all to be maximised, are not dominated."""
    at_least = (values[:, None] >= values[None]).all(axis=2)
    better = (values[:, None] > values[None]).any(axis=2)
    dominated: npt.NDArray[np.bool_] = np.any(at_least & better, axis=0, keepdims=False)
    return np.logical_not(dominated)


@drawn
def draw_pareto(
    table: pd.DataFrame,
    objectives: Sequence[Objective],
    description: TaskDescription,
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw the first objective against each other one; the non-dominated samples are marked.

    Args:
        table: as :func:`compute_pareto` returns it.
        objectives, description: as given to it.
        title: above the panels.
        caption: small text below; what the marks mean is added to it.
    """
    first, *others = pareto_objectives(objectives, description)
    figure = new_figure(4.4 * len(others) + 1.4, 4.2)
    panels = figure.subplots(1, len(others), squeeze=False, sharey=True)[0]
    front = table[table["front"]]
    for axes, other in zip(panels, others, strict=True):
        rest = table[~table["front"]]
        axes.plot(rest[other.name], rest[first.name], "o", color="0.65", markersize=4)
        ordered = front.sort_values(other.name)
        axes.plot(
            ordered[other.name],
            ordered[first.name],
            # With a third objective the front is a surface; a line would claim an order.
            "o-" if len(others) == 1 else "o",
            color=FRONT_COLOUR,
            markersize=5.5,
            linewidth=1,
            drawstyle="steps-post" if other.sign < 0 else "steps-pre",
        )
        axes.set_xlabel(other.label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        value_axis(axes.xaxis, other)
    value_axis(panels[0].yaxis, first)
    panels[0].set_ylabel(first.label, fontsize=9)
    add_title(figure, title)
    note = (
        f"Red: the {count_label(len(front), 'sample')} of {len(table)} finished that no other "
        "beats in every objective."
    )
    add_caption(figure, f"{caption} {note}".strip())
    return figure


@drawn
def draw_importance(table: pd.DataFrame, *, title: str = "", caption: str = "") -> Figure:
    """Draw how much each choice mattered, the most important on top.

    Args:
        table: ``parameter`` and ``importance``, shares of the objective's variance.
        title: above the bars.
        caption: small text below.
    """
    ordered = table.sort_values("importance", kind="stable")
    figure = new_figure(6.4, 1.3 + 0.26 * max(len(ordered), 2))
    axes = figure.add_subplot()
    places = np.arange(len(ordered))
    bars = axes.barh(places, ordered["importance"], color=BEST_COLOUR, height=0.7)
    axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=2)
    axes.set_yticks(places, ordered["parameter"])
    axes.set_xlim(0, max(float(ordered["importance"].max()) * 1.15, 0.01) if len(ordered) else 1)
    axes.set_xlabel("importance (fANOVA): share of the objective's variance", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.set_title(title, fontsize=10)
    if caption:
        add_caption(figure, caption)
    return figure


def best_samples(
    trials: pd.DataFrame, objectives: Sequence[Objective], count: int
) -> list[dict[str, Any]]:
    """The finished samples best by the first objective, best first, as ``sample_table`` rows."""
    table = sample_table(trials, objectives)
    table = table[table["value_0"].notna()]
    ordered = table.sort_values("value_0", ascending=objectives[0].sign < 0, kind="stable")
    return rows_of(ordered.head(count))
