"""Writing the Parquet records: every trial's tables whole, as it ends.

The tables themselves are described in ``analysis/records/tables.py``. A trial's row in ``trials``
is written last: a trial that has one is complete, and one that has none never ended.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import torch

from fusion_search.analysis.records.description import TaskDescription
from fusion_search.analysis.records.failures import write_failure
from fusion_search.analysis.records.storage import Storage
from fusion_search.analysis.records.tables import (
    CHECKPOINTS,
    FAILED,
    FINISHED,
    SCHEMA_VERSION,
    STOPPED,
    read_rows,
    to_parquet,
)
from fusion_search.datasets.batch import Data
from fusion_search.search.records.provenance import Provenance
from fusion_search.search.records.saved_states import forget
from fusion_search.search.spaces.objectives import Objective
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.trials.results import Grid
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.trial import TrialResult


class Recorder:
    """Writes the records of one search. Picklable: it travels to the workers.

    Args:
        storage: the search's folder.
        search: its name.
        description: of its task.
        origin: of the code; it goes into every record.
        objectives: what a search over a space optimises; a sweep has none.
        cpus_per_trial: what it gives a trial.
    """

    def __init__(
        self,
        storage: Storage,
        search: str,
        description: TaskDescription,
        origin: Provenance,
        objectives: Sequence[Objective] = (),
        cpus_per_trial: float | None = None,
    ) -> None:
        self.storage = storage
        self.search = search
        self.description = description
        self.objectives = tuple(objectives)
        self._shared = {"cpus_per_trial": cpus_per_trial, **asdict(origin)}

    def started(
        self,
        trial: TrialSpecification,
        data: Data,
        started_at: datetime,
        sample: Sample | None = None,
        packed_trials: int = 1,
    ) -> dict[str, Any]:
        """The part of a trial's row in ``trials`` that is known when it starts.

        Who runs it adds what is of its machine.
        """
        return {
            **self._key(trial),
            "trial_name": trial.trial_name,
            **trial.columns(),
            "specification": trial.to_json(),
            "sample": None if sample is None else json.dumps(sample),
            "started_at": started_at,
            "packed_trials": packed_trials,
            "data_fingerprint": data.fingerprint,
            "split_fingerprint": data.split_fingerprint or None,
            "data_note": data.note,
            **self._shared,
        }

    def finished(
        self,
        trial: TrialSpecification,
        result: TrialResult,
        started: Mapping[str, Any],
        clock: float,
    ) -> dict[str, Any]:
        """Record a finished trial and its best checkpoint; returns its row in ``trials``.

        Args:
            trial, result: the trial and what it gave.
            started: its row as :meth:`started` gave it.
            clock: when it began (``time.monotonic`` of this process).
        """
        assert result.grid is not None
        assert result.best is not None
        key = self._key(trial)
        self._write_epochs(trial, [epoch.row() for epoch in result.epochs])
        self._write(
            trial,
            "grid",
            [
                {
                    **key,
                    **_snrs(one.condition),
                    "n": one.n,
                    "loss": one.loss,
                    **one.metrics,
                    **{f"{name}_sum": total for name, total in one.sums.items()},
                }
                for one in (*result.grid.evaluations, *result.grid.absent)
            ],
        )
        if trial.evaluation.predictions:
            self._write(trial, "predictions", self._predictions(trial, result))
        self.storage.write(_checkpoint(trial, result), CHECKPOINTS, f"{trial.trial_id}.pt")
        row = {
            **started,
            "status": FINISHED,
            "device": result.device,
            "engine": result.engine,
            "parameters": result.parameters,
            "multiply_accumulates": result.multiply_accumulates,
            "epochs_run": len(result.epochs),
            **({"changes": json.dumps(result.schedule)} if result.schedule else {}),
            "best_epoch": result.best.epoch,
            **{f"validation_{name}": value for name, value in result.best.validation.items()},
            **self._optimistic([epoch.row() for epoch in result.epochs]),
            **self._over_grid(trial, result.grid),
            **_ended(clock),
            "train_seconds": result.train_seconds,
            "evaluation_seconds": result.evaluation_seconds,
            "absent_seconds": result.absent_seconds,
            "data_seconds": result.data_seconds,
            "milliseconds_per_example": result.milliseconds_per_example,
            "peak_memory_bytes": result.peak_memory_bytes,
        }
        if self.objectives:
            row["objective_values"] = [
                one.value(row, result.grid.values(one.metric) if one.is_quantile else ())
                for one in self.objectives
            ]
        self._end(trial, row)
        return row

    def stopped(
        self,
        trial: TrialSpecification,
        epochs: Sequence[Mapping[str, Any]],
        started: Mapping[str, Any],
        reason: str,
        clock: float,
    ) -> dict[str, Any]:
        """Record a trial that the scheduler stopped early, with the epochs it had.

        ``clock`` is when this process heard of its beginning (``time.monotonic``).
        """
        self._write_epochs(trial, epochs)
        best = self._best(epochs, "validation")
        row = {
            **started,
            "status": STOPPED,
            "reason": reason,
            "epochs_run": len(epochs),
            "best_epoch": best["epoch"],
            **{name: best[name] for name in self._validated if name in best},
            **self._optimistic(epochs),
            **_ended(clock),
            "train_seconds": epochs[-1]["seconds"],
        }
        self._end(trial, row)
        return row

    def failed(
        self,
        trial: TrialSpecification,
        reason: str,
        started: Mapping[str, Any],
        known: str,
        clock: float,
    ) -> dict[str, Any]:
        """Record a failed trial; returns its row in ``trials``.

        Args:
            trial, started: the trial, and its row as :meth:`started` gave it.
            reason: one sentence.
            known: all that is known, such as the traceback.
            clock: when this process heard of its beginning (``time.monotonic``).
        """
        row = {**started, "status": FAILED, "reason": reason, **_ended(clock)}
        write_failure(self.storage, row, known)
        self._end(trial, row)
        return row

    def _end(self, trial: TrialSpecification, row: Mapping[str, Any]) -> None:
        self._write(trial, "trials", [row])
        forget(self.storage, trial.trial_id)

    def ended_row(self, trial: TrialSpecification) -> dict[str, Any] | None:
        """The row in ``trials`` of a trial that has ended; None when it has not."""
        try:
            rows = read_rows(self.storage, "trials", [trial.trial_id])
        except FileNotFoundError:
            return None
        return rows[0] if rows else None

    def _write_epochs(self, trial: TrialSpecification, epochs: Sequence[Mapping[str, Any]]) -> None:
        self._write(trial, "epochs", [{**self._key(trial), **one} for one in epochs])

    def _over_grid(self, trial: TrialSpecification, grid: Grid) -> dict[str, Any]:
        """Every metric at the train condition, at its worst, and on average."""
        found: dict[str, Any] = {}
        for one in self.description.metrics:
            values = grid.values(one.name)
            found[f"train_condition_{one.name}"] = grid.at(trial.train, one.name)
            found[f"worst_{one.name}"] = min(values) if one.sign > 0 else max(values)
            found[f"mean_{one.name}"] = grid.mean(one.name)
        return found

    def _best(self, epochs: Sequence[Mapping[str, Any]], split: str) -> Mapping[str, Any]:
        """The row with the best first metric on a split, then the lowest loss."""
        metric = self.description.metric
        return max(
            epochs,
            key=lambda one: (metric.sign * one[f"{split}_{metric.name}"], -one[f"{split}_loss"]),
        )

    def _optimistic(self, epochs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The epoch that is best by the test split, and its metrics there; nothing untested."""
        if any(one.get("test_loss") is None for one in epochs):
            return {}
        best = self._best(epochs, "test")
        tested = [one.name for one in self.description.metrics if one.each_epoch]
        return {
            "optimistic_epoch": best["epoch"],
            **{f"optimistic_{name}": best[f"test_{name}"] for name in tested},
        }

    @property
    def _validated(self) -> list[str]:
        return [f"validation_{one.name}" for one in self.description.metrics if one.each_epoch]

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
        for one, kept in zip(result.grid.evaluations, result.grid.predictions, strict=True):
            for number, label, answer in zip(*(part.tolist() for part in kept), strict=True):
                yield {
                    **self._key(trial),
                    **_snrs(one.condition),
                    "number": number,
                    "label": label,
                    "predicted": answer,
                }

    def _write(
        self, trial: TrialSpecification, table: str, rows: Iterable[Mapping[str, Any]]
    ) -> None:
        content = pa.Table.from_pylist(list(rows), schema=self.description.schema(table))
        self.storage.write(to_parquet(content), table, f"{trial.trial_id}.parquet")


def _ended(clock: float) -> dict[str, Any]:
    # Not the difference of the two times: somebody may set the clock in between, and a trial that
    # another machine began has that one's time.
    return {"ended_at": datetime.now(UTC), "seconds": time.monotonic() - clock}


def _snrs(condition: Mapping[str, Any]) -> dict[str, float]:
    return {f"test_{axis}": snr for axis, snr in condition.items()}


def _checkpoint(trial: TrialSpecification, result: TrialResult) -> bytes:
    """Plain values and tensors alone, so that it loads with ``weights_only=True``."""
    buffer = io.BytesIO()
    torch.save({"specification": trial.to_json(), "state": result.state}, buffer)
    return buffer.getvalue()
