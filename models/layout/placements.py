"""What a trial puts at the sites of a network: data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeVar

NONE: Final = "none"
COUPLING: Final = "coupling"
ARROW: Final = ">"

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _frozen(mapping: Mapping[_Key, _Value]) -> Mapping[_Key, _Value]:
    return MappingProxyType(dict(mapping))


def connection(source: str, target: str) -> str:
    """The name of a connection, such as ``image>audio``."""
    return f"{source}{ARROW}{target}"


def direction(name: str) -> tuple[str, str]:
    """(source, target) of a connection's name.

    Raises:
        ValueError: it is none.
    """
    source, arrow, target = name.partition(ARROW)
    if not (source and arrow and target) or source == target:
        raise ValueError(f"connection is {name!r}; allowed: two streams, as image>audio")
    return source, target


def parts_of(name: str, kind: str) -> tuple[str, ...]:
    """What a kind is made of: "both" connections are a cross-connection and a residual one."""
    return ("residual", "cross") if name != COUPLING and kind == "both" else (kind,)


def option_keys(name: str, part: str) -> tuple[str, ...]:
    """Where options of it may stand, the more particular last: ``cross``, ``cross image>audio``."""
    return (part,) if name == COUPLING else (part, f"{part} {name}")


def _immutable(value: Any) -> Any:
    return tuple(map(_immutable, value)) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Placement:
    """What sits where: data that makes a network of a task's settings.

    Attributes:
        sites: site -> {"coupling": kind, "image>audio": kind}; what is not named is "none", and
            is left out of the canonical form that equal placements share.
        end: how the streams end, one of the layout's ``ends``; "" for its first.
        streams: those that the network has, for a unimodal baseline; () for all.
        options: kind, or kind and direction ("cross image>audio") -> arguments of it, in place of
            those of its site.

    Raises:
        ValueError: a connection's name is none, or there are options of what is placed nowhere.
    """

    sites: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    end: str = ""
    streams: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {}
        for site, placed in sorted(self.sites.items()):
            there = {name: kind for name, kind in sorted(placed.items()) if kind != NONE}
            for name in there:
                if name != COUPLING:
                    direction(name)
            if there:
                kept[site] = _frozen(there)
        object.__setattr__(self, "sites", _frozen(kept))
        object.__setattr__(self, "streams", tuple(self.streams))
        used = {
            key
            for placed in kept.values()
            for name, kind in placed.items()
            for part in parts_of(name, kind)
            for key in option_keys(name, part)
        }
        if unplaced := [key for key in self.options if key not in used]:
            raise ValueError(
                f"options of {unplaced[0]!r}, which is placed nowhere; allowed: "
                f"{', '.join(sorted(used)) or 'none, for nothing is placed'}"
            )
        options = {
            key: _frozen({name: _immutable(one) for name, one in sorted(given.items())})
            for key, given in sorted(self.options.items())
            if given
        }
        object.__setattr__(self, "options", _frozen(options))

    def at(self, site: str, name: str = COUPLING) -> str:
        """The kind of a site's coupling, or of one of its connections; "none" for nothing."""
        return self.sites.get(site, {}).get(name, NONE)

    def __hash__(self) -> int:
        return hash((str(self.to_plain()),))

    def __reduce__(self) -> tuple[Any, ...]:
        sites = {site: dict(placed) for site, placed in self.sites.items()}
        options = {key: dict(given) for key, given in self.options.items()}
        return Placement, (sites, self.end, self.streams, options)

    def to_plain(self) -> dict[str, Any]:
        """As YAML or JSON holds it; without options where there are none."""
        sites = {site: dict(placed) for site, placed in self.sites.items()}
        options = {
            key: {name: _plain(one) for name, one in given.items()}
            for key, given in self.options.items()
        }
        plain = {"sites": sites, "end": self.end, "streams": list(self.streams)}
        return {**plain, **({"options": options} if options else {})}
