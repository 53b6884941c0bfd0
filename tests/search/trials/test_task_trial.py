"""Trials of tasks that are unlike digits: trained, interrupted, chosen, tested."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from odd_tasks import Amount, Captions, Imbalanced, NoisySensors, Sensors, Widths
from torch import nn
from torch.utils.data import DataLoader

from fusion_search.datasets import loading
from fusion_search.datasets.batch import Batch
from fusion_search.datasets.conditions import ABSENT, ORIGINAL, Range
from fusion_search.datasets.metrics import Metric
from fusion_search.models.layout import Placement
from fusion_search.search.tasks.base import Task, TrialError
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.trials.results import Epoch, Tally
from fusion_search.search.trials.settings import (
    EvaluationSettings,
    TrainingSettings,
    make_optimizer,
    make_schedule,
)
from fusion_search.search.trials.task_trial import TaskTrial
from fusion_search.search.trials.training import TrialTraining
from fusion_search.search.trials.trial import Continuation, TrialResult, rank, run_task_trial

CPU = torch.device("cpu")
SHORT = TrainingSettings(epochs=3, batch_size=7, learning_rate=0.01)


def trial_of(task: Task, **fields: Any) -> TaskTrial:
    given = {"network": task.network(), "data": task.data(), "training": SHORT, **fields}
    return TaskTrial(task=task, **given)


def run(trial: TaskTrial, **words: Any) -> TrialResult:
    data = open_task(trial.task, trial.data, trial.fold)
    return run_task_trial(trial, data, CPU, **words)


def numbers(result: TrialResult) -> list[Any]:
    """All that training it again must give again."""
    assert result.grid is not None
    epochs = [replace(one, seconds=0, ended_at=None).row() for one in result.epochs]  # type: ignore[arg-type]
    cells = [(one.condition, one.n, one.loss_sum, one.metrics) for one in result.grid.evaluations]
    return [epochs, cells, [one.tolist() for one in result.state.values()]]


@pytest.mark.parametrize(
    "trial",
    [
        trial_of(Sensors(), placement=Placement({"s1": {"coupling": "gates"}})),
        trial_of(NoisySensors(), network=Widths(dropout=0.3), train={"ecg_snr": (1.0, ABSENT)}),
        trial_of(Imbalanced(), network=Widths(dropout=0.3)),
        trial_of(Captions(), train={"image_snr": Range(0, 20), "words_snr": 0.5}),
    ],
    ids=["regression", "noisy", "imbalanced", "captions"],
)
def test_workers_and_an_interruption_change_no_number(
    trial: TaskTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    def noted(*given: Any, num_workers: int, **more: Any) -> Any:
        begun.append(num_workers)
        return DataLoader(*given, num_workers=num_workers, **more)

    monkeypatch.setattr(loading, "DataLoader", noted)
    whole = numbers(run(trial))
    assert begun == []
    ahead = replace(trial, training=replace(trial.training, loader_workers=2))
    assert numbers(run(ahead)) == whole
    assert begun == [2]  # once, for all epochs and splits
    saved: list[bytes] = []
    run(trial, continuation=Continuation(save=saved.append))
    again = run(trial, continuation=Continuation(saved=saved[0]))
    assert numbers(again) == whole
    other = numbers(run(replace(trial, seed=1)))
    assert other[2] != whole[2]


def test_workers_that_would_load_nothing_are_refused() -> None:
    trial = trial_of(Sensors(), training=replace(SHORT, loader_workers=2))
    data = open_task(trial.task, trial.data)
    data.train.batch = lambda numbers, shown: None  # type: ignore[attr-defined]
    with pytest.raises(TrialError, match="loader_workers is 2, but these data make whole batches"):
        run_task_trial(trial, data, CPU)


def test_the_best_epoch_is_the_one_with_the_least_error() -> None:
    result = run(trial_of(Sensors(), training=replace(SHORT, epochs=8, learning_rate=0.1)))
    errors = [one.validation["mean_absolute_error"] for one in result.epochs]
    assert result.best is not None
    assert result.best.validation["mean_absolute_error"] == min(errors)
    assert min(errors) < max(errors)
    assert (
        result.epochs[-1].train["mean_absolute_error"]
        < result.epochs[0].train["mean_absolute_error"]
    )
    first, metric = result.epochs[0], result.metric
    worse = replace(first, validation={metric.name: first.validation[metric.name] + 1})
    assert rank(first, metric) > rank(worse, metric)
    assert rank(first, metric) > rank(replace(first, validation_loss=math.inf), metric)


def test_the_grid_leaves_dropped_streams_alone() -> None:
    task = NoisySensors()
    result = run(trial_of(task, placement=Placement(streams=("heat", "motion"))))
    assert result.grid is not None
    assert [one.condition for one in result.grid.evaluations] == [
        {"ecg_snr": ORIGINAL, "heat_snr": snr} for snr in (ORIGINAL, 0.0, -5.0)
    ]
    assert all("ecg" not in name for name in result.state)
    assert (
        result.grid.at({"ecg_snr": ORIGINAL, "heat_snr": 0.0}, "mean_absolute_error")
        == (result.grid.values("mean_absolute_error")[1])
    )
    assert result.grid.at({"ecg_snr": 1.0, "heat_snr": 0.0}, "mean_absolute_error") is None


def test_counts_are_those_asked_for() -> None:
    seen: list[Epoch] = []
    settings = replace(SHORT, examples=13, epoch_examples=20, batch_size=6)
    evaluation = EvaluationSettings(validation_examples=5, test_examples=9)
    trial = trial_of(Sensors(), training=settings, evaluation=evaluation)
    result = run(trial, on_epoch=seen.append)
    assert [one.examples_seen for one in seen] == [20, 40, 60]
    assert result.grid is not None
    assert [one.n for one in result.grid.evaluations] == [9]
    data = open_task(trial.task, trial.data)
    drawn = TrialTraining(trial, data, CPU).numbers
    assert [len(one) for one in drawn.values()] == [13, 5, 9]
    with pytest.raises(TrialError, match="test has 24 examples, 25 were asked for"):
        run(replace(trial, evaluation=EvaluationSettings(test_examples=25)))
    with pytest.raises(ValueError, match="examples is 3, but the train data have an order"):
        run(trial_of(Imbalanced(), training=replace(SHORT, examples=3)))


def test_predictions_are_the_largest_outputs() -> None:
    result = run(trial_of(Captions(), evaluation=EvaluationSettings(predictions=True)))
    assert result.grid is not None
    assert len(result.grid.predictions) == len(result.grid.evaluations) == 4
    for cell, (shown, targets, predicted) in zip(
        result.grid.evaluations, result.grid.predictions, strict=True
    ):
        assert shown.tolist() == list(range(13))
        assert cell.sums["accuracy"] == int((targets == predicted).sum())


def test_a_trial_says_what_is_wrong_with_it() -> None:
    task = NoisySensors()
    with pytest.raises(ValueError, match="train names axis 'x'; allowed: ecg_snr, heat_snr"):
        trial_of(task, train={"x": 1.0})
    with pytest.raises(ValueError, match="train names axis 'x'; allowed: none, for the task has"):
        trial_of(Sensors(), train={"x": 1.0})
    with pytest.raises(ValueError, match="precision is 'half'; allowed: float32, tf32, bfloat16"):
        trial_of(task, training=replace(SHORT, precision="half"))
    wild = replace(SHORT, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(TrialError, match=r"the loss became (nan|inf) in epoch 1 after .* examples"):
        run(trial_of(Sensors(), training=wild))
    assert trial_of(task).train == {"ecg_snr": ORIGINAL, "heat_snr": ORIGINAL}


class OneWeight(nn.Module):
    """A weight outside of the couplings and one inside, each with a gradient of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.exchanges = nn.ModuleDict({"s1": nn.Linear(1, 1, bias=False)})
        nn.init.constant_(self.exchanges["s1"].weight, 2.0)

    def steps(self, settings: TrainingSettings, epochs: int = 1) -> list[tuple[float, float]]:
        optimizer = make_optimizer(self, settings)
        schedule = make_schedule(optimizer, settings)
        found = []
        for _ in range(epochs):
            optimizer.zero_grad()
            (self.weight + self.exchanges["s1"].weight.sum()).backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            found.append((self.weight.item(), self.exchanges["s1"].weight.item()))
        return found


