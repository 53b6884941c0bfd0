"""Batches of examples, and what a task opens: three data sets of one fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from fusion_search.datasets.conditions import Axis
    from fusion_search.datasets.metrics import Metric

Tree = Any
"""A tensor, or tensors in dictionaries, lists and tuples."""

SPLITS: Final = ("train", "validation", "test")


@dataclass
class Batch:
    """B examples.

    Attributes:
        inputs: stream -> what the network takes: a tensor [B, ...], or tensors by name.
        targets: what the loss compares with, a tensor [B, ...] or a tree of them.
        extra: never fed to the network: waveforms, windows, whose an example is.
    """

    inputs: dict[str, Tree]
    targets: Tree = None
    extra: dict[str, Tree] = field(default_factory=dict)

    def __len__(self) -> int:
        for one in tree_leaves((self.targets, self.inputs)):
            if isinstance(one, Tensor) and one.dim():
                return len(one)
        raise ValueError("a batch holds no tensor: neither its targets nor its inputs have one")

    def to(self, device: torch.device) -> Batch:
        """The same with every tensor on a device."""

        def move(one: Any) -> Any:
            return one.to(device, non_blocking=True) if isinstance(one, Tensor) else one

        inputs, targets, extra = tree_map(move, (self.inputs, self.targets, self.extra))
        return Batch(inputs, targets, extra)


def as_batch(items: Any) -> Batch:
    """What a data set's ``collate`` gave, as a batch.

    Raises:
        TypeError: it is neither a batch nor (inputs, targets[, extra]) with inputs by stream.
    """
    if isinstance(items, Batch):
        return items
    if isinstance(items, Sequence) and len(items) in (2, 3) and isinstance(items[0], Mapping):
        return Batch(dict(items[0]), items[1], dict(items[2]) if len(items) == 3 else {})
    kind = type(items[0]).__name__ if isinstance(items, Sequence) and items else type(items)
    raise TypeError(
        "items of a data set are (inputs, target) or (inputs, target, extra) with inputs a "
        f"dictionary of streams; got {kind}"
    )


class Examples(dict[str, Tree]):
    """Two examples as networks take them, by stream.

    Attributes:
        other: two of other lengths; None where lengths do not vary.
    """

    other: dict[str, Tree] | None = None


@dataclass
class Data:
    """What a task opens.

    A data set is map-style; its items are (inputs, target[, extra]). It may have

    * ``collate(items)``, in place of torch's default,
    * ``set_epoch(epoch)``, called before an item of that epoch is asked for,
    * ``order(generator) -> numbers``, the examples of an epoch in their order,
    * ``batch(numbers, presentations) -> Batch`` for whole batches, perhaps on a device; both are
      [B] int64, and equal presentations are to give equal examples,
    * ``on(device)``, the same data set with its batches made there.

    Attributes:
        train, validation, test: of one fold.
        classes: how many there are; 0 where there are none.
        folds: how many there are.
        fingerprint: a hash of the content; equal data have equal ones.
        note: what a reader of the results has to know, such as "NOT MNIST".
        labels: what classes are called, in figures.
        shared: whether the data sets lie in memory and travel to other processes as they are;
            else these open them for themselves.
        axes, metrics: where they depend on the settings of the data; None for the task's. They
            are the same for all trials of a search.
        weights: files that networks start from, by a name of yours. Their hashes become part of the
            fingerprint and of the note.
        inputs: two examples without noise, from which networks learn their shapes; set by
            ``fusion_search.search.tasks.base.open_task``.
    """

    train: Dataset[Any]
    validation: Dataset[Any]
    test: Dataset[Any]
    classes: int = 0
    folds: int = 1
    fingerprint: str = ""
    note: str = ""
    labels: tuple[str, ...] = ()
    shared: bool = False
    axes: tuple[Axis, ...] | None = None
    metrics: tuple[Metric, ...] | None = None
    weights: Mapping[str, str | Path] = field(default_factory=dict)
    inputs: Examples = field(default_factory=Examples)

    def on(self, device: torch.device) -> Data:
        """The same, with what makes whole batches on a device (a data set's ``on``) there."""
        moved = {name: one.on(device) for name in SPLITS if hasattr(one := self.split(name), "on")}
        return replace(self, **moved)

    def split(self, name: str) -> Dataset[Any]:
        """One of ``SPLITS``."""
        if name not in SPLITS:
            raise ValueError(f"split is {name!r}; allowed: {', '.join(SPLITS)}")
        chosen: Dataset[Any] = getattr(self, name)
        return chosen


class TensorData(Dataset[Any]):
    """Examples that lie in memory.

    Attributes:
        inputs: stream -> [N, ...].
        targets: [N, ...].
        transform: changes (inputs, target) of one example, as random augmentation does; its draws
            from torch's, NumPy's and Python's global generators are the same whoever loads.

    Raises:
        ValueError: the tensors do not have one length.
    """

    def __init__(
        self,
        inputs: Mapping[str, Tensor],
        targets: Tensor,
        transform: Callable[[dict[str, Tensor], Tensor], tuple[dict[str, Tensor], Tensor]]
        | None = None,
    ) -> None:
        for name, one in inputs.items():
            if len(one) != len(targets):
                raise ValueError(
                    f"input {name!r} has {len(one):,} examples, the targets have {len(targets):,}"
                )
        self.inputs, self.targets, self.transform = dict(inputs), targets, transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, number: int) -> tuple[dict[str, Tensor], Tensor]:
        item = {name: one[number] for name, one in self.inputs.items()}, self.targets[number]
        return self.transform(*item) if self.transform else item
