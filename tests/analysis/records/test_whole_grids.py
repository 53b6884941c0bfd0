"""A grid that lacks conditions is left out with its seed, and said as a damaged one is."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from xflow_records import write_variant

from fusion_search.analysis.records.selection import AnalysisError, Search, open_search
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import read_table, to_parquet
from fusion_search.analysis.records.words.data import data_kind


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    """Three seeds of a network, each tested at four conditions."""
    folder = open_storage(tmp_path).below("made-up")
    for seed in range(3):
        write_variant(folder, "baseline", 0, 0.5, seed=seed)
    return folder


def rewrite(folder: Storage, trial_id: str, rows: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(rows, preserve_index=False)
    folder.write(to_parquet(table), "grid", f"{trial_id}.parquet")


def opened(folder: Storage, told: list[tuple[str, str]] | None) -> Search:
    say = None if told is None else (lambda *one: told.append(one))
    return open_search(folder.parent, "made-up", say)


def test_half_a_grid_is_noted_with_its_remedy(folder: Storage) -> None:
    half = read_table(folder, "grid", ["baseline0s1"]).head(2)
    rewrite(folder, "baseline0s1", half)
    told: list[tuple[str, str]] = []
    grid = opened(folder, told).read_grid()
    assert sorted(grid["seed"]) == [0] * 4 + [2] * 4
    files = [folder.named(one, "baseline0s1.parquet") for one in ("grid", "trials")]
    assert told == [
        (
            "baseline0s1",
            f"{files[0]} has 2 of the 4 conditions at which trials like it were tested; delete it "
            f"and {files[1]} and resume the search to run the trial again",
        )
    ]
    assert len(opened(folder, told).read_grids()) == 8
    with pytest.raises(AnalysisError, match="has 2 of the 4 conditions"):
        opened(folder, None).read_grid()


def test_a_wrong_snr_in_one_grid_leaves_the_others(folder: Storage) -> None:
    grid = read_table(folder, "grid", ["baseline0s1"])
    rewrite(folder, "baseline0s1", grid.replace({"test_audio_snr": {math.inf: 7.0}}))
    told: list[tuple[str, str]] = []
    assert set(opened(folder, told).read_grid()["seed"]) == {0, 2}
    assert [trial for trial, _ in told] == ["baseline0s1"]


def test_networks_of_one_stream_are_of_another_kind(folder: Storage) -> None:
    write_variant(folder, "baseline", 0, 0.5, seed=9, streams=["audio"])
    (alone,) = [one for one in folder.names("grid") if "9" in one]
    trial_id = alone.removesuffix(".parquet")
    grid = read_table(folder, "grid", [trial_id])
    rewrite(folder, trial_id, grid[grid["test_visual_snr"] == math.inf])
    told: list[tuple[str, str]] = []
    assert len(opened(folder, told).read_grid()) == 3 * 4 + 2
    assert told == []


def test_seeds_of_the_data_make_no_other_kind() -> None:
    one, other = (f'{{"data": {{"size": 4, "split_seed": {seed}}}}}' for seed in (0, 1))
    assert data_kind(one) == data_kind(other) == '{"size": 4}'
