"""Dispatching trials by Ray Tune. Only the room of this file knows Ray.

Ray's own state is not needed to go on: what has a record has ended, and everything else is run
by the next ``resume``.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import ray
import torch
from ray import tune
from ray.tune.error import TuneError
from ray.tune.progress_reporter import ProgressReporter

from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.filesystems.waiting import waiting_told
from fusion_search.analysis.records.tables import FINISHED
from fusion_search.search.declaration.specification import Resources, SearchSpecification
from fusion_search.search.dispatch.adapters import Driver, ProposalSearcher
from fusion_search.search.dispatch.head_watch import head_watched
from fusion_search.search.dispatch.messages import (
    EPOCHS_RUN,
    HYPERPARAMETERS,
    PROGRESS,
    PROPOSAL,
    StoppedEarly,
    packed,
    proposed,
    reporter,
    sample_of,
    saved_state,
    specifications,
    swept,
)
from fusion_search.search.dispatch.nodes import (
    check_nodes,
    check_process,
    named_nodes,
    own_name,
)
from fusion_search.search.dispatch.schedulers import make_scheduler
from fusion_search.search.records.expectation import Expectation, expectation
from fusion_search.search.records.recorder import Recorder
from fusion_search.search.running.interrupts import interrupt_lent
from fusion_search.search.running.progress import Progress
from fusion_search.search.running.recorded_trial import SearchStoppedError, execute, execute_pack
from fusion_search.search.running.samples.proposals import Proposals
from fusion_search.search.tasks.current_folder import Carried
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.tracking.tracker import Tracker
from fusion_search.search.trials.packing import packs
from fusion_search.search.trials.specification import TrialSpecification
from fusion_search.search.trials.trial import Continuation

_UNBOUNDED: Final = 10**6


def run_trials(
    trials: Sequence[TrialSpecification] | Proposals,
    opened: OpenedTask,
    recorder: Recorder,
    search: SearchSpecification,
    progress: Progress,
    tracker: Tracker | None,
    resume: str,
    left_out: Sequence[str] = (),
) -> None:
    """Run the trials, or what a searcher proposes, on the connected Ray.

    Returns when all ended or the search was interrupted. ``resume`` is the command that goes on
    with it, ``left_out`` names nodes that run no trial.

    Raises:
        SearchStoppedError: a machine cannot run its trials, or the records cannot be written.
    """
    resources = search.resources
    node = ray.get_runtime_context().get_node_id()
    without = named_nodes(left_out)
    progress.does("checking the nodes")
    expected = check_nodes(
        expectation(
            recorder.storage, progress.started_at, search.task, opened, node, search.gpus_used
        ),
        opened,
        resources,
        progress.say,
        without,
    )
    progress.does("starting the first trials")
    trainable = tune.with_parameters(
        _trainable,
        opened=Carried(opened, Path.cwd()),
        recorder=recorder,
        expected=expected,
        threads=int(resources.cpus_per_trial),
        save_seconds=resources.save_seconds,
        perturbed=search.scheduler.name == "pbt",
    )
    task = search.definition

    def folder_name(trial: Any) -> str:
        # Ray pickles this with its own state, again and again: it is not to hold the data.
        return specifications(trial.config, task)[0].trial_id

    proposals = trials if isinstance(trials, Proposals) else None
    driver = Driver(
        opened, recorder, progress, tracker, resources, search.scheduler.name, proposals
    )
    # Ray lets no searcher work beside population-based training: there all is proposed at once.
    asked = proposals if search.scheduler.name != "pbt" else None
    tuner = tune.Tuner(
        tune.with_resources(trainable, _request(resources, without)),
        param_space={} if asked is not None else _all_at_once(trials, resources.packed_trials),
        tune_config=tune.TuneConfig(
            # More than there can be: the searcher says when it has proposed enough.
            num_samples=1 if asked is None else _UNBOUNDED,
            search_alg=None if asked is None else ProposalSearcher(asked),
            scheduler=_scheduler(search, driver),
            max_concurrent_trials=resources.concurrent_trials or None,
            # A fresh process per trial costs a second each.
            reuse_actors=True,
            trial_dirname_creator=folder_name,
        ),
        run_config=tune.RunConfig(
            name=datetime.now(UTC).strftime("run-%Y%m%dT%H%M%S"),
            storage_path=recorder.storage.path("ray"),
            storage_filesystem=recorder.storage.filesystem,
            verbose=0,
            progress_reporter=_Silence(),
            failure_config=tune.FailureConfig(max_failures=resources.retries),
            callbacks=[driver],
        ),
    )
    head = ray.get_runtime_context().gcs_address
    lost = (
        f"the Ray cluster at {head} is gone; what has ended is recorded. Start it again and go on "
        f"with: {resume}"
    )
    # A second Ctrl-C comes out of Ray Tune at once; what is left is told like after the first.
    with (
        contextlib.suppress(KeyboardInterrupt),
        head_watched(head, lost, progress.give_up),
    ):
        try:
            with interrupt_lent():
                tuner.fit()
        except (OSError, TuneError) as error:
            # Ray reads and writes its own files, even after the last trial; of what goes wrong
            # in its steps it hands on the traceback as a text.
            cause = error.__context__ if isinstance(error, TuneError) else error
            if not isinstance(cause, OSError) and driver.stopped is None:
                raise
            raise SearchStoppedError(driver.stopped or _unwritten(cause)) from error
    if driver.stopped is not None:
        raise SearchStoppedError(driver.stopped)


def _request(resources: Resources, left_out: Collection[str]) -> tune.PlacementGroupFactory:
    """What a trial asks of Ray, on none of the nodes with these ids."""
    bundle = {"CPU": resources.cpus_per_trial, "GPU": resources.gpus_per_trial}
    if not left_out:
        return tune.PlacementGroupFactory([bundle])
    selector = {"ray.io/node-id": f"!in({','.join(sorted(left_out))})"}
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[selector])


def _unwritten(error: BaseException | None) -> str:
    if isinstance(error, StorageError):
        return str(error)
    return f"Ray's own state cannot be kept ({' '.join(str(error).split())[:300]})"


def _all_at_once(
    trials: Sequence[TrialSpecification] | Proposals, packed_trials: int
) -> dict[str, Any]:
    """Each trial or pack once, as a parameter space of Ray's own."""
    if isinstance(trials, Proposals):
        configurations = [proposed(one) for one in iter(trials.next, None)]
    else:
        configurations = [swept(pack) for pack in packs(trials, packed_trials)]
    return {PROPOSAL: tune.grid_search([one[PROPOSAL] for one in configurations])}


