"""Metrics are functions of the whole set, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from odd_tasks import confusions, macro_f1
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor

from fusion_search.datasets.batch import Batch
from fusion_search.datasets.metrics import Metric, Statistics, mean


def average_precision(kept: Tensor, n: int) -> float:
    scores, truth = kept.chunk(2, 1)
    return float(average_precision_score(truth.numpy(), scores.numpy(), average="macro"))


@pytest.mark.parametrize("size", [1, 4, 30])
def test_metrics_of_a_set_do_not_depend_on_its_batches(size: int) -> None:
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(30, 3, generator=generator)
    targets = torch.randint(3, (30,), generator=generator)
    hot = torch.nn.functional.one_hot(targets, 3)
    accuracy = Statistics(Metric("accuracy", lambda out, batch: out.argmax(1) == batch.targets))
    f1 = Statistics(Metric("macro_f1", confusions, macro_f1))
    precision = Statistics(
        Metric(
            "average_precision",
            lambda out, batch: torch.cat([out, batch.extra["hot"]], 1),
            average_precision,
            keep="all",
        )
    )
    for rows in torch.arange(30).split(size):
        batch = Batch({}, targets[rows], {"hot": hot[rows]})
        for one in (accuracy, f1, precision):
            one.add(outputs[rows], batch)
    predicted = outputs.argmax(1)
    assert accuracy.value() == np.mean(predicted.numpy() == targets.numpy())
    assert accuracy.total == int((predicted == targets).sum())
    assert f1.value() == pytest.approx(f1_score(targets, predicted, average="macro"), abs=1e-12)
    expected = average_precision_score(hot.numpy(), outputs.numpy(), average="macro")
    assert precision.value() == pytest.approx(expected)
    assert accuracy.n == f1.n == precision.n == 30


def test_direction_says_which_is_better() -> None:
    def one(direction: str) -> Metric:
        return Metric("error", lambda out, batch: out, direction=direction)

    assert one("minimize").better(0.1, 0.2)
    assert not one("minimize").better(0.2, 0.2)
    assert one("maximize").better(0.2, 0.1)
    assert one("maximize").is_mean
    assert not Metric("f1", confusions, macro_f1).is_mean
    assert not Metric("kept", confusions, mean, keep="all").is_mean


def test_what_is_no_metric_is_said() -> None:
    with pytest.raises(ValueError, match="metric name is 'recall@1'; allowed: letters"):
        Metric("recall@1", confusions)
    with pytest.raises(ValueError, match="direction of metric f1 is 'up'; allowed: maximize, mini"):
        Metric("f1", confusions, direction="up")
    with pytest.raises(ValueError, match="keep of metric f1 is 'none'; allowed: sum, all"):
        Metric("f1", confusions, keep="none")
    tally = Statistics(Metric("f1", lambda out, batch: out.mean()))
    with pytest.raises(ValueError, match=r"f1 gave a tensor of shape \[\]; allowed: \[4, ...\]"):
        tally.add(torch.zeros(4), Batch({}, torch.zeros(4)))
