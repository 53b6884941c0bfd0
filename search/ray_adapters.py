"""What Ray Tune calls on the driver: our searcher, the schedulers, and the news from workers.

A worker reports rows as JSON: ``start``, ``epoch`` and ``end`` of every trial of a proposal. Only
an epoch, and not the last one, carries what schedulers look at: ``EPOCHS_RUN`` and ``PROGRESS``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ray import tune
from ray.tune import schedulers
from ray.tune.search import Searcher

from analysis.tables import FINISHED
from search.declaration import SchedulerSettings
from search.progress import Progress
from search.proposals import Proposals
from search.records import Recorder
from search.specification import TrialSpecification
from search.tracking import Tracker

TRIALS: Final = "trials"  # in a Ray trial's configuration: their specifications, JSON
SAMPLE: Final = "sample"
EPOCHS_RUN: Final = "epochs_run"  # over all trials of the proposal
PROGRESS: Final = "validation_accuracy"  # mean over its trials, of the best epoch so far

Row = dict[str, Any]


@dataclass
class _News:
    """What is known of one Ray trial."""

    started: Row = field(default_factory=dict)  # of the trial that runs now
    epochs: list[Row] = field(default_factory=list)
    ended: list[Row] = field(default_factory=list)
    progress: tuple[int, float] | None = None


class Driver(tune.Callback):
    """Hands what workers report to the console, to MLflow and to the searcher.

    Args:
        recorder: writes for trials that were stopped or whose worker died.
        progress, tracker: the console, and MLflow's thread.
        scheduler: in words, for the record of what it stops.
    """

    def __init__(
        self,
        recorder: Recorder,
        progress: Progress,
        tracker: Tracker | None,
        scheduler: str = "",
    ) -> None:
        self._recorder = recorder
        self._progress = progress
        self._tracker = tracker
        self._scheduler = scheduler
        self._news: dict[str, _News] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Ray writes its callbacks down to restore them; we go on from the records instead, and
        # the console and MLflow's thread cannot be written down.
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Row, **info: Any
    ) -> None:
        """A worker reported a row."""
        row = _row(json.loads(result["row"]))
        news = self._news.setdefault(trial.trial_id, _News())
        if result["event"] == "start":
            news.started, news.epochs = row, []
            self._progress.started(row)
            if self._tracker:
                self._tracker.trial_started(row)
        elif result["event"] == "epoch":
            news.epochs.append(row)
            if PROGRESS in result:
                news.progress = (result[EPOCHS_RUN], result[PROGRESS])
            trial_id = news.started["trial_id"]
            self._progress.epoch(trial_id, row)
            if self._tracker:
                self._tracker.epoch_ended(trial_id, row)
        else:
            self._ended(news, row)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker died, or could not write its records: say so in its stead."""
        news = self._news.setdefault(trial.trial_id, _News())
        specification = specifications(trial.config)[len(news.ended)]
        reason = f"the worker failed {trial.num_failures} times, the last time: {_cause(trial)}"
        started = self._recorder.started(specification, datetime.now(UTC), sample_of(trial.config))
        self._ended(news, self._recorder.failed(specification, reason, started))

    def outcome(self, ray_trial_id: str, config: Row) -> tuple[list[Row], tuple[int, float] | None]:
        """The rows of a Ray trial that is over, and how far it was.

        When the scheduler stopped it, nobody has recorded the trial it was running: do so.
        """
        news = self._news.setdefault(ray_trial_id, _News())
        if len(news.ended) < len(specifications(config)) and all(
            row["status"] == FINISHED for row in news.ended
        ):
            trial = specifications(config)[len(news.ended)]
            reason = f"stopped early by {self._scheduler} after {_count(news.epochs)}"
            self._ended(news, self._recorder.stopped(trial, news.epochs, news.started, reason))
        return news.ended, news.progress

    def _ended(self, news: _News, row: Row) -> None:
        news.ended.append(row)
        self._progress.ended(row)
        if self._tracker:
            self._tracker.trial_ended(row["trial_id"])


