"""``report`` and ``predictions``."""

from __future__ import annotations

import argparse

import pandas as pd

from fusion_search.analysis.confirmation import compute_confirmation, measures, read_candidates
from fusion_search.analysis.confirmation_grid import compute_confirmation_grid
from fusion_search.analysis.predictions import compute_counts, differences
from fusion_search.analysis.records.samples import objectives_of
from fusion_search.analysis.records.selection import (
    AnalysisError,
    Search,
    count_label,
    open_search,
    search_names,
)
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import (
    CONFIRMATION_SUFFIX,
    IMPORTANCE_FILE,
    REPLAY_FILE,
    read_table,
)
from fusion_search.search.commands.figures.drawing_options import (
    opened,
    read_beside,
    say,
    say_damage,
    specification_of,
    storage_at,
    write,
)
from fusion_search.search.commands.options import storage_of
from fusion_search.search.records.identity import read_identity
from fusion_search.search.running.confirmation import is_confirmation_of


def report(options: argparse.Namespace) -> int:
    """Write NAME-report.html, and the tests of its confirmation as CSV."""
    # Imports Matplotlib, which ``predictions`` does without.
    from fusion_search.analysis.report.page import build_report

    search = opened(options)
    if search.finished.empty:
        say(f"search {search.name} has no finished trial; {search.to_finish()}")
    storage = storage_at(storage_of(options))
    confirmation = _confirmation(search, storage)
    page = build_report(
        search,
        confirmation,
        importance=read_beside(search.storage, IMPORTANCE_FILE),
        replay=read_beside(search.storage, REPLAY_FILE),
    )
    write(options, page.encode(), f"{options.name}-report.html")
    if confirmation is not None and confirmation.finished.empty:
        say(f"{confirmation.name}: no tests yet, for none of its trials finished")
    elif confirmation is not None:
        _write_tests(options, search, confirmation)
    return 0


def _confirmation(search: Search, storage: Storage) -> Search | None:
    """The search that confirms this one; not what was left of another that was called so."""
    name = search.name + CONFIRMATION_SUFFIX
    if name not in search_names(storage):
        return None
    own = read_identity(search.storage)
    if own is not None and not is_confirmation_of(storage.below(name), own.search_id):
        say(f"left out: {name} confirms another search, which was called {search.name}, too")
        return None
    return open_search(storage, name, say_damage)


def _write_tests(options: argparse.Namespace, search: Search, confirmation: Search) -> None:
    """Every comparison of a confirmation: by each measure, by regions and by conditions.

    They are of the metric that the search optimised first, as on its page.
    """
    try:
        candidates = read_candidates(confirmation.storage)
    except AnalysisError as error:
        say(str(error))
        return
    grid = confirmation.read_grids()
    description = confirmation.description
    metric = objectives_of(specification_of(search), description)[0].metric
    by_measure = {
        name: compute_confirmation(confirmation.trials, candidates, one)[1]
        for name, one in measures(description, metric).items()
    }
    comparisons = pd.concat(by_measure, names=["measure"]).reset_index(level="measure")
    conditions, regions = compute_confirmation_grid(
        confirmation.trials, grid, candidates, description, metric
    )
    tables = {"comparisons": comparisons, "regions": regions, "conditions": conditions}
    for name, table in tables.items():
        if table.empty:  # such as of the conditions, where a task has one
            continue
        write(options, table.to_csv(index=False).encode(), f"{confirmation.name}-{name}.csv")


def _condition_words(row: pd.Series, search: Search) -> str:
    axes = search.description.axes
    return ", ".join(f"{axis.words} {row[axis.test_column]:g}" for axis in axes) or "no noise"


def predictions(options: argparse.Namespace) -> int:
    """Write NAME-predictions.csv, the counts, and fail when they are not those of the grids."""
    search = opened(options)
    try:
        counts = compute_counts(search.storage)
    except ValueError as error:
        raise AnalysisError(str(error)) from error
    if counts.empty:
        raise AnalysisError(
            f"search {options.name} has no single predictions; they are recorded with "
            "`--set evaluation.predictions=true`"
        )
    content = counts.to_csv(index=False).encode()
    write(options, content, f"{options.name}-predictions.csv")
    wrong = differences(counts, read_table(search.storage, "grid"), search.description)
    trials = counts["trial_id"].nunique()
    if len(wrong):
        first = wrong.iloc[0]
        raise AnalysisError(
            f"{len(wrong)} of {len(counts):,} counts differ from the grid table, first that of "
            f"trial {first['trial_id']} at {_condition_words(first, search)}; delete the records "
            "of that trial and resume the search"
        )
    print(
        f"{count_label(int(counts['n'].sum()), 'prediction')} of {count_label(trials, 'trial')}: "
        f"all {len(counts):,} counts are those of the grids"
    )
    return 0