class _Silence(ProgressReporter):
    """Ray's own, in a notebook, writes tables whatever ``verbose`` says."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        """Never."""
        return False


def _scheduler(search: SearchSpecification, driver: Driver) -> Any:
    if search.space is None:
        return None
    return make_scheduler(search.scheduler, search.space.parameters(), driver.goes_on)


def _trainable(
    config: dict[str, Any],
    *,
    opened: OpenedTask,
    recorder: Recorder,
    expected: Expectation,
    threads: int,
    save_seconds: float,
    perturbed: bool,
) -> None:
    """Run trials on a worker, or let the driver know that no more of them make sense."""
    elsewhere = ray.get_runtime_context().get_node_id() != expected.node
    where = f"node {own_name()}: " if elsewhere else ""

    report = reporter()

    def say(text: str) -> None:
        report("note", {"text": where + text})

    try:
        for text in check_process(expected, opened):
            report("note", {"text": text, "once": True})
        with waiting_told(say):
            _run(config, opened, recorder, threads, save_seconds, perturbed)
    except StoppedEarly:
        sys.exit(0)  # what Ray expects of its thread
    except SearchStoppedError as error:
        report("stop", {"reason": str(error)})
        raise
    except StorageError as error:  # perhaps it is this node alone that does not reach it
        report("stop", {"reason": f"{where}{error}"})
        raise


def _run(
    config: dict[str, Any],
    opened: OpenedTask,
    recorder: Recorder,
    threads: int,
    save_seconds: float,
    perturbed: bool,
) -> None:
    """The trials of one Ray trial, as a pack or one after another, on a worker.

    With ``perturbed`` the scheduler changes hyperparameters on the way: after every epoch the
    state is reported, so that this trial or another can go on from it.
    """
    torch.set_num_threads(max(1, threads))
    report = reporter()
    metric = opened.task.metrics[0]
    finished: list[float] = []  # best score in validation of each trial that ended
    done = 0  # epochs of these
    best = -math.inf
    looked_at: dict[str, float] = {}
    saved: bytes | None = None
    trials = specifications(config, opened.task)
    if packed(config):
        execute_pack(
            trials,
            opened,
            recorder,
            on_start=lambda row: report("start", row),
            on_epoch=lambda row: report("epoch", row),
            on_end=lambda row: report("end", row),
        )
        return

    def save(state: bytes) -> None:
        nonlocal saved
        saved = state

    continuation = None
    if perturbed:
        values = config[PROPOSAL][HYPERPARAMETERS]
        continuation = Continuation(saved=saved_state(), hyperparameters=values, save=save)

    def on_epoch(row: dict[str, Any]) -> None:
        nonlocal best, looked_at
        best = max(best, metric.score(row[f"validation_{metric.name}"]))
        so_far = [*finished, best]
        looked_at = {EPOCHS_RUN: done + row["epoch"], PROGRESS: sum(so_far) / len(so_far)}
        # After the very last epoch nothing is gained by stopping.
        last = len(so_far) == len(trials) and row["epoch"] == trials[-1].training.epochs
        report("epoch", row, saved, **({} if last else looked_at))

    for trial in trials:
        best = -math.inf
        ended = execute(
            trial,
            opened,
            recorder,
            sample=sample_of(config),
            on_start=lambda row: report("start", row),
            on_epoch=on_epoch,
            say=lambda text: report("note", {"text": text}),
            save_seconds=save_seconds,
            continuation=continuation,
        )
        # Schedulers that compare with trials that are over find their last values here; one that
        # perturbs must not go on with a trial that is over.
        report("end", ended, **({} if perturbed else looked_at))
        done += trial.training.epochs
        if ended["status"] != FINISHED:
            # The sample has failed; its other trials would be wasted.
            break
        finished.append(metric.score(ended[f"validation_{metric.name}"]))
