"""``plan``: what it prints. Nothing is written."""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Sequence
from typing import Final

import torch

from fusion_search.analysis.records.words.counts import count_label
from fusion_search.analysis.records.words.durations import duration
from fusion_search.analysis.records.words.networks import PLAIN, setting_words
from fusion_search.search.commands.options import data_of
from fusion_search.search.declaration.configuration import build_search, load_configuration
from fusion_search.search.declaration.specification import FOLD_RUNGS, SearchSpecification
from fusion_search.search.planning.measurement import Kind
from fusion_search.search.planning.plan import Plan, make_plan
from fusion_search.search.planning.units import Run, count_kinds, slots_of, trial_seconds
from fusion_search.search.trials.fields import ConfigurationError
from fusion_search.search.trials.plain import plain_value

_KINDS_SHOWN: Final = 10
_NAME: Final = 44  # characters of a kind's name on a line
_BUSY: Final = 0.95  # of a processor: with less, others use the machine


def plan(arguments: argparse.Namespace) -> int:
    """``plan CONFIG``: print what it takes."""
    return print_plan(
        build_search(
            load_configuration(arguments.config, arguments.set, ["plan"]), data_of(arguments)
        ),
        gpus=arguments.gpus,
        examples_per_second=arguments.examples_per_second,
    )


def print_plan(
    search: SearchSpecification,
    *,
    gpus: int | None,
    examples_per_second: float | None,
) -> int:
    """Print what a search would take. Returns the exit code.

    Args:
        search: what would be launched.
        gpus: print the wall time on so many.
        examples_per_second: in training on a trial's share of a GPU, measured elsewhere with the
            slowest network of the search.

    Raises:
        ValueError: the data are missing, or a trial cannot run as declared.
    """
    if (gpus or examples_per_second) and not search.resources.gpus_per_trial:
        raise ConfigurationError(
            "resources.gpus_per_trial is 0, so no trial would use a GPU; say what each gets, for "
            "instance --set resources.gpus_per_trial=0.25"
        )
    print(f"search {search.name}: nothing is run or written, only measured")
    plan = make_plan(search)
    _print_kinds(plan)
    _print_trials(plan)
    _print_time(plan)
    _print_gpus(plan, gpus, examples_per_second)
    _print_contents(plan)
    return 0


def _print_kinds(plan: Plan) -> None:
    counts = count_kinds([unit for units in plan.phases for unit in units])
    seconds = {kind: trial_seconds(kind.trial, plan.costs[kind]) for kind in counts}
    labels = _labels(list(counts))
    print(f"\n{'kind':{_NAME}} {'trials':>6} {'a step':>10} {'a trial':>13} {'memory':>9}")
    costly = sorted(counts, key=lambda kind: -counts[kind] * seconds[kind])
    for kind in costly[:_KINDS_SHOWN]:
        cost = plan.costs[kind]
        note = "" if kind in plan.calibration.costs else "  by its operations"
        if not note and cost.share < 1:
            note = f"  from {cost.share:.0%} of a batch or of the test examples"
        *lines, name = textwrap.wrap(labels[kind], _NAME, subsequent_indent="  ")
        for line in lines:
            print(line)
        print(
            f"{name:{_NAME}} {counts[kind] * kind.packed:6} {1000 * cost.step:7.0f} ms "
            f"{duration(seconds[kind]):>13} {cost.memory_bytes / 1e9:6.2f} GB{note}"
        )
    if len(costly) > _KINDS_SHOWN:
        more = len(costly) - _KINDS_SHOWN
        print(f"and {count_label(more, 'kind')} that {'takes' if more == 1 else 'take'} less")


def _print_trials(plan: Plan) -> None:
    parts = [
        f"{sum(len(unit.trials) for unit in units)} in {one.name}"
        for one, units in zip(plan.searches, plan.phases, strict=True)
    ]
    print(f"\ntrials: {plan.trials}" + (f" ({', '.join(parts)})" if len(parts) > 1 else ""))
    search = plan.searches[0]
    if search.space is not None and search.searcher.name != "grid":
        print("  the networks are drawn at random; what the searcher will propose may cost more")


