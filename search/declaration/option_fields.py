"""Options of couplings and connections as declared, each like any setting.

    placement:
      couplings: [none, mmtm, my_lab.couplings:Bottleneck]
      options: {mmtm: {ratio: [2, 4]}, "my_lab.couplings:Bottleneck": {width: {low: 2, high: 16}}}

What a kind takes, and of which type, its constructor says.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final

import torch

from fusion_search.analysis.records.secrets import shown, shown_name
from fusion_search.models.coupled.exchange import Exchange
from fusion_search.models.couplings.options import GATED, options_of_key
from fusion_search.models.layout import Layout, option_keys, parts_of
from fusion_search.search.declaration.setting_fields import all_differ, parameter_of
from fusion_search.search.spaces.kind_options import Key
from fusion_search.search.spaces.parameters import Parameter, Range, options_of
from fusion_search.search.spaces.space import Space
from fusion_search.search.trials.fields import ConfigurationError, known

_WHERE: Final = "placement.options"


def kind_options(raw: Any) -> dict[Key, Parameter]:
    """(kind, option) -> what it may be.

    Raises:
        ConfigurationError: names the field and the allowed values.
    """
    if not isinstance(raw, Mapping):
        raise ConfigurationError(f"{_WHERE} must be a mapping, as {{mmtm: {{ratio: [2, 4]}}}}")
    found = {}
    for key, values in raw.items():
        where = f"{_WHERE}.{shown_name(key)}"
        try:
            taken = options_of_key(str(key))
        except ValueError as error:
            raise ConfigurationError(f"{where}: {error}") from error
        for option, one in known(list(taken), values, f"{where}.").items():
            parameter = parameter_of(taken[option].type, one, f"{where}.{option}")
            for value in _ends(parameter):
                if isinstance(value, float) and not math.isfinite(value):
                    raise ConfigurationError(f"{where}.{option} is {value}; allowed: a number")
            found[str(key), option] = parameter
    return found


def check_options(space: Space) -> None:
    """Every option must be taken by what is placed and make it; one's own kinds must be sound.

    Raises:
        ConfigurationError: names the field and the allowed values.
    """
    layouts = [space.by_layout.layout_of(values) for values in space.by_layout.networks()]
    if space.options and not any(one.open for one in layouts):
        fields = getattr(space.task.network, "coupling_fields", ())
        own = ", ".join(f"network.{one}" for one in fields)
        raise ConfigurationError(
            f"{_WHERE}: networks of {space.name} take none; "
            + (f"their settings are {own}" if own else "leave them out")
        )
    streams_there = dict.fromkeys(one for layout in layouts for one in layout.streams)
    for (key, option), parameter in space.options.items():
        for gated in _ends(parameter) if option == GATED else ():
            all_differ(gated or (), f"{_WHERE}.{key}.{option}")
            for one in gated or ():
                if one not in streams_there:
                    raise ConfigurationError(
                        f"{_WHERE}.{key}.{option} holds {shown(one)}; allowed: "
                        f"{', '.join(streams_there)}"
                    )
    used: set[Key] = set()
    placed: set[str] = set()
    tried: set[str] = set()
    for streams, layout in itertools.product(space.streams, layouts):
        for site, name, kinds in space.sites_of(layout, streams):
            for kind in kinds:
                keys = space.kind_options.used(layout, site, name, kind)
                used |= keys
                placed |= {key for part in parts_of(name, kind) for key in option_keys(name, part)}
                if layout.open and (keys or ":" in kind):
                    _try(space, layout, streams, (site, name, kind), keys, tried)
    for key, option in space.options:
        if (key, option) not in used:
            why = "nothing placed takes it" if key in placed else f"{key} is placed nowhere"
            raise ConfigurationError(f"{_WHERE}.{key}.{option}: {why}; leave it out")


def _try(
    space: Space,
    layout: Layout,
    streams: Sequence[str],
    place: tuple[str, str, str],
    keys: Collection[Key],
    tried: set[str],
) -> None:
    """Make what is placed, with every value of its options."""
    site, name, kind = place
    one, features = next(both for both in layout.sites if both[0].name == site)
    there = {stream: features[stream] for stream in features if stream in (streams or features)}
    for key, options in _each(space, keys):
        told = repr((name, kind, there, one.gated, one.options, layout.inputs, options))
        if told in tried:
            continue
        tried.add(told)
        # Ours need no memory for that; anybody's may need values.
        device = nullcontext() if ":" in kind else torch.device("meta")
        try:
            with torch.random.fork_rng(devices=[]), device:
                Exchange(replace(one, merged=None), there, layout.inputs, {name: kind}, options)
        except (ValueError, TypeError) as error:
            where = f"{_WHERE}.{key}" if key else "placement.couplings"
            raise ConfigurationError(f"{where}: {error}") from error


def _each(space: Space, keys: Collection[Key]) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """(kind, options): every value once, beside the first of the others."""
    first: dict[str, dict[str, Any]] = {}
    for key, option in keys:
        first.setdefault(key, {})[option] = _ends(space.options[key, option])[0]
    yield next(iter(first), ""), first
    for key, option in keys:
        for value in _ends(space.options[key, option]):
            yield key, {**first, key: {**first[key], option: value}}


def _ends(parameter: Parameter) -> tuple[Any, ...]:
    """The values of a choice, or both ends of a range."""
    if isinstance(parameter, Range):
        return parameter.low, parameter.high
    return options_of(parameter)
