"""Grids from single predictions: every count of the ``grid`` table can be made again from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import described, read_batches

_RIGHT: Final = "accuracy_sum"  # the grid's count of right answers, where the task has that metric


def compute_counts(search: Storage, trial_ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Count the right predictions of every trial at every test condition.

    The table is read in parts and each is counted at once, so that memory does not grow with the
    number of predictions. Their order does not matter.

    Args:
        search: the search's folder; its trials were run with ``predictions: true``.
        trial_ids: the trials to count; all that have predictions by default.

    Returns:
        trial_id, the test condition, n and correct, sorted by trial and condition. No rows where
        there are no predictions.

    Raises:
        ValueError: a file is damaged or of another schema version.
    """
    description = described(search)
    cell = _cell(description)
    columns = [*cell, "label", "predicted"]
    fields = description.schema("predictions")
    counted_fields = [("n", pa.int64()), ("correct", pa.int64())]
    schema = pa.schema([*(fields.field(name) for name in cell), *counted_fields])
    counts = [schema.empty_table()]
    for batch in read_batches(search, "predictions", columns, trial_ids, description):
        right = pc.equal(batch["label"], batch["predicted"]).cast(pa.int64())
        cells = pa.table({**{name: batch[name] for name in cell}, "correct": right})
        counted = cells.group_by(cell, use_threads=False).aggregate(
            [("correct", "count"), ("correct", "sum")]
        )
        counted = counted.rename_columns({"correct_count": "n", "correct_sum": "correct"})
        counts.append(counted.select(schema.names).cast(schema))
    together = pa.concat_tables(counts).group_by(cell, use_threads=False)
    result: pd.DataFrame = (
        together.aggregate([("n", "sum"), ("correct", "sum")])
        .rename_columns({"n_sum": "n", "correct_sum": "correct"})
        .to_pandas()
    )
    return result[[*cell, "n", "correct"]].sort_values(cell, ignore_index=True)


def _cell(description: TaskDescription) -> list[str]:
    return ["trial_id", *description.test_columns]


def differences(
    counts: pd.DataFrame, grid: pd.DataFrame, description: TaskDescription
) -> pd.DataFrame:
    """The cells in which predictions and the ``grid`` table disagree; none when all is well.

    Args:
        counts: from :func:`compute_counts`.
        grid: the ``grid`` table; trials without predictions are left out.
        description: of the search; without accuracy among its metrics, ``n`` alone is compared.
    """
    cell = _cell(description)
    grid = grid[grid["trial_id"].isin(set(counts["trial_id"]))].rename(columns={_RIGHT: "correct"})
    compared = ["n", "correct"] if "correct" in grid else ["n"]
    both = counts.merge(
        grid[[*cell, *compared]], how="outer", on=cell, suffixes=("_predictions", "_grid")
    )
    same = [both[f"{one}_predictions"] == both[f"{one}_grid"] for one in compared]
    return both[~pd.concat(same, axis=1).all(axis=1)].reset_index(drop=True)
