"""Searches as they lie in a storage folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from fusion_search.analysis.records.advice import command, read_options
from fusion_search.analysis.records.description import TASK_FILE
from fusion_search.analysis.records.filesystems.errors import RefusedError
from fusion_search.analysis.records.plain_data import read_content
from fusion_search.analysis.records.selection import (
    count_label,
    no_such_search,
    of_dropped_samples,
)
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    CONFIRMATION_SUFFIX,
    EXHAUSTED_FILE,
    FINISHED,
    SPECIFICATION_FILE,
    SPECIFICATION_REMEDY,
    OnDamage,
    earlier_version,
    read_table,
    recorded_trials,
)
from fusion_search.search.declaration.configuration import (
    FIELDS,
    build_outline,
    build_search,
    is_name,
    parse_yaml,
)
from fusion_search.search.declaration.specification import SearchOutline, SearchSpecification
from fusion_search.search.records.driver_file import (
    DEAD,
    DRIVER_FILE,
    RUNNING,
    doing_words,
    driver_words,
    hear_driver,
    standing,
)
from fusion_search.search.records.planned import Plan
from fusion_search.search.records.task_code import launched_elsewhere
from fusion_search.search.spaces.fold_rungs import Decision
from fusion_search.search.tasks.base import Task
from fusion_search.search.tasks.named import MissingTaskError
from fusion_search.search.trials.fields import ConfigurationError, known

ENDED, INTERRUPTED = "ended", "interrupted"  # states of a search that no process drives

_Built = TypeVar("_Built", bound=SearchOutline)


def load_search(
    name: str, location: str, data_folder: Path | None = None, task: Task | None = None
) -> SearchSpecification:
    """The specification of an existing search, stored where it was found. Asks its task.

    Args:
        name, location: of the search, and of the storage folder.
        data_folder: where the command line says that real data lie.
        task: its task; found by its name when None.

    Raises:
        ValueError: there is no such search; names those that are there.
    """
    return _load(name, location, lambda raw: build_search(raw, data_folder, task))


def load_outline(name: str, location: str) -> SearchOutline:
    """What can be said of an existing search without asking its task.

    Raises:
        ValueError: there is no such search; names those that are there.
    """
    return _load(name, location, build_outline)


def _load(name: str, location: str, build: Callable[[Mapping[str, Any]], _Built]) -> _Built:
    storage = open_storage(location).below(name)
    # A name that leads elsewhere, such as "../other", is no search's.
    if not is_name(name) or not _is_search(storage):
        if begun := beginning_words(name, location):
            raise ConfigurationError(begun)
        raise ConfigurationError(no_such_search(name, location, search_names(location)))
    where = storage.named(SPECIFICATION_FILE)
    _, raw = read_declared(storage)
    if "task" not in raw and not storage.is_there(TASK_FILE):
        raise ConfigurationError(earlier_version(where, 1))
    try:
        # It is called as its folder; of an earlier version, 25921e05 stands there as a number.
        found = {"name": name, "storage": location}
        return build({**known(FIELDS, raw, ""), **found})
    except ConfigurationError as error:
        missing = isinstance(error.__cause__, MissingTaskError)
        elsewhere = launched_elsewhere(storage) if missing else ""
        raise ConfigurationError(f"{where}: {error}{elsewhere}") from error


def read_declared(storage: Storage) -> tuple[bytes, Mapping[str, Any]]:
    """A search's specification as it was written, and what it says.

    Raises:
        ConfigurationError: it is missing or damaged.
    """
    where = storage.named(SPECIFICATION_FILE)
    try:
        content = read_content(storage, SPECIFICATION_FILE)
        declared = parse_yaml(content, where)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{where} is missing; put a copy back, or launch the search again"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{error}; {SPECIFICATION_REMEDY}") from error
    if not isinstance(declared, Mapping):
        raise ConfigurationError(
            f"{where} is damaged (it is not a mapping); {SPECIFICATION_REMEDY}"
        )
    return content, declared


def search_names(location: str) -> list[str]:
    """The searches in a storage folder, those that lost their specification too."""
    storage = open_storage(location)
    names = [name for name in storage.names() if is_name(name)]
    return [name for name in names if _is_search(storage.below(name))]


def beginnings(location: str) -> list[str]:
    """The searches whose driver has not written yet what it runs.

    It loads data, starts Ray or asks a cluster's nodes; or it died meanwhile.
    """
    storage = open_storage(location)
    names = [one for one in storage.names() if is_name(one) and storage.is_there(one, DRIVER_FILE)]
    return [name for name in names if not _is_search(storage.below(name))]


def beginning_driver(name: str, location: str) -> dict[str, Any] | None:
    """Who begins a search and has not written yet what it runs; None where nobody does."""
    if not is_name(name):
        return None
    storage = open_storage(location).below(name)
    driver = None if storage.is_there(SPECIFICATION_FILE) else hear_driver(storage)
    if driver is None or standing(driver) == RUNNING:
        return driver
    return None if _is_search(storage) else driver  # it lost its specification


def beginning_words(name: str, location: str) -> str:
    """On a search that its driver has not written yet, with the remedy; empty on all others."""
    driver = beginning_driver(name, location)
    if driver is None:
        return ""
    if standing(driver) == RUNNING:
        follow, stop = (command(one, name, storage=location) for one in ("attach", "stop"))
        return (
            f"search {name!r} is beginning, and has no trials yet: {doing_words(driver)}; wait, "
            f"follow it with `{follow}`, or stop it with `{stop}`"
        )
    gone = "is dead" if standing(driver) == DEAD else "is not heard any more"
    return (
        f"search {name!r} has not begun: {driver_words(driver)} {gone}, and has not written what "
        f"it runs; launch it again: {begin_command(name, location)}"
    )


def begin_command(name: str, location: str) -> str:
    """What begins a search that is not written yet: a confirmation is another search's."""
    confirmed = name.removesuffix(CONFIRMATION_SUFFIX)
    parent = open_storage(location).below(confirmed)
    if confirmed != name and parent.is_there(SPECIFICATION_FILE):
        return command("confirm", confirmed, *read_options(parent).words, storage=location)
    return command("launch", "CONFIG.yaml", storage=location)


