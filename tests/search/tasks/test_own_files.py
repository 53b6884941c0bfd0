"""Tasks as users write them, each one file: ready-made backbones, and a network of one's own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fusion_search.datasets.batch import Data, TensorData
from fusion_search.models.coupled.heads import Concatenate
from fusion_search.models.coupled.network import CoupledNetwork
from fusion_search.models.layout import Placement, Site
from fusion_search.search.tasks.base import Classification, Task, TaskError
from fusion_search.search.tasks.named import find_task
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.trials.settings import TrainingSettings
from fusion_search.search.trials.task_trial import TaskTrial
from fusion_search.search.trials.trial import TrialResult, run_task_trial


def trained(task: Task, data: Data, placement: Placement, **more: Any) -> TrialResult:
    trial = TaskTrial(
        task=task,
        network=task.network(),
        data=task.data(),
        placement=placement,
        training=TrainingSettings(epochs=1, batch_size=3),
        **more,
    )
    return run_task_trial(trial, data, torch.device("cpu"))


def test_two_backbones_of_torchvision_are_twelve_lines() -> None:
    models = pytest.importorskip("torchvision.models")
    task = find_task("mine:Mine")
    data = open_task(task, task.data())
    offered = task.layout(task.network(), lambda: data).options()
    assert [name for name in offered if name.endswith("coupling")] == [
        "layer2.coupling",
        "layer3.coupling",
        "layer4.coupling",
    ]
    assert "convolutional" in offered["layer3.coupling"]
    assert offered["layer4.depth>rgb"][:2] == ("none", "transfer")
    result = trained(task, data, Placement({"layer3": {"coupling": "mmtm"}}))
    assert result.grid is not None
    assert [one.n for one in result.grid.evaluations] == [6]
    # What was trained is a ResNet's checkpoint, by its own names.
    start = "streams.rgb."
    own = {
        name.removeprefix(start): one
        for name, one in result.state.items()
        if name.startswith(start)
    }
    models.resnet18(num_classes=64).load_state_dict(own)


def test_a_network_of_ones_own_on_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clips").mkdir()
    generator = np.random.default_rng(0)
    for number in range(24):
        values = {"video": (3, 4, 8, 8), "emg": (2, 20)}
        arrays = {name: generator.normal(size=one) for name, one in values.items()}
        clip = {name: one.astype("float32") for name, one in arrays.items()}
        np.savez(f"clips/s{number % 6}_{number:03}.npz", label=number % 4, **clip)
    task = find_task("gestures:Gestures")
    data = open_task(task, task.data(), fold=2)
    assert data.folds == 6
    placement = Placement({"s1": {"coupling": "mmtm"}, "s3": {"emg>video": "transfer"}})
    task.layout(task.network(), lambda: data).check(placement)
    result = trained(task, data, placement, fold=2, train={"video_snr": 1.0})
    assert result.grid is not None
    assert {one.n for one in result.grid.evaluations} == {4}


def test_two_large_backbones_are_traced_faster_than_they_are_made() -> None:
    models = pytest.importorskip("torchvision.models")
    example = {name: torch.zeros(2, 3, 224, 224) for name in "ab"}
    sites = [Site(f"layer{one}", dict.fromkeys("ab", f"layer{one}")) for one in range(1, 5)]
    started = time.process_time()
    streams = {name: models.resnet50(num_classes=64) for name in "ab"}
    made = time.process_time()
    network = CoupledNetwork(streams, sites, lambda ends: Concatenate(ends, 5), example)
    traced = time.process_time()
    assert traced - made < 2 * (made - started)
    assert network.layout.sites[3][1]["b"].size == (7, 7)


class Weighted(Classification):
    path = Path()

    def open(self, data: Any, fold: int = 0) -> Data:
        split = TensorData({"a": torch.zeros(4, 2)}, torch.zeros(4, dtype=torch.int64))
        given = {"backbone": self.path} if self.path.name else {}
        return Data(split, split, split, classes=2, fingerprint="mine", weights=given)


def test_a_search_knows_what_its_networks_start_from(tmp_path: Path) -> None:
    task = Weighted()
    plain = open_task(task, task.data()).fingerprint
    found = {plain}
    for value in range(2):
        task.path = tmp_path / f"{value}.pth"
        torch.save({"weight": torch.full((2,), value)}, task.path)
        opened = open_task(task, task.data())
        assert open_task(task, task.data()).fingerprint == opened.fingerprint
        found.add(opened.fingerprint)
        assert f"weights of backbone from {value}.pth" in opened.note
    assert len(found) == 3
    task.path = tmp_path / "nowhere.pth"
    with pytest.raises(TaskError, match=r"nowhere\.pth cannot be read"):
        open_task(task, task.data())
