"""A search on paper: what will run, for how long, in which order.

Nothing is measured here; ``measurement.py`` does that.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fusion_search.search.declaration.specification import (
    FOLD_RUNGS,
    Resources,
    SchedulerSettings,
    SearchSpecification,
)
from fusion_search.search.planning.measurement import Cost, Kind
from fusion_search.search.running.confirmation import candidates_among, confirmation_search
from fusion_search.search.running.samples.parts import folds_apart, parts_of
from fusion_search.search.running.samples.proposals import Proposals
from fusion_search.search.spaces.searchers import make_searcher
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.packing import pack_like, packs
from fusion_search.search.trials.specification import TrialSpecification

OVERHEAD_SECONDS: Final = 0.16
"""What a trial takes of a worker beside its own work: dispatch, records, MLflow (docs/speed.md)."""

START_SECONDS: Final = 9.0
"""Of Ray and its workers on two cores, and their end (docs/plan.md)."""

# Six forward passes of a batch, when a trial's speed is measured; a step is three.
_STEPS_AT_THE_END: Final = 2

_STILL: Final = 1e-6
"""A learning rate with which nothing diverges while it is measured."""

_GOLDEN: Final = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Unit:
    """Trials that take a slot together: one, a pack, or those of a sample or of its fold."""

    trials: tuple[TrialSpecification, ...]
    packed: bool = False

    @property
    def kinds(self) -> list[Kind]:
        """What it is made of, in order."""
        if self.packed:
            return [Kind(alike(self.trials[0]), len(self.trials))]
        return [Kind(alike(trial)) for trial in self.trials]


def alike(trial: TrialSpecification) -> TrialSpecification:
    """The trial that stands for all that cost the same; folds are taken for equally large."""
    free: dict[str, Any] = {"learning_rate": _STILL}
    if isinstance(trial.settings().get("dropout"), float):
        free["dropout"] = 0.0
    return replace(pack_like(trial).with_settings(free), fold=0)


def planned_units(search: SearchSpecification) -> list[Unit]:
    """What a search dispatches, in order.

    The samples of a space are drawn at random (enumerated for grid search), since what a searcher
    will propose is not known before.
    """
    if search.space is None:
        groups = packs(search.planned_trials(), search.resources.packed_trials)
        return [Unit(pack, packed=len(pack) > 1) for pack in groups]
    settings = search.searcher
    name = "grid" if settings.name == "grid" else "random"
    searcher = make_searcher(
        name, search.space, [one.direction for one in search.objectives], settings.seed
    )
    proposals = Proposals(search.space, searcher, settings.samples)
    return [Unit(one.trials) for one in iter(proposals.next, None)]


def dispatched(search: SearchSpecification, units: Sequence[Unit]) -> list[Unit]:
    """The units of :func:`planned_units` as workers get them: samples perhaps fold by fold."""
    if search.space is None:
        return list(units)
    return [
        Unit(part)
        for unit in units
        for part in parts_of(unit.trials, apart=folds_apart(search.scheduler))
    ]


def planned_confirmation(
    search: SearchSpecification, units: Sequence[Unit]
) -> SearchSpecification | None:
    """The search that confirms this one, with the first samples in the place of the best."""
    if search.space is None or not search.confirmation.top:
        return None
    ranked = [(unit.trials, 0.0) for unit in units]
    return confirmation_search(search, candidates_among(ranked, search))


def slots_of(resources: Resources, *, cpus: float, gpus: float | None) -> int:
    """How many units run at once on so many processors and GPUs.

    Args:
        resources: what each gets.
        cpus: how many there are; infinity when they are no limit.
        gpus: likewise; None when units do without.

    Raises:
        ValueError: not even one fits.
    """
    most = cpus / resources.cpus_per_trial
    if gpus is not None and resources.gpus_per_trial:
        share = resources.gpus_per_trial
        # A fraction lies on one GPU: of 0.4 two fit on each.
        most = min(most, gpus * math.floor(1 / share + 1e-9) if share < 1 else gpus / share)
    if resources.concurrent_trials:
        most = min(most, resources.concurrent_trials)
    if most < 1:
        raise ConfigurationError(
            f"a trial gets {resources.cpus_per_trial:g} CPUs and {resources.gpus_per_trial:g} "
            f"GPUs, but there are {cpus:g} and {gpus or 0:g}; lower resources.cpus_per_trial or "
            "resources.gpus_per_trial"
        )
    return math.floor(most + 1e-9)


def trial_seconds(trial: TrialSpecification, cost: Cost, epochs: int | None = None) -> float:
    """What one trial, or pack, takes of a slot, warming up not counted.

    Args:
        trial: its numbers of epochs and steps.
        cost: of its kind.
        epochs: after which the scheduler stops it; None when it is finished.
    """
    settings = trial.training
    shown = settings.examples or cost.train_examples
    steps = (settings.epoch_examples or shown) / min(settings.batch_size, shown)
    epoch = steps * cost.step + cost.validation
    start = OVERHEAD_SECONDS + cost.build
    if epochs is not None:
        return start + epochs * epoch
    return start + settings.epochs * epoch + cost.grid + _STEPS_AT_THE_END * cost.step


def unit_seconds(unit: Unit, costs: Mapping[Kind, Cost], epochs: int | None = None) -> float:
    """What a unit takes of a slot; with ``epochs``, stopped after so many over all its trials."""
    total = 0.0
    for kind in unit.kinds:
        own = kind.trial.training.epochs
        if epochs is not None and epochs <= own:
            return total + trial_seconds(kind.trial, costs[kind], epochs)
        total += trial_seconds(kind.trial, costs[kind])
        total += OVERHEAD_SECONDS * (kind.packed - 1)
        epochs = None if epochs is None else epochs - own
    return total


def rungs(settings: SchedulerSettings, epochs: int) -> list[int]:
    """After how many epochs ASHA looks at a sample that is trained for ``epochs``."""
    found = []
    rung = settings.grace_epochs
    while rung < epochs:
        found.append(rung)
        rung *= settings.reduction
    return found


def stopped_after(search: SearchSpecification, units: int) -> list[int | None] | None:
    """After which epoch ASHA stops each sample, when one in ``reduction`` passes every rung.

    Spread evenly over the samples, in order. None for other schedulers, of which nobody can say.
    """
    if search.space is None or search.scheduler.name != "asha":
        return None
    looks = rungs(search.scheduler, search.space.epochs_per_sample)
    shares = [search.scheduler.reduction ** -(number + 1) for number in range(len(looks))]
    found: list[int | None] = []
    for number in range(units):
        luck = (number * _GOLDEN) % 1
        out = (rung for rung, share in zip(looks, shares, strict=True) if luck >= share)
        found.append(next(out, None))
    return found


def dropped_early(search: SearchSpecification, units: Sequence[Unit]) -> list[Unit]:
    """What is left of the samples when fold rungs keep one in ``reduction`` after every fold.

    Spread as by :func:`stopped_after`. All is left with other schedulers.
    """
    if search.space is None or search.scheduler.name != FOLD_RUNGS:
        return list(units)
    found = []
    for number, unit in enumerate(units):
        luck, folds = (number * _GOLDEN) % 1, list(dict.fromkeys(one.fold for one in unit.trials))
        shares = [search.scheduler.reduction ** -(rung + 1) for rung in range(len(folds) - 1)]
        kept = folds[: 1 + sum(luck < share for share in shares)]
        found.append(Unit(tuple(one for one in unit.trials if one.fold in kept)))
    return found


@dataclass(frozen=True)
class Run:
    """Units run one after another and beside each other, in seconds."""

    wall: float
    busy: float  # over all slots

    def __add__(self, other: Run) -> Run:
        """One after the other."""
        return Run(self.wall + other.wall, self.busy + other.busy)


def simulate(seconds: Sequence[float], slots: int, *, warm_up: float, alone: float = 1.0) -> Run:
    """Dispatch units in order, each to the first slot that is free.

    Args:
        seconds: of each unit, with all slots at work.
        slots: how many run at once.
        warm_up: what the first unit of a slot takes longer.
        alone: how many times faster the last one runs when no other does; between, in proportion.
    """
    slots = min(slots, len(seconds))
    warming = [warm_up] * slots + [0.0] * (len(seconds) - slots)
    waiting = deque(map(sum, zip(seconds, warming, strict=True)))
    running: list[float] = []
    wall = busy = 0.0
    while waiting or running:
        while waiting and len(running) < slots:
            running.append(waiting.popleft())
        idle = (slots - len(running)) / max(1, slots - 1)
        rate = 1 + (alone - 1) * idle
        first = min(running)
        wall += first / rate
        busy += len(running) * first / rate
        running = [left - first for left in running if left > first]
    return Run(wall, busy)


def chosen_kinds(kinds: Sequence[Kind], work: Mapping[Kind, int], at_most: int) -> list[Kind]:
    """The kinds to measure: all, or so many (at least 2) spread evenly over families and work.

    Args:
        kinds: all there are.
        work: multiply-accumulates of each, when there are more than ``at_most``.
        at_most: how many.
    """
    if len(kinds) <= at_most:
        return list(kinds)
    ordered = sorted(kinds, key=lambda kind: (family(kind), work[kind]))
    last = len(ordered) - 1
    return [ordered[round(number * last / (at_most - 1))] for number in range(at_most)]


def count_kinds(units: Sequence[Unit]) -> Counter[Kind]:
    """How often each kind runs, in the order of the first."""
    return Counter(kind for unit in units for kind in unit.kinds)


def family(kind: Kind) -> tuple[Any, ...]:
    """What networks have in common whose costs compare by their work."""
    network, placement = kind.trial.network, kind.trial.placement
    layout = [repr(getattr(network, name)) for name in getattr(network, "layout_fields", ())]
    coupled = bool(placement.sites) or placement.end != ""
    return layout, placement.streams, coupled, kind.packed


def all_costs(
    kinds: Sequence[Kind], measured: Mapping[Kind, Cost], work: Mapping[Kind, int]
) -> dict[Kind, Cost]:
    """Costs of all kinds: measured, or in proportion to the measured one with the nearest work."""
    found = dict(measured)
    for kind in kinds:
        if kind in measured:
            continue
        near = min(
            measured,
            key=lambda one: (
                family(one) != family(kind),
                abs(math.log(work[one] / work[kind])),
            ),
        )
        found[kind] = measured[near].scaled(work[kind] / work[near])
    return found
