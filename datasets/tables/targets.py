"""The target column as numbers: classes from 0 on, or what is to be predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.tables.table import Table, is_empty, number_column, some_rows


def class_column(table: Table, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The class of every example [N], and what the classes are called.

    Classes are in the order of their numbers where all are numbers, else of the alphabet.

    Raises:
        DataError: a cell is empty, there is one class alone, or a class has one example.
    """
    texts = text_column(table, name)
    labels = sorted(set(texts), key=_order)
    if len(labels) < 2:
        raise DataError(
            f"{table.path.name}, column {name!r} holds one class alone, {labels[0]!r}; nothing can "
            "be learnt from it"
        )
    place = {label: number for number, label in enumerate(labels)}
    classes = np.array([place[one] for one in texts])
    counts = np.bincount(classes)
    if counts.min() < 2:
        label = labels[int(counts.argmin())]
        example = texts.index(label)
        raise DataError(
            f"{table.at(example, name)}: class {label!r} has this one example, which cannot be "
            f"both learnt and tested; give it more, or leave the row out (leave_out: "
            f"[{table.rows[example]}])"
            + (
                "; if the column is a number to be predicted, say target_kind: number"
                if len(labels) > len(texts) // 2
                else ""
            )
        )
    return classes, tuple(labels)


def classes_among(table: Table, name: str, labels: Sequence[str]) -> NDArray[np.int64]:
    """The class of every example [N], of classes that are known.

    Raises:
        DataError: a cell is empty, or holds another class.
    """
    place = {label: number for number, label in enumerate(labels)}
    texts = text_column(table, name)
    for number, one in enumerate(texts):
        if one not in place:
            raise DataError(
                f"{table.at(number, name)}: class {one!r} is none that the network knows: "
                f"{', '.join(labels)}"
            )
    return np.array([place[one] for one in texts])


def _order(label: str) -> tuple[bool, float, str]:
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label


def number_target(table: Table, name: str) -> NDArray[np.float64]:
    """The number of every example [N].

    Raises:
        DataError: a cell is no finite number, or all are equal.
    """
    numbers = number_column(table, name)
    if numbers.min() == numbers.max():
        raise DataError(
            f"{table.path.name}, column {name!r} is {numbers[0]:g} in every row; there is nothing "
            "to predict"
        )
    return numbers


def text_column(table: Table, name: str) -> list[str]:
    """A column of classes or groups as texts; 1 and 1.0 are one.

    Raises:
        DataError: a cell is empty.
    """
    cells = table.columns[name]
    empty = [n for n, one in enumerate(cells) if is_empty(one)]
    if empty:
        raise DataError(
            f"{table.path.name}, column {name!r} is empty in {some_rows(table, empty)}; fill it "
            "in, or leave the row out with leave_out"
        )
    return [text_of(one) for one in cells]


def text_of(cell: Any) -> str:
    """A class or group in one way of writing."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
