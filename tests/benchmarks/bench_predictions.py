"""Millions of predictions to the grids of 16 models, against pandas read-and-group-by.

Each side runs in a process of its own; time and memory count from after its imports.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from descriptions import digit_description, write_description

from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import SCHEMA_VERSION
from fusion_search.datasets.noise import TEST_SNRS
from tests.benchmarks.table import Measurement

CELL = ["trial_id", "test_audio_snr", "test_visual_snr"]
PREDICTIONS = digit_description().schema("predictions")
_CLOCK = """
import json, time
def megabytes(line):
    (found,) = [one for one in open("/proc/self/status") if one.startswith(line)]
    return int(found.split()[1]) / 1024
open("/proc/self/clear_refs", "w").write("5")  # the peak is measured from here on
before, start = megabytes("VmRSS"), time.perf_counter()
counts = count()
seconds, peak = time.perf_counter() - start, megabytes("VmHWM") - before
print(json.dumps([seconds, peak, counts.values.tolist()]))
"""
_OURS = """
import sys, pandas, pyarrow.parquet
from fusion_search.analysis.predictions import compute_counts
from fusion_search.analysis.records.storage import open_storage
count = lambda: compute_counts(open_storage(sys.argv[1]))
"""
_PANDAS = f"""
import sys, pandas, pyarrow.parquet
def count():
    rows = pandas.read_parquet(sys.argv[1] + "/predictions")
    rows["right"] = rows["label"] == rows["predicted"]
    return rows.groupby({CELL!r})["right"].agg(["count", "sum"]).reset_index()
"""


def write_predictions(folder: Path, rows: int, models: int) -> None:
    """Random predictions in random order, one file per model, written as the records are."""
    generator = np.random.default_rng(0)
    snrs = np.array(TEST_SNRS)
    (folder / "predictions").mkdir(parents=True)
    write_description(open_storage(folder))
    for model in range(models):
        count = rows // models
        columns = {
            "schema_version": np.full(count, SCHEMA_VERSION, dtype=np.int32),
            "trial_id": np.full(count, f"{model:012x}", dtype=object),
            "test_audio_snr": snrs[generator.integers(0, 10, count)],
            "test_visual_snr": snrs[generator.integers(0, 10, count)],
            "number": generator.integers(0, 100_000, count),
            "label": generator.integers(0, 10, count, dtype=np.int8),
            "predicted": generator.integers(0, 10, count, dtype=np.int8),
        }
        table = pa.table({name: columns[name] for name in columns if name in PREDICTIONS.names})
        for field in PREDICTIONS:
            if field.name not in columns:
                table = table.append_column(field, pa.nulls(count, field.type))
        table = table.select(PREDICTIONS.names).cast(PREDICTIONS)
        pq.write_table(table, folder / "predictions" / f"{model:012x}.parquet")


def run(code: str, folder: Path) -> tuple[float, float, list[list[object]]]:
    """Seconds, megabytes and rows that one side prints."""
    command = [sys.executable, "-c", code + _CLOCK, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak, counts = json.loads(done.stdout)
    return seconds, peak, counts


def measure(rows: int = 5_000_000, models: int = 16, rounds: int = 3) -> list[Measurement]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_predictions(folder, rows, models)
        sides = [sorted(run(code, folder) for _ in range(rounds)) for code in (_PANDAS, _OURS)]
    plain, ours = (side[rounds // 2] for side in sides)
    assert plain[2] == ours[2], "the counts differ"
    what = f"{rows / 1e6:g} million predictions to {len(ours[2]):,} cells"
    return [
        Measurement(
            what=what,
            against="pandas",
            unit="s",
            baseline=plain[0],
            ours=ours[0],
            note=f"aim: under 0.5 s; {'reached' if ours[0] < 0.5 else 'MISSED'}",
        ),
        Measurement(
            what=f"{what}, memory",
            against="pandas",
            unit="MB",
            baseline=plain[1],
            ours=ours[1],
            note=f"aim: under 300 MB; {'reached' if ours[1] < 300 else 'MISSED'}",
        ),
    ]
