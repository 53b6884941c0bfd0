"""What ``python -m search`` does: launch, resume, status, sync-mlflow."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.storage import Storage, open_storage
from analysis.tables import FAILED, FINISHED, SPECIFICATION_FILE, read_table
from datasets.digits import DigitData, load_digits
from search import tracking
from search.configuration import (
    ConfigurationError,
    SearchSpecification,
    build_search,
    parse_yaml,
    to_yaml,
)
from search.progress import DRIVER_FILE, Progress, read_driver
from search.provenance import provenance
from search.records import Recorder, ended_trials, write_plan
from search.specification import TrialSpecification

MLFLOW_WAIT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the command line knows and a specification does not."""

    data_folder: Path | None
    address: str = "local"


def launch(search: SearchSpecification, environment: Environment) -> int:
    """Start a search. Returns the exit code.

    Raises:
        ValueError: the search exists already, or its data or resources cannot be had.
    """
    storage = open_storage(search.storage).below(search.name)
    if storage.exists(SPECIFICATION_FILE):
        raise ConfigurationError(
            f"search {search.name!r} exists in {search.storage}; go on with `python -m search "
            f"resume {search.name}{_storage_option(search.storage)}`, or choose another name with "
            "--set name=..."
        )
    trials = search.planned_trials()
    data = _load_data(trials, environment)
    with _connected(search, environment):
        # Only now: a search that cannot start must not take the name.
        storage.write(to_yaml(search).encode(), SPECIFICATION_FILE)
        write_plan(storage, trials)
        tracker = _run(search, storage, trials, trials, data)
    return _summary(search, storage, len(trials), tracker)


def resume(name: str, location: str, environment: Environment, *, failed_too: bool) -> int:
    """Run the trials of a search that have not ended (or failed, when asked).

    Raises:
        ValueError: there is no such search, it is being run, or the data have changed.
    """
    search = load_search(name, location)
    storage = open_storage(search.storage).below(name)
    driver = read_driver(storage)
    if driver is not None:
        raise ConfigurationError(
            f"search {name!r} is being run by process {driver['pid']} on {driver['host']}; wait, "
            f"stop it, or delete {storage.location}/{DRIVER_FILE} if that machine is gone"
        )
    trials = search.planned_trials()
    done = ended_trials(storage)
    records = read_table(storage, "trials")
    if failed_too:
        done -= set(records.loc[records["status"] == FAILED, "trial_id"])
    remaining = [trial for trial in trials if trial.trial_id not in done]
    print(f"{len(trials) - len(remaining)} of {len(trials)} trials have ended before")
    if not remaining:
        return _summary(search, storage, len(trials), None)
    data = _load_data(remaining, environment)
    known = set(records["data_fingerprint"]) - {data.fingerprint}
    if known:
        raise ConfigurationError(
            f"the data are not those this search began with (fingerprint {data.fingerprint}, the "
            f"records have {', '.join(sorted(known))}); give it the same files with --data"
        )
    with _connected(search, environment):
        # Anew: a specification that was extended by hand grows the search.
        write_plan(storage, trials)
        tracker = _run(search, storage, trials, remaining, data)
    return _summary(search, storage, len(trials), tracker)


def load_search(name: str, location: str) -> SearchSpecification:
    """The specification of an existing search, stored where it was found.

    Raises:
        ValueError: there is no such search; names those that are there.
    """
    storage = open_storage(location).below(name)
    try:
        text = storage.read(SPECIFICATION_FILE).decode()
    except FileNotFoundError as error:
        there = ", ".join(search_names(location)) or "none"
        raise ConfigurationError(
            f"there is no search {name!r} in {location}; searches there: {there}"
        ) from error
    raw = parse_yaml(text, f"{storage.location}/{SPECIFICATION_FILE}")
    return build_search({**raw, "storage": location})


def search_names(location: str) -> list[str]:
    """The searches in a storage folder."""
    storage = open_storage(location)
    return [name for name in storage.names() if storage.exists(name, SPECIFICATION_FILE)]


def status(location: str) -> int:
    """Print all searches of a storage folder."""
    names = search_names(location)
    if not names:
        print(f"no searches in {location}; start one with `python -m search launch CONFIG.yaml`")
        return 0
    print(f"{'search':30} {'state':12} {'ended':>11} {'failed':>6} {'best':>6} {'time':>9}")
    for name in names:
        search = load_search(name, location)
        storage = open_storage(location).below(name)
        trials = read_table(storage, "trials")
        planned = len(search.planned_trials())
        best = trials["mean_accuracy"].max() if len(trials) else math.nan
        failed = int((trials["status"] == FAILED).sum())
        print(
            f"{name:30} {_state(storage, planned, len(trials)):12} "
            f"{f'{len(trials)} of {planned}':>11} {failed:6} {_percent(best):>6} "
            f"{_duration(trials['seconds'].sum()):>9}"
        )
    print("best: accuracy in % over the grid; time: of all trials together")
    return 0


