"""What MLflow shows of a record: the parameters, metrics, tags and files made from table rows.

The names are the tables' own column names; those of an epoch stand under ``epoch/``, so that the
page groups the curves, and the trial's results stand apart from them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from fusion_search.analysis.records.tables import FAILED, STOPPED, TRIALS, came_to_nothing
from fusion_search.search.trials.specification import TrialSpecification

Row = Mapping[str, Any]  # one row of a table: column -> value


def _columns(first: str, last: str) -> tuple[str, ...]:
    names = TRIALS.names
    return tuple(names[names.index(first) : names.index(last) + 1])


# What the machine decides may differ when a trial runs again: tags, no parameters.
_DECIDED: Final = ("device", "engine", "threads", "cpus_per_trial")
PARAMETERS: Final = tuple(
    name for name in _columns("modality", "split_seed") if name not in _DECIDED
)
RESULTS: Final = _columns("parameters", "mean_accuracy") + _columns("seconds", "peak_memory_bytes")
EPOCH_METRICS: Final = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
TAGS: Final = (
    *("status", "reason", *_DECIDED, "host"),
    *("data_note", "data_fingerprint", "versions"),
)

SPECIFICATION_TAG: Final = "fusion_search.specification"

_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DOTS_PER_INCH: Final = 100
_PARAMETER_LENGTH: Final = 6000  # MLflow's limit


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


def trial_parameters(row: Row, brief: bool = False) -> dict[str, str]:
    """The specification columns of a row of TRIALS, as far as they are there.

    Args:
        row: of TRIALS.
        brief: for a sweep, whose other columns are the same in all its trials: only what sweeps
            vary, and what is not at its default.
    """
    texts = {name: _text(name, row[name]) for name in PARAMETERS if _given(row.get(name))}
    if not brief:
        return texts
    return {name: text for name, text in texts.items() if _DEFAULTS.get(name) != text}


def trial_tags(row: Row) -> dict[str, str]:
    """Tags of a recorded trial; the page shows the note (what data it saw, why it failed)."""
    tags = {name: _text(name, row[name]) for name in TAGS if _given(row.get(name))}
    if _given(row.get("git_commit")):
        tags["mlflow.source.git.commit"] = row["git_commit"]
    if _given(row.get("specification")):
        tags[SPECIFICATION_TAG] = row["specification"]
    notes = [tags[name] for name in ("reason", "data_note") if name in tags]
    return {**tags, "mlflow.note.content": "\n\n".join(notes)}


def result_points(row: Row) -> list[Point]:
    """What came out of a trial and what it cost, from its row of TRIALS."""
    end = milliseconds(row["ended_at"])
    return [Point(name, float(row[name]), end, 0) for name in RESULTS if _finite(row.get(name))]


def epoch_points(row: Row) -> list[Point]:
    """The curves' points of one epoch, from its row of EPOCHS."""
    end, epoch = milliseconds(row["ended_at"]), int(row["epoch"])
    return [
        Point(f"epoch/{name}", float(row[name]), end, epoch)
        for name in EPOCH_METRICS
        if _finite(row.get(name))
    ]


def grid_csv(grid: pa.RecordBatch) -> bytes:
    """A trial's rows of GRID as the page offers them: test condition, counts, accuracy."""
    accuracy = pc.divide(grid["correct"].cast(pa.float64()), grid["n"].cast(pa.float64()))
    sink = pa.BufferOutputStream()
    csv.write_csv(grid.append_column("accuracy", accuracy), sink)
    return bytes(sink.getvalue())


def grid_picture(row: Row, grid: pd.DataFrame) -> bytes:
    """The map of a trial's grid, as PNG."""
    # Imports Matplotlib, which commands that draw nothing do without.
    from fusion_search.analysis.figures.drawing import image
    from fusion_search.analysis.figures.grids import compute_grid, draw_grid

    figure = draw_grid(
        compute_grid(grid),
        train_pair=(row["train_audio_snr"], row["train_visual_snr"]),
        title=row["trial_name"],
    )
    return image(figure, "png", _DOTS_PER_INCH)


def best_trial(trials: pd.DataFrame) -> Row | None:
    """The row of TRIALS with the highest validation accuracy; None when there is none."""
    rows = [row for row in trials.to_dict("records") if _given(row["validation_accuracy"])]
    best = max(rows, key=lambda row: float(row["validation_accuracy"]), default=None)
    return None if best is None else {str(name): value for name, value in best.items()}


def search_status(trials: pd.DataFrame, planned: int) -> str:
    """MLflow's word for a search with these rows of TRIALS, of which so many were planned."""
    if len(trials) < planned:
        return "KILLED"  # interrupted
    return "FAILED" if came_to_nothing(trials) else "FINISHED"


def search_parameters(specification: Mapping[str, Any]) -> dict[str, str]:
    """A search's specification, flattened: ``{"trials": {"units": 64}}`` -> ``trials.units``."""
    flat = {name: str(value) for name, value in _flatten("", specification)}
    return {name: text for name, text in flat.items() if len(text) <= _PARAMETER_LENGTH}


def search_note(trials: pd.DataFrame, planned: int) -> str:
    """How far a search is, and the best so far, in words (Markdown)."""
    failed, stopped = (int((trials["status"] == one).sum()) for one in (FAILED, STOPPED))
    early = f"{stopped} of them stopped early, " if stopped else ""
    notes = [f"{len(trials)} of {planned} trials ended, {early}{failed} of them failed."]
    if best := best_trial(trials):
        notes.append(
            f"Best validation accuracy: {best['validation_accuracy']:.3f} ({best['trial_name']})."
        )
    return "\n\n".join([*notes, *sorted(trials["data_note"].dropna().unique())])


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


def _text(name: str, value: Any) -> str:
    """One text for a value, whether it comes from the running trial or from a table.

    A table with gaps has floats in integer columns.
    """
    kind = TRIALS.field(name).type
    if pa.types.is_list(kind):
        return ", ".join(value)
    if pa.types.is_integer(kind):
        return str(int(value))
    return str(float(value)) if pa.types.is_floating(kind) else str(value)


# Of the columns that a sweep does not vary. Units stay: they are compared across searches.
_DEFAULTS: Final = {
    one.name: _text(one.name, one.default)
    for one in fields(TrialSpecification)
    if one.name in PARAMETERS
    and one.default is not MISSING
    and one.name not in ("modality", "fusion_depth", "levels", "units", "seed")
}


def _given(value: Any) -> bool:
    if isinstance(value, list | np.ndarray):
        return len(value) > 0
    return value is not None and not pd.isna(value)


def _finite(value: Any) -> bool:
    # MLflow's stores keep NaN as 0 and infinity as 1.8e308: better no point than a wrong one.
    return _given(value) and math.isfinite(value)
