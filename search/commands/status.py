"""``status``: what it prints of all searches, or of the trials of one."""

from __future__ import annotations

import argparse
import math

from fusion_search.analysis.records.advice import command
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import FAILED, FINISHED, STOPPED, read_table
from fusion_search.search.commands.options import storage_of
from fusion_search.search.records.driver_file import read_driver
from fusion_search.search.records.search_folder import (
    known_trials,
    load_search,
    planned_count,
    search_names,
    search_state,
)
from fusion_search.search.running.summary import percent


def status(arguments: argparse.Namespace) -> int:
    """``status [NAME]``."""
    location = storage_of(arguments)
    open_storage(location)
    name = arguments.name
    return print_trials(name, location) if name else print_searches(location)


def print_searches(location: str) -> int:
    """Print all searches of a storage folder."""
    names = search_names(location)
    if not names:
        start = command("launch", "CONFIG.yaml", storage=location)
        print(f"no searches in {location}; start one with `{start}`")
        return 0
    heads = f"{'ended':>11} {'stopped':>7} {'failed':>6} {'best':>6} {'time':>9}"
    print(f"{'search':30} {'state':12} {heads}")
    for name in names:
        search = load_search(name, location)
        storage = open_storage(location).below(name)
        trials = read_table(storage, "trials")
        planned = planned_count(search, storage)
        best = trials["mean_accuracy"].max() if len(trials) else math.nan
        failed, stopped = (int((trials["status"] == one).sum()) for one in (FAILED, STOPPED))
        print(
            f"{name:30} {search_state(storage, planned, len(trials)):12} "
            f"{f'{len(trials)} of {planned}':>11} {stopped:7} {failed:6} {percent(best):>6} "
            f"{_duration(trials['seconds'].sum()):>9}"
        )
    print(
        "stopped: early, by the scheduler; best: accuracy in % over the grid; time: of all trials "
        "together"
    )
    return 0


def print_trials(name: str, location: str) -> int:
    """Print all trials of one search."""
    search = load_search(name, location)
    storage = open_storage(location).below(name)
    records = {row["trial_id"]: row for row in read_table(storage, "trials").to_dict("records")}
    planned = known_trials(search, storage)
    count = planned_count(search, storage)
    print(f"search {name}: {search_state(storage, count, len(records))}, {storage.location}")
    driver = read_driver(storage) or {"running": {}}
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
        elif running is not None:
            print(f"{start} running, epoch {printable(running['epoch'])} of {trial.epochs}")
        else:
            print(f"{start} not run")
    if count > len(planned):
        print(f"{count - len(planned)} trials are still to be proposed by {search.searcher.name}")
    return 0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}h {minutes % 60:02}m" if minutes >= 60 else f"{minutes}m {rest:02}s"
