"""Where streams of a network may be coupled, and how: a site, and the layout of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from fusion_search.models.layout.placements import ARROW, COUPLING, NONE, Placement, direction
from fusion_search.models.layout.views import Feature, View


@dataclass(frozen=True)
class Site:
    """A place where levels of several streams can be coupled.

    Attributes:
        name: in YAML, records and figures.
        after: stream -> level, or name of a submodule, behind which the site lies.
        views: stream -> how its output is seen there; those not named are [B, C, *size] already.
        gated: streams that a coupling may change; None for all.
        options: kind, or kind and direction ("cross image>audio") -> arguments of it at this site,
            where a placement says nothing else.
        merged: (stream, feature) -> module behind a concatenation, built only where there is one.
    """

    name: str
    after: Mapping[str, str]
    views: Mapping[str, View] = field(default_factory=dict)
    gated: tuple[str, ...] | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    merged: Callable[[str, Feature], nn.Module] | None = None

    def __post_init__(self) -> None:
        if not self.name or "." in self.name or ARROW in self.name:
            raise ValueError(f"site name is {self.name!r}; allowed: a word without '.' and '>'")
        for one in self.gated or ():
            if one not in self.after:
                raise ValueError(
                    f"site {self.name} gates {one!r}; allowed: {', '.join(self.after)}"
                )
        for stream, level in self.after.items():
            if not isinstance(level, str):
                raise ValueError(
                    f"site {self.name} lies after {level!r} of {stream}; allowed: the name of a "
                    f'level, as {{"{stream}": "encoder.layer.0"}}; views are given by '
                    f'views={{"{stream}": view}}'
                )
        for stream, view in self.views.items():
            if stream not in self.after:
                raise ValueError(
                    f"site {self.name} has a view of {stream!r}; allowed: {', '.join(self.after)}"
                )
            if not isinstance(view, View):
                raise ValueError(
                    f"site {self.name} sees {stream} by a {type(view).__name__}; allowed: a View, "
                    "such as TOKENS"
                )
        for name in ("after", "views", "options"):
            object.__setattr__(self, name, dict(getattr(self, name)))


@dataclass(frozen=True)
class Layout:
    """What a network offers to placements: written by hand by networks with a forward of their own.

    Attributes:
        streams: in the order of the network.
        inputs: features of the streams whose input is a float tensor.
        sites: each with its streams' features there, in the order in which data pass them.
        choices: site -> {"coupling" or connection -> kinds offered, "none" first}; only what fits.
        widen: whether a concatenation may change a level's channels.
        ends: how the streams may end, the default first; () where there is one way.
        open: whether couplings of anybody's, named ``module:Class``, may sit at its sites.
        no_sites: why there are none, where that needs to be said.

    Raises:
        ValueError: a name is used twice, or choices name a site or stream that is not there.
    """

    streams: tuple[str, ...]
    inputs: Mapping[str, Feature] = field(default_factory=dict)
    sites: tuple[tuple[Site, Mapping[str, Feature]], ...] = ()
    choices: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    widen: bool = False
    ends: tuple[str, ...] = ()
    open: bool = False
    no_sites: str = ""

    def __post_init__(self) -> None:
        names = [site.name for site, _ in self.sites]
        for what, found in (("stream", list(self.streams)), ("site", names)):
            if len(set(found)) < len(found):
                raise ValueError(f"two {what}s of a layout have one name: {', '.join(found)}")
        for site, kinds in self.choices.items():
            if site not in names:
                raise ValueError(f"choices name site {site!r}; allowed: {', '.join(names)}")
            for name, offered in kinds.items():
                self._check_choice(site, name, offered)

    def _check_choice(self, site: str, name: str, offered: tuple[str, ...]) -> None:
        if not offered or offered[0] != NONE:
            raise ValueError(f"choices of {site}.{name} are {offered}; the first is to be 'none'")
        if name != COUPLING:
            for stream in direction(name):
                if stream not in self.streams:
                    raise ValueError(
                        f"choices of {site} connect {name!r}; allowed: {', '.join(self.streams)}"
                    )

    def options(self) -> dict[str, tuple[str, ...]]:
        """What a space may ask: ``site.coupling`` or ``site.image>audio`` -> kinds that fit."""
        return {
            f"{site}.{name}": kinds
            for site, offered in self.choices.items()
            for name, kinds in offered.items()
        }

    def offers(self, site: str, name: str, kind: str, streams: Sequence[str] = ()) -> bool:
        """Whether a kind fits at a site; a coupling of anybody's is asked itself.

        Args:
            site: of this layout.
            name: "coupling" or a connection.
            kind: what is to be there.
            streams: those that the network has; () for all.

        Raises:
            ValueError: it is named like somebody's coupling, and there is none.
        """
        offered = self.choices.get(site, {}).get(name, ())
        own = bool(offered) and self.open and name == COUPLING and ":" in kind
        if not own and kind not in offered:
            return False
        if not own and not (streams and self.open and name == COUPLING and kind != NONE):
            return True
        # Imports every coupling, which who only reads a layout does without.
        from fusion_search.models.couplings.kinds import coupling_fits

        features = next(here for one, here in self.sites if one.name == site)
        there = {name: one for name, one in features.items() if not streams or name in streams}
        return coupling_fits(kind, there)

    def ordered(self, streams: tuple[str, ...]) -> tuple[str, ...]:
        """A subset in the order of the network, () for all: equal networks are equal trials."""
        found = tuple(one for one in self.streams if one in streams)
        return () if found == self.streams else found

    def _nothing(self) -> str:
        return f"nothing, for {self.no_sites or 'there is no site'}"

    def check(self, placement: Placement) -> None:
        """Raise ``ValueError`` when a placement is not one of this layout's."""
        for site, placed in placement.sites.items():
            for name, kind in placed.items():
                offered = self.options().get(f"{site}.{name}")
                if offered is None:
                    raise ValueError(
                        f"placement names {site}.{name}; allowed: "
                        f"{', '.join(self.options()) or self._nothing()}"
                    )
                if not self.offers(site, name, kind):
                    raise ValueError(f"{site}.{name} is {kind!r}; allowed: {', '.join(offered)}")
        if placement.options:
            # Likewise.
            from fusion_search.models.couplings.options import check_options

            check_options(self, placement)
        if placement.end and placement.end not in self.ends:
            raise ValueError(
                f"end is {placement.end!r}; allowed: {', '.join(self.ends) or 'none but the one'}"
            )
        for stream in placement.streams:
            if stream not in self.streams:
                raise ValueError(f"streams holds {stream!r}; allowed: {', '.join(self.streams)}")
