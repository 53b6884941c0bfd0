"""Writing the Parquet records: every trial's tables whole, as it ends.

The tables themselves are described in ``analysis.tables``. A trial's row in ``trials`` is written
last: a trial that has one is complete, and one that has none never ended.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from analysis.storage import Storage
from analysis.tables import (
    CHECKPOINTS,
    FAILED,
    FINISHED,
    PLANNED_FILE,
    SCHEMA_VERSION,
    TABLES,
)
from search.provenance import Provenance
from search.specification import TRIAL_FIELDS, TrialSpecification, snr_text
from search.trial import TrialResult

TRIAL_COLUMNS: Final = tuple(name for name in TRIAL_FIELDS if name in TABLES["trials"].names)


class Recorder:
    """Writes the records of one search. Picklable: it travels to the workers.

    Args:
        storage: the search's folder.
        search: its name.
        fingerprint, note: of the examples; they go into every record.
        origin: code, packages and machine.
    """

    def __init__(
        self, storage: Storage, search: str, fingerprint: str, note: str, origin: Provenance
    ) -> None:
        self.storage = storage
        self.search = search
        self._shared = {
            "data_fingerprint": fingerprint,
            "data_note": note,
            **asdict(origin),
        }

    def started(self, trial: TrialSpecification, started_at: datetime) -> dict[str, Any]:
        """The part of a trial's row in ``trials`` that is known when it starts."""
        return {
            **self._key(trial),
            "trial_name": trial.trial_name,
            **{name: getattr(trial, name) for name in TRIAL_COLUMNS},
            "specification": trial.to_json(),
            "started_at": started_at,
            **self._shared,
        }

    def finished(
        self, trial: TrialSpecification, result: TrialResult, started_at: datetime
    ) -> dict[str, Any]:
        """Record a finished trial and its best checkpoint; returns its row in ``trials``."""
        assert result.grid is not None
        assert result.best is not None
        key = self._key(trial)
        self._write(trial, "epochs", [{**key, **asdict(epoch)} for epoch in result.epochs])
        conditions = result.grid.conditions
        self._write(
            trial,
            "grid",
            [
                {
                    **key,
                    **_snrs(one.pair),
                    "n": one.n,
                    "correct": one.correct,
                    "loss": one.loss / one.n,
                }
                for one in conditions
            ],
        )
        if trial.predictions:
            self._write(trial, "predictions", self._predictions(trial, result))
        self.storage.write(_checkpoint(trial, result), CHECKPOINTS, f"{trial.trial_id}.pt")
        ended_at = datetime.now(UTC)
        row = {
            **self.started(trial, started_at),
            "status": FINISHED,
            "device": result.device,
            "parameters": result.parameters,
            "best_epoch": result.best.epoch,
            "validation_accuracy": result.best.validation_accuracy,
            "train_pair_accuracy": result.grid.accuracy(trial.train_pair),
            "mean_accuracy": result.grid.mean_accuracy,
            "ended_at": ended_at,
            "seconds": (ended_at - started_at).total_seconds(),
            "train_seconds": result.train_seconds,
            "evaluation_seconds": result.evaluation_seconds,
            "data_seconds": result.data_seconds,
            "peak_memory_bytes": result.peak_memory_bytes,
        }
        self._write(trial, "trials", [row])
        return row

    def failed(
        self, trial: TrialSpecification, reason: str, started_at: datetime
    ) -> dict[str, Any]:
        """Record a failed trial with its reason; returns its row in ``trials``."""
        ended_at = datetime.now(UTC)
        row = {
            **self.started(trial, started_at),
            "status": FAILED,
            "reason": reason,
            "ended_at": ended_at,
            "seconds": (ended_at - started_at).total_seconds(),
        }
        self._write(trial, "trials", [row])
        return row

    def _key(self, trial: TrialSpecification) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "search": self.search,
            "trial_id": trial.trial_id,
        }

    def _predictions(
        self, trial: TrialSpecification, result: TrialResult
    ) -> Iterable[Mapping[str, Any]]:
        assert result.grid is not None
        pairs, labels = result.grid.pairs.tolist(), result.grid.labels.tolist()
        for one in result.grid.conditions:
            predicted = torch.cat(one.predicted).tolist()
            for pair, label, answer in zip(pairs, labels, predicted, strict=True):
                yield {
                    **self._key(trial),
                    **_snrs(one.pair),
                    "pair": pair,
                    "label": label,
                    "predicted": answer,
                }

    def _write(
        self, trial: TrialSpecification, table: str, rows: Iterable[Mapping[str, Any]]
    ) -> None:
        content = pa.Table.from_pylist(list(rows), schema=TABLES[table])
        buffer = io.BytesIO()
        pq.write_table(content, buffer)
        self.storage.write(buffer.getvalue(), table, f"{trial.trial_id}.parquet")


def write_plan(storage: Storage, trials: Sequence[TrialSpecification]) -> None:
    """Write the trials a search consists of, so that what is missing can be named."""
    plan = [
        {
            "trial_id": trial.trial_id,
            "trial_name": trial.trial_name,
            "modality": trial.modality,
            "fusion_depth": trial.fusion_depth,
            "train_audio_snr": _json_snr(trial.train_audio_snr),
            "train_visual_snr": _json_snr(trial.train_visual_snr),
            "seed": trial.seed,
        }
        for trial in trials
    ]
    storage.write(json.dumps(plan, indent=1).encode(), PLANNED_FILE)


def ended_trials(storage: Storage) -> set[str]:
    """Ids of the trials that have a record, finished or failed."""
    return {name.removesuffix(".parquet") for name in storage.names("trials")}


def _json_snr(snr: float) -> float | str:
    text = snr_text(snr)
    return text if text == "original" else snr


def _snrs(pair: tuple[float, float]) -> dict[str, float]:
    return {"test_audio_snr": pair[0], "test_visual_snr": pair[1]}


def _checkpoint(trial: TrialSpecification, result: TrialResult) -> bytes:
    """Plain values and tensors alone, so that it loads with ``weights_only=True``."""
    buffer = io.BytesIO()
    torch.save(
        {
            "network": asdict(trial.network),
            "data": asdict(trial.data),
            "state": result.state,
            "noise_seed": trial.seed,
            "train_pair": list(trial.train_pair),
        },
        buffer,
    )
    return buffer.getvalue()
