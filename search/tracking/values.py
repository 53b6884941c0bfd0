"""What MLflow shows of a record: the parameters, metrics, tags and files made from table rows.

The names are the tables' own column names; those of an epoch stand under ``epoch/``, so that the
page groups the curves, and the trial's results stand apart from them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from fusion_search.analysis.records.columns import (
    COST,
    DECIDED,
    ORIGIN,
    RESULT,
    TRIED,
    ColumnDescription,
)
from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.selection.best import BestSample
from fusion_search.analysis.records.tables import FAILED, STOPPED, came_to_nothing
from fusion_search.analysis.records.words.data import notes_words

Row = Mapping[str, Any]  # one row of a table: column -> value

_COMMIT: Final = "git_commit"  # MLflow has a tag of its own for it
_NUMBERS: Final = ("int64", "float64")
_ALWAYS: Final = ("streams", "placement", "end", "fold", "seed")  # also where they are at a default
_NOTHING: Final = ("", "{}")  # texts of columns that say nothing: no end, no placement

SPECIFICATION_TAG: Final = "fusion_search.specification"

_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DOTS_PER_INCH: Final = 100
_PARAMETER_LENGTH: Final = 6000  # MLflow's limits: it cuts what is longer
_TAG_LENGTH: Final = 8000
_CURVES: Final = ("train_", "validation_", "test_")  # columns of EPOCHS


class Point(NamedTuple):
    """One metric value."""

    name: str
    value: float
    milliseconds: int  # since 1970
    step: int


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970 of a time with a time zone, as the tables store it."""
    return (moment - _1970) // timedelta(milliseconds=1)


def trial_end(row: Row) -> int:
    """When a recorded trial ended, in milliseconds since 1970: its start and its duration.

    Not ``ended_at``, before which somebody may have set the clock back.
    """
    start, seconds = milliseconds(row["started_at"]), row["seconds"]
    if not _finite(seconds):  # of an earlier version
        return max(start, milliseconds(row["ended_at"]))
    return start + max(0, round(1000 * float(seconds)))


def trial_parameters(row: Row, of: TaskDescription, *, brief: bool = False) -> dict[str, str]:
    """What was tried, as far as it is there.

    What the machine decides may differ when a trial runs again: it makes tags, no parameters.

    Args:
        row: of TRIALS.
        of: the search's task.
        brief: for a sweep, whose other columns are the same in all its trials: only what sweeps
            vary, and what is not at its default.
    """
    texts = {
        column: text
        for column in of.columns_of(TRIED)
        if (text := _text_of(row, column)) is not None
    }
    # Said axis by axis where every axis has one SNR.
    if all(_given(row.get(name)) for name in of.train_columns):
        texts = {column: text for column, text in texts.items() if column.name != "train"}
    varied = {*_ALWAYS, *of.layout_fields, *of.train_columns}
    return {
        column.name: text[:_PARAMETER_LENGTH]
        for column, text in texts.items()
        if not brief or column.name in varied or text != column.default
    }


def trial_tags(row: Row, of: TaskDescription) -> dict[str, str]:
    """Tags of a recorded trial; the page shows the note (what data it saw, why it failed)."""
    columns = [one for one in of.columns if _is_tag(one)]
    tags = {one.name: text for one in columns if (text := _text_of(row, one)) is not None}
    if _given(row.get(_COMMIT)):
        tags["mlflow.source.git.commit"] = row[_COMMIT]
    if _given(row.get("specification")):
        tags[SPECIFICATION_TAG] = row["specification"]
    notes = [tags[name] for name in ("reason", "data_note") if name in tags]
    tags["mlflow.note.content"] = "\n\n".join(notes)
    return {name: text[:_TAG_LENGTH] for name, text in tags.items()}


def _is_tag(column: ColumnDescription) -> bool:
    if column.name in ("status", "reason"):
        return True
    return column.role in (DECIDED, ORIGIN) and column.name != _COMMIT


def result_points(row: Row, of: TaskDescription) -> list[Point]:
    """What came out of a trial and what it cost, from its row of TRIALS."""
    end = milliseconds(row["ended_at"])
    names = [one.name for one in of.columns if one.role in (RESULT, COST) and one.type in _NUMBERS]
    return [Point(name, float(row[name]), end, 0) for name in names if _finite(row.get(name))]


