"""What ``python -m search`` does: launch, resume, sync-mlflow."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.storage import Storage, open_storage
from analysis.tables import FAILED, FINISHED, SPECIFICATION_FILE, read_table
from datasets.digits import DigitData, load_digits
from search import tracking
from search.configuration import ConfigurationError, SearchSpecification, to_yaml
from search.progress import DRIVER_FILE, Progress, read_driver
from search.provenance import provenance
from search.records import Recorder, ended_trials, write_plan
from search.specification import TrialSpecification
from search.status import percent
from search.stored import load_search

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
        tracker = _tracker(search, storage, print)
        if tracker is not None:
            tracker.close(MLFLOW_WAIT_SECONDS)
        return _summary(search, storage, len(trials), tracker)
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


def sync_mlflow(name: str, location: str, uri: str | None) -> int:
    """Write a search's runs from its records to MLflow: to ``uri``, else where it logs."""
    search = load_search(name, location)
    uri = uri or tracking.tracking_uri(open_storage(location), search.mlflow.tracking_uri or None)
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
    tracker = _tracker(search, storage, progress.say)
    try:
        run_trials(remaining, data, recorder, search.resources, progress, tracker)
    finally:
        if tracker is not None:
            tracker.close(MLFLOW_WAIT_SECONDS)
        progress.close()
    return tracker


def _tracker(
    search: SearchSpecification, storage: Storage, say: Callable[[str], None]
) -> tracking.Tracker | None:
    """MLflow's thread, which first writes what an earlier, killed driver may not have written."""
    if not search.mlflow.enabled:
        return None
    parent = open_storage(search.storage)
    uri = tracking.tracking_uri(parent, search.mlflow.tracking_uri or None)
    if uri is None:
        say(tracking.TRACKING_OFF)
        return None
    tracker = tracking.Tracker(storage, uri, say)
    for trial_id in sorted(ended_trials(storage)):
        tracker.trial_ended(trial_id)
    return tracker


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
            f"best over the grid: {best['trial_name']} with {percent(best['mean_accuracy'])} % "
            f"({percent(best['train_pair_accuracy'])} % at its train pair)"
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
    figures = {"grids" if one == "both" else "unimodal" for one in finished["modality"]}
    for command in sorted(figures):
        print(f"figures: python -m analysis {command} {name}{option}")
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


def _storage_option(location: str) -> str:
    return "" if location == "results" else f" --storage {shlex.quote(location)}"
