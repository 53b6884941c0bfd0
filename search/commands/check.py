"""``check TASK|CONFIG``: whether a task keeps the contract that searches rely on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fusion_search.analysis.records.secrets import printable
from fusion_search.search.commands.options import data_of
from fusion_search.search.declaration.configuration import build_search, load_configuration
from fusion_search.search.declaration.setting_names import check_columns, check_names
from fusion_search.search.tasks.base import Task
from fusion_search.search.tasks.named import find_task
from fusion_search.search.tasks.opened import open_task
from fusion_search.search.trials.fields import ConfigurationError, typed
from fusion_search.search.trials.inspection.contract import Contract
from fusion_search.search.trials.training import loading_trouble

BROKEN = 1


def check(arguments: argparse.Namespace) -> int:
    """A line for every clause; the exit code is 1 when one does not hold."""
    task, network, data, workers = _asked(arguments)
    opened = open_task(task, data)
    check_columns(task)
    if trouble := loading_trouble(workers, opened):
        raise ConfigurationError(f"training.{trouble}")
    contract = Contract(task, network, data, opened)
    broken = 0
    for clause in contract.clauses():
        mark = "ok" if clause.holds else "BROKEN"
        print(f"{clause.name:17} {mark:7} {printable(clause.words)}", flush=True)
        broken += not clause.holds
    if broken:
        print(f"{broken} clause{'' if broken == 1 else 's'} broken")
    return BROKEN if broken else 0


def _asked(arguments: argparse.Namespace) -> tuple[Task, Any, Any, int]:
    """The task, settings of its network and data, and the most loading workers of a trial.

    The settings are defaults, or a configuration's first.
    """
    name, folder = str(arguments.task), data_of(arguments)
    if name.endswith((".yaml", ".yml")):
        search = build_search(
            load_configuration(Path(name), arguments.set or (), ["check"]), folder
        )
        space = search.space or (search.sweep[0] if search.sweep else None)
        trial = space.any_trial() if space is not None else search.listed[0]
        return search.definition, trial.network, trial.data, search.loader_workers
    if arguments.set:
        raise ConfigurationError("--set changes a configuration; give check one instead of a task")
    task = find_task(name, folder)
    check_names(task)
    return task, typed(task.network, {}, "network."), typed(task.data, {}, "data."), 0
