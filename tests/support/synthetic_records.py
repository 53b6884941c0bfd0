"""Records of made-up trials, written through pyarrow with the schemas of analysis.tables."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import FAILED, FINISHED, GRID, SCHEMA_VERSION, TRIALS

SNRS = (math.inf, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NOTE = "built-in digits (scikit-learn handwriting, synthesised voice), NOT MNIST"


@dataclass(frozen=True)
class Trial:
    pair: tuple[float, float]
    depth: int = 0
    seed: int = 0
    modality: str = "both"
    correct: Callable[[float, float], int] = lambda audio, visual: 50
    n: int = 100
    snrs: Sequence[float] = SNRS
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def trial_id(self) -> str:
        audio, visual = self.pair
        return f"{self.modality}{self.depth}a{audio:g}v{visual:g}s{self.seed}".replace(".", "p")

    @property
    def name(self) -> str:
        return f"name-{self.trial_id}"


def write_trial(search: Storage, trial: Trial, reason: str | None = None) -> None:
    """Write the rows of one trial; with a ``reason`` it failed and has no grid."""
    row = {
        "schema_version": SCHEMA_VERSION,
        "search": "made-up",
        "trial_id": trial.trial_id,
        "trial_name": trial.name,
        "status": FAILED if reason else FINISHED,
        "reason": reason,
        "modality": trial.modality,
        "fusion_depth": trial.depth,
        "levels": 2,
        "train_audio_snr": trial.pair[0],
        "train_visual_snr": trial.pair[1],
        "seed": trial.seed,
        "data_note": NOTE,
        "data_fingerprint": "0" * 16,
        "device": "cpu",
        "started_at": BEGIN,
        "ended_at": BEGIN + timedelta(minutes=1),
        "seconds": 60.0,
        **({} if reason else {"validation_accuracy": 0.5, "mean_accuracy": 0.5}),
        **trial.extra,
    }
    write_rows(search, "trials", str(row["trial_id"]), [row], TRIALS)
    if reason:
        return
    audio_snrs = [math.inf] if trial.modality == "visual" else trial.snrs
    visual_snrs = [math.inf] if trial.modality == "audio" else trial.snrs
    rows = [
        {
            "schema_version": SCHEMA_VERSION,
            "search": "made-up",
            "trial_id": trial.trial_id,
            "test_audio_snr": audio,
            "test_visual_snr": visual,
            "n": trial.n,
            "correct": trial.correct(audio, visual),
            "loss": 1.0,
        }
        for audio, visual in itertools.product(audio_snrs, visual_snrs)
    ]
    write_rows(search, "grid", trial.trial_id, rows, GRID)


def write_rows(
    search: Storage, table: str, trial_id: str, rows: list[dict[str, Any]], schema: pa.Schema
) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    search.write(sink.getvalue().to_pybytes(), table, f"{trial_id}.parquet")


def write_planned(search: Storage, trials: Sequence[Trial]) -> None:
    def snr(value: float) -> float | str:
        return "original" if math.isinf(value) else value

    rows = [
        {
            "trial_id": trial.trial_id,
            "trial_name": trial.name,
            "modality": trial.modality,
            "fusion_depth": trial.depth,
            "train_audio_snr": snr(trial.pair[0]),
            "train_visual_snr": snr(trial.pair[1]),
            "seed": trial.seed,
        }
        for trial in trials
    ]
    search.write(json.dumps(rows).encode(), "planned.json")
