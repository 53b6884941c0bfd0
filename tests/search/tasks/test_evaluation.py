"""The plain loop against a naive one, on tasks that are unlike digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from odd_tasks import Captions, Imbalanced, NoisySensors, Sensors, Widths
from sklearn.metrics import f1_score
from torch import nn

from fusion_search.datasets.batch import Batch, Data, TensorData
from fusion_search.datasets.conditions import ABSENT, absent, grid
from fusion_search.datasets.loading import Loaders
from fusion_search.models.layout import Placement
from fusion_search.search.declaration.configuration import build_search
from fusion_search.search.tasks.base import (
    Classification,
    Condition,
    Nothing,
    Regression,
    Task,
    TaskError,
)
from fusion_search.search.tasks.evaluation import Evaluation, each_epoch, evaluate
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.tasks.run import Run
from fusion_search.search.trials.fields import ConfigurationError

CPU = torch.device("cpu")
PLAIN = Placement()


def built(task: Task, placement: Placement = PLAIN) -> tuple[Data, nn.Module]:
    data = open_task(task, task.data())
    torch.manual_seed(0)
    return data, task.build(task.network(), data, placement).eval()


def judged(
    task: Task, network: nn.Module, data: Data, *, size: int = 5, workers: int = 0
) -> list[Evaluation]:
    conditions: list[Condition] = [*grid(task.axes), *absent(task.axes)]
    numbers = range(len(data.test))  # type: ignore[arg-type]
    with torch.inference_mode(), Loaders([data.test], workers) as loaders:
        run = Run(task, CPU, loaders=loaders)
        answers = task.answers(network, data.test, numbers, conditions, run, seed=3, size=size)
        return evaluate(task, answers, conditions)


def item_by_item(task: Task, network: nn.Module, data: Data) -> list[dict[str, Any]]:
    """Outputs [n, ...] and targets at every condition, one example at a time."""
    rows = []
    for condition in [*grid(task.axes), *absent(task.axes)]:
        outputs, targets, losses = [], [], []
        for number in range(len(data.test)):  # type: ignore[arg-type]
            item = data.test[number]
            collate = getattr(data.test, "collate", torch.utils.data.default_collate)
            given = collate([item])
            batch = given if isinstance(given, Batch) else Batch(*given)
            snr = {name: torch.tensor([value]) for name, value in condition.items()}
            met = task.impair(batch, snr, torch.tensor([number]), 3)
            with torch.inference_mode():
                out = network(**met.inputs)
                losses.append(float(task.loss(out, met).sum()))
            outputs.append(out[0].numpy())
            targets.append(batch.targets[0].numpy())
        rows.append(
            {
                "condition": condition,
                "outputs": np.stack(outputs),
                "targets": np.stack(targets),
                "loss": np.mean(losses),
            }
        )
    return rows


def mean_absolute_error(row: dict[str, Any]) -> float:
    return float(np.mean(np.abs(row["outputs"] - row["targets"])))


def macro_f1_score(row: dict[str, Any]) -> float:
    predicted = row["outputs"].argmax(1)
    return float(f1_score(row["targets"], predicted, labels=[0, 1, 2], average="macro"))


def accuracy(row: dict[str, Any]) -> float:
    return float(np.mean(row["outputs"].argmax(1) == row["targets"]))


@pytest.mark.parametrize(
    ("task", "expected", "count"),
    [
        (Sensors(), {"mean_absolute_error": mean_absolute_error}, 1),
        (NoisySensors(), {"mean_absolute_error": mean_absolute_error}, 2 * 3 + 3),
        (Imbalanced(), {"macro_f1": macro_f1_score, "accuracy": accuracy}, 1),
        (Captions(), {"accuracy": accuracy}, 2 * 2 + 2),
    ],
)
def test_every_metric_at_every_condition_equals_the_naive_one(
    task: Task, expected: dict[str, Callable[[dict[str, Any]], float]], count: int
) -> None:
    data, network = built(task)
    found, naive = judged(task, network, data), item_by_item(task, network, data)
    assert len(found) == len(naive) == count
    for one, row in zip(found, naive, strict=True):
        assert one.condition == row["condition"]
        assert one.n == len(row["targets"])
        assert one.loss == pytest.approx(row["loss"], rel=1e-5)
        for name, value in expected.items():
            assert one.metrics[name] == pytest.approx(value(row), rel=1e-5)
    for other in ({"size": 24}, {"size": 1}, {"size": 5, "workers": 2}):
        for one, again in zip(found, judged(task, network, data, **other), strict=True):
            assert again.metrics == pytest.approx(one.metrics, rel=1e-5)


def test_sums_are_kept_of_what_is_a_mean() -> None:
    task = Imbalanced()
    data, network = built(task)
    (one,) = judged(task, network, data)
    assert one.sums == {"accuracy": one.metrics["accuracy"] * one.n}
    assert set(one.metrics) == {"macro_f1", "accuracy", "scores"}


def test_absent_input_is_zero_and_conditions_change_what_they_name() -> None:
    task = NoisySensors()
    data, network = built(task)
    seen: dict[float, Batch] = {}

    class Looking(Run):
        def __call__(self, network: nn.Module, batch: Batch) -> Any:
            seen[len(seen)] = batch
            return super().__call__(network, batch)

    conditions = [{"ecg_snr": ABSENT, "heat_snr": 0.0}, {"ecg_snr": 1.0, "heat_snr": -5.0}]
    list(task.answers(network, data.test, [0, 1], conditions, Looking(task, CPU), seed=3, size=2))
    assert not seen[0].inputs["ecg"].any()
    clean = torch.stack([data.test[n][0]["motion"] for n in (0, 1)])
    for one in seen.values():
        assert torch.equal(one.inputs["motion"], clean)
    heat = torch.stack([data.test[n][0]["heat"] for n in (0, 1)])
    noises = [seen[n].inputs["heat"] - heat for n in (0, 1)]
    torch.testing.assert_close(noises[1], noises[0] * 10 ** (5 / 20))


def test_a_unimodal_baseline_has_no_other_stream() -> None:
    task = Sensors()
    data = open_task(task, task.data())
    alone = task.build(Widths(), data, Placement(streams=("ecg",)))
    assert [name for name, _ in alone.named_parameters()] == [
        "streams.ecg.weight",
        "streams.ecg.bias",
        "head.weight",
        "head.bias",
    ]
    (before,) = judged(task, alone, data)
    for one in (data.test.inputs["motion"], data.test.inputs["heat"]):  # type: ignore[attr-defined]
        one.fill_(1e3)
    (after,) = judged(task, alone, data)
    assert after.metrics == before.metrics


def test_folds_hold_out_other_examples() -> None:
    task = Sensors()
    folds = [open_task(task, task.data(), fold) for fold in range(3)]
    first = [float(one.test[0][1]) for one in folds]
    assert len(set(first)) == 3
    with pytest.raises(TaskError, match="fold is 3; allowed: 0 to 2"):
        open_task(task, task.data(), 3)


def test_what_depends_on_the_data_comes_from_them() -> None:
    class Late(Sensors):
        metrics = ()

        def open(self, data: Any, fold: int = 0) -> Data:
            opened = super().open(data, fold)
            opened.axes, opened.metrics = NoisySensors.axes[:1], Sensors.metrics
            return opened

    task = Late()
    data = open_task(task, task.data())
    assert task.axes == NoisySensors.axes[:1]
    assert [one.name for one in task.metrics] == ["mean_absolute_error"]
    assert {name: one.shape for name, one in data.inputs.items()} == {
        "ecg": (2, 2, 40),
        "motion": (2, 2, 20),
        "heat": (2, 2, 5),
    }
    assert Late.metrics == ()


def test_a_task_that_breaks_the_contract_is_told_so() -> None:
    class Scalar(Sensors):
        def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
            return super().loss(outputs, batch).mean()

    class Wrong(Sensors):
        def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
            return super().loss(outputs, batch)[:, None]

    class NoMetric(Sensors):
        metrics = ()

    class Empty(Sensors):
        def open(self, data: Any, fold: int = 0) -> Data:
            opened = super().open(data, fold)
            opened.test = torch.utils.data.Subset(opened.test, [])
            return opened

    class Elsewhere(Sensors):
        def open(self, data: Any, fold: int = 0) -> Any:
            return {"train": None}

    class Unsaid(Imbalanced):
        def open(self, data: Any, fold: int = 0) -> Data:
            return replace(super().open(data, fold), classes=0)

    data, network = built(Sensors())
    (means,), (each,) = judged(Scalar(), network, data), judged(Sensors(), network, data)
    assert means.loss == pytest.approx(each.loss)
    with pytest.raises(TaskError, match=r"loss gave a tensor of shape \[5, 1\]; allowed: \[\] or"):
        judged(Wrong(), network, data)
    for task, message in (
        (NoMetric(), "NoMetric has no metric"),
        (Unsaid(), "the data have 0 classes; a classification's open says how many"),
        (Empty(), "the test split of fold 0 has no example"),
        (Elsewhere(), "open gave a dict; a task's open gives Data"),
    ):
        with pytest.raises(TaskError, match=message):
            open_task(task, task.data())
    for outputs, targets, message in (
        ((4, 1), (4,), r"outputs have shape \[4, 1\], targets \[4\]; .*target\[None\].*squeeze"),
        ((4,), (4, 1), r"outputs have shape \[4\], targets \[4, 1\]; .*target\[0\].*outputs\[:"),
        ((4, 2), (4, 3), "a regression needs them equal$"),
    ):
        with pytest.raises(TaskError, match=message):
            Regression().loss(torch.zeros(outputs), Batch({}, torch.zeros(targets)))


class Width:
    width: int = 4


@dataclass
class Thawed:
    width: int = 4


@pytest.mark.parametrize("group", ["network", "data"])
@pytest.mark.parametrize("kind", [Width, Thawed, Widths()])
def test_settings_that_are_no_frozen_dataclass_are_named_wherever_a_task_is_opened(
    group: str, kind: Any
) -> None:
    task = type("Own", (Sensors,), {group: kind})()
    message = rf"{group} of Own is .*; allowed: a class of settings below @dataclass\(frozen=True\)"
    with pytest.raises(TaskError, match=message):
        open_task(task, Sensors.data())
    with pytest.raises(ConfigurationError, match=message):
        build_search({"name": "own", "task": "own:Own"}, task=task)


@pytest.mark.parametrize("method", ["build", "open"])
def test_what_code_of_a_task_raises_is_a_sentence_with_its_line(method: str) -> None:
    def wrong(*_: Any) -> Any:
        return nn.Linear(3)  # type: ignore[call-arg]

    task = type("Own", (Sensors,), {method: wrong})()
    line = wrong.__code__.co_firstlineno + 1
    message = rf"Own .*raises TypeError: .*'out_features' \(test_evaluation.py, line {line}\)$"
    searched = {"placement": {"couplings": ["none"]}, "searcher": {"name": "grid"}}
    with pytest.raises(ConfigurationError, match=message):
        build_search({"name": "own", "task": "own:Own", **searched}, task=task)


@pytest.mark.parametrize(
    "targets", [torch.zeros(4, dtype=torch.int32), torch.zeros(4), torch.zeros(4, 1).long()]
)
def test_what_is_no_class_of_each_example_is_named(targets: torch.Tensor) -> None:
    with pytest.raises(TaskError, match=r"targets of a batch are .*; .* \[B\] int64"):
        Classification().loss(torch.zeros(4, 3), Batch({}, targets))
    Classification().loss(torch.zeros(4, 3), Batch({}, torch.zeros(4).byte()))


class Classes(Classification):
    def __init__(self, *targets: int) -> None:
        self.targets = torch.tensor(targets)

    def open(self, data: Any, fold: int = 0) -> Data:
        if not len(self.targets):
            raise SystemExit(3)
        one = TensorData({"x": torch.zeros(len(self.targets), 1)}, self.targets)
        return Data(one, one, one, classes=3)


@pytest.mark.parametrize("wrong", [-100, -1, 3])
def test_a_target_that_is_no_class_is_refused_on_opening(wrong: int) -> None:
    open_task(Classes(0, 1, 2), Nothing())
    words = f"target of example 1 of the train split is {wrong}; allowed with 3 classes: 0 to 2"
    with pytest.raises(TaskError, match=words):
        open_task(Classes(0, wrong, 2), Nothing())


def test_data_that_end_the_program_are_named() -> None:
    with pytest.raises(TaskError, match="open of Classes ends the program"):
        open_task(Classes(), Nothing())


def test_tensor_data_of_lists_are_refused() -> None:
    x = torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"targets of TensorData came as a list; .*as_tensor"):
        TensorData({"x": x}, [0, 1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="input 'x' of TensorData came as a ndarray"):
        TensorData({"x": x.numpy()}, torch.zeros(2))  # type: ignore[dict-item]


def test_regressions_of_several_values_are_means_over_them() -> None:
    outputs, targets = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.zeros(2, 2)
    batch = Batch({}, targets)
    assert Regression().loss(outputs, batch).tolist() == [2.5, 8.0]
    assert Regression.metrics[0].of(outputs, batch).tolist() == [1.5, 2.0]
    assert Classification.metrics[0].of(outputs, Batch({}, torch.tensor([1, 0]))).tolist() == [1, 0]


def test_dear_metrics_wait_for_the_end() -> None:
    first, second, third = Imbalanced.metrics
    dear = [one.__class__(one.name, one.of, each_epoch=False) for one in (first, second)]
    assert each_epoch([*dear, third]) == [dear[0], third]