def _print_time(plan: Plan) -> None:
    resources = plan.searches[0].resources
    early = plan.searches[0].scheduler
    alone, most = plan.calibration.alone, max(cost.memory_bytes for cost in plan.costs.values())
    idle = plan.calibration.idle

    def busy(run: Run) -> str:
        return f" ({duration(run.wall / idle)} as busy as it is now)" if idle < _BUSY else ""

    cases = {"": plan.here}
    if plan.searches[0].space is not None and early.name != "none":
        cases = {", when no trial is stopped early": plan.here}
    if early.name == "asha":
        expected = plan.run_on(plan.slots, alone=alone, early=True)
        cases[f", when 1 in {early.reduction} passes every rung of ASHA"] = expected
    if early.name == FOLD_RUNGS:
        expected = plan.run_on(plan.slots, alone=alone, early=True)
        cases[f", when 1 in {early.reduction} is kept after every fold"] = expected
    for case, run in cases.items():
        hours = f"{run.busy * resources.cpus_per_trial / 3600:.3g} CPU hours"
        if plan.device == "cuda":
            hours = f"{run.busy * resources.gpus_per_trial / 3600:.3g} GPU hours, {hours}"
        print(f"this machine: {hours}, {duration(run.wall)}{case}{busy(run)}")
    print(
        f"  {count_label(plan.slots, 'trial or pack', 'trials or packs')} at once; "
        f"{duration(plan.start_seconds)} to start; "
        f"one that runs alone is {alone:.2f} times as fast"
    )
    if idle < _BUSY:
        print(
            f"  busy: other programs left {idle:.0%} of a processor to each that measured; but for "
            "what is in brackets, times are those of the machine without them"
        )
    together = min(plan.slots, plan.trials) * most / 1e9
    print(f"memory: up to {most / 1e9:.2f} GB a trial, {together:.1f} GB at once")


def _print_gpus(plan: Plan, gpus: int | None, examples_per_second: float | None) -> None:
    resources = plan.searches[0].resources
    if not resources.gpus_per_trial:
        return
    speed = 1.0
    if plan.device != "cuda":
        if examples_per_second is None:
            print(
                "GPU hours: not measured, this machine has no CUDA GPU, and the hours above are "
                "those of its CPU; plan on a machine that has one, or give --examples-per-second"
            )
            return
        slowest = max(plan.calibration.costs.items(), key=lambda one: one[1].step)
        here = slowest[0].trial.training.batch_size * slowest[0].packed / slowest[1].step
        speed = examples_per_second / here
        print(
            f"scaled to a GPU: the slowest kind trains {here:.3g} examples/s here and "
            f"{examples_per_second:g} there, as given; all else is taken to gain the same"
        )
    count = gpus or torch.cuda.device_count() or 1
    slots = slots_of(resources, cpus=math.inf, gpus=float(count))
    run = plan.run_on(slots, speed=speed)
    print(
        f"{count_label(count, 'GPU')}: {run.busy * resources.gpus_per_trial / 3600:.3g} GPU "
        f"hours, {duration(run.wall)}; {slots} at once; GPUs for each: "
        f"{resources.gpus_per_trial:g}; CPUs for all: {slots * resources.cpus_per_trial:g}"
    )


def _print_contents(plan: Plan) -> None:
    sizes, rows = plan.contents.sizes, plan.contents.rows
    parts = ", ".join(f"{name} {size / 1e6:.3g}" for name, size in sizes.most_common())
    print(f"storage: {sizes.total() / 1e6:.3g} MB ({parts})")
    if plan.searches[0].mlflow.enabled:
        words = ", ".join(f"{count:,} {name}" for name, count in rows.items())
        print(f"MLflow: {words}")


def _labels(kinds: Sequence[Kind]) -> dict[Kind, str]:
    """What tells the kinds apart: settings, placement, and how many are packed."""
    settings = {kind: kind.trial.settings() for kind in kinds}
    told = [
        name
        for name in settings[kinds[0]]
        if len({repr(one[name]) for one in settings.values()}) > 1
    ]
    found = {}
    for kind, own in settings.items():
        words = [setting_words(name, plain_value(own[name])) for name in told]
        words += kind.trial.placed_parts
        words += [f"{kind.packed} packed"] * (kind.packed > 1)
        found[kind] = ", ".join(word for word in words if word) or (PLAIN if told else "any")
    return found
