"""How far what a network gives changes from step to step, above how far its input does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusion_search.analysis.figures.arrays import Array, connection_of
from fusion_search.analysis.figures.drawing import add_caption, add_title, drawn, new_figure
from fusion_search.analysis.figures.probed.chosen import (
    array_words,
    example_words,
    of_every_example,
    verdict_words,
)
from fusion_search.analysis.figures.probed.following import (
    changes,
    channel_changes,
    correlation,
)
from fusion_search.analysis.figures.timeline import INPUT
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import AnalysisError
from fusion_search.analysis.records.words.counts import count_label
from fusion_search.analysis.verdicts import HELD, REFUTED

CHANNELS: Final = 6
FOLLOWS: Final = {HELD: "follows its input", REFUTED: "does not follow its input"}


def is_over_time(name: str, values: Array) -> bool:
    """Whether an array is what a connection gives step by step."""
    return values.ndim in (2, 4) and connection_of(name) is not None


def input_of(table: pd.DataFrame, name: str, wanted: str | None) -> str:
    """The input over time whose changes are held against an array's.

    Args:
        table: of one condition, as ``read_activations`` returns it.
        name: of the array.
        wanted: the beginning of the input's name; by default the first of the connection's stream.

    Raises:
        AnalysisError: there is none with as many steps, or the array has none.
    """
    first = table.drop_duplicates("name").set_index("name")["values"]
    _check_time(name, first[name])
    steps = len(first[name])
    fits = [
        str(one)
        for one, values in first.items()
        if one != name and values.ndim > 1 and len(values) == steps
    ]
    found = connection_of(name)
    begins = wanted or (f"{INPUT}{found.source}" if found else INPUT)
    chosen = [one for one in fits if one.startswith(begins)]
    if not chosen:
        raise AnalysisError(
            f"no probed array that begins with {begins!r} has the {count_label(steps, 'step')} of "
            f"{name}; name one of these by --against: {', '.join(fits) or 'none'}"
        )
    return chosen[0]


def sequences(table: pd.DataFrame, name: str, against: str) -> tuple[list[Array], list[Array]]:
    """Of every example an array and its input, in the order of the examples.

    Args:
        table: of one condition.
        name: of the array.
        against: of the input.

    Raises:
        AnalysisError: the array has no time, or other steps than its input, or examples differ in
            more than their steps.
    """
    arrays, inputs = (of_every_example(table, one) for one in (name, against))
    for one in arrays:
        _check_time(name, one)
    if len({one.shape[1:] for one in arrays}) > 1:
        raise AnalysisError(f"{name} differs in its channels or maps from example to example")
    if [len(one) for one in arrays] != [len(one) for one in inputs]:
        raise AnalysisError(f"{name} and {against} differ in their steps")
    return arrays, inputs


def _check_time(name: str, values: Array) -> None:
    if values.ndim not in (2, 4):
        shape = list(values.shape)
        raise AnalysisError(f"{name} has shape {shape}; changes are of [T, C] or [T, C, H, W]")


def compute_changes(
    examples: pd.DataFrame, arrays: Sequence[Array], inputs: Sequence[Array]
) -> pd.DataFrame:
    """A row per step of some channels, each of another example where there are as many.

    The first channels are taken that change at all.

    Args:
        examples: [N] rows with split, number, group and label.
        arrays, inputs: see :func:`sequences`.
    """
    by_example = [channel_changes(one) for one in arrays]
    moving = np.flatnonzero(np.any([one.any(axis=0) for one in by_example], axis=0))
    rows: list[dict[str, Any]] = []
    for place, channel in enumerate(moving[:CHANNELS]):
        at = place % len(arrays)
        own, given = by_example[at][:, channel], changes(inputs[at])
        row = {str(name): one for name, one in examples.iloc[at].items()}
        rows += [
            {"channel": int(channel), **row, "step": step + 1, "change": one, "input_change": other}
            for step, (one, other) in enumerate(zip(own, given, strict=True))
        ]
    return pd.DataFrame(rows)


@drawn
def draw_changes(
    table: pd.DataFrame,
    told: pd.DataFrame,
    summary: dict[str, Any],
    *,
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw channels above their input, and how all examples' correlations lie.

    Args:
        table: see :func:`compute_changes`.
        told: of every example, see ``compute_following``.
        summary: of all, with array and against.
        title: above everything.
        caption: small text below.

    Raises:
        AnalysisError: nothing changes.
    """
    if table.empty:
        raise AnalysisError(f"{summary['array']} never changes over time")
    parts = list(table.groupby("channel", sort=False))
    figure = new_figure(2.0 * len(parts) + 3.0, 4.2)
    grid = figure.add_gridspec(2, len(parts) + 1, width_ratios=[1.0] * len(parts) + [1.4])
    for column, (channel, part) in enumerate(parts):
        above, below = (figure.add_subplot(grid[row, column]) for row in (0, 1))
        above.plot(part["step"], part["change"], color="C0", linewidth=1.2)
        below.plot(part["step"], part["input_change"], color="C1", linewidth=1.2)
        values = part["change"].to_numpy(), part["input_change"].to_numpy()
        own = correlation(*values)
        example = example_words(part.iloc[0])
        above.set_title(f"channel {channel}, {own:.2f}\n{example}", fontsize=7)
        below.set_xlabel("step", fontsize=7)
        for axes in (above, below):
            axes.set_ylim(bottom=0)
            axes.tick_params(labelsize=6)
            axes.grid(alpha=0.25)
        if not column:
            above.set_ylabel(f"change of\n{array_words(str(summary['array']))}", fontsize=7)
            below.set_ylabel(f"change of\n{array_words(str(summary['against']))}", fontsize=7)
    _draw_correlations(figure.add_subplot(grid[:, -1]), told)
    add_title(figure, f"{title}. {following_words(summary)}", 10)
    note = (
        "Changes: L2 norms from one step to the next. Correlations are of ranks, of the whole "
        "array with its input, an example each; beside them those with the input shifted in time."
    )
    add_caption(figure, f"{caption} {note}".strip())
    return figure


