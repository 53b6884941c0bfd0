"""Planning a search: measure its kinds of trials on this machine, and reckon from there."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from tqdm import tqdm

from fusion_search.datasets.conditions import ORIGINAL
from fusion_search.datasets.loading import Presentation, load
from fusion_search.search.declaration.specification import SearchSpecification
from fusion_search.search.planning.contents import Contents, search_contents
from fusion_search.search.planning.measurement import Calibration, Cost, Kind, measure_kinds
from fusion_search.search.planning.units import (
    START_SECONDS,
    Run,
    Unit,
    alike,
    all_costs,
    chosen_kinds,
    count_kinds,
    dispatched,
    dropped_early,
    planned_confirmation,
    planned_units,
    simulate,
    slots_of,
    stopped_after,
    unit_seconds,
)
from fusion_search.search.tasks.opened import OpenedTask
from fusion_search.search.tasks.run import Stopwatch
from fusion_search.search.trials.cost import multiply_accumulates
from fusion_search.search.trials.specification import TrialSpecification

_SECONDS: Final = 40.0  # for measuring all kinds
_SECONDS_PER_KIND: Final = (2.0, 3.0)  # at least, at most


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search will take, as measured on this machine.

    Attributes:
        device: what measured.
        searches: the search and, where there is one, its confirmation.
        phases: what each of them dispatches.
        costs: of all kinds.
        calibration: what was measured of them.
        start_seconds: of the program, its data, Ray and the workers, for each search.
        slots: units at once on this machine.
        contents: what is left when no trial is stopped early.
    """

    device: str
    searches: Sequence[SearchSpecification]
    phases: Sequence[Sequence[Unit]]
    costs: Mapping[Kind, Cost]
    calibration: Calibration
    start_seconds: float
    slots: int
    contents: Contents

    @property
    def trials(self) -> int:
        """How many, the confirmation's among them."""
        return sum(len(unit.trials) for units in self.phases for unit in units)

    @property
    def here(self) -> Run:
        """On this machine, when no trial is stopped early."""
        return self.run_on(self.slots, alone=self.calibration.alone)

    def run_on(
        self, slots: int, *, alone: float = 1.0, speed: float = 1.0, early: bool = False
    ) -> Run:
        """All on so many slots, each ``speed`` times as fast as measured; ``alone``: simulate."""
        total = Run(0.0, 0.0)
        for units, search in zip(self.phases, self.searches, strict=True):
            units = dropped_early(search, units) if early else units
            after = stopped_after(search, len(units)) if early else None
            seconds = [
                unit_seconds(unit, self.costs, epochs) / speed
                for unit, epochs in zip(units, after or [None] * len(units), strict=True)
            ]
            warm_up = max(cost.warm_up for cost in self.calibration.costs.values())
            trials = simulate(seconds, slots, warm_up=warm_up, alone=alone)
            total += Run(trials.wall + self.start_seconds, trials.busy)
        return total


def make_plan(search: SearchSpecification, *, seconds: float = _SECONDS) -> Plan:
    """Measure on this machine and reckon.

    Args:
        search: what would be launched.
        seconds: for measuring, warming up not counted.

    Raises:
        ValueError: the data are missing, or a trial cannot run as declared.
    """
    searches, phases = [search], [_here(search, planned_units(search))]
    confirming = planned_confirmation(search, phases[0])
    phases[0] = dispatched(search, phases[0])
    if confirming is not None:
        searches.append(confirming)
        phases.append(_here(confirming, planned_units(confirming)))
    first = alike(phases[0][0].trials[0])
    clock = Stopwatch()
    with clock:
        opened = OpenedTask(search.definition, first.data, first.fold)
    print(search.data_words(opened.first.note or search.task))
    device = first.training.device
    gpus = float(torch.cuda.device_count()) if device == "cuda" else None
    slots = slots_of(search.resources, cpus=float(os.cpu_count() or 1), gpus=gpus)
    # Those that share a GPU, where there are several.
    together = min(slots, len(phases[0]))
    if gpus is not None:
        together = min(together, slots_of(search.resources, cpus=math.inf, gpus=1.0))
    costs, calibration = _measure(
        phases, opened, together, search.resources.cpus_per_trial, seconds
    )
    contents = [
        search_contents(one, phase, opened) for one, phase in zip(searches, phases, strict=True)
    ]
    return Plan(
        device=device,
        searches=searches,
        phases=phases,
        costs=costs,
        calibration=calibration,
        start_seconds=clock.seconds + START_SECONDS,
        slots=slots,
        contents=sum(contents, Contents()),
    )


def _measure(
    phases: Sequence[Sequence[Unit]],
    opened: OpenedTask,
    together: int,
    cpus_per_trial: float,
    seconds: float,
) -> tuple[dict[Kind, Cost], Calibration]:
    """Costs of all kinds, and what was measured of them."""
    kinds = list(count_kinds([unit for units in phases for unit in units]))
    least, most = _SECONDS_PER_KIND
    at_most = max(2, int(seconds / least))
    work = {kind: _work(kind, opened) for kind in kinds} if len(kinds) > at_most else {}
    chosen = chosen_kinds(kinds, work, at_most)
    print(
        f"measuring {len(chosen)} of {len(kinds)} kinds of trials on {platform.node()}, {together} "
        f"at once with {cpus_per_trial:g} CPUs each",
        flush=True,
    )
    with tqdm(
        total=together * len(chosen), unit="kind", disable=not sys.stderr.isatty(), leave=False
    ) as bar:
        calibration = measure_kinds(
            chosen,
            opened,
            processes=together,
            threads=max(1, int(cpus_per_trial)),
            seconds=min(most, seconds / len(chosen)),
            on_measured=bar.update,
        )
    return all_costs(kinds, calibration.costs, work), calibration


def _here(search: SearchSpecification, units: Sequence[Unit]) -> list[Unit]:
    """The units with the device that their trials would have on this machine."""
    shown = torch.cuda.is_available() and search.resources.gpus_per_trial > 0

    def here(trial: TrialSpecification) -> TrialSpecification:
        device = "cuda" if shown and trial.training.device != "cpu" else "cpu"
        return trial.with_settings({"device": device})

    return [replace(unit, trials=tuple(map(here, unit.trials))) for unit in units]


def _work(kind: Kind, opened: OpenedTask) -> int:
    """Multiply-accumulates of an example; 1 where torch counts none."""
    trial, task = kind.trial, opened.task
    data = opened.data(trial.data, trial.fold)
    network = task.build(trial.network, data, trial.placement)
    batch, keys = next(load(data.validation, [[Presentation(0, 0)]], seed=0))
    original = {axis.name: torch.full((1,), ORIGINAL) for axis in task.axes}
    met = task.impair(batch, original, keys, 0)
    each = multiply_accumulates(network, lambda: task.predict(network, met))
    return max(1, kind.packed * each)
