"""Data sets whose items are columns by name, as Hugging Face's are, or tuples, as torchvision's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fusion_search.datasets.batch import Tree
from fusion_search.datasets.errors import DataError, count_label

Column = str | int
"""A column by its name, or by its place where items are tuples."""

Transform = Callable[[dict[str, Tree], Tree], tuple[dict[str, Tree], Tree]]


class Columns(Dataset[Any]):
    """A map-style data set of any kind, whose columns are named: (inputs, target[, extra]).

    Values are numbers, arrays, tensors or lists of numbers. What else a column holds, as images,
    ``with_format("torch")`` or ``set_transform`` of a Hugging Face data set makes tensors of, or
    ``transform`` here. It is opened by every process that loads, and does not travel.

    Args:
        dataset: its items are dictionaries or tuples; a list of such is one.
        inputs: stream -> column, or several columns, which become tensors by name.
        target: the column.
        extra: columns that metrics see, and the network does not.
        transform: changes (inputs, target) of one example, as random augmentation does, before
            they become tensors.

    Raises:
        DataError: the data set has no such column, no length, or no items by number; on loading,
            a column holds what is no tensor.
    """

    def __init__(
        self,
        dataset: Any,
        inputs: Mapping[str, Column | Sequence[str]],
        target: Column,
        extra: Sequence[str] = (),
        transform: Transform | None = None,
    ) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise DataError(
                f"{type(dataset).__name__} has no length or no items by number; only a map-style "
                "data set can be used (of Hugging Face: without streaming=True)"
            )
        self.dataset, self.inputs, self.target = dataset, dict(inputs), target
        self.extra, self.transform = tuple(extra), transform
        known = self.column_names
        if known or hasattr(dataset, "column_names"):
            for name in self._used():
                if name not in known:
                    raise DataError(
                        f"{type(dataset).__name__} has no column {name!r}; it has "
                        f"{', '.join(map(str, known))}"
                    )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, number: int) -> Any:
        item = self.dataset[number]
        inputs: dict[str, Tree] = {}
        for stream, column in self.inputs.items():
            if isinstance(column, str | int):
                inputs[stream] = self._value(item, column)
            else:
                inputs[stream] = {name: self._value(item, name) for name in column}
        target = self._value(item, self.target)
        if self.transform is not None:
            inputs, target = self.transform(inputs, target)
        made = {stream: _tensors(one, stream) for stream, one in inputs.items()}
        if not self.extra:
            return made, _tensors(target, "target")
        extra = {name: _tensors(self._value(item, name), name) for name in self.extra}
        return made, _tensors(target, "target"), extra

    @property
    def column_names(self) -> tuple[str, ...]:
        """Of the data set, where it names them or is a list of dictionaries."""
        first = self.dataset[0] if self._listed else {}
        return tuple(getattr(self.dataset, "column_names", None) or first)

    def column(self, name: str) -> list[Any]:
        """The values of a column in all examples, as they are stored."""
        if self._listed:
            return [self._value(row, name) for row in self.dataset]
        # As stored: a format or transform may ask for the other columns, too.
        plain = getattr(self.dataset, "with_format", lambda kind: self.dataset)(None)
        return list(plain[name])

    @property
    def targets(self) -> Any:
        """Of all examples, where they can be had without loading these; else None."""
        if self.target in self.column_names:
            return self.column(str(self.target))
        return getattr(self.dataset, "targets", None)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over columns and length, not over what the examples hold."""
        kinds = getattr(self.dataset, "features", None) or self.column_names
        own = getattr(self.dataset, "fingerprint", "")
        words = (own, kinds, len(self), self.inputs, self.target, self.extra)
        return hashlib.sha256(repr(words).encode()).hexdigest()[:16]

    @property
    def _listed(self) -> bool:
        rows = self.dataset
        return isinstance(rows, list | tuple) and bool(rows) and isinstance(rows[0], Mapping)

    def _used(self) -> list[Column]:
        found: list[Column] = [self.target, *self.extra]
        for one in self.inputs.values():
            found += [one] if isinstance(one, str | int) else one
        return found

    def _value(self, item: Any, column: Column) -> Any:
        try:
            return item[column]
        except (KeyError, IndexError, TypeError) as error:
            there = (
                ", ".join(map(str, item))
                if isinstance(item, Mapping)
                else count_label(len(item), "part")
            )
            raise DataError(
                f"items of {type(self.dataset).__name__} have no column {column!r}; they have "
                f"{there}"
            ) from error


def _tensors(value: Any, what: str) -> Tree:
    """A value as a tensor, or tensors by name; floats of Python become float32."""
    if isinstance(value, Mapping):
        return {name: _tensors(one, f"{what}.{name}") for name, one in value.items()}
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.array(value))
    if isinstance(value, bool | int | float | list):
        try:
            return torch.tensor(value)
        except (TypeError, ValueError):
            pass  # a list of texts, or of lists that differ in length
    raise DataError(
        f"{what} is a {type(value).__name__}, of which no tensor can be made; make it one by the "
        'data set\'s own with_format("torch") or set_transform, or by transform'
    )
