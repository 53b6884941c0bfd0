"""Schedulers as declared: who is stopped, by the rules' own arithmetic."""

from __future__ import annotations

from types import SimpleNamespace

from ray.tune.schedulers import TrialScheduler

from fusion_search.search.declaration.specification import SchedulerSettings
from fusion_search.search.dispatch.messages import EPOCHS_RUN, PROGRESS
from fusion_search.search.dispatch.schedulers import make_scheduler


class FakeController:
    """Others are waiting, which must not make a trial pause."""

    def get_live_trials(self) -> list[object]:
        return [SimpleNamespace(status="PENDING")]


class FakeTrial:
    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id

    def is_finished(self) -> bool:
        return False


def decisions(name: str, curves: list[list[float]], grace: int, epochs: int) -> list[int | None]:
    """Trials report one after another; per trial the epoch it was stopped at, or None."""
    settings = SchedulerSettings(name=name, grace_epochs=grace)
    scheduler = make_scheduler(settings, {})
    stopped: list[int | None] = []
    for number, curve in enumerate(curves):
        trial = FakeTrial(str(number))
        scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
        at = None
        # A start carries no metric and decides nothing.
        assert scheduler.on_trial_result(FakeController(), trial, {"event": "start"}) == "CONTINUE"  # type: ignore[arg-type]
        for epoch, accuracy in enumerate(curve[: epochs - 1], start=1):
            result = {EPOCHS_RUN: epoch, PROGRESS: accuracy, "training_iteration": epoch}
            decision = scheduler.on_trial_result(FakeController(), trial, result)  # type: ignore[arg-type]
            assert decision in (TrialScheduler.CONTINUE, TrialScheduler.STOP)
            if decision == TrialScheduler.STOP:
                at = epoch
                break
        else:
            end = {EPOCHS_RUN: epochs, PROGRESS: curve[epochs - 1], "event": "end"}
            scheduler.on_trial_result(FakeController(), trial, end)  # type: ignore[arg-type]
            scheduler.on_trial_complete(FakeController(), trial, end)  # type: ignore[arg-type]
        stopped.append(at)
    return stopped


def test_median_stops_what_is_worse_than_the_others_running_means() -> None:
    good = [[0.6, 0.7, 0.8, 0.9, 0.9]] * 4
    bad = [[0.1, 0.2, 0.3, 0.4, 0.5]]
    assert decisions("median", [*good, *bad], 2, 5) == [None, None, None, None, 2]


def test_none_stops_nobody() -> None:
    assert decisions("none", [[0.9] * 5, [0.1] * 5], 1, 5) == [None, None]
