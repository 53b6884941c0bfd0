from __future__ import annotations

from collections import Counter

import pytest

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.rgbd.folds import instance_folds, random_folds

OBJECTS = {"apple": 3, "pear": 4, "soda_can": 5}
VIEWS = 7
LABELS = [label for label, count in OBJECTS.items() for _ in range(count * VIEWS)]
GROUPS = [
    f"{one}_{n}" for one, count in OBJECTS.items() for n in range(count) for _ in range(VIEWS)
]


def test_random_folds_test_every_view_once_and_the_next_one_validates() -> None:
    splits = [random_folds(LABELS, 5, fold, seed=3)[0] for fold in range(5)]
    for fold, split in enumerate(splits):
        after = splits[(fold + 1) % 5]
        assert [one == "validation" for one in split] == [one == "test" for one in after]
        for label, count in Counter(LABELS).items():
            tested = sum(a == "test" and b == label for a, b in zip(split, LABELS, strict=True))
            assert abs(tested - count / 5) < 1
    assert [sum(one[n] == "test" for one in splits) for n in range(len(LABELS))] == [1] * len(
        LABELS
    )
    assert splits[0] != random_folds(LABELS, 5, 0, seed=4)[0]
    assert "which flatters" in random_folds(LABELS, 5, 0, seed=3)[1]


def test_folds_by_instance_test_one_object_of_each_class_and_each_once_in_turn() -> None:
    tested: list[dict[str, str]] = []
    for fold in range(12):
        split, words = instance_folds(LABELS, GROUPS, 12, fold, seed=0)
        of = {
            name: {g for g, s in zip(GROUPS, split, strict=True) if s == name}
            for name in set(split)
        }
        assert not of["test"] & of["train"]
        assert not of["validation"] & (of["train"] | of["test"])
        for name in ("test", "validation"):
            assert sorted(one.rsplit("_", 1)[0] for one in of[name]) == sorted(OBJECTS)
        tested.append({one.rsplit("_", 1)[0]: one for one in of["test"]})
        assert "12 folds by instance" in words
    for label, count in OBJECTS.items():
        for first in range(0, 12 - count + 1, count):
            assert len({one[label] for one in tested[first : first + count]}) == count


def test_objects_are_tested_in_other_company_when_all_were() -> None:
    groups = [f"{label}_{n}" for label in "abcd" for n in range(3)]
    labels = [one[0] for one in groups]
    splits = [tuple(instance_folds(labels, groups, 9, fold, seed=0)[0]) for fold in range(9)]
    assert len(set(splits[:3])) == 3
    assert len(set(splits)) > 6


def test_persons_of_several_classes_are_tested_in_all_of_them() -> None:
    persons = [f"F{n:04}" for n in range(11)]
    labels = [label for label in ("AN", "HA") for _ in persons for _ in range(4)]
    groups = [one for _ in ("AN", "HA") for one in persons for _ in range(4)]
    seen: Counter[str] = Counter()
    for fold in range(5):
        split, words = instance_folds(labels, groups, 5, fold, seed=0)
        tested = {g for g, s in zip(groups, split, strict=True) if s == "test"}
        assert len(tested) in (2, 3)
        assert all((s == "test") == (g in tested) for g, s in zip(groups, split, strict=True))
        seen.update(tested)
    assert seen == Counter(persons)
    assert "by group" in words


def test_published_trials_are_the_folds() -> None:
    trials = [
        {"apple": f"apple_{n}", "pear": f"pear_{3 - n}", "soda_can": "soda_can_1"} for n in range(3)
    ]
    for fold, trial in enumerate(trials):
        split, words = instance_folds(LABELS, GROUPS, 3, fold, 0, trials)
        tested = {g for g, s in zip(GROUPS, split, strict=True) if s == "test"}
        assert tested == set(trial.values())
        assert "published trials" in words
    for wrong, said in (({"apple": "apple_9"}, "apple_9, which is not there"), ({}, "names none")):
        with pytest.raises(DataError, match=said):
            instance_folds(LABELS, GROUPS, 1, 0, 0, [wrong])


def test_too_few_are_said() -> None:
    with pytest.raises(DataError, match="there are 2 views, too few for 3 folds"):
        random_folds(["a", "b"], 3, 0, 0)
    with pytest.raises(DataError, match="class b has 1 object, too few to test one"):
        instance_folds(["a"] * 3 + ["b"], ["a1", "a2", "a3", "b1"], 3, 0, 0)
    with pytest.raises(DataError, match="there are 2 groups, too few for 3 folds"):
        instance_folds(["a", "b", "a", "b"], ["x", "x", "y", "y"], 3, 0, 0)