def sgd(rate: Callable[[int], float], epochs: int, momentum: float = 0) -> list[float]:
    """By hand: a gradient of 1."""
    weight, velocity, found = 2.0, 0.0, []
    for epoch in range(epochs):
        velocity = momentum * velocity + 1
        weight -= rate(epoch) * velocity
        found.append(weight)
    return found


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, sgd(lambda epoch: 0.1, 5)),
        ({"momentum": 0.9}, sgd(lambda epoch: 0.1, 5, momentum=0.9)),
        (
            {"schedule": "step", "step_epochs": 2, "step_factor": 0.5},
            sgd(lambda epoch: 0.1 * [1, 1, 0.5, 0.5, 0.25][epoch], 5),
        ),
        (
            {"schedule": "cosine"},
            sgd(lambda epoch: 0.05 * (1 + math.cos(math.pi * epoch / 5)), 5),
        ),
        # A hundredth of it in the last epoch, by one factor each.
        ({"schedule": "exponential"}, sgd(lambda epoch: 0.1 * 10 ** (-epoch / 2), 5)),
    ],
)
def test_schedules_are_those_of_their_equations(
    fields: dict[str, Any], expected: list[float]
) -> None:
    settings = TrainingSettings(optimizer="sgd", learning_rate=0.1, epochs=5, **fields)
    found = OneWeight().steps(settings, 5)
    np.testing.assert_allclose([one for one, _ in found], expected, rtol=1e-6)


