"""Opening a task's data, which are checked there, and sharing them between its trials."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from fusion_search.datasets.batch import SPLITS, Data, Examples, Tree
from fusion_search.datasets.conditions import ORIGINAL
from fusion_search.datasets.errors import count_label
from fusion_search.datasets.loading import Presentation, load
from fusion_search.models.weights import WeightsError, weights_hash
from fusion_search.search.tasks.base import (
    Classification,
    Task,
    TaskError,
    check_kind,
    settings_fields,
)


class OpenedTask:
    """A task, and data by settings and fold. Picklable: it travels to the workers.

    Args:
        task: what is fused.
        settings: of the data that are opened at once; others follow when they are asked for.
        fold: likewise.

    Attributes:
        task: as given.
        first: the data opened at once.

    Raises:
        TaskError: see ``open_task``.
    """

    def __init__(self, task: Task, settings: Any, fold: int = 0) -> None:
        self.task = task
        self._first = (settings, fold)
        self._opened = {self._first: open_task(task, settings, fold)}

    @property
    def first(self) -> Data:
        """The data opened at once."""
        return self.data(*self._first)

    def data(self, settings: Any, fold: int = 0) -> Data:
        """Of these settings and this fold."""
        key = (settings, fold)
        if key not in self._opened:
            self._opened[key] = open_task(self.task, settings, fold)
        return self._opened[key]

    def __getstate__(self) -> dict[str, Any]:
        # What does not lie in memory, such as an open file, is opened where it is needed.
        kept = {key: data for key, data in self._opened.items() if data.shared}
        return {**self.__dict__, "_opened": kept}


def open_task(task: Task, data: Any, fold: int = 0) -> Data:
    """Open a fold, take over what depends on the data, and find two examples for shapes.

    Args:
        task: its ``axes`` and ``metrics`` become those of the data where these have some.
        data: an instance of ``task.data``.
        fold: from 0 on.

    Raises:
        TaskError: a data set is empty, there is no such fold, settings are no frozen dataclass or
            of another task, or the code of the task's author raises what is no error of a file or
            value.
    """
    for group in ("network", "data"):
        settings_fields(task, group)
    check_kind(task, "data", data)
    try:
        opened = task.open(data, fold)
    except SystemExit as error:
        raise TaskError(f"open of {type(task).__name__} ends the program") from error
    except (ValueError, OSError):
        raise
    except Exception as error:  # whatever the code of its author raises
        raise TaskError(f"open of {type(task).__name__} raises {raised(task, error)}") from error
    if not isinstance(opened, Data):
        raise TaskError(f"open gave a {type(opened).__name__}; a task's open gives Data")
    if not 0 <= fold < opened.folds:
        raise TaskError(f"fold is {fold}; allowed: 0 to {opened.folds - 1}")
    for split in SPLITS:
        given = opened.split(split)
        if not hasattr(given, "__len__") or not hasattr(given, "__getitem__"):
            raise TaskError(
                f"the {split} split is a {type(given).__name__} without a length or items by "
                "number; a split is a map-style data set"
            )
        if not len(given):
            raise TaskError(f"the {split} split of fold {fold} has no example")
    if isinstance(task, Classification):
        _check_classes(opened)
    # Left to the class where the data have none: metrics are often lambdas, which are not pickled.
    if opened.axes is not None:
        task.axes = opened.axes
    if opened.metrics is not None:
        task.metrics = opened.metrics
    if not task.metrics:
        raise TaskError(f"{type(task).__name__} has no metric; the first one chooses networks")
    opened.note = opened.note or type(task).__name__
    _note_weights(opened)
    opened.inputs = example_inputs(task, opened)
    return opened


def raised(task: Task, error: Exception) -> str:
    """What code of a task raised, in one line, and where in its author's file.

    Raises:
        Exception: the same, of a task of ours: a mistake that its user cannot mend.
    """
    module = type(task).__module__
    if module.startswith("fusion_search."):
        raise error
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules.get(module), "__file__", None)
    last = [*frames, *(one for one in frames if one.filename == file)][-1]
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words} ({Path(last.filename).name}, line {last.lineno})"


def _check_classes(data: Data) -> None:
    """Refuse data without classes, and a target that is none.

    Cross-entropy leaves out those of -100, and says nothing. Targets are looked at where they lie
    in memory; others are not loaded for this.
    """
    if data.classes < 2:
        raise TaskError(
            f"the data have {count_label(data.classes, 'class', 'classes')}; a classification's "
            "open says how many, as Data(..., classes=10) or split(..., classes=10)"
        )
    for split in SPLITS:
        targets = getattr(data.split(split), "targets", None)
        if isinstance(targets, Tensor) and targets.dim() == 1:
            wrong = torch.nonzero((targets < 0) | (targets >= data.classes))
            if len(wrong):
                number = int(wrong[0])
                raise TaskError(
                    f"the target of example {number} of the {split} split is "
                    f"{targets[number].item():g}; allowed with {data.classes} classes: 0 to "
                    f"{data.classes - 1}"
                )


def _note_weights(data: Data) -> None:
    """A search does not go on with other weights, and its records say which they were."""
    try:
        hashes = {name: weights_hash(path) for name, path in sorted(data.weights.items())}
    except WeightsError as error:
        raise TaskError(str(error)) from error
    if hashes:
        whole = repr((data.fingerprint, hashes))
        data.fingerprint = hashlib.sha256(whole.encode()).hexdigest()[:16]
        words = (f"{name} from {Path(data.weights[name]).name} {hashes[name]}" for name in hashes)
        data.note += f"; weights of {', '.join(words)} (SHA-256)"


_LOOKED_AT: Final = 8
"""Examples among which other lengths are looked for."""


def example_inputs(task: Task, data: Data) -> Examples:
    """Two validation examples through ``impair`` without noise, as networks take them.

    A data set that puts batches together itself may have examples of several lengths: then also
    one of another length, twice.
    """
    count = len(data.validation)  # type: ignore[arg-type]
    original = {axis.name: torch.full((2,), ORIGINAL) for axis in task.axes}

    def inputs(first: int, second: int) -> dict[str, Tree]:
        shown = [Presentation(first % count, 0), Presentation(second % count, 1)]
        batch, keys = next(load(data.validation, [shown], seed=0))
        return task.impair(batch, original, keys, 0).inputs

    examples = Examples(inputs(0, 1))
    if hasattr(data.validation, "collate") or hasattr(data.validation, "batch"):
        for number in sorted({count * part // _LOOKED_AT for part in range(_LOOKED_AT)}):
            other = inputs(number, number)
            if _shapes(other) != _shapes(examples):
                examples.other = other
                break
    return examples


def _shapes(inputs: Mapping[str, Tree]) -> list[torch.Size]:
    return [one.shape for one in tree_leaves(dict(inputs)) if isinstance(one, Tensor)]
