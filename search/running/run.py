"""Running a search's trials: data, records, MLflow, progress. Who runs them is handed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Protocol

import pandas as pd

from fusion_search.analysis.records.advice import RunOptions, confirmed_search
from fusion_search.analysis.records.description import TASK_FILE, read_description
from fusion_search.analysis.records.failures import remove_outlived_failures
from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    FAILED,
    SPECIFICATION_FILE,
    read_rows,
    recorded_trials,
)
from fusion_search.search.declaration.configuration import to_yaml
from fusion_search.search.declaration.specification import Resources, SearchSpecification
from fusion_search.search.records.claim import held_lease, tell_doing
from fusion_search.search.records.identity import kept_identity
from fusion_search.search.records.lease import LeaseLostError
from fusion_search.search.records.planned import read_plan
from fusion_search.search.records.provenance import provenance
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.records.saved_states import forget_all, forget_ended
from fusion_search.search.records.search_folder import planned_ids, read_records
from fusion_search.search.records.task_code import read_task_code, task_code, write_task_code
from fusion_search.search.running.interrupts import interrupted_by
from fusion_search.search.running.progress import Progress, common_parts
from fusion_search.search.running.recorded_trial import SearchStoppedError
from fusion_search.search.running.samples.proposals import Proposals
from fusion_search.search.running.summary import best_so_far, go_on_command
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.tracking.addresses import TRACKING_OFF, tracking_uri
from fusion_search.search.tracking.tracker import Tracker
from fusion_search.search.trials.describe import describe
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.packing import packing_sentence
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.training import loading_trouble

MLFLOW_WAIT_SECONDS = 60.0
LOADING = "loading the data"  # what a driver does first


class Dispatcher(Protocol):
    """Where trials are run."""

    def connected(self, resources: Resources) -> AbstractContextManager[None]:
        """Machines that can run trials, for as long as the block runs.

        Raises:
            ValueError: there are none, or they lack what a trial needs.
        """

    def run_trials(
        self,
        trials: Sequence[TrialSpecification] | Proposals,
        opened: OpenedTask,
        recorder: Recorder,
        search: SearchSpecification,
        progress: Progress,
        tracker: Tracker | None,
        resume: str,
    ) -> None:
        """Run trials, or what a searcher proposes; returns when all ended or on Ctrl-C.

        ``resume`` is the command that goes on with the search.

        Raises:
            SearchStoppedError: a machine cannot run its trials, or records cannot be written.
        """


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the command line knows and a specification does not.

    Attributes:
        data_folder: of the real files.
        dispatcher: where trials are run.
        options: where data and machines are, for what we advise.
        changed_code: go on though the code of the task has changed.
    """

    data_folder: Path | None
    dispatcher: Dispatcher
    options: RunOptions = field(default_factory=RunOptions)
    changed_code: bool = False


def open_data(
    search: SearchSpecification, trial: TrialSpecification, records: pd.DataFrame | None
) -> OpenedTask:
    """The task of a search with the data of one of its trials.

    ``records`` are the search's, None when it begins.

    Raises:
        ValueError: they are missing, or are not those that the search's ``records`` come from.
    """
    opened = OpenedTask(search.definition, trial.data, trial.fold)
    data = opened.first
    if trouble := loading_trouble(search.loader_workers, data):
        raise ConfigurationError(f"training.{trouble}")
    print(search.data_words(f"{data.note} (fingerprint {data.fingerprint or 'none'})"))
    if records is None:
        return opened
    # Other data settings and folds are checked where their trials run.
    own = {one.name for one in fields(trial.data)}
    same = (records[name] == value for name, value in trial.columns().items() if name in own)
    of_these = records[reduce(and_, same, records["fold"] == trial.fold)]
    known = set(of_these["data_fingerprint"].dropna()) - {data.fingerprint}
    if known:
        raise ConfigurationError(
            f"the data are not those this search began with (fingerprint {data.fingerprint}, the "
            f"records have {', '.join(sorted(known))}); put its files back as they were, name "
            "their folder with --data if they lie elsewhere, or launch a search of another name"
        )
    return opened


def connected(
    search: SearchSpecification, storage: Storage, environment: Environment
) -> AbstractContextManager[None]:
    """Machines that can run a search's trials, for as long as the block runs."""
    address = environment.options.address
    tell_doing(storage, f"connecting to Ray at {address}" if address else "starting Ray")
    return environment.dispatcher.connected(search.resources)


def write_specification(
    search: SearchSpecification, storage: Storage, opened: OpenedTask, trial: TrialSpecification
) -> None:
    """What a search is, for its resume, and what its task is, for readers of its records."""
    layout = search.definition.layout(trial.network, lambda: opened.first)
    description = describe(search.task, search.definition, opened.first, layout.streams)
    kept_identity(storage)
    storage.write(description.to_json().encode(), TASK_FILE)
    storage.write(to_yaml(search).encode(), SPECIFICATION_FILE)