def test_a_trial_follows_its_schedule() -> None:
    # After the first epoch the learning rate is too small to change a float.
    settings = replace(SHORT, epochs=3, schedule="step", step_factor=1e-9)
    first, second, third = run(trial_of(Sensors(), training=settings)).epochs
    assert second.validation == third.validation == first.validation
    constant = run(trial_of(Sensors(), training=SHORT)).epochs
    assert constant[0].validation == first.validation
    assert constant[1].validation != first.validation


def test_adam_couples_weight_decay_with_the_gradient_and_adamw_does_not() -> None:
    decay = {"learning_rate": 0.1, "weight_decay": 0.5}
    # The first step of either is a learning rate against the gradient's sign.
    ((adam, _),) = OneWeight().steps(TrainingSettings(optimizer="adam", **decay))
    assert adam == pytest.approx(2 - 0.1)
    ((adamw, _),) = OneWeight().steps(TrainingSettings(optimizer="adamw", **decay))
    assert adamw == pytest.approx(2 * (1 - 0.1 * 0.5) - 0.1)


def test_couplings_may_decay_apart() -> None:
    settings = TrainingSettings(learning_rate=0.1, coupling_weight_decay=0.5)
    ((plain, coupling),) = OneWeight().steps(settings)
    assert plain == pytest.approx(2 - 0.1)
    assert coupling == pytest.approx(2 * (1 - 0.1 * 0.5) - 0.1)
    with pytest.raises(ValueError, match="the network names no couplings"):
        make_optimizer(nn.Linear(1, 1), settings)


def test_frozen_weights_are_left_out() -> None:
    network = OneWeight()
    network.weight.requires_grad_(False)
    ((plain, coupling),) = network.steps(TrainingSettings(learning_rate=0.1, weight_decay=0.5))
    assert plain == 2
    assert coupling < 2


def test_gradients_are_clipped_to_their_common_norm() -> None:
    task = Sensors()
    trial = trial_of(
        task, training=replace(SHORT, optimizer="sgd", learning_rate=1.0, gradient_clip=1e-3)
    )
    training = TrialTraining(trial, open_task(task, Amount()), CPU)
    before = [one.detach().clone() for one in training.network.parameters()]
    numbers_shown, shown = next(training.batches())
    training.step(training.loaded(numbers_shown, shown), shown, Tally(task.metrics))
    after = [one.detach() for one in training.network.parameters()]
    moved = [(a - b).square().sum() for a, b in zip(before, after, strict=True)]
    assert float(torch.stack(moved).sum().sqrt()) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "lamb"}, "optimizer is 'lamb'; allowed: adam, adamw, sgd"),
        ({"schedule": "linear"}, "schedule is 'linear'; allowed: constant, step, cosine"),
        ({"epochs": 0}, "epochs is 0; allowed: 1 or more"),
        ({"examples": -1}, r"examples is -1; allowed: 0 \(all\) or more"),
        ({"gradient_clip": -1}, "gradient_clip is -1; allowed: 0 or more"),
        ({"coupling_weight_decay": math.nan}, "coupling_weight_decay is nan; allowed: 0 or more"),
        ({"learning_rate": 0}, "learning_rate is 0; allowed: above 0"),
        ({"step_factor": 2}, "step_factor is 2; allowed: above 0 to 1"),
        ({"final_factor": 0}, "final_factor is 0; allowed: above 0 to 1"),
        ({"loader_workers": -1}, "loader_workers is -1; allowed: 0 or more"),
        ({"momentum": 0.9}, "momentum is 0.9 with optimizer adamw; allowed with: sgd"),
    ],
)
def test_training_settings_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**fields)


def test_half_precision_trains_and_judges_in_float32() -> None:
    seen: list[torch.dtype] = []

    class Looking(Sensors):
        def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
            seen.append(outputs.dtype)
            return super().loss(outputs, batch)

    result = run(trial_of(Looking(), training=replace(SHORT, precision="bfloat16")))
    assert set(seen) == {torch.float32}
    assert {one.dtype for one in result.state.values()} == {torch.float32}
    assert numbers(result)[2] != numbers(run(trial_of(Sensors())))[2]


class Undefined(Sensors):
    metrics = (Metric("error", lambda out, batch: out, lambda total, n: float("nan")),)


def test_a_metric_without_a_value_fails_the_trial_and_is_named() -> None:
    task = Undefined()
    trial = TaskTrial(
        task=task,
        network=Widths(),
        data=Amount(size=8),
        training=TrainingSettings(epochs=1, batch_size=4),
    )
    with pytest.raises(TrialError, match="metric error is nan on the validation split"):
        run_task_trial(trial, open_task(task, Amount(size=8)), CPU)
