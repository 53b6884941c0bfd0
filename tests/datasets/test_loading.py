"""The same examples with any number of loading workers, after a resume, in another batch size."""

from __future__ import annotations

import itertools
import os
import random
from typing import Any

import numpy as np
import pytest
import torch
from odd_tasks import Captions, Imbalanced
from torch import Tensor
from torch.utils.data import Dataset

from fusion_search.datasets.batch import Batch, Data, Part, TensorData, as_batch
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.loading import Loaders, Presentation, chunks, load, passes

SHOWN = [Presentation(number, 100 + place, 3) for place, number in enumerate((4, 0, 4, 2, 1, 3, 0))]


class Drawing(Dataset[tuple[dict[str, Tensor], Tensor]]):
    """Draws from every generator that user code draws from."""

    epoch = 0

    def __len__(self) -> int:
        return 5

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, number: int) -> tuple[dict[str, Tensor], Tensor]:
        draws = [float(torch.rand(())), float(np.random.rand()), random.random()]
        return {"x": torch.tensor([number, self.epoch, *draws])}, torch.tensor(number)


class Mixed(Drawing):
    """Draws when a batch is put together."""

    def collate(self, items: list[tuple[dict[str, Tensor], Tensor]]) -> Batch:
        x = torch.stack([one["x"] for one, _ in items])
        return Batch({"x": x + torch.rand(())}, torch.stack([target for _, target in items]))


def loaded(dataset: Dataset[object], size: int, workers: int = 0, first: int = 0) -> Tensor:
    kept = SHOWN[first:]
    cut = [kept[one] for one in chunks(len(kept), size)]
    with Loaders([dataset], workers) as loaders:
        parts = [
            torch.cat([batch.inputs["x"], shown[:, None]], 1)
            for batch, shown in loaders.load(dataset, cut, seed=7)
        ]
    return torch.cat(parts)


def test_numbers_are_the_same_whoever_loads() -> None:
    whole = loaded(Drawing(), 7)
    assert whole[:, 0].tolist() == [4, 0, 4, 2, 1, 3, 0]
    assert whole[:, 1].tolist() == [3] * 7
    assert whole[:, 5].tolist() == list(range(100, 107))
    # The same example shown again is drawn anew, and no two generators draw alike.
    assert len(set(whole[:, 2:5].flatten().tolist())) == 21
    for size in (1, 2, 3):
        assert torch.equal(loaded(Drawing(), size), whole)
    assert torch.equal(loaded(Drawing(), 2, workers=2), whole)
    assert torch.equal(loaded(Drawing(), 2, first=3), whole[3:])  # as after a resume
    assert torch.equal(loaded(Mixed(), 2, workers=2), loaded(Mixed(), 2))


class Broken(Drawing):
    """Its example 2 cannot be read, and its example 3 ends the process."""

    def __getitem__(self, number: int) -> tuple[dict[str, Tensor], Tensor]:
        if number == 2:
            raise OSError("no such file: c.wav")
        if number == 3:
            os._exit(9)
        return super().__getitem__(number)


def test_an_example_that_cannot_be_loaded_is_named() -> None:
    part = Part(Broken(), torch.tensor([0, 2, 3]))  # by its number in the whole
    words = "example 2 of Broken cannot be loaded: OSError: no such file: c.wav"
    for workers in (0, 2):
        with Loaders([part], workers) as loaders, pytest.raises(DataError) as failed:
            list(loaders.load(part, [[Presentation(0, 0), Presentation(1, 1)]], seed=0))
        assert str(failed.value) == words
    with Loaders([part], 1) as loaders, pytest.raises(DataError) as died:
        list(loaders.load(part, [[Presentation(0, 0), Presentation(2, 1)]], seed=0))
    assert str(died.value).startswith("a loading worker died while it loaded example 3 of Broken (")
    assert "lower training.loader_workers" in str(died.value)


def test_two_loadings_by_the_same_workers_do_not_mix() -> None:
    dataset = Drawing()
    with Loaders([dataset], 1) as loaders:
        first = loaders.load(dataset, [SHOWN[:2], SHOWN[2:4]], seed=7)
        next(first)
        next(loaders.load(dataset, [SHOWN[4:]], seed=7))
        with pytest.raises(RuntimeError, match="another loading has begun"):
            next(first)


