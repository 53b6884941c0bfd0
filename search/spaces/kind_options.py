"""Options of couplings and connections as dimensions of a space: which mean something where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fusion_search.models.couplings.options import options_at
from fusion_search.models.layout import NONE, Layout, option_keys, parts_of
from fusion_search.search.spaces.names import option_name
from fusion_search.search.spaces.parameters import Asked, Parameter

Key = tuple[str, str]
"""Kind, or kind and direction, and option."""

Sites = Mapping[str, Mapping[str, str]]


class KindOptions:
    """Those that a space declares.

    Args:
        declared: (kind, option) -> what it may be, in the order asked.
    """

    def __init__(self, declared: Mapping[Key, Parameter]) -> None:
        self.declared = declared
        # With the layout, which otherwise might be gone and another stand in its place.
        self._known: dict[tuple[int, str, str, str], tuple[Layout, frozenset[Key]]] = {}

    def used(self, layout: Layout, site: str, name: str, kind: str) -> frozenset[Key]:
        """Those that say how a kind is made at a site."""
        if not self.declared or kind == NONE:
            return frozenset()
        place = (id(layout), site, name, kind)
        if place not in self._known:
            self._known[place] = layout, frozenset(self._found(layout, site, name, kind))
        return self._known[place][1]

    def _found(self, layout: Layout, site: str, name: str, kind: str) -> Iterable[Key]:
        for part in parts_of(name, kind):
            for option in options_at(layout, site, name, part):
                keys = [(key, option) for key in option_keys(name, part)]
                yield from [one for one in keys if one in self.declared][-1:]

    def used_by(self, layout: Layout, sites: Sites) -> set[Key]:
        """Those that say how anything is made that is placed."""
        every = [
            self.used(layout, site, name, kind)
            for site, placed in sites.items()
            for name, kind in placed.items()
        ]
        return set().union(*every)

    def ask(self, asked: Asked, layout: Layout, sites: Sites) -> dict[str, dict[str, Any]]:
        """What is chosen for all that is placed, kind -> arguments."""
        found: dict[str, dict[str, Any]] = {}
        used = self.used_by(layout, sites) if self.declared else set()
        for (key, option), parameter in self.declared.items():
            if (key, option) in used:
                found.setdefault(key, {})[option] = asked.of(option_name(key, option), parameter)
        return found