class ProposalSearcher(Searcher):
    """Any of our searchers, as Ray Tune wants one."""

    def __init__(self, proposals: Proposals, driver: Driver) -> None:
        super().__init__()
        self._proposals = proposals
        self._driver = driver
        self._running: dict[str, tuple[int, Row]] = {}

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next Ray trial."""
        proposal = self._proposals.next()
        if proposal is None:
            return str(Searcher.FINISHED)
        config = configuration(proposal.trials, proposal.sample)
        self._running[trial_id] = (proposal.number, config)
        return config

    def on_trial_complete(
        self, trial_id: str, result: Row | None = None, error: bool = False
    ) -> None:
        """A Ray trial is over: all its trials ended, or it was stopped, or its worker died."""
        if trial_id not in self._running:
            return
        number, config = self._running.pop(trial_id)
        rows, progress = ([], None) if error else self._driver.outcome(trial_id, config)
        self._proposals.close(number, rows, progress)

    def save(self, checkpoint_path: str) -> None:
        """Write the history down, as Ray asks for from time to time."""
        Path(checkpoint_path).write_text(self._proposals.to_json())

    def restore(self, checkpoint_path: str) -> None:
        """Go on from a history written by :meth:`save`."""
        self._proposals.load_json(Path(checkpoint_path).read_text())

    def get_state(self) -> Row:
        """What Ray pickles with its own state: the history, not the driver's threads."""
        return {"proposals": self._proposals.to_json()}

    def set_state(self, state: Row) -> None:
        """The inverse of :meth:`get_state`."""
        self._proposals.load_json(state["proposals"])

    def __getstate__(self) -> Row:
        return {}


def make_scheduler(settings: SchedulerSettings, epochs: int) -> schedulers.TrialScheduler | None:
    """Ray's scheduler; ``epochs`` is what one Ray trial runs in all."""
    looks: dict[str, Any] = {"time_attr": EPOCHS_RUN, "metric": PROGRESS, "mode": "max"}
    if settings.name == "asha":
        return schedulers.ASHAScheduler(
            **looks,
            max_t=epochs,
            grace_period=settings.grace_epochs,
            reduction_factor=settings.reduction,
        )
    if settings.name == "median":
        return schedulers.MedianStoppingRule(**looks, grace_period=settings.grace_epochs)
    return None


def configuration(
    trials: tuple[TrialSpecification, ...], sample: dict[str, Any] | None = None
) -> Row:
    """A Ray trial's configuration."""
    return {
        TRIALS: json.dumps([one.to_json() for one in trials]),
        SAMPLE: None if sample is None else json.dumps(sample),
    }


def specifications(config: Row) -> list[TrialSpecification]:
    """The trials of a Ray trial."""
    return [TrialSpecification.from_json(one) for one in json.loads(config[TRIALS])]


def sample_of(config: Row) -> dict[str, Any] | None:
    """The sample of a Ray trial; None in a sweep."""
    text = config.get(SAMPLE)
    sample: dict[str, Any] | None = None if text is None else json.loads(text)
    return sample


def reporter() -> Callable[..., None]:
    """A function that sends rows from the worker to :class:`Driver`."""

    def report(event: str, row: Row, **looked_at: float) -> None:
        # One JSON text: Tune must not flatten or average our rows.
        plain = {key: _plain(value) for key, value in row.items()}
        tune.report({"event": event, "row": json.dumps(plain), **looked_at})

    return report


def _plain(value: Any) -> Any:
    return {"time": value.isoformat()} if isinstance(value, datetime) else value


def _row(plain: Row) -> Row:
    return {
        key: datetime.fromisoformat(value["time"]) if isinstance(value, dict) else value
        for key, value in plain.items()
    }


def _count(epochs: list[Row]) -> str:
    return f"{len(epochs)} epoch{'' if len(epochs) == 1 else 's'}"


def _cause(trial: Any) -> str:
    """What Ray says of the last failure, in one line, from its file on the driver's machine.

    That is the last line of a traceback, or the first sentence on a process that died.
    """
    file = Path(trial.local_path) / (trial.run_metadata.error_filename or "error.txt")
    text = file.read_text(errors="replace") if file.is_file() else ""
    last = [line for line in text.rpartition("Failure #")[2].splitlines()[1:] if line.strip()]
    errors = [line for line in last if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (errors[-1:] or last[:1] or ["no word from Ray"])[0][:300]
