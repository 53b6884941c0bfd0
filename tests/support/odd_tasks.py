"""Small tasks that are unlike digits: three streams, no axes, padding, imbalanced classes."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion_search.datasets.batch import Batch, Data, TensorData
from fusion_search.datasets.conditions import ABSENT, ORIGINAL, Axis
from fusion_search.datasets.metrics import Metric
from fusion_search.models.layout import Feature, Layout, Placement, Site
from fusion_search.search.tasks.base import Classification, Regression

RATES = {"ecg": 40, "motion": 20, "heat": 5}


@dataclass(frozen=True)
class Widths:
    """Of the streams."""

    width: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is {self.width}; allowed: 1 or more")


@dataclass(frozen=True)
class Amount:
    """Of examples in every split."""

    size: int = 24
    subjects: int = 3


class ThreeStreams(nn.Module):
    """A convolution per stream; at the one site squeezed features may gate each other."""

    def __init__(
        self, settings: Widths, inputs: Mapping[str, Tensor], outputs: int, placement: Placement
    ) -> None:
        super().__init__()
        site = Site("s1", dict.fromkeys(inputs, "1"))
        features = {name: Feature(settings.width, (one.shape[2],)) for name, one in inputs.items()}
        self.layout = Layout(
            tuple(inputs),
            {name: Feature(one.shape[1], (one.shape[2],)) for name, one in inputs.items()},
            ((site, features),),
            {"s1": {"coupling": ("none", "gates"), "ecg>heat": ("none", "transfer")}},
        )
        self.layout.check(placement)
        self.names = placement.streams or tuple(inputs)
        self.streams = nn.ModuleDict(
            {name: nn.Conv1d(inputs[name].shape[1], settings.width, 3) for name in self.names}
        )
        wide = settings.width * len(self.names)
        self.gates = nn.Linear(wide, wide) if placement.at("s1") == "gates" else None
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(wide, outputs)

    def forward(self, **inputs: Tensor) -> Tensor:
        found = [self.streams[name](inputs[name]).relu().mean(2) for name in self.names]
        joined = torch.cat(found, 1)
        if self.gates is not None:
            joined = joined * self.gates(joined).sigmoid()
        answer: Tensor = self.head(self.dropout(joined))
        return answer


def sensors(examples: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(examples, 2, rate, generator=generator) for name, rate in RATES.items()
    }


class Sensors(Regression):
    """What three sensors of different rates add up to; no axes."""

    network, data = Widths, Amount

    def open(self, data: Amount, fold: int = 0) -> Data:
        splits = {}
        for number, split in enumerate(("train", "validation", "test")):
            inputs = sensors(data.size, 10 * fold + number)
            sums = [one.mean((1, 2)) * one.shape[2] ** 0.5 for one in inputs.values()]
            splits[split] = TensorData(inputs, torch.stack(sums).sum(0))
        return Data(**splits, folds=data.subjects, fingerprint=f"sensors {data}")

    def build(self, network: Widths, data: Data, placement: Placement) -> nn.Module:
        built = ThreeStreams(network, data.inputs, 1, placement)
        built.register_forward_hook(lambda module, given, out: out[:, 0])
        return built


class Compiled(Sensors):
    """Takes semaphores for as long as its process lives, as torch's compilers do.

    Their names, where a process of another takes them, are written to the file ``SEMAPHORES``.
    """

    taken: ClassVar[list[Any]] = []

    def build(self, network: Widths, data: Data, placement: Placement) -> nn.Module:
        if multiprocessing.parent_process() is not None:
            one: Any = multiprocessing.get_context("spawn").Semaphore()
            self.taken.append(one)
            with Path(os.environ["SEMAPHORES"]).open("a") as file:
                print(one._semlock.name, file=file)
        return super().build(network, data, placement)


class NoisySensors(Sensors):
    """With an axis on two of the three."""

    axes = (
        Axis("ecg_snr", "ecg", (ORIGINAL, 1.0, ABSENT)),
        Axis("heat_snr", "heat", (ORIGINAL, 0.0, -5.0), decibel=True),
    )


def macro_f1(total: Tensor, n: int) -> float:
    """The mean over classes of F1, from [3, classes]: found, predicted and true ones."""
    found, predicted, true = total
    return float((2 * found / (predicted + true).clamp(min=1)).mean())


def confusions(outputs: Tensor, batch: Batch) -> Tensor:
    predicted = functional.one_hot(outputs.argmax(1), 3)
    true = functional.one_hot(batch.targets, 3)
    return torch.stack([predicted * true, predicted, true], 1)


class Rare(TensorData):
    """Drawn so that rare classes come as often as others."""

    def order(self, generator: torch.Generator) -> Tensor:
        weight = 1 / torch.bincount(self.targets)[self.targets]
        return torch.multinomial(weight, len(self), replacement=True, generator=generator)


def rolled(inputs: dict[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Augmentation as users write it, by global generators."""
    by = random.randrange(5)
    return {
        name: one.roll(by, 1) + 0.1 * torch.randn_like(one) for name, one in inputs.items()
    }, target


