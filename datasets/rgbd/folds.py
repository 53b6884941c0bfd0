"""Which views are tested, which validate and which train, at random or by object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from fusion_search.datasets.errors import DataError, count_label

LEAST_FOLDS: Final = 3
TELLING_FOLDS: Final = 6  # with fewer no difference is decided, as analysis.statistics has it
TRAIN, VALIDATION, TEST = "train", "validation", "test"
_LEAST: Final = 3  # objects of a class: one is tested, one validates, one trains


def random_folds(labels: Sequence[str], folds: int, fold: int, seed: int) -> tuple[list[str], str]:
    """The split of every view, with views of one class spread evenly, and how in words.

    The next fold in order validates.

    Args:
        labels: of the views, in an order of theirs.
        folds: how many.
        fold: from 0 on.
        seed: of the draw.

    Raises:
        DataError: there are too few views.
    """
    words = (
        f"{folds} folds drawn at random from views, as in the paper: views of one object train and "
        "test, which flatters"
    )
    return _by_share(list(labels), range(len(labels)), folds, fold, seed, "view"), words


def instance_folds(
    labels: Sequence[str],
    groups: Sequence[str],
    folds: int,
    fold: int,
    seed: int,
    trials: Sequence[Mapping[str, str]] | None = None,
) -> tuple[list[str], str]:
    """Likewise, with all views of an object or a person in one split.

    Where each object is of one class, a fold tests one of every class, and the next in order
    validates; their order is drawn, and drawn again when all were tested. Where a group is of
    several classes, as a person, a share of the groups is tested, and the next share validates.

    Args:
        labels, folds, fold, seed: as of ``random_folds``.
        groups: the object or person of every view.
        trials: the object that every fold tests by class, as published.

    Raises:
        DataError: there are too few objects, or the trials do not fit them.
    """
    of: dict[str, set[str]] = {}
    for group, label in zip(groups, labels, strict=True):
        of.setdefault(group, set()).add(label)
    if any(len(one) > 1 for one in of.values()):
        names = sorted(of)
        split = _by_share([""] * len(names), names, folds, fold, seed, "group")
        by_group = dict(zip(names, split, strict=True))
        share = f"a share of {count_label(len(of), 'group')}"
        words = f"{folds} folds by group: all views of {share} are tested"
        return [by_group[one] for one in groups], words
    held: dict[str, str] = {}
    for number, label in enumerate(sorted(set(labels))):
        own = sorted(group for group, its in of.items() if label in its)
        if len(own) < _LEAST:
            raise DataError(
                f"class {label} has {len(own)} object{'s' * (len(own) > 1)}, too few to test one, "
                "to validate by one and to train by others: add some, or set data.fold_by to random"
            )
        tested, validated = (
            _drawn(own, fold, seed, number)
            if trials is None
            else _published(own, label, trials, fold, seed, number)
        )
        held |= {tested: TEST, validated: VALIDATION}
    words = f"{folds} folds by instance: all views of one object of each class are tested"
    if trials is not None:
        words += ", as in the published trials"
    return [held.get(group, TRAIN) for group in groups], words


def _by_share(
    strata: Sequence[str], what: Sequence[object], folds: int, fold: int, seed: int, noun: str
) -> list[str]:
    """Folds of even size overall and in each stratum."""
    if len(what) < folds:
        remedy = "lower data.folds" if folds > LEAST_FOLDS else "add some"
        are = "is" if len(what) == 1 else "are"
        counted = count_label(len(what), noun)
        raise DataError(f"there {are} {counted}, too few for {folds} folds: {remedy}")
    chance = np.random.default_rng(seed)
    shuffled = chance.permutation(len(what))
    ordered = sorted(shuffled.tolist(), key=lambda one: strata[one])
    found = [TRAIN] * len(what)
    for place, one in enumerate(ordered):
        if place % folds == fold:
            found[one] = TEST
        elif place % folds == (fold + 1) % folds:
            found[one] = VALIDATION
    return found


def _drawn(own: Sequence[str], fold: int, seed: int, number: int) -> tuple[str, str]:
    turn, place = divmod(fold, len(own))
    order = np.random.default_rng([seed, number, turn]).permutation(len(own))
    return own[order[place]], own[order[(place + 1) % len(own)]]


def _published(
    own: Sequence[str],
    label: str,
    trials: Sequence[Mapping[str, str]],
    fold: int,
    seed: int,
    number: int,
) -> tuple[str, str]:
    tested = trials[fold].get(label)
    if tested is None or tested not in own:
        said = "names none" if tested is None else f"names {tested}, which is not there"
        raise DataError(
            f"the published trial {fold + 1} {said} of category {label}: put all its objects "
            "there, or move testinstance_ids.txt away"
        )
    others = [one for one in own if one != tested]
    return tested, others[int(np.random.default_rng([seed, number, fold]).integers(len(others)))]
