"""The columns of a search's tables: those of every task, and what axes and metrics add.

A column means the same in every table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from fusion_search.analysis.records.secrets import shown

if TYPE_CHECKING:
    from fusion_search.analysis.records.description import MetricDescription, TaskDescription

IDENTITY, TRIED, DECIDED, RESULT, COST, ORIGIN = ROLES = (
    *("identity", "tried", "decided", "result", "cost", "origin"),
)
"""Of a column: which trial it is, what was asked for, what was chosen where it ran, and so on."""

TYPES: Final[Mapping[str, pa.DataType]] = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "list<string>": pa.list_(pa.string()),
    "list<int64>": pa.list_(pa.int64()),
    "list<float64>": pa.list_(pa.float64()),
    "timestamp": pa.timestamp("ms", tz="UTC"),
}

LONGEST_NAME: Final = 1000  # characters


@dataclass(frozen=True)
class ColumnDescription:
    """A column of a table.

    Attributes:
        name: an identifier.
        type: one of ``TYPES``.
        role: one of ``ROLES``.
        default: of a setting, as text; None where it has none.

    Raises:
        ValueError: a field is none of these.
    """

    name: str
    type: str
    role: str = TRIED
    default: str | None = None

    def __post_init__(self) -> None:
        check_name("column", self.name)
        for what, value, allowed in (("type", self.type, TYPES), ("role", self.role, ROLES)):
            if value not in allowed:
                raise ValueError(
                    f"{what} of column {self.name} is {shown(value)}; allowed: {', '.join(allowed)}"
                )


def check_name(what: str, name: Any) -> None:
    """Raise ``ValueError`` when a column could not be named so."""
    if not isinstance(name, str) or not name.isidentifier() or len(name) > LONGEST_NAME:
        raise ValueError(f"{what} is named {shown(name)}; allowed: letters, digits and _")


def condition_value(plain: Any) -> float | str:
    """A train condition on one axis: a number, or in words what every example's is drawn from.

    Args:
        plain: as JSON holds it: a number, "original" (infinity), "absent" (minus infinity),
            {"low": .., "high": ..} or {"any": [..]}.

    Raises:
        ValueError: it is none of these.
    """
    match plain:
        case "original":
            return math.inf
        case "absent":
            return -math.inf
        case bool():
            pass
        case int() | float():
            return float(plain)
        case {"low": int() | float() as low, "high": int() | float() as high}:
            return f"{float(low)!r} to {float(high)!r}".replace(".0 ", " ").removesuffix(".0")
        case {"any": [*options]} if options:
            return " or ".join(snr_label(condition_value(one)) for one in options)
    raise ValueError(f"a train condition is {shown(plain)}; allowed: an SNR, a range, a choice")


def snr_label(snr: float | str) -> str:
    """``Orig.`` for infinity (no noise), ``absent`` for minus infinity, else the plain number."""
    if isinstance(snr, str):
        return snr
    if math.isinf(snr):
        return "Orig." if snr > 0 else "absent"
    return f"{snr:g}"


def _listed(role: str, **types: str) -> list[ColumnDescription]:
    return [ColumnDescription(name, kind, role) for name, kind in types.items()]


def _results(
    prefix: str, metrics: Iterable[MetricDescription], suffix: str = ""
) -> list[ColumnDescription]:
    names = [f"{prefix}{one.name}{suffix}" for one in metrics]
    return [ColumnDescription(name, "float64", RESULT) for name in names]


def _key(of: TaskDescription) -> list[ColumnDescription]:
    return _listed(IDENTITY, schema_version="int32", search="string", trial_id="string")


def _trials(of: TaskDescription) -> list[ColumnDescription]:
    text, whole, number = "string", "int64", "float64"
    return [
        *_key(of),
        # A failure's reason is one sentence.
        *_listed(IDENTITY, trial_name=text, status=text, reason=text),
        # Streams: none for all. Placement: JSON, site -> {"coupling" or "a>b": kind}; its options
        # likewise: kind, or kind and direction -> {option: value}, where not at a default.
        *_listed(TRIED, task=text, streams="list<string>", placement=text, end=text),
        *_listed(TRIED, placement_options=text),
        # The train condition of every axis, null where that is no number; and all of them, JSON.
        *_listed(TRIED, **dict.fromkeys(of.train_columns, number), train=text),
        *_listed(TRIED, fold=whole, seed=whole),
        # As asked for: of epochs, those that ran are epochs_run.
        *of.settings,
        # Engine: what computed the network, and why not faster.
        *_listed(DECIDED, device=text, engine=text, threads=whole, cpus_per_trial=number),
        # All JSON: the whole trial; what a searcher chose, null in a sweep; pbt's changes.
        *_listed(IDENTITY, specification=text, sample=text, changes=text),
        # Null when the trial failed before.
        *_listed(RESULT, parameters=whole, multiply_accumulates=whole),
        *_listed(RESULT, epochs_run=whole, best_epoch=whole),
        *_results("validation_", of.metrics),  # of the best epoch
        # Of the epoch that is best by the test split: optimistic, for the test split chose it. Null
        # unless evaluation.each_epoch asked for it.
        *_listed(RESULT, optimistic_epoch=whole),
        *_results("optimistic_", [one for one in of.metrics if one.each_epoch]),
        *_results("train_condition_", of.metrics),  # null where the grid has not that condition
        *_results("worst_", of.metrics),  # over the grid, without what is absent; so the means
        *_results("mean_", of.metrics),
        *_listed(RESULT, objective_values="list<float64>"),  # as the specification lists them
        *_listed(COST, started_at="timestamp", ended_at="timestamp"),
        # Trained together on one device, this one counted; 1 or null: alone. What they cost
        # together is told of each: seconds, train_seconds, data_seconds and peak_memory_bytes.
        *_listed(COST, packed_trials=whole, seconds=number, train_seconds=number),
        *_listed(COST, evaluation_seconds=number, absent_seconds=number, data_seconds=number),
        *_listed(COST, milliseconds_per_example=number, peak_memory_bytes=whole),
        *_listed(ORIGIN, data_note=text, data_fingerprint=text, git_commit=text),
        # Of the names of the examples in each split; null where they have none.
        *_listed(ORIGIN, split_fingerprint=text),
        # Code fingerprint: of the task's own code, null of a built-in task.
        # Versions, host, device name: of the worker; null where it died before it told of them.
        *_listed(ORIGIN, code_fingerprint=text, versions=text, host=text, device_name=text),
    ]


def _epochs(of: TaskDescription) -> list[ColumnDescription]:
    each = [one for one in of.metrics if one.each_epoch]
    return [
        *_key(of),
        *_listed(IDENTITY, epoch="int64", examples_seen="int64"),  # epochs from 1
        *_listed(RESULT, train_loss="float64"),
        *_results("train_", each),
        *_listed(RESULT, validation_loss="float64"),
        *_results("validation_", each),
        *_listed(RESULT, test_loss="float64"),  # null unless evaluation.each_epoch; so the next
        *_results("test_", each),
        *_listed(COST, seconds="float64", ended_at="timestamp"),  # since the trial's start
    ]


def _grid(of: TaskDescription) -> list[ColumnDescription]:
    return [
        *_key(of),
        *_listed(TRIED, **dict.fromkeys(of.test_columns, "float64"), n="int64"),
        *_listed(RESULT, loss="float64"),  # the mean over the examples
        *_results("", of.metrics),
        # Over the examples: of accuracy, how many are right.
        *_results("", [one for one in of.metrics if one.is_mean], "_sum"),
    ]


def _predictions(of: TaskDescription) -> list[ColumnDescription]:
    return [
        *_key(of),
        *_listed(TRIED, **dict.fromkeys(of.test_columns, "float64")),
        *_listed(IDENTITY, number="int64"),  # of the example in its split
        *_listed(RESULT, label="int32", predicted="int32"),
    ]


def _activations(of: TaskDescription) -> list[ColumnDescription]:
    return [
        *_key(of),
        *_listed(TRIED, **dict.fromkeys(of.test_columns, "float64")),
        # Of the example: its split, its number there, and whose it is, empty where the data do
        # not say; its class, -1 where it has none; its target, NaN where that is no number.
        *_listed(IDENTITY, split="string", number="int64", group="string"),
        *_listed(RESULT, label="int32", target="float64"),
        # An array: input.STREAM, or what the network gives; its shape, and its values in a row.
        *_listed(RESULT, name="string", shape="list<int64>", values="list<float64>"),
    ]


COLUMNS: Final[Mapping[str, Callable[[TaskDescription], list[ColumnDescription]]]] = {
    "trials": _trials,
    "epochs": _epochs,
    "grid": _grid,
    "predictions": _predictions,
    "activations": _activations,
}
"""Table -> what gives its columns."""
