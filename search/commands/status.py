"""``status``: what it prints of all searches, or of the trials of one."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Iterable
from typing import Any

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.description import read_description
from fusion_search.analysis.records.failures import failure_paths
from fusion_search.analysis.records.filesystems.errors import RefusedError, StorageError
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.secrets import printable, sentence
from fusion_search.analysis.records.selection import count_label, dropped_words
from fusion_search.analysis.records.selection.best import best_lines
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import (
    FAILED,
    FINISHED,
    PLANNED_FILE,
    STOPPED,
)
from fusion_search.analysis.records.words.durations import duration
from fusion_search.analysis.records.words.names import shared_parts, without_common
from fusion_search.search.commands.driving import silent_words
from fusion_search.search.commands.options import storage_of
from fusion_search.search.records.driver_file import (
    DEAD,
    RUNNING,
    SILENT,
    doing_words,
    read_driver,
    read_driver_file,
    standing,
)
from fusion_search.search.records.planned import read_plan
from fusion_search.search.records.search_folder import (
    beginning_driver,
    beginning_words,
    beginnings,
    dropped_samples,
    dropped_trials,
    load_outline,
    planned_count,
    planned_ids,
    read_records,
    search_names,
    search_state,
    skipped_trials,
    strays_sentence,
)
from fusion_search.search.running.progress import stopped_words
from fusion_search.search.running.summary import INCOMPLETE, best_so_far, left_words


def status(arguments: argparse.Namespace) -> int:
    """``status [NAME]``."""
    location = storage_of(arguments)
    open_storage(location)
    name = arguments.name
    return print_trials(name, location) if name else print_searches(location)


def print_searches(location: str) -> int:
    """Print all searches of a storage folder.

    What is wrong with one is said in its line, and by the exit code.
    """
    names, beginning = search_names(location), beginnings(location)
    if not names and not beginning:
        start = command("launch", "CONFIG.yaml", storage=location)
        print(f"no searches in {printable(location)}; start one with `{start}`")
        return 0
    heads = f"{'ended':>11} {'stopped':>7} {'failed':>6} {'best':>8} {'time':>9}"
    print(f"{'search':30} {'state':12} {heads}")
    damaged = False
    for name in (*names, *beginning):  # silent drivers are listened for side by side from here on
        with contextlib.suppress(ValueError, OSError):
            read_driver_file(open_storage(location).below(name))
    for name in sorted({*names, *beginning}):
        try:
            of = _beginning_line if name in beginning else _search_line
            line, damage, notes = of(name, location)
        except (ValueError, OSError) as error:
            if isinstance(error, StorageError) and not isinstance(error, RefusedError):
                raise  # so it would be for the others
            line, damage, notes = f"{name:30} {'damaged':12} {sentence(error)}", [], []
            damaged = True
        print(line)
        if damage:
            damaged = True
            more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
            print(f"{'':30} {printable(damage[0])}{more}")
        for note in notes:
            print(f"{'':30} {printable(note)}")
    print(
        "stopped: within a trial, by the scheduler; best: the sample's mean that it is chosen by, "
        "the first objective or the metric in validation, or how many kinds of data a sweep has, "
        "each with a best of its own, none of a confirmation, whose report compares; time: of all "
        "trials together"
    )
    return INCOMPLETE if damaged else 0


def _beginning_line(name: str, location: str) -> tuple[str, list[str], list[str]]:
    """As of :func:`_search_line`, of one that its driver has not written yet."""
    driver = beginning_driver(name, location)
    state = DEAD if driver is None else standing(driver)
    state = {DEAD: "not begun", RUNNING: "beginning"}.get(state, state)
    return f"{name:30} {state}", [], [beginning_words(name, location)]


def _search_line(name: str, location: str) -> tuple[str, list[str], list[str]]:
    """A search in a line, a sentence on each of its records that cannot be read, other notes."""
    search = load_outline(name, location)
    storage = open_storage(location).below(name)
    damaged: dict[str, str] = {}
    plan = read_plan(storage)
    trials, strays = read_records(storage, planned_ids(storage, plan), damaged.__setitem__)
    planned = planned_count(storage, plan) - len(skipped_trials(plan, trials, damaged))
    best = best_so_far(search, storage, plan, rows_of(trials))
    value = "-"
    if best is not None and best.trial_ids:
        kinds = len(best.kinds())
        value = f"{kinds} kinds" if kinds > 1 else best.objective.text(best.value)
    failed, stopped = (int((trials["status"] == one).sum()) for one in (FAILED, STOPPED))
    counted = f"{len(trials)} of {planned or '?'}"
    driver = read_driver(storage)
    state = search_state(driver, planned, len(trials) + len(damaged))
    line = (
        f"{name:30} {state:12} "
        f"{counted:>11} {stopped:7} {failed:6} {value:>8} "
        f"{duration(trials['seconds'].sum()):>9}"
    )
    dropped = dropped_words([one.folds for one in dropped_samples(plan)])
    notes = [
        silent_words(driver, name, location) if driver is not None and state == SILENT else "",
        dropped,
        strays_sentence(storage, strays) if strays else "",
        left_words(search, storage, state, best),
    ]
    return line, list(damaged.values()), [one for one in notes if one]


def print_trials(name: str, location: str) -> int:
    """Print all trials of one search; the exit code says whether all could be read."""
    if begun := beginning_words(name, location):
        print(printable(begun))
        return 0
    search = load_outline(name, location)
    storage = open_storage(location).below(name)
    damaged: dict[str, str] = {}
    description = read_description(storage)
    metric = description.metric
    plan = read_plan(storage)
    trials, strays = read_records(storage, planned_ids(storage, plan), damaged.__setitem__)
    records = {row["trial_id"]: row for row in rows_of(trials)}
    planned = plan.rows or [*records.values(), *_nameless(damaged)]
    skipped, dropped = skipped_trials(plan, trials, damaged), dropped_trials(plan)
    count = planned_count(storage, plan)
    driver = read_driver(storage)
    state = search_state(driver, count - len(skipped), len(records) + len(damaged))
    print(f"search {name}: {state}, {storage.location}")
    under_way: dict[str, Any] = {} if driver is None else driver["running"]
    if driver is not None:
        print(f"driven by {doing_words(driver)}")
        if state == SILENT:
            print(silent_words(driver, name, location))
    details = failure_paths(storage)
    names = [str(one["trial_name"]) for one in planned]
    common = shared_parts(names)
    short = [printable(without_common(one, common)) for one in names]
    width = max([26, *map(len, short)])
    splits = " and ".join(sorted(trials["split"].dropna().unique()))
    of = f", of the {splits} split" if splits else ""
    print(f"{metric.words}{of}: at the train condition, and over the grid")
    if common:
        told = (part for part in names[0].split(", ") if part in common)
        print(f"all trials: {printable(', '.join(told))}")
    heads = f"{'state':16} {'train':>8} {'grid':>8} {'time':>9}"
    print(f"{'trial_id':13} {'trial':{width}} {heads}")
    for one, name in zip(planned, short, strict=True):
        trial_id = one["trial_id"]
        start = f"{printable(trial_id):13} {name:{width}}"
        row = records.get(trial_id)
        running = under_way.get(trial_id)
        if row is not None:
            end = ""
            if row["status"] != FINISHED:
                stopped = row["status"] == STOPPED
                end = f" {printable(stopped_words(row, description) if stopped else row['reason'])}"
            trained, mean = (
                metric.text(_number(row[f"{over}_{metric.name}"]))
                for over in ("train_condition", "mean")
            )
            print(
                f"{start} {printable(row['status']):16} {trained:>8} {mean:>8} "
                f"{duration(row['seconds']):>9}{end}"
            )
            if row["status"] == FAILED and trial_id in details:
                print(f"  details: {details[trial_id]}")
        elif trial_id in damaged:
            print(f"{start} {'damaged':16} {damaged[trial_id]}")
        elif running is not None:
            epochs = f"{printable(running['epoch'])} of {printable(running.get('epochs', '?'))}"
            print(f"{start} {'running' if state == RUNNING else 'was running'}, epoch {epochs}")
        elif trial_id in dropped:
            folds = count_label(dropped[trial_id], "fold")
            print(f"{start} left out: its sample was dropped after {folds}")
        elif trial_id in skipped:
            print(f"{start} left out: another of its sample failed or stopped")
        else:
            print(f"{start} not run")
    if samples := dropped_samples(plan):
        print(f"fold rungs: {dropped_words([one.folds for one in samples])}")
    best = best_so_far(search, storage, plan, rows_of(trials))
    for line in best_lines(best, trials):
        print(line)
    if due := left_words(search, storage, state, best):
        print(due)
    if count > len(planned):
        more = count - len(planned)
        are = "is" if more == 1 else "are"
        name_of = search.searcher.name
        print(f"{count_label(more, 'trial')} {are} still to be proposed by {name_of}")
    if plan.count is None:
        print(f"{storage.named(PLANNED_FILE)} is missing; resume the search to write it again")
    if strays:
        print(printable(strays_sentence(storage, strays)))
    return INCOMPLETE if damaged else 0


def _nameless(trial_ids: Iterable[str]) -> list[dict[str, str]]:
    return [{"trial_id": one, "trial_name": ""} for one in trial_ids]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
