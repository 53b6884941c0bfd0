"""Running a search's trials: data, Ray, MLflow, progress, and what is printed at the end."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.storage import Storage, StorageError, open_storage
from analysis.tables import FAILED, FINISHED, STOPPED, read_table
from datasets.digits import DigitData, load_digits
from search import tracking
from search.declaration import SearchSpecification
from search.execution import SearchStoppedError
from search.fields import ConfigurationError
from search.packing import packing_sentence
from search.progress import Progress
from search.proposals import Proposals
from search.provenance import provenance
from search.records import Recorder, ended_trials, read_plan
from search.specification import TrialSpecification
from search.status import percent
from search.unfinished import forget_ended

MLFLOW_WAIT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the command line knows and a specification does not."""

    data_folder: Path | None
    address: str = "local"


def load_data(
    trial: TrialSpecification, environment: Environment, records: pd.DataFrame
) -> DigitData:
    """The examples of a search: all its trials share the fields that make them.

    Raises:
        ValueError: they are missing, or are not those that the search's ``records`` come from.
    """
    data = load_digits(trial.data, environment.data_folder)
    print(f"data: {data.note} (fingerprint {data.fingerprint})")
    known = set(records["data_fingerprint"]) - {data.fingerprint}
    if known:
        raise ConfigurationError(
            f"the data are not those this search began with (fingerprint {data.fingerprint}, the "
            f"records have {', '.join(sorted(known))}); give it the same files with --data"
        )
    return data


def listen_here_alone() -> None:
    """Let Ray listen on this machine alone; to be called before it is imported.

    Else a Ray that is started here listens on every network interface, and only its token keeps
    others out. This is Ray's own switch for laptops.
    """
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def connected(
    search: SearchSpecification, environment: Environment
) -> AbstractContextManager[None]:
    """Ray, for as long as the block runs."""
    if environment.address == "local":
        listen_here_alone()
    # Here, because importing Ray takes seconds that `status` should not wait for.
    from search.ray_cluster import connect

    return connect(environment.address, search.resources)


def run(
    search: SearchSpecification,
    storage: Storage,
    trials: Sequence[TrialSpecification] | Proposals,
    data: DigitData,
    *,
    planned: int,
    remaining: int,
    epochs: int,
) -> tracking.Tracker | None:
    """Run trials, or what a searcher proposes, on the connected Ray.

    Args:
        search, storage: the search and its folder.
        trials: those to run.
        data: their examples.
        planned, remaining: how many trials there are in all and still to run, for the console.
        epochs: of each.
    """
    from search.tuner import run_trials

    objectives = search.objectives if search.space is not None else ()
    recorder = Recorder(storage, search.name, data.fingerprint, data.note, provenance(), objectives)
    print(f"search {search.name}: {remaining} trials to run, records in {storage.location}")
    if search.resources.packed_trials > 1 and not isinstance(trials, Proposals):
        resources = search.resources
        print(packing_sentence(trials, resources.packed_trials, resources.gpus_per_trial))
    before = read_table(storage, "trials")
    progress = Progress(
        storage,
        planned=planned,
        ended=planned - remaining,
        epochs=epochs,
        best=_best(before[before["status"] == FINISHED]),
    )
    tracker = start_tracker(search, storage, progress.say)
    try:
        run_trials(trials, data, recorder, search, progress, tracker)
    except (SearchStoppedError, StorageError) as error:
        raise SearchStoppedError(
            f"{error}; when that is repaired, go on with: {resume_command(search)}"
        ) from error
    finally:
        if tracker is not None:
            tracker.close(MLFLOW_WAIT_SECONDS)
        forget_ended(storage.patient(0))
        progress.close()
    return tracker


def start_tracker(
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


def summary(
    search: SearchSpecification,
    storage: Storage,
    planned: int,
    tracker: tracking.Tracker | None,
) -> int:
    """Print what there is and how to look at it; 130 when trials are left, as after Ctrl-C."""
    trials = read_table(storage, "trials")
    trials = trials[trials["trial_id"].isin([row["trial_id"] for row in read_plan(storage)])]
    finished = trials[trials["status"] == FINISHED]
    counts = {status: int((trials["status"] == status).sum()) for status in (FAILED, STOPPED)}
    left = planned - len(trials)
    stopped = f"{counts[STOPPED]} stopped early, " if counts[STOPPED] else ""
    print(
        f"\n{len(finished)} of {planned} trials finished, {stopped}{counts[FAILED]} failed, "
        f"{left} not run"
    )
    if len(finished):
        best = finished.sort_values("mean_accuracy").iloc[-1]
        print(
            f"best over the grid: {best['trial_name']} with {percent(best['mean_accuracy'])} % "
            f"({percent(best['train_pair_accuracy'])} % at its train pair)"
        )
    for device in sorted(set(finished["device"])):
        print(f"device: {device}")
    for engine in sorted(set(finished["engine"].dropna())):
        print(f"C-LSTM gates: {engine}")
    for note in sorted(set(trials["data_note"])):
        print(f"data: {note}")
    print(f"records: {storage.location}")
    uri = tracking.tracking_uri(open_storage(search.storage), search.mlflow.tracking_uri or None)
    if uri is not None and search.mlflow.enabled:
        print_mlflow(uri, tracker.page if tracker else None)
    option = storage_option(search.storage)
    name = shlex.quote(search.name)
    for command in _figures(search, finished):
        print(f"figures: python -m analysis {command} {name}{option}")
    if left:
        print(f"interrupted; go on with: {resume_command(search)}")
        return 130
    return 0


def _figures(search: SearchSpecification, finished: pd.DataFrame) -> list[str]:
    if search.space is not None:
        return ["report"]
    return sorted({"grids" if one == "both" else "unimodal" for one in finished["modality"]})


def _best(finished: pd.DataFrame) -> tuple[float, str] | None:
    """Accuracy over the grid and name of the best trial."""
    if finished.empty:
        return None
    row = finished.sort_values("mean_accuracy").iloc[-1]
    return float(row["mean_accuracy"]), str(row["trial_name"])


def print_mlflow(uri: str, page: str | None) -> None:
    """Say how to look at the runs."""
    command = tracking.ui_command(uri)
    if command:
        print(f"MLflow: {command}")
    if page:
        print(f"{'        then open' if command else 'MLflow:'} {page}")


def resume_command(search: SearchSpecification) -> str:
    """What runs the trials of a search that have not ended."""
    return f"python -m search resume {shlex.quote(search.name)}{storage_option(search.storage)}"


def storage_option(location: str) -> str:
    """The option that a command needs to find this storage."""
    return "" if location == "results" else f" --storage {shlex.quote(location)}"
