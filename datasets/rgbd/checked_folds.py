"""What is wrong with the folds of a source, in sentences, before a search meets it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.rgbd.data import Source, class_names
from fusion_search.datasets.rgbd.folds import (
    LEAST_FOLDS,
    TELLING_FOLDS,
    instance_folds,
    random_folds,
)
from fusion_search.datasets.splits import absent_by_fold, absent_classes

RANDOM, INSTANCE = "at random", "by instance"
_SEED: Final = 0

Split = Callable[[int, int], list[str]]


def check_folds(source: Source, folds: int) -> list[str]:
    """Sentences on folds that cannot be made, or that lack a class, each with what follows.

    Args:
        source: of the views.
        folds: how many there shall be; of published trials there are as many as published.

    Raises:
        DataError: there is one class, or no fold of either kind can be trained.
    """
    views = source.listed.records
    labels, groups = [view.label for view in views], [view.group for view in views]
    class_names(views)
    trials = source.trials

    def at_random(folds: int, fold: int) -> list[str]:
        return random_folds(labels, folds, fold, _SEED)[0]

    def by_instance(folds: int, fold: int) -> list[str]:
        return instance_folds(labels, groups, folds, fold, _SEED, trials)[0]

    found, usable = [], False
    for by, split, count in (
        (RANDOM, at_random, folds),
        (INSTANCE, by_instance, len(trials) if trials is not None else folds),
    ):
        words, trainable = _checked(labels, split, count, by)
        found += words
        usable |= trainable
    if not usable:
        raise DataError(f"no fold can be trained: {'; '.join(found)}")
    return [*found, *(_tested_again(labels, groups, folds) if trials is None else ())]


def _checked(labels: Sequence[str], split: Split, folds: int, by: str) -> tuple[list[str], bool]:
    """What is wrong with the folds of a kind, and whether any can be trained."""
    try:
        lacking = absent_by_fold(labels, [split(folds, fold) for fold in range(folds)])
    except DataError as error:
        return [f"folds {by} cannot be made: {error}"], _fewer_do(labels, split)
    if not lacking:
        return [], True
    lost = {fold for its in lacking.values() for fold in its}
    name, own = next(iter(lacking.items()))
    said = f"class {name} is" if len(lacking) == 1 else f"{len(lacking):,} classes are"
    such = "" if len(lacking) == 1 else f", such as {name} in fold {own[0]}"
    numbers = ", ".join(map(str, sorted(lost)))
    what = "views" if by == RANDOM else "objects or persons"
    words = (
        f"{said} absent from a train split{such}: trials of fold {numbers} (of {folds} {by}) fail; "
        f"add more {what} of it, or name the other folds alone"
    )
    return [words], len(lost) < folds


def _fewer_do(labels: Sequence[str], split: Split) -> bool:
    """Whether a fold of the fewest there may be can be trained."""
    try:
        return any(
            not absent_classes(labels, split(LEAST_FOLDS, one)) for one in range(LEAST_FOLDS)
        )
    except DataError:
        return False


def _tested_again(labels: Sequence[str], groups: Sequence[str], folds: int) -> list[str]:
    """That folds by instance test objects more than once; nothing of groups of several classes."""
    of: dict[str, set[str]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        of[label].add(group)
    if sum(map(len, of.values())) > len(set(groups)):
        return []
    few = sorted((len(own), label) for label, own in of.items() if len(own) < folds)
    least = few[0][0] if few else folds
    if not LEAST_FOLDS <= least < folds:
        return []
    said = f"class {few[0][1]} has" if len(few) == 1 else f"{len(few):,} classes have"
    such = f"{least} objects" if len(few) == 1 else f"fewer objects, such as {few[0][1]} {least}"
    few_folds = (
        f", but with fewer than {TELLING_FOLDS} folds no networks are told apart: add objects"
    )
    return [
        f"{said} {such}, for {folds} folds {INSTANCE}: an object is tested in several of them, "
        f"which are no independent ones; data.folds: {least} tests none twice"
        f"{few_folds if least < TELLING_FOLDS else ''}"
    ]
