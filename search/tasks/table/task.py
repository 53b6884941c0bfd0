"""The task of a table of examples: classes or a number, from columns and files of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion_search.datasets.batch import Batch, Data, Part, Tree
from fusion_search.datasets.conditions import Axis, impaired
from fusion_search.datasets.metrics import Metric
from fusion_search.datasets.noise import unit_noise
from fusion_search.datasets.tables.examples import INPUTS, SPREAD, TableExamples
from fusion_search.datasets.tables.log_mel import frames_of, log_mel
from fusion_search.datasets.tables.opening import open_table, other_examples
from fusion_search.datasets.tables.settings import Input, TableData
from fusion_search.models.layout import Placement
from fusion_search.search.tasks.base import Task, TaskError
from fusion_search.search.tasks.table.network import TableNetwork, build_network

_LEAST_VALUES: Final = 64  # that unit noise is drawn for: of one value alone it would be 1 or -1


def _is_right(outputs: Tree, batch: Batch) -> Tensor:
    right: Tensor = outputs.argmax(1) == batch.targets
    return right


def _confusions(outputs: Tensor, batch: Batch) -> Tensor:
    """Of each example found, predicted and true classes, [B, 3, classes]."""
    classes = outputs.shape[1]
    predicted = functional.one_hot(outputs.argmax(1), classes)
    true = functional.one_hot(batch.targets, classes)
    return torch.stack([predicted * true, predicted, true], dim=1)


def _macro_f1(total: Tensor, n: int) -> float:
    """The mean F1 of the classes that are there or predicted."""
    found, predicted, true = total
    some = (predicted + true) > 0
    return float((2 * found[some] / (predicted + true)[some]).mean())


def _absolute_error(outputs: Tensor, batch: Batch) -> Tensor:
    error: Tensor = (outputs - batch.targets).abs()
    return error


CLASS_METRICS = (
    Metric("accuracy", _is_right, share=True),
    Metric("macro_f1", _confusions, _macro_f1, share=True),
)
NUMBER_METRICS = (Metric("mean_absolute_error", _absolute_error, direction="minimize"),)


class Table(Task):
    """What the rows of a table say; a stream per input that its data settings name.

    Attributes:
        home: the folder of the command, which tables and weights are relative to without --data.
    """

    network, data = TableNetwork, TableData

    def __init__(self) -> None:
        # Kept, for workers run elsewhere.
        self.home = Path.cwd()

    def open(self, data: TableData, fold: int = 0) -> Data:
        """An index of the table; files are decoded when examples are asked for."""
        metrics = CLASS_METRICS if data.target_kind == "class" else NUMBER_METRICS
        return open_table(data, self._folder, fold, metrics)

    def read(self, path: Path, data: TableData, fold: int = 0) -> TableExamples:
        """Rows of another table with the same columns, on which a trained network is judged."""
        trained = self.open(data, fold)
        return other_examples(path, _examples(trained), trained.labels)

    def build(self, network: TableNetwork, data: Data, placement: Placement) -> nn.Module:
        """Encoders, what the placement puts between their levels, and a dense layer."""
        examples = _examples(data)
        return build_network(
            network,
            examples.settings.inputs,
            data.inputs,
            placement,
            classes=data.classes,
            target_scale=examples.target_scale,
            folder=self._folder,
        )

    def impair(
        self, batch: Batch, condition: Mapping[str, Tensor], keys: Tensor, seed: int
    ) -> Batch:
        """Noise on what is read, then the log-mel spectrograms [B, mels, frames] of sounds.

        Noise on numbers is a ratio to each column's standard deviation over the train split, which
        is 1; on all else to the example's own RMS.
        """
        streams: Mapping[str, Input] = batch.extra[INPUTS]
        numbers = {one.name: one for one in self.axes if _kind(one, streams) == "numbers"}
        others = {name: snrs for name, snrs in condition.items() if name not in numbers}
        met = impaired(batch, self.axes, others, keys, seed=seed)
        inputs = dict(met.inputs)
        for name, axis in numbers.items():
            if name in condition:
                inputs[axis.input] = noisy_numbers(
                    inputs[axis.input], condition[name], keys, seed, self.axes.index(axis)
                )
        for name, one in streams.items():
            if one.kind == "sound":
                inputs[name] = _heard(one, inputs[name])
        return replace(met, inputs=inputs)

    def loss(self, outputs: Tree, batch: Batch) -> Tensor:
        """Cross-entropy, or the squared error in standard deviations of the train targets, [B]."""
        if SPREAD in batch.extra:
            error: Tensor = (outputs - batch.targets) / batch.extra[SPREAD]
            return error.square()
        return functional.cross_entropy(outputs, batch.targets, reduction="none")

    @property
    def _folder(self) -> Path:
        return self.data_folder.expanduser().absolute() if self.data_folder else self.home


def _kind(axis: Axis, streams: Mapping[str, Input]) -> str:
    return streams[axis.input.partition(".")[0]].kind


def noisy_numbers(clean: Tensor, snr: Tensor, keys: Tensor, seed: int, stream: int) -> Tensor:
    """Standardised numbers with white noise of deviation 1 / SNR on each.

    Args:
        clean: [B, columns].
        snr: [B]; infinity leaves an example untouched, minus infinity makes it zero.
        keys: [B] int64 on the CPU.
        seed, stream: of the noise.
    """
    count = max(clean.shape[1], _LEAST_VALUES)
    lengths = torch.full((len(keys),), count)
    unit = unit_noise(seed, stream, keys, lengths, count, clean.device)[:, -clean.shape[1] :]
    ratio = snr.to(clean.device, clean.dtype)[:, None]
    scale = torch.where(ratio.isfinite(), 1 / ratio, 0.0)
    return (clean + scale * unit) * (ratio > 0)


def _heard(one: Input, waveforms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    mel = log_mel(waveforms["values"][:, 0], one.rate, one.mels).transpose(1, 2)
    lengths = frames_of(waveforms["lengths"], one.rate)
    assert isinstance(lengths, Tensor)
    return {"values": mel, "lengths": lengths}


def _examples(data: Data) -> TableExamples:
    if not (isinstance(data.train, Part) and isinstance(data.train.dataset, TableExamples)):
        raise TaskError("these are not the data of a table")
    return data.train.dataset
