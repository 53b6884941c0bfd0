"""``check TASK|CONFIG``: whether a task keeps the contract that searches rely on."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

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
    asked = _asked(arguments)
    with _as_in_a_trial(asked.threads):
        opened = open_task(asked.task, asked.data)
        check_columns(asked.task)
        if trouble := loading_trouble(asked.workers, opened):
            raise ConfigurationError(f"training.{trouble}")
        return _said(Contract(asked.task, asked.network, asked.data, opened))


def _said(contract: Contract) -> int:
    broken = 0
    for clause in contract.clauses():
        mark = "ok" if clause.holds else "BROKEN"
        print(f"{clause.name:17} {mark:7} {printable(clause.words)}", flush=True)
        broken += not clause.holds
    if broken:
        print(f"{broken} clause{'' if broken == 1 else 's'} broken")
    return BROKEN if broken else 0


@contextlib.contextmanager
def _as_in_a_trial(threads: int) -> Iterator[None]:
    """Compute on so many threads: the networks are small, and more would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Asked:
    """What is tried: settings are defaults, or a configuration's first.

    Attributes:
        task: whose data are to be opened.
        network, data: settings.
        workers: the most that load examples of a trial.
        threads: of a trial.
    """

    task: Task
    network: Any
    data: Any
    workers: int = 0
    threads: int = 1


def _asked(arguments: argparse.Namespace) -> _Asked:
    name, folder = str(arguments.task), data_of(arguments)
    if name.endswith((".yaml", ".yml")):
        search = build_search(
            load_configuration(Path(name), arguments.set or (), ["check"]), folder
        )
        space = search.space or (search.sweep[0] if search.sweep else None)
        trial = space.any_trial() if space is not None else search.listed[0]
        threads = max(1, int(search.resources.cpus_per_trial))
        return _Asked(search.definition, trial.network, trial.data, search.loader_workers, threads)
    if arguments.set:
        raise ConfigurationError("--set changes a configuration; give check one instead of a task")
    task = find_task(name, folder)
    check_names(task)
    return _Asked(task, typed(task.network, {}, "network."), typed(task.data, {}, "data."))
