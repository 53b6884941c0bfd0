"""What a trained network makes of single examples: inputs and outputs, as arrays."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fusion_search.analysis.records.torch_file import load_torch
from fusion_search.datasets.batch import Batch, Data
from fusion_search.datasets.conditions import drawn
from fusion_search.datasets.loading import Presentation, chunks, load
from fusion_search.search.tasks.base import Condition, TrialError
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.specification import TrialSpecification

INPUT = "input."
"""Before the name of a stream, among what is shown."""

_LOADED_AT_ONCE: Final = 64  # examples, where the data set does not tell their classes


@dataclass(frozen=True)
class Example:
    """One example of one split.

    Attributes:
        split: its name.
        number: in its split.
    """

    split: str
    number: int


@dataclass(frozen=True)
class Probed:
    """One array of one example at one condition.

    Attributes:
        condition: axis -> SNR.
        example: which.
        group: whose it is, such as a person; empty where the data do not say.
        label: its class; -1 where it has none.
        target: what the network is to give; NaN where it has a class, or that is no number.
        name: ``input.STREAM``, or as ``Task.probe`` calls it.
        values: without the batch's dimension.
    """

    condition: Condition
    example: Example
    group: str
    label: int
    target: float
    name: str
    values: Tensor


def fresh_network(specification: TrialSpecification, opened: OpenedTask) -> nn.Module:
    """A trial's network with weights of no account, on the CPU."""
    data = opened.data(specification.data, specification.fold)
    with torch.random.fork_rng(devices=[]):
        return opened.task.build(specification.network, data, specification.placement)


def trained_network(
    specification: TrialSpecification, opened: OpenedTask, checkpoint: bytes
) -> nn.Module:
    """A trial's network with the weights of its best epoch, in evaluation mode on the CPU.

    Raises:
        TrialError: the weights are not those of such a network.
    """
    network = fresh_network(specification, opened)
    saved = load_torch(checkpoint)
    try:
        other = not specification.is_told_in(saved["specification"])
        network.load_state_dict(saved["state"])
    except (LookupError, RuntimeError, TypeError, AttributeError, ValueError) as error:
        raise TrialError(
            f"the checkpoint is not of the trial's network ({type(error).__name__})"
        ) from error
    if other:
        raise TrialError("the checkpoint is of another trial")
    return network.eval()


def probe(
    network: nn.Module,
    opened: OpenedTask,
    data: Data,
    examples: Sequence[Example],
    conditions: Sequence[Condition],
    *,
    seed: int,
) -> Iterator[Probed]:
    """What goes in and what comes out, one example at one condition after the other.

    Args:
        network: in evaluation mode on the CPU.
        opened: its task.
        data: of the trial.
        examples: which.
        conditions: axis -> SNR.
        seed: of the noise, the trial's.
    """
    for example in examples:
        dataset = data.split(example.split)
        groups = getattr(dataset, "groups", None)
        group = "" if groups is None else str(groups[example.number])
        for condition, met in shown(opened, dataset, example.number, conditions, seed=seed):
            label, target = _label(data, met), _target(data, met)
            with torch.inference_mode():
                found = {
                    **{f"{INPUT}{name}": one for name, one in _tensors(met.inputs)},
                    **opened.task.probe(network, met),
                }
            for name, values in found.items():
                array = values[0].float().cpu()
                yield Probed(condition, example, group, label, target, name, array)


def shown(
    opened: OpenedTask,
    dataset: Dataset[Any],
    number: int,
    conditions: Sequence[Condition],
    *,
    seed: int,
) -> Iterator[tuple[Condition, Batch]]:
    """An example of a split at some conditions, as the network meets it: batches of one."""
    batch, keys = next(load(dataset, [[Presentation(number, number)]], seed=seed))
    for condition in conditions:
        met = opened.task.impair(batch, drawn(condition, keys, seed=seed), keys, seed)
        yield condition, met


def of_every_class(
    data: Data, splits: Collection[str], count: int, *, seed: int
) -> tuple[Example, ...]:
    """The first examples of every class, and of every group where the data say whose they are.

    Args:
        data: with classes.
        splits: among which they are looked for, in this order.
        count: how many of each class, and of each group in it, at most.
        seed: of the trial, where examples have to be loaded to tell their classes.

    Raises:
        ConfigurationError: an example has not one class.
    """
    found: list[Example] = []
    taken: dict[tuple[str, int], int] = {}
    for split in splits:
        dataset = data.split(split)
        groups = getattr(dataset, "groups", None)
        for number, label in enumerate(_labels(dataset, seed)):
            key = ("" if groups is None else str(groups[number]), label)
            taken[key] = taken.get(key, 0) + 1
            if taken[key] <= count:
                found.append(Example(split, number))
    return tuple(found)


def _labels(dataset: Dataset[Any], seed: int) -> Iterator[int]:
    told = getattr(dataset, "targets", None)
    if told is not None:
        yield from map(_class, told)
        return
    every = [Presentation(at, at) for at in range(len(dataset))]  # type: ignore[arg-type]
    cut = [every[part] for part in chunks(len(every), _LOADED_AT_ONCE)]
    for batch, _ in load(dataset, cut, seed=seed):
        yield from map(_class, batch.targets)


def _class(target: Any) -> int:
    try:
        return int(target)
    except (TypeError, ValueError, RuntimeError) as error:  # several, or words
        raise ConfigurationError(
            "an example has not one class; name examples by --example"
        ) from error


def _label(data: Data, batch: Batch) -> int:
    is_class = data.classes and isinstance(batch.targets, Tensor) and batch.targets.dim() == 1
    return int(batch.targets[0]) if is_class else -1


def _target(data: Data, batch: Batch) -> float:
    found = batch.targets
    is_number = not data.classes and isinstance(found, Tensor) and found.numel() == 1
    return float(found) if is_number else math.nan


def _tensors(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for stream, one in inputs.items():
        if isinstance(one, Tensor):
            if one.dtype != torch.bool:  # which would be a mask
                yield stream, one
        elif isinstance(one, Mapping):
            yield from ((f"{stream}.{name}", part) for name, part in _tensors(one))
