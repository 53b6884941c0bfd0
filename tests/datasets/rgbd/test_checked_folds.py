"""Folds that cannot be made, or lack a class, are told before a search meets them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_views import view

from fusion_search.analysis.statistics import seeds_needed
from fusion_search.datasets.decoded import in_memory
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.rgbd.checked_folds import check_folds
from fusion_search.datasets.rgbd.data import Source
from fusion_search.datasets.rgbd.folds import TELLING_FOLDS
from fusion_search.datasets.rgbd.rendering import FOCAL
from fusion_search.datasets.rgbd.view import VIEW_KIND


def objects(**of: int) -> Source:
    """So many objects of each class, a view of each."""
    views = [
        view(f"{label}_{number}_1_1") for label, count in of.items() for number in range(count)
    ]
    return Source(in_memory(VIEW_KIND, views), "made up", FOCAL)


def persons(**of: str) -> Source:
    """Which persons, a letter each, show a class, in four views."""
    views = [
        replace(view(f"{label}_{person}_1_{take}"), label=label, group=person)
        for label, its in of.items()
        for person in its
        for take in range(4)
    ]
    return Source(in_memory(VIEW_KIND, views), "made up", FOCAL)


@pytest.mark.parametrize(
    ("source", "folds", "said"),
    [
        (objects(apple=10, pear=10), 10, []),
        (objects(apple=4, pear=3), 3, []),
        (
            objects(apple=4, pear=10),
            10,
            [
                "class apple has 4 objects, for 10 folds by instance: an object is tested in "
                "several of them, which are no independent ones; data.folds: 4 tests none twice, "
                "but with fewer than 6 folds no networks are told apart: add objects"
            ],
        ),
        (
            objects(apple=4, pear=5, plum=10),
            10,
            [
                "2 classes have fewer objects, such as apple 4, for 10 folds by instance: an "
                "object is tested in several of them, which are no independent ones; data.folds: 4 "
                "tests none twice, but with fewer than 6 folds no networks are told apart: add "
                "objects"
            ],
        ),
        (
            objects(apple=7, pear=10),
            10,
            [
                "class apple has 7 objects, for 10 folds by instance: an object is tested in "
                "several of them, which are no independent ones; data.folds: 7 tests none twice"
            ],
        ),
        (
            objects(apple=10, pear=2),
            5,
            [
                "class pear is absent from a train split: trials of fold 0 (of 5 at random) fail; "
                "add more views of it, or name the other folds alone",
                "folds by instance cannot be made: class pear has 2 objects, too few to test one, "
                "to validate by one and to train by others: add some, or set data.fold_by to "
                "random",
            ],
        ),
        (
            persons(happy="ABCDE", sad="ABCDE"),
            10,
            [
                "folds by instance cannot be made: there are 5 groups, too few for 10 folds: lower "
                "data.folds"
            ],
        ),
        (
            persons(happy="ABCDE", sad="A"),
            5,
            [
                "class sad is absent from a train split: trials of fold 2, 3 (of 5 by instance) "
                "fail; add more objects or persons of it, or name the other folds alone"
            ],
        ),
    ],
    ids=[
        "enough",
        "as many",
        "fewer",
        "several",
        "enough to tell",
        "too few",
        "persons",
        "a person's class",
    ],
)
def test_what_folds_lack_is_said_with_what_follows(
    source: Source, folds: int, said: list[str]
) -> None:
    assert check_folds(source, folds) == said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (objects(apple=9), "there is one class, apple: add views of another"),
        (objects(apple=1, pear=1), "no fold can be trained: folds at random cannot be made: there"),
    ],
    ids=["one class", "too few of all"],
)
def test_where_no_fold_can_be_trained_that_is_an_error(source: Source, said: str) -> None:
    with pytest.raises(DataError) as caught:
        check_folds(source, 10)
    assert str(caught.value).startswith(said)


def test_as_many_folds_are_called_for_as_tell_networks_apart() -> None:
    assert seeds_needed() == TELLING_FOLDS