def epoch_points(row: Row, of: TaskDescription) -> list[Point]:
    """The curves' points of one epoch, from its row of EPOCHS."""
    end, epoch = milliseconds(row["ended_at"]), int(row["epoch"])
    curves = [name for name in of.schema("epochs").names if name.startswith(_CURVES)]
    return [
        Point(f"epoch/{name}", float(row[name]), end, epoch)
        for name in curves
        if _finite(row.get(name))
    ]


def grid_csv(grid: pa.RecordBatch) -> bytes:
    """A trial's rows of GRID as the page offers them: test condition, examples, metrics."""
    sink = pa.BufferOutputStream()
    csv.write_csv(grid, sink)
    return bytes(sink.getvalue())


def grid_picture(row: Row, grid: pd.DataFrame, of: TaskDescription) -> bytes | None:
    """The map of a trial's grid by the first metric, as PNG; None where it has not two axes."""
    if len(of.axes) != 2:
        return None
    # Imports Matplotlib, which commands that draw nothing do without.
    from fusion_search.analysis.figures.drawing import image
    from fusion_search.analysis.figures.grids import compute_grid, draw_grid

    figure = draw_grid(
        compute_grid(grid, of, of.metric),
        of,
        of.metric,
        train=tuple(row[name] for name in of.train_columns),
        title=row["trial_name"],
    )
    return image(figure, "png", _DOTS_PER_INCH)


def search_status(trials: pd.DataFrame, planned: int) -> str:
    """MLflow's word for a search with these rows of TRIALS, of which so many were planned."""
    if len(trials) < planned:
        return "KILLED"  # interrupted
    return "FAILED" if came_to_nothing(trials) else "FINISHED"


def search_parameters(specification: Mapping[str, Any]) -> dict[str, str]:
    """A search's specification, flattened: ``{"network": {"units": 64}}`` -> ``network.units``.

    Trials listed one by one are not part of it: each is a run of its own.
    """
    told = {name: value for name, value in specification.items() if name != "listed"}
    # MLflow refuses other characters in a name; ">" is in the connection image>audio.
    flat = {
        re.sub(r"[^\w. :-]", "_", name.replace(">", " to ")): str(value)
        for name, value in _flatten("", told)
    }
    return {name: text for name, text in flat.items() if len(text) <= _PARAMETER_LENGTH}


def search_note(
    trials: pd.DataFrame, planned: int, best: BestSample | None, dropped: str = ""
) -> str:
    """How far a search is, and the best so far, in words (Markdown).

    Args:
        trials: its table.
        planned: how many trials it will have.
        best: knows its trials; None where it has no best.
        dropped: how many samples fold rungs dropped, in words.
    """
    failed, stopped = (int((trials["status"] == one).sum()) for one in (FAILED, STOPPED))
    early = f"{stopped} of them stopped early, " if stopped else ""
    ended = f"{len(trials)} of {count_label(planned, 'trial')} ended"
    notes = [f"{ended}, {early}{failed} of them failed."]
    if dropped:
        notes.append(f"Fold rungs: {dropped}.")
    for kind, own in best.kinds().items() if best is not None else ():
        if own.trial_ids:
            what = "Best trial" if len(own.trial_ids) == 1 else "Best"
            of = f", {kind}" if kind else ""
            notes.append(f"{what}{of}: {own.name}, chosen by {own.words}.")
    data = notes_words(trials["data_note"].dropna())
    return "\n\n".join([*notes, *([data] if data else [])])


def _flatten(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    """Mappings and lists of mappings opened up; a list of plain values stays one value."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flatten(f"{prefix}.{name}" if prefix else str(name), inner)
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value):
            yield from _flatten(f"{prefix}.{number}", inner)
    else:
        yield prefix, value


def _text_of(row: Row, column: ColumnDescription) -> str | None:
    """One text for a value, whether it comes from the running trial or from a table.

    A table with gaps has floats in integer columns.
    """
    if not _given(row.get(column.name)):
        return None
    value = row[column.name]
    if column.type.startswith("list"):
        return ", ".join(map(str, value))
    if column.type.startswith("int"):
        return str(int(value))
    return str(float(value)) if column.type == "float64" else str(value)


def _given(value: Any) -> bool:
    if isinstance(value, list | np.ndarray):
        return len(value) > 0
    return value is not None and not pd.isna(value) and value not in _NOTHING


def _finite(value: Any) -> bool:
    # MLflow's stores keep NaN as 0 and infinity as 1.8e308: better no point than a wrong one.
    return _given(value) and math.isfinite(value)
