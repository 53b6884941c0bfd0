"""Records of made-up trials of any task, finished, with as many conditions as its axes have."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from descriptions import write_description
from synthetic_records import ABSENT, BEGIN, train_text, write_rows

from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import FINISHED, SCHEMA_VERSION

Value = Callable[..., float]


def conditions(description: TaskDescription) -> list[tuple[float, ...]]:
    """The grid, then those in which one input is absent."""
    tests = [axis.test for axis in description.axes]
    found = [*itertools.product(*tests)]
    for number, axis in enumerate(description.axes):
        if axis.absent:
            found += itertools.product(*tests[:number], (ABSENT,), *tests[number + 1 :])
    return found


def write_any(
    search: Storage,
    description: TaskDescription,
    value: Value,
    *,
    train: tuple[float, ...] = (),
    seed: int = 0,
    fold: int = 0,
    streams: tuple[str, ...] = (),
    placement: Mapping[str, Mapping[str, str]] | None = None,
    settings: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """One trial whose first metric is ``value`` of the test condition; the others are 0.5.

    ``settings`` are what the search varies.
    """
    write_description(search, description)
    told = [f"{one}{value}" for one, value in (settings or {}).items()]
    name = "-".join(map(str, ("t", *train, seed, fold, *streams, *(placement or {}), *told)))
    groups = {"network": settings or {}, "data": {}, "training": {"epochs": 1}, "evaluation": {}}
    trial_id = "".join(one if one.isalnum() else "_" for one in name)
    key = {"schema_version": SCHEMA_VERSION, "search": "made-up", "trial_id": trial_id}
    first = description.metric.name
    names = [axis.name for axis in description.axes]
    row = {
        **key,
        **{"trial_name": trial_id, "status": FINISHED, "task": description.task},
        **{"streams": list(streams), "placement": json.dumps(placement or {}), "end": ""},
        "train": train_text(**dict(zip(names, train, strict=True))),
        **dict(zip(description.train_columns, train, strict=True)),
        **{"fold": fold, "seed": seed, "split": "test", "device": "cpu"},
        **{"started_at": BEGIN, "ended_at": BEGIN + timedelta(minutes=1), "seconds": 60.0},
        **{"data_note": "made up", "data_fingerprint": "0"},
        **{f"{what}_{first}": 0.5 for what in ("validation", "mean")},
        "specification": json.dumps({**groups, "varied": [*(settings or {})]}),
        **(extra or {}),
    }
    write_rows(search, "trials", trial_id, [row], description.schema("trials"))
    rows = []
    for condition in conditions(description):
        found = {one.name: 0.5 for one in description.metrics} | {first: value(*condition)}
        sums = {
            f"{one.name}_sum": 10 * found[one.name] for one in description.metrics if one.is_mean
        }
        tested = dict(zip(description.test_columns, condition, strict=True))
        rows.append({**key, **tested, "n": 10, "loss": 1.0, **found, **sums})
    write_rows(search, "grid", trial_id, rows, description.schema("grid"))
