"""Records of made-up digit trials, written through pyarrow with the columns of ``task.json``."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from descriptions import SNRS as SNRS
from descriptions import digit_description, write_description

from fusion_search.analysis.records.description import TASK_FILE
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import FAILED, FINISHED, SCHEMA_VERSION

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NOTE = "built-in digits (scikit-learn handwriting, synthesised voice), NOT MNIST"
DIGITS = digit_description()
ABSENT = -math.inf


@dataclass(frozen=True)
class Trial:
    """One trial; with ``absent`` its inputs were also tested as absent."""

    pair: tuple[float, float]
    depth: int = 0
    seed: int = 0
    streams: tuple[str, ...] = ()
    correct: Callable[[float, float], int] = lambda audio, visual: 50
    n: int = 100
    snrs: Sequence[float] = SNRS
    absent: bool = False
    fold: int = 0
    placement: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def trial_id(self) -> str:
        audio, visual = self.pair
        what = "".join(self.streams) or "both"
        folds = f"f{self.fold}" * bool(self.fold)
        placed = "".join(kind for site in self.placement.values() for kind in site.values())
        varied = "".join(f"{name}{value}" for name, value in self.settings.items())
        name = f"{what}{self.depth}{placed}{varied}a{audio:g}v{visual:g}s{self.seed}{folds}"
        return name.replace(".", "p")

    @property
    def name(self) -> str:
        return f"name-{self.trial_id}"

    @property
    def identity(self) -> dict[str, Any]:
        """As ``planned.json`` holds it."""
        return {
            "trial_id": self.trial_id,
            "trial_name": self.name,
            "streams": list(self.streams),
            "levels": 2,
            "fusion_depth": self.depth,
            "placement": json.dumps(self.placement),
            "end": "",
            "train": train_text(audio_snr=self.pair[0], visual_snr=self.pair[1]),
            "fold": self.fold,
            "seed": self.seed,
            "settings": self.settings,
        }


def train_text(**snrs: float) -> str:
    """A train condition as records hold it."""
    words = {math.inf: "original", ABSENT: "absent"}
    return json.dumps({name: words.get(snr, snr) for name, snr in snrs.items()})


def write_trial(search: Storage, trial: Trial, reason: str | None = None) -> None:
    """Write the rows of one trial; with a ``reason`` it failed and has no grid."""
    if not search.exists(TASK_FILE):
        write_description(search, digit_description(absent=trial.absent))
    row = {
        "schema_version": SCHEMA_VERSION,
        "search": "made-up",
        "status": FAILED if reason else FINISHED,
        "reason": reason,
        "task": "digits",
        **trial.identity,
        "train_audio_snr": trial.pair[0],
        "train_visual_snr": trial.pair[1],
        "split": "test",
        "data_note": NOTE,
        "data_fingerprint": "0" * 16,
        "device": "cpu",
        "started_at": BEGIN,
        "ended_at": BEGIN + timedelta(minutes=1),
        "seconds": 60.0,
        **({} if reason else {"validation_accuracy": 0.5, "mean_accuracy": 0.5}),
        **trial.extra,
    }
    write_rows(search, "trials", str(row["trial_id"]), [row])
    if reason:
        return
    # A network of one stream meets the other's input without noise alone.
    audio_snrs = trial.snrs if trial.streams != ("image",) else [math.inf]
    visual_snrs = trial.snrs if trial.streams != ("audio",) else [math.inf]
    conditions = [*itertools.product(audio_snrs, visual_snrs)]
    if trial.absent:
        conditions += [(ABSENT, visual) for visual in visual_snrs]
        conditions += [(audio, ABSENT) for audio in audio_snrs]
    rows = [
        {
            "schema_version": SCHEMA_VERSION,
            "search": "made-up",
            "trial_id": trial.trial_id,
            "test_audio_snr": audio,
            "test_visual_snr": visual,
            "n": trial.n,
            "loss": 1.0,
            "accuracy": trial.correct(audio, visual) / trial.n,
            "accuracy_sum": float(trial.correct(audio, visual)),
        }
        for audio, visual in conditions
    ]
    write_rows(search, "grid", trial.trial_id, rows)


def write_rows(
    search: Storage,
    table: str,
    trial_id: str,
    rows: list[dict[str, Any]],
    schema: pa.Schema | None = None,
) -> None:
    """Write a trial's rows of a table, as digits have it by default."""
    sink = pa.BufferOutputStream()
    columns = schema or DIGITS.schema(table)
    pq.write_table(pa.Table.from_pylist(rows, schema=columns), sink)
    search.write(sink.getvalue().to_pybytes(), table, f"{trial_id}.parquet")


def write_planned(search: Storage, trials: Sequence[Trial]) -> None:
    plan = {"planned": len(trials), "trials": [trial.identity for trial in trials]}
    search.write(json.dumps(plan).encode(), "planned.json")


def fill(storage: Storage, trials: Sequence[Trial], name: str = "made-up") -> Storage:
    """A search's folder with these trials."""
    search = storage.below(name)
    for trial in trials:
        write_trial(search, trial)
    return search


def late_and_initial() -> list[Trial]:
    """Initial fusion: 60. Late: 50, 55, 52 where audio is original, 60 at 16, 70 elsewhere."""

    pair = (0.5, 0.25)

    def late(seed: int) -> object:
        def correct(audio: float, visual: float) -> int:
            return [50, 55, 52][seed] if math.isinf(audio) else 60 if audio == 16 else 70 + seed

        return correct

    initial = [Trial(pair, depth=0, seed=seed, correct=lambda a, v: 60) for seed in range(4)]
    return [*initial, *(Trial(pair, depth=2, seed=k, correct=late(k)) for k in range(3))]  # type: ignore[arg-type]
