"""What a trained network makes of single examples: inputs and outputs, as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fusion_search.analysis.records.torch_file import load_torch
from fusion_search.datasets.batch import Batch, Data
from fusion_search.datasets.conditions import drawn
from fusion_search.datasets.loading import Presentation, load
from fusion_search.search.tasks.base import Condition, TrialError
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.specification import TrialSpecification

INPUT = "input."
"""Before the name of a stream, among what is shown."""


@dataclass(frozen=True)
class Probed:
    """One array of one example at one condition.

    Attributes:
        condition: axis -> SNR.
        number: of the example in its split.
        label: its class; -1 where it has none.
        target: what the network is to give; NaN where it has a class, or that is no number.
        name: ``input.STREAM``, or as ``Task.probe`` calls it.
        values: without the batch's dimension.
    """

    condition: Condition
    number: int
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
    try:
        saved = load_torch(checkpoint)
        other = saved["specification"] != specification.to_json()
        network.load_state_dict(saved["state"])
    except (LookupError, RuntimeError, TypeError, AttributeError) as error:
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
    numbers: Sequence[int],
    conditions: Sequence[Condition],
    *,
    seed: int,
) -> Iterator[Probed]:
    """What goes in and what comes out, one test example at one condition after the other.

    Args:
        network: in evaluation mode on the CPU.
        opened: its task.
        data: of the trial.
        numbers: of test examples.
        conditions: axis -> SNR.
        seed: of the noise, the trial's.
    """
    for number in numbers:
        for condition, met in shown(opened, data, number, conditions, seed=seed):
            label, target = _label(data, met), _target(data, met)
            with torch.inference_mode():
                found = {
                    **{f"{INPUT}{name}": one for name, one in _tensors(met.inputs)},
                    **opened.task.probe(network, met),
                }
            for name, values in found.items():
                array = values[0].float().cpu()
                yield Probed(condition, number, label, target, name, array)


def shown(
    opened: OpenedTask, data: Data, number: int, conditions: Sequence[Condition], *, seed: int
) -> Iterator[tuple[Condition, Batch]]:
    """A test example at some conditions, as the network meets it: batches of one."""
    batch, keys = next(load(data.test, [[Presentation(number, number)]], seed=seed))
    for condition in conditions:
        met = opened.task.impair(batch, drawn(condition, keys, seed=seed), keys, seed)
        yield condition, met


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
            yield stream, one
        elif isinstance(one, Mapping):
            yield from ((f"{stream}.{name}", part) for name, part in _tensors(one))
