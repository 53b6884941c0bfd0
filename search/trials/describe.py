"""What ``task.json`` says of a search's task."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from fusion_search.analysis.records.columns import ColumnDescription
from fusion_search.analysis.records.description import (
    AxisDescription,
    MetricDescription,
    TaskDescription,
)
from fusion_search.datasets.batch import Data
from fusion_search.datasets.conditions import ABSENT
from fusion_search.search.tasks.base import Task
from fusion_search.search.tasks.evaluation import each_epoch
from fusion_search.search.trials.plain import column_type, default_of, plain_value
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.specification import NO_COLUMNS


def describe(name: str, task: Task, data: Data, streams: Sequence[str]) -> TaskDescription:
    """What a reader of records is to know, who does not import the task.

    Args:
        name: of the task, as declared.
        task: whose data have been opened.
        data: opened.
        streams: in the order of the network.

    Raises:
        ValueError: a setting is called like a column of every task.
    """
    kinds = (task.network, task.data, TrainingSettings, EvaluationSettings)
    settings = tuple(column for kind in kinds for column in _columns(kind))
    return TaskDescription(
        task=name,
        streams=tuple(streams),
        classes=data.classes,
        labels=tuple(data.labels),
        axes=axes_of(task),
        metrics=metrics_of(task),
        layout_fields=tuple(getattr(task.network, "layout_fields", ())),
        settings=settings,
    )


def axes_of(task: Task) -> tuple[AxisDescription, ...]:
    """Those of a task whose data have been opened."""
    return tuple(
        AxisDescription(
            axis.name,
            axis.input,
            tuple(snr for snr in axis.test if snr != ABSENT),
            axis.decibel,
            ABSENT in axis.test,
        )
        for axis in task.axes
    )


def metrics_of(task: Task) -> tuple[MetricDescription, ...]:
    """Those of a task whose data have been opened."""
    counted = each_epoch(task.metrics)
    return tuple(
        MetricDescription(one.name, one.direction, one.share, one.is_mean, one in counted)
        for one in task.metrics
    )


def _columns(kind: type) -> Iterator[ColumnDescription]:
    hints = get_type_hints(kind)
    for one in fields(kind):
        if one.name in NO_COLUMNS:
            continue
        default = default_of(one)
        text = None if default is MISSING else column_text(default)
        yield ColumnDescription(one.name, column_type(hints[one.name]), default=text)


def column_text(value: Any) -> str:
    """A setting as MLflow has it."""
    if isinstance(value, tuple) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    scalar = value is None or isinstance(value, str | int | float | bool)
    return str(value) if scalar else json.dumps(plain_value(value), sort_keys=True)
