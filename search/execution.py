"""Running one trial and recording whatever becomes of it. No Ray here either."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from analysis.tables import FINISHED
from datasets.digits import DigitData
from search.records import Recorder
from search.space import Sample
from search.specification import TrialSpecification
from search.training import Epoch, TrialError
from search.trial import Continuation, choose_device, run_trial

Row = dict[str, Any]


def execute(
    trial: TrialSpecification,
    data: DigitData,
    recorder: Recorder,
    *,
    sample: Sample | None = None,
    on_start: Callable[[Row], None] = lambda row: None,
    on_epoch: Callable[[Row], None] = lambda row: None,
    continuation: Continuation | None = None,
) -> Row:
    """Run a trial and write its records; returns its row in the ``trials`` table.

    A trial that has finished before is answered from its record. One that raises is recorded as
    failed, with the reason. One that is interrupted (KeyboardInterrupt, a killed process) leaves
    no row: it has not ended, and is run again.
    """
    before = recorder.ended_row(trial)
    if before is not None and before["status"] == FINISHED:
        return before
    started = recorder.started(trial, datetime.now(UTC), sample)
    with contextlib.suppress(TrialError):  # a missing device fails the trial below
        started["device"] = choose_device(trial.device).type
    on_start(started)

    def report(epoch: Epoch) -> None:
        on_epoch(asdict(epoch))

    try:
        result = run_trial(trial, data, on_epoch=report, continuation=continuation)
        return recorder.finished(trial, result, started)
    except Exception as error:
        return recorder.failed(trial, failure_reason(error), started)


def failure_reason(error: BaseException) -> str:
    """One line: our own sentences as they are, others with their type."""
    text = " ".join(str(error).split())[:500]
    if type(error).__name__ in ("TrialError", "DataError"):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
