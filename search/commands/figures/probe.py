"""``probe`` and ``draw noise``: single examples through a task, and through a trained network."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.description import TaskDescription, read_description
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import SCHEMA_VERSION, to_parquet
from fusion_search.analysis.rgbd.variants import TASK as RGBD
from fusion_search.analysis.rgbd.variants import gate_of
from fusion_search.datasets.batch import SPLITS, Data
from fusion_search.datasets.conditions import ABSENT, ORIGINAL
from fusion_search.search.commands.figures.drawing_options import chosen_trial, save, say
from fusion_search.search.commands.figures.drawing_options import opened as open_records
from fusion_search.search.commands.options import data_of, storage_of
from fusion_search.search.records.task_code import launched_elsewhere
from fusion_search.search.running.trained import recorded
from fusion_search.search.tasks.base import Condition, Task
from fusion_search.search.tasks.named import MissingTaskError, find_task
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.fields import ConfigurationError, typed
from fusion_search.search.trials.inspection.probe import (
    Example,
    Probed,
    of_every_class,
    probe,
    shown,
)
from fusion_search.search.trials.plain import parse_train
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.training import draw_examples

MOST_VALUES: Final = 20_000_000
"""Of all arrays that a probe keeps, which then take 160 MB."""

ALL: Final = "all"
"""For every split."""


def probe_trial(options: argparse.Namespace) -> int:
    """``probe NAME``: what a trained network makes of examples, into ``activations``."""
    from fusion_search.analysis.figures.timeline import is_probed

    search = open_records(options)
    row = chosen_trial(search, options.trial)
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
    conditions = _conditions(options, task, specification)
    examples = _examples(options, data, specification)
    found = probe(network, opened, data, examples, conditions, seed=specification.seed)
    kept = _kept(found, options.arrays or [])
    if is_probed(search, specification.trial_id):
        say("what was probed of this network before is replaced")
    _write(search.storage, search.name, specification.trial_id, kept)
    names = dict.fromkeys(one.name for one in kept)
    print(f"arrays: {', '.join(map(printable, names))}")
    named = (search.name, "--trial", specification.trial_id)
    figures = _figures(kept, gate=row["task"] == RGBD and _has_gate(row))
    first, *others = (
        command(
            "draw", one, *((search.name,) if one == RGBD else named), storage=storage_of(options)
        )
        for one in figures
    )
    counts = [
        count_label(len(examples), "example"),
        count_label(len(conditions), "condition"),
    ]
    print(f"{' at '.join(counts)}; figures: {first}")
    for one in others:
        print(f"likewise: {one}")
    return 0


def _figures(kept: Sequence[Probed], *, gate: bool) -> list[str]:
    """What can be drawn of a probe, the most telling first: of stills no timeline."""
    from fusion_search.analysis.figures.arrays import is_sequence
    from fusion_search.analysis.figures.probed.changes import is_over_time
    from fusion_search.analysis.figures.probed.clusters import can_cluster
    from fusion_search.analysis.figures.probed.embedding import is_embedded
    from fusion_search.analysis.figures.probed.maps import is_map

    arrays = [(one.name, np.asarray(one.values)) for one in kept]
    labels = np.array(list({one.example: one.label for one in kept}.values()))
    over_time = any(is_sequence(values) for _, values in arrays)
    found = {
        "timeline": over_time,
        RGBD: gate,
        "embedding": can_cluster(labels) and any(is_embedded(*one) for one in arrays),
        "changes": any(is_over_time(*one) for one in arrays),
        "maps": any(is_map(*one) for one in arrays),
    }
    return [name for name, there in found.items() if there] or ["timeline"]


def _has_gate(row: pd.Series) -> bool:
    """Whether ``draw rgbd`` shows what the gate of an RGB-D trial does."""
    return gate_of({str(name): value for name, value in row.items()}) is not None


def _examples(
    options: argparse.Namespace, data: Data, trial: TrialSpecification
) -> tuple[Example, ...]:
    """Those asked for by number, or of every class, or that the trial was tested on."""
    ways = [options.examples, options.per_class, options.tested]
    if sum(one is not None for one in ways) > 1:
        raise ConfigurationError(
            "--example, --per-class and --tested each say which examples; give one"
        )
    if options.tested is not None:
        return _tested(options.tested, data, trial)
    wanted = options.splits or ["test"]
    # What the network was not trained on comes first.
    splits = [one for one in reversed(SPLITS) if one in wanted or ALL in wanted]
    if options.per_class is None:
        numbers = options.examples or [0]
        return tuple(Example(one, at) for one in splits for at in _numbers(numbers, data, one))
    if not data.classes:
        raise ConfigurationError("the data have no classes; name examples by --example")
    return of_every_class(data, splits, options.per_class, seed=trial.seed)


def _tested(count: int, data: Data, trial: TrialSpecification) -> tuple[Example, ...]:
    """The first of the examples that a trial was tested on."""
    split = trial.evaluation.split
    total, drawn = len(data.split(split)), trial.evaluation.test_examples  # type: ignore[arg-type]
    numbers = draw_examples(total, drawn, seed=trial.seed, split=split)
    if count > len(numbers):
        raise ConfigurationError(
            f"--tested is {count}; allowed: 1 to {len(numbers)}, the examples that the trial was "
            "tested on"
        )
    return tuple(Example(split, number) for number in numbers[:count].tolist())


def _kept(found: Iterable[Probed], wanted: Sequence[str]) -> list[Probed]:
    """The arrays that are wanted by the beginning of their names; all where none is.

    Raises:
        ConfigurationError: none is called so, or they are too many.
    """
    kept: list[Probed] = []
    names: dict[str, None] = {}
    total = 0
    for one in found:
        names.setdefault(one.name)
        if wanted and not any(one.name.startswith(name) for name in wanted):
            continue
        kept.append(one)
        total += one.values.numel()
        if total > MOST_VALUES:
            seen = len({each.example for each in kept})
            raise ConfigurationError(
                f"{count_label(seen, 'example')} already {'has' if seen == 1 else 'have'} more "
                f"than {MOST_VALUES:,} values, which is the most that a probe keeps; choose fewer "
                "examples, or some arrays by --array: "
                f"{', '.join(names)}"
            )
    for name in wanted:
        if not any(one.startswith(name) for one in names):
            raise ConfigurationError(
                f"no array begins with {name!r}; there are {', '.join(names)}; another network is "
                "chosen by --trial"
            )
    return kept


def noise(options: argparse.Namespace) -> int:
    """``draw noise``: a test example at every test SNR of every axis."""
    from fusion_search.analysis.figures.noise import compute_noise, draw_noise

    task = find_task(options.task, data_of(options))
    raw = dict(one.partition("=")[::2] for one in options.set or ())
    data_settings = typed(task.data, _parsed(raw), "data.")
    opened = OpenedTask(task, data_settings)
    data = opened.first
    print(f"data: {data.note}")
    (number,) = _numbers([options.example], data, "test")
    impaired = {}
    for axis in task.axes:
        snrs = sorted({ORIGINAL, *axis.test} - {ABSENT}, reverse=True)
        original = {one.name: ORIGINAL for one in task.axes}
        conditions = [{**original, axis.name: snr} for snr in snrs]
        met = [batch for _, batch in shown(opened, data.test, number, conditions, seed=0)]
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
    options: argparse.Namespace, task: Task, specification: TrialSpecification
) -> list[Condition]:
    """Those asked for; else no noise, the train condition, and every input alone at its worst.

    Examples of every class are shown without noise alone.
    """
    if options.conditions:
        return [_condition(one, task) for one in options.conditions]
    original = dict.fromkeys([axis.name for axis in task.axes], ORIGINAL)
    found: list[Condition] = [original]
    if options.per_class is not None:
        return found
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


def _numbers(wanted: Sequence[int], data: Data, split: str) -> list[int]:
    total = len(data.split(split))  # type: ignore[arg-type]
    for one in wanted:
        if not 0 <= one < total:
            raise ConfigurationError(
                f"{split} example {one} does not exist; there are 0 to {total - 1}"
            )
    return list(dict.fromkeys(wanted))


def _write(storage: Storage, search: str, trial_id: str, found: Sequence[Probed]) -> None:
    description = read_description(storage)
    schema = description.schema("activations")
    columns: dict[str, Any] = {
        "schema_version": [SCHEMA_VERSION] * len(found),
        "search": [search] * len(found),
        "trial_id": [trial_id] * len(found),
        "split": [one.example.split for one in found],
        "number": [one.example.number for one in found],
        "group": [one.group for one in found],
        "label": [one.label for one in found],
        "target": [one.target for one in found],
        "name": [one.name for one in found],
        "shape": [list(one.values.shape) for one in found],
    }
    snrs = [_snrs(one, description) for one in found]
    columns |= {name: [one[name] for one in snrs] for name in description.test_columns}
    # Not by way of Python's own numbers, of which there are millions.
    flat = [np.asarray(one.values.double()).ravel() for one in found]
    ends = np.cumsum([0, *map(len, flat)], dtype=np.int32)
    values = pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate(flat)))
    arrays = [
        values if field.name == "values" else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    table = pa.Table.from_arrays(arrays, schema=schema)
    storage.write(to_parquet(table), "activations", f"{trial_id}.parquet")


def _snrs(one: Probed, description: TaskDescription) -> dict[str, float]:
    found = {}
    for axis in description.axes:
        snr = one.condition[axis.name]
        found[axis.test_column] = snr if isinstance(snr, float) else math.nan
    return found
