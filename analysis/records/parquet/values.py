"""Which values a record may hold.

What a writer never puts there is refused: nobody shall find two numbers in the same bytes.
"""

from __future__ import annotations

import math
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from fusion_search.analysis.records.columns import COST, RESULT, condition_value
from fusion_search.analysis.records.description import MetricDescription, TaskDescription
from fusion_search.analysis.records.plain_data import parse_json
from fusion_search.analysis.records.secrets import shown

FINISHED: Final = "finished"
FAILED: Final = "failed"
STOPPED: Final = "stopped"  # early, by the scheduler: it has epochs and costs, but no grid

_ALWAYS: Final = (
    *("trial_name", "task", "streams", "placement", "end", "train", "fold", "seed"),
    *("started_at", "ended_at", "seconds", "data_note", "data_fingerprint"),
)
_MAPPINGS: Final = (
    *("placement", "placement_options", "train", "sample", "versions", "specification"),
)
_SECTIONS: Final = ("data", "network", "training")  # of a specification, where it has them
_LATEST: Final = 253_402_300_799_999  # milliseconds since 1970: the year 9999, Python's last
_LONGEST_SECONDS: Final = 1e9  # thirty years
_ROUNDING: Final = 1e-6  # relative, between a mean and the sum beside it


def needed(description: TaskDescription, status: str) -> tuple[str, ...]:
    """The columns of a trial that hold a value then; the others may not."""
    metric = description.metric.name
    return {
        FINISHED: (*_ALWAYS, "device", f"validation_{metric}", f"mean_{metric}"),
        FAILED: (*_ALWAYS, "reason"),
        STOPPED: (*_ALWAYS, "reason", f"validation_{metric}"),
    }[status]


def check_rows(part: pa.Table | pa.RecordBatch, description: TaskDescription) -> None:
    """Raise ``ValueError`` when a row lacks a value or has one that nothing can be counted with.

    Of the tables that only a trial with results has: none of their columns is ever null, but the
    target of an example of which it is no number, and what is tested only where that is asked for.
    """
    names = set(part.schema.names)
    may_lack = {"target", "test_loss", *(f"test_{one.name}" for one in description.metrics)}
    for name in part.schema.names:
        if part[name].null_count and name not in may_lack:
            raise ValueError(f"its {name} is missing")
        _check_times(name, part[name])
    for name in names.intersection(description.test_columns):
        if pc.any(pc.is_nan(part[name])).as_py():
            raise ValueError(f"its {name} is nan")
    if "n" in names and pc.any(pc.less(part["n"], 1)).as_py():
        raise ValueError(_UNCOUNTED)
    for metric in description.metrics:
        _check_metric(part, metric, names)
    if "epoch" in names and pc.count_distinct(part["epoch"]).as_py() < part.num_rows:
        raise ValueError("it has an epoch twice")
    if {"shape", "values"} <= names:
        _check_arrays(part)
    array = [*description.test_columns, "split", "number", "name"]
    if {"shape", *array} <= names:
        keys = pa.Table.from_batches([part]) if isinstance(part, pa.RecordBatch) else part
        if keys.group_by(array).aggregate([]).num_rows < part.num_rows:
            raise ValueError("it has an array twice")
    if {"shape", "label"} <= names:
        _check_labels(part["label"], description.classes)


def _check_arrays(part: pa.Table | pa.RecordBatch) -> None:
    """Every array has as many values as its shape says, all of them there."""
    for name in ("shape", "values"):
        if pc.list_flatten(part[name]).null_count:
            raise ValueError(f"its {name} are missing")
    lengths = pc.list_value_length(part["values"]).to_pylist()
    for shape, length in zip(part["shape"].to_pylist(), lengths, strict=True):
        if len(shape) > _MOST_DIMENSIONS or not all(0 <= one < _LONGEST_SIDE for one in shape):
            raise ValueError(f"an array has shape {shown(shape)}")
        if math.prod(shape) != length:
            raise ValueError(f"an array of shape {shape} has {length} values")


def _check_labels(labels: Any, classes: int) -> None:
    """Of examples: a class of the task, or below 0 for none."""
    most = pc.max(labels).as_py()
    if most is not None and most >= classes and most >= 0:
        raise ValueError(f"its label is not one of {classes} classes")


