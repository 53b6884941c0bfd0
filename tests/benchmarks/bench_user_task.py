"""What a trial of a user's task takes beyond its training, against a plain PyTorch loop.

The loop has what anybody would write: the same examples and order by a ``DataLoader``, the same
network, loss and optimiser, the mean loss and accuracy of each epoch, validation after each, and
the test split at the end. Ours beside it puts noise on inputs, keeps the best epoch, and measures
cost. The network is small, and both sides count its steps as 50 ms each beside the processor time
that they took: what else a shared machine does falls upon neither.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from fusion_search.datasets.batch import Data, TensorData
from fusion_search.datasets.conditions import ORIGINAL, Axis
from fusion_search.models.layout import Layout, Placement
from fusion_search.search.tasks.base import Classification
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings
from fusion_search.search.trials.task_trial import TaskTrial
from fusion_search.search.trials.trial import run_task_trial
from tests.benchmarks.table import Measurement

STEP_SECONDS: Final = 0.05
AIM: Final = 1 / 1.05
EPOCHS, TRAIN, HELD_OUT, SIZE, ROUNDS = 3, 640, 64, 16, 3


class Network(nn.Module):
    """Two small streams."""

    layout = Layout(("sound", "image"))

    def __init__(self) -> None:
        super().__init__()
        self.sound, self.image = nn.Linear(100, 16), nn.Conv2d(3, 16, 3, 2)
        self.head = nn.Linear(32, 2)

    def forward(self, sound: Tensor, image: Tensor) -> Tensor:
        ends = [self.sound(sound).relu(), self.image(image).relu().mean((2, 3))]
        answer: Tensor = self.head(torch.cat(ends, 1))
        return answer


class UserTask(Classification):
    """One axis, as in the documentation's example; grid of one condition, as the loop tests."""

    axes = (Axis("sound_snr", "sound", (ORIGINAL,)),)

    def open(self, data: Any, fold: int = 0) -> Data:
        def examples(count: int, seed: int) -> TensorData:
            generator = torch.Generator().manual_seed(seed)
            label = torch.randint(2, (count,), generator=generator)
            sound = torch.randn(count, 100, generator=generator) + label[:, None]
            image = torch.randn(count, 3, 32, 32, generator=generator)
            return TensorData({"sound": sound, "image": image}, label)

        return Data(examples(TRAIN, 0), examples(HELD_OUT, 1), examples(HELD_OUT, 2), classes=2)

    def build(self, network: Any, data: Data, placement: Placement) -> nn.Module:
        return Network()


def plain(data: Data) -> None:
    """The same training without this project."""
    torch.manual_seed(0)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.0)

    def judged(split: Any) -> float:
        network.eval()
        right = 0
        with torch.no_grad():
            for inputs, target in DataLoader(split, SIZE):
                right += int((network(**inputs).argmax(1) == target).sum())
        return right / len(split)

    for _ in range(EPOCHS):
        network.train()
        total = right = 0.0
        for inputs, target in DataLoader(data.train, SIZE, shuffle=True):
            optimizer.zero_grad()
            outputs = network(**inputs)
            loss = functional.cross_entropy(outputs, target)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(target)
            right += int((outputs.argmax(1) == target).sum())
        judged(data.validation)
    judged(data.test)


def measure() -> list[Measurement]:
    """Medians of both sides in turns, with clean and with noisy training."""
    task = UserTask()
    data = open_task(task, task.data())
    trial = TaskTrial(
        task=task,
        network=task.network(),
        data=task.data(),
        training=TrainingSettings(epochs=EPOCHS, batch_size=SIZE, learning_rate=1e-3, device="cpu"),
        evaluation=EvaluationSettings(),
    )
    noisy = replace(trial, train={"sound_snr": 1.0})
    cpu = torch.device("cpu")
    steps = EPOCHS * TRAIN // SIZE
    sides = (
        lambda: plain(data),
        lambda: run_task_trial(trial, data, cpu),
        lambda: run_task_trial(noisy, data, cpu),
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a trial of one core has
    try:
        seconds: list[list[float]] = [[] for _ in sides]
        for number in range(ROUNDS + 1):
            for side, taken in zip(sides, seconds, strict=True):
                start = time.process_time()
                side()
                if number:  # after one to warm up
                    taken.append(time.process_time() - start + steps * STEP_SECONDS)
    finally:
        torch.set_num_threads(threads)
    baseline, *ours = map(statistics.median, seconds)
    return [
        Measurement(
            what=f"a user's trial of {steps} steps of {1000 * STEP_SECONDS:g} ms, {how}",
            against="a plain PyTorch loop",
            unit="s",
            baseline=baseline,
            ours=one,
            aim=AIM,
            note=f"{100 * (one / baseline - 1):+.1f} %; aim: at most 5 % more",
        )
        for how, one in zip(("clean", "with noise"), ours, strict=True)
    ]
