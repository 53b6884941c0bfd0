"""``python -m analysis report``, ``replay`` and ``predictions``."""

from __future__ import annotations

import argparse

import pandas as pd
import pyarrow as pa

from analysis.command_line import data_caption, save, say, storage_at
from analysis.figures import count_label, write_file
from analysis.predictions import compute_counts, differences
from analysis.replay import compute_replay, draw_replay
from analysis.report import build_report
from analysis.samples import objectives_of
from analysis.search_figures import read_specification
from analysis.secrets import sentence
from analysis.selection import AnalysisError, Search, open_search, search_names
from analysis.storage import Storage
from analysis.tables import (
    CONFIRMATION_SUFFIX,
    IMPORTANCE_FILE,
    REPLAY_FILE,
    parse_parquet,
    read_table,
)


def report(options: argparse.Namespace) -> None:
    """Write NAME-report.html."""
    storage = storage_at(options.storage)
    search = open_search(storage, options.name)
    confirming = options.name + CONFIRMATION_SUFFIX
    confirmation = open_search(storage, confirming) if confirming in search_names(storage) else None
    page = build_report(
        search,
        confirmation,
        importance=_read(search.storage, IMPORTANCE_FILE),
        replay=_read(search.storage, REPLAY_FILE),
    )
    print(write_file(page.encode(), storage_at(options.output), f"{options.name}-report.html"))


def replay(options: argparse.Namespace) -> None:
    """Draw searcher against searcher, and print how many trials each needed."""
    search = open_search(storage_at(options.storage), options.name)
    table = _read(search.storage, REPLAY_FILE)
    if table is None:
        raise AnalysisError(
            f"search {options.name} has no replay yet; run `python -m search replay {options.name}`"
        )
    objective = objectives_of(_specification(search))[0]
    minimize = objective.direction == "minimize"
    optimum = float(table["value"].min() if minimize else table["value"].max())
    curves, runs, summary = compute_replay(table, optimum, options.within, minimize=minimize)
    figure = draw_replay(
        curves,
        runs,
        summary,
        optimum,
        options.within,
        objective=objective,
        title=f"{options.name}: searchers replayed",
        caption=data_caption(search),
    )
    save(options, figure, runs, f"{options.name}-replay")
    print(f"trials to reach within {options.within:g} of the best recorded value {optimum:.4f}:")
    for row in summary.to_dict("records"):
        against = "" if pd.isna(row["p"]) else f", against random p = {row['p_holm']:.2g} (Holm)"
        print(
            f"  {row['searcher']:10} median {row['median']:g} (quartiles "
            f"{row['lower_quartile']:g} to {row['upper_quartile']:g}, {row['reached']:.0%} of "
            f"{row['seeds']} seeds arrived){against}"
        )


def predictions(options: argparse.Namespace) -> None:
    """Write NAME-predictions.csv, the counts, and fail when they are not those of the grids."""
    search = open_search(storage_at(options.storage), options.name)
    try:
        counts = compute_counts(search.storage)
    except ValueError as error:
        raise AnalysisError(str(error)) from error
    if counts.empty:
        raise AnalysisError(
            f"search {options.name} has no single predictions; they are recorded with "
            "`--set trials.predictions=true`"
        )
    content = counts.to_csv(index=False).encode()
    print(write_file(content, storage_at(options.output), f"{options.name}-predictions.csv"))
    wrong = differences(counts, read_table(search.storage, "grid"))
    trials = counts["trial_id"].nunique()
    if len(wrong):
        first = wrong.iloc[0]
        raise AnalysisError(
            f"{len(wrong)} of {len(counts):,} counts differ from the grid table, first that of "
            f"trial {first['trial_id']} at audio SNR {first['test_audio_snr']:g}, visual SNR "
            f"{first['test_visual_snr']:g}; delete the records of that trial and resume the search"
        )
    print(
        f"{int(counts['n'].sum()):,} predictions of {count_label(trials, 'trial')}: all "
        f"{len(counts):,} counts are those of the grids"
    )


def _specification(search: Search) -> dict[str, object]:
    try:
        return read_specification(search)
    except AnalysisError as error:
        say(str(error))
        return {}


def _read(folder: Storage, name: str) -> pd.DataFrame | None:
    """A table beside the records; None when it is not there."""
    if not folder.exists(name):
        return None
    try:
        table: pd.DataFrame = parse_parquet(folder.read(name)).to_pandas()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:
        raise AnalysisError(
            f"{folder.named(name)} is damaged ({sentence(error)}); delete it and make it again"
        ) from error
    return table
