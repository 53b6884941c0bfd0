"""One trial as a plain function: build, train, validate, evaluate the grid. No Ray here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from datasets.digits import DigitData, load_digits
from models.early_fusion import EarlyFusionNetwork, count_parameters
from models.operations import count_multiply_accumulates
from search.cost import (
    Stopwatch,
    milliseconds_per_example,
    peak_memory_bytes,
    reset_peak_memory,
)
from search.evaluation import Evaluator, Grid, autocast
from search.specification import TrialSpecification


class TrialError(RuntimeError):
    """The trial cannot go on; the message is one sentence for the record."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one epoch gave; the fields are columns of the ``epochs`` table."""

    epoch: int
    examples_seen: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    ended_at: datetime


@dataclass
class TrialResult:
    """What a trial gave, kept up to date while it runs."""

    device: str
    parameters: int = 0
    multiply_accumulates: int = 0
    milliseconds_per_example: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    grid: Grid | None = None
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    data_seconds: float = 0.0
    peak_memory_bytes: int = 0


def run_trial(
    specification: TrialSpecification,
    data: DigitData | None = None,
    *,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> TrialResult:
    """Train one network at one train pair, keep the best epoch, and test it on the grid.

    The best epoch has the highest validation accuracy at the train pair, then the lowest loss.

    Args:
        specification: all there is to know about the trial.
        data: examples loaded before, to be shared by trials; loaded here when None.
        on_epoch: called after every epoch.

    Raises:
        TrialError: the device is missing, the pairs do not suffice, or the loss is not finite.
    """
    device = choose_device(specification.device)
    data = data or load_digits(specification.data)
    if data.settings != specification.data:
        raise TrialError(f"the data given ({data.settings}) are not the trial's")
    # Dropout draws from torch's global generator: it is set here and given back as it was.
    with torch.random.fork_rng(devices=[0] if device.type == "cuda" else []):
        torch.manual_seed(specification.seed)
        return _run(specification, data, device, on_epoch)


def _run(
    specification: TrialSpecification,
    data: DigitData,
    device: torch.device,
    on_epoch: Callable[[Epoch], None],
) -> TrialResult:
    result = TrialResult(device=device.type)
    reset_peak_memory(device)
    clock = time.perf_counter()
    run = TrialTraining(specification, data, device)
    result.parameters = count_parameters(run.network)
    for epoch in run.epochs(clock):
        result.epochs.append(epoch)
        if result.best is None or _rank(epoch) > _rank(result.best):
            result.best = epoch
            result.state = {
                name: value.detach().to("cpu", copy=True)
                for name, value in run.network.state_dict().items()
            }
        on_epoch(epoch)
    result.train_seconds = time.perf_counter() - clock
    run.network.load_state_dict(result.state)
    result.grid = run.evaluate()
    result.multiply_accumulates, result.milliseconds_per_example = run.measure()
    result.evaluation_seconds = time.perf_counter() - clock - result.train_seconds
    result.data_seconds = run.data_clock.seconds
    result.peak_memory_bytes = peak_memory_bytes(device)
    return result


def choose_device(name: str) -> torch.device:
    """The device a setting means on this machine. Raises ``TrialError`` when it is missing."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise TrialError("device is cuda but this machine has no CUDA GPU; set device: auto or cpu")
    if name == "auto":
        name = "cuda" if available else "cpu"
    if name == "cuda":
        # The same seed must give the same numbers.
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return torch.device(name)


def draw_pairs(total: int, count: int, *, seed: int, split: str) -> Tensor:
    """``count`` different pairs [count] of a split, the same for every model with this seed.

    Raises:
        TrialError: the split has fewer pairs.
    """
    if count > total:
        raise TrialError(f"{split} has {total:,} pairs, {count:,} were asked for; ask for fewer")
    stream = ("train", "validation", "test").index(split)
    generator = np.random.default_rng([seed, stream])
    return torch.from_numpy(generator.choice(total, size=count, replace=False))


def _rank(epoch: Epoch) -> tuple[float, float]:
    return epoch.validation_accuracy, -epoch.validation_loss


class TrialTraining:
    """The moving parts of one trial: network, optimiser, pairs, evaluator."""

    def __init__(
        self, specification: TrialSpecification, data: DigitData, device: torch.device
    ) -> None:
        self.specification = specification
        self.data = data
        self.device = device
        self.data_clock = Stopwatch()
        wanted = {
            "train": ("train", specification.examples),
            "validation": ("validation", specification.validation_examples),
            "grid": (specification.evaluation_split, specification.test_examples),
        }
        self.pairs = {
            use: draw_pairs(len(data.splits[split]), count, seed=specification.seed, split=split)
            for use, (split, count) in wanted.items()
        }
        self.network = EarlyFusionNetwork(specification.network).to(device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            specification.learning_rate,
            weight_decay=specification.weight_decay,
        )
        self.evaluator = Evaluator(
            data=data,
            device=device,
            precision=specification.precision,
            noise_seed=specification.seed,
            batch_size=specification.batch_size,
            data_clock=self.data_clock,
        )

    def epochs(self, clock: float) -> Iterator[Epoch]:
        """Train, one epoch at a time; ``clock`` is when the trial began (perf_counter).

        Raises:
            TrialError: the loss is not finite.
        """
        batches = self.batches()
        seen = 0
        for number in range(1, self.specification.epochs + 1):
            self.network.train()
            loss = correct = count = 0.0
            while count < self.specification.epoch_examples:
                left = self.specification.epoch_examples - int(count)
                chunk, presentations = next(batches)
                batch_loss, batch_correct = self.step(chunk[:left], presentations[:left])
                batch = len(chunk[:left])
                count, loss = count + batch, loss + batch_loss * batch
                correct += batch_correct
                if not math.isfinite(batch_loss):
                    raise TrialError(
                        f"the loss became {batch_loss} in epoch {number} after "
                        f"{seen + int(count):,} examples; lower learning_rate "
                        f"({self.specification.learning_rate:g}) or use precision float32"
                    )
            seen += int(count)
            validation = self.evaluator.grid(
                self.network,
                "validation",
                self.pairs["validation"],
                [self.specification.train_pair],
            ).conditions[0]
            yield Epoch(
                epoch=number,
                examples_seen=seen,
                train_loss=loss / count,
                train_accuracy=correct / count,
                validation_loss=validation.loss / validation.n,
                validation_accuracy=validation.correct / validation.n,
                seconds=time.perf_counter() - clock,
                ended_at=datetime.now(UTC),
            )

    def measure(self) -> tuple[int, float]:
        """Multiply-accumulates of one example, and milliseconds per example of a batch."""
        count = min(self.specification.batch_size, len(self.pairs["validation"]))
        examples = self.data.examples(
            "validation", self.pairs["validation"][:count], noise_seed=self.specification.seed
        ).to(self.device)
        audio_snr, visual_snr = self.specification.train_pair
        images, sounds = examples.visual(visual_snr), examples.audio(audio_snr)
        operations = count_multiply_accumulates(self.network, images[:1], sounds[:1])
        with autocast(self.device, self.specification.precision):
            return operations, milliseconds_per_example(self.network, images, sounds)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless passes over the train pairs, each in a new order, with fresh noise.

        Yields pairs [B] and the numbers of their presentations [B].
        """
        pairs = self.pairs["train"]
        generator = torch.Generator().manual_seed(self.specification.seed)
        shown = 0
        while True:
            order = torch.randperm(len(pairs), generator=generator)
            for chunk in order.split(self.specification.batch_size):
                yield pairs[chunk], torch.arange(shown, shown + len(chunk))
                shown += len(chunk)

    def step(self, pairs: Tensor, presentations: Tensor) -> tuple[float, int]:
        """One optimiser step: mean loss and number correct."""
        audio_snr, visual_snr = self.specification.train_pair
        with self.data_clock:
            examples = self.data.examples(
                "train",
                pairs,
                noise_seed=self.specification.seed,
                presentations=presentations,
            ).to(self.device)
            images, sounds = examples.visual(visual_snr), examples.audio(audio_snr)
        with autocast(self.device, self.specification.precision):
            logits: Tensor = self.network(images, sounds)
        loss = functional.cross_entropy(logits.float(), examples.labels)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item(), int((logits.argmax(1) == examples.labels).sum())

    def evaluate(self) -> Grid:
        """Measure the network as it is at the trial's test conditions."""
        return self.evaluator.grid(
            self.network,
            self.specification.evaluation_split,
            self.pairs["grid"],
            self.specification.test_conditions,
            keep_predictions=self.specification.predictions,
        )
