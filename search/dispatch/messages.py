"""What driver and workers say to each other through Ray Tune.

A Ray trial's configuration names the trials it stands for: a pack of a sweep's, trained together,
or a proposal's or its fold's, run one after another. A worker reports rows as JSON: ``start``,
``epoch`` and ``end`` of every trial, ``note`` with words for the console (``once``: of a machine,
not to be said again by its other processes), and ``stop`` when no trial can run. An epoch of a
proposal, but the very last one, carries what schedulers look at: ``EPOCHS_RUN`` and ``PROGRESS``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ray import tune

from fusion_search.search.running.samples.parts import Proposal
from fusion_search.search.spaces.parameters import Sample
from fusion_search.search.tasks.base import Task
from fusion_search.search.trials.specification import TrialSpecification, parse_specification

PROPOSAL: Final = "proposal"  # a Ray trial's configuration has this alone, and in it:
TRIALS: Final = "trials"  # their specifications, JSON
NUMBER: Final = "number"  # of the proposal
SAMPLE: Final = "sample"
HYPERPARAMETERS: Final = "hyperparameters"  # as the sample, until a scheduler perturbs them
EPOCHS_RUN: Final = "epochs_run"  # over all trials of the proposal
_SAVED: Final = "training.pt"
PROGRESS: Final = "score"  # in validation, mean over its trials of the best epoch so far

Row = dict[str, Any]


class StoppedEarly(BaseException):
    """Ray ends the thread of a trial that its scheduler stopped: no failure of the trial."""


def swept(pack: Sequence[TrialSpecification]) -> Row:
    """A Ray trial's configuration: one trial of a sweep, or several to be trained together."""
    return {PROPOSAL: {TRIALS: [one.to_json() for one in pack]}}


def proposed(proposal: Proposal) -> Row:
    """A Ray trial's configuration: what a searcher proposed."""
    return {
        PROPOSAL: {
            TRIALS: [one.to_json() for one in proposal.trials],
            NUMBER: proposal.number,
            SAMPLE: proposal.sample,
            HYPERPARAMETERS: dict(proposal.sample),
        }
    }


def specifications(config: Row, task: Task) -> list[TrialSpecification]:
    """The trials of a Ray trial, which are of this task."""
    return [parse_specification(one, task) for one in config[PROPOSAL][TRIALS]]


def packed(config: Row) -> bool:
    """Whether the trials of a Ray trial are trained together, and not one after another."""
    return SAMPLE not in config[PROPOSAL] and len(config[PROPOSAL][TRIALS]) > 1


def sample_of(config: Row) -> Sample | None:
    """The sample of a Ray trial; None in a sweep."""
    sample: Sample | None = config[PROPOSAL].get(SAMPLE)
    return sample


def reporter() -> Callable[..., None]:
    """A function that sends rows from the worker to the driver. It raises ``StoppedEarly``."""

    def report(event: str, row: Row, saved: bytes | None = None, **looked_at: float) -> None:
        # One JSON text: Tune must not flatten or average our rows.
        content = {"event": event, "row": write_row(row), **looked_at}
        try:
            if saved is None:
                tune.report(content)
                return
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / _SAVED).write_bytes(saved)
                tune.report(content, checkpoint=tune.Checkpoint.from_directory(folder))
        except SystemExit as stop:  # told apart from one in a trial's own code
            raise StoppedEarly from stop

    return report


def saved_state() -> bytes | None:
    """What the Ray trial that runs here, or the one it takes over, reported last."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return (Path(folder) / _SAVED).read_bytes()


def write_row(row: Row) -> str:
    """A row as JSON; times come back from :func:`read_row` as they were."""
    return json.dumps(
        {
            key: {"time": value.isoformat()} if isinstance(value, datetime) else value
            for key, value in row.items()
        }
    )


def read_row(plain: str) -> Row:
    """A row that a worker reported."""
    return {
        key: datetime.fromisoformat(value["time"]) if isinstance(value, dict) else value
        for key, value in json.loads(plain).items()
    }
