"""``status``: what it prints of all searches, or of the trials of one."""

from __future__ import annotations

import argparse
import math

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.failures import failure_paths
from fusion_search.analysis.records.secrets import printable, sentence
from fusion_search.analysis.records.storage import RefusedError, StorageError, open_storage
from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED
from fusion_search.search.commands.options import storage_of
from fusion_search.search.records.driver_file import read_driver
from fusion_search.search.records.search_folder import (
    known_trials,
    load_search,
    planned_count,
    read_records,
    search_names,
    search_state,
    skipped_trials,
    strays_sentence,
)
from fusion_search.search.running.summary import INCOMPLETE, percent


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
    names = search_names(location)
    if not names:
        start = command("launch", "CONFIG.yaml", storage=location)
        print(f"no searches in {printable(location)}; start one with `{start}`")
        return 0
    heads = f"{'ended':>11} {'stopped':>7} {'failed':>6} {'best':>6} {'time':>9}"
    print(f"{'search':30} {'state':12} {heads}")
    damaged = False
    for name in names:
        try:
            line, damage, others = _search_line(name, location)
        except (ValueError, OSError) as error:
            if isinstance(error, StorageError) and not isinstance(error, RefusedError):
                raise  # so it would be for the others
            line, damage, others = f"{name:30} {'damaged':12} {sentence(error)}", [], ""
            damaged = True
        print(line)
        if damage:
            damaged = True
            more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
            print(f"{'':30} {printable(damage[0])}{more}")
        if others:
            print(f"{'':30} {printable(others)}")
    print(
        "stopped: early, by the scheduler; best: accuracy in % over the grid; time: of all trials "
        "together"
    )
    return INCOMPLETE if damaged else 0


def _search_line(name: str, location: str) -> tuple[str, list[str], str]:
    """A search in a line, a sentence on each of its records that cannot be read, one on others'."""
    search = load_search(name, location)
    storage = open_storage(location).below(name)
    damaged: dict[str, str] = {}
    own = {trial.trial_id for trial in known_trials(search, storage)}
    trials, strays = read_records(storage, own, damaged.__setitem__)
    planned = planned_count(search, storage) - len(skipped_trials(storage, trials, damaged))
    best = trials["mean_accuracy"].max() if len(trials) else math.nan
    failed, stopped = (int((trials["status"] == one).sum()) for one in (FAILED, STOPPED))
    line = (
        f"{name:30} {search_state(storage, planned, len(trials) + len(damaged)):12} "
        f"{f'{len(trials)} of {planned}':>11} {stopped:7} {failed:6} {percent(best):>6} "
        f"{_duration(trials['seconds'].sum()):>9}"
    )
    return line, list(damaged.values()), strays_sentence(storage, strays) if strays else ""


def print_trials(name: str, location: str) -> int:
    """Print all trials of one search; the exit code says whether all could be read."""
    search = load_search(name, location)
    storage = open_storage(location).below(name)
    damaged: dict[str, str] = {}
    planned = known_trials(search, storage)
    own = {trial.trial_id for trial in planned}
    trials, strays = read_records(storage, own, damaged.__setitem__)
    records = {row["trial_id"]: row for row in trials.to_dict("records")}
    skipped = skipped_trials(storage, trials, damaged)
    count = planned_count(search, storage)
    state = search_state(storage, count - len(skipped), len(records) + len(damaged))
    print(f"search {name}: {state}, {storage.location}")
    driver = read_driver(storage) or {"running": {}}
    details = failure_paths(storage)
    print(f"{'trial_id':13} {'trial':26} {'state':16} {'train pair':>10} {'grid':>6} {'time':>9}")
    for trial in planned:
        start = f"{trial.trial_id:13} {trial.trial_name:26}"
        row = records.get(trial.trial_id)
        running = driver["running"].get(trial.trial_id)
        if row is not None:
            end = f" {printable(row['reason'])}" if row["status"] != FINISHED else ""
            print(
                f"{start} {printable(row['status']):16} {percent(row['train_pair_accuracy']):>10} "
                f"{percent(row['mean_accuracy']):>6} {_duration(row['seconds']):>9}{end}"
            )
            if row["status"] == FAILED and trial.trial_id in details:
                print(f"  details: {details[trial.trial_id]}")
        elif trial.trial_id in damaged:
            print(f"{start} {'damaged':16} {damaged[trial.trial_id]}")
        elif running is not None:
            print(f"{start} running, epoch {printable(running['epoch'])} of {trial.epochs}")
        elif trial.trial_id in skipped:
            print(f"{start} left out: another of its sample failed or stopped")
        else:
            print(f"{start} not run")
    if count > len(planned):
        print(f"{count - len(planned)} trials are still to be proposed by {search.searcher.name}")
    if strays:
        print(printable(strays_sentence(storage, strays)))
    return INCOMPLETE if damaged else 0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}h {minutes % 60:02}m" if minutes >= 60 else f"{minutes}m {rest:02}s"
