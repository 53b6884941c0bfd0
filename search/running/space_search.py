"""Running a search over a space: its searcher, its history, its last words."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pyarrow as pa

from fusion_search.analysis.records.samples import few_samples_words
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.selection import count_label, no_such_search
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    EXHAUSTED_FILE,
    IMPORTANCE_FILE,
    to_parquet,
)
from fusion_search.search.declaration.specification import FOLD_RUNGS, SearchSpecification
from fusion_search.search.records.asha_decisions import AshaDecisions
from fusion_search.search.records.claim import tell_doing
from fusion_search.search.records.planned import read_plan
from fusion_search.search.records.search_folder import (
    dropped_trials,
    planned_count,
    planned_ids,
    read_records,
    sample_count,
)
from fusion_search.search.running.interrupts import was_interrupted
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
from fusion_search.search.running.samples.earlier import known_observations
from fusion_search.search.running.samples.observations import observation
from fusion_search.search.running.samples.parts import folds_apart
from fusion_search.search.running.samples.proposals import Proposals, read_proposals, record_plan
from fusion_search.search.running.summary import (
    INTERRUPTED_CODE,
    SOME_FAILED,
    go_on_command,
    not_confirmed,
    summary,
)
from fusion_search.search.spaces.asha import Asha
from fusion_search.search.spaces.fold_rungs import FoldRungs
from fusion_search.search.spaces.importance import compute_importance
from fusion_search.search.spaces.searchers import make_searcher
from fusion_search.search.spaces.searchers.base import Observation
from fusion_search.search.trials.fields import ConfigurationError

_LOST: Final = {
    "median": "scheduler median begins anew: no trial is set against those that ended before, and "
    "none is stopped before three others have got as far since",
    "pbt": "scheduler pbt begins anew: trials that had not ended begin again with their first "
    "epoch and the hyperparameters they were proposed with, and take over nothing from those that "
    "ended before",
}
"""What of a scheduler a resume does not have, in words; the others have all."""


def run_space(
    search: SearchSpecification,
    storage: Storage,
    environment: Environment,
    *,
    begin: bool,
    failed_too: bool,
) -> int:
    """Run what a searcher proposes until there is enough. Returns the exit code: 130 also where it
    was interrupted as its last trials ended, for its confirmation is left.

    Raises:
        ValueError: a search to start warm from is not there, or data or resources cannot be had.
    """
    assert search.space is not None
    proposals = make_proposals(search, storage)
    before = read_proposals(storage, without_failed=failed_too)
    plan = read_plan(storage)
    proposals.restore(before, plan.decisions)
    records = None
    if not begin:
        records, _ = read_records(storage, planned_ids(storage, plan), warn_of_damage)
    ended = sum(len(rows) for _, rows in before)
    most = sample_count(search) * search.space.trials_per_sample
    planned = planned_count(storage, plan) if storage.exists(EXHAUSTED_FILE) else most
    if records is not None:
        planned -= len(dropped_trials(plan).keys() - set(records["trial_id"]))
        print(ended_before(ended, planned))
        if search.scheduler.name in _LOST and not proposals.complete:
            print(_LOST[search.scheduler.name])
    interrupted = False
    if records is not None and proposals.complete:
        tracker = start_tracker(search, storage, records["trial_id"], print)
        if tracker is not None:
            tracker.close(MLFLOW_WAIT_SECONDS)
    else:
        trial = search.space.any_trial()
        tell_doing(storage, LOADING)
        opened = open_data(search, trial, records)
        with connected(search, storage, environment):
            if begin:
                record_plan(storage, (), most)
                write_specification(search, storage, opened, trial)
            tracker = run(
                search,
                storage,
                proposals,
                opened,
                environment,
                planned=planned,
                remaining=planned - ended,
                epochs=trial.training.epochs,
            )
            interrupted = was_interrupted()
    if proposals.exhausted:
        storage.write(b"", EXHAUSTED_FILE)
        print("the searcher has nothing new to propose: the space is exhausted")
    if proposals.complete:
        print_importance(search, storage)
    whole = planned_count(storage, read_plan(storage)) if proposals.exhausted else most
    options = environment.options
    code = summary(search, storage, whole, tracker.page if tracker else None, options)
    if interrupted and code in (0, SOME_FAILED) and search.confirmation.top:
        print(not_confirmed(go_on_command("confirm", search, options)))
        return INTERRUPTED_CODE
    return code


def make_proposals(search: SearchSpecification, storage: Storage) -> Proposals:
    """The searcher with what it knows from earlier searches, before any of its own proposals."""
    assert search.space is not None
    each = search.space.trials_per_sample
    directions = [one.direction for one in search.objectives]
    known: list[Observation] = []
    for name in search.searcher.warm_start:
        parent = open_storage(search.storage)
        earlier = parent.below(name)
        if not earlier.exists("trials"):
            there = [one for one in parent.names() if parent.is_there(one, "trials")]
            raise ConfigurationError(
                f"searcher.warm_start: {no_such_search(name, search.storage, there)}"
            )
        left_out = Counter[str]()
        found = known_observations(search.space, search.objectives, earlier, left_out)
        words = ", ".join(f"{count_label(count, 'trial')} {why}" for why, count in left_out.items())
        if left_out and not found:
            raise ConfigurationError(
                f"searcher.warm_start: nothing of {name} can be compared with this search; it has "
                f"{printable(words)}; leave it out, or declare what that search declared"
            )
        more = f" (left out: {printable(words)})" if words else ""
        print(f"warm start: {count_label(len(found), 'sample')} known from {name}{more}")
        known += found
    settings = search.scheduler
    asha = Asha(
        grace=settings.grace_epochs,
        reduction=settings.reduction,
        epochs=search.space.epochs_per_sample,
        within=settings.within,
    )
    return Proposals(
        search.space,
        make_searcher(search.searcher.name, search.space, directions, search.searcher.seed),
        search.searcher.samples,
        known=known,
        rungs=FoldRungs(settings.reduction, directions[0]) if settings.name == FOLD_RUNGS else None,
        asha=AshaDecisions(storage, asha) if settings.name == "asha" else None,
        apart=folds_apart(settings),
        on_change=lambda proposals, decisions: record_plan(
            storage, proposals, sample_count(search) * each, decisions
        ),
    )


def print_importance(search: SearchSpecification, storage: Storage) -> None:
    """Compute the importance of every choice, write it beside the records, and print it."""
    assert search.space is not None
    metric = search.definition.metrics[0]
    history = [
        observation(sample, rows, metric)
        for sample, rows in read_proposals(storage)
        if len(rows) == len(search.space.trials(sample))
    ]
    try:
        table = compute_importance(search.space, history, seed=search.searcher.seed)
    except ValueError as error:
        print(f"importance: {error}")
        return
    storage.write(to_parquet(pa.Table.from_pandas(table, preserve_index=False)), IMPORTANCE_FILE)
    rows = table.head(5).to_dict("records")
    words = ", ".join(f"{row['parameter']} {row['importance']:.2f}" for row in rows)
    print(f"importance for {search.objectives[0].name} (fANOVA): {words}")
    if warning := few_samples_words(int(table["samples"].iloc[0]), len(table)):
        print(f"  {warning}")
