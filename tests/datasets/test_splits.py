"""One data set cut in three: nothing twice, no group in two splits, the same again."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fusion_search.datasets.batch import SPLITS, Data, Part, TensorData
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.splits import split

N, CLASSES, PERSONS = 240, 3, 16
NUMBERS = torch.arange(N)
TARGETS = torch.tensor([0, 0, 0, 1, 1, 2]).repeat(N // 6)
PERSON = [f"p{(number // 3) % PERSONS}" for number in range(N)]


def data(groups: bool = True, **words: Any) -> TensorData:
    return TensorData({"x": NUMBERS[:, None]}, TARGETS, groups=PERSON if groups else None, **words)


def numbers(one: Data, name: str) -> list[int]:
    part = one.split(name)
    return [int(part[place][0]["x"]) for place in range(len(part))]  # type: ignore[arg-type]


def parts(one: Data) -> list[list[int]]:
    return [numbers(one, name) for name in SPLITS]


def check_partition(found: list[list[int]]) -> None:
    assert sorted(itertools.chain(*found)) == list(range(N))
    assert all(own == sorted(own) for own in found)


def persons(own: list[int]) -> set[str]:
    return {PERSON[number] for number in own}


@pytest.mark.parametrize("classes", [0, CLASSES])
def test_fractions_share_out_examples_and_classes(classes: int) -> None:
    found = split(data(groups=False), fractions=(0.5, 0.3, 0.2), classes=classes)
    own = parts(found)
    check_partition(own)
    assert [len(one) for one in own] == [120, 72, 48]
    if classes:  # half of them are of class 0, a third of 1: in every split
        shares = [Counter(TARGETS[one].tolist()) for one in own]
        assert shares == [{0: n // 2, 1: n // 3, 2: n // 6} for n in (120, 72, 48)]
    stratified = ", stratified" if classes else ""
    assert found.note == f"random split (50 / 30 / 20 %) over examples{stratified}"
    assert parts(split(data(groups=False), fractions=(0.5, 0.3, 0.2), classes=classes)) == own
    assert parts(split(data(groups=False), fractions=(0.5, 0.3, 0.2), seed=1)) != own


@pytest.mark.parametrize("classes", [0, CLASSES])
def test_no_group_lies_in_two_splits(classes: int) -> None:
    found = split(data(), fractions=(0.5, 0.25, 0.25), classes=classes)
    own = parts(found)
    check_partition(own)
    train, validation, test = map(persons, own)
    assert not train & validation | train & test | validation & test
    assert (len(train), len(validation), len(test)) == (8, 4, 4)
    assert "over 16 groups" in found.note
    assert "one group" not in found.note


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("folds", [4, PERSONS])
def test_the_test_examples_of_all_folds_are_all_examples(folds: int, classes: int) -> None:
    tested: list[int] = []
    for fold in range(folds):
        found = split(data(), folds=folds, fold=fold, classes=classes)
        assert found.folds == folds
        own = parts(found)
        check_partition(own)
        train, validation, test = map(persons, own)
        assert not train & validation | train & test | validation & test
        assert len(test) == PERSONS // folds
        assert found.note.startswith(f"fold {fold} of {folds} random folds over 16 groups")
        tested += own[2]
    assert sorted(tested) == list(range(N))


def test_folds_over_examples_say_that_groups_are_cut() -> None:
    tested: list[int] = []
    for fold in range(3):
        found = split(data(), groups=False, folds=3, fold=fold, classes=CLASSES)
        assert found.note.endswith(": examples of one group lie in train and test")
        own = parts(found)
        check_partition(own)
        shares = Counter(TARGETS[own[2]].tolist())  # of 120, 80 and 40 a third, but for rounding
        assert all(abs(shares[one] - whole / 3) < 1 for one, whole in enumerate((120, 80, 40)))
        tested += own[2]
    assert sorted(tested) == list(range(N))
    one_each = split(data(), groups=[str(one) for one in range(N)], folds=3)
    assert "one group" not in one_each.note


def test_a_column_says_which_split() -> None:
    words = ["train"] * 100 + ["test"] * 80 + ["validation"] * 60
    own = parts(split(data(), column=words))
    assert own == [list(range(100)), list(range(180, 240)), list(range(100, 180))]
    named = data()
    named.part = words  # type: ignore[attr-defined]
    assert parts(split(named, column="part")) == own
    official = split(data(), column=np.array(["train"] * 144 + ["test"] * 96), classes=CLASSES)
    train, validation, test = parts(official)
    check_partition([train, validation, test])
    assert test == list(range(144, 240))
    assert not persons(train) & persons(validation)
    assert "validation cut at random from train over 16 groups" in official.note
    assert official.note.endswith("examples of one group lie in train and test")


def test_augmentation_is_of_the_train_split_alone() -> None:
    def louder(inputs: dict[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        inputs["x"] += 1000
        return inputs, target

    found = split(data(), train=data(transform=louder))
    plain = split(data())
    assert [one - 1000 for one in numbers(found, "train")] == numbers(plain, "train")
    assert parts(found)[1:] == parts(plain)[1:]
    assert int(data().inputs["x"].max()) == N - 1  # what changes an example changes a copy
    short = TensorData({"x": torch.zeros(3, 1)}, torch.zeros(3))
    with pytest.raises(DataError, match="train has 3 examples, the data set 240; they are to be"):
        split(data(), train=short)


class Files(Dataset[Any]):
    """As users write one: no targets, a collate."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, number: int) -> Any:
        return {"x": torch.tensor(number)}, float(number)

    def collate(self, items: list[Any]) -> str:
        return f"{len(items)} items"


