"""Settings of training and evaluation that a task may need: optimiser, schedule, budget, splits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "step", "cosine", "exponential"]
Precision = Literal["float32", "tf32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]
Split = Literal["test", "validation"]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a network is trained.

    Attributes:
        optimizer: adam, adamw (decoupled weight decay) or sgd.
        adam_epsilon: added to the denominator of adam and adamw.
        learning_rate, weight_decay: of the optimiser.
        momentum: of sgd.
        coupling_weight_decay: of the couplings alone, as MMTM's regularised gates have; None for
            ``weight_decay``.
        schedule: of the learning rate, epoch by epoch: constant; step (times ``step_factor`` every
            ``step_epochs``); cosine (to zero at the end); exponential (by one factor an epoch, to
            ``final_factor`` of it in the last one).
        step_epochs, step_factor: of the schedule step.
        final_factor: of the schedule exponential; 0.01 anneals 1e-3 to 1e-5.
        gradient_clip: largest norm of all gradients together; 0 for no limit.
        epochs: how many; validation comes after each.
        epoch_examples: examples shown in an epoch, which need not be a whole pass; 0 for one.
        batch_size: examples per optimiser step.
        examples: train examples drawn at random; 0 for all.
        precision: of products; float32, bfloat16 by autocast, or on a GPU tf32, whose products
            round to 10 bits.
        device: cpu, cuda, or auto (cuda when there is one; the record says which it was; the CPU
            only where ``resources.gpus_per_trial`` reserves no GPU).
        loader_workers: processes of each trial that load its examples ahead; 0 for none. No number
            depends on it. A trial takes as many cores more: ``resources.cpus_per_trial``.

    Raises:
        ValueError: a field is outside its range.
    """

    optimizer: Optimizer = "adamw"
    adam_epsilon: float = 1e-8
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.0
    coupling_weight_decay: float | None = None
    schedule: Schedule = "constant"
    step_epochs: int = 1
    step_factor: float = 0.1
    final_factor: float = 0.01
    gradient_clip: float = 0.0
    epochs: int = 5
    epoch_examples: int = 0
    batch_size: int = 32
    examples: int = 0
    precision: Precision = "float32"
    device: Device = "auto"
    loader_workers: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("optimizer", get_args(Optimizer)),
            ("schedule", get_args(Schedule)),
            ("precision", get_args(Precision)),
            ("device", get_args(Device)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}"
                )
        for name in ("epochs", "batch_size", "step_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.loader_workers < 0:
            raise ValueError(f"loader_workers is {self.loader_workers}; allowed: 0 or more")
        for name in ("epoch_examples", "examples"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 (all) or more")
        for name in ("weight_decay", "gradient_clip", "coupling_weight_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; allowed: 0 or more, finite")
        for name in ("learning_rate", "adam_epsilon"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} is {value}; allowed: above 0, finite")
        for name in ("step_factor", "final_factor"):
            if not 0 < (value := getattr(self, name)) <= 1:
                raise ValueError(f"{name} is {value}; allowed: above 0 to 1")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}; allowed: 0 to below 1")
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(
                f"momentum is {self.momentum} with optimizer {self.optimizer}; allowed with: sgd"
            )

    def steps(self, examples: int) -> float:
        """Of the optimiser over the whole trial, about; ``examples`` are those of a pass."""
        return self.epochs * (self.epoch_examples or examples) / self.batch_size

    def factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in an epoch, counted from 0."""
        if self.schedule == "step":
            return float(self.step_factor ** (epoch // self.step_epochs))
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        if self.schedule == "exponential":
            return float(self.final_factor ** (epoch / max(self.epochs - 1, 1)))
        return 1.0


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What a trained network is tested on.

    Attributes:
        split: the split that the test conditions are measured on. A search chooses by the
            validation split, so that the test split stays unseen until the choice is made.
        validation_examples, test_examples: drawn from those splits; 0 for all.
        predictions: also keep every single prediction of the grid: the largest output.
        absent: also test with each input absent, beside the grid and outside every mean.
        each_epoch: also test after every epoch at the train condition, for learning curves and for
            the optimistic score of a trial, its best epoch by the test split. Nothing is chosen
            by it. With ``split: test`` alone.

    Raises:
        ValueError: a field is outside its range.
    """

    split: Split = "test"
    validation_examples: int = 0
    test_examples: int = 0
    predictions: bool = False
    absent: bool = False
    each_epoch: bool = False

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise ValueError(f"split is {self.split!r}; allowed: {', '.join(get_args(Split))}")
        for name in ("validation_examples", "test_examples"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 (all) or more")
        if self.each_epoch and self.split != "test":
            raise ValueError(
                f"each_epoch is true with split {self.split}, which every epoch is validated on as "
                "it is; allowed with: test"
            )


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimiser of a network's trainable parameters; frozen ones are left out.

    Raises:
        ValueError: couplings are to decay apart, and the network names none.
    """
    rate = settings.learning_rate
    groups = list(_groups(network, settings))
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, rate, eps=settings.adam_epsilon)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, momentum=settings.momentum)
    return torch.optim.AdamW(groups, rate, eps=settings.adam_epsilon)


def _groups(network: nn.Module, settings: TrainingSettings) -> Iterator[dict[str, Any]]:
    trained = [one for one in network.parameters() if one.requires_grad]
    if settings.coupling_weight_decay is None:
        yield {"params": trained, "weight_decay": settings.weight_decay}
        return
    exchanges = getattr(network, "exchanges", None)
    if not isinstance(exchanges, nn.Module):
        raise ValueError(
            "coupling_weight_decay is given, but the network names no couplings; allowed: leave it "
            "out, or give the network a module `exchanges` that holds them"
        )
    coupling = {id(one) for one in exchanges.parameters()}
    yield {
        "params": [one for one in trained if id(one) not in coupling],
        "weight_decay": settings.weight_decay,
    }
    yield {
        "params": [one for one in trained if id(one) in coupling],
        "weight_decay": settings.coupling_weight_decay,
    }


def make_schedule(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> LambdaLR | None:
    """What sets the learning rate after every epoch; None where it is constant."""
    if settings.schedule == "constant":
        return None
    return LambdaLR(optimizer, settings.factor)
