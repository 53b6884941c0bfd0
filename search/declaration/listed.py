"""Trials that are declared one by one, as a confirmation writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from fusion_search.analysis.records.secrets import shown
from fusion_search.models.couplings.options import canonical
from fusion_search.models.layout import COUPLING, Layout, Placement, direction
from fusion_search.search.declaration.layouts import Layouts
from fusion_search.search.tasks.base import Task
from fusion_search.search.trials.fields import ConfigurationError, known, listed, value_of
from fusion_search.search.trials.specification import TrialSpecification, parse_specification


def listed_trials(raw: Any, task: Task, name: str) -> tuple[TrialSpecification, ...]:
    """Every trial once, each checked against what its network offers and its data have.

    Args:
        raw: the list.
        task: of the search.
        name: its name, as declared.

    Raises:
        ConfigurationError: names the trial, the field and what is allowed.
    """
    layouts: dict[str, Layouts] = {}
    found: dict[str, TrialSpecification] = {}
    for number, one in enumerate(listed(raw, "listed")):
        where = f"listed.{number}"
        data = one.get("data", {}) if isinstance(one, Mapping) else {}
        own = layouts.setdefault(json.dumps(data, default=str), Layouts(task, data))
        own.open()
        trial = _placed(_trial(one, where, task, name), own, where)
        found.setdefault(trial.trial_id, trial)
    return tuple(found.values())


def _trial(raw: Any, where: str, task: Task, name: str) -> TrialSpecification:
    """A trial that is written out whole."""
    values = known(TrialSpecification, raw, f"{where}.")
    for one in fields(TrialSpecification):
        if one.name not in values:
            raise ConfigurationError(f"{where}.{one.name} is missing; a listed trial is whole")
    for field, kind in (("task", str), ("fold", int), ("seed", int)):
        value_of(kind, values[field], f"{where}.{field}")
    if values["task"] != name:
        raise ConfigurationError(f"{where}.task is {shown(values['task'])}; allowed: {name}")
    try:
        return parse_specification(json.dumps(values, default=str), task)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{where} is no trial: {error}") from error


def _placed(trial: TrialSpecification, layouts: Layouts, where: str) -> TrialSpecification:
    """The trial as a search has it, if there is such a trial."""
    layout = layouts(trial.network)
    try:
        layout.check(trial.placement)
    except ValueError as error:
        raise ConfigurationError(f"{where}.placement: {error}") from error
    if trial.fold and trial.fold >= layouts.folds():  # data are opened only to know this
        raise ConfigurationError(
            f"{where}.fold is {trial.fold}; allowed: 0 to {layouts.folds() - 1}"
        )
    _check_streams(trial.placement, layout, where)
    return replace(trial, placement=canonical(layout, trial.placement))


def _check_streams(placement: Placement, layout: Layout, where: str) -> None:
    """Nothing couples streams that are not there."""
    after = {site.name: site.after for site, _ in layout.sites}
    for site, placed in placement.sites.items():
        there = [one for one in after[site] if one in (placement.streams or layout.streams)]
        for name, kind in placed.items():
            needed = direction(name) if name != COUPLING else ()
            if len(there) < 2 or any(one not in there for one in needed):
                raise ConfigurationError(
                    f"{where}.placement: {site}.{name} is {shown(kind)}, but of its streams only "
                    f"{', '.join(there) or 'none'} is there; leave it out, or add the stream"
                )
