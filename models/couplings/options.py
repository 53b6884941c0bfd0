"""Options of couplings and connections: what a kind takes, and what a placement says of it.

A kind's options are the arguments of its constructor behind those that every kind has, each of the
type that its annotation says. Every coupling has one more, ``gated``: the streams that it changes,
among those that its site allows.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, get_type_hints

from fusion_search.models.couplings.kinds import find_coupling
from fusion_search.models.couplings.transfer import (
    CROSS,
    RESIDUAL,
    TRANSFER,
    connection_module,
)
from fusion_search.models.layout import (
    COUPLING,
    Layout,
    Placement,
    Site,
    direction,
    option_keys,
    parts_of,
)

GATED: Final = "gated"
Options = Mapping[str, Mapping[str, Any]]
"""Kind, or kind and direction -> its arguments."""

_EMPTY: Final = inspect.Parameter.empty
RANKS: Final = ((2, 0), (0, 2))


@dataclass(frozen=True)
class Option:
    """An argument of a kind.

    Attributes:
        type: of its annotation, or of its default where there is none.
        default: ``inspect.Parameter.empty`` where it has to be given.
    """

    type: Any
    default: Any = _EMPTY

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.default is _EMPTY


@cache
def coupling_options(kind: str) -> Mapping[str, Option]:
    """What a coupling takes.

    Raises:
        ValueError: there is none of that name, or an argument of it has no type.
    """
    own = _arguments(find_coupling(kind), 2, f"coupling {kind!r}")
    return {**own, GATED: Option(tuple[str, ...], None)}


@cache
def connection_options(
    kind: str, source: int | None = None, target: int = 0
) -> Mapping[str, Option]:
    """What a connection takes between features of these ranks; without ranks, between any."""
    if kind == TRANSFER:
        return {}
    if source is None:
        every: dict[str, Option] = {}
        for ranks in RANKS:
            every |= connection_options(kind, *ranks)
        return every
    own = _arguments(connection_module(kind, source, target), 4, f"connection {kind!r}")
    return {**({"size": Option(int | None, None)} if kind == CROSS else {}), **own}


def options_of_key(key: str) -> Mapping[str, Option]:
    """What may stand under a key of a placement's options.

    Raises:
        ValueError: it is no kind.
    """
    kind, space, name = key.partition(" ")
    if space:
        direction(name)
    if kind in (TRANSFER, CROSS, RESIDUAL):
        return connection_options(kind)
    if space or kind == "both":
        raise ValueError(f"options of {key!r}; allowed: a coupling, cross, residual, or one of")
    return coupling_options(kind)


def _arguments(made: type[Any], common: int, what: str) -> dict[str, Option]:
    """Those of a constructor behind the first, which every kind has."""
    constructor = inspect.unwrap(made.__init__)
    parameters = list(inspect.signature(constructor).parameters.values())[1 + common :]
    named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    # Alone: what annotates the others may be imported for a type checker only.
    annotated = {one.name: one.annotation for one in named if one.annotation is not _EMPTY}
    holder = type("Annotated", (), {"__annotations__": annotated})
    hints = get_type_hints(holder, getattr(constructor, "__globals__", {}))
    found = {}
    for one in named:
        if one.name not in hints and (one.default is _EMPTY or one.default is None):
            raise ValueError(
                f"option {one.name!r} of {what} has no type; annotate it, as in `{one.name}: int`"
            )
        found[one.name] = Option(hints.get(one.name, type(one.default)), one.default)
    return found


def options_at(layout: Layout, site: str, name: str, part: str) -> Mapping[str, Option]:
    """What a coupling, or a connection between the streams of a site, takes there.

    Args:
        layout: of the network.
        site: its name.
        name: "coupling" or a connection.
        part: a kind; of "both" one of its two parts.
    """
    if not layout.open:  # a network with modules of its own, whose settings say how they are made
        return {}
    if name == COUPLING:
        return coupling_options(part)
    if part == TRANSFER:
        return {}
    features = next(here for one, here in layout.sites if one.name == site)
    source, target = direction(name)
    read = layout.inputs[source] if part == RESIDUAL else features[source]
    return connection_options(part, read.rank, features[target].rank)


def arguments(name: str, part: str, taken: Mapping[str, Option], *given: Options) -> dict[str, Any]:
    """The arguments of a kind at a site.

    Args:
        name: "coupling" or a connection.
        part: a kind, or a part of "both".
        taken: what it takes there.
        given: the later ones stand above the earlier ones.

    Raises:
        ValueError: there is no such option, or one is missing.
    """
    found: dict[str, Any] = {}
    for key, option, value in _said(name, part, *given):
        if option in taken:
            found[option] = value
        elif " " in key or option not in options_of_key(key):
            raise ValueError(
                f"{key} has no option {option!r}; allowed: {', '.join(taken) or 'none'}"
            )
    for option, one in taken.items():
        if one.required and option not in found:
            raise ValueError(f"option {option!r} of {part} is missing; it has no default")
    return found


def _said(name: str, part: str, *given: Options) -> Iterator[tuple[str, str, Any]]:
    """(key, option, value): what holds of an option is said last."""
    for options in given:
        for key in option_keys(name, part):
            for option, value in options.get(key, {}).items():
                yield key, option, value


def gated_at(
    site: Site, streams: Collection[str], wanted: Collection[str] | None = None
) -> tuple[str, ...]:
    """The streams that a coupling changes, in the order of the network.

    Args:
        site: says which may be.
        streams: at the site, those that a placement drops left out.
        wanted: which of these are wanted; None for all.

    Raises:
        ValueError: of those that are wanted none may be changed there.
    """
    allowed = tuple(one for one in streams if site.gated is None or one in site.gated)
    if wanted is None:
        return allowed
    found = tuple(one for one in allowed if one in wanted)
    if not found:
        raise ValueError(
            f"gated is {', '.join(wanted) or 'nothing'} at site {site.name}; allowed: "
            f"{', '.join(allowed) or 'none'}"
        )
    return found


def placed_parts(placement: Placement) -> Iterator[tuple[str, str, str]]:
    """(site, "coupling" or connection, kind) of all that is placed; "both" is two."""
    for site, placed in placement.sites.items():
        for name, kind in placed.items():
            for part in parts_of(name, kind):
                yield site, name, part


def check_options(layout: Layout, placement: Placement) -> None:
    """Raise ``ValueError`` when a placement has options that its network does not take."""
    if not layout.open:
        raise ValueError(
            f"options of {next(iter(placement.options))} are given; allowed: none, for this "
            "network has settings for them"
        )
    sites = {site.name: site for site, _ in layout.sites}
    for site, name, part in placed_parts(placement):
        taken = options_at(layout, site, name, part)
        found = arguments(name, part, taken, sites[site].options, placement.options)
        if name == COUPLING and GATED in found:
            for one in found[GATED] or ():
                if one not in layout.streams:
                    raise ValueError(
                        f"gated of {part} holds {one!r}; allowed: {', '.join(layout.streams)}"
                    )
            gated_at(sites[site], _streams_at(layout, sites[site], placement), found[GATED])


def canonical(layout: Layout, placement: Placement) -> Placement:
    """The placement that stands for all that build the same network of this layout.

    Streams are in the order of the network, and the first of its ends is not said. An option that
    says what holds without it, or that nothing takes, is left out; one that is the same in all
    directions is said of the kind.
    """
    end = "" if placement.end in layout.ends[:1] else placement.end
    options = _canonical_options(layout, placement) if placement.options else {}
    return replace(placement, end=end, streams=layout.ordered(placement.streams), options=options)


def _canonical_options(layout: Layout, placement: Placement) -> dict[str, dict[str, Any]]:
    said = _values(layout, placement)
    unsaid = _values(layout, replace(placement, options={}))
    grouped: dict[tuple[str, str], dict[str, list[tuple[Any, bool]]]] = {}
    for place, value in said.items():
        _, name, part, option = place
        there = grouped.setdefault((part, option), {}).setdefault(name, [])
        there.append((value, value != unsaid[place]))
    options: dict[str, dict[str, Any]] = {}
    for (part, option), by_name in grouped.items():
        told = {
            name: there[0][0]
            for name, there in by_name.items()
            if any(changed for _, changed in there)
        }
        if COUPLING in told and option == GATED:  # at some sites there are fewer streams
            every = {stream for value, _ in by_name[COUPLING] for stream in value}
            told[COUPLING] = tuple(one for one in layout.streams if one in every)
        if not told:
            continue
        first = next(iter(told.values()))
        if COUPLING in told or all(
            value == first for there in by_name.values() for value, _ in there
        ):
            options.setdefault(part, {})[option] = first
            continue
        for name, value in told.items():
            options.setdefault(option_keys(name, part)[-1], {})[option] = value
    return options


def _values(layout: Layout, placement: Placement) -> dict[tuple[str, str, str, str], Any]:
    """(site, "coupling" or connection, kind, option) -> what it is there."""
    sites = {site.name: site for site, _ in layout.sites}
    found = {}
    for site, name, part in placed_parts(placement):
        said = _said(name, part, sites[site].options, placement.options)
        values = {option: value for _, option, value in said}
        for option, one in options_at(layout, site, name, part).items():
            value = values.get(option, one.default)
            if option == GATED and name == COUPLING:
                value = gated_at(sites[site], _streams_at(layout, sites[site], placement), value)
            found[site, name, part, option] = value
    return found


def value_of_option(layout: Layout, placement: Placement, key: str, option: str) -> Any:
    """What an option is at the first place that takes it, said by the placement or not."""
    for (_, name, part, one), value in _values(layout, placement).items():
        if one == option and key in option_keys(name, part):
            return value
    raise ValueError(f"nothing that is placed takes {key} {option}")


def _streams_at(layout: Layout, site: Site, placement: Placement) -> tuple[str, ...]:
    """Those that meet there, in the order of the network."""
    there = placement.streams or layout.streams
    return tuple(one for one in layout.streams if one in site.after and one in there)