_MOST_DIMENSIONS: Final = 32  # of an array
_LONGEST_SIDE: Final = 2**31
_UNCOUNTED: Final = "it counts what cannot be counted so"


def _check_metric(
    part: pa.Table | pa.RecordBatch, metric: MetricDescription, names: set[str]
) -> None:
    """Shares lie in 0 to 1, and a mean is its sum over n."""
    if metric.name in names and metric.share:
        ends = pc.min_max(part[metric.name]).as_py()
        if ends["min"] is not None and not 0 <= ends["min"] <= ends["max"] <= 1:
            raise ValueError(f"its {metric.name} is not between 0 and 1")
    total = f"{metric.name}_sum"
    if not {total, "n"} <= names:
        return
    if metric.share:
        wrong = pc.or_(pc.less(part[total], 0), pc.greater(part[total], part["n"]))
        if pc.any(wrong).as_py():
            raise ValueError(_UNCOUNTED)
    if metric.name in names:
        off = pc.abs(pc.subtract(part[total], pc.multiply(part[metric.name], part["n"])))
        allowed = pc.multiply(pc.add(pc.abs(part[total]), 1.0), _ROUNDING)
        if pc.any(pc.greater(off, allowed)).as_py():
            raise ValueError(f"its {metric.name} is not its {total} over n")


def check_trial(part: pa.Table, description: TaskDescription) -> None:
    """Raise ``ValueError`` when a row of ``trials`` is none that a search writes.

    Args:
        part: of one row, with all columns.
        description: of the search.
    """
    for name in part.schema.names:
        _check_times(name, part[name])
    (row,) = part.to_pylist()
    if row["status"] not in (FINISHED, FAILED, STOPPED):
        raise ValueError(f"its status is {row['status']!r}")
    for name in needed(description, row["status"]):
        if row[name] is None:
            raise ValueError(f"its {name} is missing")
    shares = {one.name for one in description.metrics if one.share}
    for column in description.columns:
        value = row[column.name]
        if isinstance(value, float) and not _is_sound(column.name, column.role, value, shares):
            raise ValueError(f"its {column.name} is {value:g}")
    for name in description.train_columns:
        if row[name] is not None and math.isnan(row[name]):
            raise ValueError(f"its {name} is nan")
    if not set(row["streams"]) <= set(description.streams):
        raise ValueError("its streams are not those of the task")
    plain = {name: _mapping(name, row[name]) for name in _MAPPINGS if row[name] is not None}
    for name in _SECTIONS:
        if not isinstance(plain.get("specification", {}).get(name, {}), dict):
            raise ValueError(f"its specification has a {name} that is not a mapping")
    for placed in plain["placement"].values():
        if not isinstance(placed, dict) or not all(isinstance(one, str) for one in placed.values()):
            raise ValueError("its placement is not one of words at sites")
        for name in placed:
            if name != "coupling" and not set(name.split(">")) <= set(description.streams):
                raise ValueError(f"its placement connects {name!r}")
    for options in plain.get("placement_options", {}).values():
        if not isinstance(options, dict):
            raise ValueError("its placement_options are not options of kinds")
    for one in plain["train"].values():
        condition_value(one)
    values = row["objective_values"] or []
    if not all(one is not None and math.isfinite(one) for one in values):
        raise ValueError("its objective_values are not finite")


def _mapping(name: str, text: str) -> dict[str, Any]:
    found = parse_json(text.encode(), f"its {name}")
    if not isinstance(found, dict):
        raise ValueError(f"its {name} is not a mapping")
    return found


def _is_sound(name: str, role: str, value: float, shares: set[str]) -> bool:
    if role == COST and name.endswith("seconds"):
        return 0 <= value <= _LONGEST_SECONDS
    if role not in (RESULT, COST):
        return True  # a setting may be infinite
    for prefix in ("validation_", "optimistic_", "train_condition_", "worst_", "mean_"):
        if name.removeprefix(prefix) in shares:
            return 0 <= value <= 1
    return math.isfinite(value)


def _check_times(name: str, column: Any) -> None:
    if not pa.types.is_timestamp(column.type):
        return
    ends = pc.min_max(column.cast(pa.timestamp("ms", "UTC")).cast(pa.int64())).as_py()
    if ends["min"] is not None and not 0 <= ends["min"] <= ends["max"] <= _LATEST:
        raise ValueError(f"its {name} is no time")
