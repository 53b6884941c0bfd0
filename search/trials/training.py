"""Training one network: pairs, optimiser steps, validation after every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fusion_search.datasets.digits.data import DigitData
from fusion_search.datasets.digits.examples import Examples
from fusion_search.models import gates
from fusion_search.models.convlstm import set_engine
from fusion_search.models.early_fusion import EarlyFusionNetwork
from fusion_search.models.operations import count_multiply_accumulates
from fusion_search.search.trials.cost import Stopwatch, milliseconds_per_example
from fusion_search.search.trials.evaluation import Evaluator, Grid, autocast
from fusion_search.search.trials.specification import TrialSpecification

# Compiling takes a worker up to 12 s once; with 8 units it then saves 0.05 s a step of 24 frames.
_COMPILED_UNITS: Final = 8
_COMPILED_STEPS: Final = 500


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


def choose_engine(
    specification: TrialSpecification, device: torch.device
) -> tuple[str, gates.Arithmetic]:
    """What computes the gates, for the record and itself.

    Raises:
        TrialError: a compiled engine is asked for and cannot be had.
    """
    if specification.engine == "auto":
        steps = specification.epochs * specification.epoch_examples / specification.batch_size
        if not (
            specification.fusion_depth < specification.levels
            and specification.units >= _COMPILED_UNITS
            and steps >= _COMPILED_STEPS
        ):
            return "eager", gates.EAGER
    elif specification.engine == "eager":
        return "eager", gates.EAGER
    problem = gates.probe(device.type)
    if not problem:
        return "compiled", gates.compiled()
    if specification.engine == "compiled":
        raise TrialError(
            f"engine is compiled but nothing can be compiled for {device.type} here ({problem}); "
            "install a C++ compiler or set engine: auto"
        )
    return f"eager, since nothing can be compiled: {problem}", gates.EAGER


class TrialTraining:
    """The moving parts of one trial: network, optimiser, pairs, evaluator."""

    def __init__(
        self, specification: TrialSpecification, data: DigitData, device: torch.device
    ) -> None:
        self.specification = specification
        self.data = data.on(device)
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
        self.engine, arithmetic = choose_engine(specification, device)
        set_engine(
            self.network,
            arithmetic=arithmetic,
            checkpoint_frames=specification.checkpoint_frames,
        )
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            specification.learning_rate,
            weight_decay=specification.weight_decay,
        )
        self.batches_taken = 0
        self.evaluator = Evaluator(
            data=self.data,
            device=device,
            precision=specification.precision,
            noise_seed=specification.seed,
            batch_size=specification.batch_size,
            data_clock=self.data_clock,
        )

    def epochs(self, clock: float, done: int = 0) -> Iterator[Epoch]:
        """Train, one epoch at a time.

        Args:
            clock: when the trial began (perf_counter).
            done: epochs that an earlier run has done.

        Raises:
            TrialError: the loss is not finite.
        """
        batches = self.batches()
        seen = done * self.specification.epoch_examples
        for number in range(done + 1, self.specification.epochs + 1):
            self.network.train()
            loss = correct = count = 0.0
            while count < self.specification.epoch_examples:
                left = self.specification.epoch_examples - int(count)
                chunk, presentations = next(batches)
                self.batches_taken += 1
                batch_loss, batch_correct = self.step(chunk[:left], presentations[:left])
                batch = len(chunk[:left])
                count, loss = count + batch, loss + batch_loss * batch
                correct += batch_correct
                if not math.isfinite(batch_loss):
                    raise self.diverged(batch_loss, number, seen + int(count))
            seen += int(count)
            yield self.end_epoch(number, seen, loss / count, correct / count, clock)

    def diverged(self, loss: float, epoch: int, seen: int) -> TrialError:
        """What to raise when the loss is not finite, after ``seen`` examples."""
        coarse = self.specification.precision == "bfloat16"
        return TrialError(
            f"the loss became {loss} in epoch {epoch} after {seen:,} examples; lower learning_rate "
            f"({self.specification.learning_rate:g})"
            + (" or use precision float32" if coarse else "")
        )

    def end_epoch(
        self, number: int, seen: int, loss: float, accuracy: float, clock: float
    ) -> Epoch:
        """Validate at the train pair.

        Args:
            number: of the epoch.
            seen: examples since the trial began.
            loss, accuracy: mean over the epoch's training examples.
            clock: when the trial began (perf_counter).
        """
        validation = self.evaluator.grid(
            self.network,
            "validation",
            self.pairs["validation"],
            [self.specification.train_pair],
        ).conditions[0]
        return Epoch(
            epoch=number,
            examples_seen=seen,
            train_loss=loss,
            train_accuracy=accuracy,
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
        )
        audio_snr, visual_snr = self.specification.train_pair
        images, sounds = examples.visual(visual_snr), examples.audio(audio_snr)
        operations = count_multiply_accumulates(self.network, images[:1], sounds[:1])
        with autocast(self.device, self.specification.precision):
            return operations, milliseconds_per_example(self.network, images, sounds)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless passes over the train pairs, each in a new order, with fresh noise.

        Those that an earlier run has taken are left out. Yields pairs [B] and the numbers of their
        presentations [B].
        """
        pairs = self.pairs["train"]
        generator = torch.Generator().manual_seed(self.specification.seed)
        shown = taken = 0
        before = self.batches_taken
        while True:
            order = torch.randperm(len(pairs), generator=generator)
            for chunk in order.split(self.specification.batch_size):
                if taken >= before:
                    yield pairs[chunk], torch.arange(shown, shown + len(chunk))
                taken += 1
                shown += len(chunk)

    def train_examples(self, pairs: Tensor, presentations: Tensor) -> Examples:
        """The examples of a batch of :meth:`batches`, the same for all trials with this seed."""
        return self.data.examples(
            "train", pairs, noise_seed=self.specification.seed, presentations=presentations
        )

    def step(self, pairs: Tensor, presentations: Tensor) -> tuple[float, int]:
        """One optimiser step: mean loss and number correct."""
        audio_snr, visual_snr = self.specification.train_pair
        with self.data_clock:
            examples = self.train_examples(pairs, presentations)
            images, sounds = examples.visual(visual_snr), examples.audio(audio_snr)
        with autocast(self.device, self.specification.precision):
            logits: Tensor = self.network(images, sounds)
        loss = functional.cross_entropy(logits.float(), examples.labels)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item(), int((logits.argmax(1) == examples.labels).sum())

    def set_hyperparameters(self, values: Mapping[str, float]) -> None:
        """Change learning_rate, weight_decay or dropout from the next step on."""
        for group in self.optimiser.param_groups:
            group["lr"] = values.get("learning_rate", group["lr"])
            group["weight_decay"] = values.get("weight_decay", group["weight_decay"])
        self.network.dropout.p = values.get("dropout", self.network.dropout.p)

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on, as plain values and tensors."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "batches_taken": self.batches_taken,
            "generator": torch.get_rng_state(),
            "cuda_generator": (
                torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
            ),
            "data_seconds": self.data_clock.seconds,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.batches_taken = state["batches_taken"]
        torch.set_rng_state(state["generator"])
        if self.device.type == "cuda" and state["cuda_generator"] is not None:
            torch.cuda.set_rng_state(state["cuda_generator"], self.device)
        self.data_clock.seconds = state["data_seconds"]

    def evaluate(self) -> Grid:
        """Measure the network as it is at the trial's test conditions."""
        return self.evaluator.grid(
            self.network,
            self.specification.evaluation_split,
            self.pairs["grid"],
            self.specification.test_conditions,
            keep_predictions=self.specification.predictions,
        )
