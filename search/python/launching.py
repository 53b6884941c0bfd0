"""A search launched from Python: from a script, or from a notebook."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fusion_search.analysis.records.advice import RunOptions, command
from fusion_search.analysis.records.storage import open_storage
from fusion_search.datasets.conditions import Range
from fusion_search.search.commands import launching
from fusion_search.search.commands.launch import ray_address
from fusion_search.search.declaration.configuration import (
    build_search,
    load_configuration,
    set_field,
)
from fusion_search.search.dispatch.dispatcher import RayDispatcher
from fusion_search.search.python.places import GivenTask, folder_of, name_of, task_of
from fusion_search.search.python.tables import trials
from fusion_search.search.python.trained_trial import TrainedTrial, load_trial
from fusion_search.search.records.search_folder import load_outline
from fusion_search.search.running.run import Environment
from fusion_search.search.tasks.base import Task
from fusion_search.search.tasks.current_folder import make_importable
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.plain import plain_number, plain_train

_ELSEWHERE = ("http://", "https://", "ray://")


@dataclass(frozen=True)
class LaunchedSearch:
    """A search that was run.

    Attributes:
        folder: of its records, ``results/NAME``, for ``trials``, ``load_trial`` and ``resume``.
        exit_code: as of the command: 0 where no trial failed, 3 where some did, 1 where all.
    """

    folder: str
    exit_code: int
    _task: Task = field(repr=False)

    @property
    def trials(self) -> pd.DataFrame:
        """A row per trial, as ``fusion_search.trials(folder)`` gives it."""
        return trials(self.folder)

    @property
    def best(self) -> TrainedTrial:
        """The best trial with its network, as ``fusion_search.load_trial(folder)`` gives it."""
        return load_trial(self.folder, task=self._task, data_folder=self._task.data_folder)


def launch(
    configuration: Mapping[str, Any] | str | Path | None = None,
    *,
    set: Mapping[str, Any] | None = None,
    task: str | Task | type[Task] | None = None,
    data_folder: str | Path | None = None,
    address: str | None = None,
    leave_out: str | Sequence[str] = (),
    **fields: Any,
) -> LaunchedSearch:
    """Run a search, here or on a Ray cluster, as ``fusion-search launch`` does.

    It prints what the command prints, and returns when all trials ended. Interrupted, it raises
    KeyboardInterrupt, and ``resume`` goes on. A notebook may run it in a cell.

    Args:
        configuration: a file, or what it would hold as a mapping.
        set: single fields in place of the configuration's, ``{"training.epochs": 2}``.
        task: its name, a class, or an object; of a class or object that no import finds, such as a
            notebook's, the search is known as that of task ``__main__:Class``.
        data_folder: of the real data (``FUSION_SEARCH_DATA``, else the cache folder).
        address: of Ray, as the command's ``--address``, but none that runs it on the head node
            (ray://, http://), which only the command does.
        leave_out: nodes of that cluster that run no trial, by their hosts or addresses.
        fields: whole fields in place of the configuration's: ``name="quick", seeds=[0, 1]``.

    Raises:
        ValueError: the configuration is off, which names the field and the allowed values; the
            search exists; or its data or resources cannot be had.
    """
    environment = _environment(data_folder, address, leave_out)
    raw = _declared(configuration, fields, set or {})
    given = raw.pop("task", None) if task is None else task
    if given is None:
        raise ConfigurationError('task is missing; say what is fused, such as task="digits"')
    name = given if isinstance(given, str) else name_of(given)
    found = task_of(given, name, data_folder)
    search = build_search({**raw, "task": name}, environment.data_folder, found)
    code = launching.launch(search, environment)
    return LaunchedSearch(open_storage(search.storage).named(search.name), code, found)


def resume(
    search: str | Path,
    *,
    task: GivenTask = None,
    data_folder: str | Path | None = None,
    address: str | None = None,
    leave_out: str | Sequence[str] = (),
    failed: bool = False,
) -> LaunchedSearch:
    """Go on with a search, as ``fusion-search resume`` does.

    Args:
        search: its folder, ``results/NAME``, or a URI.
        task: where it is known here alone, as one of a notebook is; else found by its name.
        data_folder, address, leave_out: as of ``launch``.
        failed: run again what failed, too.

    Raises:
        ValueError: there is no such search, it is being run, or the data have changed.
    """
    environment = _environment(data_folder, address, leave_out)
    parent, name = folder_of(search)
    found = task_of(task, load_outline(name, parent.location).task, data_folder)
    code = launching.resume(name, parent.location, environment, failed_too=failed, task=found)
    return LaunchedSearch(parent.named(name), code, found)


def _environment(
    data_folder: str | Path | None, address: str | None, leave_out: str | Sequence[str]
) -> Environment:
    where = ray_address(address)
    if where.startswith(_ELSEWHERE):
        raise ConfigurationError(
            f"address is {where!r}, where the head node is to run the search; do that with "
            f"`{command('launch')}`, or give HOST:PORT or auto on a machine of the cluster"
        )
    make_importable(Path.cwd())
    cluster = None if where == "local" else where  # as the environment may have said
    left_out = (leave_out,) if isinstance(leave_out, str) else tuple(leave_out)
    return Environment(
        data_folder=None if data_folder is None else Path(data_folder),
        dispatcher=RayDispatcher(where, left_out),
        options=RunOptions(str(data_folder or ""), cluster or "", left_out),
    )


def _declared(
    configuration: Mapping[str, Any] | str | Path | None,
    fields: Mapping[str, Any],
    changes: Mapping[str, Any],
) -> dict[str, Any]:
    """A configuration with what is given in place of its own, as YAML has it."""
    if configuration is None or isinstance(configuration, Mapping):
        raw: dict[str, Any] = _plain(configuration or {}, "")
    elif isinstance(configuration, str | Path):
        raw = load_configuration(Path(configuration))
    else:
        raise ConfigurationError(
            f"configuration is a {type(configuration).__name__}; allowed: a mapping or a path"
        )
    raw |= _plain(fields, "")
    for path, value in changes.items():
        set_field(raw, path, _plain(value, path), f"set {path!r}")
    return raw


def _plain(value: Any, where: str) -> Any:
    """As YAML would hold it: a copy, of plain values alone.

    Raises:
        ConfigurationError: it holds something else; names where.
    """
    if isinstance(value, Mapping):
        return {
            str(name): _plain(one, f"{where}.{name}" if where else str(name))
            for name, one in value.items()
        }
    if isinstance(value, list | tuple | range):
        return [_plain(one, f"{where}.{number}") for number, one in enumerate(value)]
    if isinstance(value, np.generic):
        return _plain(value.item(), where)
    if isinstance(value, Range):
        return plain_train(value)
    if isinstance(value, float):
        return plain_number(value)  # ORIGINAL and ABSENT
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | str) or _is_task(value, where):
        return value
    raise ConfigurationError(
        f"{where} is a {type(value).__name__}; allowed: numbers, texts, truth values, None, and "
        "lists and mappings of these"
    )


def _is_task(value: Any, where: str) -> bool:
    return where == "task" and (isinstance(value, Task) or inspect.isclass(value))
