"""Searches whose trials run in this process, one after the other: what Ray Tune does, without Ray.

The worker's part and the driver's are the program's own; a start of Ray's processes takes seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fusion_search.search.commands import launch
from fusion_search.search.dispatch import tuner
from fusion_search.search.dispatch.adapters import Driver
from fusion_search.search.dispatch.messages import StoppedEarly, proposed, swept, write_row
from fusion_search.search.running.samples.proposals import Proposals
from fusion_search.search.trials.packing import packs


class KilledError(BaseException):
    """The driver is gone, and its worker with it."""


def run_ray_trial(
    config: Any, name: str, opened: Any, recorder: Any, driver: Driver, scheduler: Any
) -> None:
    """What Ray does with one of its trials, whose worker gets ``config``.

    Raises:
        KilledError: the driver has ended the search; what runs is left as it is.
    """
    ray_trial: Any = SimpleNamespace(trial_id=name, config=config)

    def report(event: str, row: Any, saved: bytes | None = None, **looked_at: float) -> None:
        told = {"event": event, "row": write_row(row), **looked_at}
        # Without one, as of a sweep, Ray lets every trial go on.
        decision = scheduler and scheduler.on_trial_result(None, ray_trial, told)
        driver.on_trial_result(0, [], ray_trial, told)
        if decision == "STOP":
            raise StoppedEarly
        if driver.stopped:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuner, "reporter", lambda: report)
        with contextlib.suppress(StoppedEarly):
            tuner._run(config, opened, recorder, threads=1, save_seconds=0, perturbed=False)
    driver.on_trial_complete(0, [], ray_trial)


class InPlace:
    """A dispatcher in the place of Ray's."""

    def connected(self, resources: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def run_trials(
        self,
        trials: Any,
        opened: Any,
        recorder: Any,
        search: Any,
        progress: Any,
        tracker: Any,
        resume: str,
    ) -> None:
        proposals = trials if isinstance(trials, Proposals) else None
        name = search.scheduler.name
        driver = Driver(opened, recorder, progress, tracker, search.resources, name, proposals)
        scheduler = tuner._scheduler(search, driver)
        for number, config in enumerate(_configurations(trials, search.resources.packed_trials)):
            run_ray_trial(config, str(number), opened, recorder, driver, scheduler)


def _configurations(trials: Any, packed_trials: int) -> Iterator[Any]:
    if isinstance(trials, Proposals):
        yield from map(proposed, iter(trials.next, None))
    else:
        yield from map(swept, packs(trials, packed_trials))


@contextlib.contextmanager
def in_place() -> Iterator[None]:
    """Commands run trials in this process for as long as the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "RayDispatcher", lambda *_: InPlace())
        yield
