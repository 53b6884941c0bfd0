"""Which grids are whole: a seed without one of the conditions is left out of every comparison."""

from __future__ import annotations

import pandas as pd

from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import OnDamage, RecordError, remedy
from fusion_search.analysis.records.words.counts import count_label
from fusion_search.analysis.records.words.data import data_kind


def whole_grids(
    grid: pd.DataFrame,
    trials: pd.DataFrame,
    storage: Storage,
    description: TaskDescription,
    on_damage: OnDamage | None = None,
) -> pd.DataFrame:
    """The rows of trials that were tested at all conditions at which trials of their kind were.

    Of one kind are networks of the same streams on data of the same settings. A condition is theirs
    where the task tests it, and half of them or more have it: one file with a wrong SNR is damaged,
    not all the others.

    Args:
        grid: the ``grid`` table of a search, or of some of its trials.
        trials: its ``trials`` table, as :class:`Search` holds it.
        storage: the search's folder.
        description: of the search.
        on_damage: told of each trial that lacks a condition, which is left out.

    Raises:
        RecordError: a trial lacks one, and nobody is told.
    """
    tests = list(description.test_columns)
    if not tests or grid.empty:
        return grid
    keys = zip(trials["streams"], trials["specification"], strict=True)
    kinds = pd.Series(
        [f"{streams} {data_kind(text)}" for streams, text in keys],
        pd.Index(trials["trial_id"]),
        dtype=object,
    )
    tested = pd.Series(True, grid.index)
    for axis in description.axes:
        tested &= grid[axis.test_column].isin(axis.test)
    cells = grid.loc[tested, ["trial_id", *tests]].drop_duplicates()
    cells = cells.assign(kind=cells["trial_id"].map(kinds)).dropna(subset="kind")
    having = cells.groupby(["kind", *tests])["trial_id"].transform("size")
    usual = cells[2 * having >= cells.groupby("kind")["trial_id"].transform("nunique")]
    needed = usual.drop_duplicates(["kind", *tests]).groupby("kind").size()
    counts = usual.groupby("trial_id").size()
    lacking = []
    for trial_id in grid["trial_id"].unique():
        every = int(needed.get(kinds.get(trial_id, ""), 0))
        there = int(counts.get(trial_id, 0))
        if there >= every:
            continue
        name = f"{trial_id}.parquet"
        damage = (
            f"{storage.named('grid', name)} has {there} of the {count_label(every, 'condition')} "
            f"at which trials like it were tested; {remedy(storage, 'grid', name)}"
        )
        if on_damage is None:
            raise RecordError(damage)
        on_damage(trial_id, damage)
        lacking.append(trial_id)
    return grid[~grid["trial_id"].isin(lacking)]
