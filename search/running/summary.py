"""What is printed when a search ends, and what to type next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

import pandas as pd

from fusion_search.analysis.records import advice
from fusion_search.analysis.records.advice import (
    RunOptions,
    command,
    confirmed_search,
    figures_of_results,
    read_options,
)
from fusion_search.analysis.records.description import TaskDescription, read_description
from fusion_search.analysis.records.samples import (
    Objective,
    choosing_objective,
    rows_of,
)
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.selection.best import (
    BestSample,
    best_lines,
    has_best,
    planned_trials,
)
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    CONFIRMATION_SUFFIX,
    FAILED,
    FINISHED,
    SPECIFICATION_FILE,
    STOPPED,
    came_to_nothing,
    recorded_trials,
)
from fusion_search.analysis.records.words.counts import best_label
from fusion_search.analysis.records.words.data import notes_words
from fusion_search.search.declaration.specification import SearchOutline
from fusion_search.search.records.driver_file import read_driver
from fusion_search.search.records.planned import Plan, read_plan
from fusion_search.search.records.search_folder import (
    ENDED,
    INTERRUPTED,
    dropped_trials,
    planned_count,
    planned_ids,
    read_records,
    search_state,
    skipped_trials,
    strays_sentence,
)
from fusion_search.search.tracking.addresses import tracking_uri, ui_command

NONE_FINISHED: Final = 1  # exit codes of a search that ended
SOME_FAILED: Final = 3  # the others finished
INTERRUPTED_CODE: Final = 130  # trials are left
INCOMPLETE: Final = 1  # a record or a search cannot be read, and others were


def summary(
    search: SearchOutline,
    storage: Storage,
    planned: int,
    page: str | None,
    options: RunOptions,
) -> int:
    """Print what there is, how to look at it and what to type next. Returns the exit code.

    130 when trials are left, as after Ctrl-C; else 1 when none finished or a record cannot be read,
    3 when some failed. ``page`` is where MLflow shows the runs, if known; ``options`` are for the
    commands that go on with it.
    """
    damaged: dict[str, str] = {}
    plan = read_plan(storage)
    trials, strays = read_records(storage, planned_ids(storage, plan), damaged.__setitem__)
    unreadable = len(damaged)
    finished = trials[trials["status"] == FINISHED]
    counts = {status: int((trials["status"] == status).sum()) for status in (FAILED, STOPPED)}
    skipped = len(skipped_trials(plan, trials, damaged))
    dropped = len(dropped_trials(plan).keys() - set(trials["trial_id"]))
    left = planned - len(trials) - unreadable - skipped
    stopped = f"{counts[STOPPED]} stopped early, " if counts[STOPPED] else ""
    of = count_label(planned, "trial")
    print(
        f"\n{len(finished)} of {of} finished, {stopped}{counts[FAILED]} failed, "
        f"{f'{unreadable} unreadable, ' if unreadable else ''}{left} not run"
        + (f", {skipped} left out: {_why_left_out(dropped, skipped)}" if skipped else "")
    )
    if strays:
        print(printable(strays_sentence(storage, strays)))
    description = read_description(storage)
    best = best_so_far(search, storage, plan, rows_of(trials))
    for line in best_lines(best, trials, description):
        print(line)
    for device in sorted(set(finished["device"])):
        print(f"device: {printable(device)}")
    for engine in sorted(set(finished["engine"].dropna())):
        print(f"engine: {printable(engine)}")
    if len(trials):
        print(f"data: {printable(notes_words(trials['data_note']))}")
    print(f"records: {storage.location}")
    uri = tracking_uri(open_storage(search.storage), search.mlflow.tracking_uri or None)
    if uri is not None and search.mlflow.enabled:
        print_mlflow(uri, page)
    confirmed = confirmed_search(search.name, search.storage)
    if confirmed is not None:  # whose report shows all networks, and the tests
        print(f"figures: {command('report', confirmed, storage=search.storage)}")
    else:
        for verb in _figures(search, finished, description):
            print(f"figures: {command(*verb, search.name, storage=search.storage)}")
    if counts[FAILED]:
        print(f"run what failed again: {go_on_command('retry', search, options)}")
    if left:
        print(f"interrupted; go on with: {go_on_command('resume', search, options)}")
        return INTERRUPTED_CODE
    if came_to_nothing(trials):
        return NONE_FINISHED
    if unreadable:
        return INCOMPLETE
    return SOME_FAILED if counts[FAILED] else 0


def best_so_far(
    search: SearchOutline, storage: Storage, plan: Plan, rows: Iterable[Mapping[str, Any]]
) -> BestSample | None:
    """The best of a search, from its plan and its rows of ``trials``; a confirmation has none."""
    if not has_best(search.name, search.storage):
        return None
    objective = chosen_by(search, read_description(storage))
    return BestSample(objective, rows, planned_trials(plan.rows))


def _why_left_out(dropped: int, skipped: int) -> str:
    words = ["their sample was dropped after some of its folds"] if dropped else []
    if dropped < skipped:
        words.append("another of their sample failed or stopped")
    return " or ".join(words)


def chosen_by(search: SearchOutline, description: TaskDescription) -> Objective:
    """What says which of a search's samples is the best."""
    objectives = [asdict(one) for one in search.objectives] if search.searched else []
    return choosing_objective({"objectives": objectives}, description)


