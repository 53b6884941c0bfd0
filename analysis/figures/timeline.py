"""What a network takes and gives for single examples, from the ``activations`` table of a probe.

Where a network answers at every time step, its values over time stand below its inputs. What its
connections give is left to the figures of ``probed/``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusion_search.analysis.figures.arrays import (
    Array,
    connection_of,
    draw_input,
    draw_output,
    is_sequence,
    onset_of,
    picture_ends,
)
from fusion_search.analysis.figures.drawing import add_caption, add_title, drawn, new_figure
from fusion_search.analysis.records.advice import command, go_on_command, read_options
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.samples import choosing_objective, rows_of
from fusion_search.analysis.records.selection import (
    AnalysisError,
    Search,
    read_specification,
    snr_label,
)
from fusion_search.analysis.records.selection.best import BestSample
from fusion_search.analysis.records.tables import CHECKPOINTS, read_table

INPUT: Final = "input."
"""Before the name of a stream, among the names of arrays."""

_HEIGHTS: Final = {True: 1.0, False: 1.4}  # of inputs and of what the network gives


def choose_trial(
    search: Search, prefix: str | None, among: pd.DataFrame | None = None
) -> pd.Series:
    """The row of the finished trial whose id or name starts with ``prefix``.

    Without one it is the best trial of the best sample.

    Args:
        search: its trials.
        prefix: of an id or name.
        among: other rows of ``trials`` than those of the finished ones.

    Raises:
        AnalysisError: no trial or several match, or no sample has all its trials.
    """
    finished = search.finished if among is None else among
    if finished.empty:
        raise AnalysisError(f"search {search.name} has no finished trial; {search.to_finish()}")
    if prefix is None:
        best = best_sample(search).trial_ids
        if not best:
            raise AnalysisError(
                f"search {search.name} has no sample whose trials all finished; name a trial: "
                f"{'; '.join(finished['trial_name'])}"
            )
        return finished[finished["trial_id"] == best[0]].iloc[0]
    matches = finished[(finished["trial_id"] == prefix) | (finished["trial_name"] == prefix)]
    if matches.empty:
        starts = [finished[column].str.startswith(prefix) for column in ("trial_id", "trial_name")]
        matches = finished[starts[0] | starts[1]]
    if len(matches) != 1:
        found = "; ".join((matches if len(matches) else finished)["trial_name"])
        problem = "several finished trials match" if len(matches) else "no finished trial matches"
        raise AnalysisError(f"{problem} {prefix!r} in search {search.name}; choose from: {found}")
    return matches.iloc[0]


def best_sample(search: Search) -> BestSample:
    """The best sample of a search."""
    try:
        specification = read_specification(search)
    except AnalysisError:
        specification = {}  # which other commands say
    objective = choosing_objective(specification, search.description)
    return BestSample(objective, rows_of(search.trials))


def is_probed(search: Search, trial_id: str) -> bool:
    """Whether a probe kept arrays of a trial's network."""
    return search.storage.exists("activations", f"{trial_id}.parquet")


def has_weights(search: Search, trial_id: str) -> bool:
    """Whether a trial's network can be probed: records are passed on without weights, too."""
    return search.storage.exists(CHECKPOINTS, f"{trial_id}.pt")


def how_to_probe(search: Search, trial_id: str, *words: str) -> str:
    """What probes a trial; where its weights are not there, what brings them back before.

    Args:
        search: of the trial.
        trial_id: a finished trial.
        words: further options of ``probe``.
    """
    storage = search.storage
    options, location = read_options(storage), storage.parent.location
    probe = command(
        *("probe", search.name, "--trial", trial_id, *words, *options.data_words), storage=location
    )
    if has_weights(search, trial_id):
        return f"run `{probe}`"
    where = storage.named(CHECKPOINTS, f"{trial_id}.pt")
    lacking = "its weights are not there, without which it cannot be probed"
    (row,) = rows_of(search.trials[search.trials["trial_id"] == trial_id])
    if isinstance(row.get("changes"), str):
        return (
            f"{lacking}, and it cannot be trained again alone, having taken over other trials'; "
            f"put a copy back as {where}, and run `{probe}`, or choose another trial"
        )
    again = go_on_command("resume", search.name, search.description.task, location, options)
    record = storage.named("trials", f"{trial_id}.parquet")
    return (
        f"{lacking}: put a copy back as {where}, or delete {record} and train it again with "
        f"`{again}`; then run `{probe}`"
    )


