"""What ``python -m search plan`` does: measure, reckon, print. Nothing is written."""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from tqdm import tqdm

from datasets.digits import DigitData, load_digits
from models.early_fusion import EarlyFusionNetwork
from models.operations import count_multiply_accumulates
from search.cost import Stopwatch
from search.declaration import SearchSpecification
from search.fields import ConfigurationError
from search.plan import (
    Run,
    Unit,
    all_costs,
    chosen_kinds,
    count_kinds,
    planned_confirmation,
    planned_units,
    simulate,
    slots_of,
    stopped_after,
    trial_seconds,
    unit_seconds,
)
from search.plan_contents import Contents, search_contents
from search.plan_measurement import Calibration, Cost, Kind, measure_kinds
from search.running import Environment

_SECONDS: Final = 40.0  # for measuring all kinds
_SECONDS_PER_KIND: Final = (2.0, 12.0)  # at least, at most
_KINDS_SHOWN: Final = 10


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search will take, as measured on this machine.

    Attributes:
        device: what measured.
        phases: the search's units, then its confirmation's.
        searches: their specifications.
        costs: of all kinds.
        calibration: what was measured.
        start_seconds: of the program, its data, Ray and the workers, for each search.
        slots: units at once on this machine.
        runs: on this machine, when no trial is stopped early, one after another.
        stopped: likewise, as ASHA may stop trials; None without ASHA.
        contents: what is left when no trial is stopped early.
    """

    device: str
    phases: Sequence[Sequence[Unit]]
    searches: Sequence[SearchSpecification]
    costs: Mapping[Kind, Cost]
    calibration: Calibration
    start_seconds: float
    slots: int
    runs: Run
    stopped: Run | None
    contents: Contents

    @property
    def trials(self) -> int:
        """All trials, the confirmation's among them."""
        return sum(len(unit.trials) for units in self.phases for unit in units)

    def run_on(self, slots: int, *, alone: float, speed: float = 1.0, early: bool = False) -> Run:
        """All phases on so many slots, each ``speed`` times as fast as measured."""
        total = Run(0.0, 0.0)
        for units, search in zip(self.phases, self.searches, strict=True):
            after = (stopped_after(search, len(units)) if early else None) or [None] * len(units)
            seconds = [
                unit_seconds(unit, self.costs, epochs) / speed
                for unit, epochs in zip(units, after, strict=True)
            ]
            warm_up = max(cost.warm_up for cost in self.calibration.costs.values())
            trials = simulate(seconds, slots, warm_up=warm_up, alone=alone)
            total += Run(trials.wall + self.start_seconds, trials.busy)
        return total


def make_plan(
    search: SearchSpecification, environment: Environment, *, seconds: float = _SECONDS
) -> Plan:
    """Measure on this machine and reckon.

    Args:
        search, environment: what would be launched.
        seconds: for measuring, warming up not counted.

    Raises:
        ValueError: the data are missing, or a trial cannot run as declared.
    """
    # Here, because importing Ray takes seconds.
    from search.ray_start import seconds_to_start

    search, device = _on_this_machine(search)
    phases = [planned_units(search)]
    searches = [search]
    confirming = planned_confirmation(search, phases[0])
    if confirming is not None:
        searches.append(confirming)
        phases.append(planned_units(confirming))
    units = [unit for phase in phases for unit in phase]
    clock = Stopwatch()
    with clock:
        data = load_digits(units[0].trials[0].data, environment.data_folder)
    print(f"data: {data.note}")
    resources = search.resources
    gpus = float(torch.cuda.device_count()) if device == "cuda" else None
    slots = slots_of(resources, cpus=float(os.cpu_count() or 1), gpus=gpus)
    together = min(slots, len(phases[0]))
    at_most = int(seconds / _SECONDS_PER_KIND[0])
    kinds = list(count_kinds(units))
    work = {kind: _work(kind, data) for kind in kinds} if len(kinds) > at_most else {}
    chosen = chosen_kinds(units, work, max(2, at_most))
    each = min(_SECONDS_PER_KIND[1], seconds / len(chosen))
    print(
        f"measuring {len(chosen)} of {len(kinds)} kinds of trials on {platform.node()}: {device}, "
        f"{together} at once, {resources.cpus_per_trial:g} CPUs each",
        flush=True,
    )
    with tqdm(
        total=together * len(chosen), unit="kind", disable=not sys.stderr.isatty(), leave=False
    ) as bar:
        calibration = measure_kinds(
            chosen,
            data,
            processes=together,
            threads=max(1, int(resources.cpus_per_trial)),
            seconds=each,
            on_measured=bar.update,
        )
    start = seconds_to_start(resources, together) + clock.seconds
    contents = [
        search_contents(one, phase, data) for one, phase in zip(searches, phases, strict=True)
    ]
    plan = Plan(
        device=device,
        phases=phases,
        searches=searches,
        costs=all_costs(kinds, calibration.costs, work),
        calibration=calibration,
        start_seconds=start,
        slots=slots,
        runs=Run(0.0, 0.0),
        stopped=None,
        contents=sum(contents, Contents()),
    )
    early = search.space is not None and search.scheduler.name == "asha"
    return replace(
        plan,
        runs=plan.run_on(slots, alone=calibration.alone),
        stopped=plan.run_on(slots, alone=calibration.alone, early=True) if early else None,
    )


def _on_this_machine(search: SearchSpecification) -> tuple[SearchSpecification, str]:
    """The search with the device that its trials would have here, and this device."""
    fixed = dict(search.space.fixed if search.space is not None else search.trials)
    shown = torch.cuda.is_available() and search.resources.gpus_per_trial > 0
    device = "cuda" if shown and fixed.get("device", "auto") != "cpu" else "cpu"
    fixed["device"] = device
    if search.space is not None:
        return replace(search, space=replace(search.space, fixed=fixed)), device
    return replace(search, trials=fixed), device


def _work(kind: Kind, data: DigitData) -> int:
    """Multiply-accumulates of an example."""
    example = data.examples("validation", torch.tensor([0]), noise_seed=0)
    network = EarlyFusionNetwork(kind.trial.network)
    inputs = example.visual(1.0), example.audio(1.0)
    return kind.packed * count_multiply_accumulates(network, *inputs)