def _draw_correlations(axes: Any, told: pd.DataFrame) -> None:
    bins = np.linspace(-1, 1, 41)
    for column, colour, words in (("shifted", "0.6", "shifted"), ("correlation", "C0", "in step")):
        axes.hist(told[column].dropna(), bins=bins, color=colour, alpha=0.8, label=words)
    axes.axvline(told["correlation"].mean(), color="black", linestyle="--", linewidth=1)
    axes.set_xlim(-1.02, 1.02)
    axes.set_xlabel("rank correlation", fontsize=7)
    axes.set_ylabel("examples", fontsize=7)
    axes.tick_params(labelsize=6)
    axes.legend(fontsize=6, loc="upper left")


def following_words(summary: dict[str, Any]) -> str:
    """What the numbers say, on a line."""
    ends = "" if np.isnan(summary["low"]) else f" [{summary['low']:.2f}, {summary['high']:.2f}]"
    said = verdict_words(FOLLOWS, summary)
    count = f"{summary['units']} {summary['of']}"
    if summary["of"] == "groups":
        count = f"{count_label(int(summary['examples']), 'example')} of {count}"
    return (
        f"{array_words(str(summary['array']))}: rank correlation {summary['correlation']:.2f}"
        f"{ends} over {count}, {summary['shifted']:.2f} shifted (p = {summary['p']:.3f}); "
        f"{summary['channels_following']} of {summary['channels']} channels alone: {said}"
    )


def summary_of(table: pd.DataFrame, array: str, against: str) -> dict[str, Any]:
    """The one row of a summary, with the names of the two arrays."""
    (row,) = rows_of(table)
    return {"array": array, "against": against, **row}