def read_activations(search: Search, trial_id: str) -> pd.DataFrame:
    """The arrays that a probe kept of a trial's network, each in its shape.

    Raises:
        AnalysisError: the trial was not probed, or its file is damaged.
    """
    try:
        table = read_table(search.storage, "activations", [trial_id])
    except FileNotFoundError as error:
        raise AnalysisError(
            f"trial {trial_id} of search {search.name} was not probed; "
            f"{how_to_probe(search, trial_id)}"
        ) from error
    except ValueError as error:
        raise AnalysisError(str(error)) from error
    arrays = [
        np.asarray(values, dtype=np.float64).reshape(tuple(int(one) for one in shape))
        for values, shape in zip(table["values"], table["shape"], strict=True)
    ]
    values = pd.Series(arrays, index=table.index, dtype=object)
    # Versions that kept neither had examples of the test split alone.
    split, group = table["split"].fillna("test"), table["group"].fillna("")
    return table.assign(values=values, split=split, group=group)


@drawn
def draw_timeline(
    table: pd.DataFrame, description: TaskDescription, *, title: str = "", caption: str = ""
) -> Figure:
    """Draw one column per condition: every input, and below what the network gives.

    Args:
        table: of one example, as :func:`read_activations` returns it.
        description: of the search.
        title: above everything.
        caption: small text below; what the lines mean is added to it.

    Raises:
        AnalysisError: the probe kept neither inputs nor outputs.
    """
    table = table[[connection_of(name) is None for name in table["name"]]]
    if table.empty:
        raise AnalysisError("the probe kept neither inputs nor outputs; probe without --array")
    conditions: list[tuple[Any, pd.DataFrame]] = [((), table)]
    if description.axes:
        conditions = list(table.groupby(list(description.test_columns), sort=False))
    names = list(dict.fromkeys(table["name"]))
    label, target = int(table["label"].iloc[0]), float(table["target"].iloc[0])
    figure = new_figure(2.8 * len(conditions) + 1.2, 2.2 * len(names))
    panels = figure.subplots(
        len(names),
        len(conditions),
        height_ratios=[_HEIGHTS[name.startswith(INPUT)] for name in names],
        sharey="row",
        squeeze=False,
    )
    highest = {name: max(one.max() for one in _arrays(table, name)) for name in names}
    ends = {name: picture_ends(_arrays(table, name)) for name in names}
    lines: list[Any] = []
    for column, (snrs, rows) in enumerate(conditions):
        onsets = [onset_of(one) for name in names for one in _sequences(rows, name)]
        for axes, name in zip(panels[:, column], names, strict=True):
            (values,) = _arrays(rows, name)
            if name.startswith(INPUT):
                draw_input(axes, values, highest[name], ends[name])
            else:
                lines = draw_output(axes, values, label, list(description.labels)) or lines
                if _is_predicted(values) and not math.isnan(target):
                    axes.axhline(target, color="red", linestyle=":", linewidth=1.5, zorder=4)
            overtime = is_sequence(values)
            for onset in onsets if overtime else ():
                colour = "white" if name.startswith(INPUT) else "black"
                axes.axvline(onset - 0.5, color=colour, linestyle="--", linewidth=1)
            if not column and axes.axison:
                axes.set_ylabel(name.removeprefix(INPUT), fontsize=9)
        title_of = condition_words([float(str(one)) for one in snrs], description)
        panels[0, column].set_title(title_of, fontsize=9)
    if lines:
        figure.legend(
            handles=lines, loc="outside right center", title="class", fontsize=8, title_fontsize=8
        )
        figure.supxlabel("time step", fontsize=9)
    add_title(figure, title)
    add_caption(figure, " ".join([caption, *_notes(label, target, description, lines)]).strip())
    return figure


def _arrays(rows: pd.DataFrame, name: str) -> list[Array]:
    return list(rows.loc[rows["name"] == name, "values"])


def _sequences(rows: pd.DataFrame, name: str) -> list[Array]:
    """Inputs over time that begin later than at the first step."""
    if not name.startswith(INPUT):
        return []
    return [one for one in _arrays(rows, name) if is_sequence(one) and 0 < onset_of(one) < len(one)]


def condition_words(snrs: Sequence[float], description: TaskDescription) -> str:
    """A test condition for people, an SNR per axis."""
    return ", ".join(
        f"{axis.short} {snr_label(snr)}" for axis, snr in zip(description.axes, snrs, strict=True)
    )


def _is_predicted(values: Array) -> bool:
    """Whether an output is one value, or one at each time step."""
    return values.size == 1 or (values.ndim == 2 and values.shape[1] == 1)


def _notes(
    label: int, target: float, description: TaskDescription, lines: Sequence[Any]
) -> list[str]:
    notes = []
    if not math.isnan(target):
        notes.append(f"Dotted red: the target, {target:.4g}.")
    if label >= 0:
        known = label < len(description.labels)
        word = description.labels[label] if known else str(label)
        notes.append(f"{'Thick' if lines else 'Red'}: the true class, {word}.")
    if lines:
        notes.append("Dashed: an input begins.")
    return notes
