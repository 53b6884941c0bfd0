"""A second trial on the features of a frozen backbone against the first, which computes them.

Both are whole: views are opened, features computed or mapped from the cache folder, the network is
trained and tested. The backbone's weights are random ones in a file: what they are changes no time.
Processor time on one thread, so that what else a shared machine does falls upon neither.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Final
from unittest import mock

import torch
from threadpoolctl import threadpool_limits

from fusion_search.models.encoders.backbones import Backbone
from fusion_search.models.layout import Placement
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.tasks.rgbd.settings import RgbdData, RgbdNetwork
from fusion_search.search.tasks.rgbd.task import Rgbd
from fusion_search.search.trials.settings import TrainingSettings
from fusion_search.search.trials.task_trial import TaskTrial
from fusion_search.search.trials.trial import TrialResult, run_task_trial
from tests.benchmarks.table import Measurement

NETWORK: Final = RgbdNetwork(widths=(8, 16), fusion_size=32, dense_sizes=(32,), dropout=0.2)


def measure(
    name: str = "resnet50", size: int = 96, instances: int = 6, epochs: int = 5
) -> list[Measurement]:
    """Seconds of both trials, whose losses are equal."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a trial of one core has
    try:
        with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.pt"
            torch.manual_seed(0)
            torch.save(Backbone(name, None, frozen=True).network.state_dict(), weights)
            data = RgbdData(
                size=size,
                classes=4,
                instances=instances,
                views=4,
                folds=3,
                rgb_network=name,  # type: ignore[arg-type]
                rgb_weights=str(weights),
                frozen=True,
            )
            with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": folder}):
                _opened_without(data)
                (first, other), (second, same) = (_trial(data, epochs) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
    losses = [[one.train_loss for one in result.epochs] for result in (other, same)]
    assert losses[0] == losses[1]
    return [
        Measurement(
            what=f"second trial on features of a frozen {name}, {size} x {size}, {epochs} epochs",
            against="the first, which computes them",
            unit="s",
            baseline=first,
            ours=second,
            note=f"{4 * instances * 4} views",
        )
    ]


def _opened_without(data: RgbdData) -> None:
    """What both need and have by then: the stand-in's views, and code that is loaded."""
    plain = RgbdData(size=data.size, classes=4, instances=data.instances, views=4, folds=3)
    _trial(plain, 1)


def _trial(data: RgbdData, epochs: int) -> tuple[float, TrialResult]:
    started = time.process_time()
    task = Rgbd()
    trial = TaskTrial(
        task=task,
        network=NETWORK,
        data=data,
        placement=Placement(end="gate_by_depth"),
        training=TrainingSettings(epochs=epochs, batch_size=16, device="cpu"),
    )
    result = run_task_trial(trial, open_task(task, data), torch.device("cpu"))
    return time.process_time() - started, result
