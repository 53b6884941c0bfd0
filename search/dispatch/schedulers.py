"""Ray Tune's schedulers, as a search declares them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from ray import tune
from ray.tune import schedulers

from fusion_search.search.declaration.specification import SchedulerSettings
from fusion_search.search.dispatch.messages import (
    EPOCHS_RUN,
    HYPERPARAMETERS,
    PROGRESS,
    PROPOSAL,
    Row,
)
from fusion_search.search.spaces.parameters import Choice, Parameter

GoesOn = Callable[[Any, Row], bool]


def make_scheduler(
    settings: SchedulerSettings,
    parameters: Mapping[str, Parameter],
    goes_on: GoesOn = lambda trial, result: True,
) -> schedulers.TrialScheduler:
    """Ray's scheduler.

    Args:
        settings: which.
        parameters: of the space; population-based training perturbs them.
        goes_on: whether a Ray trial goes on after a worker's report; the answer of ASHA and of fold
            rungs, whose decisions we keep (Ray's ``ASHAScheduler`` loses its own with the driver),
            and without a scheduler of the other folds of its sample.
    """
    looks: dict[str, Any] = {"time_attr": EPOCHS_RUN, "metric": PROGRESS, "mode": "max"}
    if settings.name == "median":
        return schedulers.MedianStoppingRule(
            **looks,
            grace_period=settings.grace_epochs,
            # It would pause a trial until there are others to compare with: ours keep no state
            # to go on from, and would begin again.
            min_time_slice=cast(int, math.inf),
        )
    if settings.name == "pbt":
        return _OwnTrialsPBT(
            **looks,
            perturbation_interval=settings.grace_epochs,
            hyperparam_mutations={
                PROPOSAL: {
                    HYPERPARAMETERS: {
                        name: _mutation(parameter) for name, parameter in parameters.items()
                    }
                }
            },
            # A trial's start and end say nothing that it looks at.
            require_attrs=False,
        )
    return _Asking(goes_on)


class _Asking(schedulers.FIFOScheduler):
    """Stops a Ray trial when we say so; its worker waits for the answer to each report."""

    def __init__(self, goes_on: GoesOn) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._goes_on = goes_on

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Row) -> str:
        return str(self.CONTINUE if self._goes_on(trial, result) else self.STOP)


class _OwnTrialsPBT(schedulers.PopulationBasedTraining):
    """A trial that takes over another's weights and hyperparameters stays the trial it is."""

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[Row, Row]:
        config, operations = super()._get_new_config(trial, trial_to_clone)
        taken = config[PROPOSAL][HYPERPARAMETERS]
        return {PROPOSAL: {**trial.config[PROPOSAL], HYPERPARAMETERS: taken}}, operations


def _mutation(parameter: Parameter) -> Any:
    if isinstance(parameter, Choice):
        return list(parameter.options)
    draw = tune.loguniform if parameter.log else tune.uniform
    return draw(parameter.low, parameter.high)
