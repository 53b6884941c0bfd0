"""The records of a search as DataFrames."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa

from fusion_search.analysis.records.selection import DROPPED_AFTER, AnalysisError, Search
from fusion_search.analysis.records.tables import TABLES, read_table
from fusion_search.search.python.places import open_found
from fusion_search.search.records.driver_file import RUNNING as DRIVEN
from fusion_search.search.records.driver_file import read_driver, standing
from fusion_search.search.records.planned import read_plan
from fusion_search.search.records.search_folder import skipped_trials

UNREADABLE, RUNNING, WAITING, SKIPPED = "unreadable", "running", "waiting", "skipped"
_KINDS: Final = (
    (pa.types.is_integer, "int64", "Int64"),
    (pa.types.is_boolean, "bool", "boolean"),
)
"""Whether a column is of them; its type in pandas, and that of one with gaps."""


def trials(search: str | Path, table: str = "trials") -> pd.DataFrame:
    """A table of a search, with the columns of its records.

    Args:
        search: its folder, ``results/NAME``, or a URI such as ``s3://bucket/results/NAME``.
        table: trials (a row per trial), epochs, grid (a row per trial and test condition),
            predictions or activations.

    Returns:
        Of ``trials`` every planned trial, in the order planned. ``status`` is finished, failed,
        stopped (early), unreadable (``reason`` says why), running, waiting, or skipped (another of
        its sample failed, or its sample was dropped); what a trial does not have is missing.
        ``dropped_after`` says of all trials of a sample that fold rungs dropped in how many folds
        it ran. ``streams`` is one text. Other tables have a trial's name beside its id.

    Raises:
        ValueError: there is no such search or table, or it is of an earlier version.
    """
    if table not in TABLES:
        raise AnalysisError(f"table is {table!r}; allowed: {', '.join(TABLES)}")
    found = open_found(search)
    schema = found.description.schema(table)
    if table == "trials":
        return _typed(_all_trials(found), schema)
    rows = read_table(found.storage, table, description=found.description)
    names = dict(zip(found.planned["trial_id"], found.planned["trial_name"], strict=True))
    rows = rows[rows["trial_id"].isin(list(names))]
    rows.insert(list(rows).index("trial_id") + 1, "trial_name", rows["trial_id"].map(names))
    return _typed(rows.reset_index(drop=True), schema)


def _all_trials(search: Search) -> pd.DataFrame:
    """The trials that have a record, and those that have none, in the order planned."""
    missing = search.planned[~search.planned["trial_id"].isin(list(search.trials["trial_id"]))]
    driver = read_driver(search.storage)
    under_way = set() if driver is None or standing(driver) != DRIVEN else set(driver["running"])
    skipped = skipped_trials(read_plan(search.storage), search.trials, list(search.damaged))

    def status(trial_id: str) -> str:
        if trial_id in search.damaged:
            return UNREADABLE
        if trial_id in under_way:
            return RUNNING
        return SKIPPED if trial_id in skipped else WAITING

    ids = missing["trial_id"]
    left = missing.assign(status=ids.map(status), reason=ids.map(dict(search.damaged)))
    rows = pd.concat([search.trials, left]) if len(left) else search.trials
    rows[DROPPED_AFTER] = rows["trial_id"].map(dict(search.dropped)).astype("Int64")
    order = {trial_id: place for place, trial_id in enumerate(search.planned["trial_id"])}
    rows = rows.sort_values("trial_id", key=lambda one: one.map(order), ignore_index=True)
    every = "+".join(search.description.streams)
    return rows.assign(streams=rows["streams"].replace("", every))


def _typed(rows: pd.DataFrame, schema: pa.Schema) -> pd.DataFrame:
    """Whole numbers and truth values as such, also where some are missing."""
    found = rows.copy()
    for field in schema:
        for is_one, whole, some in _KINDS:
            if is_one(field.type):
                column = found[field.name].astype(some)
                found[field.name] = column if column.isna().any() else column.astype(whole)
    return found
