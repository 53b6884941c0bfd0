"""Training one network: examples, optimiser steps, validation after every epoch."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusion_search.datasets.batch import SPLITS, Batch, Data, Tree
from fusion_search.datasets.conditions import drawn
from fusion_search.datasets.errors import count_label
from fusion_search.datasets.loading import Loaders, Presentation, load, passes
from fusion_search.datasets.metrics import Metric
from fusion_search.search.tasks.base import Answer, Condition, TrialError
from fusion_search.search.tasks.captured import pass_on, with_capture
from fusion_search.search.tasks.evaluation import Evaluation, each_epoch, evaluate
from fusion_search.search.tasks.run import Run, Stopwatch
from fusion_search.search.trials.cost import milliseconds_per_example, multiply_accumulates
from fusion_search.search.trials.results import Epoch, Grid, Tally
from fusion_search.search.trials.settings import (
    make_optimizer,
    make_schedule,
)
from fusion_search.search.trials.task_trial import TaskTrial


def draw_examples(total: int, count: int, *, seed: int, split: str) -> Tensor:
    """Numbers of ``count`` different examples of a split, [count]; of all in order for 0.

    They are the same for every network with this seed.

    Raises:
        TrialError: the split has fewer.
    """
    if not count:
        return torch.arange(total)
    if count > total:
        raise TrialError(
            f"{split} has {count_label(total, 'example')}, {count:,} were asked for; ask for fewer"
        )
    generator = np.random.default_rng([seed, SPLITS.index(split)])
    return torch.from_numpy(generator.choice(total, size=count, replace=False))


def loading_trouble(workers: int, data: Data) -> str:
    """Why so many workers cannot load these data, which would leave them nothing; else empty."""
    if not workers or not hasattr(data.train, "batch"):
        return ""
    return f"loader_workers is {workers}, but these data make whole batches themselves; allowed: 0"


def settle_products(precision: str, device: torch.device) -> None:
    """Let this process's GPU compute float32 products as a precision says.

    Left alone, PyTorch rounds those of convolutions and LSTMs to 10 bits, not those of matrices.

    Raises:
        TrialError: a processor knows no such precision.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = (
            precision == "tf32"
        )
    elif precision == "tf32":
        raise TrialError(
            "precision is tf32, which GPUs alone have, and the device is "
            f"{device.type}; allowed there: float32, bfloat16"
        )


