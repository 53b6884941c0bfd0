"""``probe`` and ``draw noise``: single examples through a task, and through a trained network."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.description import TaskDescription, read_description
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import SCHEMA_VERSION, to_parquet
from fusion_search.datasets.conditions import ABSENT, ORIGINAL
from fusion_search.search.commands.figures.drawing_options import opened as open_records
from fusion_search.search.commands.figures.drawing_options import save, say
from fusion_search.search.commands.options import data_of, storage_of
from fusion_search.search.records.task_code import launched_elsewhere
from fusion_search.search.running.trained import recorded
from fusion_search.search.tasks.base import Condition, Task
from fusion_search.search.tasks.named import MissingTaskError, find_task
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.fields import ConfigurationError, typed
from fusion_search.search.trials.inspection.probe import Probed, probe, shown
from fusion_search.search.trials.plain import parse_train
from fusion_search.search.trials.specification import TrialSpecification


def probe_trial(options: argparse.Namespace) -> int:
    """``probe NAME``: what a trained network makes of test examples, into ``activations``."""
    from fusion_search.analysis.figures.timeline import choose_trial

    search = open_records(options)
    row = choose_trial(search, options.trial)
    try:
        task = find_task(str(row["task"]), data_of(options))
    except MissingTaskError as error:
        raise MissingTaskError(f"{error}{launched_elsewhere(search.storage)}") from error
    trial = recorded(search.storage, row, task)
    specification, opened, data = trial.specification, trial.opened, trial.data
    print(f"trial: {printable(row['trial_name'])} ({row['trial_id']})\ndata: {data.note}")
    for difference in trial.differences:
        say(difference)
    network = trial.network()
    conditions = _conditions(options.conditions, task, specification)
    numbers = _numbers(options.examples or [0], len(data.test))  # type: ignore[arg-type]
    found = probe(network, opened, data, numbers, conditions, seed=specification.seed)
    _write(search.storage, search.name, specification.trial_id, list(found))
    draw = command(
        *("draw", "timeline", search.name, "--trial", specification.trial_id),
        storage=storage_of(options),
    )
    print(f"{len(numbers)} examples at {len(conditions)} conditions; figures: {draw}")
    return 0


def noise(options: argparse.Namespace) -> int:
    """``draw noise``: a test example at every test SNR of every axis."""
    from fusion_search.analysis.figures.noise import compute_noise, draw_noise

    task = find_task(options.task, data_of(options))
    raw = dict(one.partition("=")[::2] for one in options.set or ())
    data_settings = typed(task.data, _parsed(raw), "data.")
    opened = OpenedTask(task, data_settings)
    data = opened.first
    print(f"data: {data.note}")
    (number,) = _numbers([options.example], len(data.test))  # type: ignore[arg-type]
    impaired = {}
    for axis in task.axes:
        snrs = sorted({ORIGINAL, *axis.test} - {ABSENT}, reverse=True)
        original = {one.name: ORIGINAL for one in task.axes}
        conditions = [{**original, axis.name: snr} for snr in snrs]
        met = [batch for _, batch in shown(opened, data, number, conditions, seed=0)]
        stream, _, part = axis.input.partition(".")
        arrays = [one.inputs[stream][part] if part else one.inputs[stream] for one in met]
        impaired[axis.name] = [
            (snr, np.asarray(one[0].double())) for snr, one in zip(snrs, arrays, strict=True)
        ]
    if not impaired:
        raise ConfigurationError(f"task {options.task} has no axis; there is no noise to draw")
    caption = f"Test example {number} of {options.task}. Data: {data.note}."
    figure = draw_noise(impaired, title="One example at every test SNR", caption=caption)
    of = re.sub(r"[^A-Za-z0-9_]+", "-", options.task).strip("-")
    name = f"noise-{of}-example{number}"
    save(options, figure, compute_noise(impaired), name)
    return 0


def _parsed(raw: dict[str, str]) -> dict[str, object]:
    from fusion_search.search.declaration.configuration import parse_yaml

    return {name: parse_yaml(value, f"--set {name}") for name, value in raw.items()}


def _conditions(
    given: Sequence[Sequence[str]] | None, task: Task, specification: TrialSpecification
) -> list[Condition]:
    """Those asked for; else no noise, the train condition, and every input alone at its worst."""
    names = [axis.name for axis in task.axes]
    if given:
        return [_condition(one, task) for one in given]
    original = dict.fromkeys(names, ORIGINAL)
    found: list[Condition] = [original]
    if all(isinstance(one, float) for one in specification.train.values()):
        found.append(dict(specification.train))
    for axis in task.axes:
        lowest = min(snr for snr in axis.test if snr != ABSENT)
        found.append({**original, axis.name: lowest})
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _condition(given: Sequence[str], task: Task) -> Condition:
    if len(given) != len(task.axes):
        axes = ", ".join(axis.name for axis in task.axes) or "none"
        raise ConfigurationError(f"--condition {' '.join(given)} needs an SNR per axis: {axes}")
    found = {}
    for axis, text in zip(task.axes, given, strict=True):
        try:
            snr = parse_train(text if text in ("original", "absent") else float(text))
            assert isinstance(snr, float)
            axis.check(snr)
        except ValueError as error:
            raise ConfigurationError(f"--condition: {error}") from error
        found[axis.name] = snr
    return found


def _numbers(wanted: Sequence[int], total: int) -> list[int]:
    for one in wanted:
        if not 0 <= one < total:
            raise ConfigurationError(
                f"test example {one} does not exist; there are 0 to {total - 1}"
            )
    return list(dict.fromkeys(wanted))


def _write(storage: Storage, search: str, trial_id: str, found: Sequence[Probed]) -> None:
    description = read_description(storage)
    rows = [
        {
            "schema_version": SCHEMA_VERSION,
            "search": search,
            "trial_id": trial_id,
            **_snrs(one, description),
            "number": one.number,
            "label": one.label,
            "target": one.target,
            "name": one.name,
            "shape": list(one.values.shape),
            "values": one.values.double().flatten().tolist(),
        }
        for one in found
    ]
    table = pa.Table.from_pylist(rows, schema=description.schema("activations"))
    storage.write(to_parquet(table), "activations", f"{trial_id}.parquet")


def _snrs(one: Probed, description: TaskDescription) -> dict[str, float]:
    found = {}
    for axis in description.axes:
        snr = one.condition[axis.name]
        found[axis.test_column] = snr if isinstance(snr, float) else math.nan
    return found
