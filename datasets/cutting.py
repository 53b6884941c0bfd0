"""How the examples of a data set are cut in three, by scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fusion_search.datasets.batch import SPLITS
from fusion_search.datasets.errors import DataError, count_label, said

Numbers = NDArray[np.int64]
OfEach = str | Sequence[Any] | NDArray[Any] | Tensor
"""A value of every example: the name of an attribute or a column, or the values, [N]."""

_MOST_FOLDS: Final = 10  # of which a share of stratified groups is put together


@dataclass(frozen=True, eq=False)
class Examples:
    """What is known of N examples, and the ways to cut them.

    Attributes:
        count: N.
        targets: [N] whole numbers, where there are classes and the data set tells them.
        strata: [N] codes, whose shares are kept.
        groups: [N] codes.
        whole: whether groups are.
        classes, seed: as given.
    """

    count: int
    targets: Numbers | None
    strata: Numbers | None
    groups: Numbers | None
    whole: bool
    classes: int
    seed: int

    @classmethod
    def of(
        cls,
        dataset: Dataset[Any],
        groups: OfEach | Literal[False] | None,
        stratify: OfEach | bool | None,
        classes: int,
        seed: int,
    ) -> Examples:
        """Of a data set; the arguments are those of ``split``."""
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise DataError(
                f"{type(dataset).__name__} has no length or no items by number; only a map-style "
                "data set can be split"
            )
        targets = _class_targets(dataset)
        strata = None
        if stratify is True and targets is None:
            raise DataError(
                f"stratify is True, but {type(dataset).__name__} has no `targets` of whole "
                "numbers; give stratify the class of every example"
            )
        if stratify is not None and not isinstance(stratify, bool):
            strata = _codes(values_of(dataset, stratify, "stratify"), "stratify")
        elif targets is not None and (stratify or (stratify is None and classes)):
            strata = _codes(targets, "targets")
        given = getattr(dataset, "groups", None) if groups is None or groups is False else groups
        whose = None if given is None else _codes(values_of(dataset, given, "groups"), "groups")
        count = len(dataset)
        counted = targets if classes else None
        return cls(count, counted, strata, whose, groups is not False, classes, seed)

    def by_fractions(self, fractions: Sequence[float]) -> tuple[list[Numbers], str]:
        """Numbers of the examples of each split, and in words how they were chosen."""
        rest, test = self._cut(np.arange(self.count), fractions[2], self.seed)
        train, validation = self._cut(rest, _beside(fractions), self.seed)
        shares = " / ".join(f"{100 * one:.3g}" for one in fractions)
        return [train, validation, test], f"random split ({shares} %) over {self._what}"

    def by_fold(
        self, folds: int, fold: int, fractions: Sequence[float]
    ) -> tuple[list[Numbers], str]:
        """Likewise; test examples are those of no other fold."""
        rest, test = self._folds(np.arange(self.count), folds, self.seed)[fold]
        train, validation = self._cut(rest, _beside(fractions), self.seed + fold)
        return [train, validation, test], f"fold {fold} of {folds} random folds over {self._what}"

    def by_column(
        self, words: NDArray[Any], fractions: Sequence[float]
    ) -> tuple[list[Numbers], str]:
        """Likewise, by the name of each one's split."""
        for row, word in enumerate(words.tolist()):
            if word not in SPLITS:
                raise DataError(
                    f"the column that splits says {word!r} of example {row}; allowed: "
                    f"{', '.join(SPLITS)}"
                )
        train, validation, test = (np.flatnonzero(words == name) for name in SPLITS)
        how = "split by its column"
        if not len(validation):
            train, validation = self._cut(train, _beside(fractions), self.seed)
            how += f", validation cut at random from train over {self._what}"
        return [train, validation, test], how

    def check(self, parts: Sequence[Numbers]) -> None:
        """Refuse an empty split, a target that is no class, and a class that is not learnt."""
        for name, own in zip(SPLITS, parts, strict=True):
            if not len(own):
                raise DataError(
                    f"the {name} split would have none of {count_label(self.count, 'example')}"
                )
        if self.targets is None:
            return
        wrong = np.flatnonzero((self.targets < 0) | (self.targets >= self.classes))
        if len(wrong):
            raise DataError(
                f"the target of example {wrong[0]} is {self.targets[wrong[0]]}; allowed with "
                f"{self.classes} classes: 0 to {self.classes - 1}"
            )
        absent = np.setdiff1d(np.arange(self.classes), self.targets[parts[0]])
        if len(absent):
            there = int((self.targets == absent[0]).sum())
            raise DataError(
                f"class {absent[0]} has no example in train, and {there} in all; leave the class "
                "out, or split by another seed, fewer folds or other groups"
            )

    def cut_groups(self, parts: Sequence[Numbers]) -> str:
        """A warning where examples of one group lie in train and test."""
        if self.groups is None or not set(self.groups[parts[0]]) & set(self.groups[parts[2]]):
            return ""
        return ": examples of one group lie in train and test"

    @property
    def _kept(self) -> Numbers | None:
        return self.groups if self.whole else None

    @property
    def _what(self) -> str:
        what = (
            "examples" if self._kept is None else count_label(len(np.unique(self._kept)), "group")
        )
        return what + (", stratified" if self.strata is not None else "")

    def _cut(self, numbers: Numbers, share: float, seed: int) -> tuple[Numbers, Numbers]:
        """Without, and with, about this share of some examples."""
        from sklearn.model_selection import GroupShuffleSplit, train_test_split

        if self._kept is None:
            count = round(share * len(numbers))
            if not 0 < count < len(numbers):
                raise DataError(
                    f"fraction {share:.3g} of {count_label(len(numbers), 'example')} leaves a "
                    "split empty; give it a larger one"
                )
            strata = None if self.strata is None else self.strata[numbers]
            self._check_strata(numbers, 2)
            with _of_scikit_learn():
                left, taken = train_test_split(
                    numbers, test_size=count, random_state=seed, stratify=strata
                )
            return np.sort(left), np.sort(taken)
        groups = self._kept[numbers]
        present = len(np.unique(groups))
        if present < 2:
            count = len(np.unique(self._kept))
            raise DataError(
                f"{count} group{'s are' if count > 1 else ' is'} too few for train, validation and "
                "test without a common one; give fewer folds, or let groups be cut (groups=False, "
                "or a table without group)"
            )
        if self.strata is None:
            count = min(max(round(share * present), 1), present - 1)
            cutter = GroupShuffleSplit(1, test_size=count, random_state=seed)
            left, taken = next(cutter.split(numbers, groups=groups))
            return numbers[left], numbers[taken]
        # Several groups to a fold, or there is nothing to choose and thus to stratify.
        most = max(min(_MOST_FOLDS, present // 2), 2)
        part = Fraction(share).limit_denominator(most)
        taken, of = part.numerator, part.denominator
        if not 0 < taken < of:
            taken, of = max(taken * (most - 1), 1), most
        if present == len(SPLITS):  # two more splits may be to come
            taken, of = 1, present
        held = np.concatenate([one for _, one in self._folds(numbers, of, seed)[:taken]])
        return np.setdiff1d(numbers, held), np.sort(held)

    def _folds(self, numbers: Numbers, folds: int, seed: int) -> list[tuple[Numbers, Numbers]]:
        """The rest, and what is held out, of each."""
        from sklearn import model_selection as scikit

        strata = None if self.strata is None else self.strata[numbers]
        groups = None if self._kept is None else self._kept[numbers]
        count = len(numbers) if groups is None else len(np.unique(groups))
        what = count_label(count, "example" if groups is None else "group")
        if count < folds:
            are = "is" if count == 1 else "are"
            raise DataError(f"there {are} {what}, too few for {folds} folds; give fewer")
        kind: Any
        if groups is None:
            self._check_strata(numbers, folds)
            kind = scikit.KFold if strata is None else scikit.StratifiedKFold
        elif strata is None or count == folds:  # with one group each there is no choice
            kind = scikit.GroupKFold
        else:
            kind = scikit.StratifiedGroupKFold
        cutter = kind(folds, shuffle=True, random_state=seed)
        with _of_scikit_learn():
            found = list(cutter.split(numbers, strata, groups))
        return [(numbers[rest], numbers[held]) for rest, held in found]

    def _check_strata(self, numbers: Numbers, least: int) -> None:
        if self.strata is None:
            return
        values, counts = np.unique(self.strata[numbers], return_counts=True)
        if counts.min() < least:
            example = numbers[self.strata[numbers] == values[counts.argmin()]][0]
            raise DataError(
                f"{count_label(counts.min(), 'example')} of the class of example "
                f"{example} cannot be shared out to {least} parts; give more of it, fewer folds "
                "or stratify=False"
            )


@contextmanager
def _of_scikit_learn() -> Iterator[None]:
    """Its refusals as ours; what it warns of is looked at before and after."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The least populated class")
            yield
    except ValueError as error:
        raise DataError(
            f"scikit-learn cannot split so: {said(error)}; give more examples, other fractions or "
            "stratify=False"
        ) from error


def _class_targets(dataset: Dataset[Any]) -> Numbers | None:
    """[N] whole numbers; None where the data set tells no such."""
    own = getattr(dataset, "targets", None)
    try:
        targets = None if own is None else _array(own)
    except ValueError:  # lists of different lengths
        return None
    whole = targets is not None and targets.ndim == 1 and targets.dtype.kind in "iub"
    return targets if whole else None


def _beside(fractions: Sequence[float]) -> float:
    """The share of validation where there is no test."""
    return fractions[1] / (fractions[0] + fractions[1])


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def values_of(dataset: Dataset[Any], given: Any, what: str) -> NDArray[Any]:
    """[N], as given or by the name of the data set's attribute or column."""
    if isinstance(given, str):
        found = getattr(dataset, given, None)
        if found is None and given in getattr(dataset, "column_names", ()):
            found = dataset.column(given)  # type: ignore[attr-defined]
        if found is None:
            names = ", ".join(getattr(dataset, "column_names", ())) or "none"
            raise DataError(
                f"{what} is {given!r}, and {type(dataset).__name__} has no such attribute; "
                f"columns: {names}; or give {what} the values, one of each example"
            )
        given = found
    array = _array(given)
    if array.shape != (len(dataset),):  # type: ignore[arg-type]
        raise DataError(
            f"{what} has shape {list(array.shape)}; allowed: a value of each of "
            f"{count_label(len(dataset), 'example')}"  # type: ignore[arg-type]
        )
    return array


def _codes(values: NDArray[Any], what: str) -> Numbers:
    """Equal numbers from 0 on for equal values."""
    if values.dtype.kind in "fO":
        missing = [number for number, one in enumerate(values) if one is None or one != one]
        if missing:
            raise DataError(f"{what} of example {missing[0]} is missing; give it a value")
        values = values.astype(str)
    return np.unique(values, return_inverse=True)[1].astype(np.int64)