def _is_search(storage: Storage) -> bool:
    if any(storage.is_there(mark) for mark in (SPECIFICATION_FILE, "trials")):
        return True
    try:
        storage.read(SPECIFICATION_FILE)  # of a link in a circle, pyarrow says that it is not there
    except RefusedError:
        return True
    except FileNotFoundError:
        return False
    return True


def search_state(driver: Mapping[str, Any] | None, planned: int, ended: int) -> str:
    """Running, silent (its driver was not heard for long), ended, or interrupted.

    ``driver`` is what ``read_driver`` gives.
    """
    if driver is not None:
        return standing(driver)
    return ENDED if planned and ended >= planned else INTERRUPTED


def planned_ids(storage: Storage, plan: Plan) -> set[str]:
    """Ids of the search's own trials: the planned ones; all recorded where the plan is missing."""
    if plan.count is None:
        return recorded_trials(storage)
    return {row["trial_id"] for row in plan.rows}


def read_records(
    storage: Storage, planned: Collection[str], on_damage: OnDamage | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of TRIALS of a search's own trials, and ids of the records that are of no such.

    Args:
        storage: the search's folder.
        planned: ids of its trials.
        on_damage: as of :func:`read_table`.
    """
    recorded = recorded_trials(storage)
    rows = read_table(storage, "trials", sorted(recorded & set(planned)), on_damage)
    return rows, sorted(recorded - set(planned))


def strays_sentence(storage: Storage, strays: Sequence[str]) -> str:
    """On records that lie in a search's folder and are of none of its trials."""
    names = ", ".join(f"{one}.parquet" for one in strays)
    return (
        f"{count_label(len(strays), 'record')} in {storage.named('trials')} "
        f"{'is' if len(strays) == 1 else 'are'} of no trial of this search: {names}"
    )


def dropped_samples(plan: Plan) -> list[Decision]:
    """The decisions by which fold rungs dropped samples."""
    return [one for one in plan.decisions if not one.kept]


def dropped_trials(plan: Plan) -> dict[str, int]:
    """Planned trials of samples that fold rungs dropped: id -> in how many folds they ran."""
    return of_dropped_samples(plan.rows, [(one.sample, one.folds) for one in dropped_samples(plan)])


def skipped_trials(plan: Plan, trials: pd.DataFrame, damaged: Collection[str] = ()) -> set[str]:
    """Planned trials that are never run: another of their sample failed or was stopped, or the
    sample was dropped between two folds.

    Args:
        plan: of the search.
        trials: its rows of TRIALS.
        damaged: ids of trials whose record cannot be read, which counts as failed.
    """
    samples = [(json.dumps(row.get("sample")), row["trial_id"]) for row in plan.rows]
    spoilt = {*trials.loc[trials["status"] != FINISHED, "trial_id"], *damaged}
    over = {sample for sample, trial_id in samples if sample != "null" and trial_id in spoilt}
    left_out = {trial_id for sample, trial_id in samples if sample in over}
    return left_out.union(dropped_trials(plan)) - {*trials["trial_id"], *damaged}


def planned_count(storage: Storage, plan: Plan) -> int:
    """How many trials a search will run.

    Of a space, as many as samples were declared or exist, unless the searcher found it exhausted.
    """
    if storage.exists(EXHAUSTED_FILE):
        return len(plan.rows)
    return plan.count or 0


def sample_count(search: SearchSpecification) -> int:
    """How many samples a search over a space proposes at most."""
    assert search.space is not None
    size = search.space.size()
    return search.searcher.samples if size is None else min(size, search.searcher.samples)
