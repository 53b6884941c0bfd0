"""``draw folds``, ``draw learning`` and ``draw xflow``: what searches over folds show."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pandas as pd

from fusion_search.analysis.conditions import repetition_words, train_label
from fusion_search.analysis.figures.folds.intervals import draw_folds
from fusion_search.analysis.figures.folds.learning import (
    compute_learning,
    draw_learning,
    trials_to_learn,
)
from fusion_search.analysis.folds.comparison import compute_folds
from fusion_search.analysis.folds.runs import fold_measures
from fusion_search.analysis.folds.text import folds_text
from fusion_search.analysis.records.samples import rows_of
from fusion_search.analysis.records.selection import Search
from fusion_search.analysis.xflow.claims import compute_claims
from fusion_search.analysis.xflow.noise import compute_noise, with_regions
from fusion_search.analysis.xflow.tables import compute_xflow
from fusion_search.analysis.xflow.text import HONEST, xflow_text
from fusion_search.search.commands.figures.deciding import more_folds, other_sizes
from fusion_search.search.commands.figures.drawing_options import (
    data_caption,
    finished_words,
    open_all,
    save,
    save_numbers,
    write_text,
)


def folds(options: argparse.Namespace) -> int:
    """``draw folds``: every network over its folds, against one of them."""
    search = open_all(options)
    description = search.description
    table, measures = compute_folds(search, options.baseline)
    figure = draw_folds(
        table.assign(network=_row_names(table, search)),
        measures,
        description.metric,
        classes=description.classes,
        title=f"{search.name}: {description.metric.words} over folds",
        caption=data_caption(search.finished),
    )
    name = f"{search.name}-folds"
    save(options, figure, table, name)
    write_text(
        options, folds_text(table, measures, search, _notes(search, search.finished, table)), name
    )
    return 0


def _row_names(table: pd.DataFrame, search: Search) -> list[str]:
    """Numbered, and with the train condition where there are several."""
    columns = list(search.description.train_columns)
    several = len(table[columns].drop_duplicates()) > 1
    names = []
    for row in rows_of(table):
        condition = tuple(row[one] for one in columns)
        at = f", trained at {train_label(condition, search.description)}" if several else ""
        names.append(f"{row['number']}. {row['network']}{at}")
    return names


def learning(options: argparse.Namespace) -> int:
    """``draw learning``: metrics and loss over the epochs."""
    search = open_all(options)
    wanted = (options.networks or (), options.fold)
    table = compute_learning(search, *wanted, options.window)
    fold = "" if options.fold is None else f"-fold{options.fold}"
    figure = draw_learning(
        table,
        search.description,
        options.window,
        title=f"{search.name}: training" + (f", fold {options.fold}" if fold else ""),
        caption=data_caption(pd.concat(trials_to_learn(search, *wanted).values())),
    )
    save(options, figure, table, f"{search.name}-learning{fold}")
    return 0


def xflow(options: argparse.Namespace) -> int:
    """``draw xflow``: Tables III to VI of the paper, its claims, and what is best under noise."""
    search = open_all(options)
    metric = search.description.metric
    table, groups = compute_xflow(search)
    kept = pd.concat([one.trials for one in groups])
    measures = [
        one if one.optimistic else replace(one, words=f"{metric.words}, {HONEST}")
        for one in fold_measures(search.finished, search.description)
    ]
    judged = [compute_claims(one, metric) for one in groups if one.printed]
    claims = pd.concat(judged, ignore_index=True) if judged else pd.DataFrame()
    grid = search.read_grids()
    groups = [with_regions(one, grid, search.description) for one in groups]
    noise = pd.concat([compute_noise(one, metric) for one in groups], ignore_index=True)
    name = f"{search.name}-xflow"
    several = len(groups) > 1
    rows = table["variant"] + (", " + table["group"] if several else "")
    figure = draw_folds(
        table.assign(network=rows),
        [one for one in measures if one.column in set(table["measure"])],
        metric,
        classes=search.description.classes,
        title=f"{search.name}: {groups[0].words if not several else 'XFlow'} over folds",
        caption=data_caption(kept),
    )
    save(options, figure, table, name)
    if judged:
        save_numbers(options, claims, f"{name}-claims")
    save_numbers(options, noise, f"{name}-noise")
    notes = [*other_sizes(search, list(table["decision"])), *_notes(search, kept, table)]
    text = xflow_text(search.name, table, groups, claims, noise, metric, notes)
    write_text(options, text, name)
    return 0


def _notes(search: Search, trials: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """What could decide what is open in a table; of how many trials, on which data.

    Args:
        search: of the table.
        trials: that it has.
        table: with decisions.
    """
    splits = "; ".join(sorted(trials["split"].unique()))
    measured = f"Measured on the {splits} split."
    return [
        *more_folds(search, table["decision"]),
        finished_words(search),
        measured,
        data_caption(trials),
        *filter(None, [repetition_words(trials)]),
    ]
