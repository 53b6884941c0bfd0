"""Grids from single predictions: every count of the ``grid`` table can be made again from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import GRID, read_batches

CELL: Final = ["trial_id", "test_audio_snr", "test_visual_snr"]
_COLUMNS: Final = [*CELL, "label", "predicted"]


def compute_counts(search: Storage, trial_ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Count the right predictions of every trial at every test condition.

    The table is read in parts and each is counted at once, so that memory does not grow with the
    number of predictions. Their order does not matter.

    Args:
        search: the search's folder; its trials were run with ``predictions: true``.
        trial_ids: the trials to count; all that have predictions by default.

    Returns:
        trial_id, test_audio_snr, test_visual_snr, n and correct, as in the ``grid`` table, sorted
        by the first three. No rows where there are no predictions.

    Raises:
        ValueError: a file is damaged or was written by a newer schema version.
    """
    schema = pa.schema([GRID.field(name) for name in (*CELL, "n", "correct")])
    counts = [schema.empty_table()]
    for batch in read_batches(search, "predictions", _COLUMNS, trial_ids):
        right = pc.equal(batch["label"], batch["predicted"]).cast(pa.int64())
        cells = pa.table({**{name: batch[name] for name in CELL}, "correct": right})
        counted = cells.group_by(CELL, use_threads=False).aggregate(
            [("correct", "count"), ("correct", "sum")]
        )
        counted = counted.rename_columns({"correct_count": "n", "correct_sum": "correct"})
        counts.append(counted.select(schema.names).cast(schema))
    together = pa.concat_tables(counts).group_by(CELL, use_threads=False)
    result: pd.DataFrame = (
        together.aggregate([("n", "sum"), ("correct", "sum")])
        .rename_columns({"n_sum": "n", "correct_sum": "correct"})
        .to_pandas()
    )
    return result[[*CELL, "n", "correct"]].sort_values(CELL, ignore_index=True)


def differences(counts: pd.DataFrame, grid: pd.DataFrame) -> pd.DataFrame:
    """The cells in which predictions and the ``grid`` table disagree; none when all is well.

    Args:
        counts: from :func:`compute_counts`.
        grid: the ``grid`` table; trials without predictions are left out.
    """
    grid = grid[grid["trial_id"].isin(set(counts["trial_id"]))]
    both = counts.merge(
        grid[[*CELL, "n", "correct"]],
        how="outer",
        on=CELL,
        suffixes=("_predictions", "_grid"),
    )
    same = (both["n_predictions"] == both["n_grid"]) & (
        both["correct_predictions"] == both["correct_grid"]
    )
    return both[~same].reset_index(drop=True)
