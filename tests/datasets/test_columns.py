"""Data sets of other libraries: columns named, items as tasks take them."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from fusion_search.datasets.batch import Data, TensorData
from fusion_search.datasets.columns import Columns
from fusion_search.datasets.errors import DataError
from fusion_search.datasets.loading import Presentation, load
from fusion_search.datasets.splits import split
from fusion_search.search.tasks.base import Classification, TaskError
from fusion_search.search.tasks.opened import open_task

N = 30


class HuggingFace:
    """What ``datasets.Dataset`` offers of itself, as its documentation says."""

    def __init__(self, rows: dict[str, list[Any]], shown: Callable[[Any], Any] | None = None):
        self.rows, self.shown = rows, shown

    @property
    def column_names(self) -> list[str]:
        return list(self.rows)

    def __len__(self) -> int:
        return len(self.rows["label"])

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            own = HuggingFace({key: self.rows[key]})
            return [
                self.shown(one)[key] if self.shown else one[key]
                for one in map(own.row, range(len(self.rows[key])))
            ]
        row = self.row(key)
        return self.shown(row) if self.shown else row

    def row(self, number: int) -> dict[str, Any]:
        return {name: values[number] for name, values in self.rows.items()}

    def with_format(self, kind: str | None) -> HuggingFace:
        assert kind is None
        return HuggingFace(self.rows)

    def set_transform(self, shown: Callable[[Any], Any]) -> None:
        self.shown = shown


def rows() -> dict[str, list[Any]]:
    return {
        "sound": [[float(number), 0.5] for number in range(N)],
        "ids": [[number, 7] for number in range(N)],
        "mask": [[1, 0]] * N,
        "label": [number % 3 for number in range(N)],
        "speaker": [f"s{number // 2}" for number in range(N)],
    }


INPUTS: dict[str, Any] = {"audio": "sound", "text": ["ids", "mask"]}


def test_columns_become_streams_target_and_extra() -> None:
    found = Columns(HuggingFace(rows()), INPUTS, "label", extra=["mask"])
    batch, _ = next(load(found, [[Presentation(4, 0), Presentation(9, 1)]], seed=0))
    assert torch.equal(batch.inputs["audio"], torch.tensor([[4.0, 0.5], [9.0, 0.5]]))
    assert batch.inputs["audio"].dtype == torch.float32
    assert batch.inputs["text"]["ids"].tolist() == [[4, 7], [9, 7]]
    assert batch.inputs["text"]["mask"].tolist() == [[1, 0]] * 2
    assert batch.targets.tolist() == [1, 0]
    assert batch.extra["mask"].tolist() == [[1, 0]] * 2
    assert not Data(found, found, found).shared


def test_columns_split_by_their_groups() -> None:
    plain = HuggingFace(rows())
    # A transform that needs a column which is not asked for, as augmentation does.
    plain.set_transform(lambda row: {**row, "sound": [2 * one for one in row["sound"]]})
    found = split(Columns(plain, INPUTS, "label"), groups="speaker", classes=3)
    assert "over 15 groups, stratified" in found.note
    numbers = [
        {
            int(found.split(name)[place][0]["text"]["ids"][0])
            for place in range(len(found.split(name)))
        }  # type: ignore[arg-type]
        for name in ("train", "validation", "test")
    ]
    assert sorted(one for own in numbers for one in own) == list(range(N))
    speakers = [{one // 2 for one in own} for own in numbers]
    assert not speakers[0] & speakers[1] | speakers[0] & speakers[2] | speakers[1] & speakers[2]
    item = Columns(plain, INPUTS, "label")[5]
    assert item[0]["audio"].tolist() == [10.0, 1.0]


def test_a_list_of_dictionaries_has_columns() -> None:
    listed = [HuggingFace(rows()).row(number) for number in range(N)]
    found, same = (
        split(Columns(one, INPUTS, "label"), groups="speaker", classes=3)
        for one in (listed, HuggingFace(rows()))
    )
    assert found.note == same.note
    assert found.train.numbers.tolist() == same.train.numbers.tolist()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="list has no column 'sonud'; it has sound, ids, mask, lab"):
        Columns(listed, {"audio": "sonud"}, "label")
    del listed[4]["speaker"]
    with pytest.raises(DataError, match="items of list have no column 'speaker'; they have sound"):
        split(Columns(listed, INPUTS, "label"), groups="speaker")
    with pytest.raises(DataError, match="or give groups the values, one of each example"):
        split(Columns(Pairs(), {"image": 0}, 1), groups="speaker")


class Pairs:
    """Tuples of an image and a label, as torchvision's data sets have."""

    targets = [0, 1] * 20

    def __len__(self) -> int:
        return 40

    def __getitem__(self, number: int) -> tuple[Any, int]:
        return np.full((2, 3), number, np.float32), self.targets[number]


