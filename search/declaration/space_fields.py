"""A space as declared in YAML: settings, placement, train conditions, folds and seeds.

    network: {units: 8, fusion_depth: [0, 1, 2]}      # a list is a choice, a single value is fixed
    training: {learning_rate: {low: 0.001, high: 0.01, log: true}}
    placement:
      couplings: [none, mmtm, sum]                    # at every site, or {level1: [...]}
      connections: {"image>audio": [none, cross]}
      ends: [concatenation, gate_audio]
      streams: [[image, audio], [image]]              # a subset is a unimodal baseline
      options: {mmtm: {ratio: [2, 4]}}                # of each kind by itself
    train: [[0.5, 0.25], [original, 1]]               # an entry per axis; each sample runs all

``searcher`` says that the space is searched; without it every sample is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import Any, Final

from fusion_search.analysis.records.secrets import shown, shown_name
from fusion_search.models.layout import COUPLING, NONE, Layout, direction
from fusion_search.search.declaration.option_fields import check_options, kind_options
from fusion_search.search.declaration.setting_fields import (
    all_differ,
    options_of_field,
    settings_of,
)
from fusion_search.search.declaration.setting_names import check_sampled_names
from fusion_search.search.declaration.train_fields import train_conditions
from fusion_search.search.spaces.parameters import Choice, Extreme, count_of, options_of
from fusion_search.search.spaces.space import EVERYWHERE, Space
from fusion_search.search.tasks.base import Task
from fusion_search.search.trials.fields import ConfigurationError, known, listed, typed, value_of
from fusion_search.search.trials.plain import default_of
from fusion_search.search.trials.settings import EvaluationSettings, TrainingSettings

PARTS: Final = ("network", "data", "training", "evaluation", "placement", "train", "folds", "seeds")
"""Of a configuration, what declares the space of its trials."""

_PLACEMENT: Final = ["couplings", "connections", "ends", "streams", "options"]
_MOST_LAYOUTS: Final = 64
_MOST: Final = 1000  # of folds, seeds and train conditions


def build_space(
    raw: Mapping[str, Any],
    name: str,
    task: Task,
    layout: Callable[[Any], Layout],
    *,
    split: str,
    folds: Callable[[], int] = lambda: 1,
) -> Space:
    """Check what a configuration declares and freeze it.

    Args:
        raw: its ``PARTS``, as far as they are there.
        name, task: the task.
        layout: settings of a network -> what it offers.
        split: what trials are tested on, where the configuration does not say.
        folds: how many there are.

    Raises:
        ConfigurationError: names the field and the allowed values.
    """
    kinds = {"network": task.network, "data": task.data, "training": TrainingSettings}
    settings = {
        (group, one): parameter
        for group in raw
        if group in kinds
        for one, parameter in settings_of(kinds[group], raw[group], f"{group}.").items()
    }
    for group, kind in kinds.items():
        for one in fields(kind):
            if (group, one.name) not in settings and default_of(one) is MISSING:
                raise ConfigurationError(f"{group}.{one.name} is missing")
    evaluation = {
        "split": split,
        **known(EvaluationSettings, raw.get("evaluation", {}), "evaluation."),
    }
    placement = known(_PLACEMENT, raw.get("placement", {}), "placement.")
    placement = {one: value for one, value in placement.items() if value is not None}
    train, choose = train_conditions(raw.get("train"), task.axes)
    space = Space(
        name=name,
        task=task,
        layout=layout,
        settings=settings,
        evaluation=typed(EvaluationSettings, evaluation, "evaluation."),
        placed=_placed(placement),
        ends=tuple(options_of_field(placement.get("ends", []), "placement.ends", _text)),
        streams=_streams(placement.get("streams")),
        options=kind_options(placement.get("options", {})),
        train=train,
        choose=choose,
        folds=_folds(raw.get("folds", [0]), folds),
        seeds=_numbers(raw.get("seeds", [0]), "seeds"),
    )
    _check_first(space)
    check_sampled_names(space)
    _check_placement(space)
    space = _with_ordered_streams(space)
    check_options(space)
    _check_trials(space)
    return space


def _text(value: Any, where: str) -> str:
    text: str = value_of(str, value, where)
    return text


def _placed(placement: Mapping[str, Any]) -> dict[str, dict[str, tuple[str, ...]]]:
    """ "coupling" or connection -> site, or everywhere -> options."""
    found = {}
    if "couplings" in placement:
        found[COUPLING] = _by_site(placement["couplings"], "placement.couplings")
    connections = placement.get("connections", {})
    if not isinstance(connections, Mapping):
        raise ConfigurationError(
            'placement.connections must be a mapping, as {"image>audio": [none, cross]}'
        )
    for name, options in connections.items():
        where = f"placement.connections.{shown_name(name)}"
        try:
            direction(str(name))
        except ValueError as error:
            raise ConfigurationError(f"placement.connections: {error}") from error
        found[str(name)] = _by_site(options, where)
    return found


def _by_site(raw: Any, where: str) -> dict[str, tuple[str, ...]]:
    if isinstance(raw, Mapping):
        return {str(site): _kinds(one, f"{where}.{shown_name(site)}") for site, one in raw.items()}
    return {EVERYWHERE: _kinds(raw, where)}


def _kinds(raw: Any, where: str) -> tuple[str, ...]:
    return options_of_field(listed(raw, where) if isinstance(raw, list) else raw, where, _text)


def _streams(raw: Any) -> tuple[tuple[str, ...], ...]:
    where = "placement.streams"
    if raw is None:
        return ((),)
    return options_of_field(listed(raw, where), where, _subset)


def _subset(value: Any, where: str) -> tuple[str, ...]:
    found: tuple[str, ...] = value_of(tuple[str, ...], value, where)
    all_differ(found, f"a subset in {where}")
    return found


def _folds(raw: Any, count: Callable[[], int]) -> tuple[int, ...]:
    if raw == "all":
        return tuple(range(count()))
    folds = _numbers(raw, "folds", ", or all")
    for one in folds:
        if one and not 0 <= one < count():  # data are opened only to know this
            raise ConfigurationError(f"folds holds {one}; allowed: 0 to {count() - 1}, or all")
    return folds


def _numbers(raw: Any, where: str, hint: str = "") -> tuple[int, ...]:
    if isinstance(raw, int):
        raw = [raw]
    values = listed(raw, where, hint=hint)
    if len(values) > _MOST:
        raise ConfigurationError(f"{where} has {len(values):,} values; allowed: up to {_MOST:,}")
    return options_of_field(values, where, lambda one, at: value_of(int, one, at))


def _check_first(space: Space) -> None:
    """Every option of what the sites depend on must be possible, and every combination lead on."""
    for name in space.by_layout.first:
        parameter = space.settings["network", name]
        count = count_of(parameter) or 0
        if not isinstance(parameter, Choice) and count > _MOST_LAYOUTS:
            raise ConfigurationError(
                f"network.{name} has {count:,} values, and the sites of a network may depend on "
                "each; let the settings of the network say on which they do (layout_fields, () "
                f"for none), or declare up to {_MOST_LAYOUTS}"
            )
    possible: dict[str, set[str]] = {}
    for values in space.by_layout.networks():
        for name, value in values.items():
            possible.setdefault(name, set()).add(repr(value))
    for name in space.by_layout.first:
        for value in options_of(space.settings["network", name]):
            if repr(value) not in possible.get(name, set()):
                raise ConfigurationError(_why_not(space, name, value))


def _why_not(space: Space, name: str, value: Any) -> str:
    """What a network with this option says, beside the last options of the others."""
    first, before = space.by_layout.first, {}
    for one in first:
        before[one] = value if one == name else options_of(space.settings["network", one])[-1]
    try:
        space.by_layout.network(before)
    except ValueError as error:
        # It may be of a setting that no option of this one goes with.
        said, others = str(error).partition(" ")[0], {one for one in first if one != name}
        named = ("network", said) in space.settings and said not in others
        return f"network.{error}" if named else f"network.{name}: {error}"
    return f"network.{name}: nothing goes with {shown(value)}; give other options"


def _check_placement(space: Space) -> None:
    """What is placed must be offered somewhere."""
    layouts = [space.by_layout.layout_of(values) for values in space.by_layout.networks()]
    offered: dict[str, dict[str, set[str]]] = {}
    streams: dict[str, None] = {}
    ends: dict[str, None] = {}
    for layout in layouts:
        streams |= dict.fromkeys(layout.streams)
        ends |= dict.fromkeys(layout.ends)
        for site, kinds in layout.choices.items():
            for name, options in kinds.items():
                offered.setdefault(name, {}).setdefault(site, set()).update(options)
    _check_sites(space, offered, layouts)
    for end in space.ends:
        if end not in ends:
            raise ConfigurationError(
                f"placement.ends holds {shown(end)}; allowed: {', '.join(ends) or 'none'}"
            )
    for one in (stream for subset in space.streams for stream in subset):
        if one not in streams:
            raise ConfigurationError(
                f"placement.streams holds {shown(one)}; allowed: {', '.join(streams)}"
            )


def _with_ordered_streams(space: Space) -> Space:
    layout = space.by_layout.layout_of(next(space.by_layout.networks()))
    ordered = [layout.ordered(subset) for subset in space.streams]
    for index, one in enumerate(ordered):
        if one in ordered[:index]:
            raise ConfigurationError(
                f"placement.streams holds {', '.join(one or layout.streams)} twice; keep one"
            )
    return replace(space, streams=tuple(ordered))


def _check_sites(
    space: Space,
    offered: Mapping[str, Mapping[str, set[str]]],
    layouts: Sequence[Layout],
) -> None:
    for name, by_site in space.placed.items():
        where = "placement.couplings" if name == COUPLING else f"placement.connections.{name}"
        sites = offered.get(name, {})
        if not offered and any(options != (NONE,) for options in by_site.values()):
            fields = getattr(space.task.network, "layout_fields", ())
            given = ", ".join(f"network.{one}" for one in fields) or "settings of the network"
            if why := next((one.no_sites for one in layouts if one.no_sites), ""):
                raise ConfigurationError(f"{where}: no network of the search has a site: {why}")
            raise ConfigurationError(
                f"{where}: no network of the search has a site; leave it out, or give other {given}"
            )
        if not sites and any(options != (NONE,) for options in by_site.values()):
            there = ", ".join(one for one in offered if one != COUPLING) or "no connections"
            raise ConfigurationError(f"{where} is offered nowhere; allowed: {there}")
        for site, options in by_site.items():
            if site != EVERYWHERE and site not in sites:
                raise ConfigurationError(
                    f"{where}.{shown_name(site)} is not a site; allowed: "
                    f"{', '.join(sites) or 'none, for there is no site'}"
                )
            kinds = set().union(*sites.values()) if site == EVERYWHERE else sites[site]
            for one in options:
                places = [site] if site != EVERYWHERE else list(sites)
                if one != NONE and not _is_offered(layouts, places, name, one):
                    allowed = ", ".join([NONE, *sorted(kinds - {NONE})])
                    raise ConfigurationError(f"{where} holds {shown(one)}; allowed: {allowed}")


def _is_offered(layouts: Sequence[Layout], sites: Sequence[str], name: str, kind: str) -> bool:
    where = "couplings" if name == COUPLING else f"connections.{name}"
    try:
        return any(one.offers(site, name, kind) for one in layouts for site in sites)
    except ValueError as error:
        raise ConfigurationError(f"placement.{where}: {error}") from error


def _check_trials(space: Space) -> None:
    """Every option must make a valid trial: each is tried once, in a trial that has it."""
    try:
        for last in (False, True):
            space.trials(space.sample(Extreme(last)))
        trial = space.any_trial()
        first = {("network", name) for name in space.by_layout.first}
        for (group, name), parameter in space.settings.items():
            if (group, name) not in first and isinstance(parameter, Choice):
                for value in options_of(parameter):
                    trial.with_settings({name: value})
        for condition in space.train:
            space.trial_at(condition)
    except ValueError as error:
        raise ConfigurationError(f"a trial of the search: {error}") from error
