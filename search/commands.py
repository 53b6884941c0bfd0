"""What ``python -m search`` does: launch, resume, confirm, sync-mlflow."""

from __future__ import annotations

from dataclasses import replace

from analysis.confirmation import (
    compute_confirmation,
    confirmation_sentence,
    read_candidates,
)
from analysis.storage import Storage, open_storage
from analysis.tables import CONFIRMATION_SUFFIX, FAILED, FINISHED, SPECIFICATION_FILE, read_table
from search import tracking
from search.configuration import to_yaml
from search.confirmation import (
    choose_candidates,
    confirmation_search,
    write_candidates,
)
from search.declaration import Confirmation, SearchSpecification
from search.fields import ConfigurationError
from search.progress import DRIVER_FILE, read_driver
from search.records import ended_trials, write_plan
from search.running import (
    MLFLOW_WAIT_SECONDS,
    Environment,
    connected,
    load_data,
    print_mlflow,
    resume_command,
    run,
    start_tracker,
    storage_option,
    summary,
)
from search.space_search import run_space
from search.stored import load_search


def launch(search: SearchSpecification, environment: Environment) -> int:
    """Start a search. Returns the exit code.

    Raises:
        ValueError: the search exists already, or its data or resources cannot be had.
    """
    storage = open_storage(search.storage).below(search.name)
    if storage.exists(SPECIFICATION_FILE):
        raise ConfigurationError(
            f"search {search.name!r} exists in {search.storage}; go on with `python -m search "
            f"resume {search.name}{storage_option(search.storage)}`, or choose another name with "
            "--set name=..."
        )
    return _go_on(search, storage, environment, begin=True, failed_too=False)


def resume(name: str, location: str, environment: Environment, *, failed_too: bool) -> int:
    """Run the trials of a search that have not ended (or failed, when asked).

    Raises:
        ValueError: there is no such search, it is being run, or the data have changed.
    """
    search = load_search(name, location)
    storage = open_storage(search.storage).below(name)
    _check_idle(name, storage)
    return _go_on(search, storage, environment, begin=False, failed_too=failed_too)


def confirm(
    name: str, location: str, environment: Environment, *, top: int | None, seeds: int | None
) -> int:
    """Train the best of a search again with fresh seeds, and say what came out.

    Raises:
        ValueError: there is no such search, it has no space, or nothing in it finished.
    """
    search = load_search(name, location)
    if search.space is None:
        raise ConfigurationError(
            f"search {name!r} is a sweep; a confirmation belongs to a search over a space"
        )
    declared = search.confirmation
    settings = Confirmation(
        top=top or declared.top or 3, seeds=seeds or declared.seeds, trials=declared.trials
    )
    changed = top is not None or seeds is not None
    return _confirm(replace(search, confirmation=settings), environment, anew=changed)


def _check_idle(name: str, storage: Storage) -> None:
    """Raise when another process drives the search."""
    driver = read_driver(storage)
    if driver is not None:
        raise ConfigurationError(
            f"search {name!r} is being run by process {driver['pid']} on {driver['host']}; wait, "
            f"stop it, or delete {storage.named(DRIVER_FILE)} if that machine is gone"
        )


def _go_on(
    search: SearchSpecification,
    storage: Storage,
    environment: Environment,
    *,
    begin: bool,
    failed_too: bool,
) -> int:
    storage = storage.patient(search.resources.storage_wait_seconds)
    try:
        if search.space is None:
            return _run_listed(search, storage, environment, begin=begin, failed_too=failed_too)
        code = run_space(search, storage, environment, begin=begin, failed_too=failed_too)
        if code == 0 and search.confirmation.top:
            return _confirm(search, environment)
    except KeyboardInterrupt as interrupt:  # a second one, while the end of the search is told
        if not storage.exists(SPECIFICATION_FILE):
            raise
        raise KeyboardInterrupt(f"go on with: {resume_command(search)}") from interrupt
    return code


def _run_listed(
    search: SearchSpecification,
    storage: Storage,
    environment: Environment,
    *,
    begin: bool,
    failed_too: bool,
) -> int:
    trials = search.planned_trials()
    done = set() if begin else ended_trials(storage)
    records = read_table(storage, "trials")
    if failed_too:
        done -= set(records.loc[records["status"] == FAILED, "trial_id"])
    remaining = [trial for trial in trials if trial.trial_id not in done]
    if not begin:
        # Anew: a specification that was extended by hand grows the search.
        write_plan(storage, trials)
        print(f"{len(trials) - len(remaining)} of {len(trials)} trials have ended before")
    if not remaining:
        tracker = start_tracker(search, storage, print)
        if tracker is not None:
            tracker.close(MLFLOW_WAIT_SECONDS)
        return summary(search, storage, len(trials), tracker)
    data = load_data(remaining[0], environment, records)
    with connected(search, environment):
        # Only now: a search that cannot start must not take the name.
        if begin:
            storage.write(to_yaml(search).encode(), SPECIFICATION_FILE)
            write_plan(storage, trials)
        tracker = run(
            search,
            storage,
            remaining,
            data,
            planned=len(trials),
            remaining=len(remaining),
            epochs=remaining[0].epochs,
        )
    return summary(search, storage, len(trials), tracker)


def _confirm(search: SearchSpecification, environment: Environment, *, anew: bool = False) -> int:
    """Run what is left of a search's confirmation, and print its sentence.

    ``anew`` chooses again what is confirmed; trials that have a record are not repeated.
    """
    storage = open_storage(search.storage).below(search.name + CONFIRMATION_SUFFIX)
    _check_idle(search.name + CONFIRMATION_SUFFIX, storage)
    begin = not storage.exists(SPECIFICATION_FILE)
    storage = storage.patient(search.resources.storage_wait_seconds)
    if begin or anew:
        candidates = choose_candidates(search, open_storage(search.storage).below(search.name))
        confirming = confirmation_search(search, candidates)
        print(f"\nconfirmation: {len(candidates)} networks x {search.confirmation.seeds} seeds")
        write_candidates(storage, candidates)
        if not begin:
            storage.write(to_yaml(confirming).encode(), SPECIFICATION_FILE)
    else:
        confirming = load_search(search.name + CONFIRMATION_SUFFIX, search.storage)
    code = _run_listed(confirming, storage, environment, begin=begin, failed_too=False)
    trials = read_table(storage, "trials")
    if code == 0 and (trials["status"] == FINISHED).any():
        table, comparisons = compute_confirmation(trials, read_candidates(storage))
        print(f"\n{confirmation_sentence(table, comparisons)}")
    return code


def sync_mlflow(name: str, location: str, uri: str | None) -> int:
    """Write a search's runs from its records to MLflow: to ``uri``, else where it logs."""
    search = load_search(name, location)
    uri = uri or tracking.tracking_uri(open_storage(location), search.mlflow.tracking_uri or None)
    if uri is None:
        raise ConfigurationError(tracking.TRACKING_OFF)
    counts = tracking.sync(open_storage(location).below(name), uri)
    print(f"{counts.written} trials written to MLflow, {counts.unchanged} were there already")
    print_mlflow(uri, counts.page)
    return 0