def status_of(name: str, location: str) -> int:
    """Print all trials of one search."""
    search = load_search(name, location)
    storage = open_storage(location).below(name)
    records = {row["trial_id"]: row for row in read_table(storage, "trials").to_dict("records")}
    planned = search.planned_trials()
    print(f"search {name}: {_state(storage, len(planned), len(records))}, {storage.location}")
    driver = read_driver(storage) or {"running": {}}
    print(f"{'trial_id':13} {'trial':26} {'state':16} {'train pair':>10} {'grid':>6} {'time':>9}")
    for trial in planned:
        start = f"{trial.trial_id:13} {trial.trial_name:26}"
        row = records.get(trial.trial_id)
        running = driver["running"].get(trial.trial_id)
        if row is not None:
            end = f" {row['reason']}" if row["status"] == FAILED else ""
            print(
                f"{start} {row['status']:16} {_percent(row['train_pair_accuracy']):>10} "
                f"{_percent(row['mean_accuracy']):>6} {_duration(row['seconds']):>9}{end}"
            )
        elif running is not None:
            print(f"{start} running, epoch {running['epoch']} of {trial.epochs}")
        else:
            print(f"{start} not run")
    return 0


def sync_mlflow(name: str, location: str) -> int:
    """Write a search's runs to MLflow from its records."""
    search = load_search(name, location)
    uri = tracking.tracking_uri(open_storage(location), search.mlflow.tracking_uri or None)
    if uri is None:
        raise ConfigurationError(tracking.TRACKING_OFF)
    counts = tracking.sync(open_storage(location).below(name), uri)
    print(f"{counts.written} trials written to MLflow, {counts.unchanged} were there already")
    _print_mlflow(uri, counts.page)
    return 0


def _load_data(trials: Sequence[TrialSpecification], environment: Environment) -> DigitData:
    # All trials share the fields that make the examples: they are not among the swept ones.
    data = load_digits(trials[0].data, environment.data_folder)
    print(f"data: {data.note} (fingerprint {data.fingerprint})")
    return data


def _connected(
    search: SearchSpecification, environment: Environment
) -> AbstractContextManager[None]:
    # Here, because importing Ray takes seconds that `status` should not wait for.
    from search.tuner import connect

    return connect(environment.address, search.resources)


def _run(
    search: SearchSpecification,
    storage: Storage,
    planned: Sequence[TrialSpecification],
    remaining: Sequence[TrialSpecification],
    data: DigitData,
) -> tracking.Tracker | None:
    from search.tuner import run_trials

    recorder = Recorder(storage, search.name, data.fingerprint, data.note, provenance())
    print(f"search {search.name}: {len(remaining)} trials to run, records in {storage.location}")
    before = read_table(storage, "trials")
    progress = Progress(
        storage,
        planned=len(planned),
        ended=len(planned) - len(remaining),
        epochs=remaining[0].epochs,
        best=_best(before[before["status"] == FINISHED]),
    )
    tracker = _tracker(search, storage, progress)
    try:
        run_trials(remaining, data, recorder, search.resources, progress, tracker)
    finally:
        if tracker is not None:
            tracker.close(MLFLOW_WAIT_SECONDS)
        progress.close()
    return tracker


def _tracker(
    search: SearchSpecification, storage: Storage, progress: Progress
) -> tracking.Tracker | None:
    if not search.mlflow.enabled:
        return None
    parent = open_storage(search.storage)
    uri = tracking.tracking_uri(parent, search.mlflow.tracking_uri or None)
    if uri is None:
        progress.say(tracking.TRACKING_OFF)
        return None
    return tracking.Tracker(storage, uri, progress.say)


def _summary(
    search: SearchSpecification,
    storage: Storage,
    planned: int,
    tracker: tracking.Tracker | None,
) -> int:
    """Print what there is and how to look at it; 130 when trials are left, as after Ctrl-C."""
    trials = read_table(storage, "trials")
    finished = trials[trials["status"] == FINISHED]
    failed, left = int((trials["status"] == FAILED).sum()), planned - len(trials)
    print(f"\n{len(finished)} of {planned} trials finished, {failed} failed, {left} not run")
    if len(finished):
        best = finished.sort_values("mean_accuracy").iloc[-1]
        print(
            f"best over the grid: {best['trial_name']} with {_percent(best['mean_accuracy'])} % "
            f"({_percent(best['train_pair_accuracy'])} % at its train pair)"
        )
    for device in sorted(set(finished["device"])):
        print(f"device: {device}")
    for note in sorted(set(trials["data_note"])):
        print(f"data: {note}")
    option = _storage_option(search.storage)
    name = shlex.quote(search.name)
    print(f"records: {storage.location}")
    uri = tracking.tracking_uri(open_storage(search.storage), search.mlflow.tracking_uri or None)
    if uri is not None and search.mlflow.enabled:
        _print_mlflow(uri, tracker.page if tracker else None)
    print(f"figures: python -m analysis grids {name}{option}")
    if left:
        print(f"interrupted; go on with: python -m search resume {name}{option}")
        return 130
    return 0


def _best(finished: pd.DataFrame) -> tuple[float, str] | None:
    """Accuracy over the grid and name of the best trial."""
    if finished.empty:
        return None
    row = finished.sort_values("mean_accuracy").iloc[-1]
    return float(row["mean_accuracy"]), str(row["trial_name"])


def _print_mlflow(uri: str, page: str | None) -> None:
    command = tracking.ui_command(uri)
    if command:
        print(f"MLflow: {command}")
    if page:
        print(f"{'        then open' if command else 'MLflow:'} {page}")


def _state(storage: Storage, planned: int, ended: int) -> str:
    if read_driver(storage) is not None:
        return "running"
    return "ended" if ended >= planned else "interrupted"


def _storage_option(location: str) -> str:
    return "" if location == "results" else f" --storage {shlex.quote(location)}"


def _percent(share: float | None) -> str:
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}h {minutes % 60:02}m" if minutes >= 60 else f"{minutes}m {rest:02}s"
