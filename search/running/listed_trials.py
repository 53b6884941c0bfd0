"""Running trials that are listed beforehand: a sweep's, or a confirmation's."""

from __future__ import annotations

from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import FAILED, recorded_trials
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.records.claim import tell_doing
from fusion_search.search.records.planned import write_plan
from fusion_search.search.records.search_folder import read_records
from fusion_search.search.running.progress import ended_before, warn_of_damage
from fusion_search.search.running.run import (
    LOADING,
    MLFLOW_WAIT_SECONDS,
    Environment,
    connected,
    open_data,
    run,
    start_tracker,
    write_specification,
)
from fusion_search.search.running.summary import summary


def run_listed(
    search: SearchSpecification,
    storage: Storage,
    environment: Environment,
    *,
    begin: bool,
    failed_too: bool,
) -> int:
    """Run the trials that have no record yet. Returns the exit code.

    Raises:
        ValueError: data or resources cannot be had.
    """
    trials = search.planned_trials()
    done = set() if begin else recorded_trials(storage)
    records = None
    if not begin:
        records, _ = read_records(storage, {one.trial_id for one in trials}, warn_of_damage)
    if failed_too and records is not None:
        done -= set(records.loc[records["status"] == FAILED, "trial_id"])
    remaining = [trial for trial in trials if trial.trial_id not in done]
    if not begin:
        # Anew: a specification that was extended by hand grows the search.
        write_plan(storage, trials, len(trials))
        print(ended_before(len(trials) - len(remaining), len(trials)))
    if not remaining:
        recorded = () if records is None else records["trial_id"]
        tracker = start_tracker(search, storage, recorded, print)
        if tracker is not None:
            tracker.close(MLFLOW_WAIT_SECONDS)
        return summary(
            search, storage, len(trials), tracker.page if tracker else None, environment.options
        )
    tell_doing(storage, LOADING)
    opened = open_data(search, remaining[0], records)
    with connected(search, storage, environment):
        # Only now: a search that cannot start must not take the name.
        if begin:
            write_plan(storage, trials, len(trials))
            write_specification(search, storage, opened, remaining[0])
        tracker = run(
            search,
            storage,
            remaining,
            opened,
            environment,
            planned=len(trials),
            remaining=len(remaining),
            epochs=remaining[0].training.epochs,
        )
    return summary(
        search, storage, len(trials), tracker.page if tracker else None, environment.options
    )