def test_any_data_set_can_be_split() -> None:
    found = split(Files(), stratify=TARGETS, groups=PERSON, folds=4, note="my files")
    assert found.note == "my files; fold 0 of 4 random folds over 16 groups, stratified"
    check_partition(parts(found))
    assert found.train.collate([1, 2]) == "2 items"  # type: ignore[attr-defined]
    assert not hasattr(found.train, "set_epoch")
    assert not found.shared
    assert split(Files(), classes=2).note == "random split (70 / 15 / 15 %) over examples"
    prints = [
        split(Files(), fingerprint="v1").fingerprint,
        split(Files(), fingerprint="v2").fingerprint,
        split(Files(), fingerprint="v1", seed=1).fingerprint,
        split(Files(), fingerprint="v1", folds=3).fingerprint,
    ]
    assert len(set(prints)) == 4
    assert prints[0] == split(Files(), fingerprint="v1").fingerprint


def test_parts_hand_on_what_is_known_of_each_example() -> None:
    train = split(data(), classes=CLASSES).train
    own = numbers(split(data(), classes=CLASSES), "train")
    assert torch.equal(train.targets, TARGETS[own])  # type: ignore[attr-defined]
    assert train.groups == [PERSON[one] for one in own]  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(train, 5))
    assert numbers(Data(again, again, again), "train") == own

    class Balanced(Files):
        def order(self, generator: torch.Generator) -> Tensor:
            return NUMBERS

    with pytest.raises(ValueError, match="Balanced has an order of its own over all its examples"):
        Part(Balanced(), NUMBERS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"fractions": (0.9, 0.1, 0.1)}, r"fractions are \(0.9, 0.1, 0.1\); allowed: three"),
        ({"fractions": (1.0, 0.0, 0.0)}, "allowed: three above 0"),
        (
            {"fractions": (0.998, 0.001, 0.001), "groups": False},
            "fraction 0.001 of 240 .* leaves a split empty",
        ),
        ({"folds": 1}, r"folds is 1; allowed: 0 \(no folds\), 2 or more"),
        ({"folds": 3, "fold": 3}, "fold is 3; allowed: 0 to 2"),
        ({"folds": 17}, "there are 16 groups, too few for 17 folds; give fewer"),
        ({"folds": 241, "groups": False}, "there are 240 examples, too few for 241 folds"),
        ({"groups": ["a"] * 120 + ["b"] * 120}, "2 groups are too few for train,"),
        ({"groups": "person"}, "groups is 'person', and TensorData has no such attribute"),
        ({"groups": [1, 2]}, r"groups has shape \[2\]; allowed: a value of each of 240"),
        ({"groups": [*PERSON[:5], None, *PERSON[6:]]}, "groups of example 5 is missing"),
        (
            {"column": ["train"] * 3 + ["valid"] * 237},
            "says 'valid' of example 3; allowed: train, va",
        ),
        ({"column": ["train"] * 240}, "the test split would have none of 240 examples"),
        ({"column": ["train"] * 240, "folds": 3}, "both column and folds are given"),
        ({"classes": 2}, "the target of example 5 is 2; allowed with 2 classes: 0 to 1"),
        ({"classes": 4}, "class 3 has no example in train, and 0 in all"),
        ({"stratify": [0] * 239 + [1], "groups": False}, "1 example of the class of example 239"),
    ],
)
def test_what_cannot_be_cut_is_said_in_a_sentence(words: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(data(), **words)


def test_a_class_that_only_held_out_groups_have_is_named() -> None:
    rare = TARGETS.clone()
    rare[torch.tensor([one == "p3" for one in PERSON])] = 3
    whole = TensorData({"x": NUMBERS[:, None]}, rare, groups=PERSON)
    refused = 0
    for fold in range(PERSONS):
        words: dict[str, Any] = {"folds": PERSONS, "fold": fold, "stratify": False}
        if "p3" in persons(numbers(split(whole, **words), "train")):
            split(whole, **words, classes=4)
            continue
        refused += 1
        with pytest.raises(DataError, match="class 3 has no example in train, and 15 in all"):
            split(whole, **words, classes=4)
    assert 1 <= refused < PERSONS


def test_three_groups_suffice_for_three_splits() -> None:
    groups, targets = [n % 3 for n in range(30)], [n // 3 % 2 for n in range(30)]
    examples = TensorData({"x": torch.arange(30)[:, None]}, torch.tensor(targets), groups=groups)
    for seed in range(5):
        found = split(examples, classes=2, seed=seed)
        assert [len({groups[n] for n in part}) for part in parts(found)] == [1, 1, 1]