class TrialTraining:
    """The moving parts of one trial: network, optimiser, examples.

    Args:
        trial: all there is to know.
        data: of the trial's fold, opened.
        device: where the network is trained.

    Attributes:
        loaders: of its examples; to be closed in the end.

    Raises:
        TrialError: the examples do not suffice, or cannot be loaded ahead.
    """

    def __init__(self, trial: TaskTrial, data: Data, device: torch.device) -> None:
        self.trial, self.data, self.device = trial, data, device
        self.task, self.settings = trial.task, trial.training
        self.data_clock = Stopwatch()
        settle_products(self.settings.precision, device)
        if trouble := loading_trouble(self.settings.loader_workers, data):
            raise TrialError(trouble)
        self.loaders = Loaders([data.split(one) for one in SPLITS], self.settings.loader_workers)
        self.run = Run(trial.task, device, trial.training.precision, self.data_clock, self.loaders)
        wanted = {
            "train": ("train", self.settings.examples),
            "validation": ("validation", trial.evaluation.validation_examples),
            "grid": (trial.evaluation.split, trial.evaluation.test_examples),
        }
        self.numbers = {
            use: draw_examples(
                len(data.split(split)),  # type: ignore[arg-type]
                count,
                seed=trial.seed,
                split=split,
            )
            for use, (split, count) in wanted.items()
        }
        self.epoch_examples = self.settings.epoch_examples or len(self.numbers["train"])
        self.network = trial.task.build(trial.network, data, trial.placement).to(device)
        steps = self.settings.steps(len(self.numbers["train"]))
        engine = trial.task.prepare(self.network, trial.network, steps, device)
        self.engine = with_capture(engine, trial.task, trial.network, device)
        self._pass = pass_on(
            self.network.parameters(), self._computed, trial.task, trial.network, device
        )
        self.optimizer = make_optimizer(self.network, self.settings)
        self.schedule = make_schedule(self.optimizer, self.settings)
        self.batches_taken = 0

    def epochs(self, clock: float, done: int = 0) -> Iterator[Epoch]:
        """Train, one epoch at a time.

        Args:
            clock: when the trial began (perf_counter).
            done: epochs that an earlier run has done.

        Raises:
            TrialError: the loss is not finite.
        """
        batches = self.batches()
        seen = done * self.epoch_examples
        for number in range(done + 1, self.settings.epochs + 1):
            self.network.train()
            tally = Tally(self.task.metrics)
            for batch, presentations in self._loaded(batches, number):
                loss = self.step(batch, presentations, tally)
                if not math.isfinite(loss):
                    raise self.diverged(loss, number, seen + tally.n)
            seen += tally.n
            yield self.end_epoch(number, seen, tally, clock)

    def _loaded(
        self, batches: Iterator[tuple[Tensor, Tensor]], epoch: int
    ) -> Iterator[tuple[Batch, Tensor]]:
        """The batches of one epoch; the last is cut where the epoch ends."""
        cut, left = [], self.epoch_examples
        while left > 0:
            numbers, presentations = next(batches)
            cut.append(presented(numbers[:left], presentations[:left], epoch))
            left -= len(cut[-1])
        loading = self.loaders.load(self.data.train, cut, seed=self.trial.seed)
        for _ in cut:
            with self.data_clock:
                loaded = next(loading)
            self.batches_taken += 1
            yield loaded

    def diverged(self, loss: float, epoch: int, seen: int) -> TrialError:
        """What to raise when the loss is not finite, after ``seen`` examples."""
        coarse = self.settings.precision == "bfloat16"
        return TrialError(
            f"the loss became {loss} in epoch {epoch} after {count_label(seen, 'example')}; lower "
            f"learning_rate ({self.settings.learning_rate:g})"
            + (" or use precision float32" if coarse else "")
        )

    def end_epoch(self, number: int, seen: int, tally: Tally, clock: float) -> Epoch:
        """Validate at the train condition, and test there where that is asked for.

        Args:
            number: of the epoch.
            seen: examples since the trial began.
            tally: of the epoch's training examples.
            clock: when the trial began (perf_counter).
        """
        if self.schedule is not None:
            self.schedule.step()
        metrics = each_epoch(self.task.metrics)
        at = [self.trial.train]
        (validation,) = self.judge("validation", self.numbers["validation"], at, metrics)
        test = None
        if self.trial.evaluation.each_epoch:
            (test,) = self.judge("test", self.numbers["grid"], at, metrics)
        return Epoch(
            epoch=number,
            examples_seen=seen,
            train_loss=tally.loss / tally.n,
            train=tally.values(),
            validation_loss=validation.loss,
            validation=validation.metrics,
            seconds=time.perf_counter() - clock,
            ended_at=datetime.now(UTC),
            test_loss=test.loss if test else None,
            test=test.metrics if test else {},
        )

    def judge(
        self,
        split: str,
        numbers: Tensor,
        conditions: Sequence[Condition],
        metrics: Sequence[Metric] | None = None,
    ) -> list[Evaluation]:
        """The network as it is on examples of a split, at conditions."""
        answers = self._answers(split, numbers, conditions)
        return _finite(evaluate(self.task, answers, conditions, metrics=metrics), split)

    def _answers(
        self, split: str, numbers: Tensor, conditions: Sequence[Condition]
    ) -> Iterator[Answer]:
        self.network.eval()
        with torch.inference_mode():
            yield from self.task.answers(
                self.network,
                self.data.split(split),
                numbers.tolist(),
                conditions,
                self.run,
                seed=self.trial.seed,
                size=self.settings.batch_size,
            )

    def evaluate(self) -> Grid:
        """Measure the network as it is at the trial's test conditions."""
        conditions = self.trial.test_conditions()
        kept: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}

        def noted(answers: Iterator[Answer]) -> Iterator[Answer]:
            for one in answers:
                if self.trial.evaluation.predictions:
                    predicted = one.outputs.argmax(1).cpu()
                    place = next(n for n, c in enumerate(conditions) if c == one.condition)
                    row = one.numbers, one.batch.targets.cpu(), predicted
                    kept.setdefault(place, []).append(row)
                yield one

        answers = self._answers(self.trial.evaluation.split, self.numbers["grid"], conditions)
        split = self.trial.evaluation.split
        evaluations = _finite(evaluate(self.task, noted(answers), conditions), split)
        joined = [
            tuple(torch.cat(parts) for parts in zip(*kept[place], strict=True))
            for place in sorted(kept)
        ]
        return Grid(evaluations, joined)  # type: ignore[arg-type]

    def evaluate_absent(self) -> list[Evaluation]:
        """Measure the network as it is where one input is absent."""
        numbers = self.numbers["grid"]
        return [
            one
            for conditions in self.trial.absent_conditions()
            for one in self.judge(self.trial.evaluation.split, numbers, conditions)
        ]

    def measure(self) -> tuple[int, float]:
        """Multiply-accumulates of one example, and milliseconds per example of a batch."""
        count = min(self.settings.batch_size, len(self.numbers["validation"]))
        several, one = (self._met(self.numbers["validation"][:n]) for n in (count, 1))
        operations = multiply_accumulates(
            self.network, lambda: self.task.predict(self.network, one)
        )
        return operations, milliseconds_per_example(
            self.network, lambda: self.run(self.network, several), count, self.device
        )

    def _met(self, numbers: Tensor) -> Batch:
        """Validation examples as the network meets them at the train condition."""
        shown = presented(numbers, numbers)
        batch, keys = next(load(self.data.validation, [shown], seed=self.trial.seed))
        condition = drawn(self.trial.train, keys, seed=self.trial.seed)
        return self.task.impair(batch.to(self.device), condition, keys, self.trial.seed)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless passes over the train examples, without those that an earlier run has taken.

        Yields numbers [B] and presentations [B].
        """
        endless = passes(
            self.data.train,
            self.numbers["train"],
            self.settings.batch_size,
            seed=self.trial.seed,
        )
        return itertools.islice(endless, self.batches_taken, None)

    def loaded(self, numbers: Tensor, presentations: Tensor, epoch: int = 0) -> Batch:
        """One clean batch of :meth:`batches`, the same for all trials with this seed."""
        shown = presented(numbers, presentations, epoch)
        batch, _ = next(load(self.data.train, [shown], seed=self.trial.seed))
        return batch

    def met(self, batch: Batch, presentations: Tensor) -> Batch:
        """A clean train batch at the train condition, on the device."""
        condition = drawn(self.trial.train, presentations, seed=self.trial.seed)
        return self.task.impair(batch.to(self.device), condition, presentations, self.trial.seed)

    def step(self, batch: Batch, presentations: Tensor, tally: Tally) -> float:
        """One optimiser step on a clean batch; its mean loss."""
        with self.data_clock:
            met = self.met(batch, presentations)
        self.optimizer.zero_grad()
        loss, outputs = self._pass(met)
        if self.settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        value = loss.item()
        tally.add(value, outputs, met)
        return value

    def _computed(self, met: Batch) -> tuple[Tensor, Tree]:
        outputs = self.run(self.network, met)
        loss = self.task.loss(outputs, met).mean()
        loss.backward()
        return loss, outputs

    def set_hyperparameters(self, values: Mapping[str, float]) -> None:
        """Change learning_rate, weight_decay or dropout from the next step on."""
        for group in self.optimizer.param_groups:
            group["lr"] = values.get("learning_rate", group["lr"])
            group["weight_decay"] = values.get("weight_decay", group["weight_decay"])
        if "dropout" in values:
            for module in self.network.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = values["dropout"]

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on, as plain values and tensors."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
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
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.batches_taken = state["batches_taken"]
        torch.set_rng_state(state["generator"])
        if self.device.type == "cuda" and state["cuda_generator"] is not None:
            torch.cuda.set_rng_state(state["cuda_generator"], self.device)
        self.data_clock.seconds = state["data_seconds"]


def _finite(evaluations: list[Evaluation], split: str) -> list[Evaluation]:
    """The same. Raises ``TrialError`` when a metric has no value: nothing could be compared."""
    for one in evaluations:
        for name, value in one.metrics.items():
            if not math.isfinite(value):
                at = ", ".join(f" at {axis} {snr}" for axis, snr in one.condition.items())
                raise TrialError(
                    f"metric {name} is {value} on the {split} split{at}; let its `value` give a "
                    "number for every set of answers"
                )
    return evaluations


def presented(numbers: Tensor, presentations: Tensor, epoch: int = 0) -> list[Presentation]:
    """Examples [B] as the loader takes them."""
    shown = zip(numbers.tolist(), presentations.tolist(), strict=True)
    return [Presentation(number, place, epoch) for number, place in shown]
