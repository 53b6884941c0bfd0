"""One data set cut in three: by fractions, by a column, or by folds, with groups kept whole."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from fusion_search.datasets.batch import SPLITS, Data, Part
from fusion_search.datasets.cutting import Examples, Numbers, OfEach, values_of
from fusion_search.datasets.errors import DataError, count_label


def split(
    dataset: Dataset[Any],
    *,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    column: OfEach | None = None,
    groups: OfEach | Literal[False] | None = None,
    folds: int = 0,
    fold: int = 0,
    stratify: OfEach | bool | None = None,
    seed: int = 0,
    train: Dataset[Any] | None = None,
    classes: int = 0,
    labels: tuple[str, ...] = (),
    fingerprint: str = "",
    note: str = "",
    shared: bool | None = None,
) -> Data:
    """Cut a map-style data set into train, validation and test, the same for equal arguments.

    Without ``column`` and ``folds`` by ``fractions``. In folds, each one's test examples are those
    of no other fold, and validation is cut from the rest, as large beside train as ``fractions``
    say; so it is where a column has no "validation".

    Args:
        dataset: map-style; ``targets`` and ``groups`` of every example are taken from its
            attributes of these names, where it has them.
        fractions: of train, validation and test; of the groups, where there are some.
        column: "train", "validation" or "test" of every example.
        groups: whose each example is; none lies in two splits. None for the data set's own;
            False to cut them.
        folds: how many there are; 0 for one split.
        fold: from 0 on.
        stratify: keep the shares of these values in all splits; True for the targets, None for the
            targets where there are classes and the data set tells them.
        seed: of what is random.
        train: the same examples with augmentation, for the train split alone.
        classes: see ``Data``; 0 with labels: as many as these.
        labels, shared: see ``Data``.
        fingerprint: a text that tells these data from others, as a version; what a data set of
            tensors holds, and targets and lengths, are counted in any case.
        note: what a reader of the results has to know; how the data were split is added.

    Raises:
        DataError: it cannot be cut so; one sentence with the remedy.
    """
    examples = Examples.of(dataset, groups, stratify, classes or len(labels), seed)
    _check(fractions, folds, fold)
    if train is not None and len(train) != examples.count:  # type: ignore[arg-type]
        raise DataError(
            f"train has {count_label(len(train), 'example')}, "  # type: ignore[arg-type]
            f"the data set {examples.count:,}; "
            "they are to be the same examples, in one order"
        )
    if column is not None:
        if folds:
            raise DataError("both column and folds are given; allowed: one of them")
        parts, how = examples.by_column(values_of(dataset, column, "column"), fractions)
    elif folds:
        parts, how = examples.by_fold(folds, fold, fractions)
    else:
        parts, how = examples.by_fractions(fractions)
    examples.check(parts)
    shown = train if train is not None else dataset
    return Data(
        Part(shown, torch.from_numpy(parts[0])),
        Part(dataset, torch.from_numpy(parts[1])),
        Part(dataset, torch.from_numpy(parts[2])),
        classes=classes or len(labels),
        folds=folds or 1,
        labels=labels,
        shared=shared,
        fingerprint=_fingerprint(dataset, examples, parts, fingerprint),
        note="; ".join(filter(None, [note, how + examples.cut_groups(parts)])),
    )


def _check(fractions: Sequence[float], folds: int, fold: int) -> None:
    if (
        len(fractions) != len(SPLITS)
        or not all(0 < one < 1 for one in fractions)
        or not math.isclose(sum(fractions), 1, abs_tol=1e-6)
    ):
        raise DataError(
            f"fractions are {tuple(fractions)}; allowed: three above 0, of {', '.join(SPLITS)}, "
            "that add up to 1"
        )
    if folds != 0 and folds < 2:
        raise DataError(f"folds is {folds}; allowed: 0 (no folds), 2 or more")
    if not 0 <= fold < max(folds, 1):
        raise DataError(f"fold is {fold}; allowed: 0 to {max(folds, 1) - 1}")


def _fingerprint(
    dataset: Dataset[Any], examples: Examples, parts: Sequence[Numbers], declared: str
) -> str:
    digest = hashlib.sha256()
    own = getattr(dataset, "fingerprint", "")
    digest.update(f"{own} {declared} {examples.count}".encode())
    for one in (examples.targets, examples.groups, *parts):
        digest.update(b"none" if one is None else np.ascontiguousarray(one).tobytes())
    return digest.hexdigest()[:16]


def split_fingerprint(content: str, names: Mapping[str, Sequence[str]]) -> str:
    """Which examples each split has, whatever is made of them, as pictures of another size.

    Args:
        content: tells what the examples are made from: a hash of the files.
        names: split -> those of its examples, each of which has one of its own.

    Returns:
        16 hexadecimal digits.
    """
    text = json.dumps([content, [list(names[one]) for one in SPLITS]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def absent_classes(labels: Sequence[str], split: Sequence[str], name: str = "train") -> list[str]:
    """Classes that no example of a split is of.

    Args:
        labels, split: the class of every example, and the split it is in.
        name: of the split that is asked for.
    """
    there = {label for label, its in zip(labels, split, strict=True) if its == name}
    return sorted(set(labels) - there)


def absent_by_fold(labels: Sequence[str], splits: Iterable[Sequence[str]]) -> dict[str, list[int]]:
    """Class -> the folds whose train split lacks it, given the split of each fold in order."""
    found: dict[str, list[int]] = {}
    for fold, split in enumerate(splits):
        for name in absent_classes(labels, split):
            found.setdefault(name, []).append(fold)
    return found
