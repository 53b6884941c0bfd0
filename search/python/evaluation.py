"""A trained network's metrics, with intervals, at every condition on examples it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fusion_search.datasets.errors import count_label
from fusion_search.datasets.loading import Presentation, load
from fusion_search.datasets.metrics import Metric
from fusion_search.search.python.intervals import Units, intervals
from fusion_search.search.running.trained import Recorded
from fusion_search.search.tasks.base import Condition
from fusion_search.search.tasks.evaluation import example_losses
from fusion_search.search.tasks.run import Run
from fusion_search.search.trials.fields import ConfigurationError


def evaluated(
    trial: Recorded,
    network: nn.Module,
    dataset: Dataset[Any],
    *,
    groups: Sequence[Any] | None,
    resamples: int,
    device: torch.device,
) -> pd.DataFrame:
    """See ``TrainedTrial.evaluate``."""
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise ConfigurationError(
            f"the examples came as {type(dataset).__name__}; give a map-style data set, or a file"
        )
    count = len(dataset)
    if not count:
        raise ConfigurationError("the data set has no example; give one that has some")
    _check_streams(trial, dataset)
    units = _units(count, groups, resamples, trial.specification.seed)
    task = trial.opened.task
    loss = Metric("loss", lambda outputs, batch: example_losses(task, outputs, batch))
    metrics = (loss, *task.metrics)
    found = _statistics(trial, network, dataset, metrics, device)
    pairs = [
        pair for _, own in found for pair in zip(metrics, own, strict=True)
    ]  # all together, for one drawing
    answers = iter(intervals(pairs, units))
    rows = []
    for condition, _ in found:
        row: dict[str, Any] = {f"test_{name}": snr for name, snr in condition.items()}
        row["n"] = count
        for metric in metrics:
            value, low, high = next(answers)
            row |= {metric.name: value, f"{metric.name}_low": low, f"{metric.name}_high": high}
        rows.append(row)
    table = pd.DataFrame(rows)
    of = "examples" if groups is None else "groups"
    table.attrs["intervals"] = f"95 % over {units.count:,} {of}"
    return table


def _check_streams(trial: Recorded, dataset: Dataset[Any]) -> None:
    given = next(load(dataset, [[Presentation(0, 0)]], seed=0))[0].inputs
    if not given:  # of digits they are made later
        return
    missing = [name for name in trial.data.inputs if name not in given]
    if missing:
        raise ConfigurationError(
            f"the examples have no {', '.join(missing)}; task {trial.specification.task} takes "
            f"{', '.join(trial.data.inputs)}, and they have {', '.join(given)}"
        )
    for name, own in trial.data.inputs.items():
        if _parts(own) != _parts(given[name]):
            raise ConfigurationError(
                f"{name} of the examples is {_parts(given[name])}; task "
                f"{trial.specification.task} takes {_parts(own)}"
            )


def _parts(one: Any) -> str:
    if isinstance(one, Mapping):
        return f"a dictionary of {', '.join(sorted(one))}"
    return f"a {type(one).__name__}"


def _units(count: int, groups: Sequence[Any] | None, resamples: int, seed: int) -> Units:
    if resamples < 1:
        raise ConfigurationError(f"resamples is {resamples}; allowed: 1 or more")
    if groups is None:
        return Units(torch.arange(count), count, resamples, seed)
    if len(groups) != count:
        raise ConfigurationError(
            f"groups are of {count_label(len(groups), 'example')}, not of {count}"
        )
    names, of = np.unique(np.asarray(groups), return_inverse=True)
    return Units(torch.from_numpy(of.astype(np.int64)), len(names), resamples, seed)


def _statistics(
    trial: Recorded,
    network: nn.Module,
    dataset: Dataset[Any],
    metrics: Sequence[Metric],
    device: torch.device,
) -> list[tuple[Condition, list[Tensor]]]:
    """At each condition every metric's statistics, [n, ...] in the order of the examples."""
    specification, task = trial.specification, trial.opened.task
    judged = replace(specification.evaluation, absent=True)
    own = replace(specification, evaluation=judged).for_task(task)
    run = Run(task, device, specification.training.precision)
    found: list[tuple[Condition, list[Tensor]]] = []
    for conditions in (own.test_conditions(), *own.absent_conditions()):
        parts: dict[Any, list[tuple[Tensor, ...]]] = {_key(one): [] for one in conditions}
        with torch.inference_mode():
            answers = task.answers(
                network,
                dataset,
                list(range(len(dataset))),  # type: ignore[arg-type]
                conditions,
                run,
                seed=specification.seed,
                size=specification.training.batch_size,
            )
            for condition, outputs, batch, numbers in answers:
                statistics = (metric.of(outputs, batch).cpu() for metric in metrics)
                parts[_key(condition)].append((numbers.cpu(), *statistics))
        for condition in conditions:
            numbers, *joined = (torch.cat(one) for one in zip(*parts[_key(condition)], strict=True))
            found.append((condition, [one[numbers.argsort()] for one in joined]))
    return found


def _key(condition: Condition) -> frozenset[tuple[str, Any]]:
    return frozenset(condition.items())
