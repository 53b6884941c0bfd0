"""What Ray Tune calls on the driver: our searcher, and the news from workers."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.secrets import without_password
from fusion_search.analysis.records.selection import count_label
from fusion_search.analysis.records.tables import FINISHED
from fusion_search.search.declaration.specification import Resources
from fusion_search.search.dispatch.messages import (
    EPOCHS_RUN,
    NUMBER,
    PROGRESS,
    PROPOSAL,
    Row,
    packed,
    proposed,
    read_row,
    sample_of,
    specifications,
)
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.running.progress import Progress
from fusion_search.search.running.samples.proposals import Proposals
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.tracking.tracker import Tracker
from fusion_search.search.trials.specification import TrialSpecification


@dataclass
class _Running:
    """A trial that a worker has begun."""

    started: Row
    epochs: list[Row] = field(default_factory=list)
    clock: float = field(default_factory=time.monotonic)  # when the driver heard of it


@dataclass
class _News:
    """What is known of one Ray trial."""

    trial: Any  # Ray's
    running: dict[str, _Running] = field(default_factory=dict)  # by trial id
    ended: dict[str, Row] = field(default_factory=dict)
    progress: tuple[int, float] | None = None
    begun: float = 0.0  # when the latest trial did, by the driver's monotonic clock
    overdue: str = ""  # why the driver killed its worker

    @property
    def rows(self) -> list[Row]:
        """Of the trials that ended."""
        return list(self.ended.values())


class Driver(tune.Callback):
    """Hands what workers report to the console, to MLflow and to the searcher.

    Args:
        opened: the task of the trials with its data.
        recorder: writes for trials that were stopped or whose worker died.
        progress, tracker: the console, and MLflow's thread.
        resources: retries and deadline.
        scheduler: in words, for the record of what it stops.
        proposals: of a search over a space; they learn what became of each.
    """

    def __init__(
        self,
        opened: OpenedTask,
        recorder: Recorder,
        progress: Progress,
        tracker: Tracker | None,
        resources: Resources,
        scheduler: str = "",
        proposals: Proposals | None = None,
    ) -> None:
        self._opened = opened
        self._recorder = recorder
        self._progress = progress
        self._tracker = tracker
        self._resources = resources
        self._scheduler = scheduler
        self._proposals = proposals
        self._news: dict[str, _News] = {}
        self._said: set[str] = set()  # notes that are not said again
        self.stopped: str | None = None  # why, when no trial can end as it should

    def __getstate__(self) -> dict[str, Any]:
        # Ray writes its callbacks down to restore them; we go on from the records instead, and
        # the console and MLflow's thread cannot be written down.
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Row, **info: Any
    ) -> None:
        """A worker reported a row."""
        row = read_row(result["row"])
        if result["event"] == "stop":
            self._stop(row["reason"])
            return
        if result["event"] == "note":
            if row["text"] not in self._said:
                self._progress.say(row["text"])
            if row.get("once"):
                self._said.add(row["text"])
            return
        news = self._news_of(trial)
        trial_id = row["trial_id"]
        if trial_id in news.ended:
            # One that failed in a pack, and is repeated with the pack by a second worker.
            return
        if result["event"] == "start":
            if not self._wanted(trial):
                return
            news.running[trial_id] = _Running(row)
            news.begun = time.monotonic()
            self._progress.started(row)
            if self._tracker:
                self._tracker.trial_started(row)
        elif result["event"] == "epoch":
            news.running[trial_id].epochs.append(row)
            if PROGRESS in result:
                news.progress = (result[EPOCHS_RUN], result[PROGRESS])
            self._progress.epoch(trial_id, row)
            if self._tracker:
                self._tracker.epoch_ended(trial_id, row)
        elif trial_id in news.running:
            self._ended(news, row)
        else:
            # Answered from its record: it ended before, and people know.
            news.ended[trial_id] = row

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A Ray trial is over: all its trials ended, or the scheduler stopped it.

        In the latter case nobody has recorded the trial it was running: do so. A sample that was
        dropped was running none, nor was one of which another trial has failed.
        """
        news = self._news_of(trial)
        wanted = specifications(trial.config, self._opened.task)
        number = trial.config[PROPOSAL].get(NUMBER)
        dropped = None if self._proposals is None else self._proposals.dropped(number)
        if dropped is not None:
            self._progress.dropped(news.rows[-1], dropped, len(wanted) - len(news.ended))
        elif self.stopped is not None and not news.running:
            return  # what follows its last trial could not be written down
        elif not news.running and not self._wanted(trial):
            pass
        elif len(news.ended) < len(wanted) and all(row["status"] == FINISHED for row in news.rows):
            stopped = wanted[len(news.ended)]
            run = news.running[stopped.trial_id]
            reason = f"stopped early by {self._scheduler} after {_count(run.epochs)}"
            with self._stop_without_storage():
                row = self._recorder.stopped(stopped, run.epochs, run.started, reason, run.clock)
                self._ended(news, row)
        if self._proposals is not None:
            self._proposals.close(number, news.rows, news.progress)

    def goes_on(self, trial: Any, result: Row) -> bool:
        """Whether a Ray trial goes on after a report; the scheduler asks before anybody is told."""
        assert self._proposals is not None
        number, ended = trial.config[PROPOSAL][NUMBER], result["event"] == "end"
        if result["event"] == "start":
            return self._wanted(trial)
        if self.stopped is not None:
            return not ended
        try:
            if PROGRESS in result and not self._proposals.goes_on_after(
                number, result[EPOCHS_RUN], result[PROGRESS]
            ):
                return False
            if not ended:
                return True
            row = read_row(result["row"])
            rows = {**self._news_of(trial).ended, row["trial_id"]: row}
            return self._proposals.goes_on(number, list(rows.values()))
        except StorageError as error:  # it is not written down: nothing may follow from it
            self._stop(str(error))
            return not ended  # within a trial a stop would be recorded as one that was decided

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker died too often, or could not write its records: say so in its stead."""
        news = self._news_of(trial)
        if self.stopped is not None:
            pass  # what it was running is left for resume, as of all others
        elif not news.overdue and trial.num_failures <= self._resources.retries:
            # Ray may hear twice of one death before a trial has begun, and then gives it up
            # untried. Without a record it is run by the next resume.
            self._progress.say(f"a trial: the worker {_lost(trial)}; left for resume")
        else:
            with self._stop_without_storage():
                self._record_lost(trial, news)
        if self._proposals is not None:
            self._proposals.close(trial.config[PROPOSAL][NUMBER], news.rows)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker died, and Ray tries again."""
        news = self._news_of(trial)
        names = ", ".join(one.started["trial_name"] for one in news.running.values())
        again = f"{trial.num_failures} of {self._resources.retries}"
        self._progress.say(
            f"{names or 'a trial'}: the worker {_lost(trial)}; tried again ({again})"
        )

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Several times a second: kill the workers whose trial has passed its deadline.

        Nothing is asked of the worker, which may hang outside of Python.
        """
        deadline = self._resources.trial_deadline_seconds
        late = time.monotonic() - deadline
        for news in list(self._news.values()) if deadline else ():
            worker = news.trial.temporary_state.ray_actor
            if not news.running or news.overdue or news.begun > late or worker is None:
                continue
            run = next(iter(news.running.values()))
            news.overdue = (
                f"it ran for longer than resources.trial_deadline_seconds ({deadline:g}) and was "
                f"killed after {_count(run.epochs)} on {run.started['host']}; give it more, or "
                "find out why it hangs"
            )
            news.trial.max_failures = 0  # it would hang again
            ray.kill(worker)

    def _record_lost(self, trial: Any, news: _News) -> None:
        """Record as failed what a Ray trial that is over was running."""
        lost = [
            one
            for one in specifications(trial.config, self._opened.task)
            if not self._known(news, one)
        ]
        if not packed(trial.config):
            lost = lost[:1]  # the others had not begun
        reason = news.overdue or f"the worker {_lost(trial)}"
        sample, now = sample_of(trial.config), datetime.now(UTC)
        for one in lost:
            data = self._opened.data(one.data, one.fold)
            begun = news.running.get(one.trial_id) or _Running(
                self._recorder.started(one, data, now, sample, packed_trials=len(lost))
            )
            epochs = f"epochs it told of: {len(begun.epochs)}"
            known = f"{epochs}; what Ray says:\n\n{_words_of_ray(trial) or 'nothing'}"
            row = self._recorder.failed(one, reason, begun.started, known, begun.clock)
            self._ended(news, row)

    def _wanted(self, trial: Any) -> bool:
        """Whether the trials of a Ray trial are run; not those of a spoilt sample."""
        number = trial.config[PROPOSAL].get(NUMBER)
        return self._proposals is None or self._proposals.wanted(number)

    def _news_of(self, trial: Any) -> _News:
        return self._news.setdefault(trial.trial_id, _News(trial))

    def _known(self, news: _News, one: TrialSpecification) -> bool:
        """Whether a trial has ended, perhaps without its worker having lived to say so."""
        if one.trial_id not in news.ended:
            row = self._recorder.ended_row(one)
            if row is None or row["status"] != FINISHED:
                return False
            self._ended(news, row)
        return True

    @contextlib.contextmanager
    def _stop_without_storage(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            self._stop(str(error))

    def _stop(self, reason: str) -> None:
        """End the search as an interrupt does: what ended is kept, what runs is run again."""
        if self.stopped is None:
            self.stopped = reason
            signal.raise_signal(signal.SIGINT)

    def _ended(self, news: _News, row: Row) -> None:
        news.ended[row["trial_id"]] = row
        news.running.pop(row["trial_id"], None)
        self._progress.ended(row)
        if self._tracker:
            self._tracker.trial_ended(row["trial_id"])


class ProposalSearcher(Searcher):
    """Any of our searchers, as Ray Tune wants one; :class:`Driver` tells it what came out."""

    def __init__(self, proposals: Proposals) -> None:
        super().__init__()
        self._proposals = proposals

    def suggest(self, trial_id: str) -> Any:
        """The configuration of the next Ray trial."""
        proposal = self._proposals.next()
        return Searcher.FINISHED if proposal is None else proposed(proposal)

    def on_trial_complete(
        self, trial_id: str, result: Row | None = None, error: bool = False
    ) -> None:
        """Nothing: Ray tells the driver right afterwards, which knows all trials' rows."""

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


