"""Weights from files: whose they are, that no code in them is run, and their hash."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fusion_search.models.weights import WeightsError, load_weights, weights_hash


def small(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv1d(3, width, 3), nn.BatchNorm1d(width))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "weights.pth"
    torch.save(small().state_dict(), path)
    return path


def test_weights_are_those_of_the_file_and_named_by_their_hash(file: Path) -> None:
    torch.manual_seed(1)
    module = small()
    digest = load_weights(module, file)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest() == weights_hash(file)
    saved = torch.load(file, weights_only=True)
    assert all(torch.equal(one, saved[name]) for name, one in module.state_dict().items())
    # A changed file of one name has another hash.
    torch.save(module.state_dict() | {"0.bias": torch.ones(4)}, file)
    os.utime(file, (1, 1))
    assert weights_hash(file) == hashlib.sha256(file.read_bytes()).hexdigest() != digest


class _Deed:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_code_in_a_file_is_run(tmp_path: Path) -> None:
    done = tmp_path / "done"
    for save in (torch.save, lambda what, path: path.write_bytes(pickle.dumps(what, 2))):
        save({"0.weight": _Deed(done)}, tmp_path / "bad.pth")
        with pytest.raises(WeightsError, match=r"cannot be read as weights that torch\.save wrote"):
            load_weights(small(), tmp_path / "bad.pth")
        assert not done.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {**state, "9.weight": torch.ones(2)}, r"Sequential has no 9\.weight"),
        (lambda state: {"0.weight": state["0.weight"]}, r"it lacks 0\.bias, 1\.weight, 1\.bias"),
        (
            lambda state: {**state, "0.bias": torch.ones(7)},
            r"other shapes than Sequential: 0\.bias \[7\], not \[4\]",
        ),
        (lambda state: {"model": state}, "is no state dictionary, tensors by name; it holds model"),
        (lambda state: [1], "it holds a list"),
        (lambda state: {"0.bias": torch.ones(1 << 20)}, "save its state dictionary alone"),
    ],
)
def test_a_file_of_something_else_is_refused(file: Path, change: Any, message: str) -> None:
    torch.save(change(torch.load(file, weights_only=True)), file)
    with pytest.raises(WeightsError, match=message):
        load_weights(small(), file)


def test_a_file_that_is_not_there_or_damaged_is_refused(file: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pth cannot be read \(No such file"):
        load_weights(small(), file.with_name("nowhere.pth"))
    whole = file.read_bytes()
    place = whole.index(torch.load(file, weights_only=True)["0.weight"].numpy().tobytes()[:16])
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(WeightsError, match="is damaged; put a whole copy in its place"):
        load_weights(small(), file)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_weights(small(), file)


def test_a_classifier_of_another_size_is_left_as_it_is(tmp_path: Path) -> None:
    def network(classes: int) -> nn.Module:
        return nn.ModuleDict({"body": nn.Linear(2, 3), "fc": nn.Linear(3, classes)})

    trained, fresh = network(7), network(4)
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    before = {name: one.clone() for name, one in fresh["fc"].state_dict().items()}  # type: ignore[index]
    with pytest.raises(WeightsError, match="other shapes"):
        load_weights(fresh, tmp_path / "w.pt")
    load_weights(fresh, tmp_path / "w.pt", but="fc.")
    assert torch.equal(fresh["body"].weight, trained["body"].weight)  # type: ignore[index]
    assert all(torch.equal(one, before[name]) for name, one in fresh["fc"].state_dict().items())  # type: ignore[index]
