"""Dispatching trials by Ray Tune. The only file that knows Ray.

Ray's own state is not needed to go on: what has a record has ended, and everything else is run
by the next ``resume``.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
import torch
from pyarrow import fs
from ray import tune

from analysis.storage import Storage
from datasets.digits import DigitData
from search.configuration import Resources
from search.execution import execute
from search.progress import Progress
from search.records import Recorder
from search.specification import TrialSpecification
from search.tracking import Tracker


class ResourceError(ValueError):
    """The machines cannot run the trials as asked; the message is one sentence."""


@contextmanager
def connect(address: str, resources: Resources) -> Iterator[None]:
    """Connect to Ray, or start it, for as long as the block runs.

    Args:
        address: of a Ray cluster, or "local" to start Ray on this machine.

    Raises:
        ResourceError: there is no such cluster, or it lacks what one trial asks for.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # verbose=0 is silent only in the old output
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        _reach(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, ValueError) as error:
        detail = " ".join(str(error).split())[:200]
        raise ResourceError(
            f"there is no Ray cluster at {address!r} ({detail}); start one or leave out --address"
        ) from error
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    try:
        _check_resources(resources)
        yield
    finally:
        ray.shutdown()


def run_trials(
    trials: Sequence[TrialSpecification],
    data: DigitData,
    recorder: Recorder,
    resources: Resources,
    progress: Progress,
    tracker: Tracker | None,
) -> None:
    """Run the trials on the connected Ray; returns when all ended or the search was stopped."""
    trainable = tune.with_parameters(
        _trainable, data=data, recorder=recorder, threads=int(resources.cpus_per_trial)
    )
    tuner = tune.Tuner(
        tune.with_resources(
            trainable, {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
        ),
        param_space={"specification": tune.grid_search([one.to_json() for one in trials])},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=resources.concurrent_trials or None,
            # A fresh process per trial costs a second each.
            reuse_actors=True,
            trial_dirname_creator=lambda trial: _specification(trial).trial_id,
        ),
        run_config=tune.RunConfig(
            name=datetime.now(UTC).strftime("run-%Y%m%dT%H%M%S"),
            storage_path=_ray_folder(recorder.storage),
            verbose=0,
            # A worker that dies is tried once more before it is recorded as failed.
            failure_config=tune.FailureConfig(max_failures=1),
            callbacks=[_Driver(recorder, progress, tracker)],
        ),
    )
    with _terminate_as_interrupt():
        tuner.fit()


def _trainable(
    config: dict[str, Any], *, data: DigitData, recorder: Recorder, threads: int
) -> None:
    """One trial on a worker. Reports rows; the driver tells them to people."""
    torch.set_num_threads(max(1, threads))
    trial = TrialSpecification.from_json(config["specification"])

    def report(event: str, row: dict[str, Any]) -> None:
        # One JSON text: Tune must not flatten or average our rows.
        plain = {key: _plain(value) for key, value in row.items()}
        tune.report({"event": event, "row": json.dumps(plain)})

    ended = execute(
        trial,
        data,
        recorder,
        on_start=lambda row: report("start", row),
        on_epoch=lambda row: report("epoch", row),
    )
    report("end", ended)


class _Driver(tune.Callback):
    """Hands what workers report to the console and to MLflow."""

    def __init__(self, recorder: Recorder, progress: Progress, tracker: Tracker | None) -> None:
        self._recorder = recorder
        self._progress = progress
        self._tracker = tracker

    def __getstate__(self) -> dict[str, Any]:
        # Ray writes its callbacks down to restore them; we go on from the records instead, and
        # the console and MLflow's thread cannot be written down.
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A worker reported a row."""
        row = _row(json.loads(result["row"]))
        trial_id = _specification(trial).trial_id
        if result["event"] == "start":
            self._progress.started(row)
            if self._tracker:
                self._tracker.trial_started(row)
        elif result["event"] == "epoch":
            self._progress.epoch(trial_id, row)
            if self._tracker:
                self._tracker.epoch_ended(trial_id, row)
        else:
            self._ended(row)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker died, or could not write its records: say so in its stead."""
        specification = _specification(trial)
        reason = f"the worker failed {trial.num_failures} times, the last time: {_cause(trial)}"
        self._ended(self._recorder.failed(specification, reason, datetime.now(UTC)))

    def _ended(self, row: dict[str, Any]) -> None:
        self._progress.ended(row)
        if self._tracker:
            self._tracker.trial_ended(row["trial_id"])


def _specification(trial: Any) -> TrialSpecification:
    return TrialSpecification.from_json(trial.config["specification"])


def _cause(trial: Any) -> str:
    """What Ray says of the last failure, in one line, from its file on the driver's machine.

    That is the last line of a traceback, or the first sentence on a process that died.
    """
    file = Path(trial.local_path) / (trial.run_metadata.error_filename or "error.txt")
    text = file.read_text(errors="replace") if file.is_file() else ""
    last = [line for line in text.rpartition("Failure #")[2].splitlines()[1:] if line.strip()]
    errors = [line for line in last if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (errors[-1:] or last[:1] or ["no word from Ray"])[0][:300]


def _plain(value: Any) -> Any:
    return {"time": value.isoformat()} if isinstance(value, datetime) else value


def _row(plain: dict[str, Any]) -> dict[str, Any]:
    return {
        key: datetime.fromisoformat(value["time"]) if isinstance(value, dict) else value
        for key, value in plain.items()
    }


def _reach(address: str) -> None:
    """Raise ``OSError`` when nobody listens: Ray itself would go on trying for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _check_resources(resources: Resources) -> None:
    available = ray.cluster_resources()
    for kind, asked, field in (
        ("GPU", resources.gpus_per_trial, "gpus_per_trial"),
        ("CPU", resources.cpus_per_trial, "cpus_per_trial"),
    ):
        there = available.get(kind, 0)
        if asked > there:
            raise ResourceError(
                f"resources.{field} is {asked:g} but Ray sees {there:g} {kind}s; lower it with "
                f"--set resources.{field}={there:g}, or connect to a cluster with --address"
            )


def _ray_folder(storage: Storage) -> str:
    local = isinstance(storage.filesystem, fs.LocalFileSystem)
    return storage.path("ray") if local else f"{storage.location.rstrip('/')}/ray"


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM stop the search in the orderly way that Ray Tune stops on Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