def _count(epochs: list[Row]) -> str:
    return count_label(len(epochs), "epoch")


def _lost(trial: Any) -> str:
    """How often a Ray trial lost its worker, where the last time, and why."""
    times = trial.num_failures
    count = "once" if times == 1 else f"{times} times"
    result = trial.last_result or {}
    where = f" on {result['hostname']} ({result['node_ip']})" if "hostname" in result else ""
    return f"failed {count}, the last time{where}: {_cause(trial)}"


def _words_of_ray(trial: Any) -> str:
    """What Ray says of all failures, from its file on the driver's machine."""
    file = Path(trial.local_path) / (trial.run_metadata.error_filename or "error.txt")
    return file.read_text(errors="replace") if file.is_file() else ""


def _cause(trial: Any) -> str:
    """What Ray says of the last failure, in one line: of a traceback the last, or of a death."""
    words = without_password(_words_of_ray(trial))
    last = [line for line in words.rpartition("Failure #")[2].splitlines()[1:] if line.strip()]
    errors = [line for line in last if re.match(r"[\w.]+(Error|Exception)\b", line)]
    deaths = [line for line in last if re.match(r"The actor (is dead|died) because\b", line)]
    return (deaths[-1:] or errors[-1:] or last[:1] or ["no word from Ray"])[0][:400]
