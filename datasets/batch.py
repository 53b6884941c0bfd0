"""Batches of examples, and what a task opens: three data sets of one fold."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import Dataset

from fusion_search.datasets.errors import DataError, count_label

if TYPE_CHECKING:
    from fusion_search.datasets.conditions import Axis
    from fusion_search.datasets.metrics import Metric

Tree = Any
"""A tensor, or tensors in dictionaries, lists and tuples."""

SPLITS: Final = ("train", "validation", "test")

SHARED_BYTES: Final = 2**30
"""What travels to other processes unasked: Ray keeps it in memory, once on every machine."""

_HASHED_AT_ONCE, _HASHED_PARTS = 2**20, 64  # bytes, and how many such parts of a tensor at most


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
            if not isinstance(one, Tensor):
                return one
            # A GPU fetches by itself from pinned memory alone, while its kernels run.
            pinned = one.pin_memory() if device.type == "cuda" and not one.is_cuda else one
            return pinned.to(device, non_blocking=True)

        inputs, targets, extra = tree_map(move, (self.inputs, self.targets, self.extra))
        return Batch(inputs, targets, extra)


def as_batch(items: Any) -> Batch:
    """What a data set's ``collate`` gave, as a batch.

    Raises:
        DataError: it is neither a batch nor (inputs, targets[, extra]) with inputs by stream.
    """
    if isinstance(items, Batch):
        return items
    if isinstance(items, Sequence) and len(items) in (2, 3) and isinstance(items[0], Mapping):
        return Batch(dict(items[0]), items[1], dict(items[2]) if len(items) == 3 else {})
    first = items[0] if isinstance(items, Sequence) and items else items
    raise DataError(
        "items of a data set are (inputs, target) or (inputs, target, extra) with inputs a "
        f"dictionary of streams; got {type(first).__name__}; Columns(dataset, inputs, target) "
        "names the columns of others"
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
        fingerprint: a hash of the content; equal data have equal ones. Without it, one of those
            of the splits, where all three have some, as ``TensorData`` has.
        split_fingerprint: a hash of the names of the examples of each split, whatever is made of
            them (see ``fusion_search.datasets.splits.split_fingerprint``): results are paired over
            folds where it agrees. "" where examples have no names: then they are paired where all
            settings of the data agree.
        note: what a reader of the results has to know, such as "NOT MNIST".
        labels: what classes are called, in figures.
        shared: whether the data sets travel to other processes as they are; else these open them
            for themselves. None: those of tensors in memory do, up to 1 GiB together.
        axes, metrics: where they depend on the settings of the data; None for the task's. They
            are the same for all trials of a search.
        weights: files that networks start from, by a name of yours. Their hashes become part of the
            fingerprint and of the note.
        inputs: two examples without noise, from which networks learn their shapes; set by
            ``fusion_search.search.tasks.opened.open_task``.
    """

    train: Dataset[Any]
    validation: Dataset[Any]
    test: Dataset[Any]
    classes: int = 0
    folds: int = 1
    fingerprint: str = ""
    split_fingerprint: str = ""
    note: str = ""
    labels: tuple[str, ...] = ()
    shared: bool | None = None
    axes: tuple[Axis, ...] | None = None
    metrics: tuple[Metric, ...] | None = None
    weights: Mapping[str, str | Path] = field(default_factory=dict)
    inputs: Examples = field(default_factory=Examples)

    def __post_init__(self) -> None:
        if self.shared is None:
            sizes = [getattr(self.split(name), "memory_bytes", None) for name in SPLITS]
            known = [one for one in sizes if one is not None]
            self.shared = len(known) == len(SPLITS) and sum(known) <= SHARED_BYTES
        if not self.fingerprint:  # a split hashes what it holds
            own = [getattr(self.split(name), "fingerprint", "") for name in SPLITS]
            if all(own):
                self.fingerprint = hashlib.sha256(" ".join(own).encode()).hexdigest()[:16]

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

    Where it is sent to other processes of a machine, these share its memory, and may not write to
    it; an example is a copy.

    Attributes:
        inputs: stream -> [N, ...], or such tensors by name.
        targets: [N, ...].
        transform: changes (inputs, target) of one example, as random augmentation does; its draws
            from torch's, NumPy's and Python's global generators are the same whoever loads.
        groups: [N], whose each example is, as numbers or texts; ``split`` cuts none of them.

    Raises:
        ValueError: something is no tensor, or they do not have one length.
    """

    def __init__(
        self,
        inputs: Mapping[str, Tensor | Mapping[str, Tensor]],
        targets: Tensor,
        transform: Callable[[dict[str, Tree], Tensor], tuple[dict[str, Tree], Tensor]]
        | None = None,
        groups: Sequence[Any] | Tensor | None = None,
    ) -> None:
        self.inputs: dict[str, Tree] = {
            name: dict(one) if isinstance(one, Mapping) else one for name, one in inputs.items()
        }
        named = self._named()
        for words, one in (
            *((f"input {name!r}", one) for name, one in named),
            ("targets", targets),
        ):
            if not isinstance(one, Tensor) or not one.dim():
                raise ValueError(
                    f"{words} of TensorData came as {_kind(one)}; allowed: a tensor [N, ...], such "
                    "as torch.as_tensor makes"
                )
        lengths = {f"input {name!r} has": len(one) for name, one in named}
        if groups is not None:
            lengths["groups have"] = len(groups)
        for words, length in lengths.items():
            if length != len(targets):
                raise ValueError(
                    f"{words} {count_label(length, 'example')}, the targets have {len(targets):,}"
                )
        self.targets, self.transform, self.groups = targets, transform, groups

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, number: int) -> tuple[dict[str, Tree], Tensor]:
        inputs = tree_map(lambda one: one[number].clone(), self.inputs)
        item = inputs, self.targets[number].clone()
        return self.transform(*item) if self.transform else item

    @property
    def memory_bytes(self) -> int:
        """What its tensors take."""
        return sum(one.nbytes for one in tree_leaves((self.inputs, self.targets)))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over the tensors; of long ones over parts spread evenly."""
        digest = hashlib.sha256()
        for name, one in (*self._named(), ("", self.targets)):
            digest.update(f"{name} {list(one.shape)} {one.dtype}".encode())
            content = one.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            for first in _spread(len(content)):
                digest.update(content[first : first + _HASHED_AT_ONCE].data)
        digest.update(repr(None if self.groups is None else list(self.groups)).encode())
        return digest.hexdigest()[:16]

    def _named(self) -> list[tuple[str, Tensor]]:
        """The inputs as ``stream`` or ``stream.name``, with their tensors."""
        found: list[tuple[str, Tensor]] = []
        for stream, one in self.inputs.items():
            parts = one.items() if isinstance(one, dict) else [("", one)]
            found += [(f"{stream}.{name}" if name else stream, part) for name, part in parts]
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Arrays, which pickle hands over as buffers: processes of a machine can share them."""
        inputs = tree_map(_array, self.inputs)
        return {**self.__dict__, "inputs": inputs, "targets": _array(self.targets)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        inputs = tree_map(_tensor, state["inputs"])
        self.__dict__.update({**state, "inputs": inputs, "targets": _tensor(state["targets"])})


def _kind(one: Any) -> str:
    return "a tensor of one number" if isinstance(one, Tensor) else f"a {type(one).__name__}"


def _spread(size: int) -> range:
    """Where the parts begin that a hash is taken of: all up to 64 MiB."""
    parts = min(-(-size // _HASHED_AT_ONCE), _HASHED_PARTS)
    return range(0, size, max(_HASHED_AT_ONCE, size // max(parts, 1)))


def _array(one: Tensor) -> Any:
    """The tensor as an array that shares its memory, or as it is where NumPy has no such."""
    try:
        return one.contiguous().numpy()
    except (TypeError, RuntimeError):  # bfloat16, another device, a gradient
        return one


def _tensor(one: Any) -> Tensor:
    if isinstance(one, Tensor):
        return one
    with warnings.catch_warnings():
        # Shared memory is read-only, and examples are copies.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(one)


class Part(Dataset[Any]):
    """Some examples of a data set, with its ``collate`` and ``set_epoch`` where it has them.

    Attributes:
        dataset: map-style.
        numbers: [N] int64, of the examples.

    Raises:
        ValueError: the data set has an order of its own, which holds for all its examples.
    """

    _HANDED_ON: Final = ("collate", "set_epoch")
    _OF_EACH: Final = ("targets", "groups")

    def __init__(self, dataset: Dataset[Any], numbers: Tensor) -> None:
        if hasattr(dataset, "order"):
            raise ValueError(
                f"{type(dataset).__name__} has an order of its own over all its examples, which a "
                "part cannot have; give the parts their orders, and put them into Data yourself"
            )
        self.dataset, self.numbers = dataset, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int) -> Any:
        return self.dataset[int(self.numbers[number])]

    def __getattr__(self, name: str) -> Any:
        dataset = self.__dict__.get("dataset")
        if name in self._HANDED_ON and hasattr(dataset, name):
            return getattr(dataset, name)
        if name in self._OF_EACH and getattr(dataset, name, None) is not None:
            whole = getattr(dataset, name)
            if isinstance(whole, Tensor | np.ndarray):
                return whole[self.numbers]
            return [whole[one] for one in self.numbers.tolist()]
        raise AttributeError(f"{type(self).__name__} has no {name}")

    @property
    def memory_bytes(self) -> int | None:
        """Its share of what the data set takes in memory; None where that is not known."""
        whole: int | None = getattr(self.dataset, "memory_bytes", None)
        count = len(self.dataset)  # type: ignore[arg-type]
        return None if whole is None else whole * len(self) // max(count, 1)
