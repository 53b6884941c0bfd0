"""Counts from single predictions, against pandas and against the recorded grids."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_records import DIGITS, SNRS, Trial, write_trial

from fusion_search.analysis.predictions import compute_counts
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import SCHEMA_VERSION
from fusion_search.search.commands.command_line import main
from tests.benchmarks import bench_predictions

CELL = ["trial_id", "test_audio_snr", "test_visual_snr"]
TRIALS = [
    Trial((0.5, 0.25), depth=depth, correct=lambda a, v: int(40 + v - a), snrs=SNRS[1:5])
    for depth in (0, 1)
]


def write_predictions(folder: Path, trial: Trial, changed: int = 0) -> None:
    """As many right ones per condition as the trial's grid says, ``changed`` more in one."""
    rows = [
        {
            "schema_version": SCHEMA_VERSION,
            "search": "made-up",
            "trial_id": trial.trial_id,
            "test_audio_snr": audio,
            "test_visual_snr": visual,
            "number": pair,
            "label": 3,
            "predicted": 3 if pair < trial.correct(audio, visual) + changed * (visual == 8) else 4,
        }
        for pair in range(trial.n)
        for audio in trial.snrs
        for visual in trial.snrs
    ]
    (folder / "predictions").mkdir(exist_ok=True)
    table = pa.Table.from_pylist(rows, DIGITS.schema("predictions"))
    pq.write_table(table, folder / "predictions" / f"{trial.trial_id}.parquet")


def searched(folder: Path) -> Path:
    search = folder / "made-up"
    for trial in TRIALS:
        write_trial(open_storage(search), trial)
        write_predictions(search, trial)
    return search


def test_counts_equal_pandas_on_rows_in_random_order(tmp_path: Path) -> None:
    bench_predictions.write_predictions(tmp_path, rows=30_000, models=3)
    rows = pd.read_parquet(tmp_path / "predictions")
    rows["correct"] = rows["label"] == rows["predicted"]
    expected = rows.groupby(CELL)["correct"].agg(n="count", correct="sum").reset_index()
    pd.testing.assert_frame_equal(compute_counts(open_storage(tmp_path)), expected)
    one = f"{1:012x}"
    pd.testing.assert_frame_equal(
        compute_counts(open_storage(tmp_path), [one]),
        expected[expected["trial_id"] == one].reset_index(drop=True),
    )


def test_the_benchmark_compares_equal_counts() -> None:
    time, memory = bench_predictions.measure(rows=2_000, models=2, rounds=1)
    assert time.what == "0.002 million predictions to 200 cells"
    assert memory.unit == "MB"


def test_the_command_holds_the_counts_against_the_grids(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = searched(tmp_path)
    command = ["predictions", "made-up", "--storage", str(tmp_path), "--output", str(tmp_path)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "3,200 predictions of 2 trials: all 32 counts are those of the grids" in said
    assert len(pd.read_csv(tmp_path / "made-up-predictions.csv")) == 32
    write_predictions(search, TRIALS[1], changed=1)
    assert main(command) == 2
    assert "4 of 32 counts differ from the grid table" in capsys.readouterr().err


def test_no_predictions_and_damaged_ones_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = searched(tmp_path)
    command = ["predictions", "made-up", "--storage", str(tmp_path), "--output", str(tmp_path)]
    damaged = search / "predictions" / f"{TRIALS[0].trial_id}.parquet"
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    assert main(command) == 2
    assert "is damaged" in capsys.readouterr().err
    for file in (search / "predictions").iterdir():
        file.unlink()
    assert main(command) == 2
    assert "evaluation.predictions=true" in capsys.readouterr().err