def test_generators_are_given_back_as_they_were() -> None:
    def following() -> list[float]:
        return [float(torch.rand(())), float(np.random.rand()), random.random()]

    drawn = []
    for workers in (None, 0, 2):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        drawn.append(following())
        if workers is not None:
            shown, dataset = [SHOWN[:3], SHOWN[3:]], Drawing()
            with Loaders([dataset], workers) as loaders:
                for _ in loaders.load(dataset, shown, seed=7):
                    drawn[-1] += following()
        else:
            drawn[-1] += [one for _ in range(2) for one in following()]
    assert drawn[0] == drawn[1] == drawn[2]


def test_a_last_batch_of_one_joins_the_one_before() -> None:
    def sizes(count: int, size: int, join: bool) -> list[int]:
        return [len(range(count)[one]) for one in chunks(count, size, join_single=join)]

    assert sizes(9, 4, True) == [4, 5]
    assert sizes(9, 4, False) == [4, 4, 1]
    assert sizes(10, 4, True) == [4, 4, 2]
    assert sizes(1, 4, True) == [1]
    assert sizes(3, 1, True) == [1, 1, 1]
    assert sizes(0, 4, True) == []


def test_whole_batches_come_from_data_sets_that_make_them() -> None:
    class Whole(Drawing):
        def batch(self, numbers: Tensor, presentations: Tensor) -> Batch:
            return Batch({"x": torch.stack([numbers, presentations], 1).float()}, numbers)

    found = loaded(Whole(), 3)
    assert found[:, 0].tolist() == [4, 0, 4, 2, 1, 3, 0]
    assert found[:, 1].tolist() == found[:, 2].tolist() == list(range(100, 107))


def taken(dataset: Dataset[object], numbers: Tensor, size: int, batches: int, seed: int) -> Any:
    found = itertools.islice(passes(dataset, numbers, size, seed=seed), batches)
    drawn, shown = zip(*found, strict=True)
    assert torch.cat(shown).tolist() == list(range(len(torch.cat(shown))))
    return [one.tolist() for one in drawn]


def test_every_pass_shows_all_examples_in_a_new_order() -> None:
    plain, numbers = TensorData({}, torch.zeros(50)), torch.arange(30, 41)
    first, last, *second = taken(plain, numbers, 6, 4, seed=1)
    assert [len(one) for one in (first, last, *second)] == [6, 5, 6, 5]
    assert sorted(first + last) == sorted(second[0] + second[1]) == numbers.tolist()
    assert first + last != second[0] + second[1]
    assert taken(plain, numbers, 6, 4, seed=1)[0] == first
    assert taken(plain, numbers, 6, 4, seed=2)[0] != first
    assert [len(one) for one in taken(plain, numbers, 5, 2, seed=1)] == [5, 6]


def test_a_data_set_may_have_an_order_of_its_own() -> None:
    rare = Imbalanced().open(Imbalanced.data()).train
    shown = [one for batch in taken(rare, torch.arange(24), 24, 40, seed=1) for one in batch]
    labels = [int(rare.targets[number]) for number in shown]
    # 20 of 24 are of class 0, and every class is drawn one time in three.
    for label in range(3):
        assert labels.count(label) / len(labels) == pytest.approx(1 / 3, abs=0.06)
    with pytest.raises(ValueError, match="examples is 7, but the train data have an order"):
        next(passes(rare, torch.arange(7), 4, seed=1))


def test_padded_texts_are_batches_of_streams_with_parts() -> None:
    data: Data = Captions().open(None)
    batch, _ = next(load(data.test, [[Presentation(n, n) for n in range(4)]], seed=0))
    assert batch.inputs["text"]["embeddings"].shape == (4, 5, 6)
    assert batch.inputs["text"]["valid"].sum(1).tolist() == [2, 3, 4, 5]
    assert len(batch) == 4
    moved = batch.to(torch.device("meta"))
    assert moved.inputs["text"]["valid"].device.type == "meta"
    assert batch.inputs["text"]["valid"].device.type == "cpu"


def test_other_items_are_refused_in_a_sentence() -> None:
    with pytest.raises(DataError, match="inputs a dictionary of streams; got Tensor"):
        as_batch([torch.zeros(2, 3), torch.zeros(2)])
    with pytest.raises(ValueError, match="input 'x' has 3 examples, the targets have 4"):
        TensorData({"x": torch.zeros(3)}, torch.zeros(4))
    with pytest.raises(ValueError, match="split is 'dev'; allowed: train, validation, test"):
        Captions().open(None).split("dev")
