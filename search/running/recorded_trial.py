"""Running one trial, or a pack, and recording whatever becomes of it. No Ray here either."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.secrets import sentence
from fusion_search.analysis.records.tables import FINISHED
from fusion_search.datasets.errors import DataError
from fusion_search.search.records.provenance import machine_columns
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.records.saved_states import StateError, load_state, saver
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.tasks.base import TrialError
from fusion_search.search.tasks.captured import with_capture
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.trials.packing import FAILURES, run_pack
from fusion_search.search.trials.results import Epoch
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.trial import (
    Continuation,
    TrialResult,
    choose_device,
    device_name,
    run_trial,
    saved_epochs,
)

Row = dict[str, Any]


class SearchStoppedError(ValueError):
    """No trial of the search can end as it should; the message is one sentence."""


def execute(
    trial: TrialSpecification,
    opened: OpenedTask,
    recorder: Recorder,
    *,
    sample: Sample | None = None,
    on_start: Callable[[Row], None] = lambda row: None,
    on_epoch: Callable[[Row], None] = lambda row: None,
    say: Callable[[str], None] = lambda text: None,
    save_seconds: float | None = None,
    continuation: Continuation | None = None,
) -> Row:
    """Run a trial and write its records; returns its row in the ``trials`` table.

    A trial that has finished before is answered from its record. One that raises, or calls
    ``sys.exit``, is recorded as failed, with the reason. One that is interrupted
    (KeyboardInterrupt, a killed process) leaves no row: it has not ended, and is run again; so it
    is when its records cannot be written. It then goes on from the state it
    saved last, and its earlier epochs are reported again.

    Args:
        save_seconds: how often the state is saved; None for never.
        say: told in words how the trial goes on.
        continuation: for a scheduler that keeps the states itself.

    Raises:
        StorageError: the storage is full, or did not answer for as long as the recorder waits.
    """
    before = recorder.ended_row(trial)
    if before is not None and before["status"] == FINISHED:
        return before
    clock = time.monotonic()
    data = opened.data(trial.data, trial.fold)
    started = recorder.started(trial, data, datetime.now(UTC), sample)
    _add_machine(started, trial, opened)
    on_start(started)

    def report(epoch: Epoch) -> None:
        on_epoch(_epoch_row(trial, epoch))

    def tell(text: str) -> None:
        say(f"{trial.trial_name}: {text}")

    try:
        if continuation is None and save_seconds is not None:
            saved = _saved(trial, data.fingerprint, recorder, tell)
            continuation = Continuation(
                saved=saved,
                save=saver(recorder.storage, trial, tell),
                save_seconds=save_seconds,
            )
            if saved is not None:
                epochs = saved_epochs(saved)
                tell(f"goes on after epoch {len(epochs)}")
                for epoch in epochs:
                    report(epoch)
        result = run_trial(trial, opened, on_epoch=report, continuation=continuation)
        return recorder.finished(trial, result, started, clock)
    except StorageError:
        raise
    except FAILURES as error:
        return _failed(trial, error, recorder, started, clock)


def _failed(
    trial: TrialSpecification, error: BaseException, recorder: Recorder, started: Row, clock: float
) -> Row:
    known = "".join(traceback.format_exception(error))
    return recorder.failed(trial, failure_reason(error), started, known, clock)


def _saved(
    trial: TrialSpecification, fingerprint: str, recorder: Recorder, say: Callable[[str], None]
) -> bytes | None:
    """The state an earlier run of the trial left, if it can be used."""
    try:
        return load_state(recorder.storage, trial, fingerprint)
    except StateError as error:
        say(f"its saved state is not used: {error}; it begins again")
        return None


def execute_pack(
    trials: Sequence[TrialSpecification],
    opened: OpenedTask,
    recorder: Recorder,
    *,
    on_start: Callable[[Row], None] = lambda row: None,
    on_epoch: Callable[[Row], None] = lambda row: None,
    on_end: Callable[[Row], None] = lambda row: None,
) -> None:
    """Run trials together and write the records of each, as :func:`execute` does.

    ``on_end`` is given each one's row in the ``trials`` table, as it ends. What befalls one is
    recorded of it alone; what befalls all, such as memory that does not suffice, of each.
    """
    running: dict[TrialSpecification, Row] = {}
    before = {trial: recorder.ended_row(trial) for trial in trials}
    waiting = [one for one, row in before.items() if row is None or row["status"] != FINISHED]
    for trial, row in before.items():
        if row is not None and trial not in waiting:
            on_end(row)
    if not waiting:
        return
    clock = time.monotonic()
    for trial in waiting:
        data = opened.data(trial.data, trial.fold)
        row = recorder.started(trial, data, datetime.now(UTC), packed_trials=len(waiting))
        _add_machine(row, trial, opened)
        running[trial] = row
        on_start(row)

    def end(trial: TrialSpecification, outcome: TrialResult | BaseException) -> None:
        started = running.pop(trial)
        if isinstance(outcome, BaseException):
            # Not raised again: one that befalls all would grow with each.
            on_end(_failed(trial, outcome, recorder, started, clock))
            return
        try:
            row = recorder.finished(trial, outcome, started, clock)
        except StorageError:
            raise
        except FAILURES as error:
            row = _failed(trial, error, recorder, started, clock)
        on_end(row)

    try:
        for trial, news in run_pack(waiting, opened):
            if isinstance(news, Epoch):
                on_epoch(_epoch_row(trial, news))
            else:
                end(trial, news)
    except StorageError:
        raise
    except FAILURES as error:
        for trial in list(running):
            end(trial, error)


def _add_machine(row: Row, trial: TrialSpecification, opened: OpenedTask) -> None:
    """Where this process runs and computes with what: of a trial that never finishes, too."""
    row |= {**machine_columns(), "threads": torch.get_num_threads()}
    with contextlib.suppress(TrialError):  # a missing one fails the trial afterwards
        device = choose_device(trial.training.device)
        row |= {"device": device.type, "device_name": device_name(device.type)}
        data = opened.data(trial.data, trial.fold)
        steps = trial.training.steps(trial.training.examples or len(data.train))  # type: ignore[arg-type]
        engine = opened.task.engine(trial.network, steps, device)
        row["engine"] = with_capture(engine, opened.task, trial.network, device)


def _epoch_row(trial: TrialSpecification, epoch: Epoch) -> Row:
    return {"trial_id": trial.trial_id, **epoch.row()}


def failure_reason(error: BaseException) -> str:
    """One line: our own sentences as they are, others with their type."""
    text = sentence(error)[:500]
    if _out_of_memory(error):
        return (
            f"out of memory ({type(error).__name__}: {text[:200]}); lower batch_size or the "
            "network's width, or run fewer trials at once with resources.concurrent_trials"
        )
    if isinstance(error, TrialError | DataError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _out_of_memory(error: BaseException) -> bool:
    # On a CPU, torch raises a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
