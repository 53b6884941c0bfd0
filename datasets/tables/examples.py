"""The examples of a table as a data set, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from fusion_search.datasets.batch import Batch
from fusion_search.datasets.errors import DataError, count_label
from fusion_search.datasets.tables.cells import as_input, decode, is_array
from fusion_search.datasets.tables.files import FileError, check_file
from fusion_search.datasets.tables.settings import Input, TableData
from fusion_search.datasets.tables.table import (
    Table,
    file_path,
    is_empty,
    number_column,
    shown_cell,
)

INPUTS: Final = "inputs"
"""Key in a batch's extra: stream -> its settings."""

SPREAD: Final = "target_spread"
"""Key in a batch's extra, where a number is predicted: standard deviation of the train targets."""

_SAMPLE: Final = 256  # train examples that a mean and standard deviation are taken of


class Scale(NamedTuple):
    """What values are brought to mean 0 and standard deviation 1 by; of each channel [C]."""

    mean: Tensor
    deviation: Tensor


class TableExamples(Dataset[Any]):
    """Items are ({stream: input}, target).

    Args:
        table: with every column that the settings name.
        settings: checked.
        targets: [N], classes or numbers.
        groups: of every example; None for none.

    Attributes:
        scales: stream -> how its values are standardised; those without one stay as they are.
        target_scale: of a number that is to be predicted.
    """

    def __init__(
        self,
        table: Table,
        settings: TableData,
        targets: NDArray[Any],
        groups: Sequence[str] | None,
    ) -> None:
        self.table, self.settings, self.targets, self.groups = table, settings, targets, groups
        self.numbers = {
            name: torch.from_numpy(
                np.stack([number_column(table, column) for column in one.columns], axis=1)
            )  # float64: a date in seconds differs from others in digits that float32 lacks
            for name, one in settings.inputs.items()
            if one.kind == "numbers"
        }
        self.folder = str(table.folder)
        self.scales: dict[str, Scale] = {}
        self.target_scale: Scale | None = None
        self._decoded: dict[tuple[str, int], NDArray[Any]] = {}
        self._room = settings.cache_megabytes << 20

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        inputs = {name: self.input(name, number) for name in self.settings.inputs}
        target = torch.tensor(self.targets[number])
        return inputs, target if self.target_scale is None else target.float()

    def collate(self, items: Sequence[tuple[Any, ...]]) -> Batch:
        """A batch that knows of which settings it is."""
        try:
            inputs, targets = default_collate(list(items))
        except RuntimeError as error:
            raise DataError(f"{self.table.path.name}: {self._unlike(items)}") from error
        extra: dict[str, Any] = {INPUTS: self.settings.inputs}
        if self.target_scale is not None:
            extra[SPREAD] = self.target_scale.deviation.to(targets.device)
        return Batch(inputs, targets, extra)

    def _unlike(self, items: Sequence[tuple[Any, ...]]) -> str:
        """Which input of a batch is not of one shape."""
        for name, one in self.settings.inputs.items():
            given = [item[0][name] for item in items]
            shapes = {
                tuple((each["values"] if isinstance(each, dict) else each).shape) for each in given
            }
            if len(shapes) > 1:
                words = " and ".join(str(list(shape)) for shape in sorted(shapes)[:2])
                return f"column {one.column!r} holds arrays of shapes {words}; allowed: one shape"
        return "its rows do not make a batch"

    def input(self, name: str, number: int) -> Tensor | dict[str, Tensor]:
        """What a stream takes of an example, standardised.

        Raises:
            DataError: its file cannot be read; names row, column and file.
        """
        one = self.settings.inputs[name]
        found: Tensor | dict[str, Tensor]
        if one.kind == "numbers":
            found = self.numbers[name][number]
        else:
            found = as_input(one, self.decoded(name, number))
        scale = self.scales.get(name)
        made = found if scale is None else _scaled(found, scale)
        return made.float() if isinstance(made, Tensor) else made

    def decoded(self, name: str, number: int) -> NDArray[Any]:
        """What a cell names or holds, kept in memory while there is room."""
        key = (name, number)
        kept = self._decoded.get(key)
        if kept is None:
            kept = self._decode(self.settings.inputs[name], number)
            if kept.nbytes <= self._room:
                self._room -= kept.nbytes
                self._decoded[key] = kept
        return kept

    def _decode(self, one: Input, number: int) -> NDArray[Any]:
        cell = self.table.columns[one.column][number]
        try:
            return decode(one, cell, self.folder)
        except FileError as error:
            named = f" {cell!r}" if isinstance(cell, str) and not is_array(cell) else ""
            raise DataError(f"{self.table.at(number, one.column)}:{named} {error}") from error

    def file_sizes(self) -> list[int]:
        """Bytes of every file that is named, stream by stream.

        Raises:
            DataError: files are not there, or a cell is empty; counts them and names the first.
        """
        sizes, missing = [], []
        for one in self.settings.inputs.values():
            if one.kind == "numbers":
                continue
            for number, cell in enumerate(self.table.columns[one.column]):
                if is_empty(cell):
                    missing.append((number, one.column, "is empty"))
                elif not is_array(cell):
                    try:
                        sizes.append(check_file(file_path(self.folder, cell)))
                    except FileError as error:
                        missing.append((number, one.column, f"{shown_cell(cell)} {error}"))
        if missing:
            number, column, what = missing[0]
            others = count_label(len(missing) - 1, "other cell")
            many = f" (and so for {others})" if len(missing) > 1 else ""
            raise DataError(
                f"{self.table.at(number, column)}: {what}{many}; file names are relative to "
                f"{self.table.folder}; mend them, or leave the rows out with leave_out"
            )
        return sizes

    def standardise(self, train: NDArray[np.int64]) -> None:
        """Take means and standard deviations from train examples alone.

        Of numbers and targets from all; of vectors, series and arrays of float pixels from some
        that are spread evenly; pixels of 8 bits and sounds stay as they are.
        """
        self.scales = {}
        some = train[np.arange(min(_SAMPLE, len(train))) * len(train) // min(_SAMPLE, len(train))]
        for name, one in self.settings.inputs.items():
            if one.kind == "numbers":
                train_numbers = self.numbers[name][torch.from_numpy(train)]
                self.scales[name] = _scale(train_numbers, torch.float64)
            elif one.kind != "sound" and not self._is_bytes(name, int(some[0])):
                decoded = [_floats(self.decoded(name, int(number))) for number in some]
                self._check_widths(name, decoded, some)
                rows = [each.reshape(-1, each.shape[-1]) for each in decoded]
                self.scales[name] = _scale(torch.from_numpy(np.concatenate(rows)))
        if self.settings.target_kind == "number":
            self.target_scale = _scale(torch.from_numpy(self.targets[train]).float())

    def _is_bytes(self, name: str, number: int) -> bool:
        """Whether an example has pixels of 8 bits; it stands for all, for decoding takes long."""
        pixels = self.settings.inputs[name].kind in ("image", "clip")
        return pixels and self.decoded(name, number).dtype == np.uint8

    def _check_widths(
        self, name: str, decoded: Sequence[NDArray[Any]], numbers: NDArray[np.int64]
    ) -> None:
        width = decoded[0].shape[-1]
        for each, number in zip(decoded, numbers, strict=True):
            if each.shape[-1] != width:
                column = self.settings.inputs[name].column
                raise DataError(
                    f"{self.table.at(int(number), column)} holds "
                    f"{count_label(each.shape[-1], 'value')}, row {self.table.rows[numbers[0]]} "
                    f"{width}; they are to be as many in every row"
                )

    def __getstate__(self) -> dict[str, Any]:
        # Each process decodes for itself: what is kept here may be hundreds of megabytes.
        room = self.settings.cache_megabytes << 20
        return {**self.__dict__, "_decoded": {}, "_room": room}


def _floats(decoded: NDArray[Any]) -> NDArray[Any]:
    """As a stream takes them: pixels of 8 bits from 0 to 1."""
    return decoded / np.float32(255) if decoded.dtype == np.uint8 else decoded


def _scale(values: Tensor, dtype: torch.dtype = torch.float32) -> Scale:
    """Of [N, C]. A channel that does not vary is brought to 0."""
    deviation, mean = torch.std_mean(values.double(), dim=0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    return Scale(mean.to(dtype), deviation.to(dtype))


def _scaled(values: Tensor | dict[str, Tensor], scale: Scale) -> Tensor | dict[str, Tensor]:
    """Channels first; padding stays zero."""
    if isinstance(values, dict):
        there = torch.arange(values["values"].shape[1]) < values["lengths"]
        whole = _scaled(values["values"], scale)
        assert isinstance(whole, Tensor)
        there = there.reshape(1, -1, *[1] * (whole.dim() - 2))
        return {**values, "values": whole * there}
    shape = [-1] + [1] * (values.dim() - 1)
    return (values - scale.mean.reshape(shape)) / scale.deviation.reshape(shape)
