"""A table opened: its examples in splits, with what tells these data from others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion_search.datasets.batch import SPLITS, Batch, Data, Part
from fusion_search.datasets.conditions import ABSENT, Axis
from fusion_search.datasets.errors import DataError, count_label
from fusion_search.datasets.metrics import Metric
from fusion_search.datasets.splits import split, split_fingerprint
from fusion_search.datasets.tables.examples import TableExamples
from fusion_search.datasets.tables.settings import (
    DEFAULT_WEIGHTS,
    PADDED,
    RANDOM_WEIGHTS,
    TableData,
)
from fusion_search.datasets.tables.table import Table, number_column, read_table
from fusion_search.datasets.tables.targets import (
    class_column,
    classes_among,
    number_target,
    text_column,
)

_NO_FILES = (DEFAULT_WEIGHTS, RANDOM_WEIGHTS)


def open_table(
    settings: TableData, folder: Path, fold: int = 0, metrics: Iterable[Metric] = ()
) -> Data:
    """The splits of a fold. Files are looked for, and decoded only when examples are asked for.

    Args:
        settings: checked.
        folder: what the table's path is relative to.
        fold: from 0 on.
        metrics: by which networks are judged.

    Raises:
        DataError: the table or a file cannot be used; names row and column.
    """
    table = read_table(folder / settings.table, settings.wanted_columns())
    table = table.without(settings.leave_out)
    labels: tuple[str, ...] = ()
    targets: NDArray[Any]
    if settings.target_kind == "class":
        targets, labels = class_column(table, settings.target)
    else:
        targets = number_target(table, settings.target)
    groups = text_column(table, settings.group) if settings.group else None
    examples = TableExamples(table, settings, targets, groups)
    sizes = examples.file_sizes()
    rows = count_label(len(settings.leave_out), "row")
    left_out = f", {rows} left out" if settings.leave_out else ""
    try:
        data = split(
            examples,
            fractions=settings.fractions,
            column=_split_column(table, settings.split_column) if settings.split_column else None,
            groups=groups,
            folds=settings.folds,
            fold=fold,
            seed=settings.split_seed,
            labels=labels,
            fingerprint=f"{table.digest} {settings}",
            note=f"{table.path.name}, {count_label(len(table), 'example')}{left_out}",
            shared=True,
        )
    except DataError as error:
        raise DataError(f"{table.path.name}: {error}") from error
    if settings.split_column and groups is not None:
        _check_whole(table, settings, groups, data)
    weights = {name: one.weights for name, one in settings.inputs.items() if one.weights}
    for name, file in weights.items():
        if file in _NO_FILES:  # what is downloaded is checked against the hash in its name
            data.note += f"; {name} begins with weights {file}"
    data.weights = {name: folder / one for name, one in weights.items() if one not in _NO_FILES}
    data.fingerprint = hashlib.sha256(f"{data.fingerprint} {sizes}".encode()).hexdigest()[:16]
    numbers = {
        name: one.numbers.numpy() for name in SPLITS if isinstance(one := data.split(name), Part)
    }
    examples.standardise(numbers["train"])
    data.split_fingerprint = split_fingerprint(
        table.digest, {name: [str(row) for row in table.rows[own]] for name, own in numbers.items()}
    )
    data.axes = tuple(axis_of(name, settings) for name in settings.inputs)
    data.metrics = tuple(metrics)
    return data


def other_examples(path: Path, known: TableExamples, labels: Sequence[str]) -> TableExamples:
    """The rows of another table with the same columns, brought to the scale of the first.

    Args:
        path: of the table. It needs neither a group column nor one of splits.
        known: of the table that a network was trained on.
        labels: its classes; none where a number is predicted.

    Raises:
        DataError: the table or a file cannot be used, or there is another class.
    """
    settings = replace(known.settings, leave_out=(), split_column="")
    if settings.group and settings.group not in read_table(path, [settings.target]).names:
        settings = replace(settings, group="")
    table = read_table(path, settings.wanted_columns())
    targets: NDArray[Any]
    if labels:
        targets = classes_among(table, settings.target, labels)
    else:
        targets = number_column(table, settings.target)
    groups = text_column(table, settings.group) if settings.group else None
    examples = TableExamples(table, settings, targets, groups)
    examples.scales, examples.target_scale = known.scales, known.target_scale
    examples.file_sizes()
    return examples


def _split_column(table: Table, name: str) -> list[str]:
    words = text_column(table, name)
    for number, word in enumerate(words):
        if word not in SPLITS:
            raise DataError(f"{table.at(number, name)} is {word!r}; allowed: {', '.join(SPLITS)}")
    return words


def _check_whole(table: Table, settings: TableData, groups: Sequence[str], data: Data) -> None:
    """Refuse a split column that cuts a group."""
    split_of: dict[str, tuple[str, int]] = {}
    for name in SPLITS:
        part = data.split(name)
        assert isinstance(part, Part)
        for number in part.numbers.tolist():
            other, first = split_of.setdefault(groups[number], (name, number))
            if other != name:
                raise DataError(
                    f"{table.path.name}, column {settings.group!r}: {groups[number]!r} is in "
                    f"{other} (row {table.rows[first]}) and in {name} (row {table.rows[number]}), "
                    f"by column {settings.split_column!r}; put a group into one split, or take "
                    "group out of the configuration"
                )


class There:
    """Where a padded input holds something: [B, C, T, ...] bool."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, batch: Batch) -> Tensor:
        """Of a batch as it is loaded."""
        given = batch.inputs[self.name]
        values, lengths = given["values"], given["lengths"]
        there = torch.arange(values.shape[2], device=values.device) < lengths[:, None]
        whole: Tensor = there.reshape(len(values), 1, -1, *[1] * (values.dim() - 3))
        return whole.expand_as(values)


def axis_of(name: str, settings: TableData) -> Axis:
    """The axis of a stream: white noise on what it takes, and its absence."""
    padded = settings.inputs[name].kind in PADDED
    return Axis(
        f"{name}_snr",
        f"{name}.values" if padded else name,
        (*settings.snrs, ABSENT),
        where=There(name) if padded else None,
    )