def _figures(
    search: SearchOutline, finished: pd.DataFrame, description: TaskDescription
) -> list[tuple[str, ...]]:
    """What shows a search that confirms none; over folds, where it has several."""
    folds = [("draw", "folds")] if finished["fold"].nunique() > 1 else []
    if search.searched or not description.axes:
        return [("report",), *folds]
    figures = figures_of_results(finished["streams"], description.task)
    return [*(("draw", one) for one in figures), *folds]


def print_mlflow(uri: str, page: str | None) -> None:
    """Say how to look at the runs; nothing where no store could be opened, which has no page."""
    if not page:
        return
    ui = ui_command(uri)
    if ui:
        print(f"MLflow: {printable(ui)}")
    print(f"{'        then open' if ui else 'MLflow:'} {printable(page)}")


def left_words(search: SearchOutline, storage: Storage, state: str, best: BestSample | None) -> str:
    """What goes on with a search that was interrupted, or with its confirmation; else empty.

    Args:
        search, storage: the search and its folder.
        state: of ``search_state``.
        best: knows the search's trials: with no whole sample there is nothing to confirm.
    """
    resume = f"go on with: {go_on_command('resume', search, read_options(storage))}"
    if not search.searched:
        return resume if state == INTERRUPTED else ""
    own = storage.parent.below(search.name + CONFIRMATION_SUFFIX)
    driver, began = read_driver(own), own.exists(SPECIFICATION_FILE)
    top = search.confirmation.top
    if state != ENDED:
        # Its driver claims the folder before it writes what it runs.
        due = top and not began and driver is None
        of = best_label(top, search.confirmation.seeds)
        to_come = f"its confirmation is still to come: {of}" if due else ""
        return "; ".join(filter(None, [to_come, resume if state == INTERRUPTED else ""]))
    if best is None or not best.trial_ids:
        return ""
    confirm = go_on_command("confirm", search, read_options(own if began else storage))
    if began:
        plan = read_plan(own)
        ended = len(planned_ids(own, plan) & recorded_trials(own))
        left = search_state(driver, planned_count(own, plan), ended) == INTERRUPTED
        return f"its confirmation was interrupted; go on with: {confirm}" if left else ""
    due = top and driver is None
    return not_confirmed(confirm) if due else ""


def not_confirmed(confirm: str) -> str:
    """That a search that has ended lacks its confirmation, and the command that runs it."""
    return f"its confirmation has not been run; go on with: {confirm}"


def go_on_command(verb: str, search: SearchOutline, options: RunOptions, *more: str) -> str:
    """``resume``, ``retry`` or ``confirm`` of a search, where its data and machines are."""
    return advice.go_on_command(verb, search.name, search.task, search.storage, options, *more)