def run(
    search: SearchSpecification,
    storage: Storage,
    trials: Sequence[TrialSpecification] | Proposals,
    opened: OpenedTask,
    environment: Environment,
    *,
    planned: int,
    remaining: int,
    epochs: int,
) -> Tracker | None:
    """Run trials, or what a searcher proposes, on machines that are connected.

    Args:
        search, storage: the search and its folder.
        trials: those to run.
        opened: their task with its data.
        environment: its dispatcher runs them.
        planned, remaining: how many trials there are in all and still to run, for the console.
        epochs: of each.
    """
    objectives = search.objectives if search.space is not None else ()
    code = task_code(search.task)
    launched_with = read_task_code(storage)
    if launched_with is not None and launched_with.fingerprint != code.fingerprint:
        forget_all(storage)  # no trial is of two codes
    write_task_code(storage, code)
    environment.options.write(storage)
    recorder = Recorder(
        storage,
        search.name,
        read_description(storage),
        provenance(code.fingerprint),
        objectives,
        search.resources.cpus_per_trial,
    )
    count = count_label(remaining, "trial")
    print(f"search {search.name}: {count} to run, records in {storage.location}")
    if search.resources.packed_trials > 1 and not isinstance(trials, Proposals):
        resources = search.resources
        print(packing_sentence(trials, resources.packed_trials, resources.gpus_per_trial))
    plan = read_plan(storage)
    before, _ = read_records(storage, planned_ids(storage, plan), lambda *_: None)  # said by then
    progress = Progress(
        storage,
        planned=planned,
        ended=planned - remaining,
        epochs=epochs,
        best=best_so_far(search, storage, plan, rows_of(before)),
        description=recorder.description,
        common=common_parts(search),
        lease=held_lease(storage),
    )
    resume = go_on_command("resume", search, environment.options)
    tracker = start_tracker(search, storage, before["trial_id"], progress.say)
    if tracker is not None:
        progress.page = lambda: tracker.page
    with _ended_in_order(storage, tracker, progress, resume, before):
        environment.dispatcher.run_trials(
            trials, opened, recorder, search, progress, tracker, resume
        )
    storage.assure()
    return tracker


@contextmanager
def _ended_in_order(
    storage: Storage,
    tracker: Tracker | None,
    progress: Progress,
    resume: str,
    before: pd.DataFrame,
) -> Iterator[None]:
    """Close what a run holds when the block ends; what ended it is what is told.

    Nothing here waits for storage: what ended the block may have waited for it already. ``before``
    are the records that were there when it began.
    """
    try:
        yield
    except (SearchStoppedError, StorageError) as error:
        with suppress(KeyboardInterrupt):
            _close(storage.patient(0), tracker, progress, before)
        stopped = f"{error}; when that is repaired, go on with: {resume}"
        raise SearchStoppedError(stopped) from error
    except BaseException:
        _close(storage.patient(0), tracker, progress, before)
        raise
    if by := interrupted_by():
        progress.say(f"interrupted by {by}")
    _close(storage.patient(0), tracker, progress, before)


def _close(
    storage: Storage, tracker: Tracker | None, progress: Progress, before: pd.DataFrame
) -> None:
    """Raises ``LeaseLostError``: then there is nothing to repair, for another drives the search."""
    try:
        away = ""
        try:
            storage.assure()
            storage.exists(SPECIFICATION_FILE)
            _tell_unheard(storage, progress, before)
        except LeaseLostError:
            raise
        except StorageError as error:
            away = str(error)
        finally:
            if tracker is not None:
                if not away:
                    progress.does("writing what is left to MLflow")
                tracker.close(0 if away else MLFLOW_WAIT_SECONDS, away)
        if not away:
            forget_ended(storage)
            remove_outlived_failures(storage)
    finally:  # also when interrupted again meanwhile
        progress.close()


def _tell_unheard(storage: Storage, progress: Progress, before: pd.DataFrame) -> None:
    """Tell of trials that a worker recorded when the driver, as it ended, listened no longer."""
    over = set(before.loc[before["status"] != FAILED, "trial_id"])  # none of them is run again
    failed = dict(zip(before["trial_id"], before["started_at"], strict=True))
    with suppress(ValueError):  # a damaged plan, of which the summary tells
        own = recorded_trials(storage) & planned_ids(storage, read_plan(storage))
        rows = read_rows(storage, "trials", sorted(own - over - progress.told), lambda *_: None)
        for row in sorted(rows, key=lambda one: one["ended_at"]):
            if row["started_at"] != failed.get(row["trial_id"]):
                progress.ended(row)


def start_tracker(
    search: SearchSpecification,
    storage: Storage,
    ended: Iterable[str],
    say: Callable[[str], None],
) -> Tracker | None:
    """MLflow's thread, which first writes what an earlier, killed driver may not have written.

    Args:
        search, storage: the search and its folder.
        ended: ids of the trials that have a record.
        say: takes what there is to be said of MLflow.
    """
    if not search.mlflow.enabled:
        return None
    parent = open_storage(search.storage)
    uri = tracking_uri(parent, search.mlflow.tracking_uri or None)
    if uri is None:
        say(TRACKING_OFF)
        return None
    kept_identity(storage)  # a damaged one is no trouble of MLflow's
    confirmed = confirmed_search(search.name, search.storage)
    return Tracker(storage, uri, say, ended=sorted(ended), confirmed=confirmed)