def test_places_name_the_parts_of_tuples() -> None:
    def louder(inputs: dict[str, Any], target: Any) -> tuple[dict[str, Any], Any]:
        return {"image": inputs["image"] + 100}, target

    found = Columns(Pairs(), {"image": 0}, 1, transform=louder)
    inputs, target = found[3]
    assert torch.equal(inputs["image"], torch.full((2, 3), 103.0))
    assert target.item() == 1
    assert split(found, classes=2).note.endswith("over examples, stratified")


def test_what_has_no_such_columns_is_refused_in_a_sentence() -> None:
    words = {**rows(), "picture": [object()] * N, "ragged": [["a", "b"]] * N}
    plain = HuggingFace(words)
    with pytest.raises(DataError, match="no column 'sonud'; it has sound, ids, mask, label"):
        Columns(plain, {"audio": "sonud"}, "label")
    with pytest.raises(DataError, match="picture is a object, of which no tensor can be made"):
        Columns(plain, {"picture": "picture"}, "label")[0]
    with pytest.raises(DataError, match="text is a list, of which no tensor can be made"):
        Columns(plain, {"text": "ragged"}, "label")[0]
    with pytest.raises(DataError, match="items of Pairs have no column 2; they have 2 parts"):
        Columns(Pairs(), {"image": 2}, 1)[0]
    with pytest.raises(DataError, match="streaming=True"):
        Columns(iter([1]), {"image": 0}, 1)
    with pytest.raises(DataError, match=r"got .*; Columns\(dataset, inputs, target\)"):
        next(load(Pairs(), [[Presentation(0, 0)]], seed=0))  # type: ignore[arg-type]


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return itertools.count()


class Streaming(Classification):
    def open(self, data: Any, fold: int = 0) -> Data:
        return Data(TensorData({}, torch.zeros(1)), Endless(), Endless())


def test_a_split_without_a_length_is_refused() -> None:
    with pytest.raises(TaskError, match="the validation split is a Endless without a length"):
        open_task(Streaming(), Streaming.data())


def test_data_of_tensors_have_a_fingerprint_and_travel() -> None:
    def of(last: float) -> Data:
        parts = [
            TensorData({"x": torch.arange(4.0)}, torch.tensor([0, 1, 0, one]))
            for one in (1, 1, last)
        ]
        return Data(*parts)

    assert of(1).fingerprint == of(1).fingerprint != of(0).fingerprint
    assert of(1).shared
    assert len(of(1).fingerprint) == 16
    own: Tensor = of(1).train[0][0]["x"]
    assert own == 0


def test_streams_of_tensors_by_name_are_data_of_tensors() -> None:
    values, lengths = torch.arange(24.0).view(4, 2, 3), torch.tensor([3, 1, 2, 3])

    def of(lengths: Tensor) -> TensorData:
        return TensorData({"imu": {"values": values, "lengths": lengths}}, torch.arange(4))

    found = of(lengths)
    assert len(found) == 4
    inputs, target = found[2]
    assert torch.equal(inputs["imu"]["values"], values[2])
    assert (inputs["imu"]["lengths"], target) == (2, 2)
    inputs["imu"]["values"].zero_()
    assert found[2][0]["imu"]["values"].sum() == sum(range(12, 18))  # an example is a copy
    assert found.memory_bytes == 24 * 4 + 4 * 8 + 4 * 8
    assert found.fingerprint == of(lengths.clone()).fingerprint != of(lengths + 1).fingerprint
    travelled = pickle.loads(pickle.dumps(found))
    assert torch.equal(travelled[3][0]["imu"]["values"], values[3])
    batch, _ = next(load(found, [[Presentation(1, 0), Presentation(0, 1)]], seed=0))
    assert batch.inputs["imu"]["lengths"].tolist() == [1, 3]
    with pytest.raises(ValueError, match=r"input 'imu.lengths' has 3 examples, the targets have 4"):
        of(lengths[:3])