class Imbalanced(Classification):
    """Two of three classes are rare."""

    network, data = Widths, Amount
    metrics = (
        Metric("macro_f1", confusions, macro_f1, share=True),
        *Classification.metrics,
        Metric("scores", lambda out, batch: out, lambda all_of, n: float(all_of.max()), keep="all"),
    )

    def open(self, data: Amount, fold: int = 0) -> Data:
        splits: dict[str, Any] = {}
        for number, split in enumerate(("train", "validation", "test")):
            inputs = sensors(data.size, 20 + number)
            labels = torch.tensor(
                [0 if one % 6 else 1 + (one // 6) % 2 for one in range(data.size)]
            )
            for name in inputs:
                inputs[name][:, 0] += labels[:, None]
            splits[split] = Rare(inputs, labels, rolled if split == "train" else None)
        return Data(**splits, classes=3, fingerprint=f"imbalanced {data}")

    def build(self, network: Widths, data: Data, placement: Placement) -> nn.Module:
        return ThreeStreams(network, data.inputs, data.classes, placement)


class Texts(TensorData):
    """Padded to the longest of a batch; a stream is tensors by name."""

    def __getitem__(self, number: int) -> Any:
        length = 2 + number % 5
        words = {"embeddings": self.inputs["text"][number, :length], "valid": torch.ones(length)}
        return {"text": words, "image": self.inputs["image"][number]}, self.targets[number]

    @staticmethod
    def collate(items: list[Any]) -> Batch:
        pad = nn.utils.rnn.pad_sequence
        words = {
            name: pad([one["text"][name] for one, _ in items], batch_first=True)
            for name in ("embeddings", "valid")
        }
        images = torch.stack([one["image"] for one, _ in items])
        targets = torch.stack([target for _, target in items])
        return Batch({"text": words, "image": images}, targets)


class TextNetwork(nn.Module):
    layout = Layout(("text", "image"), {"image": Feature(3, (4, 4))})

    def __init__(self) -> None:
        super().__init__()
        self.text, self.image = nn.Linear(6, 4), nn.Linear(3, 4)
        self.head = nn.Linear(8, 2)

    def forward(self, text: dict[str, Tensor], image: Tensor) -> Tensor:
        valid = text["valid"].unsqueeze(2)
        words = (self.text(text["embeddings"]) * valid).sum(1) / valid.sum(1)
        answer: Tensor = self.head(torch.cat([words, self.image(image.mean((2, 3)))], 1))
        return answer


class Captions(Classification):
    """Text of different lengths beside an image; noise on embeddings where there are words."""

    axes = (
        Axis(
            "words_snr",
            "text.embeddings",
            (ORIGINAL, 0.5),
            where=lambda batch: batch.inputs["text"]["valid"].bool(),
        ),
        Axis("image_snr", "image", (ORIGINAL, 10.0, ABSENT), decibel=True),
    )

    def open(self, data: Any, fold: int = 0) -> Data:
        splits: dict[str, Any] = {}
        for number, split in enumerate(("train", "validation", "test")):
            generator = torch.Generator().manual_seed(number)
            inputs = {
                "text": torch.randn(13, 7, 6, generator=generator),
                "image": torch.randn(13, 3, 4, 4, generator=generator),
            }
            splits[split] = Texts(inputs, (inputs["image"].mean((1, 2, 3)) > 0).long())
        return Data(**splits, classes=2, fingerprint="captions")

    def build(self, network: Any, data: Data, placement: Placement) -> nn.Module:
        return TextNetwork()
